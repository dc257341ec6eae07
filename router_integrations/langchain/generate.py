"""`generate` for a chat model that is no model itself: each prompt is answered as `invoke` answers it."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID, uuid4

from langchain_core.callbacks import CallbackManagerForLLMRun, Callbacks
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult, RunInfo
from langchain_core.runnables import RunnableConfig


class InvokedGenerate(BaseChatModel):
    """`generate` and `agenerate` on `invoke` and `ainvoke`, so that no run is opened and no token counted twice."""

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer each prompt as `invoke` does; the first failure ends the call."""
        config = _config_of(callbacks, tags, metadata, run_name)
        ids = _run_ids(len(messages), run_id)
        answers = [
            self.invoke(prompt, {**config, "run_id": one}, stop=stop, **kwargs)
            for prompt, one in zip(messages, ids, strict=True)
        ]
        return _llm_result(answers, ids)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Async `generate`, the prompts at once; all end before the first failure is raised."""
        config = _config_of(callbacks, tags, metadata, run_name)
        ids = _run_ids(len(messages), run_id)
        asked = (
            self.ainvoke(prompt, {**config, "run_id": one}, stop=stop, **kwargs)
            for prompt, one in zip(messages, ids, strict=True)
        )
        answers: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return _llm_result(answers, ids)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError(
            "a router makes no model call of its own; use invoke, stream, batch or generate, which ask a candidate"
        )


def _config_of(callbacks: Callbacks, tags: Any, metadata: Any, run_name: str | None) -> RunnableConfig:
    given = {"callbacks": callbacks, "tags": tags, "metadata": metadata, "run_name": run_name}
    return cast("RunnableConfig", {name: value for name, value in given.items() if value is not None})


def _run_ids(count: int, first: UUID | None) -> list[UUID]:
    """Return the run ids of a `generate` call: the caller's for its first prompt, new ones for the rest."""
    return [first if first is not None and index == 0 else uuid4() for index in range(count)]


def _llm_result(answers: Sequence[AIMessage], ids: Sequence[UUID]) -> LLMResult:
    """Return the answers of a `generate` call in LangChain's form."""
    return LLMResult(
        generations=[[ChatGeneration(message=answer)] for answer in answers],
        llm_output={},
        run=[RunInfo(run_id=run_id) for run_id in ids],
    )
