"""Curves of quality over cost, and the points and curves to hold them against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.evaluation.metrics import hull
from router_integrations.evaluation.replay import Replay, replay_each
from router_integrations.learning import Table
from router_integrations.types import Strategy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from router_integrations.testing.table import Outcome

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Curve:
    """A strategy at several settings of one knob.

    Args:
        knobs: The settings.
        replays: What the strategy did at each.
    """

    knobs: tuple[float, ...]
    replays: tuple[Replay, ...]

    @property
    def cost(self) -> Floats:
        """Mean USD a query at each setting."""
        return np.array([one.mean_cost for one in self.replays])

    @property
    def quality(self) -> Floats:
        """Mean quality at each setting."""
        return np.array([one.mean_quality for one in self.replays])

    @property
    def peak(self) -> float:
        """Best mean quality of all settings."""
        return float(self.quality.max())

    def shares(self, name: str) -> Floats:
        """Share of the queries that the candidate called `name` answered, at each setting."""
        return np.array([one.share(name) for one in self.replays])


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Something to compare a router with.

    Args:
        name: What it is.
        cost: Mean USD a query; NaN where unknown.
        quality: Mean quality.

    >>> Point(name="oracle", cost=0.1, quality=0.9).quality
    0.9
    """

    name: str
    cost: float
    quality: float


def sweep(
    make: Callable[[float], Strategy],
    knobs: Sequence[float],
    table: Table,
    candidates: Sequence[Candidate | str],
    *,
    outcomes: Sequence[Mapping[str, Outcome | Sequence[Outcome]]] | None = None,
) -> Curve:
    """Return the curve of a strategy over one knob: its willingness to pay, a threshold, whatever `make` turns.

    An estimator that `make` hands to each strategy predicts only once.

    Args:
        make: Returns the strategy at one setting.
        knobs: The settings, at least one; `prices` gives them for ``Utility(enough=1, per_usd=...)``.
        table: As for `replay`.
        candidates: As for `replay`.
        outcomes: As for `replay`.

    Raises:
        ConfigurationError: There is no setting.

    >>> from router_integrations import Best, Utility
    >>> from router_integrations.estimators import Neighbors
    >>> from router_integrations.learning import Record
    >>> records = [Record(text="hi", candidate=name, quality=grade, cost=usd, output_tokens=10)
    ...            for name, grade, usd in [("small", 0.5, 1.0), ("big", 1.0, 2.0)]]
    >>> pool = [Candidate(name, model=object(), input_price=0.0, output_price=usd / 10)
    ...         for name, usd in [("small", 1.0), ("big", 2.0)]]
    >>> learnt = Neighbors(k=1).fit(records)
    >>> curve = sweep(lambda price: Best(estimator=learnt, utility=Utility(enough=1, per_usd=price)), [0.0, 1.0],
    ...               Table.of(records), pool)
    >>> curve.cost.tolist(), curve.quality.tolist()
    ([2.0, 1.0], [1.0, 0.5])
    """
    if not len(knobs):
        raise ConfigurationError("sweep got no knobs; give at least one setting")
    replays = replay_each([make(knob) for knob in knobs], table, candidates, outcomes=outcomes)
    return Curve(knobs=tuple(knobs), replays=tuple(replays))


def prices(table: Table, *, points: int = 30) -> list[float]:
    """Return settings of `Utility.per_usd` that lead from "quality at any price" to "the cheapest".

    They are 0 and a geometric grid around one point of quality for the difference in cost between the cheapest and the
    dearest candidate.

    Args:
        table: Where the costs are.
        points: How many, at least 2.

    Raises:
        ConfigurationError: The table knows of no difference in cost, or there are too few points.

    >>> from router_integrations.learning import Record
    >>> costs = {"small": 0.0, "big": 0.5}
    >>> table = Table.of(Record(text="hi", candidate=name, quality=1.0, cost=costs[name]) for name in costs)
    >>> prices(table, points=4)
    [0.0, 0.02, 2.0, 200.0]
    """
    costs = [point.cost for point in singles(table) if not np.isnan(point.cost)]
    if points < 2 or not costs or not max(costs) > min(costs):
        raise ConfigurationError(
            f"prices needs at least 2 points ({points!r}) and candidates that differ in cost ({costs})"
        )
    grid = np.geomspace(0.01, 100.0, points - 1) / (max(costs) - min(costs))
    return [0.0, *(float(price) for price in grid.round(12))]


def singles(table: Table) -> tuple[Point, ...]:
    """Return each candidate used alone, over the queries on which it has a grade; their `hull` is the zero router.

    >>> from router_integrations.learning import Record
    >>> singles(Table.of([Record(text="hi", candidate="m", quality=0.5, cost=0.1)]))
    (Point(name='m', cost=0.1, quality=0.5),)
    """
    return tuple(
        Point(name=name, cost=_mean(table.cost[:, column]), quality=_mean(table.quality[:, column]))
        for column, name in enumerate(table.names)
    )


def best_single(table: Table) -> Point:
    """Return the candidate with the best mean quality; of equals the cheapest.

    >>> from router_integrations.learning import Record
    >>> best_single(Table.of([Record(text="hi", candidate=name, quality=len(name) / 3) for name in ["m", "xl"]])).name
    'xl'
    """
    return max(singles(table), key=lambda point: (point.quality, -_or_infinite(point.cost)))


def cheapest(table: Table) -> Point:
    """Return the candidate with the lowest mean cost; of equals the best. Unknown costs count as infinite.

    >>> from router_integrations.learning import Record
    >>> records = [Record(text="hi", candidate=name, quality=1.0, cost=len(name)) for name in ["m", "xl"]]
    >>> cheapest(Table.of(records)).name
    'm'
    """
    return min(singles(table), key=lambda point: (_or_infinite(point.cost), -point.quality))


def uniform(table: Table) -> Point:
    """Return the choice of each query's candidate at random, in expectation.

    >>> from router_integrations.learning import Record
    >>> uniform(Table.of([Record(text="hi", candidate=name, quality=float(name == "m")) for name in "mn"])).quality
    0.5
    """
    rows = [_mean(row) for row in table.quality], [_mean(row) for row in _graded_cost(table)]
    return Point(name="random", quality=float(np.mean(rows[0])), cost=float(np.mean(rows[1])))


def oracle(table: Table) -> Point:
    """Return the choice of the cheapest of the candidates with the best grade, query by query.

    >>> from router_integrations.learning import Record
    >>> rows = [("a", "m", 1.0, 1.0), ("a", "n", 1.0, 2.0), ("b", "m", 0.0, 1.0), ("b", "n", 1.0, 2.0)]
    >>> records = [Record(text=text, candidate=name, quality=grade, cost=usd) for text, name, grade, usd in rows]
    >>> oracle(Table.of(records))
    Point(name='oracle', cost=1.5, quality=1.0)
    """
    grade = np.where(np.isnan(table.quality), -np.inf, table.quality)
    top = grade.max(axis=1, keepdims=True)
    cost = np.where(grade == top, np.where(np.isnan(table.cost), np.inf, table.cost), np.inf).min(axis=1)
    mean = float(cost.mean())
    return Point(name="oracle", cost=mean if np.isfinite(mean) else np.nan, quality=float(top.mean()))


def frontier(table: Table) -> tuple[Floats, Floats]:
    """Return the best mean quality that any choice of candidates reaches at each mean cost: no router is above it.

    The points lie where one more query is worth upgrading; straight lines between them are mixes. O(n log n).

    Raises:
        ConfigurationError: A cost is unknown.

    >>> from router_integrations.learning import Record
    >>> rows = [("a", "m", 1.0, 1.0), ("a", "n", 1.0, 2.0), ("b", "m", 0.0, 1.0), ("b", "n", 1.0, 2.0)]
    >>> records = [Record(text=text, candidate=name, quality=grade, cost=usd) for text, name, grade, usd in rows]
    >>> costs, qualities = frontier(Table.of(records))
    >>> costs.tolist(), qualities.tolist()
    ([1.0, 1.5], [0.5, 1.0])
    """
    cost = _graded_cost(table)
    known = ~np.isnan(table.quality)
    if np.isnan(cost[known]).any():
        raise ConfigurationError("frontier needs the cost of every graded attempt; leave out queries without")
    hulls = [hull(row[here], grade[here]) for row, grade, here in zip(cost, table.quality, known, strict=True)]
    steps = np.concatenate([np.diff(pair, axis=1) for pair in hulls], axis=1)
    order = np.argsort(-steps[1] / steps[0], kind="stable")
    start = np.array([[pair[0][0] for pair in hulls], [pair[1][0] for pair in hulls]]).sum(axis=1, keepdims=True)
    points = (start + np.concatenate([np.zeros((2, 1)), np.cumsum(steps[:, order], axis=1)], axis=1)) / len(hulls)
    return points[0], points[1]


def strong_share(scores: ArrayLike, weak: ArrayLike, strong: ArrayLike) -> tuple[Floats, Floats]:
    """Return the curve of a router between two candidates: share of strong calls, and mean quality, at each threshold.

    Queries with equal scores move together, because no threshold parts them.

    Args:
        scores: How much each query asks for the strong candidate; only the order matters.
        weak: Quality of the weak candidate on each query.
        strong: Quality of the strong candidate on each query.

    >>> shares, quality = strong_share([0.9, 0.1], weak=[0, 1], strong=[1, 1])
    >>> shares.tolist(), quality.tolist()
    ([0.0, 0.5, 1.0], [0.5, 1.0, 1.0])
    """
    score, low, high = (np.asarray(values, dtype=float) for values in (scores, weak, strong))
    if not score.shape == low.shape == high.shape or score.ndim != 1 or not score.size:
        raise ConfigurationError(f"strong_share needs one value a query but got {score.shape}, {low.shape}")
    order = np.argsort(-score, kind="stable")
    gains = np.concatenate([[0.0], np.cumsum((high - low)[order])])
    ends = np.concatenate([[True], np.diff(score[order]) != 0, [True]])
    shares = np.arange(len(score) + 1) / len(score)
    return shares[ends], (low.mean() + gains / len(score))[ends]


def _graded_cost(table: Table) -> Floats:
    """Costs of the graded attempts only, so that cost and quality speak of the same ones."""
    return np.where(np.isnan(table.quality), np.nan, table.cost)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _or_infinite(cost: float) -> float:
    return float("inf") if np.isnan(cost) else cost
