"""What estimators of the quality of a given answer share: whose answer, what they need, and graded answers to learn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.learning import Record
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Usage

Need = Literal["logprobs", "top_logprobs", "samples", "candidates", "judge"]


# What is expected before an answer, unless the user says otherwise; answers decide, so that no strength is called for.
UNPRIMED = Difficulty(unknown=0.5)


class AnswerEstimator:
    """Base of the estimators that look at answers; a subclass writes `_confidence`.

    A candidate that has answered is estimated by its answer: `quality` is the confidence that it is right, cost and
    latency are what it took. One that has not, or whose answer tells nothing, is estimated by `prior`.

    Args:
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    >>> from router_integrations.estimators.uncertainty import TokenConfidence
    >>> small, large = (Candidate(name, model=object(), strength=0.5) for name in ("small", "large"))
    >>> reply = Attempt(call=Call(candidate=small), text="4", logprobs=(0.0,))
    >>> sure, cold = TokenConfidence().estimate(Request(text="2 + 2?"), [small, large], [reply])
    >>> sure.quality, cold == Difficulty().estimate(Request(text="2 + 2?"), [large])[0]
    (1.0, True)
    """

    def __init__(self, *, prior: Estimator | None = None) -> None:
        self.prior = prior

    @property
    def needs(self) -> frozenset[Need]:
        """What the attempts must carry, so that a cascade can tell the user when it is built.

        ``"logprobs"`` and ``"top_logprobs"`` of the answer, ``"samples"`` (several answers of one candidate), answers
        of several ``"candidates"``, or verdicts of a ``"judge"``.
        """
        return frozenset()

    @property
    def uses(self) -> frozenset[Need]:
        """What makes the estimate better where the attempts carry it: what it needs, and what it can do without."""
        return self.needs

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return in a sentence, for who gave the answer, what is wrong with it; `None` when nothing is known to be."""
        return None

    def answer(self, candidate: Candidate, attempts: Sequence[Attempt]) -> Attempt | None:
        """Return the attempt that the estimate is about: the last answer, unless a subclass says otherwise."""
        answers = answers_of(candidate, attempts)
        return answers[-1] if answers else None

    def confidence(self, request: Request, candidate: Candidate, attempts: Sequence[Attempt]) -> float | None:
        """Return how sure one may be of the candidate's answer, in [0, 1]; `None` when nothing can be said."""
        answers = answers_of(candidate, attempts)
        value = self._confidence(request, answers, attempts) if answers else None
        return None if value is None or math.isnan(value) else min(max(value, 0.0), 1.0)

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        known = {}
        for candidate in candidates:
            quality = self.confidence(request, candidate, attempts)
            answer = self.answer(candidate, attempts)
            if quality is not None and answer is not None:
                known[candidate.name] = Estimate(quality=quality, cost=answer.cost, latency=answer.latency)
        rest = [candidate for candidate in candidates if candidate.name not in known]
        prior = UNPRIMED if self.prior is None else self.prior
        expected = iter(prior.estimate(request, rest, attempts) if rest else ())
        return [known.get(candidate.name) or next(expected) for candidate in candidates]

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        """Return the confidence, given the candidate's answers (at least one) and all attempts, both in order."""
        raise NotImplementedError


# Which strategies ask for what an answer alone does not carry.
_ASKERS: dict[Need, str] = {
    "samples": "BestOfN and AgreementCascade ask for several answers",
    "judge": "JudgedCascade asks a judge",
}


def refuse_unasked(owner: str, estimator: Estimator, *asked: Need) -> None:
    """Check that an estimator does without samples and judges, for a strategy that asks for none.

    Args:
        owner: The strategy's name.
        estimator: Looks at its answers.
        *asked: What the strategy asks for all the same.

    Raises:
        ConfigurationError: It does not.

    >>> from router_integrations.estimators.uncertainty import TokenConfidence
    >>> refuse_unasked("Cascade", TokenConfidence())
    """
    needs: frozenset[Need] = getattr(estimator, "needs", frozenset())
    for need, remedy in _ASKERS.items():
        if need in needs and need not in asked:
            raise ConfigurationError(
                f"{owner}.estimator may not need {need!r}, for {owner} asks for none, but {type(estimator).__name__} "
                f"does; {remedy}"
            )


def answers_of(candidate: Candidate, attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the answers of a candidate, in order, without its failures and what it said as a judge.

    >>> small = Candidate("small", model=object())
    >>> replies = [Attempt(call=Call(candidate=small, purpose=purpose)) for purpose in ("answer", "judge")]
    >>> len(answers_of(small, replies))
    1
    """
    return [
        attempt
        for attempt in attempts
        if attempt.error is None and attempt.call.purpose == "answer" and attempt.call.candidate.name == candidate.name
    ]


def said(answer: Attempt, read: Callable[[str], str] = str) -> str:
    """Return what an answer says: its tool calls as JSON if it makes any, else its text by `read`.

    >>> call = Call(candidate=Candidate("small", model=object()))
    >>> said(Attempt(call=call, text="Yes."), str.lower)
    'yes.'
    >>> said(Attempt(call=call, tool_calls=({"name": "search", "args": {"q": "yes"}, "id": "1"},)))
    '[["search", {"q": "yes"}]]'
    """
    if answer.tool_calls:
        return json.dumps([[call["name"], call["args"]] for call in answer.tool_calls], sort_keys=True, default=str)
    return read(answer.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedAnswer:
    """An answer in its surroundings, and how good it was.

    Args:
        request: The query.
        candidate: Whose answer was graded.
        attempts: What was asked, verdicts of judges included.
        quality: The grade, in [0, 1].

    >>> candidate = Candidate("small", model=object())
    >>> GradedAnswer(request=Request(text="Hi"), candidate=candidate, attempts=(), quality=1.0).quality
    1.0
    """

    request: Request
    candidate: Candidate
    attempts: tuple[Attempt, ...]
    quality: float


def graded_answers(
    records: Iterable[Record], about: Callable[[Candidate, Sequence[Attempt]], Attempt | None]
) -> list[GradedAnswer]:
    """Return the graded answers of `records`, one for each query and candidate; several records of both are samples.

    Records without an answer are left out, as are preferences.

    Args:
        records: Graded attempts with an answer or log-probabilities.
        about: Which of the attempts the grade is wanted for: `AnswerEstimator.answer` of the one that will learn.

    >>> records = [Record(text="2+2?", candidate="a", quality=grade, answer="4") for grade in (0.0, 1.0)]
    >>> [(one.quality, len(one.attempts)) for one in graded_answers(records, lambda _, attempts: attempts[-1])]
    [(1.0, 2)]
    """
    candidates: dict[str, Candidate] = {}
    queries: dict[str, tuple[Record, list[Attempt], list[float]]] = {}
    for record in records:
        if record.over is None and (record.answer is not None or record.logprobs):
            candidate = candidates.setdefault(record.candidate, Candidate(record.candidate, model=record.candidate))
            _, attempts, grades = queries.setdefault(record.query_id, (record, [], []))
            attempts.append(_attempt(record, candidate))
            grades.append(record.quality)
    found = []
    for first, attempts, grades in queries.values():
        request = Request(text=first.text, images=first.images)
        for name in dict.fromkeys(attempt.call.candidate.name for attempt in attempts):
            wanted = about(candidates[name], attempts)
            grade = next(grade for one, grade in zip(attempts, grades, strict=True) if one is wanted)
            one = GradedAnswer(request=request, candidate=candidates[name], attempts=tuple(attempts), quality=grade)
            found.append(one)
    return found


def _attempt(record: Record, candidate: Candidate) -> Attempt:
    usage = None
    if record.input_tokens is not None and record.output_tokens is not None:
        usage = Usage(input_tokens=record.input_tokens, output_tokens=record.output_tokens)
    return Attempt(
        call=Call(candidate=candidate),
        text=record.answer or "",
        logprobs=record.logprobs,
        usage=usage,
        cost=record.cost,
        latency=record.latency or 0.0,
    )
