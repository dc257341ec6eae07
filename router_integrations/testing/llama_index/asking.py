"""The ways of asking an LLM of LlamaIndex, and what can be heard of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers.base import BaseEventHandler
from llama_index_instrumentation.events.span import SpanDropEvent

_STARTS = (LLMChatStartEvent, LLMCompletionStartEvent)
_PIECES = (LLMChatInProgressEvent, LLMCompletionInProgressEvent)
_ENDS = (LLMChatEndEvent, LLMCompletionEndEvent)


@dataclass(frozen=True)
class Way:
    """One of the eight methods that ask an LLM.

    Args:
        method: Its name.

    >>> Way("astream_chat").streamed, Way("acomplete").awaited, Way("chat").streamed
    (True, True, False)
    """

    method: str

    def __str__(self) -> str:
        return self.method

    @property
    def awaited(self) -> bool:
        """Whether it is asynchronous."""
        return self.method.startswith("a")

    @property
    def streamed(self) -> bool:
        """Whether the answer comes in chunks."""
        return "stream" in self.method

    def ask(self, llm: Any, messages: Any, **options: Any) -> list[Any]:
        """Return all responses: the chunks of a stream, or the one whole response."""
        if self.awaited:
            return asyncio.run(self.aask(llm, messages, **options))
        answer = self._call(llm, messages, options)
        return list(answer) if self.streamed else [answer]

    async def aask(self, llm: Any, messages: Any, **options: Any) -> list[Any]:
        """Return what `ask` does, of an asynchronous way."""
        answer = await self._call(llm, messages, options)
        return [chunk async for chunk in answer] if self.streamed else [answer]

    def leave(self, llm: Any, messages: Any, look: Callable[[], Any] = lambda: None) -> Any:
        """Take the chunks of a stream up to the first with a text, close it, and return what `look` saw before that."""
        if self.awaited:
            return asyncio.run(self._aleave(llm, messages, look))
        chunks = self._call(llm, messages, {})
        next(chunk for chunk in chunks if text_of(chunk))
        seen = look()
        chunks.close()
        return seen

    async def _aleave(self, llm: Any, messages: Any, look: Callable[[], Any]) -> Any:
        chunks = await self._call(llm, messages, {})
        async for chunk in chunks:
            if text_of(chunk):
                break
        seen = look()
        await chunks.aclose()
        return seen

    def _call(self, llm: Any, messages: Any, options: dict[str, Any]) -> Any:
        if isinstance(messages, str) and "chat" in self.method:
            messages = [ChatMessage(content=messages)]
        return getattr(llm, self.method)(messages, **options)


WAYS = [
    Way(f"{awaited}{streamed}{kind}")
    for kind in ("chat", "complete")
    for awaited in ("", "a")
    for streamed in ("", "stream_")
]
every_way = pytest.mark.parametrize("way", WAYS, ids=str)
whole_ways = pytest.mark.parametrize("way", [way for way in WAYS if not way.streamed], ids=str)
streamed_ways = pytest.mark.parametrize("way", [way for way in WAYS if way.streamed], ids=str)
chat_ways = pytest.mark.parametrize("way", [way for way in WAYS if "chat" in way.method], ids=str)
blocking_streams = pytest.mark.parametrize("way", [way for way in WAYS if way.streamed and not way.awaited], ids=str)
awaited_streams = pytest.mark.parametrize("way", [way for way in WAYS if way.streamed and way.awaited], ids=str)
awaited_ways = pytest.mark.parametrize("way", [way for way in WAYS if way.awaited], ids=str)


@dataclass(frozen=True)
class ToolWay:
    """One of the four methods that ask an LLM with tools.

    Args:
        way: How the LLM is asked underneath.

    >>> str(ToolWay(Way("achat")))
    'achat_with_tools'
    """

    way: Way

    def __str__(self) -> str:
        return f"{self.way.method}_with_tools"

    def ask(self, llm: Any, tools: Sequence[Any], user_msg: Any = None, **options: Any) -> list[Any]:
        """Return all responses: the chunks of a stream, or the one whole response."""
        asked = Way(str(self))
        return asked.ask(llm, tools, user_msg=user_msg, **options)


TOOL_WAYS = [ToolWay(way) for way in WAYS if "chat" in way.method]
every_tool_way = pytest.mark.parametrize("way", TOOL_WAYS, ids=str)
whole_tool_ways = pytest.mark.parametrize("way", [way for way in TOOL_WAYS if not way.way.streamed], ids=str)
streamed_tool_ways = pytest.mark.parametrize("way", [way for way in TOOL_WAYS if way.way.streamed], ids=str)


def text_of(response: Any) -> str:
    """Return the text of a chat response or of a completion."""
    return (response.message.content if hasattr(response, "message") else response.text) or ""


def tokens_of(response: Any) -> tuple[int, int]:
    """Return the prompt's and the answer's tokens as LlamaIndex's own counter reads them from `raw`."""
    return get_tokens_from_response(response)


class _Legacy(BaseCallbackHandler):
    """Keeps what the callback manager tells."""

    def __init__(self) -> None:
        super().__init__(event_starts_to_ignore=[], event_ends_to_ignore=[])
        self.started: list[str] = []
        self.ended: dict[str, Any] = {}
        self.ends = 0

    def on_event_start(
        self, event_type: CBEventType, payload: Any = None, event_id: str = "", parent_id: str = "", **_: Any
    ) -> str:
        if event_type == CBEventType.LLM:
            self.started.append(event_id)
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **_: Any) -> None:
        if event_type == CBEventType.LLM:
            self.ends += 1
            self.ended[event_id] = payload or {}

    def start_trace(self, trace_id: str | None = None) -> None: ...

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None: ...


class _Listener(BaseEventHandler):
    """Keeps what the dispatcher tells."""

    heard: list[Any]

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.heard.append(event)


@dataclass
class Heard:
    """What handlers were told of one or more calls.

    Args:
        events: The dispatcher's events, in order.
        legacy: The callback manager's LLM events.
    """

    events: list[Any] = field(default_factory=list)
    legacy: _Legacy = field(default_factory=_Legacy)

    @property
    def starts(self) -> list[Any]:
        """The events with which a call of a model starts."""
        return [event for event in self.events if isinstance(event, _STARTS)]

    @property
    def pieces(self) -> list[Any]:
        """The events of a stream's chunks."""
        return [event for event in self.events if isinstance(event, _PIECES)]

    @property
    def ends(self) -> list[Any]:
        """The events with which a call of a model ends well."""
        return [event for event in self.events if isinstance(event, _ENDS)]

    @property
    def failures(self) -> list[Any]:
        """The events of failures."""
        return [event for event in self.events if isinstance(event, (ExceptionEvent, SpanDropEvent))]


@contextlib.contextmanager
def listening(llm: Any) -> Iterator[Heard]:
    """Hear what `llm` tells the dispatcher and its callback manager."""
    heard = Heard()
    root = get_dispatcher()
    listener = _Listener(heard=heard.events)
    before, llm.callback_manager = llm.callback_manager, CallbackManager([heard.legacy])
    listener.heard = heard.events
    root.add_event_handler(listener)
    try:
        yield heard
    finally:
        root.event_handlers.remove(listener)
        llm.callback_manager = before
