from __future__ import annotations

import numpy as np

from router_integrations.estimators.numerics import adam, cross_entropy, margins, posterior_roots, sigmoid
from tests.estimators.gradients import check_gradient


def test_the_gradient_of_the_cross_entropy_is_right() -> None:
    rng = np.random.default_rng(0)
    graded = (rng.random((5, 3)) < 0.7).astype(float)
    quality = rng.random((5, 3))

    def loss(at: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        value, slope = cross_entropy(at["logits"], quality, graded)
        return value, {"logits": slope}

    check_gradient(loss, {"logits": rng.normal(size=(5, 3))})


def test_adam_leaves_the_start_as_it_is_and_keeps_its_type() -> None:
    start = {"x": np.ones(2, dtype=np.float32)}
    found = adam(lambda at: {"x": 2 * at["x"]}, start, steps=3, rate=0.1)

    assert start["x"].tolist() == [1, 1]
    assert found["x"].dtype == np.float32
    assert (found["x"] < 1).all()


def test_the_first_step_of_adam_is_as_long_as_its_rate() -> None:
    found = adam(lambda at: {"x": np.array([5.0, -0.01])}, {"x": np.zeros(2)}, steps=1, rate=0.1)

    np.testing.assert_allclose(found["x"], [-0.1, 0.1], rtol=1e-4)


def test_margins_are_those_of_the_inverse_of_the_precision() -> None:
    rng = np.random.default_rng(0)
    features, weights, new = rng.normal(size=(9, 3)), rng.random((9, 2)), rng.normal(size=(4, 3))
    got = margins(new, posterior_roots(features, weights, prior=0.5))

    for column in range(2):
        precision = features.T @ np.diag(weights[:, column]) @ features + 0.5 * np.eye(3)
        variance = np.diag(new @ np.linalg.inv(precision) @ new.T)
        np.testing.assert_allclose(got[:, column], np.sqrt(variance))


def test_sigmoid_falls_and_rises_without_overflow() -> None:
    np.testing.assert_allclose(sigmoid(np.array([-1e5, -1.0, 1.0])), [0, 1 / (1 + np.e), 1 / (1 + 1 / np.e)])
