"""The strategy that lets another one decide, and has slow calls made twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from router_integrations.candidates import Candidate
from router_integrations.hedging import Hedge, check_after
from router_integrations.types import Attempt, Call, Request, Stop, Strategy


class Hedged:
    """Decides as `strategy` does; a call that is slow to answer gets a rival, and the first good answer counts.

    A call that has no answer after so many seconds, or as a stream has shown no chunk, is left running while the rival
    is asked the same. Who is second is given up: an async call is cancelled and its connection closed; a sync call
    cannot be stopped, so its thread goes on unseen until it has its answer, or as a stream its next chunk. Both are in
    the trace, with what is known to have been used; what a provider charges for a reply that never came is not. No
    rival is asked beyond `Limits.max_calls`, the deadline, or a budget that its expected cost would break.

    WHEN, WHAT: those of `strategy`. HOW: hedged requests (Dean and Barroso, "The Tail at Scale", 2013). Of calls that
    are answered in time nothing changes. `decide` takes O(calls) beside that of `strategy`.

    Args:
        strategy: Decides whom to ask.
        after: Seconds without an answer after which the rival is asked, above 0; the 95th percentile of the latency
            has one call in twenty made twice.
        rival: Name of the candidate that is asked besides for an answer; the same one again by default, for the calls
            of judges and for revisions, and where it cannot be asked.

    Raises:
        ConfigurationError: `after` is out of range.

    >>> from router_integrations.strategies import Fixed
    >>> pool = (Candidate("small", model=object()), Candidate("big", model=object()))
    >>> call = Hedged(strategy=Fixed(name="small"), after=2.0, rival="big").decide(Request(text="Hi", candidates=pool))
    >>> call.candidate.name, call.hedge.candidate.name, call.hedge.after
    ('small', 'big', 2.0)
    """

    def __init__(self, *, strategy: Strategy, after: float, rival: str | None = None) -> None:
        check_after("Hedged.after", after)
        self.strategy = strategy
        self.after = after
        self.rival = rival

    @property
    def judges(self) -> tuple[str, ...]:
        """Whom the strategy asks to judge."""
        return tuple(getattr(self.strategy, "judges", ()))

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        """Return what the strategy returns, with a rival on each call that has none."""
        move = self.strategy.decide(request, attempts)
        if isinstance(move, Stop):
            return move
        if isinstance(move, Call):
            return self._hedged(move, request)
        return [self._hedged(call, request) for call in move]

    def _hedged(self, call: Call, request: Request) -> Call:
        if call.hedge is not None:
            return call
        return replace(call, hedge=Hedge(candidate=self._rival(call, request), after=self.after))

    def _rival(self, call: Call, request: Request) -> Candidate:
        if call.purpose != "answer" or call.revision is not None:
            return call.candidate
        return next((one for one in request.candidates if one.name == self.rival), call.candidate)
