"""Who is asked in a cascade, in what order and up to what confidence, chosen together under a budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_integrations.errors import ConfigurationError
from router_integrations.learning import Table
from router_integrations.strategies import Cascade
from router_integrations.types import Estimator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# Thresholds tried for each candidate at most: quantiles of its confidences.
_THRESHOLDS = 40
_LONGEST = 3
# Means that differ by less, relatively, differ by rounding.
_ROUNDING = 1e-9


class _Found(NamedTuple):
    """A chain and how it did: compared in this order, the lowest wins."""

    loss: float
    cost: float
    order: tuple[int, ...]
    accept: tuple[float, ...]


def frugal_cascade(
    table: Table, confidence: ArrayLike, *, budget: float, longest: int = _LONGEST, estimator: Estimator | None = None
) -> Cascade:
    """Return the cascade with the best mean quality on the queries of `table` whose mean cost is within `budget`.

    All orders of up to `longest` candidates are tried, each with all combinations of thresholds out of 40 quantiles of
    each candidate's confidences (all of them, when there are no more); of equals the cheapest is taken. An answer is
    accepted above the threshold, the last one always. O(orders · 40^(longest - 1) · queries), by matrix products.

    The optimisation of Chen et al., "FrugalGPT" (arXiv 2305.05176); its scorer is `estimators.AnswerScorer`.

    Args:
        table: Graded answers; every candidate must have answered every query, at a known cost.
        confidence: How sure one was of each answer, queries by candidates, each in [0, 1]: what `estimator` says. Not
            of answers that it has learnt from.
        budget: Mean USD a query, of all calls together, above 0.
        longest: Candidates asked at most, 1, 2 or 3.
        estimator: Gives the cascade its confidences; `AnswerQuality()` by default.

    Raises:
        ConfigurationError: An argument is out of range or does not fit, or nothing is within the budget.

    >>> from router_integrations.learning import Record
    >>> grades = {"small": (1.0, 1.0, 0.0), "big": (1.0, 1.0, 1.0)}
    >>> table = Table.of(
    ...     Record(text=f"query {row}", candidate=name, quality=grade, cost=0.001 if name == "small" else 0.003)
    ...     for name, column in grades.items()
    ...     for row, grade in enumerate(column)
    ... )
    >>> table.names
    ('big', 'small')
    >>> cascade = frugal_cascade(table, [[0.9, 0.8], [0.9, 0.7], [0.9, 0.2]], budget=0.002)
    >>> cascade.order, cascade.accept
    (('small', 'big'), {'small': 0.2})
    """
    sure = np.asarray(confidence, dtype=float)
    _check(table, sure, budget, longest)
    cuts = [_quantiles(column) for column in sure.T]
    passed = [sure[:, at] <= cut[:, None] for at, cut in enumerate(cuts)]
    price = table.cost.mean(axis=0)
    within = budget * (1 + _ROUNDING)
    # Whoever is asked first is paid for every query.
    pools = (order for length in range(1, longest + 1) for order in permutations(range(len(table.names)), length))
    orders = [order for order in pools if price[order[0]] <= within]
    found = [best for order in orders if (best := _best(order, table, passed, cuts, within))]
    if not found:
        raise ConfigurationError(
            f"no cascade costs at most {budget!r} USD a query; the cheapest candidate costs {price.min():.3g}; "
            "raise budget or add a cheaper candidate"
        )
    best = min(found)
    order = tuple(table.names[at] for at in best.order)
    return Cascade(estimator=estimator, order=order, accept=dict(zip(order, best.accept, strict=False)))


def _best(
    order: Sequence[int],
    table: Table,
    passed: Sequence[NDArray[np.bool_]],
    cuts: Sequence[Floats],
    within: float,
) -> _Found | None:
    """Return the best thresholds for an order; `None` when all cost too much."""
    quality, cost = _means(order, table, passed)
    fits = np.flatnonzero(cost.ravel() <= within)
    if not fits.size:
        return None
    loss = np.round(1 - quality.ravel()[fits], 12)
    at = fits[np.lexsort((cost.ravel()[fits], loss))[0]]
    places = np.unravel_index(at, quality.shape)
    accept = tuple(float(cuts[one][place]) for one, place in zip(order, places, strict=False))
    return _Found(round(1 - float(quality[places]), 12), float(cost[places]), tuple(order), accept)


def _means(order: Sequence[int], table: Table, passed: Sequence[NDArray[np.bool_]]) -> tuple[Floats, Floats]:
    """Return mean quality and cost of an order, one axis of thresholds for each candidate but the last."""
    if len(order) == 1:
        return table.quality[:, order[0]].mean(), table.cost[:, order[0]].mean()
    first, second, *last = order
    # What each query comes to from the second candidate on, at each of its thresholds.
    quality, cost = (
        _onward(column[:, second], column[:, last[0]] if last else None, passed[second], paid=paid)
        for column, paid in ((table.quality, False), (table.cost, True))
    )
    left = passed[first].astype(float)
    count = left.shape[1]
    kept = (1 - left) @ table.quality[:, first]
    mean_quality = (kept[:, None] + left @ quality.T) / count
    mean_cost = table.cost[:, first].mean() + left @ cost.T / count
    return (mean_quality, mean_cost) if last else (mean_quality[:, 0], mean_cost[:, 0])


def _onward(own: Floats, later: Floats | None, passed: NDArray[np.bool_], *, paid: bool) -> Floats:
    """Return one row for each threshold: grades of who answers, or what all cost."""
    if later is None:
        return own[None]
    return own + passed * later if paid else np.where(passed, later, own)


def _quantiles(confidence: Floats) -> Floats:
    distinct = np.unique(confidence)
    if len(distinct) <= _THRESHOLDS:
        return distinct
    return np.unique(np.quantile(confidence, np.linspace(0.0, 1.0, _THRESHOLDS), method="nearest"))


def _check(table: Table, sure: NDArray[Any], budget: float, longest: int) -> None:
    if longest not in range(1, _LONGEST + 1) or not budget > 0:
        raise ConfigurationError(
            f"frugal_cascade needs a budget above 0 and longest 1, 2 or 3 but got {budget!r} and {longest!r}"
        )
    if sure.shape != table.quality.shape or not sure.size or not ((sure >= 0) & (sure <= 1)).all():
        raise ConfigurationError(
            f"frugal_cascade needs confidences in [0, 1] of shape {table.quality.shape}, as the grades, but got "
            f"{sure.shape}"
        )
    if missing := int((np.isnan(table.quality) | np.isnan(table.cost)).any(axis=1).sum()):
        raise ConfigurationError(
            f"{missing} queries lack a grade or a cost of some candidate; leave them out (evaluation.subset)"
        )
