"""What is expected of many queries at once, and what `Best` chooses then: its own rule on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.candidates import Candidate
from router_integrations.estimators.learned import Learned
from router_integrations.strategies import Best
from router_integrations.types import Estimator, Request, Strategy, Utility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Queries that one task of a fan-out takes, and that one prediction encodes at once.
CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Forecast:
    """What an estimator expects, queries by candidates; NaN is unknown.

    Args:
        allowed: Whether the query may be offered to the candidate.
        quality: Expected quality.
        std: Its standard deviation.
        cost: Expected USD.
        latency: Expected seconds.
    """

    allowed: NDArray[np.bool_]
    quality: Floats
    std: Floats
    cost: Floats
    latency: Floats


def in_bulk(strategy: Strategy) -> tuple[Learned, Utility] | None:
    """Return a `Best`'s estimator and its utility, if it predicts in bulk what it estimates singly.

    >>> in_bulk(Best()) is None
    True
    """
    if type(strategy) is not Best or not isinstance(strategy.estimator, Learned):
        return None
    estimator = strategy.estimator
    own = type(estimator).estimate is not Learned.estimate
    return None if own or estimator.fitted_ is None else (estimator, strategy.utility or Utility())


def forecast(estimator: Estimator, requests: Sequence[Request], candidates: Sequence[Candidate]) -> Forecast:
    """Return what `estimator` expects of each candidate on each request, in bulk where it can.

    `allocate` and `dual_price` take its quality and cost, with NaN where it is not `allowed`.

    Args:
        estimator: Predicts quality and cost.
        requests: The queries, each with its `input_tokens` and the `candidates` it may be offered to.
        candidates: The columns.

    >>> from router_integrations.estimators import Difficulty
    >>> pool = (Candidate("small", model=object(), strength=0.3, input_price=0.0, output_price=1e-6),
    ...         Candidate("big", model=object(), strength=0.9, input_price=0.0, output_price=1e-5))
    >>> asked = [Request(text="hi", input_tokens=1, candidates=pool), Request(text="Prove it", candidates=pool[1:])]
    >>> expected = forecast(Difficulty(), asked, pool)
    >>> expected.allowed.tolist(), expected.quality.shape, (expected.cost[:, 0] < expected.cost[:, 1]).tolist()
    ([[True, True], [False, True]], (2, 2), [True, True])
    """
    known = in_bulk(Best(estimator=estimator))
    if known is not None:
        return _learned(known[0], requests, candidates)
    each = [[(e.quality, e.std, e.cost, e.latency) for e in estimator.estimate(r, candidates)] for r in requests]
    quality, std, cost, latency = np.moveaxis(np.array(each, dtype=float), 2, 0)
    return Forecast(allowed=_allowed(requests, candidates), quality=quality, std=std, cost=cost, latency=latency)


def _learned(estimator: Learned, requests: Sequence[Request], candidates: Sequence[Candidate]) -> Forecast:
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    texts, images = [request.text for request in requests], [request.images for request in requests]
    parts = Parallel()(
        delayed(estimator.predict_with_tokens)(texts[start : start + CHUNK], candidates, images[start : start + CHUNK])
        for start in range(0, len(texts), CHUNK)
    )
    quality, std, tokens = (np.concatenate(each).astype(float) for each in zip(*parts, strict=True))
    return Forecast(
        allowed=_allowed(requests, candidates),
        quality=quality,
        std=std,
        cost=_costs(tokens, requests, candidates),
        latency=np.tile([_number(candidate.latency) for candidate in candidates], (len(texts), 1)),
    )


def choose(utility: Utility, expected: Forecast) -> NDArray[np.intp]:
    """Return the position of the candidate that `Best` asks, for each query.

    >>> import numpy as np
    >>> one = np.array([[0.9, 0.8]])
    >>> expected = Forecast(allowed=one > 0, quality=one, std=0 * one, cost=np.array([[2.0, 1.0]]), latency=0 * one)
    >>> choose(Utility(enough=0.7), expected).tolist(), choose(Utility(enough=1), expected).tolist()
    ([1], [0])
    """
    worth = np.minimum(expected.quality + utility.optimism * expected.std, utility.enough)
    for weight, amount in ((utility.per_usd, expected.cost), (utility.per_second, expected.latency)):
        if weight:
            worth = worth - np.where(np.isnan(amount), np.inf, weight * amount)
    cost = np.where(np.isnan(expected.cost), np.inf, expected.cost)
    left = expected.allowed
    for key in (worth, -cost, expected.quality):
        best = np.where(left, key, -np.inf).max(axis=1, keepdims=True)
        left = left & (key == best)
    chosen: NDArray[np.intp] = left.argmax(axis=1)
    return chosen


def _allowed(requests: Sequence[Request], candidates: Sequence[Candidate]) -> NDArray[np.bool_]:
    offered = [{candidate.name for candidate in request.candidates} for request in requests]
    return np.array([[candidate.name in names for candidate in candidates] for names in offered])


def _costs(tokens: Floats, requests: Sequence[Request], candidates: Sequence[Candidate]) -> Floats:
    return np.array(
        [
            [
                _number(candidate.expected_cost(request, float(size)))
                for candidate, size in zip(candidates, row, strict=True)
            ]
            for request, row in zip(requests, tokens, strict=True)
        ],
        dtype=float,
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else value
