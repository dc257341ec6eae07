from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.estimators import ClusterLatency, Difficulty
from router_integrations.strategies import LatencyTradeoff
from router_integrations.strategies.latency import best_trade, rescaled
from router_integrations.testing.contracts import StrategyContract
from router_integrations.types import Attempt, Call, Estimate, Request, Snapshot

A, B, C = (Candidate(name, model=object()) for name in "abc")


class TestLatencyTradeoff(StrategyContract):
    @pytest.fixture(params=[Difficulty(), ClusterLatency()], ids=["difficulty", "clusters"])
    def strategy(self, request: pytest.FixtureRequest) -> LatencyTradeoff:
        return LatencyTradeoff(estimator=request.param, weight=0.1)


class Says:
    def __init__(self, **estimates: Estimate) -> None:
        self.estimates = estimates

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        return [self.estimates[one.name] for one in candidates]


def call(
    weight: float, *, attempts: Sequence[Attempt] = (), snapshot: Snapshot | None = None, **said: Estimate
) -> Call:
    pool = tuple(one for one in (A, B, C) if one.name in said)
    request = Request(text="hi", candidates=pool, snapshot=snapshot or Snapshot())
    return LatencyTradeoff(estimator=Says(**said), weight=weight).decide(request, attempts)


def est(quality: float, latency: float | None, cost: float | None = None) -> Estimate:
    return Estimate(quality=quality, latency=latency, cost=cost)


@pytest.mark.parametrize(
    ("weight", "said", "chosen"),
    [
        (0.0, {"a": est(0.5, 1), "b": est(0.9, 9)}, "b"),
        (0.39, {"a": est(0.5, 1), "b": est(0.9, 9)}, "b"),
        (0.41, {"a": est(0.5, 1), "b": est(0.9, 9)}, "a"),
        (0.41, {"a": est(0.5, 100), "b": est(0.9, 900)}, "a"),
        # The slowest is beaten by b, so that b alone is the slow end of the scale.
        (0.39, {"a": est(0.5, 1), "b": est(0.9, 2), "c": est(0.8, 90)}, "b"),
        (0.41, {"a": est(0.5, 1), "b": est(0.9, 2), "c": est(0.8, 90)}, "a"),
        (0.5, {"a": est(0.5, 1), "b": est(0.8, 2), "c": est(0.9, 9)}, "b"),
        (0.0, {"a": est(0.9, 2), "b": est(0.9, 1)}, "b"),
        (0.0, {"a": est(0.9, 1), "b": est(0.9, 1)}, "a"),
        (9.0, {"a": est(0.1, None), "b": est(0.2, 5)}, "b"),
        (0.0, {"a": est(0.9, None), "b": est(0.2, 5)}, "b"),
        (9.0, {"a": est(0.1, None), "b": est(0.2, None)}, "b"),
    ],
)
def test_quality_is_traded_for_latency(weight: float, said: dict[str, Estimate], chosen: str) -> None:
    assert call(weight, **said).candidate.name == chosen


@pytest.mark.parametrize(("budget", "chosen"), [(0.5, "a"), (2.0, "b"), (0.01, "b")])
def test_what_is_too_dear_is_left_out_unless_all_are(budget: float, chosen: str) -> None:
    said = {"a": est(0.5, 1, 0.1), "b": est(0.9, 9, 1.0)}

    assert call(0.0, snapshot=Snapshot(budget=budget), **said).candidate.name == chosen


@pytest.mark.parametrize(("price", "chosen"), [(0.0, "b"), (1.0, "a")])
def test_the_price_of_a_pacer_counts(price: float, chosen: str) -> None:
    said = {"a": est(0.5, 1, 0.1), "b": est(0.9, 9, 1.0)}

    assert call(0.0, snapshot=Snapshot(price=price), **said).candidate.name == chosen


def test_a_price_without_known_costs_still_decides() -> None:
    assert call(0.0, snapshot=Snapshot(price=1.0), a=est(0.5, 1), b=est(0.9, 9)).candidate.name == "a"


def test_the_reason_and_the_estimates_are_told() -> None:
    failed = Attempt(call=Call(candidate=A), error=ProviderError("down", family="server"))
    done = call(0.0, attempts=[failed], b=est(0.9, 9), c=est(0.1, 1))

    assert done.final
    assert done.reason == "best trade of quality 0.90 against latency after 'a' failed"
    assert done.estimates == {"b": est(0.9, 9), "c": est(0.1, 1)}


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan")])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(ConfigurationError, match=r"LatencyTradeoff\.weight must be"):
        LatencyTradeoff(estimator=Difficulty(), weight=weight)


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ({4: (0.2, 7.0)}, {4: (0.2, 0.0)}),
        ({0: (0.5, 1.0), 1: (0.5, 2.0)}, {0: (0.5, 0.0)}),
        ({0: (0.5, 3.0), 1: (0.6, 3.0), 2: (0.7, 5.0)}, {1: (0.6, 0.0), 2: (0.7, 1.0)}),
    ],
)
def test_only_what_nobody_beats_is_rescaled(points: dict[int, Any], kept: dict[int, Any]) -> None:
    assert rescaled(points) == kept


def test_of_equal_trades_the_faster_is_taken() -> None:
    assert best_trade({0: (0.5, 0.0), 1: (1.0, 1.0)}, 0.5) == 0
