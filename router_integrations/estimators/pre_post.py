"""One estimator before a candidate answers, another after it, and how far the second moves the first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator, Need, answers_of, graded_answers
from router_integrations.learning import Record
from router_integrations.types import Attempt, Estimate, Estimator, Request


class PrePost(AnswerEstimator):
    """Estimates a candidate by `before` until it answers and by `after` then, and learns how far that moves it.

    After `fit`, the standard deviation of an estimate before the answer is the root mean square of the moves that were
    seen, candidate by candidate, which tells `CascadeRouting` what a look at an answer is worth. Before `fit` it is
    that of `before`. After the answer it is 0. Both should be calibrated: a bias between them counts as moves.

    WHEN: multi-stage. WHAT, HOW and cost: those of its parts. `fit` takes one estimate of each a record. The estimates
    of Cascade Routing (arXiv 2410.10347), with independent candidates.

    Args:
        before: Predicts.
        after: Looks at the last answer.

    Attributes:
        moves_: Standard deviation by candidate, learnt by `fit`.

    Raises:
        ConfigurationError: `after` does not look at answers.

    >>> from router_integrations.estimators import Difficulty, TokenConfidence
    >>> small = Candidate("small", model=object(), strength=0.5)
    >>> expects = PrePost(before=Difficulty(), after=TokenConfidence())
    >>> records = [Record(text="2 + 2?", candidate="small", quality=1.0, logprobs=(0.0,))]
    >>> estimate = expects.fit(records, candidates=[small]).estimate(Request(text="2 + 2?"), [small])[0]
    >>> round(estimate.quality, 2), round(estimate.std, 2)
    (0.89, 0.11)
    """

    moves_: Mapping[str, float] | None = None

    def __init__(self, *, before: Estimator, after: AnswerEstimator) -> None:
        if not isinstance(after, AnswerEstimator):
            raise ConfigurationError(
                f"PrePost.after must look at answers, as AnswerQuality() does, but is {after!r}; before= takes any"
            )
        super().__init__(prior=before)
        self.before = before
        self.after = after

    @property
    def needs(self) -> frozenset[Need]:
        """What `after` needs."""
        return self.after.needs

    @property
    def uses(self) -> frozenset[Need]:
        """What `after` uses."""
        return self.after.uses

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return what `after` finds wrong."""
        return self.after.feedback(request, answer)

    def answer(self, candidate: Candidate, attempts: Sequence[Attempt]) -> Attempt | None:
        """Return the attempt that `after` looks at."""
        return self.after.answer(candidate, attempts)

    def fit(self, records: Iterable[Record], *, candidates: Sequence[Candidate] = ()) -> Self:
        """Learn how far estimates move; return the estimator.

        Args:
            records: Attempts with their answers or log-probabilities, best those that `before` has not learnt from.
            candidates: Those of the records, where `before` reads more of them than their names, as `Difficulty` does.

        Raises:
            ConfigurationError: No answer tells anything.
        """
        known = {one.name: one for one in candidates}
        moves: dict[str, list[float]] = {}
        for one in graded_answers(records, self.after.answer):
            seen = self.after.confidence(one.request, one.candidate, one.attempts)
            if seen is not None:
                name = one.candidate.name
                expected = self.before.estimate(one.request, [known.get(name, one.candidate)])[0]
                moves.setdefault(name, []).append(seen - expected.quality)
        if not moves:
            raise ConfigurationError(
                "PrePost.fit got no answer that after= can look at; records take answer= and logprobs="
            )
        self.moves_ = {name: math.hypot(*each) / math.sqrt(len(each)) for name, each in moves.items()}
        return self

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        found = zip(candidates, super().estimate(request, candidates, attempts), strict=True)
        return [replace(one, std=self._std(candidate, one, attempts)) for candidate, one in found]

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        return self.after.confidence(request, answers[-1].call.candidate, attempts)

    def _std(self, candidate: Candidate, estimate: Estimate, attempts: Sequence[Attempt]) -> float:
        if answers_of(candidate, attempts):
            return 0.0
        if self.moves_ is None:
            return estimate.std
        # Somebody without records is taken for one like the others.
        typical = math.sqrt(sum(move**2 for move in self.moves_.values()) / len(self.moves_))
        return self.moves_.get(candidate.name, typical)
