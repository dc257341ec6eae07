from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from router_integrations.errors import ConfigurationError
from router_integrations.evaluation import (
    aiq,
    apgr,
    auroc,
    brier,
    cascade_auc,
    cpt,
    deferral_area,
    ece,
    gain,
    gap,
    hull,
    pgr,
    quality_neutral_cost,
)

WEAK, STRONG = 0.4, 0.9
unit = st.floats(0, 1).map(lambda number: round(number, 3))
cost = st.floats(0.01, 10).map(lambda number: round(number, 2))
points = st.lists(st.tuples(cost, unit), min_size=1, max_size=12)
share_curve = st.lists(st.tuples(unit, unit), min_size=1, max_size=12)


def columns(pairs: list[tuple[float, float]]) -> tuple[Any, Any]:
    first, second = zip(*pairs, strict=True)
    return np.array(first), np.array(second)


def mixed(pairs: list[tuple[float, float]], budget: float) -> float:
    """Best quality of mixing two of the points at a mean cost of at most `budget`; 0 when none is that cheap."""
    alone = [quality for usd, quality in pairs if usd <= budget]
    two = [
        low + (high - low) * (budget - cheap) / (dear - cheap)
        for (cheap, low), (dear, high) in itertools.product(pairs, repeat=2)
        if cheap <= budget < dear
    ]
    return max([0.0, *alone, *two])


def test_pgr_is_0_for_the_weak_and_1_for_the_strong_candidate() -> None:
    assert (pgr(WEAK, weak=WEAK, strong=STRONG), pgr(STRONG, weak=WEAK, strong=STRONG)) == (0.0, 1.0)


@given(st.lists(unit, min_size=1, max_size=10))
def test_random_routing_recovers_half_of_the_gap_on_average(shares: list[float]) -> None:
    quality = WEAK + np.array(shares) * (STRONG - WEAK)

    assert apgr(shares, quality, weak=WEAK, strong=STRONG) == pytest.approx(0.5)


@given(share_curve)
def test_apgr_is_the_area_between_the_router_and_the_weak_candidate(curve: list[tuple[float, float]]) -> None:
    """The paper's code divides areas of quality; ours are areas of the gap."""
    shares, quality = columns(sorted(curve, key=lambda point: point[0]))
    x, y = np.array([0, *shares, 1]), np.array([WEAK, *quality, STRONG])
    expected = (np.trapezoid(y, x) - WEAK) / (STRONG - WEAK)

    assert apgr(shares, quality, weak=WEAK, strong=STRONG) == pytest.approx(expected)


@given(unit, st.lists(unit, max_size=8))
def test_random_routing_needs_as_large_a_share_as_it_recovers(recovered: float, shares: list[float]) -> None:
    shares = [*shares, 0.5]
    quality = WEAK + np.array(shares) * (STRONG - WEAK)

    assert cpt(shares, quality, recovered=recovered, weak=WEAK, strong=STRONG) == pytest.approx(recovered, abs=1e-6)


@given(share_curve, st.floats(0.01, 1))
def test_cpt_is_where_the_running_maximum_crosses(curve: list[tuple[float, float]], recovered: float) -> None:
    shares, quality = columns(sorted(curve, key=lambda point: point[0]))
    share = cpt(shares, quality, recovered=recovered, weak=WEAK, strong=STRONG)
    target = WEAK + recovered * (STRONG - WEAK)

    reached = [x for x, y in zip([*shares, 1.0], [*quality, STRONG], strict=True) if y >= target - 1e-12]
    below = [x for x in [0.0, *shares] if x < min(reached)]
    assert max(below, default=0.0) - 1e-12 <= share <= min(reached) + 1e-12


def test_cpt_takes_the_first_crossing_of_a_curve_that_falls_again() -> None:
    assert cpt([0.2, 0.4, 0.6], [0.9, 0.5, 0.7], recovered=1.0, weak=WEAK, strong=STRONG) == 0.2
    assert cpt([0.2, 0.4, 0.6], [0.6, 0.4, 0.8], recovered=0.6, weak=WEAK, strong=STRONG) == pytest.approx(0.5)


@given(points)
def test_the_hull_is_what_mixing_two_settings_yields(curve: list[tuple[float, float]]) -> None:
    costs, qualities = hull(*columns(curve))
    for budget in {*(usd for usd, _ in curve), *np.linspace(costs[0], max(usd for usd, _ in curve), 7)}:
        assert np.interp(budget, costs, qualities) == pytest.approx(mixed(curve, budget), abs=1e-9)


@given(points)
def test_the_hull_rises_ever_less_over_points_of_the_curve(curve: list[tuple[float, float]]) -> None:
    costs, qualities = hull(*columns(curve))
    slopes = np.diff(qualities) / np.diff(costs)

    assert set(zip(costs, qualities, strict=True)) <= set(curve)
    assert (slopes > 0).all()
    assert (np.diff(slopes) < 0).all()
    assert qualities[-1] == max(quality for _, quality in curve)


def test_the_hull_leaves_out_what_lies_on_a_line() -> None:
    assert hull([1, 2, 3], [0.25, 0.5, 0.75])[0].tolist() == [1.0, 3.0]


@given(points, points)
def test_more_settings_never_lower_the_improvement_in_quality(
    curve: list[tuple[float, float]], more: list[tuple[float, float]]
) -> None:
    both = aiq(*columns(curve + more), c_max=12.0)

    assert both >= aiq(*columns(curve), c_max=12.0) - 1e-12


@given(points)
def test_aiq_is_the_mean_height_of_the_hull(curve: list[tuple[float, float]]) -> None:
    grid = np.linspace(0.0, 12.0, 4001)
    heights = np.array([mixed(curve, budget) for budget in grid[::40]])
    fine = np.interp(grid, *hull(*columns(curve)), left=0.0)

    assert fine[::40] == pytest.approx(heights, abs=1e-9)
    assert aiq(*columns(curve), c_max=12.0) == pytest.approx(fine.mean(), abs=2e-3)


def test_aiq_counts_from_where_it_is_told() -> None:
    assert aiq([1, 3], [0.5, 0.7], c_min=1) == pytest.approx(0.6)
    assert aiq([1, 3], [0.5, 0.7], c_min=2) == pytest.approx(0.65)
    assert aiq([1, 3], [0.5, 0.7], c_min=1, c_max=5) == pytest.approx(0.65)
    assert aiq([4], [0.5], c_max=4) == 0.0


def test_cascade_auc_joins_the_cheapest_candidate_to_the_curve() -> None:
    assert cascade_auc([2, 3], [0.6, 0.8], start=(1, 0.4), c_max=4) == pytest.approx((0.5 + 0.7 + 0.8) / 3)


def test_cascade_auc_cuts_what_lies_outside() -> None:
    assert cascade_auc([0, 2, 8], [0.4, 0.8, 0.2], start=(1, 0.0), c_max=5) == pytest.approx((0.7 + 3 * 0.65) / 4)


@given(unit, cost)
def test_the_area_of_a_constant_is_the_constant(quality: float, usd: float) -> None:
    assert cascade_auc([usd, usd + 1], [quality] * 2, start=(usd, 0.0), c_max=usd + 3) == pytest.approx(quality)
    assert deferral_area([0, usd], [quality] * 2, dearest=usd) == pytest.approx(quality)
    assert aiq([0, usd], [quality] * 2) == pytest.approx(quality)


def test_the_deferral_area_ends_where_it_is_told() -> None:
    assert deferral_area([1, 2], [0.5, 0.7], dearest=2) == pytest.approx(0.3)
    assert deferral_area([0, 1, 2], [0.1, 0.5, 0.7], dearest=2, upto=0.5) == pytest.approx(0.15)


def test_quality_neutral_cost_takes_the_cheapest_setting_that_is_good_enough() -> None:
    costs, quality = [3, 1, 2], [0.9, 0.5, 0.8]

    assert quality_neutral_cost(costs, quality, target=0.7, reference=4) == 0.5
    assert quality_neutral_cost(costs, quality, target=0.95, reference=4) == 1.0


def test_gains_are_relative() -> None:
    assert (gain(0.9, 0.6), gain(0.3, 0.6), gap(0.6, 0.8)) == (pytest.approx(0.5), -0.5, pytest.approx(0.25))


@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=30), st.integers(1, 20))
def test_ece_is_the_mean_gap_of_the_bins(pairs: list[tuple[float, float]], bins: int) -> None:
    edges = np.arange(bins + 1) / bins
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [pair for pair in pairs if low * bins < pair[0] * bins <= high * bins or pair[0] == low == 0]
        if inside:
            confidence, correct = np.mean(inside, axis=0)
            expected += len(inside) / len(pairs) * abs(correct - confidence)

    assert ece(*columns(pairs), bins=bins) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(unit, st.booleans()), min_size=1, max_size=30))
def test_brier_agrees_with_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    confidence, correct = columns(pairs)

    assert brier(confidence, correct) == pytest.approx(brier_score_loss(correct, confidence, labels=[False, True]))


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=30))
def test_auroc_agrees_with_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    confidence, correct = columns([*pairs, (0.3, True), (0.4, False)])

    assert auroc(confidence, correct) == pytest.approx(roc_auc_score(correct, confidence))


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (lambda: pgr(0.5, weak=0.6, strong=0.6), "must be above the weak one's"),
        (lambda: cpt([0.5], [0.5], recovered=50, weak=0.1, strong=0.9), "in \\[0, 1\\] but got 50"),
        (lambda: apgr([50], [0.5], weak=0.1, strong=0.9), "divide by 100"),
        (lambda: apgr([0.5, 0.6], [0.5], weak=0.1, strong=0.9), "equally long"),
        (lambda: hull([], []), "equally long"),
        (lambda: brier([[0.5, 1.0]], [[1, 1]]), r"flatten both, such as with \.ravel\(\)"),
        (lambda: hull([float("nan")], [0.5]), "drop what is unknown"),
        (lambda: aiq([1, 2], [0.5, 0.6], c_min=2), "must end above its start"),
        (lambda: deferral_area([1], [0.5], dearest=0), "dearest must be above 0"),
        (lambda: quality_neutral_cost([1], [0.5], target=0.5, reference=0), "reference must be above 0"),
        (lambda: gain(0.5, 0.0), "reference must be above 0"),
        (lambda: ece([0.5], [1], bins=0), "at least 1 but got 0"),
        (lambda: auroc([0.5, 0.6], [1, 1]), "and both"),
        (lambda: auroc([0.5, 0.6], [0.5, 1]), "cut the grades"),
    ],
)
def test_wrong_input_is_explained(measure: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        measure()
