"""LangChain's standard suites over `LiteLLMChatModel`, through real HTTP."""

from typing import Any

import pytest
from chat_model_standard import Standard
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from router_integrations.candidates import Candidate
from router_integrations.langchain.litellm_model import LiteLLMChatModel

# `stream_events(version="v3")` and `tool_example_to_messages`, which the suites test, are beta in LangChain.
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


class LiteLLMStandard(Standard):
    chat_model_class = LiteLLMChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        params = {"api_base": self.server.base_url, "api_key": "sk-test"}
        return {"candidate": Candidate("openai/small", params=params)}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        # No `max_retries`: the model makes each call once, the router repeats it.
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "stop": []}


class TestUnit(LiteLLMStandard, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        # LiteLLM reads the variable with each call; the object never holds the key.
        return {"OPENAI_API_KEY": "sk-env"}, self.chat_model_params, {"api_key": None}


class TestFunctionCalling(LiteLLMStandard, ChatModelIntegrationTests):
    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}


class TestJsonSchema(LiteLLMStandard, ChatModelIntegrationTests):
    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "json_schema"}
