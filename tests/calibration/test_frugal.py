from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from router_integrations import Candidate
from router_integrations.calibration import frugal_cascade
from router_integrations.calibration.frugal import _quantiles
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import TokenConfidence
from router_integrations.evaluation import replay
from router_integrations.learning import Record, Table
from router_integrations.strategies import Cascade
from router_integrations.testing.table import Outcome

NAMES = ("a", "b", "c", "d")
PRICES = (0.001, 0.002, 0.005, 0.01)


def drawn(queries: int, candidates: int, seed: int = 0) -> tuple[Table, np.ndarray]:
    """Graded answers of candidates that get better and dearer, with a confidence that knows something."""
    rng = np.random.default_rng(seed)
    hard = rng.random((queries, 1))
    right = hard < 0.4 + 0.15 * np.arange(candidates)
    sure = np.clip(0.3 + 0.4 * right + 0.2 * rng.normal(size=right.shape), 0.01, 0.99)
    grades = (right != (rng.random(right.shape) < 0.05)).astype(float)
    cost = np.array(PRICES[:candidates]) * (0.5 + rng.random((queries, 1)))
    table = Table.of(
        Record(text=f"q{row}", candidate=name, quality=grades[row, at], cost=cost[row, at])
        for row in range(queries)
        for at, name in enumerate(NAMES[:candidates])
    )
    return table, sure


def walked(table: Table, sure: np.ndarray, order: Any, accept: Mapping[str, float]) -> tuple[float, float]:
    """Mean quality and cost of a cascade, one query and one call at a time."""
    quality = cost = 0.0
    for row in range(len(table.texts)):
        for name in order:
            at = table.names.index(name)
            cost += table.cost[row, at]
            if name == order[-1] or sure[row, at] > accept[name]:
                quality += table.quality[row, at]
                break
    return quality / len(table.texts), cost / len(table.texts)


def of(cascade: Cascade) -> tuple[tuple[str, ...], Mapping[str, float]]:
    assert isinstance(cascade.order, tuple) and isinstance(cascade.accept, Mapping)
    return cascade.order, cascade.accept


def brute(table: Table, sure: np.ndarray, budget: float, longest: int) -> tuple[float, float]:
    """The best quality within the budget and the least cost of it, by trying everything."""
    levels = {name: _quantiles(sure[:, at]) for at, name in enumerate(table.names)}
    done = []
    for length in range(1, longest + 1):
        for order in itertools.permutations(table.names, length):
            for cuts in itertools.product(*(levels[name] for name in order[:-1])):
                done.append(walked(table, sure, order, dict(zip(order, cuts, strict=False))))
    return min((-round(quality, 9), cost) for quality, cost in done if cost <= budget * (1 + 1e-9))


@pytest.mark.parametrize("budget", [0.0015, 0.003, 0.006, 1.0])
@pytest.mark.parametrize(("queries", "candidates", "longest"), [(25, 2, 2), (10, 3, 3), (7, 4, 3), (9, 3, 1)])
def test_nothing_that_can_be_tried_is_better(queries: int, candidates: int, longest: int, budget: float) -> None:
    table, sure = drawn(queries, candidates)
    quality, cost = walked(table, sure, *of(frugal_cascade(table, sure, budget=budget, longest=longest)))
    best, least = brute(table, sure, budget, longest)

    assert quality == pytest.approx(-best)
    assert cost == pytest.approx(least)


@pytest.mark.parametrize("budget", [0.002, 0.004, 0.008])
def test_many_queries_stay_within_the_budget_and_beat_every_single_candidate_there(budget: float) -> None:
    table, sure = drawn(500, 4)
    quality, cost = walked(table, sure, *of(frugal_cascade(table, sure, budget=budget)))
    singles = [table.quality[:, at].mean() for at in range(4) if table.cost[:, at].mean() <= budget]

    assert cost <= budget
    assert quality > max(singles)


def test_the_cascade_does_in_replay_what_was_promised() -> None:
    table, sure = drawn(60, 3)
    cascade = frugal_cascade(table, sure, budget=0.004, estimator=TokenConfidence())
    promised = walked(table, sure, *of(cascade))
    pool = [Candidate(name, model=object(), strength=0.5) for name in table.names]
    rows = [
        {name: Outcome(text="x", logprobs=(math.log(value),)) for name, value in zip(table.names, row, strict=True)}
        for row in sure
    ]
    done = replay(cascade, table, pool, outcomes=rows)

    assert len(of(cascade)[0]) > 1
    assert (done.mean_quality, done.mean_cost) == pytest.approx(promised)


def test_who_adds_nothing_is_left_out() -> None:
    table, sure = drawn(40, 2)
    useless = replace(table, quality=table.quality * np.array([0.0, 1.0]))

    assert of(frugal_cascade(useless, sure, budget=1.0)) == (("b",), {})


def test_a_budget_for_nobody_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="no cascade costs at most 1e-06 USD a query; the cheapest"):
        frugal_cascade(*drawn(20, 2), budget=1e-6)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"budget": 0.0}, "a budget above 0"),
        ({"longest": 4}, "longest 1, 2 or 3"),
        ({"confidence": np.full((20, 2), 1.1)}, "confidences in"),
        ({"confidence": np.full((20, 3), 0.5)}, "confidences in"),
        ({"confidence": np.full((20, 2), np.nan)}, "confidences in"),
    ],
)
def test_arguments_that_do_not_fit_are_rejected(change: dict[str, Any], why: str) -> None:
    table, sure = drawn(20, 2)
    with pytest.raises(ConfigurationError, match=why):
        frugal_cascade(**{"table": table, "confidence": sure, "budget": 1.0, **change})


def test_a_query_without_a_grade_is_rejected() -> None:
    table, sure = drawn(20, 2)
    table.quality[3, 1] = np.nan
    with pytest.raises(ConfigurationError, match="1 queries lack a grade or a cost"):
        frugal_cascade(table, sure, budget=1.0)
