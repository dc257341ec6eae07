"""What happens to one request, step by step, without any I/O.

`Run.steps` yields what to do and is sent what came back; `engine` obeys it, sync or async, streamed or not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    LimitExceeded,
    RouterError,
    StrategyError,
    StreamInterrupted,
)
from router_integrations.health import Health
from router_integrations.limits import Limits
from router_integrations.pacer import Pacer
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Request, Stop, Strategy

# With somebody else to ask, nobody waits longer than this for a busy candidate (seconds).
_PATIENCE = 1.0
_LONGEST_WAIT = 60.0
# The first wait before a call is made again; each further one is twice as long (seconds).
_BACKOFF = 0.25
_jitter = random.Random()


@dataclass(frozen=True, slots=True)
class Ask:
    """Make these calls at once, each within its `timeouts` entry (seconds; `None` is no limit)."""

    calls: tuple[Call, ...]
    timeouts: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass."""

    seconds: float


@dataclass(kw_only=True)
class Run:
    """One request on its way through a strategy.

    Args:
        strategy: Decides.
        request: The query, with the candidates that can take it.
        rejected: Why each other candidate cannot, by name; for the trace.
        limits: How far the request may go.
        health: Which candidates rest; told how each call ended.
        pacer: Told what the request has cost when it ends, however it does.
        decide_seconds: Seconds already spent deciding, before the first step.

    Attributes:
        trace: What happened; set when the run ends, errors included.
    """

    strategy: Strategy
    request: Request
    rejected: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    health: Health = field(default_factory=Health)
    pacer: Pacer | None = None
    decide_seconds: float = 0.0
    trace: Trace = field(default_factory=Trace)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._name = type(self.strategy).__name__
        self._attempts: tuple[Attempt, ...] = ()
        self._failed: set[str] = set()
        self._first: Call | None = None

    def steps(self) -> Generator[Ask | Wait, Sequence[Attempt], Trace]:
        """Yield what to do, be sent the attempts, return the trace.

        Raises:
            AllCandidatesFailed: Nobody is left to ask.
            LimitExceeded: The deadline or the budget came before an answer.
            StrategyError: The strategy returned nonsense or never stops.
            Abstained: The strategy chose to give no answer.
        """
        try:
            return (yield from self._loop())
        finally:
            # Here rather than where the trace is made, so that a reader who leaves and a cancelled task count too.
            if self.pacer is not None and self._attempts:
                self.pacer.record(Trace(attempts=self._attempts).cost)

    def _loop(self) -> Generator[Ask | Wait, Sequence[Attempt], Trace]:
        while True:
            move = self.decide()
            if isinstance(move, Stop):
                return self._finish(move)
            if stop := self._limit(move):
                return self._finish(stop)
            tried = yield from self._make(move)
            if tried[0].error is None and (move[0].final or tried[0].first_token is not None):
                return self._finish(Stop(attempt=tried[0], reason=move[0].reason))

    def plan(self) -> Trace:
        """Decide once and call nobody; return a trace without attempts.

        Raises:
            StrategyError: The strategy returned nonsense.
        """
        move = self.decide()
        return self._trace(None, move.reason if isinstance(move, Stop) else move[0].reason)

    def decide(self) -> tuple[Call, ...] | Stop:
        """Ask the strategy for the next move and check it."""
        started = time.perf_counter()
        request = self._visible()
        if not request.candidates:
            return Stop(attempt=self._last_answer(), reason="nobody is left to ask")
        move = self._ask_strategy(request)
        self.decide_seconds += time.perf_counter() - started
        if isinstance(move, Stop):
            return move
        calls = (move,) if isinstance(move, Call) else self._sequence(move)
        for call in calls:
            self._check(call, request, len(calls))
        self._first = self._first or calls[0]
        return calls

    def _ask_strategy(self, request: Request) -> Any:
        try:
            return self.strategy.decide(request, self._attempts)
        except RouterError as error:
            raise self._error(error) from error.__cause__
        except Exception as error:
            # What was paid until here must not get lost with a bug in somebody's strategy.
            raise self._error(StrategyError(f"{self._name}.decide failed: {error!r}")) from error

    def _sequence(self, move: Any) -> tuple[Call, ...]:
        if isinstance(move, Sequence) and move and all(isinstance(call, Call) for call in move):
            return tuple(move)
        rule = "must return a Call, a non-empty list of Calls or a Stop"
        raise self._error(StrategyError(f"{self._name}.decide {rule} but returned {move!r}"))

    def _check(self, call: Call, request: Request, together: int) -> None:
        allowed = request.candidates if call.prompt is None else (*request.candidates, *request.judges)
        if all(call.candidate is not candidate for candidate in allowed):
            known = [candidate.name for candidate in allowed]
            raise self._error(StrategyError(f"{self._name} asks {call.candidate.name!r}, which is not among {known}"))
        if call.final and together > 1:
            raise self._error(StrategyError(f"{self._name} returned {together} calls at once, one of them final"))

    def _visible(self) -> Request:
        """Return the request with the candidates that may be asked now."""
        request, resting = self.request, self.request.snapshot.cooling
        open_ = [c for c in request.candidates if c.name not in self._failed and not self._too_small(c.context_window)]
        locked = [c for c in open_ if c.name == request.snapshot.locked]
        awake = [c for c in open_ if c.name not in resting]
        pool = tuple(locked or awake or open_)
        judges = tuple(c for c in request.judges if c.name not in resting | self._failed)
        whole = len(pool) == len(request.candidates) and len(judges) == len(request.judges)
        return request if whole else replace(request, candidates=pool, judges=judges)

    def _too_small(self, window: int | None) -> bool:
        overflown = [
            a.call.candidate.context_window
            for a in self._attempts
            if a.error is not None and a.error.family == "context_overflow" and a.call.prompt is None
        ]
        return any(window is not None and over is not None and window <= over for over in overflown)

    def _limit(self, calls: tuple[Call, ...]) -> Stop | None:
        if len(self._attempts) + len(calls) > self.limits.max_calls:
            if self._attempts and all(attempt.error is not None for attempt in self._attempts):
                return Stop()  # the failures ended this, not the strategy
            raise self._error(StrategyError(f"{self._name} did not stop after {len(self._attempts)} calls"))
        late = (left := self._time_left()) is not None and left <= 0
        reason = f"the deadline of {self.limits.deadline} s passed" if late else self._over_budget(calls)
        if not reason:
            return None
        if (answer := self._last_answer()) is None:
            raise self._error(LimitExceeded(f"{reason} before there was an answer; raise the limit or drop it"))
        return Stop(attempt=answer, reason=f"{reason}; this is the last answer")

    def _last_answer(self) -> Attempt | None:
        return next((a for a in reversed(self._attempts) if a.error is None and a.call.purpose == "answer"), None)

    def _over_budget(self, calls: tuple[Call, ...]) -> str:
        budget = self.limits.budget
        if budget is None:
            return ""
        expected = (call.estimates.get(call.candidate.name) for call in calls)
        spent = sum(attempt.cost or 0.0 for attempt in self._attempts)
        total = spent + sum((estimate.cost or 0.0) for estimate in expected if estimate)
        fits = total <= budget and spent < budget
        return "" if fits else f"{total:.6f} USD would be over the budget of {budget} USD"

    def _time_left(self) -> float | None:
        deadline = self.limits.deadline
        return None if deadline is None else deadline - (time.monotonic() - self._started)

    def _make(self, calls: tuple[Call, ...]) -> Generator[Ask | Wait, Sequence[Attempt], tuple[Attempt, ...]]:
        """Make `calls`; make those that failed in passing again; return the last attempt of each."""
        done = yield from self._once(calls)
        tries = 0
        while again := [(i, delay) for i, a in enumerate(done) if (delay := self._delay(a, tries)) is not None]:
            if not (again := again[: self.limits.max_calls - len(self._attempts)]):
                break
            yield Wait(max(delay for _, delay in again))
            retried = yield from self._once(tuple(done[i].call for i, _ in again))
            replaced = dict(zip((i for i, _ in again), retried, strict=True))
            done = tuple(replaced.get(i, attempt) for i, attempt in enumerate(done))
            tries += 1
        # Of several calls to one candidate at once, one that was answered is enough.
        self._failed |= {attempt.call.candidate.name for attempt in done}
        self._failed -= {attempt.call.candidate.name for attempt in done if attempt.error is None}
        return done

    def _once(self, calls: tuple[Call, ...]) -> Generator[Ask | Wait, Sequence[Attempt], tuple[Attempt, ...]]:
        for call in calls:
            self.health.begin(call.candidate.name)
        try:
            attempts = tuple((yield Ask(calls, tuple(self._timeout(call) for call in calls))))
        except BaseException:
            for call in calls:
                self.health.release(call.candidate.name)
            raise
        for attempt in attempts:
            self.health.record(attempt.call.candidate.name, attempt.error)
        self._attempts += attempts
        return attempts

    def _timeout(self, call: Call) -> float | None:
        limits = [limit for limit in (call.candidate.timeout, self._time_left()) if limit is not None]
        return max(min(limits), 0.001) if limits else None

    def _delay(self, attempt: Attempt, tries: int) -> float | None:
        """Return the seconds to wait before the same call is made again; `None` to leave it."""
        error = attempt.error
        if error is None or not error.retryable or tries >= (attempt.call.candidate.max_retries or 0):
            return None
        backoff = min(_BACKOFF * 2.0**tries, 8.0) * _jitter.uniform(0.5, 1.0)
        wait = backoff if error.retry_after is None else max(error.retry_after, 0.0)
        alone = not any(c.name != attempt.call.candidate.name for c in self._visible().candidates)
        if not alone and (error.family == "timeout" or wait > _PATIENCE):
            return None
        late = (left := self._time_left()) is not None and wait >= left
        return None if wait > _LONGEST_WAIT or late else wait

    def _finish(self, stop: Stop) -> Trace:
        answer = stop.attempt
        if answer is not None and all(answer is not attempt for attempt in self._attempts):
            raise self._error(StrategyError(f"{self._name} stopped with an attempt never made"))
        failures = [attempt.error for attempt in self._attempts if attempt.error is not None]
        if answer is not None and answer.error is None:
            self.trace = self._trace(answer, stop.reason)
            return self.trace
        if failures and len(failures) == len(self._attempts):
            last = {attempt.call.candidate.name: attempt.error for attempt in self._attempts}
            each = "; ".join(f"{name!r}: {error}" for name, error in last.items())
            raise self._error(AllCandidatesFailed(f"no candidate answered: {each}")) from failures[-1]
        raise self._error(Abstained(f"{self._name} gave no answer: {stop.reason or 'no reason'}"))

    def _trace(self, answer: Attempt | None, reason: str) -> Trace:
        return Trace(
            attempts=self._attempts,
            answer=answer,
            first=self._first.candidate.name if self._first else None,
            reason=reason,
            alternatives=tuple(candidate.name for candidate in self.request.candidates),
            rejected=self.rejected,
            estimates=self._first.estimates if self._first else {},
            input_tokens=self.request.input_tokens,
            tokens_estimated=self.request.tokens_estimated,
            decide_seconds=self.decide_seconds,
        )

    def _error(self, error: RouterError) -> RouterError:
        self.trace = error.trace = self._trace(None, str(error))
        return error

    def interrupted(self, attempt: Attempt) -> RouterError:
        """Return the error for a stream that broke after its first chunk; `attempt` is what was seen of it."""
        self._attempts += (attempt,)
        self.health.record(attempt.call.candidate.name, attempt.error)
        name = attempt.call.candidate.name
        return self._error(
            StreamInterrupted(f"the stream of {name!r} broke after its first chunk ({attempt.error}); ask again")
        )

    def abandoned(self, attempt: Attempt) -> None:
        """Note a stream that its reader left; what came of it until then is paid for."""
        self._attempts += (attempt,)
        self.trace = self._trace(attempt if attempt.first_token is not None else None, "the reader left before the end")
