from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import DoublyRobust, Linear
from router_integrations.estimators.logged import corrected_grades
from router_integrations.learning import Record

POOL = [Candidate(name, model=object()) for name in ("big", "small")]
# A query is "long", "deep", both or neither. Small is the better one on each; no sum of two effects says so exactly.
KINDS = [(0, 0), (1, 0), (0, 1), (1, 1)]
QUALITY = {"small": {(0, 0): 0.9, (1, 0): 0.6, (0, 1): 0.6, (1, 1): 0.7}, "big": dict.fromkeys(KINDS, 0.5)}


class TwoTraits:
    """Encodes a text that starts with its two traits."""

    def encode(self, texts: Sequence[str]) -> Any:
        return np.array([[float(text[0]), float(text[1])] for text in texts], dtype=np.float32).reshape(-1, 2)


def chance_of_small(kind: tuple[int, int]) -> float:
    """The router that wrote the log kept small for what looks easy."""
    return float(1 / (1 + np.exp(3 * sum(kind) - 3)))


def log(seed: int, *, queries: int = 4000) -> list[Record]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(queries):
        kind = KINDS[rng.integers(4)]
        name = "small" if rng.random() < chance_of_small(kind) else "big"
        won = float(rng.random() < QUALITY[name][kind])
        found.append(Record(text=f"{kind[0]}{kind[1]} query {number}", candidate=name, quality=won))
    return found


def earned(learner: Any) -> float:
    """The mean quality of the candidates that look best."""
    quality, _ = learner.predict([f"{one}{two}" for one, two in KINDS], POOL)
    names = [POOL[place].name for place in quality.argmax(axis=1)]
    return float(np.mean([QUALITY[name][kind] for name, kind in zip(names, KINDS, strict=True)]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", ["quality", "policy"])
def test_it_earns_more_than_a_regression_on_a_log_that_kept_hard_queries_from_the_small_one(
    objective: Any, seed: int
) -> None:
    records = log(seed)
    robust = DoublyRobust(objective=objective, encoder=TwoTraits()).fit(records)

    assert earned(Linear(encoder=TwoTraits()).fit(records)) == pytest.approx(0.65)
    assert earned(robust) == pytest.approx(0.7)


def test_the_mean_quality_of_each_candidate_is_that_of_all_queries() -> None:
    quality, _ = DoublyRobust(encoder=TwoTraits()).fit(log(0, queries=8000)).predict(["00", "10", "01", "11"], POOL)

    assert quality.mean(axis=0).tolist() == pytest.approx([0.5, 0.7], abs=0.03)


def test_where_everybody_is_graded_it_is_linear_regression() -> None:
    rng = np.random.default_rng(0)
    records = [
        Record(text=f"{row % 2}{row // 2 % 2} {row}", candidate=name, quality=float(rng.random()))
        for row in range(40)
        for name in ("big", "small")
    ]
    ours, plain = (one(encoder=TwoTraits()).fit(records).predict(["01", "10"], POOL) for one in (DoublyRobust, Linear))

    assert np.allclose(ours[0], plain[0], atol=1e-6)
    assert np.allclose(ours[1], plain[1], atol=1e-6)


def test_a_grade_counts_for_as_many_queries_as_its_choice_was_rare() -> None:
    # No traits: both models are constants. On rows 0, 2 ... of eight, small is asked once in four and always right.
    vectors = np.zeros((8, 1))
    asked = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    graded = np.column_stack([1 - asked, asked]).astype(float)
    quality = np.column_stack([np.zeros(8), asked]).astype(float)
    quality[1, 1] = 0.5
    found = corrected_grades(vectors, quality, graded, alpha=1.0, least=0.01)
    capped = corrected_grades(vectors, quality, graded, alpha=1.0, least=0.5)

    # Row 0 learns from the odd rows, where small's only grade is 0.5 and its share somewhat above 1/4.
    share = 0.5 / (found[0, 1] - 0.5)
    assert 0.25 < share < 0.5
    assert found[2, 1] == pytest.approx(0.5)
    assert capped[0, 1] == pytest.approx(0.5 + 0.5 / 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "regret"}, "objective must be 'quality' or 'policy' but got 'regret'"),
        ({"least": 0}, "least must be in"),
        ({"least": 1.5}, "least must be in"),
        ({"alpha": 0}, "alpha must be at least"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DoublyRobust(**options)
