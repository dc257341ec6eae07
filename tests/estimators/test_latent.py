from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import MIRT, NIRT, MatrixFactorization
from router_integrations.estimators.latent import Latent
from router_integrations.learning import Record
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_preferences, example_texts
from tests.estimators.gradients import check_gradient

EACH = pytest.mark.parametrize("make", [MatrixFactorization, MIRT, NIRT])
POOL = checks.example_candidates()


def problem(queries: int, width: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, grades and which of them there are."""
    rng = np.random.default_rng(0)
    graded = (rng.random((queries, 3)) < 0.7).astype(float)
    return rng.normal(size=(queries, width)), rng.random((queries, 3)) * graded, graded


def parameters(estimator: Latent, width: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"candidates": (3, estimator.dimensions), **estimator._shapes(width)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


@EACH
def test_the_gradient_is_that_of_the_loss(make: Callable[..., Latent]) -> None:
    estimator = make(dimensions=3, alpha=0.1)
    given = problem(7)

    check_gradient(lambda at: estimator._loss(at, *given), parameters(estimator))


@EACH
def test_a_missing_grade_weighs_nothing(make: Callable[..., Latent]) -> None:
    estimator = make(dimensions=3)
    vectors, quality, graded = problem(7)
    at = parameters(estimator)
    loss, slopes = estimator._loss(at, vectors, quality, graded)
    again, same = estimator._loss(at, vectors, quality + 9 * (1 - graded), graded)

    assert loss == again
    assert all((slopes[name] == same[name]).all() for name in slopes)


def test_factorization_is_the_product_of_query_and_candidate() -> None:
    state = {
        "map": np.array([[1.0, 0.0], [0.0, 2.0]]),
        "shift": np.array([0.0, 1.0]),
        "candidates": np.array([[1.0, 1.0], [0.0, -1.0]]),
        "roots": np.zeros((2, 2, 2)),
    }
    quality, std = MatrixFactorization()._predict(state, np.array([[1.0, 1.0]]))

    assert quality == pytest.approx(1 / (1 + np.exp([[-4.0, 3.0]])))
    assert (std == 0).all()


def test_response_theory_is_discrimination_times_ability_less_difficulty() -> None:
    state = {
        "discrimination": np.array([[0.0], [1.0]]),
        "difficulty": np.array([[0.5], [0.0]]),
        "candidates": np.array([[2.0], [-1.0]]),
        "roots": np.zeros((2, 1, 1)),
    }
    quality, _ = MIRT()._predict(state, np.array([[1.0, 3.0]]))
    discrimination = np.log1p(np.exp(3.0))

    assert quality == pytest.approx(1 / (1 + np.exp([[0.5 - 2 * discrimination, 0.5 + discrimination]])))


def test_a_harder_query_is_harder_for_all() -> None:
    grades = {"easy greeting": 1.0, "middling letter": 0.5, "hard theorem": 0.0}
    records = [Record(text=text, candidate=one.name, quality=grades[text]) for text in grades for one in POOL]
    quality, _ = MIRT(dimensions=3).fit(records).predict(list(grades), POOL)

    assert (np.diff(quality, axis=0) < -0.2).all()


@EACH
def test_the_margin_is_the_one_of_laplace(make: Callable[..., Latent]) -> None:
    estimator = make(dimensions=2, steps=20, alpha=1e-3, encoder=HashingEncoder(dimensions=8))
    records = example_grades(POOL)
    state = estimator.fit(records).fitted_.state
    vectors = estimator.encoder.encode(list(dict.fromkeys(one.text for one in records)))
    features = estimator._scores(state, vectors)[1]
    quality, std = estimator._predict(state, vectors)
    seen = {(one.text, one.candidate) for one in records}
    texts = list(dict.fromkeys(one.text for one in records))
    names = estimator.fitted_.names
    place = 1
    queries = features[place] if features.ndim == 3 else features
    precision = 1e-3 * len(records) * np.eye(2)
    for row, text in enumerate(texts):
        if (text, names[place]) in seen:
            p = quality[row, place]
            precision += p * (1 - p) * np.outer(queries[row], queries[row])
    variance = np.einsum("nk,kl,nl->n", queries, np.linalg.inv(precision), queries)
    p = quality[:, place]

    assert std[:, place] == pytest.approx(p * (1 - p) * np.sqrt(variance), rel=1e-3)


@EACH
def test_more_grades_narrow_the_margin(make: Callable[..., Latent]) -> None:
    estimator = make(dimensions=4, steps=50, encoder=HashingEncoder(dimensions=16))
    rng = np.random.default_rng(0)
    seldom = [one for one in example_grades(POOL) if one.candidate != "medium" or rng.random() < 0.1]
    texts = [one.text for one in seldom[:20]]
    wide, narrow = (
        estimator.fit(records).predict(texts, POOL)[1][:, 1].mean() for records in (seldom, example_grades(POOL))
    )

    assert narrow < wide


@EACH
def test_another_seed_starts_elsewhere(make: Callable[..., Latent]) -> None:
    records = example_grades(POOL)
    one, other = (make(seed=seed, steps=5, encoder=HashingEncoder(dimensions=8)).fit(records) for seed in (0, 1))

    assert not np.allclose(one.predict(["a"], POOL)[0], other.predict(["a"], POOL)[0])


@EACH
def test_preferences_alone_are_refused(make: Callable[..., Latent]) -> None:
    with pytest.raises(ConfigurationError, match="at least one graded attempt"):
        make().fit(example_preferences(POOL)[:3])


@EACH
@pytest.mark.parametrize("option", [{"dimensions": 0}, {"alpha": 0.0}, {"alpha": float("nan")}, {"steps": 0}])
def test_an_option_out_of_range_is_refused(make: Callable[..., Latent], option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ConfigurationError, match=rf"{make.__name__}\.{name} must be at least"):
        make(**option)


RESPONSE = pytest.mark.parametrize("make", [MIRT, NIRT])


@RESPONSE
def test_a_query_is_warmed_up_by_the_mean_of_the_nearest_learnt_ones(make: Callable[..., Latent]) -> None:
    encoder = HashingEncoder(dimensions=16)
    options = {"dimensions": 3, "steps": 10, "encoder": encoder}
    records = example_grades(POOL)
    cold, warm = (make(warm_up=share, **options).fit(records) for share in (0.0, 0.4))
    learnt = encoder.encode(list(dict.fromkeys(one.text for one in records)))
    vector = encoder.encode(["boil the onion"])
    near = learnt[np.argsort(-(learnt @ vector[0]), kind="stable")[:16]].mean(axis=0)
    expected = cold._predict(cold.fitted_.state, (0.6 * vector + 0.4 * near).astype(np.float32))[0]

    assert warm._predict(warm.fitted_.state, vector)[0] == pytest.approx(expected, abs=1e-5)
    assert "learnt" not in cold.fitted_.state


@RESPONSE
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_warm_up_out_of_range_is_refused(make: Callable[..., Latent], share: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"{make.__name__}\.warm_up must be in"):
        make(warm_up=share)


@EACH
def test_a_newcomer_without_news_is_like_the_mean_of_the_others(make: Callable[..., Latent]) -> None:
    estimator = make(dimensions=3, steps=30, encoder=HashingEncoder(dimensions=16)).fit(example_grades(POOL))
    usual = estimator.fitted_.state["candidates"].mean(axis=0)
    like_the_mean = {**estimator.fitted_.state, "candidates": usual[None]}
    texts = list(example_texts(40))
    expected = 1 / (1 + np.exp(-estimator._scores(like_the_mean, estimator.encoder.encode(texts))[0][:, 0]))
    estimator.onboard(
        [Record(text=text, candidate="new", quality=float(grade)) for text, grade in zip(texts, expected, strict=True)]
    )

    assert estimator.fitted_.state["candidates"][-1] == pytest.approx(usual, abs=1e-3)


@EACH
def test_beyond_a_batch_steps_see_a_part_of_the_queries(make: Callable[..., Latent]) -> None:
    seen = []

    class Watched(make):
        _batch = 10

        def _loss(self, at, vectors, quality, graded):
            seen.append(len(vectors))
            return super()._loss(at, vectors, quality, graded)

    Watched(dimensions=2, steps=3, encoder=HashingEncoder(dimensions=8)).fit(example_grades(POOL))

    assert seen == [10, 10, 10]
