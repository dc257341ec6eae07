"""The contract of an LLM, put together."""

from __future__ import annotations

from router_integrations.testing.llama_index.answers import AnswerTests, IdentityTests, UsageTests
from router_integrations.testing.llama_index.blocks import BlockTests
from router_integrations.testing.llama_index.running import RunningTests
from router_integrations.testing.llama_index.telling import EventTests, FailureTests
from router_integrations.testing.llama_index.tools import StructuredTests, ToolTests


class LLMContract(IdentityTests, AnswerTests, UsageTests, EventTests, FailureTests, RunningTests):
    """What every LLM must do: inherit it and override the fixture `llm`.

    The fixture gets `server`, a `ScriptedServer` that speaks OpenAI's chat completions; the LLM must ask it at
    `server.base_url` for the model called `self.model`, with `self.secret` as its key. Override `model` to match.
    """


class FunctionCallingLLMContract(LLMContract, BlockTests, ToolTests, StructuredTests):
    """What an LLM with tools, media and structured output must do beside it."""
