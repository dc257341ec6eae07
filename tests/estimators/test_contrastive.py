from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import DualContrastive
from router_integrations.estimators.contrastive import (
    _candidate_loss,
    _cluster,
    _curve,
    _draw,
    _examples,
    _query_loss,
    _unit,
)
from router_integrations.learning import Record
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_preferences, right_share
from tests.estimators.gradients import check_gradient

POOL = checks.example_candidates()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def parameters() -> dict[str, np.ndarray]:
    return {"map": rng().normal(size=(5, 3)), "candidates": rng().normal(size=(4, 3))}


VECTORS = rng().normal(size=(6, 5))


def test_the_gradient_by_the_candidates_is_that_of_the_loss() -> None:
    quality = rng().random((6, 4))
    examples = _examples(quality, np.ones((6, 4)), rng())

    check_gradient(lambda at: _candidate_loss(at, VECTORS, examples, 0.3), parameters())


def test_the_gradient_by_the_queries_is_that_of_the_loss() -> None:
    drawn = _draw(np.array([0, 0, 1, 1, 2, 2]), rng())

    def loss(at: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        value, slope = _query_loss(at["map"], VECTORS, drawn, 0.3)
        return value, {"map": slope}

    check_gradient(loss, {"map": parameters()["map"]})


def test_the_loss_of_a_query_with_its_candidates_is_that_of_the_paper() -> None:
    at = parameters()
    good, bad = np.array([[1.0, 0, 1, 0]]), np.array([[0.0, 1, 0, 1]])
    loss, _ = _candidate_loss(at, VECTORS[:1], (good, bad), 0.5)
    near = np.exp(_unit(VECTORS[:1] @ at["map"])[0] @ _unit(at["candidates"])[0].T / 0.5)[0]

    assert loss == pytest.approx(sum(-np.log(near[i] / (near[i] + near[1] + near[3])) for i in (0, 2)))


def test_the_loss_of_a_query_with_other_queries_is_that_of_the_paper() -> None:
    mapping = parameters()["map"]
    drawn = np.array([[1, 2, 3, 4]] * 6)
    units = _unit(VECTORS @ mapping)[0]
    near = np.exp(units @ units.T / 0.5)

    expected = np.mean([-np.log(near[row, 1] / near[row, [1, 2, 3, 4]].sum()) for row in range(6)])
    assert _query_loss(mapping, VECTORS, drawn, 0.5)[0] == pytest.approx(expected)


def test_the_best_three_are_good_and_the_worst_three_bad() -> None:
    quality = np.array([[0.9, 0.8, 0.7, 0.6, 0.4, 0.2, 0.0]])
    good, bad = _examples(quality, np.ones((1, 7)), rng())

    assert good.tolist() == [[1, 1, 1, 0, 0, 0, 0]]
    assert bad.tolist() == [[0, 0, 0, 0, 1, 1, 1]]


def test_no_right_answer_makes_no_good_example_and_no_wrong_one_no_bad_example() -> None:
    good, bad = _examples(np.array([[0.0] * 4, [1.0] * 4]), np.ones((2, 4)), rng())

    assert good.sum(axis=1).tolist() == [0, 2]
    assert bad.sum(axis=1).tolist() == [2, 0]


def test_a_missing_grade_is_no_example_and_nobody_is_both() -> None:
    graded = (rng().random((50, 5)) < 0.5).astype(float)
    good, bad = _examples(np.full((50, 5), 0.5) * graded, graded, rng())

    assert not (good * bad).any()
    assert not ((good + bad) * (1 - graded)).any()
    assert good.sum() and bad.sum()


def test_ties_are_not_broken_by_name() -> None:
    good, _ = _examples(np.ones((300, 7)), np.ones((300, 7)), rng())

    assert (good.mean(axis=0) > 0.3).all()


def test_a_friend_is_of_the_own_cluster_and_a_stranger_is_not() -> None:
    labels = np.array([2, 0, 1, 0, 2, 2, 0])
    seen: set[int] = set()
    for seed in range(50):
        drawn = _draw(labels, np.random.default_rng(seed))
        assert (labels[drawn[:, 0]] == labels).all()
        assert (labels[drawn[:, 1:]] != labels[:, None]).all()
        seen |= set(drawn.ravel().tolist())

    assert seen == set(range(7))


def test_one_cluster_has_no_strangers() -> None:
    drawn = _draw(np.zeros(4, dtype=int), rng())
    loss, slope = _query_loss(parameters()["map"], VECTORS, drawn, 0.5)

    assert (len(drawn), loss, slope.any()) == (0, 0.0, False)


def test_there_are_no_more_clusters_than_different_queries() -> None:
    assert _cluster(np.ones((4, 2)), 5, 0).tolist() == [0, 0, 0, 0]


def test_the_curve_never_falls() -> None:
    cosines = np.array([[-0.9, 0.9]] * 20)
    rising, falling = (_curve(cosines, quality, np.ones((20, 2))) for quality in (cosines > 0, cosines < 0))

    assert rising[0] > 1
    assert falling[0] == 0


def test_the_best_candidate_is_the_nearest() -> None:
    estimator = DualContrastive(steps=50, encoder=HashingEncoder(dimensions=32)).fit(example_grades(POOL))
    state = estimator.fitted_.state
    vectors = estimator.encoder.encode(["boil an onion", "a hotel by train"])
    quality, _ = estimator._predict(state, vectors)
    cosines = _unit(vectors @ state["map"])[0] @ state["candidates"].T

    assert (np.argsort(quality, axis=1) == np.argsort(cosines, axis=1)).all()


def test_the_margin_is_the_deviation_of_the_residuals() -> None:
    records = [Record(text=f"word{row}", candidate="small", quality=float(row % 2)) for row in range(200)]
    estimator = DualContrastive(steps=1, clusters=1).fit(records)
    quality, std = estimator.predict([one.text for one in records], POOL[:1])
    errors = (quality[:, 0] - [one.quality for one in records]) ** 2

    assert std[:, 0] == pytest.approx(np.full(200, np.sqrt((errors.sum() + 0.25) / 201)), rel=1e-3)


def test_it_learns_with_one_cluster_too() -> None:
    estimator = DualContrastive(clusters=1, steps=60, encoder=HashingEncoder(dimensions=64)).fit(example_grades(POOL))

    assert right_share(estimator, POOL) > 0.9


def test_preferences_alone_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one graded attempt"):
        DualContrastive().fit(example_preferences(POOL)[:3])


@pytest.mark.parametrize("option", [{"dimensions": 0}, {"clusters": 0}, {"temperature": 0.0}, {"steps": 0}])
def test_an_option_out_of_range_is_refused(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ConfigurationError, match=rf"DualContrastive\.{name} must be at least"):
        DualContrastive(**option)
