from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPRegressor

from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import MLP, Linear
from router_integrations.estimators.learned import Learned
from router_integrations.estimators.numerics import logistic_loss
from router_integrations.learning import Record
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_preferences
from tests.estimators.gradients import check_gradient

POOL = checks.example_candidates()
ENCODER = HashingEncoder(dimensions=12)
RECORDS = example_grades(POOL)
NEW = ["sum a fraction", "fly to an island", "bake bread", "完全不同"]


def graded(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The vectors and grades of the queries that a candidate answered."""
    mine = [one for one in RECORDS if one.candidate == name]
    return ENCODER.encode([one.text for one in mine]).astype(float), np.array([one.quality for one in mine])


def expected(predicted: np.ndarray) -> Any:
    return pytest.approx(np.clip(predicted, 0, 1), abs=1e-3)


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_ridge_is_that_of_scikit_learn_on_the_graded_queries(alpha: float) -> None:
    quality, _ = Linear(alpha=alpha, encoder=ENCODER).fit(RECORDS).predict(NEW, POOL)

    for column, candidate in zip(quality.T, POOL, strict=True):
        assert column == expected(Ridge(alpha=alpha).fit(*graded(candidate.name)).predict(ENCODER.encode(NEW)))


def test_the_logistic_link_is_logistic_regression_with_one_more_grade() -> None:
    quality, _ = Linear(alpha=0.5, link="logistic", encoder=ENCODER).fit(RECORDS).predict(NEW, POOL)
    vectors, grades = graded("medium")
    half = np.zeros((2, vectors.shape[1]))
    model = LogisticRegression(C=2.0, tol=1e-8, max_iter=1000).fit(
        np.vstack([vectors, half]), [*grades, 0, 1], sample_weight=[*np.ones(len(grades)), 0.5, 0.5]
    )

    assert quality[:, 1] == expected(model.predict_proba(ENCODER.encode(NEW))[:, 1])


def test_the_logistic_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    known = (rng.random((7, 3)) < 0.7).astype(float)
    given = (rng.normal(size=(7, 4)), rng.random((7, 3)) * known, known, 0.3)

    def loss(at: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        value, slope = logistic_loss(at["flat"], *given)
        return value, {"flat": slope}

    check_gradient(loss, {"flat": rng.normal(size=15)})


def test_always_right_is_not_infinitely_sure() -> None:
    records = [Record(text=f"word{row}", candidate="small", quality=1.0) for row in range(3)]
    quality, std = Linear(link="logistic", encoder=ENCODER).fit(records).predict([""], POOL[:1])

    assert 0.8 < quality[0, 0] < 0.9
    assert std[0, 0] > 0.05


def test_the_margin_of_ridge_is_that_of_the_fitted_line() -> None:
    complete = [
        Record(text=one.text, candidate="small", quality=one.quality) for one in RECORDS if one.candidate == "large"
    ]
    _, std = Linear(alpha=2.0, encoder=ENCODER).fit(complete).predict(NEW, POOL[:1])
    vectors, grades = graded("large")
    at = ENCODER.encode(NEW)
    errors = grades - Ridge(alpha=2.0).fit(vectors, grades).predict(vectors)
    noise = ((errors**2).sum() + 0.25) / (len(grades) + 1)
    covariance = np.linalg.inv(vectors.T @ vectors + 2 * np.eye(12))
    variance = noise * (1 / len(grades) + np.einsum("nk,kl,nl->n", at, covariance, at))

    assert std[:, 0] == pytest.approx(np.sqrt(variance), rel=1e-3)


def test_the_margin_of_the_logistic_link_is_that_of_laplace_when_all_is_even() -> None:
    records = [Record(text=one.text, candidate="small", quality=0.5) for one in RECORDS if one.candidate == "large"]
    _, std = Linear(alpha=2.0, link="logistic", encoder=ENCODER).fit(records).predict(NEW, POOL[:1])
    vectors, _ = graded("large")
    at = ENCODER.encode(NEW)
    information = len(vectors) / 4 + 0.25
    covariance = np.linalg.inv(vectors.T @ vectors * information / len(vectors) + 2 * np.eye(12))
    variance = 1 / information + np.einsum("nk,kl,nl->n", at, covariance, at)

    assert std[:, 0] == pytest.approx(np.sqrt(variance) / 4, rel=1e-3)


@pytest.mark.parametrize("make", [lambda: Linear(encoder=ENCODER), lambda: Linear(link="logistic", encoder=ENCODER)])
def test_fewer_grades_widen_the_margin(make: Any) -> None:
    rng = np.random.default_rng(0)
    seldom = [one for one in RECORDS if one.candidate != "medium" or rng.random() < 0.1]
    wide, narrow = (make().fit(records).predict(NEW, POOL)[1][:, 1] for records in (seldom, RECORDS))

    assert (narrow < wide).all()


def test_the_network_is_that_of_scikit_learn_on_the_graded_queries() -> None:
    estimator = MLP(hidden=7, steps=30, alpha=0.01, seed=3, encoder=ENCODER).fit(RECORDS)
    quality, _ = estimator.predict(NEW, POOL)
    vectors, grades = graded("large")
    model = MLPRegressor(hidden_layer_sizes=(7,), alpha=0.01, random_state=3)
    for _ in range(30):
        model.partial_fit(vectors.astype(np.float32), grades.astype(np.float32))

    assert quality[:, 2] == expected(model.predict(ENCODER.encode(NEW)))


def test_the_margin_of_the_network_is_that_of_ridge_on_its_hidden_layer() -> None:
    estimator = MLP(hidden=5, steps=20, encoder=ENCODER).fit(RECORDS)
    state = estimator.fitted_.state
    place = estimator.fitted_.names.index("large")

    def units(vectors: np.ndarray) -> np.ndarray:
        hidden = np.maximum(vectors @ state["first"][place] + state["shift"][place], 0)
        return np.hstack([hidden, np.ones((len(hidden), 1))])

    vectors, grades = graded("large")
    seen, new = units(vectors), units(ENCODER.encode(NEW))
    noise = (((seen @ state["output"][place] - grades) ** 2).sum() + 0.25) / (len(grades) + 1)
    variance = noise * np.einsum("nk,kl,nl->n", new, np.linalg.inv(seen.T @ seen + np.eye(6)), new)

    assert estimator.predict(NEW, POOL)[1][:, 2] == pytest.approx(np.sqrt(variance), rel=1e-3)


@pytest.mark.parametrize(("steps", "passes"), [(1, 1), (3, 1), (4, 2)])
def test_steps_are_rounded_up_to_whole_passes(steps: int, passes: int) -> None:
    records = [Record(text=f"word{row}", candidate="small", quality=float(row % 2)) for row in range(450)]
    quality, _ = MLP(hidden=5, steps=steps, encoder=ENCODER).fit(records).predict(NEW, POOL[:1])
    model = MLPRegressor(hidden_layer_sizes=(5,), alpha=0.1, random_state=0)
    for _ in range(passes):
        model.partial_fit(ENCODER.encode([one.text for one in records]), [one.quality for one in records])

    assert quality[:, 0] == expected(model.predict(ENCODER.encode(NEW)))


def test_a_long_batch_is_predicted_as_its_parts() -> None:
    estimator = MLP(hidden=3, steps=3, encoder=ENCODER).fit(RECORDS)
    texts = [f"sum {row}" for row in range(1500)]
    whole, end = estimator.predict(texts, POOL), estimator.predict(texts[900:], POOL)

    assert all(np.allclose(one[900:], other, atol=1e-6) for one, other in zip(whole, end, strict=True))


def test_another_seed_makes_another_network() -> None:
    one, other = (MLP(hidden=5, steps=3, seed=seed, encoder=ENCODER).fit(RECORDS) for seed in (0, 1))

    assert not np.allclose(one.predict(NEW, POOL)[0], other.predict(NEW, POOL)[0])


@pytest.mark.parametrize("make", [Linear, MLP])
def test_preferences_alone_are_refused(make: type[Learned]) -> None:
    with pytest.raises(ConfigurationError, match="at least one graded attempt"):
        make().fit(example_preferences(POOL)[:3])


@pytest.mark.parametrize(
    ("make", "option"),
    [(Linear, {"alpha": 0.0}), (Linear, {"link": "probit"}), (MLP, {"hidden": 0}), (MLP, {"alpha": -1.0}),
     (MLP, {"steps": 0})],
)  # fmt: skip
def test_an_option_out_of_range_is_refused(make: type[Learned], option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ConfigurationError, match=rf"{make.__name__}\.{name} must be"):
        make(**option)
