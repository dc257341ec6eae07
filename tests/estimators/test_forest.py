from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Forest, forest
from router_integrations.learning import Record
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_preferences, example_texts

POOL = checks.example_candidates()
ENCODER = HashingEncoder(dimensions=12)
RECORDS = example_grades(POOL)
NEW = [*example_texts(40, seed=5), "完全不同", ""]


def grown(records: list[Record], **options: Any) -> Forest:
    return Forest(**{"trees": 7, "seed": 3, "encoder": ENCODER, **options}).fit(records)


def scikit(vectors: np.ndarray, grades: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of scikit-learn's trees on the new queries."""
    model = RandomForestRegressor(7, random_state=3, max_features="sqrt", **options).fit(vectors, grades)
    said = np.array([tree.predict(ENCODER.encode(NEW)) for tree in model.estimators_])
    return said.mean(axis=0), said.std(axis=0)


def graded(name: str) -> tuple[np.ndarray, np.ndarray]:
    mine = [one for one in RECORDS if one.candidate == name]
    return ENCODER.encode([one.text for one in mine]), np.array([one.quality for one in mine])


def complete() -> tuple[list[Record], np.ndarray, np.ndarray]:
    texts, rng = list(example_texts(50)), np.random.default_rng(0)
    grades = rng.random((50, 3))
    records = [
        Record(text=text, candidate=candidate.name, quality=one)
        for text, row in zip(texts, grades, strict=True)
        for candidate, one in zip(POOL, row, strict=True)
    ]
    return records, ENCODER.encode(texts), grades


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, {"max_depth": 20}),
        ({"depth": 1}, {"max_depth": 1}),
        ({"depth": 4, "leaf": 3}, {"max_depth": 4, "min_samples_leaf": 3}),
    ],
)
def test_candidates_with_grades_on_the_same_queries_share_a_forest(options: Any, theirs: Any) -> None:
    records, vectors, grades = complete()
    quality, std = grown(records, **options).predict(NEW, POOL)
    # The columns of what is learnt stand in the order of the names, and a forest depends on that order.
    order = np.argsort([candidate.name for candidate in POOL])
    mean, spread = scikit(vectors, grades[:, order], **theirs)

    assert quality[:, order] == pytest.approx(mean, abs=1e-6)
    assert std[:, order] == pytest.approx(np.sqrt(spread**2 + 0.25 / 51), abs=1e-5)


def test_candidates_with_grades_on_other_queries_have_their_own() -> None:
    quality, std = grown(RECORDS).predict(NEW, POOL)

    for column, candidate in enumerate(POOL):
        vectors, grades = graded(candidate.name)
        mean, spread = scikit(vectors, grades, max_depth=20)
        assert quality[:, column] == pytest.approx(mean, abs=1e-6)
        assert std[:, column] == pytest.approx(np.sqrt(spread**2 + 0.25 / (len(grades) + 1)), abs=1e-5)


class Third:
    """Encodes numbers as such, in single precision, so that a split may fall between two that touch."""

    def encode(self, texts: Any) -> np.ndarray:
        return np.array([[float(text)] for text in texts], dtype=np.float32).reshape(-1, 1)


def test_a_number_beside_a_split_falls_on_the_side_that_scikit_learn_says() -> None:
    rng = np.random.default_rng(0)
    # Neighbours in single precision: their middle lies between them only in double.
    numbers = [np.float32(1) + np.float32(2**-23) * step for step in range(40)]
    records = [Record(text=repr(float(x)), candidate="small", quality=rng.random()) for x in numbers]
    texts = [one.text for one in records]
    quality, _ = Forest(trees=5, encoder=Third()).fit(records).predict(texts, POOL[:1])
    model = RandomForestRegressor(5, max_depth=20, max_features="sqrt", random_state=0)
    expected = model.fit(Third().encode(texts), [one.quality for one in records]).predict(Third().encode(texts))

    assert len(set(quality[:, 0])) > 10
    assert quality[:, 0] == pytest.approx(expected, abs=1e-6)


def test_onboarding_grows_the_forest_that_fitting_would() -> None:
    old, new = ([one for one in RECORDS if (one.candidate == "large") == late] for late in (False, True))
    together, later = grown(RECORDS), grown(old).onboard(new)
    # Twice, so that what is added stands behind what was added before.
    newest = [Record(text=one.text, candidate="newest", quality=1 - one.quality) for one in new if one.quality]
    later.onboard(newest)

    for got, expected in zip(later.predict(NEW, POOL), together.predict(NEW, POOL), strict=True):
        assert got == pytest.approx(expected, abs=1e-6)
    assert later.predict(NEW, [Candidate("newest", model=object())])[0] == pytest.approx(0.0)


def test_few_grades_widen_the_margin_even_when_all_trees_agree() -> None:
    right = [Record(text=text, candidate="small", quality=1.0) for text in example_texts(24)]
    stds = [grown(right[:count]).predict([""], POOL[:1])[1][0, 0] for count in (1, 24)]

    assert stds == pytest.approx([np.sqrt(0.25 / 2), np.sqrt(0.25 / 25)])


def test_a_long_batch_is_predicted_as_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = grown(RECORDS)
    whole = estimator.predict(NEW, POOL)
    monkeypatch.setattr(forest, "_BLOCK", 2 * 7 * 3)

    assert np.array_equal(whole, estimator.predict(NEW, POOL))


def test_the_state_is_numbers_and_keeps_only_the_values_of_leaves() -> None:
    state = grown(RECORDS).fitted_.state
    leaves = (state["children"][:, 0] == np.arange(len(state["children"]))).sum()

    assert {array.dtype.kind for array in state.values()} == {"i", "f"}
    # Each of the three has a forest of its own.
    assert len(state["values"]) == leaves


@pytest.mark.parametrize("option", ["trees", "depth", "leaf"])
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Forest.{option} must be at least 1"):
        Forest(**{option: 0})


def test_preferences_alone_teach_nothing() -> None:
    with pytest.raises(ConfigurationError, match="graded attempt"):
        grown(example_preferences(POOL))
