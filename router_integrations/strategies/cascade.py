"""The strategy that asks one candidate after another until an answer is good enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answer_quality import AnswerQuality
from router_integrations.estimators.answers import Need, refuse_unasked
from router_integrations.gating import Gate
from router_integrations.reasons import compared
from router_integrations.strategies.refining import Refine, Refiner, cost_again
from router_integrations.strategies.votes import answers_among, is_answer
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Stop, Usage

# By which candidates are ordered before there is a request.
_TYPICAL = Usage(input_tokens=1000, output_tokens=300)


class Cascade:
    """Asks one candidate after another: an answer is accepted or improved, or the next one is asked, or nobody answers.

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

    With `refine` a candidate whose answer is neither accepted nor abstained from, or breaks the schema of the request,
    is first asked to improve it, once: it sees the conversation, its answer as text, and feedback. What it says then is
    judged as any answer is, and the answer before stays in the running for the best so far. The last candidate's answer
    is looked at where it may be improved; what comes of that is returned, streamed. An answer stopped at its gate is
    not improved, nor is any when the budget does not pay for it, or in a tool loop.

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
        refine: What a candidate is told of its answer, for all or by name; by name, nothing for the rest. A text, such
            as `strategies.REFINE_PROMPT`, follows what the estimator finds wrong, if it says (`AnswerQuality` does). A
            function of request, answer and estimate says all, or returns `None` to leave the answer as it is; a folder
            cannot hold it.

    Raises:
        ConfigurationError: A threshold is out of range, one to abstain is above the one to accept, a name stands twice
            in the order, feedback is no text, or the estimator needs what a cascade never asks for.

    >>> from router_integrations.estimators import TokenConfidence
    >>> pool = tuple(Candidate(name, model=object(), strength=0.5) for name in ("small", "big"))
    >>> cascade = Cascade(estimator=TokenConfidence(), order=("small", "big"), accept=0.8)
    >>> request = Request(text="What is 2 + 2?", candidates=pool)
    >>> first = cascade.decide(request)
    >>> unsure = Attempt(call=first, text="5", logprobs=(-1.0,))
    >>> first.candidate.name, cascade.decide(request, [unsure]).reason
    ('small', "'small' was not sure enough, 0.37 <= 0.80")
    """

    # What a subclass asks for beside answers.
    _asked: ClassVar[tuple[Need, ...]] = ()

    def __init__(
        self,
        *,
        estimator: Estimator | None = None,
        order: Literal["given", "price"] | Sequence[str] = "price",
        accept: float | Mapping[str, float] = 0.7,
        abstain: float | Mapping[str, float] | None = None,
        gate: Gate | None = None,
        refine: Refine = None,
    ) -> None:
        _check_order(order)
        for option, thresholds in (("accept", accept), ("abstain", abstain)):
            _check_thresholds(option, thresholds)
        self.estimator = estimator
        self.order = order
        self.accept = accept
        self.abstain = abstain
        self.gate = gate
        self.refine = refine
        self._estimator: Estimator = estimator if estimator is not None else AnswerQuality()
        refuse_unasked("Cascade", self._estimator, *self._asked)
        self._refiner = Refiner(refine=refine, estimator=self._estimator)
        for name in {*_names(accept), *_names(abstain), ""}:
            low, high = self._abstains_at(name), self._accepts_above(name)
            if low is not None and low > high:
                raise ConfigurationError(
                    f"Cascade.abstain must not be above accept but is {low!r} > {high!r}; lower it or raise accept"
                )

    @property
    def uses(self) -> frozenset[Need]:
        """What answers should carry where they can."""
        uses: frozenset[Need] = getattr(self._estimator, "uses", frozenset())
        return uses if self.gate is None else uses | {"logprobs"}

    def demands(self, candidates: Sequence[Candidate]) -> dict[str, frozenset[Need]]:
        """Return what the answers of each candidate must carry, by name; those that nobody looks at are left out."""
        expected = {one.name: Estimate(quality=0.0, cost=one.cost(_TYPICAL)) for one in candidates}
        *looked, last = self._rungs(Request(text="", candidates=tuple(candidates)), expected, {})
        if self._abstains_at(last.name) is not None or self._refiner.may(last.name):
            looked.append(last)
        return {one.name: getattr(self._estimator, "needs", frozenset()) for one in looked}

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Stop:
        """Return a call to a candidate, or the end: with the accepted answer, the best one, or none."""
        answers = answers_among(attempts)
        asked = {one.call.candidate.name: one.call.candidate for one in attempts if is_answer(one) or one.revisable}
        offered = {one.name: one for one in request.candidates}
        # What the others will cost is asked again only where it decides something.
        costs_matter = not answers or request.snapshot.budget is not None or self.order == "price"
        known = tuple((offered | asked).values() if costs_matter else asked.values())
        estimates = dict(
            zip((one.name for one in known), self._estimator.estimate(request, known, attempts), strict=True)
        )
        rungs = self._affordable(request, attempts, self._rungs(request, estimates, asked), estimates)
        # One that failed has nothing to say about the answer before it, which was already found wanting.
        if answers and (end := self._verdict(answers[-1], estimates)):
            return end
        if again := self._again(request, attempts, estimates, last=not rungs):
            return again
        if answers and not rungs:
            return self._best(request, attempts, estimates)
        rungs = rungs or [one for one in request.candidates if one.name not in asked]
        return self._call(request, attempts, rungs, estimates) if rungs else Stop(reason="nobody else can be asked")

    def _verdict(self, answer: Attempt, estimates: Mapping[str, Estimate]) -> Stop | None:
        """Return the end that an answer leads to, if any."""
        name = answer.call.candidate.name
        sure, accept, abstain = estimates[name].quality, self._accepts_above(name), self._abstains_at(name)
        if passed := _passed(answer):
            gated = answer.call.gate.confidence(answer.logprobs) if answer.call.gate else None
            return Stop(attempt=answer, reason=f"{name!r} passed the gate", confidence=gated)
        if passed is None and sure > accept:
            reason = f"{name!r} was sure enough, {compared(sure, '>', accept)}"
            return Stop(attempt=answer, reason=reason, confidence=sure)
        if passed is None and abstain is not None and sure <= abstain:
            return Stop(reason=f"{name!r} was too unsure to go on, {compared(sure, '<=', abstain)}")
        return None

    def _again(
        self, request: Request, attempts: Sequence[Attempt], estimates: Mapping[str, Estimate], *, last: bool
    ) -> Call | None:
        """Return the call that has the candidate asked last improve its answer, if it may."""
        draft = attempts[-1] if attempts else None
        if draft is None or draft.call.candidate not in request.candidates or not _improvable(draft):
            return None
        name = draft.call.candidate.name
        failed = draft.error is not None
        estimate = replace(estimates[name], quality=0.0) if failed else estimates[name]
        revision = self._refiner.revision(request, draft, estimate)
        if revision is None:
            return None
        expected = {**estimates, name: replace(estimate, cost=cost_again(revision, draft))}
        if not self._affordable(request, attempts, [draft.call.candidate], expected):
            return None
        final = last and self._abstains_at(name) is None
        return Call(
            candidate=draft.call.candidate,
            revision=revision,
            final=final,
            gate=None if last else self.gate,
            reason=f"{self._why(attempts, estimates)}, and may improve its answer",
            estimates={one.name: expected[one.name] for one in request.candidates if one.name in expected},
        )

    def _best(self, request: Request, attempts: Sequence[Attempt], estimates: Mapping[str, Estimate]) -> Stop:
        """Return the end with the best answer so far, the later one of equals, which was dearer."""
        last = {one.call.candidate.name: one for one in answers_among(attempts)}
        best, highest = attempts[-1], -1.0
        for place, one in enumerate(attempts):
            candidate = one.call.candidate
            if not is_answer(one):
                continue
            if one is last[candidate.name]:
                sure = estimates[candidate.name].quality
            else:
                sure = self._estimator.estimate(request, (candidate,), attempts[: place + 1])[0].quality
            if sure >= highest:
                best, highest = one, sure
        why = f"the best answer so far, by {best.call.candidate.name!r} with confidence {highest:.2f}"
        return Stop(attempt=best, reason=f"nobody else can be asked; {why}", confidence=highest)

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
        may_refine = self._refiner.may(rung.name) and not locked
        final = locked or (last and self._abstains_at(rung.name) is None and not may_refine)
        return Call(
            candidate=rung,
            final=final,
            revisable=may_refine,
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
        sure = compared(estimates[name].quality, "<=", self._accepts_above(name))
        return f"{name!r} was not sure enough, {sure}"

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


def _improvable(attempt: Attempt) -> bool:
    """Return whether an attempt is an answer, or breaks the schema, and was not improved or stopped at its gate."""
    told = is_answer(attempt) or attempt.revisable
    return told and attempt.call.revision is None and _passed(attempt) is not False


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
