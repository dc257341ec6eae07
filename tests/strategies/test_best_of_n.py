from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import ConfigurationError, LimitExceeded, ProviderError
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.strategies import BestOfN
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Request, Snapshot, Usage

SMALL, MEDIUM, BIG = POOL = tuple(
    Candidate(name, model=object(), input_price=price, output_price=price)
    for name, price in (("small", 1e-7), ("medium", 1e-6), ("big", 1e-5))
)
DOWN = Outcome(error=ProviderError("down", family="not_found"))
USAGE = Usage(input_tokens=100, output_tokens=10)


def number(text: str) -> str:
    found = re.findall(r"\d+", text)
    return found[-1] if found else ""


class Ranks:
    """Expects most of the medium one, then of the big one."""

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        return [Estimate(quality={"medium": 0.9, "big": 0.8}.get(one.name, 0.1)) for one in candidates]


def outcomes(said: Any) -> Any:
    if isinstance(said, str):
        return [Outcome(text=text, usage=USAGE) for text in said.split("|")]
    return said


def traced(strategy: BestOfN, *, request: Request | None = None, budget: float | None = None, **said: Any) -> Trace:
    """The run in which each candidate replies as told: its texts apart by bars, or its outcomes."""
    host = TableHost({name: outcomes(one) for name, one in said.items()})
    asked = request or Request(text="What is 2 + 2?", candidates=tuple(one for one in POOL if one.name in said))
    return run(Run(strategy=strategy, request=asked, limits=Limits(budget=budget)), host)


def names(trace: Trace) -> list[str]:
    return [attempt.call.candidate.name for attempt in trace.attempts]


def answer(trace: Trace) -> str:
    assert trace.answer is not None
    return trace.answer.text


class TestBestOfN(StrategyContract):
    @pytest.fixture(
        params=[
            BestOfN(),
            BestOfN(n=1),
            BestOfN(n=2, order=("large", "absent")),
            BestOfN(n=2, order=Ranks(), top=2),
            BestOfN(n=3, read=number),
            BestOfN(n=3, reward=lambda request, attempt: len(attempt.text)),
        ],
        ids=["default", "one", "named", "ranked", "read", "reward"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> BestOfN:
        strategy: BestOfN = request.param
        return strategy


def test_the_most_common_answer_wins_and_all_are_paid() -> None:
    trace = traced(BestOfN(n=4), small="5|Four.|four|3", big="6")

    assert answer(trace) == "Four."
    assert names(trace) == ["small"] * 4
    assert trace.cost == pytest.approx(4 * 110 * 1e-7)
    assert trace.reason == "2 of 4 answers say so"


def test_all_are_asked_at_once() -> None:
    calls = BestOfN(n=3).decide(Request(text="hi", candidates=POOL))

    assert isinstance(calls, list)
    assert [(call.candidate, call.final) for call in calls] == [(SMALL, False)] * 3


def test_of_equals_the_earliest_wins() -> None:
    assert answer(traced(BestOfN(n=4), small="b|a|a|b")) == "b"


def test_read_takes_the_answer_out_of_the_text() -> None:
    trace = traced(BestOfN(n=4, read=number), small="It is 5|I do not know|4 or 5|I do not know")

    assert answer(trace) == "It is 5"
    assert trace.reason == "2 of 4 answers say so"


def test_when_nobody_says_anything_the_first_answer_is_returned() -> None:
    trace = traced(BestOfN(n=2, read=number), small="dunno|no idea")

    assert answer(trace) == "dunno"


def test_tool_calls_are_votes() -> None:
    sunny, rainy = ({"name": "weather", "args": {"city": city}, "id": city} for city in ("Oslo", "Rome"))
    row = [Outcome(tool_calls=(one,)) for one in (sunny, rainy, rainy)]
    trace = traced(BestOfN(n=3), small=row)

    assert trace.answer is not None and trace.answer.tool_calls == (rainy,)


def test_the_highest_reward_wins_of_equals_the_earliest() -> None:
    rewards = {"a": 0.5, "b": math.nan, "c": 2.0}
    trace = traced(BestOfN(n=4, reward=lambda request, one: rewards[one.text[0]]), small="a|b|c1|c2")

    assert answer(trace) == "c1"
    assert trace.reason == "highest reward of 4, 2"


def test_the_reward_sees_the_request() -> None:
    trace = traced(BestOfN(n=2, reward=lambda request, one: float(one.text in request.text)), small="7|2 + 2")

    assert answer(trace) == "2 + 2"


def test_a_failed_sample_has_no_vote() -> None:
    trace = traced(BestOfN(n=4), small=[Outcome(text="5"), DOWN, Outcome(text="4"), Outcome(text="4")], big="6")

    assert answer(trace) == "4"
    assert trace.reason == "2 of 3 answers say so"


def test_when_all_fail_the_next_candidate_is_asked_as_often() -> None:
    trace = traced(BestOfN(n=2, order=("small", "big")), small=DOWN, medium="4", big="6|6")

    assert names(trace) == ["small", "small", "big", "big"]


def test_who_is_not_in_the_order_is_asked_only_when_all_others_fail() -> None:
    assert names(traced(BestOfN(n=1, order=("big",)), small="4", big=DOWN)) == ["big", "small"]


def test_the_best_two_of_an_estimator_vote_together() -> None:
    trace = traced(BestOfN(n=2, order=Ranks(), top=2), small="1|1", medium="5|4", big="4|6")

    assert names(trace) == ["medium", "medium", "big", "big"]
    assert answer(trace) == "4"
    assert trace.answer is not None and trace.answer.call.candidate is MEDIUM


def test_a_single_answer_may_be_streamed() -> None:
    call = BestOfN(n=1).decide(Request(text="hi", candidates=POOL))

    assert isinstance(call, Call) and call.final


def test_a_tool_loop_goes_on_with_one_answer_of_the_candidate_that_began_it() -> None:
    request = Request(text="hi", candidates=POOL, snapshot=Snapshot(locked="big"))
    trace = traced(BestOfN(n=3), request=request, small="4", big="6")

    assert names(trace) == ["big"]
    assert trace.attempts[0].call.final


@pytest.mark.parametrize(("budget", "asked"), [(1.0, 5), (0.035, 3), (0.011, 1)])
def test_the_budget_says_how_many_are_asked(budget: float, asked: int) -> None:
    dear = Candidate("small", model=object(), input_price=1e-5, output_price=0.0)
    request = Request(text="hi", candidates=(dear,), input_tokens=1000, snapshot=Snapshot(budget=budget))

    assert len(traced(BestOfN(n=5), request=request, budget=budget, small="4").attempts) == asked


def test_a_budget_for_nobody_is_said_so() -> None:
    dear = Candidate("small", model=object(), input_price=1e-5, output_price=0.0)
    request = Request(text="hi", candidates=(dear,), input_tokens=1000, snapshot=Snapshot(budget=1e-3))

    with pytest.raises(LimitExceeded):
        traced(BestOfN(n=5), request=request, budget=1e-3, small="4")


@pytest.mark.parametrize(
    "options", [{"n": 0}, {"top": 0}, {"order": "small"}, {"order": ()}, {"order": ("small", "small")}]
)
def test_options_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="BestOfN"):
        BestOfN(**options)


def test_without_a_budget_nobody_needs_a_price() -> None:
    request = Request(text="hi", candidates=(Candidate("small", model=object()),))

    assert answer(traced(BestOfN(n=3), request=request, small="4|5|5")) == "5"


def test_one_sample_that_fails_leaves_the_vote_to_the_others() -> None:
    host = TableHost({"small": [Outcome(text="4"), Outcome(text="4"), Outcome(text="5"), DOWN]})

    trace = run(Run(strategy=BestOfN(n=4), request=Request(text="2 + 2?", candidates=(SMALL,))), host)

    assert trace.answer is not None and trace.answer.text == "4"
