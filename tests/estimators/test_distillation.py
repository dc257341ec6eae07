from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Zooter
from router_integrations.estimators.distillation import shares, softmax_loss, softmax_regression
from router_integrations.learning import Record

POOL = [Candidate(name, model=object()) for name in "abc"]


class Nothing:
    """Encodes every text as nothing, so that only intercepts are learnt."""

    def encode(self, texts: Sequence[str]) -> Any:
        return np.zeros((len(texts), 1), dtype=np.float32)


def graded(*rows: Sequence[float | None], domains: Sequence[str | None] = (), times: int = 1) -> list[Record]:
    return [
        Record(text=f"q{row}", query_id=f"{row} {turn}", candidate=one.name, quality=grade, domain=domain)
        for turn in range(times)
        for row, (grades, domain) in enumerate(zip(rows, domains or [None] * len(rows), strict=True))
        for one, grade in zip(POOL, grades, strict=True)
        if grade is not None
    ]


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    among = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 0, 0.0]])
    given = (rng.normal(size=(4, 2)), shares(rng.normal(size=(4, 3)), among), among, 0.3)

    assert (
        check_grad(lambda x: softmax_loss(x, *given)[0], lambda x: softmax_loss(x, *given)[1], rng.normal(size=9))
        < 1e-5
    )


def test_the_regression_finds_the_shares_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    vectors, weights = rng.normal(size=(3000, 2)), np.array([[1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])
    everybody = np.ones((3000, 3))
    found, intercept = softmax_regression(vectors, shares(vectors @ weights, everybody), everybody, alpha=1e-3)

    assert np.allclose(found - found.mean(axis=1, keepdims=True), weights, atol=0.01)
    assert np.allclose(intercept, 0, atol=0.01)


def test_grades_that_are_the_same_everywhere_come_back_on_their_own_scale() -> None:
    quality, _ = (
        Zooter(temperature=0.3, encoder=Nothing()).fit(graded((0.8, 0.5, 0.2), times=1000)).predict(["x"], POOL)
    )

    assert quality[0].tolist() == pytest.approx([0.8, 0.5, 0.2], abs=0.01)


def test_missing_grades_are_left_out_of_the_shares() -> None:
    # Never graded together, a and c are compared over b: 0.3 above it, and 0.3 below.
    records = graded((0.8, 0.5, None), (None, 0.5, 0.2), times=400)
    quality, _ = Zooter(temperature=0.3, encoder=Nothing()).fit(records).predict(["x"], POOL)

    assert np.diff(quality[0]).tolist() == pytest.approx([-0.3, -0.3], abs=0.01)


def test_a_query_with_one_grade_says_nothing_of_preference() -> None:
    records = graded((0.8, 0.5, 0.2), times=50)
    lone = [Record(text=f"lone {row}", candidate="c", quality=1.0) for row in range(50)]
    with_lone, without = (
        Zooter(temperature=0.3, encoder=Nothing()).fit(one).predict(["x"], POOL)[0][0]
        for one in ([*records, *lone], records)
    )

    assert np.diff(with_lone).tolist() == pytest.approx(np.diff(without).tolist(), abs=1e-6)


@pytest.mark.parametrize(("own", "difference"), [(1.0, 1.0), (0.5, 0.75), (0.0, 0.5)])
def test_the_domain_evens_out_the_grades_of_its_queries(own: float, difference: float) -> None:
    # In the domain, a is better by 1 on one query and equal on the other; only the first is the query encoded as 1.
    class First:
        def encode(self, texts: Sequence[str]) -> Any:
            return np.array([[float(text == "q0"), float(text == "q1")] for text in texts], dtype=np.float32)

    records = graded((1.0, 0.0, None), (0.5, 0.5, None), domains=("d", "d"), times=300)
    quality, _ = Zooter(temperature=1.0, own=own, alpha=1e-3, encoder=First()).fit(records).predict(["q0"], POOL[:2])

    assert quality[0, 0] - quality[0, 1] == pytest.approx(difference, abs=0.02)


def test_queries_without_a_domain_are_left_as_they_are() -> None:
    records = graded((1.0, 0.0, None), (0.5, 0.5, None), times=300)
    all_own, half = (Zooter(own=own, encoder=Nothing()).fit(records).predict(["x"], POOL)[0] for own in (1.0, 0.5))

    assert np.array_equal(all_own, half)


def test_margins_shrink_with_more_grades() -> None:
    few, many = (
        Zooter(encoder=Nothing()).fit(graded((0.8, 0.5, 0.2), times=n)).predict(["x"], POOL)[1] for n in (5, 80)
    )

    assert (many[0] < few[0] / 2).all()


@pytest.mark.parametrize("options", [{"temperature": 0}, {"own": -0.1}, {"own": 1.1}, {"alpha": 0}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"Zooter.{next(iter(options))} must be"):
        Zooter(**options)
