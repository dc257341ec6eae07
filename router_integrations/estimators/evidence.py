"""How likely each answer is right, learnt from what all the candidates asked so far have answered."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder, HashingEncoder
from router_integrations.estimators.answers import UNPRIMED, GradedAnswer, Need, said
from router_integrations.estimators.consistency import normalized
from router_integrations.estimators.learned_answers import LearnedAnswer
from router_integrations.estimators.numerics import require_at_least, sigmoid
from router_integrations.estimators.uncertainty import mean_probability, usable
from router_integrations.types import Attempt, Estimate, Estimator, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.evidence_weights import Given

_DIMENSIONS = 64
_WORD = re.compile(r"\w+")
# Of log-probabilities nearer to 0 than this the probability differs from 1 by as much.
_SURE = -1e-5


class Evidence(LearnedAnswer):
    """Estimates each answer by all that were given: how sure each candidate was, what it says, and who says the same.

    An answer is more likely right when another candidate says the same, the more so the surer that one is, and less
    when it says something else; how much is learnt for each candidate. So each answer moves the estimates of those
    before, and a strategy that returns the best of all answers, as `CascadeRouting` does, holds a vote. A candidate
    that has not answered is expected to do as well as it usually does when the best answer so far is that sure. Its
    `std` is the one for which its answer raises the best as much as it did on average. Its cost and latency are those
    that `prior` expects.

    Two answers are as alike as they share words (Dice), and 1 when `read` makes them equal. Log-probabilities are used
    where there are any. Give an `Evidence` of its own to each kind of query, as open and multiple-choice questions,
    where agreeing means something else.

    WHEN: multi-stage. WHAT: answers of several candidates. HOW: supervised, three logistic regressions: each answer by
    itself (its mean token log-odds, its length, its vector); all together, on sets of up to four answers drawn at
    random; the next one, by the best so far. Candidates share weights and differ from them as far as their grades
    show, so that a few hundred queries that all have answered are enough, and a new candidate is taken for one like
    the others. Before `fit` the confidence is the mean token probability. `fit` takes O(queries · candidates³) for each
    of some hundred iterations and reads 4,000 queries at most; `estimate` encodes the answers and takes O(answers²).

    Args:
        read: Takes the answer out of a text, in one form: the last number, say; `normalized` by default.
        encoder: Turns answers into vectors; a `HashingEncoder` of 64 dimensions fitted on them by default.
        alpha: Weight of the squared weights of these vectors, at least 0; infinity does without them.
        prior: Estimates cost and latency of candidates without an answer, before `fit` their quality too;
            `Difficulty()` by default.

    Raises:
        ConfigurationError: `alpha` is negative.

    >>> from router_integrations.learning import Record
    >>> from router_integrations.types import Call
    >>> seen = [Record(text=f"query {row}", candidate=name, quality=float(row % 3 != place),
    ...                answer=str(100 + row + (row % 3 == place)))
    ...         for row in range(90) for place, name in enumerate("abc")]
    >>> evidence = Evidence(alpha=math.inf).fit(seen)
    >>> pool = [Candidate(name, model=object()) for name in "abc"]
    >>> calls = [Call(candidate=one) for one in pool]
    >>> said = [Attempt(call=call, text=text) for call, text in zip(calls, ("107", "109", "109"), strict=True)]
    >>> [round(one.quality, 1) for one in evidence.estimate(Request(text="query 90"), pool, said)]
    [0.0, 1.0, 1.0]
    """

    def __init__(
        self,
        *,
        read: Callable[[str], str] | None = None,
        encoder: Encoder | None = None,
        alpha: float = 10.0,
        prior: Estimator | None = None,
    ) -> None:
        require_at_least(0, "Evidence.alpha", alpha)
        super().__init__(prior=prior)
        self.read = read
        self.encoder = encoder
        self.alpha = alpha

    @property
    def uses(self) -> frozenset[Need]:
        """Log-probabilities, and the answers of other candidates, where there are any."""
        return frozenset({"logprobs", "candidates"})

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        if self.fitted_ is None:
            return super().estimate(request, candidates, attempts)
        answers = self._answers(attempts)
        sure = self._sure(self.fitted_, answers)
        rest = [one for one in candidates if one.name not in answers]
        prior = UNPRIMED if self.prior is None else self.prior
        expected = prior.estimate(request, rest, attempts) if rest else []
        ahead = iter(_ahead(self.fitted_, rest, expected, sure.values()))
        return [
            next(ahead)
            if (answer := answers.get(one.name)) is None
            else Estimate(quality=sure[one.name], cost=answer.cost, latency=answer.latency)
            for one in candidates
        ]

    def _answers(self, attempts: Sequence[Attempt]) -> dict[str, Attempt]:
        """Return the last answer of each candidate that has one, by name."""
        known = {one.call.candidate.name: one.call.candidate for one in attempts}
        found = {name: self.answer(candidate, attempts) for name, candidate in known.items()}
        return {name: one for name, one in found.items() if one is not None}

    def _sure(self, fitted: Mapping[str, Any], answers: Mapping[str, Attempt]) -> dict[str, float]:
        """Return the probability that each answer is right."""
        from router_integrations.estimators.evidence_weights import odds_together, own_odds

        if not answers:
            return {}
        who = _rows(fitted, answers)
        given = read_answers([list(answers.values())], self.read or normalized, fitted["encoder"])
        odds = odds_together(fitted, who, own_odds(fitted, who, given), given.there, given.alike)
        return dict(zip(answers, sigmoid(odds)[0].tolist(), strict=True))

    def _score(
        self, fitted: Mapping[str, Any], request: Request, candidate: Candidate, attempts: Sequence[Attempt]
    ) -> float | None:
        return self._sure(fitted, self._answers(attempts))[candidate.name]

    def _cold(self, request: Request, candidate: Candidate, attempts: Sequence[Attempt]) -> float | None:
        answer = self.answer(candidate, attempts)
        return None if answer is None else mean_probability(answer.logprobs)

    def _learn(self, given: Sequence[GradedAnswer]) -> Mapping[str, Any] | None:
        import numpy as np

        from router_integrations.estimators.evidence_weights import learn_weights

        names = tuple(sorted({one.candidate.name for one in given}))
        queries: dict[int, dict[str, GradedAnswer]] = {}
        for one in given:
            # Two queries may read the same.
            queries.setdefault(id(one.request), {})[one.candidate.name] = one
        rows = [[self._about(row.get(name)) for name in names] for row in queries.values()]
        quality = [[row[name].quality if name in row else 0.0 for name in names] for row in queries.values()]
        encoder = self._encoder_for(rows)
        answers = read_answers(rows, self.read or normalized, encoder)
        return {"names": names, "encoder": encoder, **learn_weights(answers, np.array(quality), self.alpha)}

    def _about(self, one: GradedAnswer | None) -> Attempt | None:
        return None if one is None else self.answer(one.candidate, one.attempts)

    def _encoder_for(self, rows: Sequence[Sequence[Attempt | None]]) -> Encoder | None:
        if math.isinf(self.alpha):
            return None
        if self.encoder is not None:
            return self.encoder
        texts = dict.fromkeys(said(one, self.read or normalized) for row in rows for one in row if one is not None)
        return HashingEncoder(dimensions=_DIMENSIONS).fit(list(texts))


def read_answers(
    rows: Sequence[Sequence[Attempt | None]], read: Callable[[str], str], encoder: Encoder | None
) -> Given:
    """Return what stands in the answers to some queries, as arrays.

    Args:
        rows: The answers to each query, a column for each candidate; `None` is no answer.
        read: Takes the answer out of a text.
        encoder: Turns answers into vectors; `None` does without.

    >>> from router_integrations.types import Call
    >>> said = [Attempt(call=Call(candidate=Candidate("a", model=object())), text=text) for text in ("so it is", "so")]
    >>> read_answers([[*said, None]], normalized, None).alike[0, 0].tolist()
    [1.0, 0.5, 0.0]
    """
    import numpy as np

    from router_integrations.estimators.evidence_weights import Given

    texts = [["" if one is None else said(one, read) for one in row] for row in rows]
    there = np.array([[one is not None for one in row] for row in rows], dtype=float)
    lengths = np.log1p(np.array([[len(text) for text in row] for row in texts], dtype=float))[..., None]
    vectors = np.empty((*there.shape, 0))
    if encoder is not None:
        flat = [text for row in texts for text in row]
        vectors = np.asarray(encoder.encode(flat), dtype=float).reshape(*there.shape, -1)
    return Given(
        there=there,
        odds=np.array([[_log_odds(one) for one in row] for row in rows], dtype=float),
        texts=np.concatenate([lengths, vectors], axis=2),
        alike=np.array([_alike(row) for row in texts]),
    )


def _ahead(
    fitted: Mapping[str, Any], candidates: Sequence[Candidate], expected: Sequence[Estimate], sure: Collection[float]
) -> list[Estimate]:
    """Return the estimates of those who have not answered, with the costs and latencies of `expected`."""
    import numpy as np

    from router_integrations.estimators.evidence_weights import outlook

    who = _rows(fitted, [one.name for one in candidates])
    best = max(sure, default=0.5)
    mean, std = outlook(fitted, who, np.array([best]), np.array([len(sure)]))
    return [
        Estimate(quality=quality, std=spread, cost=one.cost, latency=one.latency)
        for quality, spread, one in zip(mean[0].tolist(), std[0].tolist(), expected, strict=True)
    ]


def _rows(fitted: Mapping[str, Any], names: Iterable[str]) -> NDArray[np.intp]:
    """Return the rows of the candidates in the tables of weights; those never seen have everybody's."""
    import numpy as np

    places = {name: place for place, name in enumerate(fitted["names"], start=1)}
    return np.array([places.get(name, 0) for name in names], dtype=np.intp)


def _log_odds(answer: Attempt | None) -> float:
    """Return the log-odds of the geometric mean of the token probabilities; NaN without any."""
    values = [] if answer is None else usable(answer.logprobs)
    if not values:
        return math.nan
    mean = math.fsum(values) / len(values)
    if mean == 0:
        return math.inf
    wrong = math.log(-mean) if mean > _SURE else math.log1p(-math.exp(mean))
    # What is impossible is clamped by `usable`, and infinite here.
    return mean - wrong if math.exp(mean) > 0 else -math.inf


def _alike(texts: Sequence[str]) -> list[list[float]]:
    words = [frozenset(_WORD.findall(text)) for text in texts]
    return [
        [
            1.0 if text == other else 2 * len(one & two) / (len(one) + len(two)) if one and two else 0.0
            for other, two in zip(texts, words, strict=True)
        ]
        for text, one in zip(texts, words, strict=True)
    ]
