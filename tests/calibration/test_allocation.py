from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from router_integrations import Best, Candidate, Request, Utility
from router_integrations.calibration import allocate, dual_price, plan_batch
from router_integrations.errors import ConfigurationError
from tests.calibration.told import POOL, Singly, told

cell = st.tuples(st.integers(0, 10), st.integers(1, 10))
tables = st.integers(1, 4).flatmap(lambda m: st.lists(st.lists(cell, min_size=m, max_size=m), min_size=1, max_size=4))


def split(rows: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(rows, dtype=float)
    return both[:, :, 0] / 10, both[:, :, 1]


def relaxed(quality: np.ndarray, cost: np.ndarray, budget: float) -> float:
    """The optimum of the linear programme."""
    n, m = quality.shape
    done = linprog(
        -quality.ravel(), A_ub=[cost.ravel()], b_ub=[budget], A_eq=np.kron(np.eye(n), np.ones(m)), b_eq=np.ones(n)
    )
    return float(-done.fun)


@settings(deadline=None)
@given(tables, st.floats(0, 1))
def test_a_plan_keeps_the_budget_and_falls_short_of_the_best_by_less_than_one_upgrade(rows: Any, part: float) -> None:
    quality, cost = split(rows)
    least, most = cost.min(axis=1).sum(), cost.max(axis=1).sum()
    budget = least + part * (most - least)
    at = np.arange(len(quality))

    chosen = allocate(quality, cost, budget)

    every = [list(one) for one in product(range(quality.shape[1]), repeat=len(quality))]
    best = max(quality[at, one].sum() for one in every if cost[at, one].sum() <= budget + 1e-9)
    upgrade = (quality.max(axis=1) - quality.min(axis=1)).max()
    assert cost[at, chosen].sum() <= budget + 1e-6
    assert best - upgrade - 1e-9 <= quality[at, chosen].sum() <= best + 1e-9


@settings(deadline=None)
@given(tables)
def test_with_money_enough_everybody_gets_the_best(rows: Any) -> None:
    quality, cost = split(rows)

    chosen = allocate(quality, cost, cost.max(axis=1).sum())

    assert quality[np.arange(len(quality)), chosen].tolist() == quality.max(axis=1).tolist()


@settings(deadline=None)
@given(tables, st.floats(0.001, 0.999))
def test_the_dual_at_the_price_is_the_optimum_of_the_linear_programme(rows: Any, part: float) -> None:
    quality, cost = split(rows)
    n = len(quality)
    least, most = cost.min(axis=1).mean(), cost.max(axis=1).mean()
    budget = least + part * (most - least)

    price = dual_price(quality, cost, budget)

    dual = price * budget * n + (quality - price * cost).max(axis=1).sum()
    assert dual == pytest.approx(relaxed(quality, cost, budget * n), abs=1e-6)


def test_upgrades_are_bought_by_quality_per_usd_and_the_next_ones_fill_up() -> None:
    quality = [[0.0, 1.0], [0.0, 0.8], [0.0, 0.1]]
    cost = [[0.0, 2.0], [0.0, 2.0], [0.0, 1.0]]

    assert allocate(quality, cost, 2.0).tolist() == [1, 0, 0]
    assert allocate(quality, cost, 3.0).tolist() == [1, 0, 1]
    assert allocate(quality, cost, 4.0).tolist() == [1, 1, 0]
    assert dual_price(quality, cost, 3.0 / 3) == pytest.approx(0.4)
    assert dual_price(quality, cost, 5.0 / 3) == 0.0


def test_what_is_unknown_is_not_chosen() -> None:
    assert allocate([[0.1, np.nan, 0.9]], [[1.0, 1.0, np.nan]], 10.0).tolist() == [0]


@pytest.mark.parametrize(
    ("quality", "cost", "message"),
    [
        ([[0.5, 0.5]], [[2.0, 3.0]], "the cheapest candidates cost 2 USD but the budget is 1.0; raise it"),
        ([[0.5], [np.nan]], [[0.1], [0.1]], "query 1 has no candidate with a known quality and cost"),
        ([[0.5, 0.5]], [[2.0]], "must both be queries by candidates"),
        ([0.5], [2.0], "must both be queries by candidates"),
    ],
)
def test_what_cannot_be_planned_is_an_error(quality: Any, cost: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        allocate(quality, cost, 1.0)


SAYS = [[0.9, 0.95], [0.7, 0.95], [0.5, 0.95], [0.3, 0.95]]


@pytest.mark.parametrize(("budget", "bigs"), [(4, []), (6.9, []), (7, ["3"]), (10, ["2", "3"]), (16, list("0123"))])
def test_a_batch_is_planned_by_what_the_estimator_expects(budget: float, bigs: list[str]) -> None:
    texts = ["2", "0", "3", "1"]
    for estimator in (told(SAYS), Singly(estimator=told(SAYS))):
        names = plan_batch(estimator, texts, POOL, budget=budget)

        assert {text for text, name in zip(texts, names, strict=True) if name == "big"} == set(bigs)


def test_a_batch_goes_to_those_who_can_take_it() -> None:
    short = Candidate("big", model=object(), input_price=0.0, output_price=1.0, context_window=1)

    assert plan_batch(told(SAYS), ["3." + "0" * 40], [POOL[0], short], budget=1e6) == ["small"]
    assert plan_batch(told(SAYS), [], POOL, budget=1.0) == []


def test_at_the_dual_price_each_query_on_its_own_takes_what_the_plan_gives_it() -> None:
    cost = np.tile([1.0, 4.0], (4, 1))
    price = dual_price(SAYS, cost, 10.0 / 4)
    best = Best(estimator=told(SAYS), utility=Utility(enough=1, per_usd=price))

    alone = [best.decide(Request(text=str(row), candidates=POOL)).candidate.name for row in range(4)]

    assert alone == plan_batch(told(SAYS), ["0", "1", "2", "3"], POOL, budget=10.0) == ["small", "small", "big", "big"]
