from __future__ import annotations

import math

import numpy as np
import pytest

from router_integrations.calibration import (
    DriftMonitor,
    GradedConfidences,
    frugal_cascade,
    guaranteed_threshold,
    tune_cascade,
)
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Agreement, CalibratedConfidence, SelfConsistency, TokenConfidence
from router_integrations.evaluation import auroc
from router_integrations.learning import Record, Table


def graded(rows: int = 60) -> list[Record]:
    """Answers of two candidates, each as often right as it is sure."""
    rng = np.random.default_rng(0)
    sure = rng.uniform((0.3, 0.7), 1.0, size=(rows, 2))
    right = rng.random((rows, 2)) < sure
    return [
        Record(
            text=f"query {row}",
            candidate=name,
            quality=float(right[row, at]),
            answer="4",
            logprobs=(math.log(sure[row, at]),),
            cost=0.001 * 10**at,
        )
        for at, name in enumerate(("small", "big"))
        for row in range(rows)
    ]


def test_rows_are_queries_and_columns_candidates_as_they_come() -> None:
    records = graded(3)
    found = GradedConfidences.of(records, TokenConfidence())

    assert found.texts == ("query 0", "query 1", "query 2") and found.names == ("small", "big")
    assert found.confidence[:, 1].tolist() == pytest.approx([math.exp(one.logprobs[0]) for one in records[3:]])
    assert found.quality[:, 0].tolist() == [one.quality for one in records[:3]]
    assert found.cost.tolist() == [[0.001, 0.01]] * 3


def test_columns_may_be_chosen_and_ordered() -> None:
    records = graded(3)
    both, one = (
        GradedConfidences.of(records, TokenConfidence(), names=names) for names in (("big", "small"), ("big",))
    )

    assert both.names == ("big", "small") and both.cost[0].tolist() == [0.01, 0.001]
    assert one.confidence.shape == (3, 1)


def test_samples_are_one_answer_with_the_grade_of_the_one_that_wins() -> None:
    records = [
        Record(text="2 + 2?", candidate="small", quality=grade, answer=answer, cost=0.1)
        for answer, grade in (("5", 0.0), ("4", 1.0), ("4", 1.0))
    ]
    found = GradedConfidences.of(records, SelfConsistency())

    assert found.confidence.tolist() == [[pytest.approx(2 / 3)]]
    assert found.quality.tolist() == [[1.0]]
    assert found.cost.tolist() == [[pytest.approx(0.3)]]


def test_an_estimator_across_candidates_sees_all_of_them() -> None:
    records = [
        Record(text="2 + 2?", candidate=name, quality=1.0, answer=answer)
        for name, answer in (("small", "4"), ("other", "4"), ("third", "5"))
    ]
    found = GradedConfidences.of(records, Agreement(), names=("small", "third"))

    assert found.confidence.tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3)]]


def test_what_is_missing_is_not_a_number_and_can_be_left_out() -> None:
    records = [
        *graded(2),
        Record(text="alone", candidate="small", quality=1.0, answer="4", logprobs=(-0.1,), cost=0.1),
        *(Record(text="unsure", candidate=name, quality=1.0, answer="4", cost=0.1) for name in ("small", "big")),
        *(Record(text="free", candidate=name, quality=1.0, logprobs=(-0.1,)) for name in ("small", "big")),
    ]
    found = GradedConfidences.of(records, TokenConfidence())

    assert np.isnan(found.confidence).tolist()[2:] == [[False, True], [True, True], [False, False]]
    assert np.isnan(found.cost).tolist()[2:] == [[False, True], [False, False], [True, True]]
    assert found.complete().texts == ("query 0", "query 1")
    assert found.complete().quality.shape == (2, 2)


def test_every_function_that_chooses_thresholds_takes_the_columns() -> None:
    records = graded()
    estimator = CalibratedConfidence(estimator=TokenConfidence()).fit(records[:30] + records[60:90])
    found = GradedConfidences.of(records[30:60] + records[90:], estimator)
    small = found.confidence[:, 0]

    thresholds = tune_cascade(found.names, found.confidence, found.cost.mean(axis=0), per_usd=20, per_abstention=1)
    assert thresholds.names == ("small", "big")
    assert 0 <= guaranteed_threshold(small, found.quality[:, 0], error=0.4).value < 1
    assert 0.5 < auroc(small, found.quality[:, 0]) <= 1
    assert DriftMonitor(reference={"small": small}, estimator=estimator).drifted == {}
    table = Table.of(records)
    ordered = GradedConfidences.of(records, TokenConfidence(), names=table.names)
    assert frugal_cascade(table, ordered.confidence, budget=0.005).order[0] == "small"


@pytest.mark.parametrize("records", [[], [Record(text="x", candidate="small", quality=1.0)]])
def test_without_answers_it_says_so(records: list[Record]) -> None:
    with pytest.raises(ConfigurationError, match="no graded answer of anybody"):
        GradedConfidences.of(records, TokenConfidence())


def test_a_candidate_without_answers_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no graded answer of \['huge'\], only of \['small', 'big'\]"):
        GradedConfidences.of(graded(2), TokenConfidence(), names=("small", "huge"))
