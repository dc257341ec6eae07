"""LangChain's standard integration suite over `RouterChatModel` on a real language model, served by llama.cpp."""

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from router_integrations import Candidate
from router_integrations.demo.server import LocalServer
from router_integrations.langchain import RouterChatModel

# Media, and the replay of recorded traffic.
_NOT_HERE = (
    "test_image_inputs",
    "test_image_tool_message",
    "test_pdf_inputs",
    "test_pdf_tool_message",
    "test_audio_inputs",
    "test_anthropic_inputs",
    "test_stream_time",
)
_TOO_HARD = ("test_tool_choice", "test_structured_output_optional_param", "test_json_mode")


def _waived(*, run: bool, reason: str) -> Any:
    @pytest.mark.xfail(reason=reason, run=run, strict=False)
    def test(self: Any, model: BaseChatModel) -> None:
        getattr(super(TestOnTheLocalModel, self), test.__name__)(model)

    return test


pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


class TestOnTheLocalModel(ChatModelIntegrationTests):
    """SmolLM2 reads text only, and one model is served, so the switches for media and other models are off."""

    chat_model_class = RouterChatModel
    supports_json_mode = True
    supports_model_override = True
    model_override_value = "smollm2-135m"

    @pytest.fixture(autouse=True)
    def _serve(self, local_server: LocalServer) -> None:
        self.server = local_server

    @property
    def chat_model_params(self) -> dict[str, Any]:
        wire = {"api_base": self.server.base_url, "api_key": "none", "temperature": 0}
        able = {"tools": True, "tool_choice": True, "schema": True, "vision": False}
        return {
            "candidates": [
                Candidate(
                    "openai/smollm2-135m",
                    name=name,
                    params={**wire, "max_tokens": budget},
                    input_price=price,
                    output_price=4 * price,
                    strength=strength,
                    **able,
                )
                for name, budget, price, strength in (("smollm2-135m", 64, 1e-7, 0.4), ("thorough", 160, 1e-6, 0.9))
            ]
        }


for _name in _NOT_HERE:
    _test = _waived(run=False, reason="SmolLM2 reads text only, and there is no recorded traffic of a local server")
    _test.__name__ = _name
    setattr(TestOnTheLocalModel, _name, _test)
for _name in _TOO_HARD:
    _test = _waived(run=True, reason="a model of 135 million parameters does not always do this")
    _test.__name__ = _name
    setattr(TestOnTheLocalModel, _name, _test)
