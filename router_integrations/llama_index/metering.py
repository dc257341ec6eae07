"""What the models inside a LlamaIndex component use, read from the instrumentation events of their calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index_instrumentation import get_dispatcher

from router_integrations.adapters.rungs import Spoken, Tally
from router_integrations.candidates import Candidate
from router_integrations.llama_index.convert import attempt_fields
from router_integrations.llama_index.litellm_llm import PRICES

# LlamaIndex's own word for a model without a name.
_NAMELESS = (None, "", "unknown")


@dataclass(kw_only=True, eq=False)
class Meter(Tally):
    """Counts what the models inside a rung use, each under its own name and at its own price.

    A model that asks another one, as LlamaIndex's own wrappers do, is not counted beside it.
    """

    outer: Meter | None = None
    _asked: dict[str | None, Mapping[str, Any]] = field(default_factory=dict)
    _parents: dict[str, str | None] = field(default_factory=dict)
    _wrapping: set[str | None] = field(default_factory=set)

    def entered(self, span: str, parent: str | None) -> None:
        """Note a span that opens inside the rung."""
        self._parents[span] = parent
        if self.outer is not None:
            self.outer.entered(span, parent)

    def noted(self, event: BaseEvent) -> None:
        """Note that a model is asked, or has answered."""
        if isinstance(event, LLMChatStartEvent | LLMCompletionStartEvent):
            self._wrapping.update(self._around(event.span_id))
            self._asked[event.span_id] = event.model_dict
        elif isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent):
            asked = self._asked.pop(event.span_id, {})
            if event.span_id not in self._wrapping and event.response is not None:
                self.spoken.append(self._spoken(asked, event.response))
        if self.outer is not None:
            self.outer.noted(event)

    @property
    def last(self) -> Mapping[str, Any]:
        """What the last model tells for an `Attempt`; nothing when none was seen."""
        return self.spoken[-1].message if self.spoken else {}

    def _around(self, span: str | None) -> Iterator[str | None]:
        """Yield the open model calls around a span."""
        while span is not None:
            span = self._parents.get(span)
            if span in self._asked:
                yield span

    def _spoken(self, asked: Mapping[str, Any], response: ChatResponse | CompletionResponse) -> Spoken:
        chat = response if isinstance(response, ChatResponse) else as_chat(response)
        listed = next((asked[name] for name in ("model", "model_name") if asked.get(name) not in _NAMELESS), None)
        own_name = attempt_fields(chat, self.rung)["model"]
        told = attempt_fields(chat, self._paid_at(asked, listed, own_name))
        return Spoken(model=own_name or listed, usage=told["usage"], cost=told["cost"], message=told)

    def _paid_at(self, asked: Mapping[str, Any], *names: str | None) -> Candidate:
        """Return whose prices hold for a model: the rung's, those that our own LLM was given, or those of the map."""
        if self.rung.input_price is None and asked.get("input_price") is not None:
            prices: dict[str, Any] = {name: asked.get(name) for name in PRICES}
            return replace(self.rung, **prices)
        return self.priced(asked.get("provider"), *names)


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Count the model calls of the block, those of an outer block's meter too."""
    _listen()
    meter.outer = meter.outer or _METER.get()
    token = _METER.set(meter)
    try:
        yield
    finally:
        _METER.reset(token)


def as_chat(response: CompletionResponse) -> ChatResponse:
    """Return a completion as a chat response, which tells the same.

    >>> as_chat(CompletionResponse(text="4")).message.content
    '4'
    """
    message = ChatMessage(role=MessageRole.ASSISTANT, content=response.text)
    told = {"raw": response.raw, "logprobs": response.logprobs, "additional_kwargs": response.additional_kwargs}
    return ChatResponse(message=message, **told)


_METER: ContextVar[Meter | None] = ContextVar("router_integrations_meter", default=None)


class _Events(BaseEventHandler):
    """Hands every event to the meter of its context; there is one for the whole process."""

    @classmethod
    def class_name(cls) -> str:
        return "router_integrations.Meter"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if (meter := _METER.get()) is not None:
            meter.noted(event)


class _Spans(BaseSpanHandler[BaseSpan]):
    """Tells the meter which span is inside which; keeps none itself."""

    def new_span(
        self,
        id_: str,
        bound_args: Any,
        instance: Any = None,
        parent_span_id: str | None = None,
        tags: Any = None,
        **kwargs: Any,
    ) -> None:
        if (meter := _METER.get()) is not None:
            meter.entered(id_, parent_span_id)

    def prepare_to_exit_span(self, id_: str, *_: Any, **__: Any) -> None: ...

    def prepare_to_drop_span(self, id_: str, *_: Any, **__: Any) -> None: ...


@cache
def _listen() -> None:
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(_Events())
    dispatcher.add_span_handler(_Spans())
