from __future__ import annotations

import re
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, LimitExceeded, ProviderError
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.strategies import AgreementCascade
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Call, Request, Snapshot, Usage

POOL = tuple(
    Candidate(name, model=object(), input_price=price, output_price=price)
    for name, price in (("steps", 1e-7), ("program", 1e-7), ("medium", 1e-6), ("big", 1e-5))
)
NAMED = {one.name: one for one in POOL}
DOWN = Outcome(error=ProviderError("down", family="not_found"))
USAGE = Usage(input_tokens=100, output_tokens=10)
MIXED = [{"steps": 3, "program": 3}, {"big": 1}]


def number(text: str) -> str:
    found = re.findall(r"\d+", text)
    return found[-1] if found else ""


def traced(
    strategy: AgreementCascade, *, request: Request | None = None, budget: float | None = None, **said: Any
) -> Trace:
    """The run in which each candidate replies as told: its texts apart by bars, "-" a failure."""
    rows = {
        name: [DOWN if text == "-" else Outcome(text=text, usage=USAGE) for text in texts.split("|")]
        for name, texts in said.items()
    }
    asked = request or Request(text="What is 2 + 2?", candidates=tuple(NAMED[name] for name in said))
    return run(Run(strategy=strategy, request=asked, limits=Limits(budget=budget)), TableHost(rows))


def names(trace: Trace) -> list[str]:
    return [attempt.call.candidate.name for attempt in trace.attempts]


def answer(trace: Trace) -> str:
    assert trace.answer is not None
    return trace.answer.text


class TestAgreementCascade(StrategyContract):
    @pytest.fixture(
        params=[
            AgreementCascade(levels=[{"small": 2, "medium": 1}, {"large": 1}]),
            AgreementCascade(levels=[{"small": 1, "medium": 1}, {"large": 3}], accept=[1.0], read=number),
            AgreementCascade(levels=[{"small": 2, "medium": 2}, {"large": 1}], voters="candidates", accept=1),
            AgreementCascade(levels=[{"small": 3}, {"medium": 3}, {"large": 1}], accept=[0.5, 1.0]),
            AgreementCascade(levels=[{"small": 2, "absent": 2}, {"absent too": 1}], accept=1),
            AgreementCascade(levels=[{"medium": 1}]),
        ],
        ids=["answers", "read", "candidates", "three levels", "absent", "one level"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> AgreementCascade:
        strategy: AgreementCascade = request.param
        return strategy


def test_enough_agreement_ends_the_cascade_with_what_most_say() -> None:
    trace = traced(AgreementCascade(levels=MIXED, accept=0.6), steps="4|5|4", program="4|4|6", big="7")

    assert answer(trace) == "4"
    assert names(trace) == ["steps"] * 3 + ["program"] * 3
    assert trace.reason == "4 of 6 votes agree, 0.67 >= 0.60"


def test_too_little_agreement_leads_to_the_next_level_and_all_is_paid() -> None:
    trace = traced(AgreementCascade(levels=MIXED), steps="4|5|4", program="4|4|6", big="7")

    assert answer(trace) == "7"
    assert trace.reason == "4 of 6 votes agree, 0.67 < 0.70"
    assert trace.cost == pytest.approx(6 * 110 * 1e-7 + 110 * 1e-5)
    assert [attempt.call.final for attempt in trace.attempts] == [False] * 6 + [True]


def test_a_share_at_the_threshold_is_enough() -> None:
    levels = [{"steps": 10}, {"big": 1}]

    assert (
        names(traced(AgreementCascade(levels=levels, accept=0.7), steps="4|4|4|4|4|4|4|1|2|3", big="7")).count("big")
        == 0
    )


def test_all_of_a_level_are_asked_at_once() -> None:
    calls = AgreementCascade(levels=MIXED).decide(Request(text="hi", candidates=POOL))

    assert isinstance(calls, list) and len(calls) == 6


def test_several_models_have_one_vote_each() -> None:
    strategy = AgreementCascade(levels=[{"steps": 1, "program": 1, "medium": 1}, {"big": 1}], accept=0.6)

    assert answer(traced(strategy, steps="4", program="5", medium="5", big="7")) == "5"


def test_each_level_has_its_own_threshold() -> None:
    strategy = AgreementCascade(levels=[{"steps": 2}, {"medium": 3}, {"big": 1}], accept=[1.0, 0.6])
    trace = traced(strategy, steps="4|5", medium="4|4|5", big="7")

    assert names(trace) == ["steps"] * 2 + ["medium"] * 3
    assert answer(trace) == "4"


@pytest.mark.parametrize(
    ("steps", "program", "asked"), [("4|5|4", "5|4|4", 6), ("4|5|4", "5|4|5", 7), ("4|4|4", "-|-|-", 7)]
)
def test_candidates_may_have_one_vote_each_for_what_most_of_their_answers_say(
    steps: str, program: str, asked: int
) -> None:
    strategy = AgreementCascade(levels=MIXED, voters="candidates", accept=1)

    assert len(traced(strategy, steps=steps, program=program, big="7").attempts) == asked


def test_the_last_level_is_a_vote_without_a_threshold() -> None:
    trace = traced(AgreementCascade(levels=[{"steps": 2}, {"big": 3}]), steps="4|5", big="1|2|2")

    assert answer(trace) == "2"
    assert trace.reason == "the last level: 2 of 3 votes agree"


def test_read_takes_the_answer_out_and_what_says_nothing_counts_against_agreement() -> None:
    levels = [{"steps": 4}, {"big": 1}]
    said = "It is 4|4 it is|no idea|so 4"

    assert answer(traced(AgreementCascade(levels=levels, read=number), steps=said, big="7")) == "It is 4"
    assert answer(traced(AgreementCascade(levels=levels, read=number, accept=0.8), steps=said, big="7")) == "7"


def test_a_failure_counts_against_agreement() -> None:
    levels = [{"steps": 3}, {"big": 1}]

    assert answer(traced(AgreementCascade(levels=levels, accept=0.6), steps="-|4|4", big="7")) == "4"
    assert answer(traced(AgreementCascade(levels=levels, accept=0.7), steps="-|4|4", big="7")) == "7"


def test_a_level_that_fails_is_followed_by_the_next() -> None:
    trace = traced(AgreementCascade(levels=[{"steps": 2}, {"medium": 2}, {"big": 1}]), steps="-", medium="4", big="7")

    assert names(trace) == ["steps"] * 2 + ["medium"] * 2
    assert answer(trace) == "4"


def test_when_the_last_level_fails_the_answer_with_the_most_agreement_is_returned() -> None:
    strategy = AgreementCascade(levels=[{"steps": 3}, {"medium": 3}, {"big": 1}], accept=0.9)
    trace = traced(strategy, steps="1|4|4", medium="5|6|7", big="-")

    assert answer(trace) == "4"
    assert trace.reason == "nobody else can be asked; the best answer so far, 2 of 3 votes"


def test_when_no_answer_says_anything_the_last_one_is_returned() -> None:
    strategy = AgreementCascade(levels=[{"steps": 2}, {"big": 2}], read=number)

    assert answer(traced(strategy, steps="a|b", big="c|d")) == "d"


def test_a_level_that_cannot_agree_without_the_missing_is_passed_over() -> None:
    trace = traced(AgreementCascade(levels=MIXED), steps="4|4|4", big="7")

    assert names(trace) == ["big"]


def test_a_level_that_can_agree_without_the_missing_is_asked() -> None:
    trace = traced(AgreementCascade(levels=MIXED, accept=0.5), steps="4|4|4", big="7")

    assert names(trace) == ["steps"] * 3
    assert trace.reason == "3 of 6 votes agree, 0.50 >= 0.50"


def test_who_is_in_no_level_is_asked_when_all_others_fail() -> None:
    trace = traced(AgreementCascade(levels=MIXED), steps="-", program="-", medium="4", big="-")

    assert names(trace) == ["steps"] * 3 + ["program"] * 3 + ["big", "medium"]
    assert answer(trace) == "4"


def test_when_all_fail_the_error_says_so() -> None:
    with pytest.raises(AllCandidatesFailed):
        traced(AgreementCascade(levels=MIXED), steps="-", program="-", big="-")


def test_a_tool_loop_goes_on_with_the_candidate_that_began_it_alone() -> None:
    request = Request(text="hi", candidates=POOL, snapshot=Snapshot(locked="program"))
    trace = traced(AgreementCascade(levels=MIXED), request=request, program="4", big="7")

    assert names(trace) == ["program"]
    assert trace.attempts[0].call.final


def priced(budget: float, input_tokens: int = 1000) -> Request:
    return Request(text="hi", candidates=POOL, input_tokens=input_tokens, snapshot=Snapshot(budget=budget))


def test_when_the_budget_ends_the_answer_with_the_most_agreement_is_returned() -> None:
    strategy = AgreementCascade(levels=[{"steps": 3}, {"medium": 2}, {"big": 1}])
    trace = traced(strategy, request=priced(4e-3), budget=4e-3, steps="1|4|4", medium="5|6", big="7")

    assert names(trace) == ["steps"] * 3 + ["medium"] * 2
    assert answer(trace) == "4"


def test_a_level_over_the_budget_is_passed_over() -> None:
    strategy = AgreementCascade(levels=[{"steps": 2, "big": 2}, {"medium": 1}], accept=1)

    assert names(traced(strategy, request=priced(4e-3), budget=4e-3, steps="4", medium="5", big="7")) == ["medium"]


def test_when_the_budget_allows_no_level_one_that_it_allows_is_asked() -> None:
    strategy = AgreementCascade(levels=[{"medium": 9}, {"big": 1}])

    assert names(traced(strategy, request=priced(2e-3), budget=2e-3, steps="4", medium="5", big="7")) == ["steps"]


def test_a_budget_for_nobody_is_said_so() -> None:
    with pytest.raises(LimitExceeded):
        traced(AgreementCascade(levels=MIXED), request=priced(1e-9), budget=1e-9, steps="4", program="4", big="7")


def test_a_last_level_of_one_call_may_be_streamed() -> None:
    call = AgreementCascade(levels=[{"big": 1}]).decide(Request(text="hi", candidates=POOL))

    assert isinstance(call, Call) and call.final


@pytest.mark.parametrize(
    "options",
    [
        {"levels": []},
        {"levels": [{}]},
        {"levels": [("small", 3)]},
        {"levels": [{"small": 0}]},
        {"levels": [{"small": 1}, {"big": 1}]},
        {"levels": [{"small": 5}, {"big": 1}], "voters": "candidates"},
        {"levels": [{"small": 2}, {"small": 3}]},
        {"levels": MIXED, "accept": 0},
        {"levels": MIXED, "accept": [0.7, 0.7]},
        {"levels": MIXED, "accept": [1.1]},
        {"levels": MIXED, "voters": "everybody"},
    ],
)
def test_options_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"AgreementCascade|a level before the last"):
        AgreementCascade(**options)


def test_without_a_budget_nobody_needs_a_price() -> None:
    request = Request(text="hi", candidates=tuple(Candidate(name, model=object()) for name in ("steps", "big")))
    strategy = AgreementCascade(levels=[{"steps": 2}, {"big": 1}])

    assert answer(traced(strategy, request=request, steps="4|5", big="7")) == "7"
