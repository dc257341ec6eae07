"""Scorers of answers learnt from graded ones: by their token log-probabilities, or by question and answer as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder, HashingEncoder
from router_integrations.estimators.answers import GradedAnswer, Need, said
from router_integrations.estimators.learned_answers import ENOUGH, LearnedAnswer
from router_integrations.estimators.numerics import logistic_regression, require_at_least, sigmoid
from router_integrations.estimators.uncertainty import TokenConfidence, quantiles, usable
from router_integrations.types import Attempt, Estimator, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Those of Gupta et al.
_LEVELS = (0.0, 0.01, 0.05, *(step / 10 for step in range(1, 11)))
# Probabilities nearer to 0 or 1 than this are as good as there: one infinite log-probability would outweigh all else.
_EDGE = 1e-9
# Features that vary less than this differ by rounding.
_ALIKE = 1e-9


class _Scorer(LearnedAnswer):
    """Base of the logistic regressions on features of an answer: one for each candidate with 10 grades or more.

    The others share one learnt from all grades. Before `fit` the confidence is the mean token probability.
    """

    def __init__(self, *, alpha: float = 1.0, prior: Estimator | None = None) -> None:
        require_at_least(0, f"{type(self).__name__}.alpha", alpha)
        super().__init__(prior=prior)
        self.alpha = alpha

    def _learn(self, given: Sequence[GradedAnswer]) -> Mapping[str, Any] | None:
        import numpy as np

        found = [(one, self.answer(one.candidate, one.attempts)) for one in given]
        known = [(one, answer) for one, answer in found if answer is not None and self._readable(answer)]
        if not known:
            return None
        asked = [(one.request, answer) for one, answer in known]
        encoder = self._encoder_for(asked)
        blocks = self._blocks(encoder, asked)
        features = np.hstack(blocks)
        counts = np.maximum((~np.isnan(features)).sum(axis=0), 1)
        centre = np.nansum(features, axis=0) / counts
        spread = np.sqrt(np.nansum((features - centre) ** 2, axis=0) / counts)
        # A block of many columns has no more say than a single number.
        widths = np.concatenate([np.full(block.shape[1], math.sqrt(block.shape[1])) for block in blocks])
        factor = np.where(spread > _ALIKE, 1 / (np.maximum(spread, _ALIKE) * widths), 0.0)
        scaled = np.nan_to_num((features - centre) * factor)
        names = np.array([one.candidate.name for one, _ in known], dtype=object)
        quality = np.array([[float(one.quality)] for one, _ in known])
        own = tuple(name for name in dict.fromkeys(names) if (names == name).sum() >= ENOUGH)
        rows = [np.ones(len(names), dtype=bool), *(names == name for name in own)]
        weights = np.stack([self._weights(scaled[row], quality[row]) for row in rows])
        return {"names": own, "weights": weights, "centre": centre, "factor": factor, "encoder": encoder}

    def _weights(self, features: Floats, quality: Floats) -> Floats:
        import numpy as np

        weights, intercept = logistic_regression(features, quality, np.ones_like(quality), self.alpha)
        return np.append(weights[:, 0], intercept[0])

    def _score(
        self, fitted: Mapping[str, Any], request: Request, candidate: Candidate, attempts: Sequence[Attempt]
    ) -> float | None:
        import numpy as np

        answer = self.answer(candidate, attempts)
        if answer is None or not self._readable(answer):
            return None
        features = np.hstack(self._blocks(fitted["encoder"], [(request, answer)]))[0]
        scaled = np.nan_to_num((features - fitted["centre"]) * fitted["factor"])
        # The first row is everybody's.
        row = fitted["names"].index(candidate.name) + 1 if candidate.name in fitted["names"] else 0
        weights = fitted["weights"][row]
        return float(sigmoid(scaled @ weights[:-1] + weights[-1]))

    def _cold(self, request: Request, candidate: Candidate, attempts: Sequence[Attempt]) -> float | None:
        return TokenConfidence().confidence(request, candidate, attempts)

    def _readable(self, answer: Attempt) -> bool:
        return bool(usable(answer.logprobs))

    def _encoder_for(self, asked: Sequence[tuple[Request, Attempt]]) -> Encoder | None:
        return None

    def _blocks(self, encoder: Encoder | None, asked: Sequence[tuple[Request, Attempt]]) -> list[Floats]:
        """Return features of queries with their answers, one row each, in blocks of equal say; NaN is unknown."""
        raise NotImplementedError


class QuantileClassifier(_Scorer):
    """Learns how good an answer is from the quantiles of its token log-probabilities, and its length.

    WHEN: post-generation. WHAT: log-probabilities of the answer. HOW: supervised, logistic regression on the quantiles
    0, .01, .05, .1, .2, … 1 of the log-odds of the tokens, and the log of their number. Before `fit` it is the mean
    token probability. `fit` is one regression per candidate, O(grades · 15) an iteration; `estimate` takes O(tokens ·
    log tokens).

    The post-hoc quantile rule of Gupta et al. (arXiv 2404.10136), whose classifier is a network of five layers.

    Args:
        alpha: Weight of the squared weights beside the summed loss, at least 0.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: `alpha` is negative.

    >>> from router_integrations.learning import Record
    >>> from router_integrations.types import Call
    >>> seen = [Record(text=str(i), candidate="a", quality=i % 2, logprobs=(-0.1, i % 2 - 1.1)) for i in range(40)]
    >>> scorer, candidate = QuantileClassifier().fit(seen), Candidate("a", model=object())
    >>> replies = [Attempt(call=Call(candidate=candidate), logprobs=(-0.1, last)) for last in (-0.1, -1.1)]
    >>> [round(scorer.confidence(Request(text="?"), candidate, [reply])) for reply in replies]
    [1, 0]
    """

    @property
    def needs(self) -> frozenset[Need]:
        """Log-probabilities."""
        return frozenset({"logprobs"})

    def _blocks(self, encoder: Encoder | None, asked: Sequence[tuple[Request, Attempt]]) -> list[Floats]:
        import numpy as np

        return [np.array([token_features(answer) for _, answer in asked])]


class AnswerScorer(_Scorer):
    """Learns how good an answer is from the question, the answer, its length and its token log-probabilities.

    WHEN: post-generation. WHAT: query and answer. HOW: supervised, logistic regression on the vectors of query and
    answer, what `QuantileClassifier` reads where there are log-probabilities, and the length of the text. Before `fit`
    it is the mean token probability. `fit` encodes all, then is one regression per candidate, O(grades · dimensions) an
    iteration; `estimate` encodes two texts.

    The scorer of FrugalGPT (arXiv 2305.05176), which is a DistilBERT on question and answer; calibrate it by
    `CalibratedConfidence` where its numbers count.

    Args:
        encoder: Turns queries and answers into vectors; a `HashingEncoder` fitted on both by default.
        alpha: Weight of the squared weights beside the summed loss, at least 0.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: `alpha` is negative.

    >>> from router_integrations.learning import Record
    >>> from router_integrations.types import Call
    >>> seen = [
    ...     Record(text=f"sum {i}", candidate="a", quality=i % 2, answer="I guess" if i % 2 == 0 else "It is")
    ...     for i in range(40)
    ... ]
    >>> scorer = AnswerScorer(encoder=HashingEncoder(dimensions=32)).fit(seen)
    >>> candidate = Candidate("a", model=object())
    >>> replies = [Attempt(call=Call(candidate=candidate), text=text) for text in ("It is", "I guess")]
    >>> [round(scorer.confidence(Request(text="sum 50"), candidate, [reply])) for reply in replies]
    [1, 0]
    """

    def __init__(self, *, encoder: Encoder | None = None, alpha: float = 1.0, prior: Estimator | None = None) -> None:
        super().__init__(alpha=alpha, prior=prior)
        self.encoder = encoder

    @property
    def uses(self) -> frozenset[Need]:
        """Log-probabilities, where there are any."""
        return frozenset({"logprobs"})

    def _readable(self, answer: Attempt) -> bool:
        return True

    def _encoder_for(self, asked: Sequence[tuple[Request, Attempt]]) -> Encoder | None:
        if self.encoder is not None:
            return self.encoder
        texts = dict.fromkeys(text for request, answer in asked for text in (request.text, said(answer)))
        return HashingEncoder().fit(list(texts))

    def _blocks(self, encoder: Encoder | None, asked: Sequence[tuple[Request, Attempt]]) -> list[Floats]:
        import numpy as np

        blocks: list[Floats] = [
            np.array([[math.log1p(len(said(answer)))] for _, answer in asked]),
            np.array([token_features(answer) for _, answer in asked]),
        ]
        if encoder is not None:
            blocks.append(np.asarray(encoder.encode([request.text for request, _ in asked]), dtype=float))
            blocks.append(np.asarray(encoder.encode([said(answer) for _, answer in asked]), dtype=float))
        return blocks


def token_features(answer: Attempt) -> list[float]:
    """Return quantiles of the log-odds of the answer's tokens, then the log of one more than their number.

    All are NaN when the answer has no log-probabilities.

    >>> from router_integrations.types import Call
    >>> reply = Attempt(call=Call(candidate=Candidate("a", model=object())), logprobs=(math.log(0.5),) * 3)
    >>> {round(value, 9) for value in token_features(reply)} == {0.0, round(math.log(4), 9)}
    True
    """
    values = [min(max(value, math.log(_EDGE)), -_EDGE) for value in usable(answer.logprobs)]
    if not values:
        return [math.nan] * (len(_LEVELS) + 1)
    odds = [value - math.log(-math.expm1(value)) for value in values]
    return [*quantiles(odds, _LEVELS), math.log1p(len(values))]
