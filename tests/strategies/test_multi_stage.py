from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import Abstained, ProviderError
from router_integrations.estimators import Policies, TokenConfidence
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import (
    AgreementCascade,
    Best,
    Cascade,
    Fixed,
    JudgedCascade,
    JudgedPolicies,
    MultiStage,
    SelfTestedCascade,
)
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Estimate, Request, Snapshot, Stop

SMALL, MEDIUM, BIG = POOL = tuple(
    Candidate(name, model=object(), max_retries=0, input_price=price, output_price=price)
    for name, price in (("small", 1e-7), ("medium", 1e-6), ("big", 1e-5))
)
ORDER = ("small", "medium", "big")
SURE, UNSURE = (-0.01,), (-2.0,)
DOWN = Outcome(error=ProviderError("down", family="not_found"))


def cascade(**options: Any) -> Cascade:
    return Cascade(**{"estimator": TokenConfidence(), "order": ORDER, "accept": 0.8, **options})


def traced(strategy: MultiStage, *, budget: float | None = None, **outcomes: Any) -> Trace:
    request = Request(text="hi", candidates=POOL, judges=POOL, snapshot=Snapshot(budget=budget))
    known = {name: Outcome(text=name, logprobs=SURE) for name in ORDER} | outcomes
    return run(Run(strategy=strategy, request=request, limits=Limits(budget=budget)), TableHost(known))


def asked(trace: Trace) -> list[str]:
    return [one.call.candidate.name for one in trace.attempts]


class TestMultiStage(StrategyContract):
    @pytest.fixture(
        params=[
            MultiStage(router=Best(), cascade=Cascade()),
            MultiStage(router=Fixed(name="medium"), cascade=Cascade(order=("small", "medium", "large"), accept=1.0)),
            MultiStage(router=Fixed(name="medium"), cascade=JudgedCascade(votes=2)),
            MultiStage(
                router=Fixed(name="large"), cascade=AgreementCascade(levels=[{"small": 2}, {"medium": 2}, {"large": 1}])
            ),
            MultiStage(router=Best(), cascade=SelfTestedCascade(runner="absent")),
        ],
        ids=["default", "middle", "judged", "agreement", "tested"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> MultiStage:
        strategy: MultiStage = request.param
        return strategy


@pytest.mark.parametrize(
    ("start", "sure", "told"),
    [
        ("small", SURE, ["small"]),
        ("small", UNSURE, ["small", "medium", "big"]),
        ("medium", SURE, ["medium"]),
        ("medium", UNSURE, ["medium", "big"]),
        ("big", UNSURE, ["big"]),
    ],
)
def test_the_cascade_goes_on_from_where_the_router_says(start: str, sure: Any, told: list[str]) -> None:
    unsure = {name: Outcome(text=name, logprobs=sure) for name in ("small", "medium")}
    trace = traced(MultiStage(router=Fixed(name=start), cascade=cascade()), **unsure)

    assert asked(trace) == told
    assert trace.answer is trace.attempts[-1]


@pytest.mark.parametrize("order", ["given", "price", ORDER])
def test_who_is_skipped_does_not_depend_on_how_the_order_is_given(order: Any) -> None:
    strategy = MultiStage(router=Fixed(name="medium"), cascade=cascade(order=order))

    assert asked(traced(strategy, medium=Outcome(text="?", logprobs=UNSURE))) == ["medium", "big"]


def test_the_last_of_the_cascade_is_final_and_an_earlier_one_is_not() -> None:
    request = Request(text="hi", candidates=POOL)
    calls = [MultiStage(router=Fixed(name=name), cascade=cascade()).decide(request) for name in ORDER]

    assert [call.final for call in calls] == [False, False, True]  # type: ignore[union-attr]


def test_the_trace_shows_what_the_router_expected_and_why() -> None:
    strategy = MultiStage(router=Best(), cascade=cascade())
    trace = traced(strategy)
    alone = Best().decide(Request(text="hi", candidates=POOL))

    assert trace.first == "small"
    assert trace.attempts[0].call.reason == alone.reason
    assert trace.estimates["big"] == alone.estimates["big"]


def test_when_the_chosen_one_fails_those_who_were_skipped_are_asked() -> None:
    strategy = MultiStage(router=Fixed(name="big"), cascade=cascade())

    assert asked(traced(strategy, big=DOWN)) == ["big", "small"]


def test_a_failure_further_up_does_not_bring_back_who_was_skipped() -> None:
    strategy = MultiStage(router=Fixed(name="medium"), cascade=cascade())
    trace = traced(strategy, medium=Outcome(text="?", logprobs=UNSURE), big=DOWN)

    assert asked(trace) == ["medium", "big"]
    assert trace.answer is not None and trace.answer.text == "?"


def test_the_cascade_abstains() -> None:
    strategy = MultiStage(router=Fixed(name="medium"), cascade=cascade(abstain=0.5))

    with pytest.raises(Abstained, match="'medium' was too unsure to go on"):
        traced(strategy, medium=Outcome(text="?", logprobs=UNSURE))


class Refuses:
    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Stop:
        return Stop(reason="out of scope")


def test_a_router_that_stops_ends_the_request_before_anybody_is_asked() -> None:
    with pytest.raises(Abstained, match="out of scope") as caught:
        traced(MultiStage(router=Refuses(), cascade=cascade()))

    assert caught.value.trace is not None and caught.value.trace.attempts == ()


def test_a_router_may_ask_a_judge_first() -> None:
    router = JudgedPolicies(policies={"small": "talk", "medium": "code", "big": "maths"}, judge="small")
    trace = traced(MultiStage(router=router, cascade=cascade()), small=Outcome(text="medium"))

    assert [(one.call.candidate.name, one.call.purpose) for one in trace.attempts] == [
        ("small", "policy"),
        ("medium", "answer"),
    ]


class Costly:
    """Expects a cent of everybody but small."""

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> list[Estimate]:
        sure = {one.call.candidate.name: 0.1 for one in attempts}
        return [
            Estimate(quality=sure.get(one.name, 0.5), cost=0.001 if one.name == "small" else 0.01) for one in candidates
        ]


def test_the_budget_of_a_request_ends_the_cascade_with_the_best_answer_so_far() -> None:
    strategy = MultiStage(router=Fixed(name="small"), cascade=cascade(estimator=Costly()))
    trace = traced(strategy, budget=0.005, small=Outcome(text="4", cost=0.001))

    assert asked(trace) == ["small"]
    assert trace.answer is not None and trace.answer.text == "4"


def test_levels_below_the_chosen_one_are_skipped() -> None:
    levels = AgreementCascade(levels=[{"small": 3}, {"medium": 2}, {"big": 1}])
    trace = traced(MultiStage(router=Fixed(name="medium"), cascade=levels))

    assert asked(trace) == ["medium", "medium"]


def test_the_judges_of_both_stages_are_told() -> None:
    policies = JudgedPolicies(policies={"small": "talk"}, judge="reader")

    assert MultiStage(router=policies, cascade=JudgedCascade(judge="strict")).judges == ("reader", "strict")
    assert MultiStage(router=Best(), cascade=JudgedCascade()).judges == ()


def test_answers_must_carry_what_the_cascade_looks_at() -> None:
    strategy = MultiStage(router=Best(), cascade=cascade())
    unlike = MultiStage(router=Best(), cascade=Fixed(name="small"))

    assert strategy.uses == {"logprobs"}
    assert strategy.demands(POOL) == {"small": {"logprobs"}, "medium": {"logprobs"}}
    assert (unlike.uses, unlike.demands(POOL)) == (frozenset(), {})


def test_it_is_saved_with_both_stages() -> None:
    writer = Writer()
    plain = writer.plain(MultiStage(router=Best(), cascade=cascade()), "strategy")
    again = Reader(writer.arrays, writer.layout).value(plain)

    assert isinstance(again.router, Best) and again.cascade.order == ORDER


def test_a_router_by_the_users_own_policies_starts_a_cascade() -> None:
    router = Best(estimator=Policies(policies={"small": "small talk, greetings", "big": "proofs, maths, theorems"}))
    strategy = MultiStage(router=router, cascade=cascade())
    request = Request(text="Prove the theorem: maths, proofs", candidates=POOL)

    call = strategy.decide(request)
    assert call.candidate is BIG and call.final  # type: ignore[union-attr]
