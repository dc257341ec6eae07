from __future__ import annotations

import json

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Usage

SECRET = "sk-secret"
SMALL = Candidate("small", model=object(), params={"api_key": SECRET}, input_price=1.0, output_price=1.0)
CALL = Call(candidate=SMALL, final=True, reason="cheapest")
USAGE = Usage(input_tokens=10, output_tokens=5)
DOWN = ProviderError("down", family="server", status_code=500)


def _attempt(**fields: object) -> Attempt:
    return Attempt(**{"call": CALL, "usage": USAGE, "cost": 0.1, **fields})


def test_cost_counts_the_thrown_away_attempts_too() -> None:
    answer = _attempt(cost=0.2)
    trace = Trace(attempts=(_attempt(), _attempt(error=DOWN, cost=None, usage=None), answer), answer=answer)

    assert trace.cost == pytest.approx(0.3)


def test_cost_is_unknown_when_a_reply_has_no_price() -> None:
    assert Trace(attempts=(_attempt(), _attempt(cost=None))).cost is None


def test_cost_is_unknown_when_a_broken_stream_used_tokens_without_a_price() -> None:
    assert Trace(attempts=(_attempt(cost=None, error=DOWN),)).cost is None


def test_a_failure_without_usage_costs_nothing() -> None:
    assert Trace(attempts=(_attempt(cost=None, usage=None, error=DOWN),)).cost == 0.0


def test_as_dict_is_json_without_secrets_prompts_or_replies() -> None:
    answer = _attempt(text="the reply", model="small-2026", native=object(), first_token=0.1, latency=0.25)
    trace = Trace(
        attempts=(_attempt(error=DOWN, cost=None, usage=None), answer),
        answer=answer,
        reason="cheapest",
        confidence=0.87654,
        alternatives=("small", "large"),
        rejected={"blind": "no vision"},
        estimates={"small": Estimate(quality=0.812345, cost=0.1)},
        input_tokens=10,
        decide_seconds=0.0001234,
    )
    shown = json.dumps(trace.as_dict())

    assert json.loads(shown) == {
        "candidate": "small",
        "model": "small-2026",
        "reason": "cheapest",
        "confidence": 0.8765,
        "estimates": {"small": {"quality": 0.8123, "std": 0.0, "cost": 0.1, "latency": None}},
        "alternatives": ["small", "large"],
        "rejected": {"blind": "no vision"},
        "attempts": [
            {
                "candidate": "small",
                "model": None,
                "purpose": "answer",
                "revised": False,
                "finish_reason": None,
                "input_tokens": None,
                "output_tokens": None,
                "usage_estimated": None,
                "cost": None,
                "latency": 0.0,
                "first_token": None,
                "error": {"family": "server", "status_code": 500, "message": "down"},
            },
            {
                "candidate": "small",
                "model": "small-2026",
                "purpose": "answer",
                "revised": False,
                "finish_reason": None,
                "input_tokens": 10,
                "output_tokens": 5,
                "usage_estimated": False,
                "cost": 0.1,
                "latency": 0.25,
                "first_token": 0.1,
                "error": None,
            },
        ],
        "cost": 0.1,
        "input_tokens": 10,
        "input_tokens_estimated": True,
        "decide_us": 123,
    }
    assert SECRET not in shown
    assert "the reply" not in shown


def test_the_candidate_of_a_plan_is_the_one_to_be_asked_first() -> None:
    assert Trace(first="small").candidate == "small"
    assert Trace(first="small", answer=_attempt()).as_dict()["candidate"] == "small"
    assert Trace().candidate is None
