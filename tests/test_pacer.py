from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_integrations import Best, Candidate, Estimate, Fixed, Pacer, Request, Snapshot, Usage, Utility, engine
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, ProviderError
from router_integrations.estimators import Neighbors
from router_integrations.evaluation import replay
from router_integrations.learning import Record, Table
from router_integrations.steps import Run
from router_integrations.testing.table import Outcome, TableHost

SMALL, BIG = (
    Candidate(name, model=object(), input_price=0.0, output_price=p) for name, p in [("small", 1), ("big", 4)]
)
TOKENS = Usage(input_tokens=0, output_tokens=1)


class Says:
    """An estimator that always says the same."""

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> list[Estimate]:
        said = {"small": Estimate(quality=0.5, cost=1.0), "big": Estimate(quality=0.9, cost=4.0)}
        return [said[one.name] for one in candidates]


def linear() -> Best:
    return Best(estimator=Says(), utility=Utility(enough=1))


def started(pacer: Pacer, pool: tuple[Candidate, ...] = (SMALL, BIG), name: str = "big") -> Run:
    return Run(strategy=Fixed(name=name), request=Request(text="hi", candidates=pool), pacer=pacer)


@pytest.mark.parametrize(
    ("costs", "price"),
    [([], 1.0), ([2.0], 3.0), ([2.0, 2.0], 5.0), ([0.5], 0.0), ([0.0, 0.0], 0.0), ([0.0, 2.0], 2.0), ([None], 1.0)],
)
def test_the_price_moves_by_the_rate_times_what_was_overspent_and_never_below_0(costs: list[Any], price: float) -> None:
    pacer = Pacer(budget_per_request=1.0, rate=2.0, price=1.0)
    for cost in costs:
        pacer.record(cost)

    assert pacer.current() == price


def test_without_a_rate_a_request_of_twice_the_budget_raises_the_price_by_a_twentieth_of_its_inverse() -> None:
    pacer = Pacer(budget_per_request=0.01)
    pacer.record(0.02)

    assert pacer.current() == pytest.approx(0.05 / 0.01)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"budget_per_request": 0}, "budget_per_request"),
        ({"budget_per_request": float("nan")}, "budget_per_request"),
        ({"budget_per_request": 1, "rate": 0.0}, "rate"),
        ({"budget_per_request": 1, "rate": float("inf")}, "rate"),
        ({"budget_per_request": 1, "price": -1}, "price"),
        ({"budget_per_request": 1, "price": float("inf")}, "price"),
    ],
)
def test_an_option_out_of_range_is_an_error(options: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Pacer.{name} must be finite"):
        Pacer(**options)


def test_no_request_is_lost_between_threads() -> None:
    pacer = Pacer(budget_per_request=1.0, rate=0.5)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(pacer.record, [3.0] * 4000))

    assert pacer.current() == 4000.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=50), st.floats(0.01, 5), st.floats(0.01, 5))
def test_the_budget_is_overspent_by_no_more_than_the_price_has_risen(
    costs: list[float], budget: float, rate: float
) -> None:
    pacer = Pacer(budget_per_request=budget, rate=rate)
    for cost in costs:
        pacer.record(cost)

    assert np.mean(costs) - budget <= pacer.current() / (rate * len(costs)) + 1e-9


@pytest.mark.parametrize(("price", "chosen"), [(0.0, "big"), (0.13, "big"), (0.14, "small")])
def test_best_weighs_cost_at_the_price_of_the_moment(price: float, chosen: str) -> None:
    request = Request(text="hi", candidates=(SMALL, BIG), snapshot=Snapshot(price=price))

    assert linear().decide(request).candidate.name == chosen


def test_the_price_comes_on_top_of_the_utilitys_own() -> None:
    best = Best(estimator=Says(), utility=Utility(enough=1, per_usd=0.1))
    request = Request(text="hi", candidates=(SMALL, BIG), snapshot=Snapshot(price=0.04))

    assert best.decide(Request(text="hi", candidates=(SMALL, BIG))).candidate is BIG
    assert best.decide(request).candidate is SMALL
    assert best.decide(request).reason == "highest utility, expected quality 0.50"


def test_at_a_price_the_reason_is_no_longer_that_it_is_good_enough() -> None:
    request = Request(text="hi", candidates=(BIG,), snapshot=Snapshot(price=0.01))

    assert Best(estimator=Says()).decide(request).reason == "highest utility, expected quality 0.90"


def test_a_request_is_recorded_once_with_all_its_attempts() -> None:
    pacer = Pacer(budget_per_request=1.0, rate=1.0)
    broken = Outcome(error=ProviderError("down", family="server"))
    engine.run(started(pacer), TableHost({"big": broken, "small": Outcome(text="4", usage=TOKENS, cost=3.0)}))

    assert pacer.current() == 2.0


def test_a_request_that_fails_counts() -> None:
    pacer = Pacer(budget_per_request=1.0, rate=1.0, price=5.0)
    broken = Outcome(error=ProviderError("down", family="server"))
    with pytest.raises(AllCandidatesFailed):
        engine.run(started(pacer), TableHost({"big": broken, "small": broken}))

    assert pacer.current() == 4.0


def test_a_decision_alone_costs_nothing_and_does_not_count() -> None:
    pacer = Pacer(budget_per_request=1.0, rate=1.0, price=5.0)
    started(pacer).plan()

    assert pacer.current() == 5.0


def test_a_stream_that_is_left_counts_what_was_paid() -> None:
    pacer = Pacer(budget_per_request=1.0, rate=1.0)
    chunks = engine.stream(started(pacer), TableHost({"big": Outcome(text="long", usage=TOKENS)}))
    next(chunks)
    assert pacer.current() == 0.0
    chunks.close()

    assert pacer.current() == 3.0


async def test_an_async_stream_that_is_left_counts_what_was_paid() -> None:
    pacer = Pacer(budget_per_request=1.0, rate=1.0)
    chunks = engine.astream(started(pacer), TableHost({"big": Outcome(text="long", usage=TOKENS)}))
    await anext(chunks)
    await chunks.aclose()

    assert pacer.current() == 3.0


async def test_a_task_that_is_cancelled_counts_the_attempts_that_ended() -> None:
    class Hangs(TableHost):
        async def aask(self, call: Any, timeout: float | None) -> Any:
            if call.candidate is SMALL:
                asked.set()
                await asyncio.Event().wait()
            return await super().aask(call, timeout)

    asked = asyncio.Event()
    pacer = Pacer(budget_per_request=1.0, rate=1.0, price=5.0)
    broken = Outcome(error=ProviderError("down", family="server"))
    task = asyncio.ensure_future(engine.arun(started(pacer), Hangs({"big": broken, "small": Outcome(text="4")})))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert pacer.current() == 4.0


def table(queries: int) -> Table:
    return Table.of(
        Record(text=f"q{row}", candidate=name, quality=grade, cost=cost)
        for row in range(queries)
        for name, grade, cost in [("small", 0.5, 1.0), ("big", 0.9, 4.0)]
    )


def test_replay_runs_in_order_at_the_price_that_the_queries_before_have_left() -> None:
    pacer = Pacer(budget_per_request=2.0, rate=0.1)

    done = replay(linear(), table(6), [SMALL, BIG], pacer=pacer)

    # Big costs 4 and raises the price by 0.2, small costs 1 and lowers it by 0.1; they are level at 0.4 / 3.
    assert [done.names[at] for at in done.chosen] == ["big", "small", "big", "small", "small", "big"]
    assert pacer.current() == pytest.approx(0.3)


def test_replay_of_an_estimator_that_predicts_in_bulk_is_paced_too() -> None:
    grades = table(300)
    learnt = Neighbors(k=1).fit(
        Record(text=text, candidate=name, quality=grade, output_tokens=1)
        for text in grades.texts
        for name, grade in [("small", 0.5), ("big", 0.9)]
    )
    best = Best(estimator=learnt, utility=Utility(enough=1))
    pacer = Pacer(budget_per_request=2.0, rate=0.02)

    assert replay(best, grades, [SMALL, BIG]).mean_cost == 4.0
    assert replay(best, grades, [SMALL, BIG], pacer=pacer).mean_cost == pytest.approx(2.0, abs=0.05)
