"""The contract of LLMs over ours: the model of one candidate, and the router over several."""

from typing import Any

import pytest

from router_integrations import Candidate, Fixed, Limits
from router_integrations.llama_index import LiteLLMModel, RouterLLM
from router_integrations.testing.llama_index import FunctionCallingLLMContract, waived
from router_integrations.testing.server import ScriptedServer

Contract = FunctionCallingLLMContract
ABLE: dict[str, Any] = {
    **dict.fromkeys(("tools", "tool_choice", "schema", "vision", "audio", "pdf"), True),
    "context_window": 32_000,
    "output_price": 4e-6,
    "max_retries": 0,
}
# What the contract asks of failures is asked of one call: a second candidate would answer.
ONE_CALL = Limits(max_calls=1)


def candidate(server: ScriptedServer, model: str, key: str) -> Candidate:
    params = {"api_base": server.base_url, "api_key": key}
    price = {"contract": 1e-6, "other": 1.0}[model]
    return Candidate(f"openai/{model}", name=model, params=params, input_price=price, **ABLE)


class TestLiteLLMModel(Contract):
    @pytest.fixture
    def llm(self, server: ScriptedServer) -> Any:
        return LiteLLMModel(candidate=candidate(server, self.model, self.secret))


class TestRouterLLM(Contract):
    @pytest.fixture
    def llm(self, server: ScriptedServer) -> Any:
        pool = [candidate(server, name, self.secret) for name in ("other", self.model)]
        return RouterLLM(candidates=pool, limits=ONE_CALL)


class TestRouterOverOwnLLMs(Contract):
    @pytest.fixture
    def llm(self, server: ScriptedServer) -> Any:
        own = [LiteLLMModel(candidate=candidate(server, name, self.secret)) for name in ("other", self.model)]
        pool = [Candidate(llm.candidate.name, model=llm, input_price=1e-6, **ABLE) for llm in own]
        return RouterLLM(candidates=pool, strategy=Fixed(name=self.model), limits=ONE_CALL)

    test_dictionary_form_comes_back = waived(
        Contract.test_dictionary_form_comes_back,
        reason="a dictionary holds neither the user's LLMs nor a strategy; a folder of `save` does",
    )
