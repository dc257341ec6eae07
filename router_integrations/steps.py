"""What happens to one request, step by step, without any I/O.

`Run.steps` yields what to do and is sent what came back; `engine` obeys it, sync or async, streamed or not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from router_integrations.calling import Ask, Calls, Wait, expected_cost
from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    LimitExceeded,
    RouterError,
    StrategyError,
    StreamInterrupted,
)
from router_integrations.health import Health
from router_integrations.ledger import Ledger
from router_integrations.limits import Allowance, Limits
from router_integrations.pacer import Pacer
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Request, Stop, Strategy

_log = logging.getLogger(__name__)


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
        ledger: Told what each call has cost, for the budget of the conversation.
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
    ledger: Ledger = field(default_factory=Ledger)
    decide_seconds: float = 0.0
    trace: Trace = field(default_factory=Trace)

    def __post_init__(self) -> None:
        self._left = left = Allowance(limits=self.limits, ledger=self.ledger, conversation=self.request.conversation_id)
        snapshot = self.request.snapshot
        if (budget := left.budget) is not None and (snapshot.budget is None or budget < snapshot.budget):
            self.request = replace(self.request, snapshot=replace(snapshot, budget=budget))
        self._name = type(self.strategy).__name__
        self._calls = Calls(request=self.request, limits=self.limits, left=left, health=self.health)
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
            if self.pacer is not None and self._calls.attempts:
                self.pacer.record(Trace(attempts=self._calls.attempts).cost)

    def _loop(self) -> Generator[Ask | Wait, Sequence[Attempt], Trace]:
        while not isinstance(move := self.move(), Trace):
            if (trace := (yield from self.made(move))) is not None:
                return trace
        return move

    def move(self) -> tuple[Call, ...] | Trace:
        """Decide within the limits: return the next calls, or the trace if this is the end.

        Raises:
            RouterError: There is no answer; as `steps`.
        """
        move = self.decide()
        if isinstance(move, Stop):
            return self._finish(move)
        stop = self._limit(move)
        return self._finish(stop) if stop else move

    def made(self, calls: tuple[Call, ...]) -> Generator[Ask | Wait, Sequence[Attempt], Trace | None]:
        """Make `calls`, as `steps` does; return the trace if the caller has been shown the answer."""
        tried = yield from self._calls.make(calls)
        if tried[0].error is None and (calls[0].final or tried[0].first_token is not None):
            gate = None if calls[0].final else calls[0].gate
            if gate is None:
                return self._finish(Stop(attempt=tried[0], reason=calls[0].reason))
            reason = f"{calls[0].candidate.name!r} passed the gate"
            return self._finish(Stop(attempt=tried[0], reason=reason, confidence=gate.confidence(tried[0].logprobs)))
        return None

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
        request = self._calls.visible()
        if not request.candidates:
            return self._best("nobody is left to ask") or Stop(reason="nobody is left to ask")
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
            return self.strategy.decide(request, self._calls.attempts)
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
        for asked in (call.candidate,) if call.hedge is None else (call.candidate, call.hedge.candidate):
            if all(asked is not candidate for candidate in allowed):
                known = [candidate.name for candidate in allowed]
                raise self._error(StrategyError(f"{self._name} asks {asked.name!r}, which is not among {known}"))
        if call.final and together > 1:
            raise self._error(StrategyError(f"{self._name} returned {together} calls at once, one of them final"))

    def _limit(self, calls: tuple[Call, ...]) -> Stop | None:
        made, most = self._calls.attempts, self.limits.max_calls
        over = len(made) + len(calls) > most
        if over and made and all(attempt.error is not None for attempt in made):
            return Stop()  # the failures ended this, not the strategy
        reason = f"{len(made) + len(calls)} calls would be over the limit of {most}" if over else ""
        if not (reason := reason or self._left.refusal(expected_cost(calls))):
            return None
        if (stop := self._best(reason, endless=over)) is None:
            raise self._error(LimitExceeded(f"{reason} before there was an answer; raise the limit or drop it"))
        return stop

    def _best(self, reason: str, *, endless: bool = False) -> Stop | None:
        """Return the end with the answer that the strategy takes for the best, or with the last; `None` without any.

        Where it seems `endless`, only its own word will do: one that has none is broken, which is told.
        """
        answers = [
            attempt for attempt in self._calls.attempts if attempt.error is None and attempt.call.purpose == "answer"
        ]
        if not answers:
            return None
        try:
            move: Any = self.strategy.decide(replace(self.request, candidates=(), judges=()), self._calls.attempts)
        except Exception:  # noqa: BLE001 - it may know nothing of an empty pool, and what was paid for must not be lost
            _log.debug("%s.decide failed without candidates", self._name, exc_info=True)
            move = None
        if isinstance(move, Stop):
            return replace(move, reason=f"{reason}; {move.reason}")
        if endless:
            raise self._error(StrategyError(f"{self._name} did not stop after {len(self._calls.attempts)} calls"))
        return Stop(attempt=answers[-1], reason=f"{reason}; this is the last answer")

    def _finish(self, stop: Stop) -> Trace:
        answer = stop.attempt
        if answer is not None and all(answer is not attempt for attempt in self._calls.attempts):
            raise self._error(StrategyError(f"{self._name} stopped with an attempt never made"))
        failures = [attempt.error for attempt in self._calls.attempts if attempt.error is not None]
        if answer is not None and answer.error is None:
            self.trace = self._trace(answer, stop.reason, stop.confidence)
            return self.trace
        if failures and len(failures) == len(self._calls.attempts):
            last = {attempt.call.candidate.name: attempt.error for attempt in self._calls.attempts}
            each = "; ".join(f"{name!r}: {error}" for name, error in last.items())
            raise self._error(AllCandidatesFailed(f"no candidate answered: {each}")) from failures[-1]
        raise self._error(Abstained(f"{self._name} gave no answer: {stop.reason or 'no reason'}"))

    def _trace(self, answer: Attempt | None, reason: str, confidence: float | None = None) -> Trace:
        return Trace(
            attempts=self._calls.attempts,
            answer=answer,
            confidence=confidence,
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
        self._calls.note(attempt)
        name = attempt.call.candidate.name
        return self._error(
            StreamInterrupted(f"the stream of {name!r} broke after its first chunk ({attempt.error}); ask again")
        )

    def overtaken(self, attempt: Attempt) -> None:
        """Note what came of a call whose rival answered first, or of such a rival."""
        self._calls.overtaken(attempt)

    def abandoned(self, attempt: Attempt) -> None:
        """Note a call that its caller left before the end; what came of it until then is paid for."""
        self._calls.add(attempt)
        self.trace = self._trace(attempt if attempt.first_token is not None else None, "the caller left before the end")
