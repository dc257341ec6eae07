"""What the caller gets: the response with its trace, or an error that names the last failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base.event import BaseEvent
from llama_index_instrumentation.event_handlers import NullEventHandler

from router_integrations.llama_index.binding import Binding, SchemaBinding
from router_integrations.llama_index.host import Reply
from router_integrations.trace import Trace
from router_integrations.types import Usage

dispatcher = get_dispatcher(__name__)


class RouterEvent(BaseEvent):
    """A request of a router has ended, well or not.

    Args:
        trace: The trace, as in `Trace.as_dict`.
    """

    trace: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """Return what LlamaIndex calls this kind of event."""
        return "RouterEvent"


def tell(trace: Trace, span: str | None) -> None:
    """Tell whoever listens to the dispatcher, inside the router's span."""
    if _anybody_listens():
        dispatcher.event(RouterEvent(trace=trace.as_dict(), span_id=span))


def _anybody_listens() -> bool:
    # Most of the time nobody does, and an event takes longer to make than a decision.
    above: Any = dispatcher
    while all(isinstance(handler, NullEventHandler) for handler in above.event_handlers):
        if not above.propagate:
            return False
        above = above.parent
    return True


def responded(trace: Trace) -> ChatResponse:
    """Return the answer with the trace on it."""
    reply: Reply = trace.answer.native  # type: ignore[union-attr]  # a run that ends well has an answer
    return with_trace(reply.response, trace)


def with_trace(response: ChatResponse, trace: Trace) -> ChatResponse:
    """Return a copy of `response` that carries the trace, and the tokens where LlamaIndex looks for them."""
    usage = trace.answer.usage if trace.answer else None
    told = {**_tokens(usage), **response.additional_kwargs, "router": trace.as_dict()}
    update: dict[str, Any] = {"additional_kwargs": told}
    raw = {} if response.raw is None else response.raw
    if usage is not None and isinstance(raw, dict) and not (raw.get("usage") or raw.get("usage_metadata")):
        update["raw"] = {**raw, "usage": _tokens(usage)}
    return response.model_copy(update=update)


def _tokens(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    total = usage.input_tokens + usage.output_tokens
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}


class Tail:
    """Holds back the last response of a stream, for the trace is known only when the stream has ended.

    Only one that adds no text is held back until the next comes: it may be the last, and nobody waits for it.
    """

    def __init__(self, binding: Binding | None) -> None:
        # An object carries no trace.
        self._passes = isinstance(binding, SchemaBinding)
        self._held: ChatResponse | None = None
        self._last: ChatResponse | None = None

    def hold(self, response: Any, *, only: bool) -> Iterator[Any]:
        """Yield what may go on now.

        Args:
            response: The next of the stream.
            only: Whether it is the whole answer, with nothing before or after it.
        """
        if self._held is not None:
            yield self._held
        self._held = self._last = None
        if self._passes:
            yield response
        elif only or not response.delta:
            self._held = response
        else:
            self._last = response
            yield response

    def release(self, trace: Trace) -> Iterator[ChatResponse]:
        """Yield the last response with the trace on it; one that has been shown comes again, with nothing new."""
        if self._held is not None:
            yield with_trace(self._held, trace)
        elif not self._passes:
            last = self._last or ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=""))
            yield with_trace(last.model_copy(update={"delta": ""}), trace)
