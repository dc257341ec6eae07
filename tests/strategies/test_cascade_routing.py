from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, LimitExceeded, ProviderError
from router_integrations.estimators import Difficulty, PrePost, TokenConfidence
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.strategies import Best, CascadeRouting
from router_integrations.strategies.cascade_routing import draw
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Request, Snapshot, Stop, Utility

POOL = tuple(Candidate(name, model=object(), max_retries=0) for name in ("small", "medium", "big"))
DOWN = Outcome(error=ProviderError("down", family="not_found"))
PRICED = Utility(enough=1, per_usd=1)


class Says:
    """Says what it is told before a candidate answers, and the number in its answer after it."""

    def __init__(self, **before: Estimate) -> None:
        self.before = before

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        said = {one.call.candidate.name: float(one.text) for one in attempts if one.error is None}
        return [Estimate(quality=said[one.name]) if one.name in said else self.before[one.name] for one in candidates]


def est(quality: float, cost: float | None = None, std: float = 0.0, latency: float | None = None) -> Estimate:
    return Estimate(quality=quality, cost=cost, std=std, latency=latency)


def answered(name: str, quality: float) -> Attempt:
    candidate = next(one for one in POOL if one.name == name)
    return Attempt(call=Call(candidate=candidate), text=str(quality))


def decide(before: Mapping[str, Estimate], *attempts: Attempt, snapshot: Snapshot | None = None, **options: Any) -> Any:
    pool = tuple(one for one in POOL if one.name in before)
    strategy = CascadeRouting(**{"estimator": Says(**before), "utility": PRICED, **options})
    return strategy.decide(Request(text="hi", candidates=pool, snapshot=snapshot or Snapshot()), attempts)


def asked(move: Call | Stop) -> str:
    return move.candidate.name if isinstance(move, Call) else "stop"


def traced(
    before: Mapping[str, Estimate],
    *outcomes: Outcome,
    budget: float | None = None,
    locked: str | None = None,
    **options: Any,
) -> Trace:
    """The run in which small, medium and big give these outcomes, in this order."""
    strategy = CascadeRouting(**{"estimator": Says(**before), "utility": PRICED, **options})
    request = Request(text="hi", candidates=POOL, snapshot=Snapshot(budget=budget, locked=locked))
    host = TableHost(dict(zip(before, outcomes, strict=True)))
    return run(Run(strategy=strategy, request=request, limits=Limits(budget=budget)), host)


def names(trace: Trace) -> list[str]:
    return [attempt.call.candidate.name for attempt in trace.attempts]


def highest(normals: Sequence[tuple[float, float]], enough: float) -> float:
    """The mean of the highest of independent normals, cut at `enough`, by integration of its distribution."""
    x = np.linspace(-3, min(enough, 4.0), 4001)
    below = np.ones_like(x)
    for mean, std in normals:
        below *= ndtr((x - mean) / std)
    return float(x[-1] - np.trapezoid(below, x))


def worths(
    estimates: Mapping[str, Estimate], have: Sequence[str], enough: float = math.inf
) -> dict[tuple[str, ...], float]:
    """What each set of candidates beside `have` is worth at one USD for one of quality."""
    left = [name for name in estimates if name not in have]
    found = {}
    for size in range(0 if have else 1, len(left) + 1):
        for more in combinations(left, size):
            normals = [(estimates[name].quality, max(estimates[name].std, 1e-9)) for name in (*have, *more)]
            found[more] = highest(normals, enough) - sum(estimates[name].cost or 0.0 for name in more)
    return found


def is_cheapest(name: str, among: Sequence[str], estimates: Mapping[str, Estimate]) -> bool:
    costs = [estimates[one].cost or 0.0 for one in among]
    return name in among and (estimates[name].cost or 0.0) <= min(costs)


class TestCascadeRouting(StrategyContract):
    @pytest.fixture(
        params=[
            CascadeRouting(),
            CascadeRouting(utility=Utility(enough=1, per_usd=100)),
            CascadeRouting(order=("large", "small"), utility=Utility(enough=1, per_usd=100)),
            CascadeRouting(order=("absent",)),
            CascadeRouting(max_depth=1),
            CascadeRouting(estimator=PrePost(before=Difficulty(), after=TokenConfidence()), utility=Utility(enough=1)),
        ],
        ids=["default", "priced", "own order", "absent", "depth 1", "everybody"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> CascadeRouting:
        strategy: CascadeRouting = request.param
        return strategy


numbers = st.floats(0.0, 1.0)
# Far enough from 0 and 1 that nothing is cut.
estimates_of_three = st.fixed_dictionaries(
    {one.name: st.builds(est, st.floats(0.35, 0.65), st.floats(0.0, 0.1), st.floats(0.02, 0.11)) for one in POOL}
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(before=estimates_of_three, have=st.sampled_from(["", "small", "big"]), enough=st.sampled_from([0.55, 1.0]))
def test_it_does_what_the_best_of_all_sets_says(before: dict[str, Estimate], have: str, enough: float) -> None:
    attempts = [answered(have, round(before[have].quality, 3))] if have else []
    known = {**before, **({have: est(float(attempts[0].text))} if have else {})}
    cut = math.inf if enough == 1 else enough
    worth = worths(known, [have] if have else [], cut)
    move = decide(before, *attempts, utility=Utility(enough=enough, per_usd=1))
    if isinstance(move, Stop):
        possible = [value for more, value in worth.items() if not more]
    else:
        possible = [value for more, value in worth.items() if is_cheapest(move.candidate.name, more, before)]

    # Quasi-random draws stray from the integral by about 0.001.
    assert max(possible, default=-math.inf) >= max(worth.values()) - 0.002


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.lists(st.tuples(numbers, st.floats(0.0, 0.5)), min_size=3, max_size=3))
def test_with_nothing_to_learn_from_answers_it_is_best_and_stops(data: list[tuple[float, float]]) -> None:
    before = {one.name: est(quality, cost) for one, (quality, cost) in zip(POOL, data, strict=True)}
    first = decide(before)
    best = Best(estimator=Says(**before), utility=PRICED).decide(Request(text="hi", candidates=POOL))
    worth = {name: one.quality - (one.cost or 0.0) for name, one in before.items()}

    assert worth[first.candidate.name] == pytest.approx(worth[best.candidate.name], abs=1e-6)
    # What was expected came: nothing is left to gain but from somebody better at nearly no price.
    after = decide(before, answered(first.candidate.name, before[first.candidate.name].quality))
    gain = max(one.quality - before[first.candidate.name].quality - (one.cost or 0.0) for one in before.values())
    assert isinstance(after, Stop) == (gain <= 1e-9)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(mean=numbers, std=st.floats(0.0, 2.0))
def test_draws_are_qualities_with_the_mean_that_was_estimated(mean: float, std: float) -> None:
    drawn = draw(np.array([mean]), np.array([std]), 0)

    assert drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.mean() == pytest.approx(mean, abs=3e-3)


def test_a_perfect_answer_ends_it_however_cheap_the_others_are() -> None:
    before = {"small": est(0.6, 1e-9, 0.4), "big": est(0.99, 1e-9, 0.4)}

    assert asked(decide(before, answered("small", 1.0))) == "stop"


def test_pruning_forgets_no_set_of_seven() -> None:
    rng = np.random.default_rng(4)
    pool = tuple(Candidate(f"m{place}", model=object()) for place in range(7))
    for _ in range(5):
        before = {one.name: est(*rng.uniform([0.35, 0.001, 0.03], [0.65, 0.03, 0.11])) for one in pool}
        worth = worths(before, [])
        move = CascadeRouting(estimator=Says(**before), utility=PRICED, max_depth=7).decide(
            Request(text="hi", candidates=pool)
        )
        possible = [value for more, value in worth.items() if is_cheapest(asked(move), more, before)]

        assert max(possible) >= max(worth.values()) - 0.002


def test_an_uncertain_cheap_answer_is_worth_a_look_before_a_dear_one() -> None:
    before = {"small": est(0.6, 0.01, 0.4), "big": est(0.8, 0.15)}

    assert asked(decide(before)) == "small"
    assert asked(decide(before, answered("small", 0.9))) == "stop"
    assert asked(decide(before, answered("small", 0.2))) == "big"


@pytest.mark.parametrize("utility", [Utility(enough=0.7), Utility(enough=0.7, per_usd=0.01)])
def test_of_sets_worth_the_same_a_cheap_one_that_may_do_is_asked_before_a_dear_one_that_will(utility: Utility) -> None:
    """Without a price of quality, or where the cheap one is free."""
    cost = 0.0 if utility.per_usd else 0.01
    before = {"small": est(0.8, cost, std=0.2), "big": est(1.0, 1.0)}

    assert asked(decide(before, utility=utility)) == "small"


def test_a_cheap_one_that_will_hardly_do_is_not_asked_before_the_dear_one() -> None:
    before = {"small": est(0.1, 0.5, std=0.1), "big": est(1.0, 1.0)}

    assert asked(decide(before, utility=Utility(enough=0.7))) == "big"


def test_a_certain_cheap_answer_is_skipped() -> None:
    assert asked(decide({"small": est(0.3, 0.01, 0.01), "big": est(0.8, 0.15)})) == "big"


def test_a_cascade_skips_nobody() -> None:
    before = {"small": est(0.3, 0.01, 0.01), "big": est(0.8, 0.15)}

    assert asked(decide(before, order=("small", "big"))) == "small"


def test_the_price_of_the_pacer_counts_on_top() -> None:
    before = {"small": est(0.6, 0.01), "big": est(0.8, 0.15)}

    assert asked(decide(before)) == "big"
    assert asked(decide(before, snapshot=Snapshot(price=1.0))) == "small"


def test_quality_beyond_enough_is_worth_nothing() -> None:
    before = {"small": est(0.6, 0.01), "big": est(0.9, 0.15)}

    assert asked(decide(before, answered("small", 0.75), utility=Utility())) == "stop"
    assert asked(decide(before, answered("small", 0.65), utility=Utility())) == "big"


def test_a_second_has_its_price() -> None:
    before = {"small": est(0.6, latency=1.0), "big": est(0.9, latency=9.0)}

    assert asked(decide(before, utility=Utility(enough=1, per_second=0.01))) == "big"
    assert asked(decide(before, utility=Utility(enough=1, per_second=0.1))) == "small"


def test_optimism_moves_the_estimates() -> None:
    before = {"small": est(0.5, 0.01, 0.3), "big": est(0.6, 0.01)}

    assert asked(decide(before, utility=Utility(enough=1, per_usd=1, optimism=-2), max_depth=1)) == "big"
    assert asked(decide(before, utility=Utility(enough=1, per_usd=1, optimism=2), max_depth=1)) == "small"


def test_the_best_answer_is_returned_not_the_last() -> None:
    before = {"small": est(0.6, 0.0, 0.4), "medium": est(0.6, 0.0, 0.4), "big": est(0.6, 0.0, 0.4)}
    trace = traced(before, Outcome(text="0.5"), Outcome(text="0.7"), Outcome(text="0.1"))

    assert names(trace) == ["small", "medium", "big"]
    assert trace.answer is not None and trace.answer.text == "0.7"
    assert trace.reason == "nobody else is worth asking; 'medium' answered best, 0.70"


def test_no_more_answers_are_asked_for_than_max_depth() -> None:
    before = {one.name: est(0.6, 0.0, 0.4) for one in POOL}

    assert names(traced(before, *[Outcome(text="0.5")] * 3, max_depth=2)) == ["small", "medium"]


def test_who_fails_costs_no_depth() -> None:
    before = {one.name: est(0.6, 0.0, 0.4) for one in POOL}

    assert names(traced(before, DOWN, *[Outcome(text="0.5")] * 2, max_depth=2)) == ["small", "medium", "big"]


def test_an_answer_outlives_the_failure_of_everybody_else() -> None:
    before = {one.name: est(0.6, 0.0, 0.4) for one in POOL}
    trace = traced(before, Outcome(text="0.5"), DOWN, DOWN)

    assert names(trace) == ["small", "medium", "big"]
    assert trace.answer is not None and trace.answer.text == "0.5"


def test_when_all_fail_the_error_says_so() -> None:
    with pytest.raises(AllCandidatesFailed):
        traced({one.name: est(0.6, 0.0, 0.4) for one in POOL}, DOWN, DOWN, DOWN)


def test_a_set_beyond_the_budget_is_not_planned() -> None:
    before = {"small": est(0.3, 0.1, 0.4), "medium": est(0.5, 0.2, 0.4), "big": est(0.9, 0.5, 0.4)}
    outcomes = [Outcome(text=text, cost=cost) for text, cost in (("0.3", 0.1), ("0.5", 0.2), ("0.9", 0.5))]
    free = Utility(enough=1)

    assert names(traced(before, *outcomes, utility=free)) == ["small", "medium", "big"]
    # Small first would leave too little for big.
    assert names(traced(before, *outcomes, utility=free, budget=0.55)) == ["big"]
    assert names(traced(before, *outcomes, utility=free, budget=0.35)) == ["small", "medium"]


def test_a_budget_for_nobody_is_said_so() -> None:
    with pytest.raises(LimitExceeded):
        traced({one.name: est(0.6, 0.5) for one in POOL}, DOWN, DOWN, DOWN, budget=0.1)


def test_where_quality_has_a_price_an_unknown_cost_is_asked_last() -> None:
    before = {"small": est(0.9, None), "medium": est(0.2, 0.1)}

    assert asked(decide(before)) == "medium"
    assert asked(decide({"small": est(0.5), "medium": est(0.6)})) == "medium"


def test_a_tool_loop_goes_on_unchecked_with_the_candidate_that_began_it() -> None:
    before = {one.name: est(0.6, 0.0, 0.4) for one in POOL}
    trace = traced(before, *[Outcome(text="0.1")] * 3, locked="medium")

    assert names(trace) == ["medium"]
    assert trace.attempts[0].call.final is True


def test_only_an_answer_that_nobody_will_look_at_is_streamed() -> None:
    before = {"small": est(0.6, 0.01, 0.4), "big": est(0.8, 0.15)}

    assert decide(before).final is False
    assert decide(before, max_depth=1).final is True
    assert decide({"big": before["big"]}).final is True


def test_the_seed_changes_draws_and_nothing_else() -> None:
    before = {"small": est(0.6, 0.01, 0.4), "big": est(0.8, 0.15, 0.1)}

    assert {asked(decide(before, answered("small", 0.2), seed=seed)) for seed in range(3)} == {"big"}


def test_many_candidates_are_decided_between() -> None:
    """Thirty candidates have too many sets to look at them all."""
    rng = np.random.default_rng(1)
    pool = tuple(Candidate(f"m{place}", model=object()) for place in range(30))
    before = {one.name: est(float(rng.uniform(0.4, 0.8)), 0.001, 0.2) for one in pool}
    before["m7"] = est(0.1, 0.0, 0.3)
    strategy = CascadeRouting(estimator=Says(**before), utility=Utility(enough=1, per_usd=1))

    assert asked(strategy.decide(Request(text="hi", candidates=pool))) != "stop"


@pytest.mark.parametrize("options", [{"order": "price"}, {"order": ()}, {"order": ("a", "a")}, {"max_depth": 0}])
def test_options_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="CascadeRouting"):
        CascadeRouting(**options)
