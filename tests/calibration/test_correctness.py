from __future__ import annotations

import numpy as np
import pytest

from router_integrations.calibration.correctness import CorrectnessCurve
from router_integrations.errors import ConfigurationError


def graded(queries: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities, grades and what is really the chance to be right."""
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.05, 0.999, size=queries)
    chance = 1 / (1 + np.exp(-(0.8 * -np.log(1 - probability) - 1)))
    return np.log(probability), (rng.random(queries) < chance).astype(float), chance


def test_the_curve_finds_the_chances_behind_the_grades() -> None:
    logprobs, grades, chance = graded()
    curve = CorrectnessCurve.fitted(logprobs, grades)

    assert np.abs(curve(logprobs) - chance).max() < 0.05


@pytest.mark.parametrize("two_sided", [False, True])
def test_a_surer_answer_is_never_less_likely_right(two_sided: bool) -> None:
    logprobs, grades, _ = graded()
    curve = CorrectnessCurve.fitted(logprobs, grades, two_sided=two_sided)
    sure = np.array([-np.inf, -50.0, -2.0, -np.log(2), -0.5, -1e-3, -1e-5, -1e-7, 0.0])
    said = curve(sure)

    assert np.isfinite(said).all()
    # What is infinite counts as the farthest that was seen.
    assert (np.diff(said[1:-1]) >= -1e-9).all()


def test_infinite_confidences_are_learnt_from() -> None:
    logprobs, grades = np.array([0.0, 0.0, -1.0, -2.0] * 10), np.array([1.0, 1.0, 0.0, 0.0] * 10)
    sure, unsure = CorrectnessCurve.fitted(logprobs, grades, penalty=1.0)([0.0, -2.0])

    assert sure >= unsure and np.isfinite([sure, unsure]).all()


def test_evidence_counts() -> None:
    logprobs, grades, _ = graded()
    told = grades + np.random.default_rng(1).normal(size=len(grades))
    curve = CorrectnessCurve.fitted(logprobs, grades, evidence=told)
    low, high = curve([-0.5, -0.5], evidence=[-2.0, 2.0])

    assert high > low + 0.3


def test_evidence_that_never_changes_says_nothing() -> None:
    logprobs, grades, _ = graded(100)
    with_it = CorrectnessCurve.fitted(logprobs, grades, evidence=np.ones(100))

    np.testing.assert_allclose(
        with_it(logprobs, evidence=np.ones(100)), CorrectnessCurve.fitted(logprobs, grades)(logprobs), atol=1e-3
    )


def test_a_penalty_draws_the_curve_to_the_mean() -> None:
    logprobs, grades, _ = graded(100)
    free, held = (CorrectnessCurve.fitted(logprobs, grades, penalty=penalty)(logprobs) for penalty in (0.0, 100.0))

    assert held.std() < free.std()


def test_answers_without_grades_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match="a grade for each answer"):
        CorrectnessCurve.fitted([-0.1, -0.2], [1.0])
