from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.estimators import KMeansQuality, Neighbors
from router_integrations.estimators.lengths import expected_lengths, learn_lengths
from router_integrations.evaluation.bulk import forecast
from router_integrations.learning import Record, Table
from router_integrations.types import Request

WORDY, TERSE, UNPRICED = (
    Candidate("wordy", model=object(), input_price=1e-6, output_price=1e-5),
    Candidate("terse", model=object(), input_price=1e-6, output_price=1e-5),
    Candidate("unpriced", model=object()),
)
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(80, 5)).astype(np.float32)
TOKENS = 300 + VECTORS @ [40.0, -30.0, 0.0, 10.0, 0.0] + RNG.normal(size=80)


def table(tokens: Any, *, name: str = "wordy") -> Table:
    """One row a query; NaN is an answer of unknown length."""
    rows = [
        Record(text=str(row), candidate=name, quality=1.0, output_tokens=None if np.isnan(one) else one)
        for row, one in enumerate(tokens)
    ]
    return Table.of(rows)


def learnt(tokens: Any, vectors: np.ndarray = VECTORS) -> np.ndarray:
    return learn_lengths(table(tokens), ["wordy"], vectors[: len(tokens)])


@pytest.mark.parametrize("count", [50, 80])
def test_length_is_a_ridge_regression_on_the_query(count: int) -> None:
    model = Ridge(alpha=10.0).fit(VECTORS[:count], TOKENS[:count])
    inside = np.clip(model.predict(VECTORS), TOKENS[:count].min(), TOKENS[:count].max())

    assert expected_lengths(learnt(TOKENS[:count]), VECTORS)[:, 0] == pytest.approx(inside, rel=1e-4)


def test_answers_of_unknown_length_are_left_out() -> None:
    known = np.random.default_rng(2).random(80) < 0.8
    gaps = learnt(np.where(known, TOKENS, np.nan))
    without = learn_lengths(table(TOKENS[known]), ["wordy"], VECTORS[known])

    assert 50 <= known.sum() < 80
    assert gaps == pytest.approx(without, rel=1e-4)


def test_length_stays_within_what_was_seen() -> None:
    lengths = expected_lengths(learnt(TOKENS), 1000 * VECTORS)[:, 0]

    assert set(lengths) == {np.float32(TOKENS.min()), np.float32(TOKENS.max())}


def test_few_answers_have_their_mean_length_whatever_is_asked() -> None:
    lengths = expected_lengths(learnt(TOKENS[:49]), VECTORS)

    assert lengths == pytest.approx(TOKENS[:49].mean(), rel=1e-5)


def test_answers_of_one_length_have_that_length() -> None:
    lengths = expected_lengths(learnt(np.full(80, 7.0)), VECTORS)

    assert (lengths == 7.0).all()


def test_nothing_known_is_nan_and_leaves_the_others_alone() -> None:
    both = Table.of(
        Record(text=str(row), candidate=name, quality=1.0, output_tokens=tokens)
        for row in range(80)
        for name, tokens in (("wordy", TOKENS[row]), ("terse", None))
    )
    lengths = expected_lengths(learn_lengths(both, ["terse", "nobody", "wordy"], VECTORS), VECTORS)

    assert np.isnan(lengths[:, :2]).all()
    assert lengths[:, 2] == pytest.approx(expected_lengths(learnt(TOKENS), VECTORS)[:, 0])


def test_no_queries_have_no_lengths() -> None:
    assert expected_lengths(learnt(TOKENS), VECTORS[:0]).shape == (0, 1)


def records() -> list[Record]:
    """Essays are long for one candidate and not for the other."""
    topics = np.random.default_rng(1).permutation(200)
    return [
        Record(text=f"{kind} number {topic}", candidate=name, quality=1.0, output_tokens=tokens)
        for topic in topics
        for kind in ("essay", "sum")
        for name, tokens in (("wordy", 900 if kind == "essay" else 100), ("terse", 100))
    ]


def fitted(given: list[Record] | None = None) -> Neighbors:
    return Neighbors(encoder=HashingEncoder(dimensions=64)).fit(records() if given is None else given)


def cost(estimator: Neighbors, text: str, candidate: Candidate, **options: Any) -> float:
    (estimate,) = estimator.estimate(Request(text=text, **options), [candidate])
    assert estimate.cost is not None
    return estimate.cost


def test_the_expected_cost_follows_the_query() -> None:
    estimator = fitted()

    assert cost(estimator, "essay number 7", WORDY) > 0.007
    assert cost(estimator, "sum number 7", WORDY) < 0.003
    assert cost(estimator, "essay number 7", TERSE) == pytest.approx(0.001)


def test_the_expected_cost_is_that_of_prompt_and_expected_answer() -> None:
    estimator = fitted()
    _, _, tokens = estimator.predict_with_tokens(["essay number 7"], [WORDY])

    got = cost(estimator, "essay number 7", WORDY, input_tokens=500)
    assert got == pytest.approx(500 * 1e-6 + np.ceil(tokens[0, 0]) * 1e-5)


def test_the_callers_limit_bounds_the_expected_answer() -> None:
    assert cost(fitted(), "essay number 7", WORDY, max_output_tokens=50) == pytest.approx(50 * 1e-5)


def test_where_no_record_tells_the_usual_length_is_expected() -> None:
    silent = [replace(one, output_tokens=None) for one in records()]

    assert cost(fitted(silent), "essay number 7", WORDY) == pytest.approx(300 * 1e-5)
    assert cost(fitted(), "essay", Candidate("new", model=object(), input_price=0, output_price=1e-5)) == pytest.approx(
        300 * 1e-5
    )


def test_an_unknown_price_is_an_unknown_cost() -> None:
    (estimate,) = fitted().estimate(Request(text="essay number 7"), [UNPRICED])

    assert estimate.cost is None


def test_the_means_of_an_older_folder_are_enough() -> None:
    estimator = fitted()
    estimator.fitted_ = replace(estimator.fitted_, lengths=None)

    assert cost(estimator, "essay number 7", WORDY) == pytest.approx(500 * 1e-5)


def test_in_bulk_is_as_singly() -> None:
    estimator, pool = (
        fitted(),
        [WORDY, TERSE, UNPRICED, Candidate("new", model=object(), input_price=0, output_price=1)],
    )
    requests = [
        Request(text=f"{kind} number {topic}", candidates=tuple(pool), input_tokens=topic)
        for kind in ("essay", "sum")
        for topic in range(5)
    ]
    singly = [[one.cost for one in estimator.estimate(request, pool)] for request in requests]

    assert forecast(estimator, requests, pool).cost == pytest.approx(np.array(singly, dtype=float), nan_ok=True)


def test_the_length_of_a_candidate_onboarded_is_learnt_too() -> None:
    new = [replace(one, candidate="new") for one in records() if one.candidate == "wordy"]
    old = [one for one in records() if one.candidate == "terse"]
    estimator = KMeansQuality(clusters=2, encoder=HashingEncoder(dimensions=64)).fit(old).onboard(new)
    candidate = Candidate("new", model=object(), input_price=0, output_price=1e-5)
    _, _, tokens = estimator.predict_with_tokens(["essay number 7", "sum number 7"], [candidate])

    assert tokens[0, 0] > 700 > 300 > tokens[1, 0]
