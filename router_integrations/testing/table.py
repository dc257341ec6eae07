"""Runs strategies on recorded outcomes instead of models: same engine, no I/O."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a candidate once replied, or how it failed.

    Args:
        text: The text of the reply.
        tool_calls: Tool calls of the reply, each with `name`, `args` and `id`.
        logprobs: Log-probability of each token of the reply.
        top_logprobs: Those of the likeliest tokens at each place.
        finish_reason: The provider's word for why it stopped.
        usage: Tokens; `None` when no usage is known.
        cost: USD; `None` takes the candidate's price of `usage`.
        latency: Seconds the call took; 0 lets the engine measure.
        error: The failure; `None` for a reply.

    >>> Outcome(text="4").error is None
    True
    """

    text: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[tuple[float, ...], ...] = ()
    finish_reason: str | None = "stop"
    usage: Usage | None = None
    cost: float | None = None
    latency: float = 0.0
    error: ProviderError | None = None


class TableHost:
    """An `engine.Host` that answers each call from a table; a streamed reply comes one character at a time.

    Safe to share between threads and event loops.

    Args:
        outcomes: By candidate name: its outcome, or a list of them, one for each of its calls; the last one repeats.

    Attributes:
        calls: The calls made, in order.

    Raises:
        ConfigurationError: A candidate has an empty list of outcomes, or a call is made that the table does not hold.

    >>> from router_integrations import Candidate, Fixed, Request
    >>> from router_integrations.engine import run
    >>> from router_integrations.steps import Run
    >>> request = Request(text="2 + 2?", candidates=(Candidate("small", model=object()),))
    >>> run(Run(strategy=Fixed(), request=request), TableHost({"small": Outcome(text="4")})).answer.text
    '4'
    """

    def __init__(self, outcomes: Mapping[str, Outcome | Sequence[Outcome]]) -> None:
        self.outcomes = outcomes
        self.calls: list[Call] = []
        self._made: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._rows = {name: (row,) if isinstance(row, Outcome) else tuple(row) for name, row in outcomes.items()}
        for name, row in self._rows.items():
            if not row:
                raise ConfigurationError(f"the table has no outcome of {name!r}; give one or drop the name")

    @classmethod
    def replaying(cls, trace: Trace) -> TableHost:
        """Return a host that answers as the candidates did in `trace`.

        >>> TableHost.replaying(Trace()).outcomes
        {}
        """
        outcomes: dict[str, list[Outcome]] = {}
        for attempt in trace.attempts:
            outcomes.setdefault(attempt.call.candidate.name, []).append(_outcome(attempt))
        return cls(outcomes)

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Return the next outcome of the candidate, or raise its failure."""
        outcome = self._next(call)
        if outcome.error is not None:
            raise outcome.error
        return _attempt(call, outcome)

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        """Return the next outcome of the candidate, or raise its failure."""
        return self.ask(call, timeout)

    def stream(self, call: Call, timeout: float | None) -> Generator[Any, None, None]:
        """Yield the next outcome of the candidate, a character or a whole textless reply at a time."""
        outcome = self._next(call)
        if outcome.error is not None:
            raise outcome.error
        yield from _chunks(outcome)

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Yield the next outcome of the candidate, a character or a whole textless reply at a time."""
        for chunk in self.stream(call, timeout):
            yield chunk

    def attempt(self, call: Call, chunks: Sequence[Any]) -> Attempt:
        """Return what the streamed chunks amount to."""
        if not chunks:
            return Attempt(call=call)
        return _attempt(call, replace(chunks[-1], text="".join(chunk.text for chunk in chunks)))

    def replay(self, attempt: Attempt) -> Iterator[Any]:
        """Yield a buffered answer as chunks."""
        return _chunks(_outcome(attempt))

    def _next(self, call: Call) -> Outcome:
        name = call.candidate.name
        if name not in self._rows:
            raise ConfigurationError(f"the table has no outcome of {name!r}; it has {sorted(self._rows)}")
        with self._lock:
            made = self._made[name]
            self._made[name] += 1
            self.calls.append(call)
        row = self._rows[name]
        return row[min(made, len(row) - 1)]


def _chunks(outcome: Outcome) -> Iterator[Outcome]:
    for character in outcome.text or ("",):
        yield replace(outcome, text=character)


def _attempt(call: Call, outcome: Outcome) -> Attempt:
    cost = outcome.cost
    if cost is None and outcome.usage is not None:
        cost = call.candidate.cost(outcome.usage)
    return Attempt(
        call=call,
        text=outcome.text,
        tool_calls=outcome.tool_calls,
        logprobs=outcome.logprobs,
        top_logprobs=outcome.top_logprobs,
        finish_reason=outcome.finish_reason,
        model=call.candidate.id,
        usage=outcome.usage,
        cost=cost,
        latency=outcome.latency,
    )


def _outcome(attempt: Attempt) -> Outcome:
    return Outcome(
        text=attempt.text,
        tool_calls=attempt.tool_calls,
        logprobs=attempt.logprobs,
        top_logprobs=attempt.top_logprobs,
        finish_reason=attempt.finish_reason,
        usage=attempt.usage,
        cost=attempt.cost,
        latency=attempt.latency,
        error=attempt.error,
    )
