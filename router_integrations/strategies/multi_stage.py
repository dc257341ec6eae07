"""The strategy that routes before generation and checks after it: a cascade that begins where a router says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from router_integrations.candidates import Candidate
from router_integrations.estimators.answers import Need
from router_integrations.types import Attempt, Call, Request, Stop, Strategy


class MultiStage:
    """Asks whom `router` chooses, and has `cascade` go on from there: who would have been asked before is skipped.

    So a query that looks hard goes to a strong candidate at once, and an easy one is answered cheaply, checked, and
    escalated if need be. When the chosen one is the last of the cascade it streams. Who was skipped is asked when the
    chosen one fails. A router that ends the request, or that asks a judge first, does so here too.

    WHEN: multi-stage. WHAT and HOW: what the router reads before, and the cascade after an answer. `decide` takes that
    of the router, and that of the cascade once more for each candidate skipped.

    Pre-generation routing, verification and escalation in one, as in the survey (arXiv 2603.04445). `CascadeRouting`
    with `PrePost` does the same with one estimator for all stages, weighing what each further answer is worth.

    Args:
        router: Chooses before there is an answer, as `Best` does.
        cascade: Judges answers and escalates, as `Cascade`, `JudgedCascade`, `AgreementCascade` and
            `SelfTestedCascade` do.

    >>> from router_integrations.estimators import TokenConfidence
    >>> from router_integrations.strategies import Best, Cascade
    >>> pool = (Candidate("small", model=object(), strength=0.3, input_price=1e-7, output_price=4e-7),
    ...         Candidate("big", model=object(), strength=0.9, input_price=3e-6, output_price=1e-5))
    >>> strategy = MultiStage(router=Best(), cascade=Cascade(estimator=TokenConfidence()))
    >>> easy, hard = Request(text="Hi", candidates=pool), Request(text="Prove that P != NP.", candidates=pool)
    >>> [(call.candidate.name, call.final) for call in map(strategy.decide, (easy, hard))]
    [('small', False), ('big', True)]
    """

    def __init__(self, *, router: Strategy, cascade: Strategy) -> None:
        self.router = router
        self.cascade = cascade

    @property
    def judges(self) -> tuple[str, ...]:
        """Whom the two ask to judge."""
        return (*getattr(self.router, "judges", ()), *getattr(self.cascade, "judges", ()))

    @property
    def uses(self) -> frozenset[Need]:
        """What answers should carry where they can, for the cascade."""
        uses: frozenset[Need] = getattr(self.cascade, "uses", frozenset())
        return uses

    def demands(self, candidates: Sequence[Candidate]) -> Mapping[str, frozenset[Need]]:
        """Return what the answers of each candidate must carry for the cascade, by name."""
        of: Callable[[Sequence[Candidate]], Mapping[str, frozenset[Need]]] | None
        of = getattr(self.cascade, "demands", None)
        return {} if of is None else of(candidates)

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        """Return the router's move as long as nobody was asked for an answer, then the cascade's."""
        if not request.candidates:
            return self.cascade.decide(request, attempts)
        asked = next((one.call.candidate for one in attempts if one.call.purpose == "answer"), None)
        if asked is not None:
            return self.cascade.decide(self._from(asked, request), attempts)
        chosen = self.router.decide(request, attempts)
        if not isinstance(chosen, Call) or chosen.purpose != "answer":
            return chosen
        opening = self.cascade.decide(self._from(chosen.candidate, request), attempts)
        if isinstance(opening, Stop):
            return opening
        return _told(opening, chosen) if isinstance(opening, Call) else [_told(one, chosen) for one in opening]

    def _from(self, start: Candidate, request: Request) -> Request:
        """Return the request without those whom the cascade asks before `start`; as it is when `start` is gone."""
        left = request
        while any(one.name == start.name for one in left.candidates):
            opening = self.cascade.decide(left)
            calls = [opening] if isinstance(opening, Call) else [] if isinstance(opening, Stop) else opening
            first = {call.candidate.name for call in calls if call.purpose == "answer"}
            if not first or start.name in first:
                return left
            left = replace(left, candidates=tuple(one for one in left.candidates if one.name not in first))
        return request


def _told(opening: Call, chosen: Call) -> Call:
    """Return a first call of the cascade with what the router knew."""
    if opening.purpose != "answer":
        return opening
    return replace(opening, reason=chosen.reason, estimates=chosen.estimates or opening.estimates)
