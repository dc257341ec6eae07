"""What the tests of the router need again and again: own LLMs, routers over them or over the scripted server."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import Field

from router_integrations import Candidate
from router_integrations.llama_index import RouterLLM
from router_integrations.testing.llama_index.asking import WAYS, Way
from tests.wired import CHEAP, DEAR, Seen

every_way = pytest.mark.parametrize("way", WAYS, ids=str)
chat_ways = pytest.mark.parametrize("way", [way for way in WAYS if "chat" in way.method], ids=str)
streamed_ways = pytest.mark.parametrize("way", [way for way in WAYS if way.streamed], ids=str)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Own(FunctionCallingLLM):
    """A user's own LLM: plays `replies` in turn, the last one for ever, and keeps what it was asked.

    A reply is a text, blocks, or an exception, which is raised.
    """

    label: str = "own"
    calls: bool = True
    streams: bool = True
    usage: dict[str, int] | None = Field(default_factory=lambda: dict(USAGE))
    replies: list[Any] = Field(default_factory=lambda: ["one two three"])
    asked: list[list[ChatMessage]] = Field(default_factory=list)
    settings: list[dict[str, Any]] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "own_llm"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.label, is_chat_model=True, is_function_calling_model=self.calls)

    def _next(self, messages: Any, settings: dict[str, Any]) -> list[Any]:
        self.asked.append(list(messages))
        self.settings.append(settings)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return [TextBlock(text=reply)] if isinstance(reply, str) else list(reply)

    def _response(self, blocks: list[Any], delta: str | None = None) -> ChatResponse:
        raw = None if self.usage is None else {"model": self.label, "usage": self.usage}
        return ChatResponse(message=ChatMessage(role="assistant", blocks=blocks), raw=raw, delta=delta)

    def _pieces(self, blocks: list[Any]) -> Iterator[ChatResponse]:
        said = ""
        for number, word in enumerate((ChatMessage(blocks=blocks).content or "").split()):
            delta = word if number == 0 else f" {word}"
            said += delta
            yield self._response([TextBlock(text=said)], delta)
        if any(isinstance(block, ToolCallBlock) for block in blocks):
            yield self._response(blocks, "")

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._response(self._next(messages, kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._response(self._next(messages, kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        if not self.streams:
            raise NotImplementedError
        return (piece for piece in self._pieces(self._next(messages, kwargs)))

    @llm_chat_callback()
    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        if not self.streams:
            raise NotImplementedError

        async def pieces() -> AsyncIterator[ChatResponse]:
            for piece in self._pieces(self._next(messages, kwargs)):
                yield piece

        return pieces()

    def complete(self, prompt: str, formatted: Any = False, **kwargs: Any) -> Any:  # noqa: FBT002
        raise AssertionError("the router asks with chat")

    acomplete = stream_complete = astream_complete = complete

    def _prepare_chat_with_tools(
        self,
        tools: Any,
        user_msg: Any = None,
        chat_history: Any = None,
        tool_required: Any = False,  # noqa: FBT002
        **kwargs: Any,
    ) -> dict[str, Any]:
        kwargs["tool_required"] = tool_required
        return {"messages": chat_history, "tools": [tool.metadata.name for tool in tools], **kwargs}

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: Any = True,  # noqa: FBT002
        **kwargs: Any,
    ) -> list[ToolSelection]:
        raise ValueError("half of the arguments are still to come")


class Words(CustomLLM):
    """A user's own LLM that completes texts and knows no tools."""

    text: str = "one two three"
    prompts: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="words")

    def complete(self, prompt: str, formatted: Any = False, **kwargs: Any) -> Any:  # noqa: FBT002
        self.prompts.append(prompt)
        return CompletionResponse(text=self.text)

    def stream_complete(self, prompt: str, formatted: Any = False, **kwargs: Any) -> Any:  # noqa: FBT002
        yield self.complete(prompt)


class Line(Seen):
    """The scripted server as one test sees it, with routers over it."""

    def router(self, *, small: Any = None, big: Any = None, **options: Any) -> RouterLLM:
        """Return a router over "small" and "big"."""
        pool = [
            self.candidate("openai/small", **(small or {})),
            self.candidate("openai/big", **{**DEAR, **(big or {})}),
        ]
        return RouterLLM(candidates=pool, **options)


def router_over(small: Any, big: Any, **options: Any) -> RouterLLM:
    """Return a router over two own LLMs."""
    pool = [Candidate("small", model=small, **CHEAP), Candidate("big", model=big, **DEAR)]
    return RouterLLM(candidates=pool, **options)


def trace_of(response: Any) -> dict[str, Any]:
    trace: dict[str, Any] = response.additional_kwargs["router"]
    return trace


async def answer(llm: Any, way: Way, asked: Any, **options: Any) -> Any:
    """Return what one way of asking answers; of a stream, the last response."""
    return (await way.aask(llm, asked, **options) if way.awaited else way.ask(llm, asked, **options))[-1]
