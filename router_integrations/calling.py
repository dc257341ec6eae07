"""The calls of one request, without any I/O: who may be asked, what was asked, and what is asked again.

`Calls.make` yields what to do and is sent what came back; `steps` decides what is asked, `engine` obeys.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from router_integrations.health import Health
from router_integrations.limits import Allowance, Limits
from router_integrations.types import Attempt, Call, Request

# With somebody else to ask, nobody waits longer than this for a busy candidate (seconds).
_PATIENCE = 1.0
_LONGEST_WAIT = 60.0
# The first wait before a call is made again; each further one is twice as long (seconds).
_BACKOFF = 0.25
_jitter = random.Random()


@dataclass(frozen=True, slots=True)
class Rival:
    """Make this call too when another one has no answer after so many seconds."""

    call: Call
    timeout: float | None
    after: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Make these calls at once, each within its `timeouts` entry (seconds; `None` is no limit).

    `rivals` are those of some calls, by place. The attempt that counts is sent for each call.
    """

    calls: tuple[Call, ...]
    timeouts: tuple[float | None, ...]
    rivals: Mapping[int, Rival] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass."""

    seconds: float


@dataclass(kw_only=True)
class Calls:
    """The calls of one request.

    Args:
        request: The query, with the candidates that can take it.
        limits: How far the request may go.
        left: What it has left of that; told what each call costs.
        health: Which candidates rest; told how each call ended.

    Attributes:
        attempts: What was asked so far, in order.
        failed: Names of those who failed, and are not asked again.
    """

    request: Request
    limits: Limits
    left: Allowance
    health: Health
    attempts: tuple[Attempt, ...] = ()
    failed: set[str] = field(default_factory=set)

    def visible(self) -> Request:
        """Return the request with the candidates that may be asked now."""
        request, resting = self.request, self.request.snapshot.cooling
        open_ = [c for c in request.candidates if c.name not in self.failed and not self._too_small(c.context_window)]
        locked = [c for c in open_ if c.name == request.snapshot.locked]
        awake = [c for c in open_ if c.name not in resting]
        pool = tuple(locked or awake or open_)
        judges = tuple(c for c in request.judges if c.name not in resting | self.failed)
        whole = len(pool) == len(request.candidates) and len(judges) == len(request.judges)
        return request if whole else replace(request, candidates=pool, judges=judges)

    def _too_small(self, window: int | None) -> bool:
        overflown = [
            a.call.candidate.context_window
            for a in self.attempts
            if a.error and a.error.family == "context_overflow" and a.call.prompt is None and a.call.revision is None
        ]
        return any(window is not None and over is not None and window <= over for over in overflown)

    def make(self, calls: tuple[Call, ...]) -> Generator[Ask | Wait, Sequence[Attempt], tuple[Attempt, ...]]:
        """Make `calls`; make those that failed in passing again; return the last attempt of each."""
        done = yield from self._once(calls)
        tries = 0
        while again := [(i, delay) for i, a in enumerate(done) if (delay := self._delay(a, tries)) is not None]:
            if not (again := again[: self.limits.max_calls - len(self.attempts)]):
                break
            yield Wait(max(delay for _, delay in again))
            retried = yield from self._once(tuple(done[i].call for i, _ in again))
            replaced = dict(zip((i for i, _ in again), retried, strict=True))
            done = tuple(replaced.get(i, attempt) for i, attempt in enumerate(done))
            tries += 1
        # Of several calls to one candidate at once, one that was answered is enough.
        self.failed |= {attempt.call.candidate.name for attempt in done}
        self.failed -= {attempt.call.candidate.name for attempt in done if attempt.error is None or attempt.revisable}
        return done

    def _once(self, calls: tuple[Call, ...]) -> Generator[Ask | Wait, Sequence[Attempt], tuple[Attempt, ...]]:
        for call in calls:
            self.health.begin(call.candidate.name)
        try:
            attempts = tuple((yield Ask(calls, tuple(self._timeout(call) for call in calls), self._rivals(calls))))
        except BaseException:
            for call in calls:
                self.health.release(call.candidate.name)
            raise
        self.note(*attempts)
        return attempts

    def note(self, *attempts: Attempt) -> None:
        """Note attempts, what they have cost, and what they say of their candidates."""
        self.add(*attempts)
        for attempt in attempts:
            if attempt.error is not None and attempt.error.family == "cancelled":
                self.health.release(attempt.call.candidate.name)
            else:
                self.health.record(attempt.call.candidate.name, attempt.error)

    def add(self, *attempts: Attempt) -> None:
        """Note attempts, and what they have cost."""
        self.attempts += attempts
        for attempt in attempts:
            self.left.spend(attempt.cost or 0.0)

    def overtaken(self, attempt: Attempt) -> None:
        """Note an attempt that does not count, because the other of a call and its rival does."""
        self.note(attempt)
        if attempt.error is not None and attempt.error.family != "cancelled":
            self.failed.add(attempt.call.candidate.name)

    def _rivals(self, calls: tuple[Call, ...]) -> dict[int, Rival]:
        """Return the rivals of the calls that have one, as far as the limits allow them."""
        rivals: dict[int, Rival] = {}
        asked = calls
        for place, call in enumerate(calls):
            if call.hedge is None:
                continue
            rival, after = replace(call, candidate=call.hedge.candidate, hedge=None), call.hedge.after
            left = self.left.seconds
            fits = len(self.attempts) + len(asked) < self.limits.max_calls and (left is None or left > after)
            if fits and not self.left.refusal(expected_cost((*asked, rival))):
                asked = (*asked, rival)
                rivals[place] = Rival(rival, self._timeout(rival, after), after)
        return rivals

    def _timeout(self, call: Call, after: float = 0.0) -> float | None:
        """Return the seconds that a call may take which begins so many seconds from now."""
        left = self.left.seconds
        limits = [call.candidate.timeout, None if left is None else left - after]
        known = [limit for limit in limits if limit is not None]
        return max(min(known), 0.001) if known else None

    def _delay(self, attempt: Attempt, tries: int) -> float | None:
        """Return the seconds to wait before the same call is made again; `None` to leave it."""
        error = attempt.error
        if error is None or not error.retryable or tries >= (attempt.call.candidate.max_retries or 0):
            return None
        backoff = min(_BACKOFF * 2.0**tries, 8.0) * _jitter.uniform(0.5, 1.0)
        wait = backoff if error.retry_after is None else max(error.retry_after, 0.0)
        alone = not any(c.name != attempt.call.candidate.name for c in self.visible().candidates)
        if not alone and (error.family == "timeout" or wait > _PATIENCE):
            return None
        late = (left := self.left.seconds) is not None and wait >= left
        return None if wait > _LONGEST_WAIT or late else wait


def expected_cost(calls: Sequence[Call]) -> float:
    """Return the USD that calls are expected to cost; unknown costs count nothing."""
    estimates = (call.estimates.get(call.candidate.name) for call in calls)
    return sum((estimate.cost or 0.0) for estimate in estimates if estimate is not None)
