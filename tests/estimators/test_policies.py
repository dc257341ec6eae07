from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Policies
from router_integrations.strategies import Best
from router_integrations.types import Request

CODER, COOK, CHAT = (
    Candidate(name, model=object(), input_price=1e-6, output_price=2e-6) for name in ("coder", "cook", "chat")
)
POOL = (CODER, COOK, CHAT)
WRITTEN = {"coder": "code", "cook": "food"}


class Axes:
    """Code lies along one axis, food along another; the rest along a third."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> Any:
        self.encoded += texts
        rows = np.array([["code" in text, "food" in text, False] for text in texts], dtype=np.float32)
        rows[:, 2] = ~rows.any(axis=1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def qualities(text: str, pool: Sequence[Candidate] = POOL, **options: Any) -> list[float]:
    estimator = Policies(policies=options.pop("policies", WRITTEN), encoder=Axes(), **options)
    return [one.quality for one in estimator.estimate(Request(text=text), pool)]


def test_the_candidate_of_the_nearest_policy_has_quality_1() -> None:
    assert qualities("some code", default="chat") == [1.0, 0.0, 0.0]
    assert qualities("some food", default="chat") == [0.0, 1.0, 0.0]


def test_a_query_that_no_policy_is_near_goes_to_the_default() -> None:
    assert qualities("the weather", default="chat") == [0.0, 0.0, 1.0]
    # At an angle of 45 degrees from both.
    assert qualities("code for food", default="chat", threshold=0.7)[2] == 0.0
    assert qualities("code for food", default="chat", threshold=0.71) == pytest.approx([0.354, 0.354, 1.0], abs=1e-3)


def test_when_the_nearest_cannot_be_asked_the_next_nearest_is() -> None:
    assert qualities("code for food", (COOK, CHAT), default="chat") == [1.0, 0.0]
    assert qualities("some code", (COOK, CHAT), default="chat") == [0.0, 1.0]


def test_a_policy_may_lead_to_a_candidate_of_another_name() -> None:
    policies = {"python": "code", "meals": "food", "drinks": "nothing"}
    routes = {"python": "coder", "meals": "chat", "drinks": "chat"}

    assert qualities("some food", policies=policies, routes=routes, default="cook") == [0.0, 0.0, 1.0]


def test_best_asks_whom_the_policies_name_though_others_are_cheaper() -> None:
    free = Candidate("chat", model=object(), input_price=0.0, output_price=0.0)
    strategy = Best(estimator=Policies(policies=WRITTEN, default="chat", encoder=Axes()))

    assert strategy.decide(Request(text="some code", candidates=(CODER, COOK, free))).candidate is CODER


def test_the_policies_are_encoded_once() -> None:
    axes = Axes()
    estimator = Policies(policies=WRITTEN, encoder=axes)
    for text in ("one", "two"):
        estimator.estimate(Request(text=text), POOL)

    assert axes.encoded == ["one", "coder: code", "cook: food", "two"]


def test_an_answer_is_priced_within_the_callers_limit() -> None:
    estimator = Policies(policies=WRITTEN, encoder=Axes())
    costs = [
        estimator.estimate(Request(text="hi", max_output_tokens=limit), POOL)[0].cost for limit in (None, 1000, 10)
    ]

    assert costs == pytest.approx([300 * 2e-6, 300 * 2e-6, 10 * 2e-6])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policies": {}}, "at least one policy"),
        ({"policies": {"a": " "}}, "'a' has not"),
        ({"policies": {"": "text"}}, "'' has not"),
        ({"policies": {"Code": "x", "code": "y"}}, "differ by more than case"),
        ({"policies": {"a": "x"}, "routes": {"b": "a"}}, "leads from 'b'"),
        ({"policies": {"a": "x"}, "threshold": 1.1}, "threshold must be in"),
    ],
)
def test_policies_that_nobody_can_follow_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Policies(**options)
