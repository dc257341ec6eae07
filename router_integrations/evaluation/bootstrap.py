"""How sure a measured figure is: bootstrap over queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_FEWEST_DRAWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and where it would lie with other queries.

    Args:
        value: The figure on the queries at hand.
        low: Lower end of the interval.
        high: Upper end of the interval.

    >>> Interval(value=0.1, low=-0.05, high=0.2).excludes(0.0)
    False
    """

    value: float
    low: float
    high: float

    def excludes(self, other: float) -> bool:
        """Whether `other` lies outside: a difference that excludes 0 is significant."""
        return not self.low <= other <= self.high


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float], rows: int, *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the percentile interval of a statistic over queries drawn with replacement.

    Args:
        statistic: Computes the figure from the positions of the queries drawn. A figure that compares routers reads
            all of them at the same positions, which makes the interval a paired one.
        rows: Number of queries, at least 1.
        draws: Times to draw, at least 1,000.
        seed: Seed of the draws.
        level: Share of the draws inside the interval, in (0, 1).

    Raises:
        ConfigurationError: There are no queries or too few draws, or the level is out of range.

    >>> import numpy as np
    >>> quality = np.array([1.0, 0.0, 1.0, 1.0])
    >>> bootstrap(lambda drawn: quality[drawn].mean(), 4)
    Interval(value=0.75, low=0.25, high=1.0)
    """
    if rows < 1:
        raise ConfigurationError(f"bootstrap needs at least 1 query but got {rows!r}")
    if draws < _FEWEST_DRAWS:
        raise ConfigurationError(f"bootstrap's draws must be at least {_FEWEST_DRAWS} but got {draws!r}")
    if not 0 < level < 1:
        raise ConfigurationError(f"bootstrap's level must be in (0, 1) but got {level!r}; 0.95 is usual")
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(rows, size=rows)) for _ in range(draws)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=float(statistic(np.arange(rows))), low=float(low), high=float(high))


def paired_bootstrap(
    ours: ArrayLike, theirs: ArrayLike, *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the interval of the mean difference between two routers on the same queries.

    Args:
        ours: Quality, cost or the like of one router, query by query.
        theirs: The same of the other router.
        draws: Times to draw, at least 1,000.
        seed: Seed of the draws.
        level: Share of the draws inside the interval, in (0, 1).

    Raises:
        ConfigurationError: The two were not measured on equally many queries.

    >>> paired_bootstrap([1, 1, 0, 1], [0, 1, 0, 0], seed=1)
    Interval(value=0.5, low=0.0, high=1.0)
    """
    first, second = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ConfigurationError(
            f"paired_bootstrap needs both routers on the same queries but got {first.shape} and {second.shape}"
        )
    difference = first - second
    return bootstrap(
        lambda drawn: float(difference[drawn].mean()), len(difference), draws=draws, seed=seed, level=level
    )
