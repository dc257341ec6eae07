from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from router_integrations import Candidate
from router_integrations.calibration.cascades import CascadeThresholds, threshold_paths, tune_cascade
from router_integrations.engine import run
from router_integrations.errors import Abstained, ConfigurationError
from router_integrations.estimators import TokenConfidence
from router_integrations.steps import Run
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.types import Request

NAMES = ("a", "b", "c", "d", "e")


def drawn(queries: int, rungs: int, seed: int = 0) -> np.ndarray:
    """Confidences that rise together along a chain."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=(queries, 1))
    odds = hard + np.arange(rungs) + 0.7 * rng.normal(size=(queries, rungs))
    return 1 / (1 + np.exp(-odds))


def loss(sure: np.ndarray, price: Any, found: CascadeThresholds, per_usd: float, per_abstention: float) -> float:
    """What the thresholds cost on average, a query at a time."""
    total = 0.0
    for row in sure:
        for rung, name in enumerate(found.names):
            total += per_usd * price[rung]
            if row[rung] > found.accept[name]:
                total += 1 - row[rung]
                break
            if row[rung] <= found.abstain.get(name, -1.0):
                total += per_abstention
                break
        else:
            total += 1 - row[-1]
    return total / len(sure)


@pytest.mark.parametrize("rungs", [2, 3])
@pytest.mark.parametrize(("per_usd", "per_abstention"), [(0.5, 0.3), (2.0, 0.15), (0.1, 0.8)])
def test_no_grid_of_thresholds_is_much_better(rungs: int, per_usd: float, per_abstention: float) -> None:
    sure, price, names = drawn(200, rungs), np.array([0.01, 0.05, 0.1])[:rungs], NAMES[:rungs]
    found = tune_cascade(names, sure, price, per_usd=per_usd, per_abstention=per_abstention)
    last = dict.fromkeys(names[-1:], 1 - per_abstention)
    pairs = [(low, high) for low, high in itertools.product(np.linspace(0, 1, 11), repeat=2) if low <= high]
    best = min(
        loss(
            sure,
            price,
            CascadeThresholds(
                names=names,
                accept={**{name: pair[1] for name, pair in zip(names, chosen, strict=False)}, **last},
                abstain={**{name: pair[0] for name, pair in zip(names, chosen, strict=False)}, **last},
            ),
            per_usd,
            per_abstention,
        )
        for chosen in itertools.product(pairs[:: 1 if rungs == 2 else 5], repeat=rungs - 1)
    )

    assert loss(sure, price, found, per_usd, per_abstention) <= best + 0.003


@pytest.mark.parametrize("rungs", [2, 3, 4, 5])
def test_thirty_queries_are_nearly_as_good_as_two_thousand(rungs: int) -> None:
    price, names, new = 0.02 * 2.0 ** np.arange(rungs), NAMES[:rungs], drawn(2000, rungs, seed=1)
    few, many = (
        loss(new, price, tune_cascade(names, drawn(number, rungs), price, per_usd=0.5, per_abstention=0.3), 0.5, 0.3)
        for number in (30, 2000)
    )

    assert few <= 1.05 * many


def test_without_a_price_the_best_model_is_always_asked() -> None:
    sure = np.stack([np.linspace(0.1, 0.8, 40), np.full(40, 0.9)], axis=1)
    found = tune_cascade(["a", "b"], sure, [1.0, 1.0], per_usd=0.0, per_abstention=1.0)

    assert found.accept["a"] >= 0.8 and not found.abstain


def test_a_price_beyond_all_quality_asks_nobody_twice() -> None:
    found = tune_cascade(["a", "b"], drawn(50, 2), [1.0, 1.0], per_usd=9.0, per_abstention=0.5)

    assert found.accept["a"] == pytest.approx(found.abstain["a"])


def test_the_last_candidate_abstains_where_an_error_costs_more() -> None:
    found = tune_cascade(["a", "b"], drawn(50, 2), [0.0, 0.1], per_usd=1.0, per_abstention=0.25)

    assert found.abstain["b"] == found.accept["b"] == 0.75


def test_late_abstention_is_for_the_last_candidate_only() -> None:
    found = tune_cascade(["a", "b"], drawn(50, 2), [1.0, 1.0], per_usd=9.0, per_abstention=0.5, early=False)

    assert set(found.abstain) == {"b"}


def test_the_thresholds_at_many_prices_are_those_at_each() -> None:
    sure, price = drawn(60, 3), np.array([0.1, 0.2, 0.4])
    per_usd, per_abstention = np.array([0.1, 0.5, 1.0]), np.array([0.1, 0.5, 0.9])
    accept, abstain = threshold_paths(sure, price, per_usd, per_abstention)
    for at in range(3):
        one = threshold_paths(sure, price, per_usd[[at]], per_abstention[[at]])
        np.testing.assert_allclose([accept[at], abstain[at]], [one[0][0], one[1][0]])


@pytest.mark.parametrize(("confidence", "end"), [(0.9, "a"), (0.5, "b"), (0.01, None)])
def test_the_cascade_does_what_the_thresholds_say(confidence: float, end: str | None) -> None:
    found = CascadeThresholds(names=("a", "b"), accept={"a": 0.8, "b": 0.3}, abstain={"a": 0.1, "b": 0.3})
    pool = tuple(Candidate(name, model=object(), strength=0.5) for name in "ab")
    host = TableHost(
        {
            "a": Outcome(text="a", logprobs=(float(np.log(confidence)),)),
            "b": Outcome(text="b", logprobs=(float(np.log(0.4)),)),
        }
    )
    live = Run(strategy=found.cascade(TokenConfidence()), request=Request(text="hi", candidates=pool))
    if end is None:
        with pytest.raises(Abstained):
            run(live, host)
        return
    answer = run(live, host).answer

    assert answer is not None and answer.text == end


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"names": ["a"]}, "two candidates"),
        ({"names": ["a", "a"]}, "two candidates"),
        ({"cost": [1.0]}, "a cost for each"),
        ({"correct": drawn(29, 2)}, "at least 30 queries"),
        ({"correct": np.full((30, 2), np.nan)}, "at least 30 queries"),
        ({"per_usd": -1.0}, "per_usd >= 0"),
        ({"per_abstention": 1.5}, "per_abstention in"),
    ],
)
def test_arguments_that_do_not_fit_are_rejected(changed: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {
        "names": ["a", "b"],
        "correct": drawn(30, 2),
        "cost": [0.0, 1.0],
        "per_usd": 1.0,
        "per_abstention": 0.5,
    }
    given |= changed
    with pytest.raises(ConfigurationError, match=why):
        tune_cascade(given.pop("names"), given.pop("correct"), given.pop("cost"), **given)
