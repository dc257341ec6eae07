"""A batch of queries shared out among candidates within one budget, and the price that says the same query by query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.candidates import Candidate, as_candidates, eligible
from router_integrations.errors import ConfigurationError
from router_integrations.evaluation.bulk import forecast
from router_integrations.evaluation.metrics import hull
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Estimator, Request

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# Sums that differ by less, relatively, differ by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class _Step:
    """A query moved to the next dearer candidate that is worth it."""

    row: int
    to: int
    cost: float
    quality: float


def allocate(quality: ArrayLike, cost: ArrayLike, budget: float) -> NDArray[np.intp]:
    """Return the position of a candidate for each query: the best total quality that the budget pays.

    The linear programme of P2L and the integer one of FORC (arXiv 2308.06077): every query starts with its cheapest
    candidate, and the upgrades are bought in the order of quality per USD, on the convex hull of each query. That is
    the optimum of the linear programme but for the one query that it splits between two candidates, which here keeps
    the cheaper one while the rest of the money goes on; so the total falls short of the best whole assignment by less
    than one upgrade. O(n log n).

    Args:
        quality: Expected quality (`evaluation.forecast`), queries by candidates; NaN cannot be asked.
        cost: Expected USD, queries by candidates; NaN likewise.
        budget: USD for all queries together.

    Raises:
        ConfigurationError: A query has no candidate, or the budget does not pay even the cheapest ones.

    >>> allocate([[0.5, 0.9], [0.5, 0.6]], [[1.0, 2.0], [1.0, 2.0]], budget=3.0).tolist()
    [1, 0]
    """
    chosen, spent, steps = _upgrades(quality, cost, budget)
    stuck: set[int] = set()
    for step in steps:
        if step.row in stuck:
            continue
        if spent + step.cost > budget * (1 + _ROUNDING):
            # What comes after it on this query's hull costs more still.
            stuck.add(step.row)
            continue
        chosen[step.row] = step.to
        spent += step.cost
    return chosen


def dual_price(quality: ArrayLike, cost: ArrayLike, budget: float) -> float:
    """Return what one USD is worth in quality when each query may cost `budget` on average (1/USD); 0 when it may more.

    With it as ``Utility(enough=1, per_usd=...)`` each query on its own takes what the linear programme of `allocate`
    gives it; those that are level at this price stay with the cheaper candidate. It minimises the dual ``price · budget
    + mean over queries of max(quality - price · cost)``, as PORT does for a budget per candidate; with one budget the
    minimum is where the upgrades in the order of quality per USD use it up, so no search is needed. Learn it on the
    first queries of a stream to start a `Pacer`. O(n log n).

    Args:
        quality: Expected or measured quality, queries by candidates; NaN is a candidate that cannot be asked.
        cost: Expected or measured USD, queries by candidates; NaN likewise.
        budget: Mean USD a query.

    Raises:
        ConfigurationError: As for `allocate`.

    >>> round(dual_price([[0.5, 0.9], [0.5, 0.75]], [[1.0, 2.0], [1.0, 2.0]], budget=1.5), 6)
    0.25
    """
    total = budget * len(np.asarray(quality))
    _, spent, steps = _upgrades(quality, cost, total)
    for step in steps:
        spent += step.cost
        if spent > total * (1 + _ROUNDING):
            # The query that is level at this price stays with its cheaper candidate.
            return step.quality / step.cost * (1 + _ROUNDING)
    return 0.0


def plan_batch(
    estimator: Estimator, texts: Sequence[str], candidates: Sequence[Candidate | str], *, budget: float
) -> list[str]:
    """Return the name of a candidate for each text: the best total of expected quality within a budget.

    Pass each name on as ``router.invoke(text, model=name)``. What is planned is the expected cost; what answers cost in
    the end is `Limits` and `Pacer`'s to hold.

    Args:
        estimator: Predicts quality and cost.
        texts: The queries.
        candidates: Those that may be asked; their prices must be known.
        budget: USD for the whole batch.

    Raises:
        ConfigurationError: No candidate with a price can take a query, or the budget is too small.

    >>> from router_integrations.estimators import Neighbors
    >>> from router_integrations.learning import Record
    >>> pool = [Candidate("small", model=object(), input_price=0.0, output_price=1e-6),
    ...         Candidate("big", model=object(), input_price=0.0, output_price=1e-5)]
    >>> seen = [Record(text=text, candidate=one.name, quality=float(text == "add" or one is pool[1]), output_tokens=100)
    ...         for text in ("add", "prove") for one in pool]
    >>> plan_batch(Neighbors(k=1).fit(seen), ["add", "prove"], pool, budget=0.0011)
    ['small', 'big']
    """
    pool = as_candidates(candidates)
    if not texts:
        return []
    asked = [Request(text=text, input_tokens=estimate_tokens(text)) for text in texts]
    requests = [Request(text=r.text, input_tokens=r.input_tokens, candidates=eligible(pool, r)[0]) for r in asked]
    expected = forecast(estimator, requests, pool)
    quality = np.where(expected.allowed, expected.quality, np.nan)
    return [pool[column].name for column in allocate(quality, expected.cost, budget)]


def _upgrades(quality: ArrayLike, cost: ArrayLike, budget: float) -> tuple[NDArray[np.intp], float, list[_Step]]:
    """Return each query's cheapest candidate, what they cost, and the upgrades by falling quality per USD."""
    grades, usd = np.asarray(quality, dtype=float), np.asarray(cost, dtype=float)
    if grades.ndim != 2 or grades.shape != usd.shape:
        raise ConfigurationError(
            f"quality and cost must both be queries by candidates but are {grades.shape} and {usd.shape}"
        )
    usable = np.isfinite(grades) & np.isfinite(usd)
    if not usable.any(axis=1).all():
        row = int(np.flatnonzero(~usable.any(axis=1))[0])
        raise ConfigurationError(f"query {row} has no candidate with a known quality and cost; leave it out")
    start = np.zeros(len(grades), dtype=np.intp)
    spent: list[float] = []
    steps: list[_Step] = []
    for row, able in enumerate(usable):
        columns = np.flatnonzero(able)
        x, y = hull(usd[row, columns], grades[row, columns])
        at = [
            int(columns[np.flatnonzero((usd[row, columns] == u) & (grades[row, columns] == q))[0]])
            for u, q in zip(x, y, strict=True)
        ]
        start[row] = at[0]
        spent.append(float(x[0]))
        steps += [_Step(row, to, float(u), float(q)) for to, u, q in zip(at[1:], np.diff(x), np.diff(y), strict=True)]
    least = math.fsum(spent)
    if least > budget * (1 + _ROUNDING):
        raise ConfigurationError(f"the cheapest candidates cost {least:.3g} USD but the budget is {budget!r}; raise it")
    return start, least, sorted(steps, key=lambda step: -step.quality / step.cost)
