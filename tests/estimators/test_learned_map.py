from __future__ import annotations

import numpy as np
import pytest

from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import LearnedMap
from router_integrations.learning import Record
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_preferences
from tests.estimators.gradients import check_gradient
from tests.estimators.test_clustering import Compass, graded, pool

ENCODER = HashingEncoder(dimensions=32)
POOL = checks.example_candidates()


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    known = (rng.random((9, 3)) < 0.7).astype(float)
    given = rng.normal(size=(9, 4)), rng.random((9, 3)) * known, known
    estimator = LearnedMap(alpha=0.1, shrinkage=0.5)

    check_gradient(lambda at: estimator._loss(at, *given), {"map": rng.normal(size=(4, 5))})


def test_a_missing_grade_weighs_nothing() -> None:
    records = [*graded("a", _0=1.0, _90=0.0), *graded("b", _0=0.25)]
    estimator = LearnedMap(clusters=1, encoder=Compass()).fit(records)

    assert estimator.predict(["45"], pool("a", "b"))[0][0] == pytest.approx([0.5, 0.25])


def test_quality_is_the_mean_of_the_soft_clusters() -> None:
    estimator = LearnedMap(clusters=2, steps=0, shrinkage=1.0, encoder=Compass()).fit(graded("a", _0=1.0, _90=0.0))
    near = np.exp(10) / (np.exp(10) + 1)
    means = np.array([near, 1 - near]) / 2 + 0.25

    assert estimator.predict(["0"], pool("a"))[0] == pytest.approx(near * means[0] + (1 - near) * means[1])


def test_grades_move_the_border_that_k_means_draws() -> None:
    # By angle the queries part in the middle, by grade at a quarter.
    records = graded("a", **{f"_{angle}": float(angle < 20) for angle in range(0, 80, 2)})
    estimators = [LearnedMap(clusters=2, steps=steps, alpha=0, encoder=Compass()).fit(records) for steps in (0, 300)]
    before, after = (float(np.ptp(one.predict(["10", "30"], pool("a"))[0])) for one in estimators)

    assert before < 0.2 and after > 0.5


def test_a_newcomer_is_counted_without_moving_anything_else() -> None:
    estimator = LearnedMap(clusters=4, encoder=ENCODER).fit(example_grades(POOL[:2]))
    before = estimator.predict(["solve the equation"], POOL[:2])[0]
    records = [one for one in example_grades(POOL) if one.candidate == POOL[2].name]
    after = estimator.onboard(records).predict(["solve the equation"], POOL)[0]

    assert after[:, :2] == pytest.approx(before)
    assert estimator.fitted_ is not None
    assert estimator.fitted_.state["counts"][:, 2].sum() == pytest.approx(len(records), rel=1e-3)


def test_the_margin_narrows_with_the_grades() -> None:
    few, many = (graded("a", **{f"_{angle}": angle % 2 for angle in range(count)}) for count in (6, 60))
    margins = [
        LearnedMap(clusters=1, encoder=Compass()).fit(one).predict(["3"], pool("a"))[1][0, 0] for one in (few, many)
    ]

    assert margins == pytest.approx([0.5 / np.sqrt(7), 0.5 / np.sqrt(61)])


def test_grades_that_are_all_alike_are_learnt() -> None:
    estimator = LearnedMap(clusters=2, encoder=Compass()).fit([*graded("a", _0=1, _90=1), *graded("b", _0=0, _90=0)])

    assert estimator.predict(["0"], pool("a", "b"))[0][0] == pytest.approx([1, 0])


@pytest.mark.parametrize("option", ["clusters", "alpha", "steps", "shrinkage"])
def test_an_option_out_of_range_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"LearnedMap\.{option} must be at least"):
        LearnedMap(**{option: -1})


def test_preferences_alone_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="graded attempt"):
        LearnedMap(encoder=ENCODER).fit(example_preferences(POOL))


def test_one_record_is_enough() -> None:
    estimator = LearnedMap(encoder=ENCODER).fit([Record(text="hi", candidate="a", quality=0.75)])

    assert estimator.predict(["bye"], pool("a"))[0][0, 0] == pytest.approx(0.75)
