from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from router_integrations import engine
from router_integrations.adapters.rungs import Output
from router_integrations.candidates import Candidate
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, LimitExceeded, ProviderError
from router_integrations.estimators import TokenConfidence
from router_integrations.gating import Gate
from router_integrations.health import Health
from router_integrations.hedging import Hedge
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.llama_index.turns import Turn, attempt_from, attempt_json, call_from, call_json
from router_integrations.pacer import Pacer
from router_integrations.steps import Run
from router_integrations.strategies import Best, BestOfN, Cascade, Fixed, JudgedCascade
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Request, Revision, Usage

SMALL, BIG = (
    Candidate(name, model=object(), strength=strength, input_price=price, output_price=price)
    for name, strength, price in (("small", 0.3, 1e-6), ("big", 0.9, 1e-5))
)
JUDGE = Candidate("judge", model=object(), input_price=0.0, output_price=0.0)
REQUEST = Request(text="What is 2 + 2?", candidates=(SMALL, BIG), judges=(JUDGE,))
USAGE = Usage(input_tokens=10, output_tokens=2)
BUSY = ProviderError("busy", family="server", status_code=503)
UNSURE = Outcome(text="5", logprobs=(-2.0,), usage=USAGE, latency=0.5)
SURE = Outcome(text="4", logprobs=(-0.01,), usage=USAGE, latency=0.5)
NO = Outcome(text="False", usage=USAGE, latency=0.5)
STRATEGIES = {
    "best": (Best(), {"big": SURE}),
    "best of n": (BestOfN(n=3), {"small": [UNSURE, SURE, UNSURE]}),
    "a cascade": (Cascade(estimator=TokenConfidence()), {"small": UNSURE, "big": SURE}),
    "a draft": (Cascade(estimator=TokenConfidence()), {"small": SURE}),
    "a gate": (Cascade(estimator=TokenConfidence(), gate=Gate(window=1, above=0.5)), {"small": UNSURE, "big": SURE}),
    "judges": (JudgedCascade(judge="judge", votes=2), {"small": UNSURE, "judge": NO, "big": SURE}),
    "a failure": (Cascade(), {"small": Outcome(error=BUSY, latency=0.5), "big": SURE}),
}


def take_turns(strategy: Any, outcomes: Any, *, request: Request = REQUEST, **options: Any) -> tuple[Trace, int]:
    """Run turn by turn, with nothing but JSON in between; return the trace and the number of turns."""
    host, health = TableHost(outcomes), Health()
    state, calls, turns = "{}", "[]", 0
    while True:
        turn = Turn(
            strategy=strategy,
            request=request,
            health=health,
            earlier=json.loads(state),
            planned=json.loads(calls),
            **options,
        )
        list(engine.stream(turn, host))
        turns += 1
        if not turn.next:
            return turn.trace, turns
        state, calls = json.dumps(turn.state()), json.dumps([call_json(call) for call in turn.next])


def seen(trace: Trace) -> dict[str, Any]:
    """A trace without what the clock decides."""
    told = trace.as_dict()
    for attempt in told["attempts"]:
        attempt["first_token"] = attempt["first_token"] is not None
        attempt["latency"] = None
    return {**told, "decide_us": None}


@pytest.mark.parametrize(("strategy", "outcomes"), STRATEGIES.values(), ids=STRATEGIES)
def test_turns_with_json_between_them_do_what_one_run_does(strategy: Any, outcomes: Any) -> None:
    run = Run(strategy=strategy, request=REQUEST)
    list(engine.stream(run, TableHost(outcomes)))
    trace, turns = take_turns(strategy, outcomes)

    assert seen(trace) == seen(run.trace)
    assert turns > 1


def test_a_failure_is_not_forgotten() -> None:
    down = Outcome(error=BUSY, latency=0.5)
    with pytest.raises(AllCandidatesFailed, match="'small': busy; 'big': busy") as caught:
        take_turns(Cascade(), {"small": down, "big": down})

    assert caught.value.trace is not None
    assert [one.call.candidate.name for one in caught.value.trace.attempts] == ["small", "big"]


def test_what_was_spent_counts_against_the_budget() -> None:
    trace, _ = take_turns(
        Cascade(estimator=TokenConfidence()), {"small": UNSURE, "big": SURE}, limits=Limits(budget=1e-3)
    )
    assert trace.answer is not None
    assert trace.answer.call.candidate.name == "small"


def test_the_seconds_of_all_turns_count_against_the_deadline() -> None:
    turn = Turn(strategy=Best(), request=REQUEST, limits=Limits(deadline=5.0), earlier={"seconds": 6.0})
    with pytest.raises(LimitExceeded, match=r"deadline of 5.0 s passed"):
        list(turn.steps())

    assert turn.state()["seconds"] >= 6.0


def test_a_turn_whose_calls_were_made_only_decides() -> None:
    host = TableHost({"small": UNSURE})
    first = Turn(strategy=Cascade(estimator=TokenConfidence()), request=REQUEST)
    list(engine.stream(first, host))
    planned = [call_json(call) for call in first.next]
    made = Turn(strategy=first.strategy, request=REQUEST, earlier=first.state(), planned=planned)
    list(engine.stream(made, host))
    again = Turn(strategy=first.strategy, request=REQUEST, earlier=made.state())
    list(engine.stream(again, host))

    assert len(host.calls) == 1
    assert again.next == made.next
    assert again.next[0].candidate is BIG


def test_replies_at_hand_are_kept() -> None:
    native = object()
    told = {"attempts": [attempt_json(Attempt(call=Call(candidate=SMALL), text="4"))]}
    turn = Turn(strategy=Best(), request=REQUEST, earlier=told, natives=[native])

    assert turn.attempts[0].native is native


def test_every_field_of_a_call_and_an_attempt_comes_back() -> None:
    call = Call(
        candidate=SMALL,
        purpose="judge",
        prompt="Right?",
        revision=Revision(draft="5", feedback="No."),
        revisable=True,
        final=True,
        gate=Gate(window=3, above=0.5),
        hedge=Hedge(candidate=BIG, after=2.0),
        reason="why not",
        estimates={"small": Estimate(quality=0.5, std=0.1, cost=1e-6, latency=2.0)},
    )
    attempt = Attempt(
        call=call,
        text="4",
        tool_calls=({"name": "add", "args": {"a": 2}, "id": "1"},),
        logprobs=(-0.1, -0.2),
        top_logprobs=((-0.1, -3.0), (-0.2,)),
        finish_reason="stop",
        model="small-1",
        usage=Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4, estimated=True),
        cost=1e-6,
        latency=0.5,
        first_token=0.25,
        sources=("a text",),
        source_scores=(0.5,),
        native=Output(value=object(), confidence=0.75),
    )
    people = {"small": SMALL, "big": BIG}
    back = attempt_from(json.loads(json.dumps(attempt_json(attempt))), people)
    bare = Call(candidate=SMALL)
    untold = {name for name in Call.__dataclass_fields__ if getattr(bare, name) == getattr(call, name)}
    untold |= {
        name for name in Attempt.__dataclass_fields__ if getattr(Attempt(call=bare), name) == getattr(attempt, name)
    }

    assert call_from(json.loads(json.dumps(call_json(call))), people) == call
    assert back == attempt
    assert back.native == Output(value=None, confidence=0.75)
    # Nothing was left at its default, so that a new field can't be forgotten here.
    assert untold == {"candidate", "error"}


def test_an_error_comes_back() -> None:
    error = ProviderError("busy", family="rate_limit", status_code=429, retry_after=3.0)
    attempt = Attempt(call=Call(candidate=SMALL), error=error)
    back = attempt_from(json.loads(json.dumps(attempt_json(attempt))), {"small": SMALL}).error

    assert back is not None
    assert (str(back), vars(back)) == (str(error), vars(error))


def test_who_is_gone_is_named() -> None:
    told = call_json(Call(candidate=SMALL, hedge=Hedge(candidate=BIG, after=1.0)))
    with pytest.raises(ConfigurationError, match="'big' was asked before but is not among"):
        call_from(told, {"small": SMALL})
    with pytest.raises(ConfigurationError, match="'small' was asked before"):
        Turn(strategy=Best(), request=replace(REQUEST, candidates=(BIG,)), planned=[told])


def test_a_turn_tells_a_ledger_of_its_own_calls_alone() -> None:
    ledger, request = Ledger(), replace(REQUEST, conversation_id="a")
    limits = Limits(conversation_budget=1.0)
    outcomes = {"small": UNSURE, "big": SURE}
    trace, _ = take_turns(Cascade(estimator=TokenConfidence()), outcomes, request=request, limits=limits, ledger=ledger)
    assert len(trace.attempts) == 2
    assert ledger.spent("a") == pytest.approx(trace.cost)


def test_what_a_request_had_cost_in_another_process_counts_towards_its_conversations_budget() -> None:
    cost = SMALL.cost(USAGE)
    assert cost is not None
    request, limits = replace(REQUEST, conversation_id="a"), Limits(conversation_budget=cost / 2)
    earlier = {"attempts": [attempt_json(Attempt(call=Call(candidate=SMALL), text="5", usage=USAGE, cost=cost))]}
    turn = Turn(strategy=Fixed(name="big"), request=request, limits=limits, earlier=earlier)
    list(engine.stream(turn, TableHost({"big": SURE})))
    assert turn.next == () and turn.trace.reason.startswith("0.000012 USD would be over the conversation's budget")


def test_a_pacer_counts_requests_and_no_turns() -> None:
    with pytest.raises(TypeError, match="pacer"):
        Turn(strategy=Best(), request=REQUEST, pacer=Pacer(budget_per_request=1.0))  # type: ignore[call-arg]
