from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError
from router_integrations.strategies import Best
from router_integrations.types import Attempt, Call, Estimate, Request, Snapshot, Utility

A, B, C = (Candidate(name, model=object()) for name in "abc")


class Says:
    """An estimator that says what it is told, by name."""

    def __init__(self, **estimates: Estimate) -> None:
        self.estimates = estimates
        self.asked: list[tuple[Any, ...]] = []

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        self.asked.append((request, tuple(candidates), tuple(attempts)))
        return [self.estimates[one.name] for one in candidates]


def est(quality: float, cost: float | None = None, latency: float | None = None, std: float = 0.0) -> Estimate:
    return Estimate(quality=quality, cost=cost, latency=latency, std=std)


def choose(
    utility: Utility | None = None,
    *,
    budget: float | None = None,
    pool: Sequence[Candidate] = (A, B, C),
    **said: Estimate,
) -> Call:
    pool = tuple(one for one in pool if one.name in said)
    return Best(estimator=Says(**said), utility=utility).decide(
        Request(text="hi", candidates=pool, snapshot=Snapshot(budget=budget))
    )


@pytest.mark.parametrize(
    ("utility", "said", "chosen"),
    [
        (None, {"a": est(0.75, 0.01), "b": est(0.95, 0.02), "c": est(0.8, 0.005)}, "c"),
        (None, {"a": est(0.3, 0.01), "b": est(0.5, 0.2), "c": est(0.4, 0.001)}, "b"),
        (None, {"a": est(0.9, None), "b": est(0.8, 100.0)}, "b"),
        (None, {"a": est(0.9, 0.01), "b": est(0.8, 0.01)}, "a"),
        (Utility(enough=0.9), {"a": est(0.75, 0.01), "b": est(0.95, 0.02)}, "b"),
        (Utility(enough=1, per_usd=10), {"a": est(0.7, 0.01), "b": est(0.9, 0.04)}, "a"),
        (Utility(enough=1, per_usd=10), {"a": est(0.7, 0.01), "b": est(0.9, 0.02)}, "b"),
        (Utility(enough=1, per_usd=1), {"a": est(0.9, None), "b": est(0.1, 0.02)}, "b"),
        (Utility(enough=1, per_second=0.1), {"a": est(0.7, latency=1), "b": est(0.9, latency=5)}, "a"),
        (Utility(enough=1, optimism=1), {"a": est(0.7), "b": est(0.6, std=0.2)}, "b"),
        (Utility(enough=1, optimism=-1), {"a": est(0.6), "b": est(0.7, std=0.2)}, "a"),
    ],
)
def test_it_asks_the_highest_utility_of_equals_the_cheapest(
    utility: Utility | None, said: dict[str, Estimate], chosen: str
) -> None:
    assert choose(utility, **said).candidate.name == chosen
    assert choose(utility, pool=(C, B, A), **said).candidate.name == chosen


def test_of_equals_in_everything_the_first_in_the_users_order_is_asked() -> None:
    said = {"a": est(0.9, 0.01), "b": est(0.9, 0.01)}

    assert choose(pool=(A, B), **said).candidate is A
    assert choose(pool=(B, A), **said).candidate is B


@pytest.mark.parametrize(("budget", "chosen"), [(None, "a"), (1.0, "a"), (0.05, "b"), (0.001, "a")])
def test_what_the_budget_cannot_pay_is_not_asked_unless_nothing_else_is_there(
    budget: float | None, chosen: str
) -> None:
    said = {"a": est(0.6, 0.1), "b": est(0.4, 0.01)}

    assert choose(budget=budget, **said).candidate.name == chosen


def test_an_unknown_cost_is_not_taken_to_break_the_budget() -> None:
    assert choose(budget=0.001, a=est(0.6), b=est(0.4, 0.01)).candidate is A


def test_the_call_is_final_and_carries_all_estimates() -> None:
    said = {"a": est(0.75, 0.01), "b": est(0.95, 0.02)}
    call = choose(**said)

    assert call.final
    assert call.purpose == "answer"
    assert call.estimates == said


@pytest.mark.parametrize(
    ("utility", "quality", "reason"),
    [
        (None, 0.75, "cheapest with expected quality 0.75 >= 0.70"),
        (None, 0.5, "highest utility, expected quality 0.50"),
        (Utility(per_usd=1), 0.75, "highest utility, expected quality 0.75"),
    ],
)
def test_the_reason_is_in_words(utility: Utility | None, quality: float, reason: str) -> None:
    assert choose(utility, a=est(quality, 0.01)).reason == reason


def test_after_a_failure_the_reason_says_whose() -> None:
    says = Says(b=est(0.75, 0.01))
    request = Request(text="hi", candidates=(B,))
    attempts = (Attempt(call=Call(candidate=A), error=ProviderError("down", family="server")),)
    call = Best(estimator=says).decide(request, attempts)

    assert call.reason == "cheapest with expected quality 0.75 >= 0.70 after 'a' failed"
    assert says.asked == [(request, (B,), attempts)]


def test_by_default_it_routes_by_difficulty() -> None:
    small = Candidate("small", model=object(), input_price=1e-7, output_price=4e-7, strength=0.3)
    large = Candidate("large", model=object(), input_price=1e-5, output_price=4e-5, strength=0.9)
    easy, hard = (
        Best().decide(Request(text=text, candidates=(small, large)))
        for text in ("What is the capital of France?", "Prove that the square root of 2 is irrational, step by step.")
    )

    assert (easy.candidate, hard.candidate) == (small, large)
    assert easy.estimates["small"].quality > hard.estimates["small"].quality
