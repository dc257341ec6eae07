"""Budgets of conversations: what counts, what is seen, what is refused, and that the memory is bounded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from router_integrations import engine
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, LimitExceeded, ProviderError
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.types import Attempt, Call, Estimate, Request, Snapshot, Stop
from tests.test_engine import Does, candidate

A, B = candidate("a"), candidate("b")
BUDGET = Limits(conversation_budget=1.0)


def paid(cost: float) -> TableHost:
    return TableHost({"a": Outcome(text="yes", cost=cost), "b": Outcome(text="yes", cost=cost)})


def asks(expected: float | None = None, **fields: Any) -> Does:
    estimates = {"a": Estimate(quality=1.0, cost=expected)}
    return Does(
        lambda request, _: Call(candidate=request.candidates[0], estimates=estimates, **{"final": True, **fields})
    )


def run_of(ledger: Ledger, *, conversation: str | None = "c", strategy: Any = None, **options: Any) -> Run:
    request = Request(
        text="hi", candidates=(A, B), conversation_id=conversation, snapshot=options.pop("snapshot", Snapshot())
    )
    return Run(strategy=strategy or asks(), request=request, ledger=ledger, **{"limits": BUDGET, **options})


def test_requests_of_a_conversation_share_its_budget() -> None:
    ledger = Ledger()
    for _ in range(2):
        engine.run(run_of(ledger), paid(0.5))
    with pytest.raises(
        LimitExceeded, match=r"1\.000000 USD would be over the conversation's budget of 1\.0 USD before"
    ):
        engine.run(run_of(ledger), paid(0.5))

    assert ledger.spent("c") == 1.0
    assert engine.run(run_of(ledger, conversation="other"), paid(0.5)).cost == 0.5


def test_what_a_call_is_expected_to_cost_counts() -> None:
    ledger = Ledger()
    engine.run(run_of(ledger), paid(0.5))
    with pytest.raises(LimitExceeded, match=r"1\.250000 USD would be over the conversation's budget"):
        engine.run(run_of(ledger, strategy=asks(0.75)), paid(0.5))


def test_the_strategy_sees_the_smaller_of_what_is_left() -> None:
    ledger = Ledger()
    ledger.record("c", 0.25)
    seen = [
        run_of(ledger, limits=limits, snapshot=Snapshot(budget=known)).request.snapshot.budget
        for limits, known in (
            (BUDGET, None),
            (Limits(conversation_budget=1.0, budget=0.5), None),
            (Limits(conversation_budget=1.0, budget=5.0), None),
            (BUDGET, 0.125),
            (Limits(), None),
        )
    ]

    assert seen == [0.75, 0.5, 0.75, 0.125, None]


def test_a_request_without_an_id_is_a_conversation_of_its_own() -> None:
    ledger = Ledger()
    twice = Does(lambda request, attempts: Stop(attempt=attempts[-1]) if len(attempts) == 2 else Call(candidate=A))
    for _ in range(3):
        assert len(engine.run(run_of(ledger, conversation=None, strategy=twice), paid(0.5)).attempts) == 2
    trace = engine.run(run_of(ledger, conversation=None, strategy=twice), paid(1.5))

    assert trace.reason.startswith("1.500000 USD would be over the conversation's budget of 1.0 USD")
    assert len(trace.attempts) == 1


def test_the_message_says_which_budget_ends_the_request() -> None:
    both = Limits(budget=0.5, conversation_budget=0.75)
    ledger = Ledger()
    with pytest.raises(LimitExceeded, match=r"over the budget of 0\.5 USD"):
        engine.run(run_of(ledger, limits=both, strategy=asks(0.6)), paid(0.5))
    ledger.record("c", 0.5)
    with pytest.raises(LimitExceeded, match=r"over the conversation's budget of 0\.75 USD"):
        engine.run(run_of(ledger, limits=both, strategy=asks(0.4)), paid(0.5))


def test_requests_at_once_see_what_the_others_have_spent() -> None:
    ledger = Ledger()
    first, second = (run_of(ledger, strategy=asks(expected, final=False)) for expected in (0.05, 0.25))
    steps = first.steps()
    (call,) = next(steps).calls
    steps.send([Attempt(call=call, text="draft", cost=0.9)])
    with pytest.raises(LimitExceeded, match="conversation's budget"):
        engine.run(second, paid(0.5))
    steps.close()


def test_a_request_that_fails_counts_what_it_has_paid() -> None:
    ledger = Ledger()
    broken = ProviderError("cut", family="schema")

    class Breaks(TableHost):
        def ask(self, call: Call, timeout: float | None) -> Attempt:
            return Attempt(call=call, cost=0.25, error=broken)

    with pytest.raises(AllCandidatesFailed):
        engine.run(run_of(ledger), Breaks({"a": Outcome(), "b": Outcome()}))

    assert ledger.spent("c") == 0.5


def test_a_stream_that_is_left_counts() -> None:
    ledger = Ledger()
    chunks = engine.stream(run_of(ledger), paid(0.25))
    next(chunks)
    chunks.close()

    assert ledger.spent("c") == 0.25


def test_without_a_budget_nothing_is_remembered() -> None:
    ledger = Ledger()
    engine.run(run_of(ledger, limits=Limits(budget=1.0)), paid(0.5))

    assert ledger.spent("c") == 0.0


def test_the_memory_is_bounded_and_the_least_used_is_forgotten() -> None:
    ledger = Ledger(conversations=3)
    for name in "abc":
        ledger.record(name, 1.0)
    ledger.spent("a")
    ledger.record("d", 1.0)

    assert [ledger.spent(name) for name in "abcd"] == [1.0, 0.0, 1.0, 1.0]
    assert len(ledger._spent) == 3


def test_looking_at_what_is_unknown_remembers_nothing() -> None:
    ledger = Ledger(conversations=1)
    ledger.record("a", 1.0)
    assert [ledger.spent(str(number)) for number in range(5)] == [0.0] * 5
    assert ledger.spent("a") == 1.0


def test_it_holds_one_conversation_at_least() -> None:
    with pytest.raises(ConfigurationError, match=r"Ledger\.conversations must be at least 1 but got 0"):
        Ledger(conversations=0)


def test_threads_lose_nothing() -> None:
    ledger = Ledger(conversations=2)

    def work(names: Sequence[str]) -> None:
        for _ in range(2000):
            for name in names:
                ledger.record(name, 1.0)
                ledger.spent(name)

    threads = [threading.Thread(target=work, args=("ab",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (ledger.spent("a"), ledger.spent("b")) == (16000.0, 16000.0)
