"""What routers are measured by. Shares, gains and areas are fractions; papers often print them times 100.

A curve is two lists, the mean cost and the mean quality of each setting of a router, in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def pgr(quality: float, *, weak: float, strong: float) -> float:
    """Return RouteLLM's performance gap recovered: 0 at the weak candidate's mean quality, 1 at the strong one's.

    Raises:
        ConfigurationError: `strong` is not above `weak`.

    >>> pgr(0.75, weak=0.5, strong=1.0)
    0.5
    """
    return (quality - weak) / _gap(weak, strong)


def apgr(shares: ArrayLike, quality: ArrayLike, *, weak: float, strong: float) -> float:
    """Return the average performance gap recovered: the area under `pgr` over the share of strong calls.

    The curve is extended to the weak candidate at share 0 and the strong one at share 1. Random routing scores 0.5.

    Args:
        shares: Share of the queries that went to the strong candidate, each in [0, 1].
        quality: Mean quality at each share.
        weak: Mean quality of the weak candidate.
        strong: Mean quality of the strong candidate.

    >>> apgr([0.5], [0.75], weak=0.5, strong=1.0), apgr([0.5], [1.0], weak=0.5, strong=1.0)
    (0.5, 0.75)
    """
    x, y = _between(shares, quality, weak, strong)
    return _trapezoid(x, (y - weak) / _gap(weak, strong))


def cpt(shares: ArrayLike, quality: ArrayLike, *, recovered: float, weak: float, strong: float) -> float:
    """Return the call-performance threshold: the smallest share of strong calls that recovers that much of the gap.

    Quality is first replaced by its running maximum over the share, because a measured curve need not rise; between
    two shares it is a straight line. The ends are those of `apgr`.

    Args:
        shares: Share of the queries that went to the strong candidate, each in [0, 1].
        quality: Mean quality at each share.
        weak: Mean quality of the weak candidate.
        strong: Mean quality of the strong candidate.
        recovered: Part of the gap, in [0, 1]; the paper gives 0.2, 0.5 and 0.8.

    >>> cpt([0.25, 0.75], [0.625, 0.875], recovered=0.5, weak=0.5, strong=1.0)
    0.5
    """
    if not 0 <= recovered <= 1:
        raise ConfigurationError(f"cpt's recovered must be in [0, 1] but got {recovered!r}; 0.5 is usual")
    x, y = _between(shares, quality, weak, strong)
    best, target = np.maximum.accumulate(y), weak + recovered * _gap(weak, strong)
    # The last point holds the strong candidate, which rounding must not push out of reach.
    first = int(np.argmax(best >= min(target, best[-1])))
    if first == 0:
        return float(x[0])
    part = (target - best[first - 1]) / (best[first] - best[first - 1])
    return float(x[first - 1] + part * (x[first] - x[first - 1]))


def hull(cost: ArrayLike, quality: ArrayLike) -> tuple[Floats, Floats]:
    """Return the non-decreasing convex hull of a curve: costs and qualities, from the cheapest to the best point.

    Between two of its points lies what mixing two settings at random yields; beyond the last one more money buys
    nothing. RouterBench (arXiv 2403.12031).

    >>> costs, qualities = hull([1, 2, 3, 4], [0.2, 0.3, 0.8, 0.7])
    >>> costs.tolist(), qualities.tolist()
    ([1.0, 3.0], [0.2, 0.8])
    """
    x, y = _curve(cost, quality)
    kept: list[int] = []
    for index in range(int(np.argmax(y)) + 1):
        while len(kept) > 1 and _below(kept[-1], kept[-2], index, x, y):
            kept.pop()
        kept.append(index)
    return x[kept], y[kept]


def aiq(cost: ArrayLike, quality: ArrayLike, *, c_min: float = 0.0, c_max: float | None = None) -> float:
    """Return the average improvement in quality: the mean height of `hull` between two costs.

    Routers are only comparable with the same `c_min` and `c_max`. RouterBench (arXiv 2403.12031).

    Args:
        cost: Mean cost of each setting, USD.
        quality: Mean quality of each setting.
        c_min: USD where the area starts; 0 is the convention of the released code. What costs less than the cheapest
            setting has quality 0.
        c_max: USD where it ends; the dearest setting by default.

    >>> aiq([1, 2], [0.5, 0.75], c_min=1), aiq([1, 2], [0.5, 0.75])
    (0.625, 0.3125)
    """
    end = float(np.max(np.asarray(cost, dtype=float))) if c_max is None else c_max
    return _mean_height(*hull(cost, quality), c_min, end)


def cascade_auc(cost: ArrayLike, quality: ArrayLike, *, start: tuple[float, float], c_max: float) -> float:
    """Return the mean height of a curve between the costs of the cheapest and of the dearest single candidate.

    As in the released code of Cascade Routing (arXiv 2410.10347): a straight line leads from `start` to the cheapest
    setting, and the dearest one extends to the right. The curve itself counts, not its hull.

    Args:
        cost: Mean cost of each setting, USD.
        quality: Mean quality of each setting.
        start: USD and quality of the cheapest single candidate.
        c_max: USD of the dearest single candidate.

    >>> cascade_auc([3], [0.75], start=(1, 0.25), c_max=5)
    0.625
    """
    x, y = _curve(cost, quality)
    if x[0] > start[0]:
        x, y = np.concatenate([[start[0]], x]), np.concatenate([[start[1]], y])
    return _mean_height(x, y, start[0], c_max)


def deferral_area(cost: ArrayLike, quality: ArrayLike, *, dearest: float, upto: float = 1.0) -> float:
    """Return the area under the deferral curve: quality over cost relative to the dearest candidate.

    UniRoute (arXiv 2502.08773). What costs less than the cheapest setting has quality 0.

    Args:
        cost: Mean cost of each setting, USD.
        quality: Mean quality of each setting.
        dearest: Mean cost of the dearest candidate, USD, above 0.
        upto: Relative cost where the area ends, in (0, 1]; 0.5 gives the paper's Area(50%).

    >>> deferral_area([0, 2], [0.5, 0.75], dearest=2), deferral_area([0, 2], [0.5, 0.75], dearest=2, upto=0.5)
    (0.625, 0.28125)
    """
    x, y = _curve(cost, quality)
    return _mean_height(x / _above_zero("dearest", dearest), y, 0.0, upto) * upto


def quality_neutral_cost(cost: ArrayLike, quality: ArrayLike, *, target: float, reference: float) -> float:
    """Return what the cheapest setting that reaches `target` costs, relative to `reference`; 1 if none does.

    Only settings count that were measured, nothing between them. UniRoute (arXiv 2502.08773).

    Args:
        cost: Mean cost of each setting, USD.
        quality: Mean quality of each setting.
        target: Mean quality of the best single candidate.
        reference: USD to compare with, above 0: the best single candidate's, or the dearest one's.

    >>> quality_neutral_cost([1, 2, 4], [0.5, 0.8, 0.9], target=0.8, reference=4)
    0.5
    """
    x, y = _curve(cost, quality)
    enough = x[y >= target]
    return float(enough[0] / _above_zero("reference", reference)) if enough.size else 1.0


def gain(quality: float, reference: float) -> float:
    """Return the relative gain over `reference`, LLMRouterBench's Gain@R (random) and Gain@B (best single candidate).

    >>> gain(0.75, 0.5)
    0.5
    """
    return quality / _above_zero("reference", reference) - 1.0


def gap(quality: float, oracle: float) -> float:
    """Return the relative gap to the oracle, Gap@O of LLMRouterBench.

    >>> gap(0.75, 1.0)
    0.25
    """
    return -gain(quality, oracle)


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal width; a bin holds its upper edge.

    Args:
        confidence: Predicted quality, each in [0, 1].
        correct: Measured quality, each in [0, 1].
        bins: Number of bins, at least 1.

    >>> ece([0.75, 0.75, 0.25, 0.25], [1, 0, 0, 0])
    0.25
    """
    p, y = _pair(confidence, correct)
    if bins < 1:
        raise ConfigurationError(f"ece's bins must be at least 1 but got {bins!r}; 15 is usual")
    where = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(where, weights=y - p, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the mean squared difference between predicted and measured quality.

    >>> brier([0.5, 1.0], [1, 1])
    0.125
    """
    p, y = _pair(confidence, correct)
    return float(np.mean((p - y) ** 2))


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the probability that a right answer has more confidence than a wrong one; ties count half.

    Raises:
        ConfigurationError: An answer is neither right (1) nor wrong (0), or all are alike.

    >>> auroc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """
    p, y = _pair(confidence, correct)
    right = int(y.sum())
    if set(np.unique(y)) != {0.0, 1.0}:
        raise ConfigurationError("auroc needs right (1) and wrong (0) answers, and both; cut the grades at a threshold")
    _, where, count = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[where]
    return float(ranks[y == 1].sum() - right * (right + 1) / 2) / (right * (len(y) - right))


def _curve(cost: ArrayLike, quality: ArrayLike) -> tuple[Floats, Floats]:
    """Return the points by rising cost; of those at one cost the best."""
    x, y = _pair(cost, quality)
    order = np.lexsort((-y, x))
    x, y = x[order], y[order]
    first = np.concatenate([[True], x[1:] > x[:-1]])
    return x[first], y[first]


def _between(shares: ArrayLike, quality: ArrayLike, weak: float, strong: float) -> tuple[Floats, Floats]:
    x, y = _pair(shares, quality)
    if x.min() < 0 or x.max() > 1:
        raise ConfigurationError(f"shares must be in [0, 1] but reach from {x.min()} to {x.max()}; divide by 100?")
    order = np.argsort(x, kind="stable")
    return np.concatenate([[0.0], x[order], [1.0]]), np.concatenate([[weak], y[order], [strong]])


def _below(middle: int, left: int, right: int, x: Floats, y: Floats) -> bool:
    """Whether a point lies on or below the line between two others."""
    rise, run = y[right] - y[left], x[right] - x[left]
    return bool((y[middle] - y[left]) * run <= rise * (x[middle] - x[left]))


def _mean_height(x: Floats, y: Floats, low: float, high: float) -> float:
    """Mean height between two costs: 0 before the first point, level after the last one."""
    if not low < high:
        raise ConfigurationError(f"the area must end above its start but goes from {low!r} to {high!r} USD")
    start = max(low, float(x[0]))
    if start >= high:
        return 0.0
    inner = (x > start) & (x < high)
    ends = np.interp([start, high], x, y)
    knots = np.concatenate([[start], x[inner], [high]])
    return _trapezoid(knots, np.concatenate([ends[:1], y[inner], ends[1:]])) / (high - low)


def _trapezoid(x: Floats, y: Floats) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or not x.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigurationError(
            f"two flat, equally long lists of finite numbers are needed but the shapes are {x.shape} and {y.shape}; "
            + ("flatten both, such as with .ravel()" if x.ndim > 1 or y.ndim > 1 else "drop what is unknown")
        )
    return x, y


def _gap(weak: float, strong: float) -> float:
    if not strong > weak:
        raise ConfigurationError(f"the strong candidate's quality {strong!r} must be above the weak one's, {weak!r}")
    return strong - weak


def _above_zero(name: str, value: float) -> float:
    if not value > 0:
        raise ConfigurationError(f"{name} must be above 0 but got {value!r}")
    return value
