"""How sure a candidate was of its own tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator, Need
from router_integrations.types import Attempt, Estimator, Request

# What stands for an impossible token: nothing that is finite is less likely in practice.
_LEAST = -1e4


class TokenConfidence(AnswerEstimator):
    """Estimates an answer by the probability of its tokens.

    WHEN: post-generation. WHAT: log-probabilities of the answer. HOW: heuristic. With ``"mean"`` the quality is the
    geometric mean of the token probabilities, ``exp(mean)``, the inverse of the perplexity (Chow-Average); with
    ``"sum"`` it is the probability of the whole answer, ``exp(sum)``, which falls with its length and is 0 below
    exp(-745) (Chow-Sum); with ``"quantile"`` that of the token at this quantile, 0 being the least likely one and 0.5
    the median (Chow-Quantile). They rank answers; to read them as probabilities calibrate them
    (`CalibratedConfidence`). `estimate` takes O(tokens), with a quantile O(tokens · log tokens).

    Gupta et al., "Language model cascades" (arXiv 2404.10136).

    Args:
        aggregate: How token log-probabilities become one: ``"mean"``, ``"sum"`` or ``"quantile"``.
        quantile: Which one, in [0, 1]; read with ``"quantile"`` only.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> reply = Attempt(call=Call(candidate=small), text="It is 4.", logprobs=(0.0, math.log(0.25)))
    >>> weakest = TokenConfidence(aggregate="quantile")
    >>> for estimator in (TokenConfidence(), TokenConfidence(aggregate="sum"), weakest):
    ...     print(estimator.estimate(Request(text="2 + 2?"), [small], [reply])[0].quality)
    0.5
    0.25
    0.25
    """

    def __init__(
        self,
        *,
        aggregate: Literal["mean", "sum", "quantile"] = "mean",
        quantile: float = 0.0,
        prior: Estimator | None = None,
    ) -> None:
        if aggregate not in ("mean", "sum", "quantile"):
            raise ConfigurationError(
                f"TokenConfidence.aggregate must be 'mean', 'sum' or 'quantile' but got {aggregate!r}"
            )
        if not 0 <= quantile <= 1:
            raise ConfigurationError(
                f"TokenConfidence.quantile must be in [0, 1] but got {quantile!r}; 0 is the least likely token"
            )
        super().__init__(prior=prior)
        self.aggregate = aggregate
        self.quantile = quantile

    @property
    def needs(self) -> frozenset[Need]:
        """Log-probabilities."""
        return frozenset({"logprobs"})

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        if self.aggregate == "mean":
            return mean_probability(answers[-1].logprobs)
        values = usable(answers[-1].logprobs)
        if not values:
            return None
        if self.aggregate == "quantile":
            return math.exp(quantiles(values, (self.quantile,))[0])
        return math.exp(math.fsum(values))


class TopTokenConfidence(AnswerEstimator):
    """Estimates an answer by how clearly each of its tokens won.

    WHEN: post-generation. WHAT: log-probabilities of the likeliest tokens at each place. HOW: heuristic. The margin of
    a place is the probability of the likeliest token less that of the next; its negentropy is ``1 - H/log k`` over the
    k likeliest, their probabilities made to sum to 1. Quality is the mean over the places, or the least. Places with
    fewer than two tokens do not count. `estimate` takes O(tokens · k).

    Margins are what UCCI calibrates, negentropies what UQLM gives.

    Args:
        score: ``"margin"`` or ``"negentropy"``.
        aggregate: ``"mean"`` or ``"min"``.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: An option is none of these.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> half = math.log(0.5)
    >>> reply = Attempt(call=Call(candidate=small), text="4", top_logprobs=((half, half), (0.0, -math.inf)))
    >>> TopTokenConfidence().estimate(Request(text="2 + 2?"), [small], [reply])[0].quality
    0.5
    """

    def __init__(
        self,
        *,
        score: Literal["margin", "negentropy"] = "margin",
        aggregate: Literal["mean", "min"] = "mean",
        prior: Estimator | None = None,
    ) -> None:
        if score not in ("margin", "negentropy") or aggregate not in ("mean", "min"):
            raise ConfigurationError(
                "TopTokenConfidence takes score='margin' or 'negentropy' and aggregate='mean' or 'min' but got "
                f"{score!r} and {aggregate!r}"
            )
        super().__init__(prior=prior)
        self.score = score
        self.aggregate = aggregate

    @property
    def needs(self) -> frozenset[Need]:
        """Log-probabilities of the likeliest tokens."""
        return frozenset({"top_logprobs"})

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        score = _margin if self.score == "margin" else _negentropy
        places = [usable(place) for place in answers[-1].top_logprobs]
        scores = [score(sorted(place, reverse=True)) for place in places if len(place) > 1]
        if not scores:
            return None
        return min(scores) if self.aggregate == "min" else math.fsum(scores) / len(scores)


def usable(logprobs: Sequence[float]) -> list[float]:
    """Return the log-probabilities without what is no number, each from -10,000 to 0.

    >>> usable([-0.5, 1e-9, -math.inf, math.nan])
    [-0.5, 0.0, -10000.0]
    """
    # Comparisons, because calls of min and max take five times as long.
    return [value if _LEAST <= value <= 0 else 0.0 if value > 0 else _LEAST for value in logprobs if value == value]


def mean_probability(logprobs: Sequence[float]) -> float | None:
    """Return the geometric mean of token probabilities, in [0, 1]; `None` of none.

    >>> mean_probability([0.0, math.log(0.25)])
    0.5
    """
    values = usable(logprobs)
    return math.exp(math.fsum(values) / len(values)) if values else None


def quantiles(values: Sequence[float], levels: Sequence[float]) -> list[float]:
    """Return the quantiles of `values`, between two of them on a straight line.

    Args:
        values: At least one number, in any order.
        levels: Which quantiles, each in [0, 1].

    >>> quantiles([3.0, 1.0, 2.0], [0, 0.25, 1])
    [1.0, 1.5, 3.0]
    """
    ordered = sorted(values)
    found = []
    for level in levels:
        below, part = divmod(level * (len(ordered) - 1), 1)
        low, high = ordered[int(below)], ordered[math.ceil(level * (len(ordered) - 1))]
        found.append(low + part * (high - low))
    return found


def _margin(place: Sequence[float]) -> float:
    return math.exp(place[0]) - math.exp(place[1])


def _negentropy(place: Sequence[float]) -> float:
    # Less the highest, so that the sum is at least 1.
    shares = [math.exp(value - place[0]) for value in place]
    total = math.fsum(shares)
    entropy = -math.fsum(share / total * math.log(share / total) for share in shares if share)
    return 1 - entropy / math.log(len(place))
