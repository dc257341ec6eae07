from __future__ import annotations

import numpy as np
import pytest

from router_integrations import Best
from router_integrations.calibration import ErrorRate, Trials
from router_integrations.calibration.trials import Turn, best_trials
from router_integrations.errors import ConfigurationError
from router_integrations.evaluation import Replay
from router_integrations.evaluation.evaluating import forecast_table
from tests.calibration.told import POOL, table, told


def trials(quality: np.ndarray, strong: np.ndarray | None = None) -> Trials:
    """`quality` has a column a setting; the grades of big are `strong`."""
    grades = np.ones(len(quality)) if strong is None else strong
    return Trials(
        names=("small", "big"),
        knobs=tuple(range(quality.shape[1])),
        quality=np.column_stack([grades, grades]),
        run=lambda at: Replay(
            names=("small", "big"),
            chosen=np.zeros(len(quality), dtype=np.intp),
            quality=quality[:, int(at)],
            cost=np.zeros(len(quality)),
            attempts=np.ones(len(quality), dtype=np.intp),
        ),
    )


def staircase(errors: list[int], queries: int) -> np.ndarray:
    """At each setting the first so many queries are wrong."""
    return np.column_stack([np.arange(queries) >= wrong for wrong in errors]).astype(float)


@pytest.mark.parametrize(
    ("at_most", "setting"), [(0.5, 1), (0.49, 2), (0.3, 2), (0.29, 3), (0.2, 3), (0.19, 4), (0.1, 4)]
)
def test_the_errors_and_one_more_are_at_most_that_part_of_the_queries_and_one_more(
    at_most: float, setting: int
) -> None:
    # With nine queries: (errors + 1) / 10 <= at_most.
    assert ErrorRate(at_most=at_most).pick(trials(staircase([5, 4, 2, 1, 0], 9))) == setting


def test_with_few_queries_not_even_no_errors_will_do() -> None:
    with pytest.raises(ConfigurationError, match=r"guarantees 0.100, and none can less than 0.100; raise ErrorRate"):
        ErrorRate(at_most=0.09).pick(trials(staircase([0], 9)))


def test_a_query_counts_with_its_worst_error_at_any_more_careful_setting() -> None:
    # The more careful setting errs on other queries than the less careful one: four of nine in all.
    quality = np.ones((9, 2))
    quality[:2, 0] = quality[2:4, 1] = 0

    assert ErrorRate(at_most=0.5).pick(trials(quality)) == 0
    assert ErrorRate(at_most=0.4).pick(trials(quality)) == 1


def test_against_a_candidate_only_what_it_would_have_done_better_is_an_error() -> None:
    strong = np.array([0.0] * 5 + [1.0] * 4)
    quality = np.column_stack([np.array([0.0] * 6 + [1.0] * 3), strong])

    assert ErrorRate(at_most=0.2, of="big").pick(trials(quality, strong)) == 0
    assert ErrorRate(at_most=0.19, of="big").pick(trials(quality, strong)) == 1
    with pytest.raises(ConfigurationError):
        ErrorRate(at_most=0.5).pick(trials(quality, strong))


@pytest.mark.parametrize("at_most", [0.05, 0.15, 0.3])
def test_the_error_on_new_queries_is_on_average_what_was_asked_for_and_little_less(at_most: float) -> None:
    # How likely a query is wrong at each of 101 settings, which no estimator has to know.
    settings, queries, repeats = 101, 60, 400
    rng = np.random.default_rng(0)
    care = np.linspace(0, 1, settings)
    errors = []
    for _ in range(repeats):
        hardness = rng.random((queries, 1)) ** 2
        picked = ErrorRate(at_most=at_most).pick(trials((hardness <= care).astype(float)))
        errors.append(1 - care[int(picked)] ** 0.5)

    # The true error at a setting is P(u² > care) = 1 - sqrt(care); 1 / (n + 1) is what the correction may cost.
    margin = 3 * np.std(errors) / repeats**0.5
    assert np.mean(errors) <= at_most + margin
    assert np.mean(errors) >= at_most - 2 / (queries + 1) - margin


def test_the_guarantee_holds_end_to_end_for_an_estimator_that_is_overconfident() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((20_000, 2)) * [1.0, 0.1] + [0.0, 0.9]
    grades = (rng.random(truth.shape) < truth).astype(float)
    says = np.sqrt(truth)
    at_most, regrets, bigs = 0.1, [], []
    for _ in range(16):
        rows = rng.choice(len(truth), size=100, replace=False)
        best, chosen_on = Best(estimator=told(says[rows])), table(grades[rows])
        expected = forecast_table(best.estimator, chosen_on, POOL)
        trials_ = best_trials(Turn(best=best, knob="enough"), expected, chosen_on, fixed=True)
        threshold = ErrorRate(at_most=at_most, of="big").pick(trials_)
        small = says[:, 0] >= np.minimum(threshold, says[:, 1])
        regrets.append(np.where(small, np.maximum(grades[:, 1] - grades[:, 0], 0), 0).mean())
        bigs.append(1 - small.mean())

    assert np.mean(regrets) <= at_most + 3 * np.std(regrets) / 4
    # It pays for it with as few calls to big as will do: regret 0.1 leaves small the queries above sqrt(0.2).
    assert np.mean(regrets) >= 0.07
    assert 0.2 < np.mean(bigs) < 0.7
