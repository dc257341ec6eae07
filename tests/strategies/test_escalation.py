from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from router_integrations.errors import ConfigurationError
from router_integrations.evaluation import ibc_lift
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import POMDP, EscalationPolicy, GreedyPOMDP, PolicyUnion, Thresholds

POLICIES = [Thresholds(), Thresholds(count=2), Thresholds(count=3), POMDP(), GreedyPOMDP(), PolicyUnion()]
LEVELS = np.arange(9) / 8
HOPELESS, NEEDY, GOOD = (0.0, 0.0, 0.0), (0.5, 0.0, 1.0), (1.0, 1.0, 1.0)


def drawn(queries: int = 300, seed: int = 0) -> list[tuple[float, float, float]]:
    """Shares of eight votes that follow the small candidate's grade; hopeless queries get few votes."""
    rng = np.random.default_rng(seed)
    hard = rng.random(queries)
    small, large = (hard < 0.4).astype(float), (hard < 0.8).astype(float)
    confidence = rng.binomial(8, np.clip(0.9 - 0.8 * hard + 0.1 * rng.normal(size=queries), 0, 1)) / 8
    return [(float(a), float(b), float(c)) for a, b, c in zip(confidence, small, large, strict=True)]


def lift(escalated: Any, cases: Any, escalation: float = 50.0, verification: float = 1.0) -> float:
    """ΔIBC of escalating these levels, with the small candidate's cost 1, one query at a time."""
    taken = [escalated[round(8 * confidence)] for confidence, _, _ in cases]
    quality = np.mean([large if up else small for up, (_, small, large) in zip(taken, cases, strict=True)])
    cost = 1 + verification + escalation * np.mean(taken)
    means = np.mean(cases, axis=0)
    return ibc_lift(float(quality), float(cost), small=(means[1], 1.0), large=(means[2], escalation))


def escalated(policy: EscalationPolicy) -> list[bool]:
    return [policy.escalates(level) for level in LEVELS]


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, lambda edges, i: i < edges[0]), (2, lambda edges, i: edges[0] <= i < edges[1])],
)
def test_thresholds_have_the_highest_lift_of_all(count: Any, shape: Any) -> None:
    cases = drawn()
    policy = Thresholds(count=count).fit(cases)
    all_edges = product(range(10), repeat=count)
    best = max(lift([shape(edges, level) for level in range(9)], cases) for edges in all_edges)

    assert lift(escalated(policy), cases) == pytest.approx(best)


def test_three_thresholds_have_the_highest_lift_of_all() -> None:
    cases = drawn()
    best = max(
        lift([i < a or b <= i < c for i in range(9)], cases) for a, b, c in product(range(10), repeat=3) if a < b < c
    )

    assert lift(escalated(Thresholds(count=3).fit(cases)), cases) == pytest.approx(best)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda one: f"{type(one).__name__}{getattr(one, 'count', '')}")
def test_a_policy_that_has_learnt_beats_mixing_at_random_on_new_queries(policy: EscalationPolicy) -> None:
    assert lift(escalated(policy.fit(drawn())), drawn(seed=1)) > 0


def test_the_union_is_as_good_as_its_best_member() -> None:
    cases = drawn()
    members = [POMDP(), GreedyPOMDP(), Thresholds(count=2), Thresholds()]
    best = max(lift(escalated(member.fit(cases)), cases) for member in members)

    assert lift(escalated(PolicyUnion().fit(cases)), cases) == pytest.approx(best)


def test_the_pomdp_follows_the_reward_table() -> None:
    # Level 4: two in three are needy, so that 2 / 3 · r + 1 / 3 > 100 for r > 149.5; level 0: one in three.
    cases = [NEEDY, NEEDY, (0.5, 0.0, 0.0), (0.0, 0.0, 1.0), HOPELESS, HOPELESS, GOOD]
    wanted = {
        tuple(bool(belief[0] * r + belief[2] > 100) for belief in ((1 / 3, 0, 2 / 3), (2 / 3, 0, 1 / 3), (0, 1, 0)))
        for r in range(5000)
    }
    level = np.array([1, 1, 1, 0, 0, 0, 2])
    small, large = np.array([case[1:] for case in cases]).T
    proposed = POMDP(steps=2)._proposals(level, small, large)

    assert {tuple(row) for row in proposed.tolist()} == wanted == {(0, 0, 0), (0, 1, 0), (1, 1, 0)}


def test_of_a_level_never_seen_the_pomdp_believes_what_it_does_of_all() -> None:
    level, small, large = np.array([1, 1, 1, 2]), np.array([0.0, 0.0, 0.0, 1.0]), np.ones(4)
    proposed = POMDP(steps=2)._proposals(level, small, large)

    assert {tuple(row) for row in proposed.tolist()} == {(0, 0, 0), (0, 1, 0), (1, 1, 0)}


def test_what_gains_nothing_is_not_escalated() -> None:
    for policy in (Thresholds(), Thresholds(count=2), Thresholds(count=3), POMDP(), GreedyPOMDP(), PolicyUnion()):
        policy.fit([(0.0, 1.0, 0.0), (0.5, 1.0, 1.0), (1.0, 1.0, 0.5)])
        assert not any(escalated(policy))


def test_dear_verdicts_lead_to_more_escalation() -> None:
    cases = drawn()
    few, many = (sum(escalated(GreedyPOMDP().fit(cases, verification=cost))) for cost in (0.0, 50.0))

    assert few < many


def test_a_confidence_between_two_levels_takes_the_nearer_one() -> None:
    policy = Thresholds(count=2, steps=2).fit([HOPELESS, NEEDY, GOOD])

    assert [policy.escalates(value) for value in (0.2, 0.3, 0.7, 0.8)] == [False, True, True, False]


def test_fit_forgets_what_was_known() -> None:
    policy = Thresholds().fit([NEEDY, GOOD])
    policy.fit([(0.5, 1.0, 0.0)])

    assert not policy.escalates(0.5)


@pytest.mark.parametrize("kind", [Thresholds, POMDP, GreedyPOMDP, PolicyUnion])
def test_a_policy_is_saved_with_what_it_has_learnt(kind: Any) -> None:
    policy, writer = kind().fit(drawn()), Writer()
    again = Reader(writer.arrays, writer.layout).value(writer.plain(policy, "policy"))

    assert escalated(again) == escalated(policy)
    assert type(again.escalates_[0]) is bool


@pytest.mark.parametrize("cases", [[], [(0.5, 1.0)], [(1.5, 0.0, 1.0)], [(0.5, float("nan"), 1.0)]])
def test_cases_that_are_no_triples_in_range_are_rejected(cases: Any) -> None:
    with pytest.raises(ConfigurationError, match="triples of confidence"):
        Thresholds().fit(cases)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Thresholds(count=4),  # type: ignore[arg-type]
        lambda: Thresholds(steps=0),
        lambda: GreedyPOMDP(sigma=0.0),
        lambda: PolicyUnion(policies=()),
        lambda: PolicyUnion(policies=(POMDP(steps=4), Thresholds())),
        lambda: Thresholds().fit([NEEDY], escalation=0.0),
        lambda: Thresholds().fit([NEEDY], verification=-1.0),
    ],
)
def test_options_out_of_range_are_rejected(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()
