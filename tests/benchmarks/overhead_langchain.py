"""What `overhead.py` measures in LangChain: a model that answers at once, and routers over two of it."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from measuring import text
from pydantic import BaseModel, Field, create_model

from router_integrations import Candidate, Fixed
from router_integrations.langchain import RouterChatModel
from router_integrations.langchain.litellm_model import LiteLLMChatModel

# LiteLLM, which two of the arms import when they are made, would fetch it.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

BARE, FALLBACKS, CHAT_ROUTER, CASCADEFLOW = "bare model", "with_fallbacks", "ChatRouter", "cascadeflow"
FIXED, DIFFICULTY = "RouterChatModel, Fixed", "RouterChatModel, Difficulty"
BARE_LITELLM, COMPLEXITY = "litellm.acompletion", "LiteLLM complexity router"
LITELLM_MODEL, OVER_LITELLM = "LiteLLMChatModel, no router", "RouterChatModel, Difficulty, over LiteLLM ids"
CHUNKS, TOKENS = 200, 2000


class Fake(BaseChatModel):
    """Answers after `delay` seconds; streams 200 chunks at once."""

    model_name: str = "gpt-4o-mini"
    delay: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        stamp = {"model_name": self.model_name, "finish_reason": "stop"}
        usage: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        answer = AIMessage("Yes, that is right.", response_metadata=stamp, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.delay:
            await asyncio.sleep(self.delay)
        return self._generate(messages)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for index in range(CHUNKS):
            position: Any = "last" if index == CHUNKS - 1 else None
            yield ChatGenerationChunk(message=AIMessageChunk(content=" word", chunk_position=position))

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=[tool.model_json_schema() for tool in tools], **kwargs)


def _chat_router(a: BaseChatModel, b: BaseChatModel) -> Any:
    from langchain_model_router import ChatRouter

    return ChatRouter(routes={"a": a, "b": b}, default_route="a", strategy=lambda request: "a")


def _cascadeflow(a: BaseChatModel, b: BaseChatModel) -> Any:
    from cascadeflow.langchain import CascadeFlow

    every = ["trivial", "simple", "moderate", "hard", "expert"]
    return CascadeFlow(drafter=a, verifier=b, quality_threshold=0.0, cascade_complexities=every)


def _ours(strategy: dict[str, Any]) -> Callable[[BaseChatModel, BaseChatModel], Any]:
    return lambda a, b: RouterChatModel(candidates=[Candidate("a", model=a), Candidate("b", model=b)], **strategy)


MAKERS: dict[str, Callable[[BaseChatModel, BaseChatModel], Any]] = {
    BARE: lambda a, b: a,
    FALLBACKS: lambda a, b: a.with_fallbacks([b]),
    CHAT_ROUTER: _chat_router,
    CASCADEFLOW: _cascadeflow,
    FIXED: _ours({"strategy": Fixed(name="a")}),
    DIFFICULTY: _ours({}),
}
INSTALL = {
    CHAT_ROUTER: "pip install langchain-model-router==0.1.0",
    CASCADEFLOW: "pip install 'cascadeflow[langchain]==1.2.0'",
}


def models(*names: str, delay: float = 0.0) -> dict[str, Any]:
    """Return the models of these names, by default all; one that is not installed is left out."""
    made = {}
    for name in names or MAKERS:
        try:
            made[name] = MAKERS[name](Fake(delay=delay), Fake(model_name="gpt-4o", delay=delay))
        except ImportError:
            if name not in INSTALL:
                raise
    return made


def litellm_calls() -> dict[str, Callable[[Any], Any]]:
    """Return async calls through LiteLLM, which answers without calling anybody."""
    import litellm

    mock = {"api_key": "none", "mock_response": "Yes, that is right."}
    small, big = "openai/gpt-4o-mini", "openai/gpt-4o"
    tiers = {"SIMPLE": small, "MEDIUM": small, "COMPLEX": big, "REASONING": big}
    smart = {
        "model": "auto_router/complexity_router",
        "complexity_router_config": {"tiers": tiers},
        "complexity_router_default_model": small,
    }
    deployments = [{"model_name": name, "litellm_params": {"model": name, **mock}} for name in (small, big)]
    router = litellm.Router(model_list=[*deployments, {"model_name": "smart", "litellm_params": smart}])
    pool = [Candidate(small, params=mock), Candidate(big, params=mock)]
    return {
        BARE_LITELLM: lambda messages: litellm.acompletion(model=small, messages=_as_openai(messages), **mock),
        COMPLEXITY: lambda messages: router.acompletion(model="smart", messages=_as_openai(messages)),
        LITELLM_MODEL: LiteLLMChatModel(candidate=pool[0]).ainvoke,
        OVER_LITELLM: RouterChatModel(candidates=pool).ainvoke,
    }


def _as_openai(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": message.content} for message in messages]


def short_prompt() -> list[BaseMessage]:
    return [HumanMessage(text(10))]


def long_prompt() -> list[BaseMessage]:
    # The number at the end takes some ten tokens.
    return [HumanMessage(text(TOKENS - 10))]


def conversation(turns: int) -> list[BaseMessage]:
    trace = {"router": {"candidate": "a", "model": "gpt-4o-mini"}}
    history: list[BaseMessage] = []
    for _ in range(turns - 1):
        history += HumanMessage(text(20)), AIMessage(text(20), response_metadata=trace)
    return [*history, HumanMessage(text(20))]


def tools(count: int) -> list[type[BaseModel]]:
    city: Any = (str, Field(description=text(5)))
    return [create_model(f"Tool{index}", __doc__=text(12), city=city) for index in range(count)]
