"""What estimators that learn from graded answers share, and the one that makes any confidence a probability."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator, GradedAnswer, Need, graded_answers
from router_integrations.estimators.curves import draw_curve, read_curve, require_curve
from router_integrations.learning import Record
from router_integrations.types import Attempt, Estimator, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# With fewer grades than this a candidate is taken for one like the others.
ENOUGH = 10
# Token probabilities come nearer to 1 than estimates of quality do.
_EDGE = 1e-9


class LearnedAnswer(AnswerEstimator):
    """Base of the estimators that learn from graded answers; a subclass writes `_learn`, `_score` and `_cold`.

    Args:
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Attributes:
        fitted_: What was learnt, swapped whole; `None` before `fit`.
    """

    fitted_: Mapping[str, Any] | None = None

    def fit(self, records: Iterable[Record]) -> Self:
        """Forget what was known and learn from `records`; return the estimator.

        Args:
            records: Graded attempts with their answers or log-probabilities; others are left out. Several of one
                candidate at one query are its samples, in order.

        Raises:
            ConfigurationError: There is nothing to learn from.
        """
        return self.fit_answers(graded_answers(records, self.answer))

    def fit_answers(self, answers: Iterable[GradedAnswer]) -> Self:
        """Do what `fit` does with answers in their surroundings, for what reads verdicts of judges, say."""
        given = list(answers)
        learnt = self._learn(given) if given else None
        if learnt is None:
            needed = " and ".join(sorted(self.needs)) or "a text"
            raise ConfigurationError(
                f"{type(self).__name__}.fit got no graded answer with {needed}; records take answer= and logprobs="
            )
        self.fitted_ = learnt
        return self

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        candidate, fitted = answers[-1].call.candidate, self.fitted_
        if fitted is None:
            return self._cold(request, candidate, attempts)
        return self._score(fitted, request, candidate, attempts)

    def _learn(self, given: Sequence[GradedAnswer]) -> Mapping[str, Any] | None:
        """Return what the graded answers tell; `None` for nothing."""
        raise NotImplementedError

    def _score(
        self, fitted: Mapping[str, Any], request: Request, candidate: Candidate, attempts: Sequence[Attempt]
    ) -> float | None:
        """Return the confidence by what was learnt."""
        raise NotImplementedError

    def _cold(self, request: Request, candidate: Candidate, attempts: Sequence[Attempt]) -> float | None:
        """Return the confidence before anything was learnt."""
        raise NotImplementedError


class CalibratedConfidence(LearnedAnswer):
    """Learns, from graded answers, how often those of each confidence are right.

    WHEN: post-generation. WHAT: what the other estimator reads. HOW: supervised: Platt's logistic curve on the log-odds
    of the confidence (two numbers, for a few dozen grades), or isotonic regression (a rising step-like curve, for
    hundreds); one for each candidate with 10 grades or more, and one of all grades for the others. Neither changes
    which of two answers of a candidate is the better one, but for ties. Before `fit` the confidence stays as it is. If
    the other estimator learns too, `fit` splits the queries by chance: one part teaches it, the rest the curves. `fit`
    costs O(grades · log grades) beside that, `estimate` O(log knots).

    Platt, "Probabilistic outputs for support vector machines" (1999); isotonic regression for UCCI's cascades. As the
    first step of rational tuning (arXiv 2501.09345) take ``"platt"`` on `TokenConfidence`.

    Args:
        estimator: Whose confidence; the instance itself never learns.
        method: ``"platt"`` or ``"isotonic"``.
        held_out: Share of the queries that `fit` keeps for the curves when the other estimator learns, in (0, 1).
        seed: Seed of the split.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: An option is out of range, or the estimator does not look at answers.

    >>> from router_integrations.estimators.uncertainty import TokenConfidence
    >>> from router_integrations.types import Call
    >>> seen = [Record(text=str(i), candidate="a", quality=float(i % 4 == 0), logprobs=(0.0,)) for i in range(40)]
    >>> calibrated = CalibratedConfidence(estimator=TokenConfidence(), method="isotonic").fit(seen)
    >>> reply = Attempt(call=Call(candidate=Candidate("a", model=object())), text="4", logprobs=(0.0,))
    >>> calibrated.confidence(Request(text="2 + 2?"), reply.call.candidate, [reply])
    0.25
    """

    def __init__(
        self,
        *,
        estimator: AnswerEstimator,
        method: Literal["platt", "isotonic"] = "platt",
        held_out: float = 0.3,
        seed: int = 0,
        prior: Estimator | None = None,
    ) -> None:
        if not isinstance(estimator, AnswerEstimator) or isinstance(estimator, CalibratedConfidence):
            raise ConfigurationError(
                f"CalibratedConfidence.estimator must be another one that looks at answers but got {estimator!r}; "
                "for example TokenConfidence()"
            )
        require_curve("CalibratedConfidence", method, held_out)
        super().__init__(prior=prior)
        self.estimator = estimator
        self.method = method
        self.held_out = held_out
        self.seed = seed

    @property
    def needs(self) -> frozenset[Need]:
        """What the other estimator needs."""
        return self.estimator.needs

    @property
    def uses(self) -> frozenset[Need]:
        """What the other estimator uses."""
        return self.estimator.uses

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return what the other estimator finds wrong."""
        return self.estimator.feedback(request, answer)

    def answer(self, candidate: Candidate, attempts: Sequence[Attempt]) -> Attempt | None:
        """Return the attempt that the other estimator speaks of."""
        return self.estimator.answer(candidate, attempts)

    def _learn(self, given: Sequence[GradedAnswer]) -> Mapping[str, Any] | None:
        import numpy as np

        inner, given = self._taught(given)
        found = [(one, inner.confidence(one.request, one.candidate, one.attempts)) for one in given]
        known = [(one, value) for one, value in found if value is not None]
        if not known:
            return None
        names = np.array([one.candidate.name for one, _ in known], dtype=object)
        expected = np.array([value for _, value in known], dtype=float)
        grades = np.array([one.quality for one, _ in known], dtype=float)
        own = [name for name in dict.fromkeys(names) if (names == name).sum() >= ENOUGH]
        curves = {
            name: draw_curve(self.method, expected[names == name], grades[names == name], edge=_EDGE) for name in own
        }
        every = draw_curve(self.method, expected, grades, edge=_EDGE)
        return {"estimator": inner, "curves": curves, "every": every}

    def _taught(self, given: Sequence[GradedAnswer]) -> tuple[AnswerEstimator, Sequence[GradedAnswer]]:
        """Return the other estimator, taught if it learns, and the answers that it has not seen."""
        import numpy as np

        inner = copy.copy(self.estimator)
        if not isinstance(inner, LearnedAnswer):
            return inner, given
        queries = list(dict.fromkeys(one.request for one in given))
        order = np.random.default_rng(self.seed).permutation(len(queries))
        hidden = {queries[place] for place in order[: max(round(len(queries) * self.held_out), 1)]}
        seen = [one for one in given if one.request not in hidden]
        return inner.fit_answers(seen), [one for one in given if one.request in hidden]

    def _score(
        self, fitted: Mapping[str, Any], request: Request, candidate: Candidate, attempts: Sequence[Attempt]
    ) -> float | None:
        import numpy as np

        value = fitted["estimator"].confidence(request, candidate, attempts)
        if value is None:
            return None
        curve = fitted["curves"].get(candidate.name, fitted["every"])
        return float(read_curve(self.method, curve, np.array([value]), edge=_EDGE)[0])

    def _cold(self, request: Request, candidate: Candidate, attempts: Sequence[Attempt]) -> float | None:
        return self.estimator.confidence(request, candidate, attempts)
