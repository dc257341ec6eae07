"""What the tests of LlamaIndex's own components share: the same use of the bare LLM and of a router over it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms.function_calling import FunctionCallingLLM

from router_integrations import Candidate, Fixed
from router_integrations.llama_index import LiteLLMModel, RouterLLM
from router_integrations.testing.replies import Step
from router_integrations.testing.server import ScriptedServer


@dataclass(frozen=True, kw_only=True)
class Side:
    """What came of one use.

    Args:
        result: What it returned.
        tokens: The prompts' and the answers' tokens that LlamaIndex's handler counted.
        calls: How many LLM calls it counted.
        bodies: The requests as the server got them, in an order of their own.
    """

    result: Any
    tokens: tuple[int, int]
    calls: int
    bodies: list[str]


def candidate(server: ScriptedServer, name: str, **fields: Any) -> Candidate:
    params = {"api_base": server.base_url, "api_key": "sk-test"}
    able = dict.fromkeys(("tools", "tool_choice", "schema", "vision"), True)
    prices = {"input_price": 1e-6, "output_price": 4e-6, "context_window": 16_000, "max_output": 1_000}
    return Candidate(f"openai/{name}", **{"name": name, "params": params, "max_retries": 0, **able, **prices, **fields})


def bare(server: ScriptedServer, **options: Any) -> LiteLLMModel:
    return LiteLLMModel(candidate=candidate(server, "big"), **options)


def routed(server: ScriptedServer, **options: Any) -> RouterLLM:
    pool = [candidate(server, "small"), candidate(server, "big")]
    return RouterLLM(**{"candidates": pool, "strategy": Fixed(name="big"), **options})


def beside(server: ScriptedServer, use: Callable[[FunctionCallingLLM], Any], *steps: Step) -> Any:
    """Use the bare LLM and the router, check that nothing differs, and return the result of the router.

    Args:
        server: Where both ask.
        use: Does something with an LLM; what it returns is compared.
        steps: What the model says, in both cases; without any it obeys.
    """
    sides = [_side(server, make, use, steps) for make in (bare, routed)]
    alone, router = sides
    assert router.bodies == alone.bodies, "the server was asked for something else"
    assert router.result == alone.result
    assert (router.tokens, router.calls) == (alone.tokens, alone.calls)
    assert router.calls >= len(router.bodies) > 0, f"{router.calls} calls counted, {len(router.bodies)} made"
    return router.result


def _side(server: ScriptedServer, make: Callable[..., Any], use: Callable[[Any], Any], steps: tuple[Step, ...]) -> Side:
    server.script("big", *steps)
    counter = TokenCountingHandler(tokenizer=str.split)
    before = len(server.requests)
    # Components give their LLM the callback manager of the settings.
    kept, Settings.callback_manager = Settings.callback_manager, CallbackManager([counter])
    try:
        result = use(make(server, callback_manager=Settings.callback_manager))
    finally:
        Settings.callback_manager = kept
    asked = server.requests[before:]
    assert {request.model for request in asked} == {"big"}
    tokens = (counter.prompt_llm_token_count, counter.completion_llm_token_count)
    bodies = sorted(_numberless(request.body) for request in asked)
    return Side(result=result, tokens=tokens, calls=len(counter.llm_token_counts), bodies=bodies)


def _numberless(body: Any) -> str:
    """The server numbers its tool calls."""
    return re.sub(r"call_\d+_", "call_", json.dumps(body, sort_keys=True))
