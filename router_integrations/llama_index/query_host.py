"""How a cascade of query engines makes the engine's calls, and what their responses say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeGuard

from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.schema import QueryBundle
from pydantic import BaseModel

from router_integrations.adapters.rungs import Grade, Output, step_fault
from router_integrations.llama_index.metering import Meter, metered
from router_integrations.types import Attempt, Call

# What LlamaIndex's synthesizers say when nothing was found, or the model said nothing.
NOTHING = "Empty Response"
# What the last model inside an engine tells of the text that it wrote.
_OF_THE_MODEL = ("logprobs", "top_logprobs", "finish_reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Part of an answer: the response comes with the first one, a token with each when it streams.

    Args:
        response: What the engine returned; `None` after the first piece.
        token: New text; `None` when the response does not stream.
    """

    response: RESPONSE_TYPE | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What an engine returned, with its tokens where it streamed."""

    response: RESPONSE_TYPE
    tokens: Sequence[str] | None

    def whole(self) -> Any:
        """Return the response as if it had not streamed."""
        if self.tokens is None:
            return self.response
        return Response("".join(self.tokens), self.response.source_nodes, self.response.metadata)


@dataclass(kw_only=True)
class QueryHost:
    """Makes the calls of one query on the query engines that the candidates have as models.

    Args:
        query: What the caller asks; every engine gets it as it is.
        costs: USD of one call, by name, of engines whose usage or prices nobody knows.
        grade: The user's function of query and response.
    """

    query: QueryBundle
    costs: Mapping[str, float]
    grade: Grade | None
    _meters: dict[int, Meter] = field(default_factory=dict)

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Ask the engine; a sync one can't be interrupted, so `timeout` is not held."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        try:
            with metered(meter):
                response = call.candidate.model.query(self.query)
                tokens = [*_tokens(response)] if _streams(response) else None
            attempt = self._attempt(call, response, tokens, meter)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; the attempt keeps it
            return replace(_empty(call, meter), error=step_fault(error))
        return self._judged(attempt)

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        """Async `ask`."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        try:
            with metered(meter):
                response = await self._arespond(call)
                tokens = [token async for token in _atokens(response)] if _streams(response) else None
            attempt = self._attempt(call, response, tokens, meter)
        except Exception as error:  # noqa: BLE001 - as in `ask`
            return replace(_empty(call, meter), error=step_fault(error))
        # The user's function may take its time.
        return attempt if self.grade is None or call.final else await asyncio.to_thread(self._judged, attempt)

    def stream(self, call: Call, timeout: float | None) -> Generator[Piece, None, None]:
        """Ask the engine; yield its response with the first token, if it streams, and then the other tokens."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        # A context of its own: what a generator sets, whoever reads it would see between two tokens.
        within: Callable[..., Any] = partial(copy_context().run, _within, meter)  # type: ignore[call-arg]
        tokens: Iterator[str] = iter(())
        try:
            response = within(call.candidate.model.query, self.query)
            if not _streams(response):
                yield Piece(response=response)
                return
            tokens = _tokens(response)
            yield Piece(response=response, token=within(next, tokens, ""))
            while (token := within(next, tokens, None)) is not None:
                yield Piece(token=token)
        except Exception as error:
            raise step_fault(error) from error
        finally:
            if (close := getattr(tokens, "close", None)) is not None:
                close()

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[Piece, None]:
        """Async `stream`."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        tokens: AsyncIterator[str] | None = None
        try:
            with metered(meter):
                response = await self._arespond(call)
            if not _streams(response):
                yield Piece(response=response)
                return
            tokens = _atokens(response)
            first, began_in = await _anext(tokens, meter) or "", asyncio.get_running_loop()
            yield Piece(response=response, token="")
            if asyncio.get_running_loop() is not began_in:
                # `str` of a response, as agents' tools take it, reads it in a loop that the connection is not of.
                with metered(meter):
                    again: Any = await self._arespond(call)
                tokens, first = _atokens(again), ""
            yield Piece(token=first)
            while (token := await _anext(tokens, meter)) is not None:
                yield Piece(token=token)
        except Exception as error:
            raise step_fault(error) from error
        finally:
            if (close := getattr(tokens, "aclose", None)) is not None:
                await close()

    def attempt(self, call: Call, chunks: Sequence[Piece]) -> Attempt:
        """Return what a stream amounts to; without pieces, what the models inside had used when it was cut short."""
        meter = self._meters.get(id(call)) or Meter(rung=call.candidate)
        if not chunks:
            return _empty(call, meter)
        streams = chunks[0].token is not None
        return self._attempt(call, chunks[0].response, [one.token or "" for one in chunks] if streams else None, meter)

    def replay(self, attempt: Attempt) -> Iterator[Piece]:
        """Yield a buffered response, as a stream if it was one."""
        draft: Draft = attempt.native.value
        first, *rest = [None] if draft.tokens is None else draft.tokens or [""]
        yield Piece(response=draft.response, token=first)
        for token in rest:
            yield Piece(token=token)

    async def _arespond(self, call: Call) -> RESPONSE_TYPE:
        return await call.candidate.model.aquery(self.query)  # type: ignore[no-any-return]

    def _attempt(self, call: Call, response: Any, tokens: Sequence[str] | None, meter: Meter) -> Attempt:
        """Return the attempt, with what the last model inside says of the tokens that it made."""
        nodes = response.source_nodes
        text = text_of(response) if tokens is None else "".join(tokens)
        cost = self.costs.get(call.candidate.name) if meter.cost is None else meter.cost
        return Attempt(
            call=call,
            text="" if text.strip() == NOTHING else text,
            **{name: meter.last[name] for name in _OF_THE_MODEL if name in meter.last},
            model=meter.model,
            usage=meter.usage,
            cost=cost,
            sources=tuple(one.node.get_content() for one in nodes),
            source_scores=tuple(one.score for one in nodes if one.score is not None),
            native=Output(value=Draft(response=response, tokens=tokens)),
        )

    def _judged(self, attempt: Attempt) -> Attempt:
        if self.grade is None or attempt.call.final:
            return attempt
        draft: Draft = attempt.native.value
        try:
            confidence: Any = self.grade(self.query, draft.whole())
        except Exception as error:  # noqa: BLE001 - raised where the answer is judged, so that the trace has it
            confidence = error
        return replace(attempt, native=Output(value=draft, confidence=confidence))


def text_of(response: Any) -> str:
    """Return the text of a response that does not stream; of an object its JSON.

    >>> text_of(Response("Paris")), text_of(Response(None))
    ('Paris', '')
    """
    if isinstance(response.response, BaseModel):
        return response.response.model_dump_json()
    return response.response or ""


def _empty(call: Call, meter: Meter) -> Attempt:
    """Return the attempt of an engine that gave nothing; what the models inside had used by then is paid for."""
    return Attempt(call=call, model=meter.model, usage=meter.usage, cost=meter.cost)


def _within(meter: Meter, function: Callable[..., Any], *args: Any) -> Any:
    with metered(meter):
        return function(*args)


def _streams(response: Any) -> TypeGuard[StreamingResponse | AsyncStreamingResponse]:
    return isinstance(response, StreamingResponse | AsyncStreamingResponse)


def _tokens(response: StreamingResponse | AsyncStreamingResponse) -> Iterator[str]:
    if isinstance(response, AsyncStreamingResponse):
        raise TypeError("the engine streams asynchronously, so it must be asked with aquery")
    return iter(response.response_gen)


async def _atokens(response: StreamingResponse | AsyncStreamingResponse) -> AsyncGenerator[str, None]:
    if isinstance(response, AsyncStreamingResponse):
        # Whoever leaves it leaves the model's stream too, and now.
        async with aclosing(response.response_gen) as source:
            async for token in source:
                yield token
        return
    tokens = iter(response.response_gen)
    while (said := await asyncio.to_thread(_next, tokens)) is not None:
        yield said


def _next(tokens: Iterator[str]) -> str | None:
    return next(tokens, None)


async def _anext(tokens: AsyncIterator[str], meter: Meter) -> str | None:
    # Only while it waits: between two tokens the context is the reader's.
    with metered(meter):
        return await anext(tokens, None)
