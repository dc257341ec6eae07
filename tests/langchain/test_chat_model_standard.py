"""LangChain's standard suites over `RouterChatModel`, through real HTTP."""

from typing import Any

import pytest
from chat_model_standard import Standard
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from router_integrations import Candidate
from router_integrations.langchain import RouterChatModel

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

_ABLE = {"tools": True, "tool_choice": True, "schema": True, "vision": True, "audio": True, "pdf": True, "video": True}


class RouterStandard(Standard):
    chat_model_class = RouterChatModel
    wire_models = ("small", "big")
    model_override_value = "big"

    @property
    def chat_model_params(self) -> dict[str, Any]:
        wire = {"params": {"api_base": self.server.base_url, "api_key": "sk-test"}, **_ABLE}
        return {
            "candidates": [
                Candidate("openai/small", name="small", input_price=1e-7, output_price=4e-7, **wire),
                Candidate("openai/big", name="big", input_price=3e-6, output_price=1e-5, **wire),
            ]
        }


class TestUnit(RouterStandard, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        # LiteLLM reads the variable with each call; the object never holds the key.
        return {"OPENAI_API_KEY": "sk-env"}, self.chat_model_params, {"api_key": None}


class TestFunctionCalling(RouterStandard, ChatModelIntegrationTests):
    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}


class TestJsonSchema(RouterStandard, ChatModelIntegrationTests):
    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "json_schema"}
