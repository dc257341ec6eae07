from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import GraphRouter
from router_integrations.estimators.graph import _loss, _nodes, _prices, _scale
from router_integrations.learning import Record, Table
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_texts
from tests.estimators.gradients import check_gradient

POOL = checks.example_candidates()
ENCODER = HashingEncoder(dimensions=32)


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    graded = (rng.random((7, 3)) < 0.7).astype(float)
    given = (rng.normal(size=(7, 4)), rng.random((7, 3)) * graded, graded)
    nodes = (rng.normal(size=(3, 4)), rng.normal(size=(3, 3)))
    shapes = {"map": (4, 2), "own": (3, 2), "product": (2,), "distance": (2,), "price": (1,), "usual": (1,)}

    check_gradient(lambda at: _loss(at, nodes, given, 0.1), {name: rng.normal(size=it) for name, it in shapes.items()})


def test_a_node_gathers_its_queries_by_their_grades() -> None:
    vectors, quality = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.5, 0.0]])
    around, described = _nodes(quality.T @ vectors, quality.sum(axis=0), np.array([2.0, 0.0]), np.array([0.3, 0.0]))

    assert around.tolist() == [[0.5, 0.25], [0.0, 0.0]]
    assert described.tolist() == [[0.75, 1.0, 0.3], [0.5, 1.0, 0.0]]


def test_prices_are_logarithms_on_one_scale() -> None:
    costs = {"a": 0.01, "b": 0.0001, "c": None, "d": 0.0}
    table = Table.of([Record(text="t", candidate=name, quality=1.0, cost=cost) for name, cost in costs.items()])

    assert _prices(table, _scale(table)) == pytest.approx([1, -1, 0, 0], abs=1e-6)


def test_a_newcomer_that_does_as_another_is_worth_as_much() -> None:
    records = example_grades(POOL)
    estimator = GraphRouter(dimensions=8, steps=50, encoder=ENCODER).fit(records)
    twin = [replace(one, candidate="twin") for one in records if one.candidate == "large"]
    quality, std = estimator.onboard(twin).predict(list(example_texts(9)), [POOL[2], Candidate("twin", model=object())])

    assert quality[:, 0] == pytest.approx(quality[:, 1], abs=1e-5)
    assert std[:, 0] == pytest.approx(std[:, 1], abs=1e-5)


def test_long_batches_are_predicted_as_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = GraphRouter(dimensions=8, steps=5, encoder=ENCODER).fit(example_grades(POOL))
    texts = list(example_texts(30))
    whole = estimator.predict(texts, POOL)[0]
    monkeypatch.setattr("router_integrations.estimators.graph._CELLS", 100)

    assert estimator.predict(texts, POOL)[0] == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("option", [{"dimensions": 0}, {"alpha": 0.0}, {"steps": 0}])
def test_an_option_out_of_range_is_refused(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ConfigurationError, match=rf"GraphRouter\.{name} must be at least"):
        GraphRouter(**option)
