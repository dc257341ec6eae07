"""A request taken one turn at a time: what happened so far is plain JSON between them, so it may go on elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from router_integrations.adapters.rungs import Output
from router_integrations.calling import Ask, Wait
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.gating import Gate
from router_integrations.hedging import Hedge
from router_integrations.steps import Run
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Revision, Usage

# Fields of an attempt that are JSON as they are; tuples come back as lists.
_PLAIN = ("text", "finish_reason", "model", "cost", "latency", "first_token")
_TUPLES = ("tool_calls", "logprobs", "sources", "source_scores")


@dataclass(kw_only=True)
class Turn(Run):
    """One turn of a request: makes the calls that the last one decided on, and decides on the next.

    `steps` ends with the turn; its trace is empty unless the request ends too, which leaves no `next`.

    Args:
        earlier: What `state` returned after the last turn; empty to begin.
        planned: What to call, as `call_json` tells it; nothing at first, or when this had been done and only the
            decision is missing.
        natives: The host framework's own replies so far, where they are still at hand.

    Attributes:
        calls: What is called in this turn.
        next: What to call in the next turn; empty at the end.

    >>> from router_integrations.strategies import Cascade
    >>> from router_integrations.types import Request
    >>> pool = (Candidate("small", model=object(), strength=0.5), Candidate("big", model=object(), strength=0.9))
    >>> turn = Turn(strategy=Cascade(order="given"), request=Request(text="2 + 2?", candidates=pool))
    >>> list(turn.steps()), turn.next[0].candidate.name, turn.state()["attempts"]
    ([], 'small', [])
    """

    earlier: Mapping[str, Any] = field(default_factory=dict)
    planned: Sequence[Mapping[str, Any]] = ()
    natives: Sequence[Any] = ()
    # It counts requests, of which a turn is a part.
    pacer: None = field(default=None, init=False)
    calls: tuple[Call, ...] = field(default=(), init=False)
    next: tuple[Call, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._began = time.monotonic()
        people = {one.name: one for one in (*self.request.judges, *self.request.candidates)}
        attempts = [attempt_from(told, people) for told in self.earlier.get("attempts", ())]
        for place, native in enumerate(self.natives[: len(attempts)]):
            attempts[place] = replace(attempts[place], native=native)
        self.calls = tuple(call_from(told, people) for told in self.planned)
        self._calls.attempts = tuple(attempts)
        self._calls.failed |= {*self.earlier.get("failed", ())}
        # The ledger was told of these when they were made.
        spent = sum(attempt.cost or 0.0 for attempt in attempts)
        self._calls.left.take(self.earlier.get("seconds", 0.0), spent)
        self.decide_seconds += self.earlier.get("decide_seconds", 0.0)
        self._first = (*(one.call for one in attempts[:1]), *self.calls, None)[0]

    def _loop(self) -> Generator[Ask | Wait, Sequence[Attempt], Trace]:
        if self.calls and (trace := (yield from self.made(self.calls))) is not None:
            return trace
        move = self.move()
        if isinstance(move, Trace):
            return move
        self.next = move
        return Trace()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What was asked so far, in this turn and before it."""
        return self._calls.attempts

    def state(self) -> dict[str, Any]:
        """Return what happened so far, as JSON."""
        return {
            "attempts": [attempt_json(attempt) for attempt in self._calls.attempts],
            "failed": sorted(self._calls.failed),
            "seconds": self.earlier.get("seconds", 0.0) + time.monotonic() - self._began,
            "decide_seconds": self.decide_seconds,
        }


def call_json(call: Call) -> dict[str, Any]:
    """Return a call as JSON, its candidates by their names.

    >>> call_json(Call(candidate=Candidate("small", model=object()), final=True))["candidate"]
    'small'
    """
    hedge = call.hedge
    return {
        "candidate": call.candidate.name,
        "purpose": call.purpose,
        "prompt": call.prompt,
        "revision": None if call.revision is None else asdict(call.revision),
        "revisable": call.revisable,
        "final": call.final,
        "gate": None if call.gate is None else asdict(call.gate),
        "hedge": None if hedge is None else {"candidate": hedge.candidate.name, "after": hedge.after},
        "reason": call.reason,
        "estimates": {name: asdict(estimate) for name, estimate in call.estimates.items()},
    }


def call_from(told: Mapping[str, Any], people: Mapping[str, Candidate]) -> Call:
    """Return the call that `call_json` has told of.

    Args:
        told: The JSON.
        people: The candidates and judges by name.

    Raises:
        ConfigurationError: One of its candidates is not there any more.

    >>> small = Candidate("small", model=object())
    >>> call_from(call_json(Call(candidate=small, reason="cheapest")), {"small": small}).reason
    'cheapest'
    """
    hedge, gate, revision = told["hedge"], told["gate"], told["revision"]
    return Call(
        **{name: told[name] for name in ("purpose", "prompt", "revisable", "final", "reason")},
        candidate=_known(told["candidate"], people),
        revision=None if revision is None else Revision(**revision),
        gate=None if gate is None else Gate(**gate),
        hedge=None if hedge is None else Hedge(candidate=_known(hedge["candidate"], people), after=hedge["after"]),
        estimates={name: Estimate(**estimate) for name, estimate in told["estimates"].items()},
    )


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as JSON; the host framework's own reply is left out.

    >>> call = Call(candidate=Candidate("small", model=object()))
    >>> attempt_json(Attempt(call=call, text="4", error=ProviderError("busy", family="rate_limit")))["error"]["family"]
    'rate_limit'
    """
    error, native = attempt.error, attempt.native
    told = {name: getattr(attempt, name) for name in _PLAIN}
    told |= {name: [*getattr(attempt, name)] for name in _TUPLES}
    confidence = native.confidence if isinstance(native, Output) else None
    return {
        **told,
        "call": call_json(attempt.call),
        "top_logprobs": [[*place] for place in attempt.top_logprobs],
        "usage": None if attempt.usage is None else asdict(attempt.usage),
        "error": None if error is None else {**error.summary(), "retry_after": error.retry_after},
        "confidence": confidence if isinstance(confidence, int | float) else None,
    }


def attempt_from(told: Mapping[str, Any], people: Mapping[str, Candidate]) -> Attempt:
    """Return the attempt that `attempt_json` has told of, without the host framework's own reply.

    Args:
        told: The JSON.
        people: The candidates and judges by name.

    Raises:
        ConfigurationError: Its candidate is not there any more.

    >>> small = Candidate("small", model=object())
    >>> attempt = Attempt(call=Call(candidate=small), text="4", usage=Usage(input_tokens=3, output_tokens=1))
    >>> attempt_from(attempt_json(attempt), {"small": small}) == attempt
    True
    """
    usage, error = told["usage"], told["error"]
    if error is not None:
        error = dict(error)
        error = ProviderError(error.pop("message"), **error)
    fields: dict[str, Any] = {name: told[name] for name in _PLAIN}
    fields |= {name: tuple(told[name]) for name in _TUPLES}
    return Attempt(
        **fields,
        call=call_from(told["call"], people),
        top_logprobs=tuple(tuple(place) for place in told["top_logprobs"]),
        usage=None if usage is None else Usage(**usage),
        error=error,
        native=Output(value=None, confidence=told["confidence"]),
    )


def _known(name: str, people: Mapping[str, Candidate]) -> Candidate:
    if name not in people:
        raise ConfigurationError(f"{name!r} was asked before but is not among {[*people]}; go on with the same ones")
    return people[name]
