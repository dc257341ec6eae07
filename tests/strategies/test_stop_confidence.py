"""What each strategy that looks at answers says of the one it ends with; those that do not look say nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from router_integrations import engine
from router_integrations.candidates import Candidate
from router_integrations.estimators import TokenConfidence
from router_integrations.gating import Gate
from router_integrations.steps import Run
from router_integrations.strategies import (
    AgreementCascade,
    Best,
    BestOfN,
    Cascade,
    CascadeRouting,
    Fixed,
    Hedged,
    JudgedCascade,
)
from router_integrations.testing import checks
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.types import Request, Utility

POOL = tuple(Candidate(name, model=object(), strength=0.5, input_price=0.0, output_price=0.0) for name in ("a", "b"))
SURE = Outcome(text="yes", logprobs=(math.log(0.9),) * 3)
CASCADE = Cascade(estimator=TokenConfidence(), order="given", accept=0.7)


def answers(*texts: str) -> list[Outcome]:
    return [Outcome(text=text, logprobs=(math.log(0.9),)) for text in texts]


LOOKS = [
    (CASCADE, {"a": SURE}, 0.9),
    (Hedged(strategy=CASCADE, after=9.0), {"a": SURE}, 0.9),
    (Cascade(estimator=TokenConfidence(), order="given", gate=Gate(window=2, above=0.8)), {"a": SURE}, 0.9),
    (CascadeRouting(estimator=TokenConfidence(), utility=Utility(enough=0.5)), {"a": SURE, "b": SURE}, 0.9),
    (JudgedCascade(order="given", votes=4), {"a": answers("yes", "True", "True", "True", "False")}, 0.75),
    (AgreementCascade(levels=[{"a": 3}, {"b": 1}], accept=0.6), {"a": answers("4", "5", "4")}, 2 / 3),
    (BestOfN(n=4), {"a": answers("4", "5", "4", "6")}, 0.5),
]
DOES_NOT_LOOK = [Best(), Fixed(), BestOfN(n=1), BestOfN(n=2, reward=lambda *_: 3.0)]


@pytest.mark.parametrize("drive", checks.DRIVERS)
@pytest.mark.parametrize(("strategy", "outcomes", "expected"), LOOKS, ids=lambda value: type(value).__name__)
def test_an_answer_that_was_looked_at_has_a_confidence(
    drive: Any, strategy: Any, outcomes: Any, expected: float
) -> None:
    trace = drive(Run(strategy=strategy, request=Request(text="2 + 2?", candidates=POOL)), TableHost(outcomes))

    assert trace.confidence == pytest.approx(expected)
    assert trace.as_dict()["confidence"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("strategy", DOES_NOT_LOOK, ids=lambda value: type(value).__name__)
def test_one_that_nobody_looked_at_has_none(strategy: Any) -> None:
    outcomes = {"a": SURE, "b": SURE}
    trace = engine.run(Run(strategy=strategy, request=Request(text="hi", candidates=POOL)), TableHost(outcomes))

    assert trace.confidence is None
