from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_integrations.calibration import guaranteed_threshold
from router_integrations.errors import ConfigurationError

Chance = Callable[[np.ndarray], np.ndarray]


def places(wrong: list[int], answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers from the surest down, of which those at these places are wrong."""
    correct = np.ones(answers)
    correct[wrong] = 0
    return np.linspace(1.0, 0.01, answers), correct


# With error 0.2 and risk 0.1, 0, 1, 2, 3 and 4 errors are allowed from 11, 18, 25, 32 and 38 answers on.
@pytest.mark.parametrize(
    ("wrong", "accepted"),
    [([], 38), ([37], 38), ([10], 0), ([11], 38), ([11, 12], 11), ([11, 18], 38), ([18, 19, 20], 18), ([30, 31], 38)],
)
def test_it_goes_down_until_there_are_too_many_errors(wrong: list[int], accepted: int) -> None:
    sure, correct = places(wrong, 40)
    if not accepted:
        with pytest.raises(ConfigurationError, match="of the 11 surest of 40 answers 1 are wrong"):
            guaranteed_threshold(sure, correct, error=0.2, first=0.25)
        return

    found = guaranteed_threshold(sure, correct, error=0.2, first=0.25)

    assert (found.accepted, found.answers) == (accepted, 40)
    assert found.wrong == sum(place < accepted for place in wrong)
    assert (sure > found.value).sum() == accepted
    assert found.bound <= 0.2


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    found = guaranteed_threshold(*places([15], 18), error=0.2, first=1.0)

    # 1 of 18: the error rate at which as few errors have probability 0.1.
    assert (1 - found.bound) ** 18 + 18 * found.bound * (1 - found.bound) ** 17 == pytest.approx(0.1)


def test_thirty_answers_can_do() -> None:
    assert guaranteed_threshold(*places([], 30), error=0.1).accepted == 22


def test_a_later_first_threshold_survives_an_error_among_the_surest() -> None:
    sure, correct = places([3], 40)

    assert guaranteed_threshold(sure, correct, error=0.2, first=0.45).accepted == 38


def test_answers_of_one_confidence_are_accepted_together() -> None:
    sure = np.array([0.9] * 20 + [0.5] * 10 + [0.0] * 10)

    found = guaranteed_threshold(sure, np.ones(40), error=0.2)

    assert (found.value, found.accepted) == (0.0, 30)
    assert guaranteed_threshold(sure, [1] * 20 + [0] * 20, error=0.2).value == 0.5


def test_the_order_of_the_answers_does_not_matter() -> None:
    sure, correct = places([11, 18], 40)
    order = np.random.default_rng(0).permutation(40)

    assert guaranteed_threshold(sure[order], correct[order], error=0.2) == guaranteed_threshold(
        sure, correct, error=0.2
    )


@pytest.mark.parametrize(
    ("profile", "least"),
    [
        (lambda sure: 1 - sure, 0.02),
        (lambda sure: np.full_like(sure, 0.201), 0.005),
        (lambda sure: np.where((sure > 0.9) | ((sure > 0.3) & (sure < 0.6)), 0.35, 0.03), 0.0),
        (lambda sure: np.where(sure > 0.6, 0.0, 0.9), 0.005),
    ],
    ids=["calibrated", "says nothing", "up and down", "a step"],
)
@pytest.mark.parametrize("answers", [30, 120])
def test_the_error_is_exceeded_no_more_often_than_the_risk(profile: Chance, least: float, answers: int) -> None:
    error, risk, repeats = 0.2, 0.1, 300
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 1, 10_001)
    rates = np.cumsum(profile(grid)[::-1])[::-1] / np.arange(len(grid), 0, -1)
    exceeded = 0
    for _ in range(repeats):
        sure = rng.random(answers)
        correct = rng.random(answers) >= profile(sure)
        try:
            found = guaranteed_threshold(sure, correct, error=error, risk=risk)
        except ConfigurationError:
            continue
        exceeded += rates[round(found.value * 10_000)] > error

    # It is not kept by accepting nothing: now and then the error is exceeded.
    assert least <= exceeded / repeats <= risk + 3 * (risk * (1 - risk) / repeats) ** 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.9, 1.0]), st.booleans()), max_size=80))
def test_what_is_returned_is_what_the_answers_say(answers: list[tuple[float, bool]]) -> None:
    sure, correct = (np.array([one[at] for one in answers], dtype=float) for at in (0, 1))
    try:
        found = guaranteed_threshold(sure, correct, error=0.3)
    except ConfigurationError:
        return

    above = sure > found.value
    assert (found.accepted, found.wrong) == (above.sum(), (above & (correct == 0)).sum())
    assert found.wrong / found.accepted < found.bound <= 0.3


def test_with_too_few_answers_it_says_how_many_are_needed() -> None:
    with pytest.raises(ConfigurationError, match=r"on 44 answers; at least 45 are needed, all of them right"):
        guaranteed_threshold(*places([], 44), error=0.05)

    assert guaranteed_threshold(*places([], 45), error=0.05).accepted == 45


def test_with_too_many_errors_it_says_how_many_answers_would_show_it() -> None:
    sure, correct = places([0], 40)
    with pytest.raises(ConfigurationError, match="about 120 answers would show it"):
        guaranteed_threshold(sure, correct, error=0.2)

    spread = (sure[:, None] - [0.0, 1e-4, 2e-4]).ravel()
    found = guaranteed_threshold(spread, np.repeat(correct, 3), error=0.2)
    assert (found.wrong, found.answers) == (3, 120)


def test_where_more_answers_do_not_help_it_says_so() -> None:
    with pytest.raises(ConfigurationError, match="more answers like these would not show it either"):
        guaranteed_threshold(*places([*range(8)], 40), error=0.2)


def test_nothing_to_go_by_is_an_error_too() -> None:
    with pytest.raises(ConfigurationError, match="confidence above 0"):
        guaranteed_threshold(np.zeros(40), np.ones(40), error=0.2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"error": 0.0}, "error in"),
        ({"error": float("nan")}, "error in"),
        ({"risk": 1.0}, "risk in"),
        ({"first": 0.0}, "first in"),
        ({"confidence": [1.1] * 40}, r"in \[0, 1\]"),
        ({"confidence": [float("nan")] * 40}, "leave out unknown"),
        ({"confidence": [0.5] * 39}, "a grade for each"),
        ({"correct": [0.5] * 40}, "round the grades"),
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, object], message: str) -> None:
    options = {"confidence": [0.5] * 40, "correct": [1] * 40, "error": 0.2} | wrong
    confidence, correct = options.pop("confidence"), options.pop("correct")

    with pytest.raises(ConfigurationError, match=message):
        guaranteed_threshold(confidence, correct, **options)  # type: ignore[arg-type]
