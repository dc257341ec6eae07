"""How sure an estimator is of recorded answers, beside their grades and costs: what thresholds are chosen on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Self

import numpy as np

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator, answers_of, graded_answers
from router_integrations.learning import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GradedConfidences:
    """Confidences with grades and costs: one row a query, one column a candidate; what is missing is NaN.

    What `tune_cascade`, `guaranteed_threshold`, `frugal_cascade`, `drift` and `metrics.auroc`
    take, by column.

    Args:
        texts: The queries.
        names: The candidates.
        confidence: How sure the estimator is of each answer, in [0, 1].
        quality: Grade of the answer that it speaks of, in [0, 1].
        cost: USD of the candidate's answers, all samples together.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]
    confidence: Floats
    quality: Floats
    cost: Floats

    @classmethod
    def of(cls, records: Iterable[Record], estimator: AnswerEstimator, *, names: Sequence[str] | None = None) -> Self:
        """Return what `estimator` makes of the graded answers among `records`.

        Records of the same query and candidate are samples, of which the estimator speaks of one. It should not have
        learnt from these records. Confidences that need a verdict of a judge are missing: records have none.

        Args:
            records: Graded attempts with their answers, log-probabilities and costs.
            estimator: Looks at answers.
            names: The candidates, in the order of the columns; by default all, as they first appear.

        Raises:
            ConfigurationError: There are no such answers, or none of one of `names`.

        >>> from router_integrations.estimators import TokenConfidence
        >>> records = [Record(text="2 + 2?", candidate=name, quality=grade, answer="4", logprobs=(sure,), cost=cost)
        ...            for name, grade, sure, cost in (("small", 0.0, -1.0, 0.1), ("big", 1.0, -0.1, 1.0))]
        >>> graded = GradedConfidences.of(records, TokenConfidence())
        >>> graded.names, graded.confidence.round(2).tolist(), graded.quality.tolist()
        (('small', 'big'), [[0.37, 0.9]], [[0.0, 1.0]])
        """
        queries = [
            list(own) for _, own in groupby(graded_answers(records, estimator.answer), lambda one: id(one.request))
        ]
        known = dict.fromkeys(one.candidate.name for own in queries for one in own)
        columns = tuple(known if names is None else names)
        if not queries or (absent := [name for name in columns if name not in known]):
            raise ConfigurationError(
                f"the records hold no graded answer of {absent if queries else 'anybody'}, only of {[*known]}; "
                "they need quality= and answer= or logprobs="
            )
        table = np.full((3, len(queries), len(columns)), math.nan)
        for row, own in enumerate(queries):
            for one in (one for one in own if one.candidate.name in columns):
                sure = estimator.confidence(one.request, one.candidate, one.attempts)
                paid = [answer.cost for answer in answers_of(one.candidate, one.attempts)]
                cost = math.fsum(math.nan if usd is None else usd for usd in paid)
                values = (math.nan if sure is None else sure, one.quality, cost)
                table[:, row, columns.index(one.candidate.name)] = values
        texts = tuple(own[0].request.text for own in queries)
        return cls(texts=texts, names=columns, confidence=table[0], quality=table[1], cost=table[2])

    def complete(self) -> Self:
        """Return the queries for which nothing is missing.

        >>> from router_integrations.estimators import TokenConfidence
        >>> records = [Record(text=text, candidate="small", quality=1.0, answer="4", logprobs=sure, cost=0.1)
        ...            for text, sure in (("2 + 2?", (-0.1,)), ("3 + 1?", ()))]
        >>> GradedConfidences.of(records, TokenConfidence()).complete().texts
        ('2 + 2?',)
        """
        rows = np.flatnonzero(np.isfinite(self.confidence + self.quality + self.cost).all(axis=1))
        return replace(
            self,
            texts=tuple(self.texts[row] for row in rows),
            confidence=self.confidence[rows],
            quality=self.quality[rows],
            cost=self.cost[rows],
        )
