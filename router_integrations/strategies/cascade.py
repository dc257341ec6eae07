"""The strategy that asks one candidate after another until an answer is good enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answer_quality import AnswerQuality
from router_integrations.gating import Gate
from router_integrations.strategies.votes import answers_among
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Stop


class Cascade:
    """Asks one candidate after another: an answer is accepted, or the next one is asked, or nobody answers.

    With confidence `p` in the last answer: above `accept` it is returned, at or below `abstain` the request ends
    without an answer (`Abstained`), in between the next candidate is asked. The last one has nobody behind it: it
    abstains at or below its `abstain`, if it has one, and is returned otherwise, streamed when nobody will look at it.
    Earlier answers are never shown before they are accepted. Who fails or cannot take the request is skipped. When
    nobody is left, or nobody that the budget allows, the best answer so far is returned. In a tool loop the candidate
    that began it goes on, unchecked.

    With `gate` each candidate but the last streams: its chunks are held back until the confidence in its first tokens
    is known. Above the gate the answer is accepted and shown as it comes; otherwise the call is cut off, only the
    tokens made are paid, and the next candidate is asked: what was cut off is no answer, nor the best so far. An answer
    too short for the gate, or without log-probabilities, is judged as a whole. `invoke` buffers, but decides by the
    gate alike.

    WHEN: multi-stage. WHAT: query and answers. HOW: thresholds, chosen by hand or by
    `calibration.tune_cascade`. Each rejected answer costs its price and its latency. `decide` takes one estimate plus
    O(candidates · log candidates).

    Chen et al., "FrugalGPT" (arXiv 2305.05176); early abstention: Zellinger et al. (arXiv 2502.09054).

    Args:
        estimator: How good a given answer is, and what a candidate will cost; `AnswerQuality()` by default.
        order: Names of the candidates to ask, in this order (others only when all of these fail); ``"given"`` is the
            order of the request, ``"price"`` the cheapest first by expected cost, unknown costs last.
        accept: Confidence above which an answer is returned, in [0, 1], for all or by name; by name, 0.7 for the rest.
        abstain: Confidence at or below which nobody is asked any more, in [0, 1], for all or by name; by name, never
            for the rest.
        gate: Lets the answers of all but the last candidate stream before they are complete; `None` buffers them.

    Raises:
        ConfigurationError: A threshold is out of range, one to abstain is above the one to accept, or a name stands
            twice in the order.

    >>> from router_integrations.estimators import TokenConfidence
    >>> pool = tuple(Candidate(name, model=object(), strength=0.5) for name in ("small", "big"))
    >>> cascade = Cascade(estimator=TokenConfidence(), order=("small", "big"), accept=0.8)
    >>> request = Request(text="What is 2 + 2?", candidates=pool)
    >>> first = cascade.decide(request)
    >>> unsure = Attempt(call=first, text="5", logprobs=(-1.0,))
    >>> first.candidate.name, cascade.decide(request, [unsure]).reason
    ('small', "'small' was not sure enough, 0.37 <= 0.8")
    """

    def __init__(
        self,
        *,
        estimator: Estimator | None = None,
        order: Literal["given", "price"] | Sequence[str] = "price",
        accept: float | Mapping[str, float] = 0.7,
        abstain: float | Mapping[str, float] | None = None,
        gate: Gate | None = None,
    ) -> None:
        _check_order(order)
        for option, thresholds in (("accept", accept), ("abstain", abstain)):
            _check_thresholds(option, thresholds)
        self.estimator = estimator
        self.order = order
        self.accept = accept
        self.abstain = abstain
        self.gate = gate
        self._estimator: Estimator = estimator if estimator is not None else AnswerQuality()
        for name in {*_names(accept), *_names(abstain), ""}:
            low, high = self._abstains_at(name), self._accepts_above(name)
            if low is not None and low > high:
                raise ConfigurationError(
                    f"Cascade.abstain must not be above accept but is {low!r} > {high!r}; lower it or raise accept"
                )

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Stop:
        """Return a call to the next candidate, or the end: with the accepted answer, the best one, or none."""
        answers = answers_among(attempts)
        asked = {one.call.candidate.name: one.call.candidate for one in answers}
        offered = {one.name: one for one in request.candidates}
        # What the others will cost is asked again only where it decides something.
        costs_matter = not answers or request.snapshot.budget is not None or self.order == "price"
        known = tuple((offered | asked).values() if costs_matter else asked.values())
        estimates = dict(
            zip((one.name for one in known), self._estimator.estimate(request, known, attempts), strict=True)
        )
        rungs = self._affordable(request, attempts, self._rungs(request, estimates, asked), estimates)
        # One that failed has nothing to say about the answer before it, which was already found wanting.
        if answers and (end := self._verdict(answers, estimates, last=not rungs)):
            return end
        return self._call(request, attempts, rungs or request.candidates, estimates)

    def _verdict(self, answers: Sequence[Attempt], estimates: Mapping[str, Estimate], *, last: bool) -> Stop | None:
        """Return the end that the last answer leads to, if any."""
        answer = answers[-1]
        name = answer.call.candidate.name
        sure, accept, abstain = estimates[name].quality, self._accepts_above(name), self._abstains_at(name)
        if passed := _passed(answer):
            return Stop(attempt=answer, reason=f"{name!r} passed the gate")
        if passed is None and sure > accept:
            return Stop(attempt=answer, reason=f"{name!r} was sure enough, {sure:.2f} > {accept:g}")
        if passed is None and abstain is not None and sure <= abstain:
            return Stop(reason=f"{name!r} was too unsure to go on, {sure:.2f} <= {abstain:g}")
        if not last:
            return None
        # Of equals the later one, which was dearer.
        best = max(reversed(answers), key=lambda one: estimates[one.call.candidate.name].quality)
        sure = estimates[best.call.candidate.name].quality
        why = f"the best answer so far, by {best.call.candidate.name!r} with confidence {sure:.2f}"
        return Stop(attempt=best, reason=f"nobody else can be asked; {why}")

    def _call(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        rungs: Sequence[Candidate],
        estimates: Mapping[str, Estimate],
    ) -> Call:
        rung = rungs[0]
        locked = rung.name == request.snapshot.locked
        last = len(rungs) == 1
        final = locked or (last and self._abstains_at(rung.name) is None)
        return Call(
            candidate=rung,
            final=final,
            gate=None if final or last else self.gate,
            reason="it began the tool loop" if locked else self._why(attempts, estimates),
            estimates={one.name: estimates[one.name] for one in request.candidates if one.name in estimates},
        )

    def _why(self, attempts: Sequence[Attempt], estimates: Mapping[str, Estimate]) -> str:
        tried = next((one for one in reversed(attempts) if one.call.purpose == "answer"), None)
        if tried is None:
            return "first of the cascade"
        name = tried.call.candidate.name
        if _passed(tried) is False:
            return f"{name!r} did not pass the gate"
        if tried.error is not None:
            return f"{name!r} failed ({tried.error.family})"
        return f"{name!r} was not sure enough, {estimates[name].quality:.2f} <= {self._accepts_above(name):g}"

    def _rungs(
        self, request: Request, estimates: Mapping[str, Estimate], asked: Mapping[str, Candidate]
    ) -> list[Candidate]:
        """Return who is left to ask, in order."""
        left = [one for one in request.candidates if one.name not in asked]
        if self.order == "given":
            return left
        if self.order == "price":
            costs = {one.name: estimates[one.name].cost for one in left}
            return sorted(left, key=lambda one: (costs[one.name] is None, costs[one.name]))
        places = {name: place for place, name in enumerate(self.order)}
        named = sorted((one for one in left if one.name in places), key=lambda one: places[one.name])
        return named if named or asked else left

    def _affordable(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        rungs: Sequence[Candidate],
        estimates: Mapping[str, Estimate],
    ) -> list[Candidate]:
        budget = request.snapshot.budget
        if budget is None:
            return list(rungs)
        left = budget - sum(one.cost or 0.0 for one in attempts)
        return [one for one in rungs if left > 0 and (estimates[one.name].cost or 0.0) <= left]

    def _accepts_above(self, name: str) -> float:
        return self.accept.get(name, 0.7) if isinstance(self.accept, Mapping) else self.accept

    def _abstains_at(self, name: str) -> float | None:
        return self.abstain.get(name) if isinstance(self.abstain, Mapping) else self.abstain


def _passed(attempt: Attempt) -> bool | None:
    """Return whether an answer, whole or cut off, passes its gate; `None` where there is nothing to say."""
    return attempt.call.gate.opens(attempt.logprobs) if attempt.call.gate is not None else None


def _names(thresholds: float | Mapping[str, float] | None) -> Iterable[str]:
    return thresholds if isinstance(thresholds, Mapping) else ()


def _check_thresholds(option: str, thresholds: float | Mapping[str, float] | None) -> None:
    values = thresholds.values() if isinstance(thresholds, Mapping) else (thresholds,)
    for value in values:
        if value is not None and not 0 <= value <= 1:
            raise ConfigurationError(f"Cascade.{option} must be in [0, 1] but got {value!r}; accept=0.7 is usual")


def _check_order(order: str | Sequence[str]) -> None:
    if isinstance(order, str):
        if order not in ("given", "price"):
            raise ConfigurationError(
                f"Cascade.order must be 'given', 'price' or a list of names but got {order!r}; "
                f"for one candidate give ({order!r},)"
            )
    elif not order or len({*order}) < len(order):
        raise ConfigurationError(f"Cascade.order must name candidates, each once, but got {order!r}")
