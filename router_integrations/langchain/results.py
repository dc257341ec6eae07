"""What the caller gets: the message with its trace, the parsed object, or an error that LangChain knows too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.runnables.utils import AddableDict

from router_integrations.adapters.attempting import failed_also
from router_integrations.errors import AllCandidatesFailed, Family, ProviderError, RouterError
from router_integrations.langchain.binding import Binding, SchemaBinding
from router_integrations.langchain.errors import MODEL_ERRORS
from router_integrations.langchain.host import Reply
from router_integrations.trace import Trace


def answered(trace: Trace, binding: Binding | None) -> Any:
    """Return what the caller asked for: the message with the trace on it, or the parsed object."""
    reply: Reply = trace.answer.native  # type: ignore[union-attr]  # a run that ends well has an answer
    message = with_trace(reply.message, trace)
    if not isinstance(binding, SchemaBinding):
        return message
    if binding.include_raw:
        return {**reply.as_raw(), "raw": message}
    return reply.parsed


def with_trace(message: Any, trace: Trace) -> Any:
    """Return a copy of `message` that carries the trace; the original may sit in a cache."""
    return message.model_copy(update={"response_metadata": {**message.response_metadata, "router": trace.as_dict()}})


def ends(chunk: BaseMessage) -> bool:
    """Whether `chunk` is the last of its stream, or the whole of it."""
    return not isinstance(chunk, AIMessageChunk) or chunk.chunk_position == "last"


class Tail:
    """Holds back the last chunk of a stream, for the trace is known only when the stream has ended."""

    def __init__(self, binding: Binding | None) -> None:
        self._with_raw = isinstance(binding, SchemaBinding) and binding.include_raw
        self._passes = isinstance(binding, SchemaBinding) and not binding.include_raw
        self._held: Any = None

    def hold(self, chunk: Any) -> Iterator[Any]:
        """Yield what may go on now."""
        message = chunk.get("raw") if self._with_raw else chunk
        if self._passes or message is None or not ends(message):
            yield chunk
            return
        if self._held is not None:
            yield self._held
        self._held = chunk

    def release(self, trace: Trace) -> Iterator[Any]:
        """Yield the last chunk with the trace on it; objects made from a schema carry none, only their raw message."""
        if self._with_raw:
            held = self._held or {"raw": AIMessageChunk(content="")}
            yield AddableDict({**held, "raw": with_trace(held["raw"], trace)})
        elif not self._passes:
            yield with_trace(self._held if self._held is not None else AIMessageChunk(content=""), trace)


def failed(error: RouterError, binding: Binding | None) -> Any:
    """Return what LangChain returns for an answer that broke the schema; raise for every other failure.

    Raises:
        RouterError: `error`, for `AllCandidatesFailed` as a class that is LangChain's error for the last failure too.
    """
    if not isinstance(error, AllCandidatesFailed):
        raise error
    cause = error.__cause__
    family = cause.family if isinstance(cause, ProviderError) else None
    if isinstance(binding, SchemaBinding) and family == "schema" and error.trace is not None:
        reply: Reply = error.trace.attempts[-1].native
        if binding.include_raw:
            return {**reply.as_raw(), "raw": with_trace(reply.message, error.trace)}
        if reply.parsing_error is None:
            return None
    raised = _class(family)(str(error))
    raised.trace = error.trace
    raise raised from cause


def _class(family: Family | None) -> type[AllCandidatesFailed]:
    if family is None or family == "unsure":
        return AllCandidatesFailed
    theirs: type[Exception] = MODEL_ERRORS.get(family, OutputParserException)
    return failed_also(theirs)  # type: ignore[arg-type]  # mypy takes classes for unhashable
