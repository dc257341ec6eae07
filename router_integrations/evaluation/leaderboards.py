"""The figures that leaderboards of routers rank by. Shares and gains are fractions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# RouterArena's cheapest and dearest mean cost, USD per 1,000 queries.
_ARENA_COSTS = (0.0044, 200.0)


def arena_score(accuracy: float, cost: float, *, beta: float = 0.1) -> float:
    """Return RouterArena's score: accuracy and the logarithm of the cost, as an F measure.

    Args:
        accuracy: Mean quality, in [0, 1].
        cost: Mean USD a query; beyond 0.0044 to 200 USD per 1,000 queries it counts as the nearer end.
        beta: Weight of accuracy over cost, above 0; small is much.

    Raises:
        ConfigurationError: An argument is out of range.

    >>> round(arena_score(0.740, 0.01402), 4), arena_score(0.5, 0.2)
    (0.6268, 0.0)
    """
    if not 0 <= accuracy <= 1 or not cost >= 0 or not beta > 0:
        raise ConfigurationError(
            f"arena_score needs an accuracy in [0, 1], a cost of at least 0 USD and a beta above 0 but got "
            f"{accuracy!r}, {cost!r}, {beta!r}"
        )
    low, high = _ARENA_COSTS
    thrift = math.log(high / min(max(1000 * cost, low), high)) / math.log(high / low)
    return (1 + beta) * accuracy * thrift / (beta * accuracy + thrift) if thrift else 0.0


def optimal_selection(chosen: ArrayLike, quality: ArrayLike, cost: ArrayLike) -> tuple[float, float, float]:
    """Return RouterArena's three shares of optimality: of selections, of cost, of accuracy.

    How often the cheapest of the right candidates was chosen, among queries that anyone answers right; what those
    cheapest ones cost, over what the router's right answers cost, on the queries where it was right; and the router's
    accuracy over that of the pool.

    Args:
        chosen: Position of the candidate that answered each query.
        quality: Grades, queries by candidates; 0.5 and more is right.
        cost: USD, queries by candidates.

    Raises:
        ConfigurationError: The shapes differ, or nobody answers any query right.

    >>> optimal_selection([0, 1], [[1, 1], [1, 1]], [[1, 4], [1, 3]])
    (0.5, 0.5, 1.0)
    """
    at, right, paid = _choice(chosen, quality, cost)
    if not right.any():
        raise ConfigurationError("optimal_selection needs a query that a candidate answers right")
    rows = np.arange(len(at))
    least = np.where(right, paid, np.inf).min(axis=1)
    solvable, won = right.any(axis=1), right[rows, at]
    spent = paid[rows, at][won].sum()
    thrift = float(least[won].sum() / spent) if spent else 1.0
    best = won & (paid[rows, at] == least)
    return float(best[solvable].mean()), thrift, float(won.sum() / solvable.sum())


def selection_entropy(chosen: ArrayLike) -> float:
    """Return how evenly the candidates were chosen, in bits: RouterEval's diversity of selection.

    >>> selection_entropy([0, 0, 1, 1]), selection_entropy([2, 2])
    (1.0, 0.0)
    """
    _, counts = np.unique(np.asarray(chosen), return_counts=True)
    shares = counts / counts.sum()
    return abs(float(-(shares * np.log2(shares)).sum()))


def quality_drop(quality: float, strong: float) -> float:
    """Return the relative loss against the strong candidate, HybridLLM's quality drop; scores may be negative.

    >>> quality_drop(-2.2, -2.0)
    0.10000000000000009
    """
    if not strong:
        raise ConfigurationError("quality_drop needs a strong candidate whose mean score is not 0")
    return (strong - quality) / abs(strong)


def perf_gain(quality: ArrayLike, best: float) -> float:
    """Return LLMRouterBench's PerfGain: the best setting's relative gain over the best single candidate.

    >>> perf_gain([0.5, 0.75], 0.5)
    0.5
    """
    if not best > 0:
        raise ConfigurationError(f"the best single candidate's quality must be above 0 but got {best!r}")
    return float(np.max(np.asarray(quality, dtype=float))) / best - 1.0


def cost_save(cost: ArrayLike, quality: ArrayLike, *, best: tuple[float, float]) -> float | None:
    """Return LLMRouterBench's CostSave: what the cheapest setting saves that is as good as the best single candidate.

    Args:
        cost: Mean USD of each setting.
        quality: Mean quality of each setting.
        best: Mean USD and mean quality of the best single candidate.

    Returns:
        A share of that candidate's cost, negative where it costs more; `None` where no setting is as good.

    >>> cost_save([1, 3], [0.5, 0.9], best=(4, 0.9)), cost_save([1], [0.5], best=(4, 0.9))
    (0.25, None)
    """
    paid, got = np.asarray(cost, dtype=float), np.asarray(quality, dtype=float)
    if not best[0] > 0:
        raise ConfigurationError(f"the best single candidate's cost must be above 0 USD but got {best[0]!r}")
    enough = paid[got >= best[1]]
    return float(1 - enough.min() / best[0]) if enough.size else None


def call_rate_bands(rates: ArrayLike, quality: ArrayLike, *, weak: float, strong: float) -> tuple[float, float, float]:
    """Return RouterXBench's figures of three bands of the curve: low, middle and high performance.

    The mean quality at call rates up to 0.1 (LPM); the mean quality where 70 to 90 % of the gap is recovered (MPM);
    and one less the mean call rate there (HCR). Between two rates the curve is a straight line, read at 101 rates. A
    band that the curve never enters is NaN.

    Args:
        rates: Share of calls to the strong candidate, each in [0, 1].
        quality: Mean quality at each.
        weak: Mean quality of the weak candidate, reached at rate 0.
        strong: Mean quality of the strong candidate, reached at rate 1.

    >>> [round(figure, 3) for figure in call_rate_bands([0, 1], [0, 1], weak=0, strong=1)]
    [0.05, 0.8, 0.2]
    """
    x, y = np.asarray(rates, dtype=float), np.asarray(quality, dtype=float)
    if x.shape != y.shape or not strong > weak:
        raise ConfigurationError(
            f"call_rate_bands needs a quality for each rate and a strong candidate above the weak one but got "
            f"{x.shape}, {y.shape}, {weak!r}, {strong!r}"
        )
    order = np.argsort(x, kind="stable")
    grid = np.linspace(0, 1, 101)
    curve = np.interp(grid, np.concatenate([[0], x[order], [1]]), np.concatenate([[weak], y[order], [strong]]))
    recovered = (curve - weak) / (strong - weak)
    # The ends of the band are read at rates that are no binary fractions.
    middle = (recovered >= 0.7 - 1e-9) & (recovered <= 0.9 + 1e-9)
    low = float(curve[grid <= 0.1 + 1e-9].mean())
    if not middle.any():
        return low, math.nan, math.nan
    return low, float(curve[middle].mean()), float(1 - grid[middle].mean())


def _choice(
    chosen: ArrayLike, quality: ArrayLike, cost: ArrayLike
) -> tuple[NDArray[np.intp], NDArray[np.bool_], Floats]:
    at, grades, paid = (
        np.asarray(chosen, dtype=np.intp),
        np.asarray(quality, dtype=float),
        np.asarray(cost, dtype=float),
    )
    if grades.ndim != 2 or grades.shape != paid.shape or at.shape != grades.shape[:1]:
        raise ConfigurationError(
            f"a choice for each query, and grades and costs of queries by candidates are needed but the shapes are "
            f"{at.shape}, {grades.shape} and {paid.shape}"
        )
    return at, grades >= 0.5, paid
