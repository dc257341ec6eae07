from __future__ import annotations

import math
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import Abstained, AllCandidatesFailed, ConfigurationError, LimitExceeded, ProviderError
from router_integrations.estimators import TokenConfidence
from router_integrations.gating import Gate
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.strategies import Cascade
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Call, Request, Snapshot

SMALL, MEDIUM, BIG = (
    Candidate(name, model=object(), max_retries=0, input_price=price, output_price=price)
    for name, price in (("small", 1e-7), ("medium", 1e-6), ("big", 1e-5))
)
POOL = (SMALL, MEDIUM, BIG)
DOWN = Outcome(error=ProviderError("down", family="not_found"))


def said(confidence: float, text: str = "", cost: float | None = None) -> Outcome:
    return Outcome(text=text or f"{confidence}", logprobs=(math.log(confidence),), cost=cost)


def cascade(**options: Any) -> Cascade:
    return Cascade(**{"estimator": TokenConfidence(), "order": "given", "accept": 0.7, **options})


def traced(strategy: Cascade, *outcomes: Outcome, request: Request | None = None, **limits: Any) -> Trace:
    """The run in which small, medium and big give these outcomes, in this order."""
    host = TableHost(dict(zip(("small", "medium", "big"), outcomes, strict=False)))
    asked = request or Request(text="What is 2 + 2?", candidates=POOL[: len(outcomes)])
    return run(Run(strategy=strategy, request=asked, limits=Limits(**limits)), host)


def names(trace: Trace) -> list[str]:
    return [attempt.call.candidate.name for attempt in trace.attempts]


def answer(trace: Trace) -> str:
    assert trace.answer is not None
    return trace.answer.text


class TestCascade(StrategyContract):
    @pytest.fixture(
        params=[
            Cascade(),
            Cascade(accept=1.0),
            Cascade(estimator=TokenConfidence(), order="given", accept={"small": 0.95}),
            Cascade(order=("large", "small")),
            Cascade(order=("absent",), abstain={"absent": 0.5}),
            Cascade(gate=Gate()),
        ],
        ids=["default", "never sure", "by name", "own order", "absent", "gated"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> Cascade:
        strategy: Cascade = request.param
        return strategy


def test_a_sure_answer_ends_the_cascade() -> None:
    trace = traced(cascade(), said(0.8), said(0.9), said(0.9))

    assert names(trace) == ["small"]
    assert trace.reason == "'small' was sure enough, 0.80 > 0.70"


def test_an_unsure_answer_is_followed_by_the_next_candidate() -> None:
    trace = traced(cascade(), said(0.6), said(0.8), said(0.9))

    assert names(trace) == ["small", "medium"]
    assert answer(trace) == "0.8"
    assert trace.attempts[1].call.reason == "'small' was not sure enough, 0.60 <= 0.70"


def test_a_confidence_at_the_threshold_is_not_enough() -> None:
    strategy = cascade(accept=1.0)

    assert names(traced(strategy, said(1.0), said(1.0))) == ["small", "medium"]


def test_the_last_answer_is_returned_however_unsure_and_may_be_streamed() -> None:
    trace = traced(cascade(), said(0.6), said(0.5), said(0.1))

    assert [attempt.call.final for attempt in trace.attempts] == [False, False, True]
    assert answer(trace) == "0.1"


def test_each_candidate_has_its_own_threshold() -> None:
    strategy = cascade(accept={"small": 0.9, "medium": 0.4})

    assert names(traced(strategy, said(0.8), said(0.5), said(0.9))) == ["small", "medium"]


def test_too_unsure_an_answer_ends_without_any() -> None:
    with pytest.raises(Abstained, match=r"'small' was too unsure to go on, 0\.20 <= 0\.2") as caught:
        traced(cascade(abstain={"small": 0.2 + 1e-12}), said(0.2), said(0.9))

    assert caught.value.trace is not None and names(caught.value.trace) == ["small"]


def test_between_the_thresholds_the_cascade_goes_on() -> None:
    assert names(traced(cascade(abstain=0.2), said(0.3), said(0.9))) == ["small", "medium"]


@pytest.mark.parametrize(("confidence", "abstains"), [(0.3, True), (0.5, False)])
def test_the_last_candidate_abstains_by_its_own_threshold_only(confidence: float, abstains: bool) -> None:
    strategy = cascade(abstain={"medium": 0.4}, accept={"medium": 0.4})
    if abstains:
        with pytest.raises(Abstained):
            traced(strategy, said(0.6), said(confidence))
        return
    trace = traced(strategy, said(0.6), said(confidence))

    assert answer(trace) == "0.5"
    assert trace.attempts[-1].call.final is False


def test_an_answer_that_may_be_withheld_is_never_a_final_call() -> None:
    call = cascade(abstain=0.1).decide(Request(text="hi", candidates=(SMALL,)))

    assert isinstance(call, Call) and call.final is False


def test_who_fails_is_followed_by_the_next_candidate() -> None:
    trace = traced(cascade(), DOWN, said(0.8), said(0.9))

    assert names(trace) == ["small", "medium"]
    assert trace.attempts[1].call.reason == "'small' failed (not_found)"


def test_when_the_last_candidate_fails_the_best_answer_so_far_is_returned() -> None:
    trace = traced(cascade(), said(0.6), said(0.5), DOWN)

    assert names(trace) == ["small", "medium", "big"]
    assert answer(trace) == "0.6"
    assert trace.reason == "nobody else can be asked; the best answer so far, by 'small' with confidence 0.60"


def test_when_all_fail_nobody_abstained() -> None:
    with pytest.raises(AllCandidatesFailed):
        traced(cascade(abstain=0.1), DOWN, DOWN, DOWN)


def test_who_cannot_take_the_request_is_left_out() -> None:
    request = Request(text="hi", candidates=(SMALL, BIG))
    trace = traced(cascade(order=("small", "medium", "big")), said(0.6), said(0.9), said(0.9), request=request)

    assert names(trace) == ["small", "big"]


def test_the_users_order_comes_before_the_requests() -> None:
    assert names(traced(cascade(order=("medium", "small")), said(0.6), said(0.5), said(0.9))) == ["medium", "small"]


def test_who_is_not_in_the_order_is_asked_only_when_all_others_fail() -> None:
    assert names(traced(cascade(order=("small", "medium")), DOWN, DOWN, said(0.9))) == ["small", "medium", "big"]


def test_by_price_the_cheapest_comes_first() -> None:
    request = Request(text="hi", candidates=(BIG, SMALL, MEDIUM))

    assert names(traced(cascade(order="price"), said(0.1), said(0.1), said(0.1), request=request)) == [
        "small",
        "medium",
        "big",
    ]


def test_an_unknown_price_comes_last() -> None:
    unpriced = Candidate("unpriced", model=object(), strength=0.5)

    call = cascade(order="price").decide(Request(text="hi", candidates=(unpriced, BIG)))

    assert isinstance(call, Call) and call.candidate is BIG


def test_a_tool_loop_goes_on_unchecked_with_the_candidate_that_began_it() -> None:
    request = Request(text="hi", candidates=POOL, snapshot=Snapshot(locked="medium"))
    trace = traced(cascade(abstain=0.5), said(0.9), said(0.1), said(0.9), request=request)

    assert names(trace) == ["medium"]
    assert trace.attempts[0].call.final is True
    assert trace.reason == "it began the tool loop"


def test_when_the_budget_ends_the_best_answer_so_far_is_returned() -> None:
    request = Request(text="hi", candidates=POOL, snapshot=Snapshot(budget=0.01))
    outcomes = said(0.6, cost=0.004), said(0.5, cost=0.006), said(0.9)
    trace = traced(cascade(), *outcomes, request=request, budget=0.01)

    assert names(trace) == ["small", "medium"]
    assert answer(trace) == "0.6"


def test_a_rung_that_costs_more_than_is_left_is_passed_over() -> None:
    dear = Candidate("medium", model=object(), input_price=1.0, output_price=1.0)
    request = Request(text="hi", candidates=(SMALL, dear, BIG), input_tokens=10, snapshot=Snapshot(budget=1.0))
    trace = traced(cascade(), said(0.6), said(0.9), said(0.8), request=request, budget=1.0)

    assert names(trace) == ["small", "big"]
    assert trace.attempts[1].call.final is True


def test_a_budget_for_nobody_is_said_so() -> None:
    request = Request(text="hi", candidates=(BIG,), input_tokens=1000, snapshot=Snapshot(budget=1e-9))

    with pytest.raises(LimitExceeded):
        traced(cascade(), said(0.9), said(0.9), said(0.9), request=request, budget=1e-9)


def test_the_cost_of_each_attempt_counts() -> None:
    trace = traced(cascade(), said(0.6, cost=1.0), said(0.9, cost=2.0))

    assert trace.cost == 3.0


@pytest.mark.parametrize(
    "options",
    [
        {"accept": 1.1},
        {"accept": {"small": -0.1}},
        {"abstain": math.nan},
        {"accept": 0.3, "abstain": 0.4},
        {"accept": {"small": 0.3}, "abstain": {"small": 0.4}},
        {"order": "small"},
        {"order": ()},
        {"order": ("small", "small")},
    ],
)
def test_options_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Cascade"):
        Cascade(**options)


def test_all_but_the_last_candidate_have_the_gate() -> None:
    gate = Gate(window=2)
    trace = traced(cascade(gate=gate), said(0.6), said(0.5), said(0.1))

    assert [attempt.call.gate for attempt in trace.attempts] == [gate, gate, None]


def test_a_buffered_answer_that_passes_the_gate_is_accepted_whatever_comes_after_its_window() -> None:
    good = Outcome(text="good", logprobs=(-0.1, -9.0, -9.0))
    trace = traced(cascade(gate=Gate(window=1), abstain={"small": 0.5}), good, said(0.9))

    assert (names(trace), trace.reason) == (["small"], "'small' passed the gate")


def test_a_buffered_answer_that_does_not_pass_is_followed_by_the_next_candidate() -> None:
    bad = Outcome(text="bad", logprobs=(-9.0, *[-0.001] * 99))
    trace = traced(cascade(gate=Gate(window=1), abstain={"small": 0.01}), bad, said(0.8), said(0.9))

    assert names(trace) == ["small", "medium"]
    assert trace.attempts[1].call.reason == "'small' did not pass the gate"


def test_a_buffered_answer_that_does_not_pass_may_still_be_the_best_so_far() -> None:
    trace = traced(cascade(gate=Gate(window=1)), said(0.6), DOWN)

    assert answer(trace) == "0.6"


@pytest.mark.parametrize(("confidence", "asked"), [(0.8, ["small"]), (0.6, ["small", "medium"])])
def test_an_answer_too_short_for_the_gate_is_judged_as_a_whole(confidence: float, asked: list[str]) -> None:
    trace = traced(cascade(gate=Gate(window=2, above=0.99)), said(confidence), said(0.9), said(0.9))

    assert names(trace) == asked


def test_a_tool_loop_has_no_gate() -> None:
    request = Request(text="hi", candidates=POOL, snapshot=Snapshot(locked="medium"))
    (attempt,) = traced(cascade(gate=Gate()), said(0.9), said(0.1), said(0.9), request=request).attempts

    assert (attempt.call.final, attempt.call.gate) == (True, None)
