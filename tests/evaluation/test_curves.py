from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations import Best, Candidate, Fixed, Utility
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Neighbors
from router_integrations.evaluation import (
    Point,
    aiq,
    apgr,
    best_single,
    cheapest,
    frontier,
    oracle,
    prices,
    replay,
    singles,
    strong_share,
    sweep,
    uniform,
)
from router_integrations.learning import Record, Table

NAMES = ("a", "b", "c")
grade = st.sampled_from([0.0, 0.25, 0.5, 1.0])
usd = st.sampled_from([0.0, 1.0, 2.0, 5.0])
attempts = st.lists(st.tuples(grade, usd), min_size=3, max_size=3)
tables = st.lists(attempts, min_size=1, max_size=4).map(lambda rows: made(rows))


def made(rows: list[list[tuple[float, float]]]) -> Table:
    return Table.of(
        Record(text=str(row), candidate=name, quality=quality, cost=cost, output_tokens=10)
        for row, each in enumerate(rows)
        for name, (quality, cost) in zip(NAMES, each, strict=True)
    )


def routings(table: Table) -> list[tuple[float, float]]:
    """Mean cost and quality of every way to hand the queries to candidates."""
    rows = np.arange(len(table.texts))
    ways = itertools.product(range(len(table.names)), repeat=len(rows))
    return [(float(table.cost[rows, way].mean()), float(table.quality[rows, way].mean())) for way in map(list, ways)]


@given(tables)
def test_no_routing_is_above_the_frontier(table: Table) -> None:
    costs, qualities = frontier(table)
    reached = routings(table)

    for cost, quality in reached:
        assert np.interp(cost, costs, qualities) >= quality - 1e-9
    for point in zip(costs, qualities, strict=True):
        assert any(np.allclose(point, routing) for routing in reached)


@given(tables)
def test_the_oracle_is_the_best_quality_at_its_lowest_cost(table: Table) -> None:
    top = max(quality for _, quality in routings(table))
    point = oracle(table)

    assert point.quality == pytest.approx(top)
    assert point.cost == pytest.approx(min(cost for cost, quality in routings(table) if quality >= top - 1e-9))
    assert (frontier(table)[0][-1], frontier(table)[1][-1]) == (pytest.approx(point.cost), pytest.approx(top))


@given(tables, st.lists(st.sampled_from([0.0, 0.1, 1.0, 10.0]), min_size=1, max_size=3))
def test_no_router_improves_quality_more_than_the_oracle(table: Table, knobs: list[float]) -> None:
    records = [
        Record(text=text, candidate=name, quality=1 - quality)
        for text, row in zip(table.texts, table.quality, strict=True)
        for name, quality in zip(table.names, row, strict=True)
    ]
    learnt = Neighbors(k=1).fit(records)
    pool = [Candidate(name, model=object(), input_price=0.0, output_price=0.1) for name in NAMES]
    curve = sweep(lambda knob: Best(estimator=learnt, utility=Utility(enough=1, per_usd=knob)), knobs, table, pool)
    top = float(np.max(table.cost)) + 1

    assert aiq(*frontier(table), c_max=top) >= aiq(curve.cost, curve.quality, c_max=top) - 1e-9


@given(tables)
def test_the_points_of_reference_are_means(table: Table) -> None:
    alone = {point.name: point for point in singles(table)}
    pool = [Candidate(name, model=object()) for name in NAMES]

    for name in NAMES:
        done = replay(Fixed(name=name), table, pool)
        assert (alone[name].cost, alone[name].quality) == (done.mean_cost, pytest.approx(done.mean_quality))
    assert best_single(table).quality == max(point.quality for point in alone.values())
    assert cheapest(table).cost == min(point.cost for point in alone.values())
    means = np.mean(routings(table), axis=0)
    assert (uniform(table).cost, uniform(table).quality) == (pytest.approx(means[0]), pytest.approx(means[1]))


def test_of_equals_the_best_single_is_the_cheapest_and_the_cheapest_the_best() -> None:
    table = made([[(1.0, 5.0), (0.5, 1.0), (1.0, 2.0)], [(1.0, 5.0), (0.5, 1.0), (1.0, 0.0)]])

    assert best_single(table).name == "c"
    assert cheapest(table).name == "c"


def test_missing_grades_and_costs_are_left_out() -> None:
    table = Table.of(
        [
            Record(text="0", candidate="a", quality=0.5),
            Record(text="0", candidate="b", quality=1.0, cost=2.0),
            Record(text="1", candidate="b", quality=0.0, cost=4.0),
        ]
    )

    assert oracle(table) == Point(name="oracle", cost=3.0, quality=0.5)
    assert uniform(table).quality == 0.375
    assert cheapest(table).name == "b"
    with pytest.raises(ConfigurationError, match="cost of every graded attempt"):
        frontier(table)
    assert np.isnan(oracle(Table.of([Record(text="0", candidate="a", quality=0.5)])).cost)


def test_a_sweep_over_prices_leads_from_the_best_to_the_cheapest() -> None:
    table = made([[(0.0, 1.0), (0.5, 2.0), (1.0, 5.0)], [(0.25, 1.0), (0.5, 2.0), (1.0, 5.0)]])
    records = [
        Record(text=text, candidate=name, quality=float(quality), output_tokens=10)
        for text, row in zip(table.texts, table.quality, strict=True)
        for name, quality in zip(table.names, row, strict=True)
    ]
    learnt = Neighbors(k=1).fit(records)
    costs = {"a": 0.1, "b": 0.2, "c": 0.5}
    pool = [Candidate(name, model=object(), input_price=0.0, output_price=costs[name]) for name in NAMES]
    knobs = prices(table, points=20)
    curve = sweep(lambda knob: Best(estimator=learnt, utility=Utility(enough=1, per_usd=knob)), knobs, table, pool)

    assert curve.knobs == tuple(knobs)
    assert (curve.quality[0], curve.cost[0], curve.peak) == (1.0, 5.0, 1.0)
    assert (curve.quality[-1], curve.cost[-1]) == (0.125, 1.0)
    assert (np.diff(curve.cost) <= 0).all()
    assert curve.shares("c")[[0, -1]].tolist() == [1.0, 0.0]


def test_a_sweep_turns_any_knob() -> None:
    table = made([[(0.0, 1.0), (0.5, 2.0), (1.0, 5.0)]])
    pool = [Candidate(name, model=object()) for name in NAMES]

    curve = sweep(lambda knob: Fixed(name=NAMES[int(knob)]), [2, 0], table, pool)

    assert (curve.cost.tolist(), curve.quality.tolist()) == ([5.0, 1.0], [1.0, 0.0])
    with pytest.raises(ConfigurationError, match="no knobs"):
        sweep(lambda knob: Fixed(), [], table, pool)


def test_prices_need_a_difference_in_cost() -> None:
    with pytest.raises(ConfigurationError, match="differ in cost"):
        prices(made([[(0.0, 1.0)] * 3]))
    with pytest.raises(ConfigurationError, match="at least 2 points"):
        prices(made([[(0.0, 1.0), (0.5, 2.0), (1.0, 5.0)]]), points=1)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), grade, grade), min_size=1, max_size=12))
def test_the_strong_share_curve_is_that_of_all_thresholds(rows: list[tuple[float, float, float]]) -> None:
    scores, weak, strong = (np.array(column) for column in zip(*rows, strict=True))
    expected = [
        (float((scores >= cut).mean()), float(np.where(scores >= cut, strong, weak).mean()))
        for cut in [2.0, *sorted(set(scores), reverse=True)]
    ]

    shares, quality = strong_share(scores, weak, strong)
    assert shares == pytest.approx([share for share, _ in expected])
    assert quality == pytest.approx([mean for _, mean in expected])


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 12))
def test_asking_where_it_pays_is_optimal(wrong: list[bool], calls: int) -> None:
    """The paper's best accuracy with k strong calls: those that the weak one gets right, and k of its mistakes."""
    weak = 1 - np.array(wrong, dtype=float)
    calls = min(calls, len(wrong))
    jitter = np.linspace(0, 0.1, len(wrong))

    shares, quality = strong_share(1 - weak + jitter, weak, np.ones(len(wrong)))

    best_mean = (weak.sum() + min(calls, sum(wrong))) / len(wrong)
    assert np.interp(calls / len(wrong), shares, quality) == pytest.approx(best_mean)


def test_one_score_for_all_is_random() -> None:
    shares, quality = strong_share([0.5] * 4, [0, 0, 1, 0], [1, 1, 1, 0])

    assert (shares.tolist(), quality.tolist()) == ([0.0, 1.0], [0.25, 0.75])
    assert apgr(shares, quality, weak=0.25, strong=0.75) == 0.5
    with pytest.raises(ConfigurationError, match="one value a query"):
        strong_share([0.5], [0, 1], [1, 1])
