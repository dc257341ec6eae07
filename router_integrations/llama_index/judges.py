"""Those of a router that only judge: LLMs, and functions that read a text and say what they think of it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.custom import CustomLLM
from pydantic import BaseModel

from router_integrations.adapters.judging import averdict, verdict
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.llama_index.pool import own_llm


class FunctionJudge(CustomLLM):
    """A user's function as an LLM: it gets the text of the last message, and what it returns is the answer's text.

    Whatever it raises is a failed attempt. It uses no tokens, so nobody is told of a model's call.

    Args:
        name: Name of the candidate.
        function: The user's; may be a coroutine function. Any other runs off the event loop.

    >>> FunctionJudge(name="length", function=len).complete("four").text
    '4'
    """

    name: str
    function: Any

    def __getstate__(self) -> dict[Any, Any]:
        # LlamaIndex's way would take a function that cannot be pickled out of the judge itself.
        return BaseModel.__getstate__(self)

    @classmethod
    def class_name(cls) -> str:
        """Return what LlamaIndex calls this kind of LLM."""
        return "router_integrations_judge"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex may count on."""
        return LLMMetadata(model_name=self.name, is_chat_model=True)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return what the function says of the last message."""
        return _response(verdict(self.function, messages[-1].content or ""))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Async `chat`."""
        return _response(await averdict(self.function, messages[-1].content or ""))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002
        """Return what the function says of a prompt."""
        return CompletionResponse(text=self.chat([ChatMessage(role=MessageRole.USER, content=prompt)]).message.content)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002
        """Refuse: a verdict has nothing to stream.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a verdict has nothing to stream; use complete")


def _response(said: Any) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=str(said)))


def own_judge(candidate: Candidate) -> Candidate:
    """Return `candidate` with an LLM where its own model is a function, which costs nothing.

    Raises:
        ConfigurationError: Its model is neither.

    >>> own_judge(Candidate("length", model=len)).model.complete("four").text
    '4'
    """
    model = candidate.model
    if model is None or isinstance(model, LLM):
        return own_llm(candidate)
    if not callable(model):
        raise ConfigurationError(
            f"{candidate.name!r}: the model of a judge must be an LLM or a function of a text but got "
            f"{type(model).__name__}"
        )
    judge = FunctionJudge(name=candidate.name, function=model)
    return dataclasses.replace(candidate, model=judge, input_price=0.0, output_price=0.0)
