from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_integrations.errors import ConfigurationError
from router_integrations.evaluation.leaderboards import (
    arena_score,
    call_rate_bands,
    cost_save,
    optimal_selection,
    perf_gain,
    quality_drop,
    selection_entropy,
)


@pytest.mark.parametrize(
    ("accuracy", "cost", "reported"),
    # Azure, vLLM-SR and CARROT on RouterArena's leaderboard: accuracy, USD per 1,000 queries, score. What is quoted for
    # GPT-5 and NotDiamond does not follow from the costs quoted beside it.
    [(0.681, 0.54, 0.6666), (0.673, 1.67, 0.6432), (0.672, 2.06, 0.6387)],
)
def test_the_arena_score_is_that_of_the_leaderboard(accuracy: float, cost: float, reported: float) -> None:
    # Accuracy is printed with three digits.
    assert arena_score(accuracy, cost / 1000) == pytest.approx(reported, abs=1e-3)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-6, 0.3))
def test_more_accuracy_never_lowers_the_arena_score(one: float, other: float, cost: float) -> None:
    low, high = sorted([one, other])
    assert arena_score(low, cost) <= arena_score(high, cost) + 1e-12


@pytest.mark.parametrize(("accuracy", "cost", "beta"), [(1.1, 0.1, 0.1), (0.5, -1, 0.1), (0.5, 1, 0), (math.nan, 1, 1)])
def test_the_arena_score_refuses_what_is_out_of_range(accuracy: float, cost: float, beta: float) -> None:
    with pytest.raises(ConfigurationError):
        arena_score(accuracy, cost, beta=beta)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_optimal_selection_counts_as_a_loop_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    quality, cost = rng.integers(0, 2, (6, 3)), rng.integers(1, 4, (6, 3))
    quality[0, 0] = 1
    chosen = rng.integers(0, 3, 6)
    picked = solvable = won = least = spent = 0
    for row, at in enumerate(chosen):
        right = [c for c in range(3) if quality[row, c]]
        if not right:
            continue
        cheapest = min(cost[row, c] for c in right)
        solvable += 1
        if at in right:
            won += 1
            spent += cost[row, at]
            least += cheapest
            picked += cost[row, at] == cheapest

    got = optimal_selection(chosen, quality, cost)

    assert got == pytest.approx((picked / solvable, least / spent if spent else 1.0, won / solvable))


def test_an_oracle_is_optimal_in_all_three() -> None:
    assert optimal_selection([1, 0], [[0, 1], [1, 1]], [[1, 5], [2, 5]]) == (1.0, 1.0, 1.0)


def test_nobody_right_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="right"):
        optimal_selection([0], [[0, 0]], [[1, 1]])


def test_shapes_must_fit() -> None:
    with pytest.raises(ConfigurationError, match="shapes"):
        optimal_selection([0, 1], [[1, 0]], [[1, 1]])


def test_even_choice_among_eight_has_three_bits() -> None:
    assert selection_entropy(list(range(8)) * 5) == pytest.approx(3.0)


def test_a_score_below_zero_drops_too() -> None:
    assert quality_drop(-2.1, -2.0) == pytest.approx(0.05)
    assert quality_drop(0.9, 1.0) == pytest.approx(0.1)


def test_gain_and_savings_against_the_best_single() -> None:
    assert perf_gain([0.8, 0.66], 0.8) == pytest.approx(0.0)
    assert cost_save([5, 6], [0.9, 0.95], best=(4, 0.9)) == pytest.approx(-0.25)


def test_bands_of_a_curve_with_a_bend() -> None:
    # Quality rises to 0.8 of the gap at a tenth of the calls, then slowly.
    low, middle, thrift = call_rate_bands([0.1], [0.8], weak=0.0, strong=1.0)

    assert low == pytest.approx(np.mean(0.08 * np.arange(11)))
    rates = np.array([0.09, 0.1, *np.arange(0.11, 0.551, 0.01)])
    assert thrift == pytest.approx(1 - rates.mean())
    assert middle == pytest.approx(np.interp(rates, [0, 0.1, 1], [0, 0.8, 1]).mean())


def test_a_band_that_is_jumped_over_is_not_a_number() -> None:
    low, middle, thrift = call_rate_bands([0.5, 0.5], [0.1, 1.0], weak=0.0, strong=1.0)

    assert low == pytest.approx(0.01)
    assert math.isnan(middle) and math.isnan(thrift)
