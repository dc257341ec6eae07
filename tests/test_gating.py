from __future__ import annotations

import math
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import TokenConfidence
from router_integrations.gating import Gate
from router_integrations.types import Attempt, Call, Request

SURE, UNSURE = math.log(0.9), math.log(0.3)


@pytest.mark.parametrize(
    ("logprobs", "opens"),
    [
        ([], None),
        ([SURE], None),
        ([SURE, SURE], True),
        ([UNSURE, UNSURE], False),
        ([SURE, SURE, *[UNSURE] * 50], True),
        ([UNSURE, UNSURE, *[SURE] * 50], False),
        ([-math.inf, SURE], False),
        ([math.nan, math.nan], None),
    ],
)
def test_the_first_tokens_decide(logprobs: list[float], opens: bool | None) -> None:
    assert Gate(window=2, above=0.7).opens(logprobs) is opens


def test_a_confidence_at_the_threshold_does_not_pass() -> None:
    assert Gate(window=1, above=1.0).opens([0.0]) is False


def test_the_confidence_is_that_of_token_confidence() -> None:
    candidate = Candidate("small", model=object())
    logprobs = (-0.1, -0.7, -0.3)
    reply = Attempt(call=Call(candidate=candidate), text="yes", logprobs=logprobs)

    confidence = TokenConfidence().confidence(Request(text="hi"), candidate, [reply])
    assert Gate(window=3).confidence(logprobs) == confidence


@pytest.mark.parametrize("options", [{"window": 0}, {"above": -0.1}, {"above": 1.1}, {"above": math.nan}])
def test_options_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Gate"):
        Gate(**options)
