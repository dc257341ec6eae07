"""All the ways in which clusters of queries can trade quality for latency, and the one that keeps to a budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.cluster_latency import ClusterStatistics
from router_integrations.strategies.latency import best_trade, rescaled

# Weights nearer than this are the same, parted by rounding.
_SAME = 1e-12
_Points = Mapping[int, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One policy, and the weights of latency that lead to it.

    Args:
        low: Lowest weight, itself included.
        high: Highest weight, itself not included; infinite for the last region.
        choices: The candidate of each cluster.
        quality: Mean quality over the queries.
        latency: Mean latency over the queries, in the unit of the statistics.
        efficiency: Points of quality (hundredths) lost per unit of latency saved, against the first region; 0 there.

    >>> Region(low=0.25, high=0.75, choices=("m",), quality=0.9, latency=2.0, efficiency=0.0).weight
    0.5
    """

    low: float
    high: float
    choices: tuple[str, ...]
    quality: float
    latency: float
    efficiency: float

    @property
    def weight(self) -> float:
        """A weight well inside: the middle, or twice the lowest where there is no end."""
        return (self.low + self.high) / 2 if math.isfinite(self.high) else 2 * self.low


def regions(statistics: ClusterStatistics) -> tuple[Region, ...]:
    """Return every policy of ``argmax quality - weight · latency`` over the clusters, by rising weight.

    In each cluster only candidates count that none beats in both, and latency is rescaled to [0, 1] among them. The
    policy changes only where two of them are worth the same, at ``(quality_a - quality_b) / (latency_a - latency_b)``,
    so the list is complete. The λ-sweep of CRE-Router (arXiv 2606.27457). O(clusters² · candidates³).

    Args:
        statistics: What `ClusterLatency.statistics` returns, or measured elsewhere.

    Raises:
        ConfigurationError: There is no query, or a latency or quality is unknown.

    >>> import numpy as np
    >>> known = ClusterStatistics(names=("big", "small"), quality=np.array([[0.9, 0.5], [0.8, 0.7]]),
    ...                           latency=np.array([[3.0, 1.0], [3.0, 1.0]]), queries=np.array([1, 1]))
    >>> [(round(one.low, 2), one.choices, one.latency, round(one.efficiency, 2)) for one in regions(known)]
    [(0.0, ('big', 'big'), 3.0, 0.0), (0.1, ('big', 'small'), 2.0, 5.0), (0.4, ('small', 'small'), 1.0, 12.5)]
    """
    _check(statistics)
    fronts = [
        rescaled(dict(enumerate(zip(quality.tolist(), latency.tolist(), strict=True))))
        for quality, latency in zip(statistics.quality, statistics.latency, strict=True)
    ]
    edges = [0.0, *_breakpoints(fronts), math.inf]
    found: list[Region] = []
    for low, high in pairwise(edges):
        weight = (low + high) / 2 if math.isfinite(high) else 2 * low + 1
        found.append(_region(low, high, [best_trade(front, weight) for front in fronts], statistics, found[:1]))
    return tuple(_joined(found))


def within(choices: Sequence[Region], *, latency: float) -> Region:
    """Return the region of the best quality among those whose latency keeps to a budget; of equals the faster.

    Args:
        choices: What `regions` returns.
        latency: The highest mean latency, in the unit of the statistics.

    Raises:
        ConfigurationError: None keeps to it.

    >>> slow = Region(low=0.0, high=0.1, choices=("big",), quality=0.9, latency=3.0, efficiency=0.0)
    >>> fast = Region(low=0.1, high=1.0, choices=("small",), quality=0.5, latency=1.0, efficiency=20.0)
    >>> within([slow, fast], latency=2.0).choices
    ('small',)
    """
    affordable = [one for one in choices if one.latency <= latency]
    if not affordable:
        fastest = min((one.latency for one in choices), default=math.nan)
        raise ConfigurationError(
            f"no policy has a mean latency of at most {latency!r}; the fastest has {fastest!r}: raise the budget or "
            "add a faster candidate"
        )
    return max(affordable, key=lambda one: (one.quality, -one.latency))


def _check(statistics: ClusterStatistics) -> None:
    import numpy as np

    shape = (len(statistics.queries), len(statistics.names))
    if statistics.quality.shape != shape or statistics.latency.shape != shape or not statistics.queries.sum() > 0:
        raise ConfigurationError(
            f"quality {statistics.quality.shape} and latency {statistics.latency.shape} must be clusters by candidates "
            f"{shape}, with at least one query"
        )
    columns = np.isnan(statistics.quality + statistics.latency).T
    if names := [name for name, column in zip(statistics.names, columns, strict=True) if column.any()]:
        raise ConfigurationError(f"quality or latency of {names} is unknown; learn from records with Record.latency")


def _breakpoints(fronts: Iterable[_Points]) -> list[float]:
    """Return the weights above 0 at which two candidates of a cluster are worth the same, rising."""
    found: list[float] = []
    pairs = (pair for front in fronts for pair in combinations(front.values(), 2))
    for weight in sorted((slow[0] - fast[0]) / (slow[1] - fast[1]) for fast, slow in pairs):
        if not found or weight - found[-1] > _SAME:
            found.append(weight)
    return found


def _region(
    low: float, high: float, chosen: Sequence[int], statistics: ClusterStatistics, first: Sequence[Region]
) -> Region:
    import numpy as np

    rows = np.arange(len(chosen))
    quality, latency = (
        float(np.average(values[rows, list(chosen)], weights=statistics.queries))
        for values in (statistics.quality, statistics.latency)
    )
    saved = first[0].latency - latency if first else 0.0
    return Region(
        low=low,
        high=high,
        choices=tuple(statistics.names[column] for column in chosen),
        quality=quality,
        latency=latency,
        efficiency=100 * (first[0].quality - quality) / saved if first and saved > 0 else 0.0,
    )


def _joined(found: Sequence[Region]) -> list[Region]:
    """Return the regions with neighbours of the same policy made one."""
    joined: list[Region] = []
    for one in found:
        if joined and joined[-1].choices == one.choices:
            joined[-1] = replace(joined[-1], high=one.high)
        else:
            joined.append(one)
    return joined
