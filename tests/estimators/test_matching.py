from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Linear, Matching
from router_integrations.estimators.matching import _spread, match_shares
from router_integrations.learning import Record
from router_integrations.strategies import Best
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_preferences, example_texts
from router_integrations.types import Request, Utility

POOL = checks.example_candidates()
ENCODER = HashingEncoder(dimensions=12)
NEW = ["sum a fraction", "fly to an island", "bake bread", "完全不同"]


def graded(name: str, **grades: Sequence[float]) -> list[Record]:
    """One record a sample."""
    return [Record(text=text, candidate=name, quality=one) for text, samples in grades.items() for one in samples]


SAMPLES = [
    *graded("small", easy=[0.9, 0.5], even=[0.5, 0.5, 0.2], hard=[0.1], alone=[1.0]),
    *graded("large", easy=[0.6], even=[0.5, 0.6], hard=[0.8, 0.9]),
]


def as_linear(labels: dict[str, float], *, alpha: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """What logistic regression on the labels says of the new queries."""
    records = [Record(text=text, candidate="small", quality=label) for text, label in labels.items()]
    quality, std = Linear(link="logistic", alpha=alpha, encoder=ENCODER).fit(records).predict(NEW, POOL[:1])
    return quality[:, 0], std[:, 0]


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, {"easy": 1 / 2, "even": 2 / 6, "hard": 0.0}),
        ({"labels": "deterministic"}, {"easy": 1.0, "even": 0.0, "hard": 0.0}),
        ({"margin": 0.1}, {"easy": 1.0, "even": 4 / 6, "hard": 0.0}),
        ({"labels": "deterministic", "margin": 0.15}, {"easy": 1.0, "even": 1.0, "hard": 0.0}),
    ],
)
def test_quality_is_logistic_regression_on_the_share_of_pairs_that_match(options, labels) -> None:
    quality, _ = Matching(reference="large", encoder=ENCODER, **options).fit(SAMPLES).predict(NEW, POOL[::2])
    # The query that only one of them has answered teaches nothing.
    assert quality[:, 0] == pytest.approx(as_linear(labels)[0], abs=1e-4)


def test_the_reference_matches_itself_for_certain() -> None:
    quality, std = Matching(reference="large", encoder=ENCODER).fit(SAMPLES).predict(NEW, [POOL[2]])

    assert (quality == 1).all()
    assert (std == 0).all()


def test_the_margin_is_that_of_the_regression() -> None:
    # The spread of the queries counts all of them, so here all have a label.
    records = [one for one in SAMPLES if one.text != "alone"]
    _, std = Matching(reference="large", alpha=0.5, encoder=ENCODER).fit(records).predict(NEW, POOL[:1])

    assert std[:, 0] == pytest.approx(as_linear({"easy": 1 / 2, "even": 2 / 6, "hard": 0.0}, alpha=0.5)[1], rel=1e-3)


def test_samples_are_told_apart_by_the_id_of_the_query() -> None:
    apart = [replace(one, query_id=f"{one.text}!") for one in SAMPLES]
    one, other = (Matching(reference="large", encoder=ENCODER).fit(records) for records in (SAMPLES, apart))

    assert one.predict(NEW, POOL)[0] == pytest.approx(other.predict(NEW, POOL)[0])


def brute_spread(labels: Sequence[float]) -> float:
    return float(np.mean([abs(one - other) for one, other in product(labels, repeat=2)]))


def test_the_spread_of_labels_is_their_mean_absolute_difference() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 9):
        labels = rng.random(count)
        assert _spread(labels) == pytest.approx(brute_spread(labels), abs=1e-8)
    assert _spread(np.array([0.0, 0.0, 0.0, 1.0])) == pytest.approx(2 * 0.25 * 0.75)
    assert _spread(np.zeros(0)) == 0.0


def test_the_margin_chosen_tells_the_queries_apart_best() -> None:
    rng = np.random.default_rng(3)
    small, large = rng.random((30, 4)) * 0.5, 0.3 + rng.random((30, 5)) * 0.7
    texts = list(example_texts(30))
    records = [
        Record(text=text, candidate=name, quality=one)
        for name, grades in (("small", small), ("large", large))
        for text, row in zip(texts, grades, strict=True)
        for one in row
    ]
    gaps = (large[:, :, None] - small[:, None, :]).reshape(30, -1)
    spreads = {t / 100: brute_spread((gaps <= t / 100 + 1e-9).mean(axis=1)) for t in range(101)}
    best = max(spreads, key=lambda margin: spreads[margin])
    chosen, fixed, plain = (
        Matching(margin=margin, encoder=ENCODER).fit(records).predict(NEW, POOL[:1])[0] for margin in (None, best, 0.0)
    )

    assert 0.1 < best < 0.9
    assert chosen == pytest.approx(fixed)
    assert chosen != pytest.approx(plain, abs=0.05)


def test_of_margins_that_tell_as_much_the_smallest_is_chosen() -> None:
    records = [
        *graded("large", a=[0.8], b=[0.8]),
        *graded("small", a=[0.5], b=[0.1]),
    ]
    chosen, fixed = (
        Matching(reference="large", margin=margin, encoder=ENCODER).fit(records).predict(NEW, POOL[:1])[0]
        for margin in (None, 0.3)
    )

    assert chosen == pytest.approx(fixed)


def test_a_gap_of_exactly_the_margin_matches() -> None:
    assert match_shares(np.array([[0.3 - 0.2]]), margin=0.1).tolist() == [1.0]
    assert match_shares(np.array([[0.11]]), margin=0.1).tolist() == [0.0]


def test_the_default_reference_is_the_best_on_enough_records() -> None:
    lucky = Record(text="sum 1 2", candidate="asked-once", quality=1.0)
    estimator = Matching(encoder=ENCODER).fit([*example_grades(POOL), lucky])
    quality, _ = estimator.predict(NEW, [*POOL, Candidate("asked-once", model=object())])

    assert (quality[:, 2] == 1).all()
    assert (quality[:, :2] < 1).all() and (quality[:, 3] < 1).all()


def test_the_cheapest_that_matches_well_enough_is_asked_else_the_reference() -> None:
    strategy = Best(
        estimator=Matching(alpha=0.1, encoder=HashingEncoder(dimensions=64)).fit(example_grades(POOL)),
        utility=Utility(enough=0.8),
    )
    asked = example_texts(60, seed=2)
    chosen = [strategy.decide(Request(text=text, candidates=POOL)).candidate.name for text in asked]
    # Small is wrong and so is large on travel, where nobody can be worse than it.
    wanted = ["small" if subject == "travel" else "large" for subject in asked.values()]

    assert np.mean([one == other for one, other in zip(chosen, wanted, strict=True)]) >= 0.9


def test_a_candidate_without_queries_in_common_with_the_reference_is_a_coin() -> None:
    records = [*SAMPLES, *graded("medium", other=[1.0, 1.0])]
    quality, std = Matching(reference="large", encoder=ENCODER).fit(records).predict(NEW, [POOL[1]])

    assert quality == pytest.approx(0.5)
    assert (std > 0.3).all()


@pytest.mark.parametrize(
    "options", [{"labels": "soft"}, {"margin": -0.1}, {"margin": 1.1}, {"margin": float("nan")}, {"alpha": 0}]
)
def test_options_out_of_range_are_refused(options) -> None:
    with pytest.raises(ConfigurationError, match=f"Matching.{next(iter(options))}"):
        Matching(**options)


def test_a_reference_that_nobody_has_graded_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'huge'.*\['large', 'small'\]"):
        Matching(reference="huge").fit(SAMPLES)


def test_preferences_alone_teach_nothing() -> None:
    with pytest.raises(ConfigurationError, match="graded attempt"):
        Matching(encoder=ENCODER).fit(example_preferences(POOL))


def test_a_new_candidate_needs_the_references_grades_too() -> None:
    with pytest.raises(ConfigurationError, match="call fit with the records of old and new ones"):
        Matching(encoder=ENCODER).fit(SAMPLES).onboard(graded("medium", easy=[1.0]))
