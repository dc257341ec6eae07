"""Those of a router that only judge: chat models, and functions that read a text and say what they think of it."""

import dataclasses
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from router_integrations.adapters.judging import averdict, verdict
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.langchain.pool import own_model


class FunctionJudge(BaseChatModel):
    """A user's runnable or function as a chat model: it gets the last message's text, and what it says is the answer.

    Whatever it raises is a failed attempt. It uses no tokens, and nothing that it says is cached.

    Args:
        name: Name of the candidate.
        judge: The user's.

    >>> FunctionJudge(name="length", judge=len).invoke("four").content
    '4'
    """

    name: str
    judge: Any
    cache: bool = False

    @property
    def _llm_type(self) -> str:
        return "router-integrations-judge"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self.judge.invoke if isinstance(self.judge, Runnable) else self.judge
        return _result(self.name, verdict(call, messages[-1].text))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self.judge.ainvoke if isinstance(self.judge, Runnable) else self.judge
        return _result(self.name, await averdict(call, messages[-1].text))


def _result(name: str, said: Any) -> ChatResult:
    message = AIMessage(
        str(said.text if isinstance(said, BaseMessage) else said),
        response_metadata={"model_name": name},
        usage_metadata={"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


def as_judge(candidate: Candidate) -> Candidate:
    """Return `candidate` with a chat model where its own model is another runnable or a function, which costs nothing.

    Raises:
        ConfigurationError: Its model is neither.

    >>> as_judge(Candidate("length", model=len)).model.invoke("four").content
    '4'
    """
    model = candidate.model
    if model is None or isinstance(model, BaseChatModel):
        return own_model(candidate)
    if not isinstance(model, Runnable) and not callable(model):
        raise ConfigurationError(
            f"{candidate.name!r}: the model of a judge must be a chat model, a runnable or a function of a text but "
            f"got {type(model).__name__}"
        )
    judge = FunctionJudge(name=candidate.name, judge=model)
    return dataclasses.replace(candidate, model=judge, input_price=0.0, output_price=0.0)
