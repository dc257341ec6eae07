"""The cascade whose answers are judged, by the candidate that gave them or by another, before a larger one is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import Need
from router_integrations.estimators.verification import SelfVerification
from router_integrations.strategies.cascade import Cascade
from router_integrations.strategies.escalation import EscalationPolicy
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Attempt, Call, Request, Stop, Usage

# Confidence up to which an answer is escalated unless the user says otherwise: half of the votes.
_MAJORITY = 0.5


class _Onward(Cascade):
    _asked = ("judge",)


class JudgedCascade:
    """Asks one candidate after another, and a judge several times at once whether an answer is right.

    Confidence is the share of the votes that approve. A number as `policy` keeps the answer above it; a policy that has
    learnt (`Thresholds`, `POMDP`, `GreedyPOMDP`, `PolicyUnion`) may keep it at any. A vote that fails or cannot be read
    does not count; without a single one, or without a judge, the next candidate is asked. The last candidate is not
    judged, and streams. When nobody is left, or nobody that the budget allows, votes included, the best answer so far
    is returned. In a tool loop the candidate that began it goes on, unjudged. Judges see the query and the answer
    alone: no conversation, tools, schema or settings of the caller.

    WHEN: multi-stage. WHAT: query and answer, read by a model. HOW: a model judges, thresholds or a POMDP decide. Each
    judged answer costs `votes` short calls beside its own, made at the same time; the limit of 32 calls a request is
    enough for three of them. `decide` takes one estimate plus O(candidates · log candidates). Votes of a judge with
    ``temperature=0`` are all the same: take fewer, or give it another temperature.

    Aggarwal et al., "AutoMix" (arXiv 2310.12963), for any number of candidates.

    Args:
        judge: Name of the candidate that judges; each its own answers by default.
        votes: Verdicts asked for on an answer, at least 1.
        policy: What confidence is escalated, for all or by the name of who answered; 0.5 for the rest.
        verification: How a judge is asked and its verdicts are read, examples included; `SelfVerification()` by
            default. Its `prior` says what the candidates will cost.
        order: As in `Cascade`.

    Raises:
        ConfigurationError: An option is out of range.

    >>> pool = tuple(Candidate(name, model=object(), strength=0.5) for name in ("small", "big"))
    >>> cascade, request = JudgedCascade(order="given", votes=2), Request(text="2 + 2?", candidates=pool)
    >>> answer = Attempt(call=cascade.decide(request), text="5")
    >>> said = [Attempt(call=call, text="False") for call in cascade.decide(request, [answer])]
    >>> onward = cascade.decide(request, [answer, *said])
    >>> len(said), onward.candidate.name, onward.final, onward.reason
    (2, 'big', True, "'small' was passed over at 0.00 by 2 votes")
    """

    def __init__(
        self,
        *,
        judge: str | None = None,
        votes: int = 8,
        policy: float | EscalationPolicy | Mapping[str, float | EscalationPolicy] = _MAJORITY,
        verification: SelfVerification | None = None,
        order: Literal["given", "price"] | Sequence[str] = "price",
    ) -> None:
        if votes < 1:
            raise ConfigurationError(f"JudgedCascade.votes must be at least 1 but got {votes!r}; 8 is usual")
        for one in _each(policy):
            if not isinstance(one, EscalationPolicy) and not 0 <= one <= 1:
                raise ConfigurationError(f"JudgedCascade.policy must be in [0, 1] but got {one!r}; 0.5 is a majority")
        self.judge = judge
        self.votes = votes
        self.policy = policy
        self.verification = verification
        self.order = order
        self._verification = SelfVerification() if verification is None else verification
        # Never content, it goes on for as long as somebody can be asked.
        self._onward = _Onward(estimator=self._verification, order=order, accept=1.0)

    @property
    def judges(self) -> tuple[str, ...]:
        """Who must be there beside the candidates that answer."""
        return () if self.judge is None else (self.judge,)

    @property
    def uses(self) -> frozenset[Need]:
        """What verdicts should carry."""
        return self._verification.needs - {"judge"}

    def demands(self, candidates: Sequence[Candidate]) -> dict[str, frozenset[Need]]:
        """Return what verdicts must carry, by who judges."""
        if self.judge is not None:
            return {self.judge: self.uses}
        return {name: self.uses for name in self._onward.demands(candidates)}

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        """Return a call to the next candidate, several to the judge, or the end with the kept or the best answer."""
        onward = self._onward.decide(request, attempts)
        place = next((i for i in reversed(range(len(attempts))) if _is_answer(attempts[i])), None)
        if place is None or isinstance(onward, Stop):
            return onward
        answer, since = attempts[place], attempts[place + 1 :]
        if not any(one.call.purpose == "judge" for one in since) and (calls := self._judges(request, answer)):
            short = self._onward.decide(_after(request, calls), attempts)
            return short if isinstance(short, Stop) else calls
        votes = self._verification.verdicts(request, answer, since)
        name, sure = answer.call.candidate.name, sum(votes) / max(len(votes), 1)
        if votes and not self._escalates(name, sure):
            reason = f"{name!r} was kept at {sure:.2f} by {len(votes)} votes"
            return Stop(attempt=answer, reason=reason, confidence=sure)
        if attempts[-1].call.purpose == "answer" and attempts[-1].error is not None:
            return onward
        why = f"was passed over at {sure:.2f} by {len(votes)} votes" if votes else "could not be judged"
        return replace(onward, reason=f"{name!r} {why}")

    def _judges(self, request: Request, answer: Attempt) -> list[Call]:
        wanted = answer.call.candidate.name if self.judge is None else self.judge
        judge = next((one for one in (*request.candidates, *request.judges) if one.name == wanted), None)
        if judge is None:
            return []
        reason = f"is the answer of {answer.call.candidate.name!r} right?"
        prompt = self._verification.ask(request, answer)
        return [Call(candidate=judge, purpose="judge", prompt=prompt, reason=reason) for _ in range(self.votes)]

    def _escalates(self, name: str, confidence: float) -> bool:
        policy = self.policy.get(name, _MAJORITY) if isinstance(self.policy, Mapping) else self.policy
        return policy.escalates(confidence) if isinstance(policy, EscalationPolicy) else confidence <= policy


def _is_answer(attempt: Attempt) -> bool:
    return attempt.error is None and attempt.call.purpose == "answer"


def _after(request: Request, calls: Sequence[Call]) -> Request:
    """Return the request with the budget that `calls` with short replies will leave."""
    snapshot = request.snapshot
    if snapshot.budget is None:
        return request
    usages = [Usage(input_tokens=estimate_tokens(call.prompt or ""), output_tokens=1) for call in calls]
    cost = sum(call.candidate.cost(usage) or 0.0 for call, usage in zip(calls, usages, strict=True))
    return replace(request, snapshot=replace(snapshot, budget=snapshot.budget - cost))


def _each(
    policy: float | EscalationPolicy | Mapping[str, float | EscalationPolicy],
) -> Iterable[float | EscalationPolicy]:
    return policy.values() if isinstance(policy, Mapping) else (policy,)
