from __future__ import annotations

import random
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Constrained, Difficulty, Linear
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import Best
from router_integrations.testing import checks
from router_integrations.testing.contracts import EstimatorContract
from router_integrations.testing.learning import example_grades
from router_integrations.types import Estimate, Request, Utility

POOL = checks.example_candidates()
COSTS = {"size": {"small": 0.0, "medium": 0.25, "large": 1.0}, "age": {"small": 1.0, "medium": 0.5, "large": 0.0}}
FLAGS = {"smallest model": {"size": 3.0}, "Any Size": {"size": 0.0}, "new and small": {"size": 1.0, "age": 2.0}}


class Says:
    """Expects what it was told, and remembers what it was asked."""

    def __init__(self, *quality: float) -> None:
        self.quality = quality
        self.asked: list[Request] = []

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> list[Estimate]:
        self.asked.append(request)
        return [Estimate(quality=one, std=0.2, cost=0.5, latency=2.0) for one in self.quality]


class TestConstrained(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Constrained:
        return Constrained(costs=COSTS, weights={"size": 0.5}, flags=FLAGS)


def ask(text: str = "hi", *, says: Says | None = None, **options: Any) -> list[Estimate]:
    estimator = Constrained(estimator=says or Says(0.4, 0.6, 0.8), costs=COSTS, flags=FLAGS, **options)
    return estimator.estimate(Request(text=text), POOL)


def test_quality_is_the_weighted_mean_of_quality_and_of_wishes_met() -> None:
    estimates = ask(weights={"size": 2.0, "age": 1.0})

    assert [one.quality for one in estimates] == pytest.approx(
        [(0.4 + 2 * 1 + 0) / 4, (0.6 + 2 * 0.75 + 0.5) / 4, (0.8 + 0 + 1) / 4]
    )
    assert [one.std for one in estimates] == pytest.approx([0.05] * 3)
    assert {(one.cost, one.latency) for one in estimates} == {(0.5, 2.0)}


def test_the_order_is_that_of_quality_less_the_weighted_costs() -> None:
    rng = random.Random(0)
    for _ in range(200):
        quality = [rng.random() for _ in POOL]
        weights = {"size": rng.expovariate(1), "age": rng.expovariate(1)}
        worth = [
            one - sum(weights[name] * COSTS[name][candidate.name] for name in weights)
            for one, candidate in zip(quality, POOL, strict=True)
        ]
        got = [one.quality for one in ask(says=Says(*quality), weights=weights)]
        assert max(got) <= 1 and min(got) >= 0
        assert sorted(range(3), key=got.__getitem__) == sorted(range(3), key=worth.__getitem__)


def test_without_weights_nothing_changes() -> None:
    assert ask() == Says(0.4, 0.6, 0.8).estimate(Request(text="hi"), POOL)
    assert Constrained().estimate(Request(text="hi"), POOL) == Difficulty().estimate(Request(text="hi"), POOL)


def test_a_candidate_without_a_cost_meets_no_wish() -> None:
    estimator = Constrained(estimator=Says(0.5), costs=COSTS, weights={"size": 1.0})
    (estimate,) = estimator.estimate(Request(text="hi"), [Candidate("unheard of", model=object())])

    assert estimate.quality == 0.25


@pytest.mark.parametrize(
    ("text", "seen", "weights"),
    [
        ("[Flag: smallest model] Say hi", "Say hi", {"size": 3.0, "age": 1.0}),
        ("Say hi [FLAG:Smallest Model ]", "Say hi ", {"size": 3.0, "age": 1.0}),
        ("Say [flag: any size] hi", "Say hi", {"size": 0.0, "age": 1.0}),
        ("[Flag: new and small]Say hi", "Say hi", {"size": 1.0, "age": 2.0}),
        ("[Flag: smallest model][Flag: new and small] hi", "hi", {"size": 1.0, "age": 2.0}),
        ("[Flag: cheapest] hi", "[Flag: cheapest] hi", {"size": 0.5, "age": 1.0}),
        ("Flag: smallest model", "Flag: smallest model", {"size": 0.5, "age": 1.0}),
    ],
)
def test_a_flag_sets_weights_and_is_not_estimated(text: str, seen: str, weights: dict[str, float]) -> None:
    says = Says(0.4, 0.6, 0.8)
    flagged = ask(text, says=says, weights={"size": 0.5, "age": 1.0})

    assert says.asked[0].text == seen
    assert flagged == ask(weights=weights)


def test_a_flag_counts_for_its_own_request_only() -> None:
    estimator = Constrained(estimator=Says(0.4, 0.6, 0.8), costs=COSTS, flags=FLAGS)
    before, _, after = (estimator.estimate(Request(text=text), POOL) for text in ("a", "[Flag: smallest model]", "a"))

    assert before == after


def test_without_flags_the_text_is_left_as_it_is() -> None:
    says = Says(0.5, 0.5, 0.5)
    Constrained(estimator=says, costs=COSTS, weights={"size": 1.0}).estimate(Request(text="[Flag: x]"), POOL)

    assert says.asked[0].text == "[Flag: x]"


def test_a_strategy_follows_the_flag() -> None:
    strategy = Best(
        estimator=Constrained(estimator=Says(0.4, 0.6, 0.8), costs=COSTS, flags=FLAGS), utility=Utility(enough=1.0)
    )
    chosen = [
        strategy.decide(Request(text=text, candidates=POOL)).candidate.name
        for text in ("hi", "hi [Flag: smallest model]")
    ]

    assert chosen == ["large", "small"]


def test_it_is_saved_with_what_its_estimator_has_learnt() -> None:
    learnt = Linear(encoder=HashingEncoder(dimensions=8)).fit(example_grades(POOL))
    estimator = Constrained(estimator=learnt, costs=COSTS, weights={"age": 0.5}, flags=FLAGS)
    writer = Writer()
    plain = writer.plain(estimator, "estimator")
    again = Reader(writer.arrays, writer.layout).value(plain)
    request = Request(text="boil an onion [Flag: smallest model]")

    assert isinstance(again, Constrained)
    assert again.estimate(request, POOL) == estimator.estimate(request, POOL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"costs": {"size": {"a": 1.5}}}, "'size' of 'a' is 1.5"),
        ({"costs": {"size": {"a": float("nan")}}}, "'size' of 'a' is nan"),
        ({"costs": COSTS, "weights": {"size": -1.0}}, "'size' has -1.0"),
        ({"costs": COSTS, "weights": {"size": float("inf")}}, "'size' has inf"),
        ({"costs": COSTS, "flags": {"tiny": {"size": float("nan")}}}, "'size' has nan"),
        ({"costs": COSTS, "flags": {"tiny": {"weight": 1.0}}}, r"'weight' but no costs; it has \['size', 'age'\]"),
        ({"weights": {"size": 1.0}}, r"'size' but no costs; it has \[\]"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Constrained(**options)
