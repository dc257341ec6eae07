"""Published figures that the recorded outcomes must give back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from router_integrations.evaluation import aiq, apgr, auroc, best_single, cpt, frontier, oracle, singles, strong_share
from tests.evaluation.recorded import frame, needs_records, table

pytestmark = needs_records

# RouteLLM: mean quality of Mixtral and of GPT-4.
ROUTELLM = {"mmlu": (0.6809, 0.8059), "gsm8k": (0.6373, 0.8577), "mt_bench": (0.8341, 0.9228)}
# RouterDC: best single model and oracle, per cent.
ROUTERDC = {
    "mmlu": (64.59, 85.26),
    "gsm8k": (69.81, 83.32),
    "cmmlu": (51.77, 79.63),
    "arc_challenge": (57.95, 72.44),
    "humaneval": (49.39, 66.94),
    "math_prealgebra": (39.72, 67.05),
    "mbpp": (47.34, 62.40),
    "ceval": (52.01, 81.58),
}
MULTIPLE_CHOICE = {"mmlu", "cmmlu", "arc_challenge", "ceval"}
# RouterBench, tests of a subset: quality and USD per 1,000 queries of GPT-4 and Mixtral, and the oracle's quality.
ROUTERBENCH = {"mbpp": (0.6875, 9.38, 0.5391, 0.17, 0.8672), "winogrande": (0.8553, 3.53, 0.6842, 0.21, 0.9974)}
# Early abstention: accuracy, USD per 1,000 queries, AUROC of the mean log-probability.
CASCADES = {
    ("mmlu", "llama3.2-1b"): (0.4246, 0.0191, 0.646),
    ("mmlu", "llama3.1-405b"): (0.8517, 0.5743, 0.864),
    ("mmlu", "gpt-4o"): (0.8361, 0.4748, 0.845),
    ("medmcqa", "llama3.1-405b"): (0.757, 0.5062, 0.690),
    ("medmcqa", "gpt-4o-mini"): (0.660, 0.0248, 0.779),
    ("triviaqa", "llama3.2-1b"): (0.372, 0.0286, 0.487),
    ("triviaqa", "qwen2.5-72b-instruct"): (0.876, 0.2553, 0.926),
    ("truthfulqa", "llama3.1-70b"): (0.5938, 0.2600, 0.658),
    ("truthfulqa", "qwen2.5-72b-instruct"): (0.5783, 0.2616, 0.643),
}


@pytest.fixture(scope="module")
def routellm() -> Any:
    rows = frame("routellm")
    return {name: table(part) for name, part in rows[~rows.contaminated].groupby("dataset")}


@pytest.mark.parametrize("name", ROUTELLM)
def test_routellm_endpoints_and_random_routing(routellm: Any, name: str) -> None:
    strong, weak = routellm[name].quality.T
    ends = {"weak": float(weak.mean()), "strong": float(strong.mean())}
    random = strong_share(np.random.default_rng(0).random(len(weak)), weak, strong)

    assert (ends["weak"], ends["strong"]) == pytest.approx(ROUTELLM[name], abs=5e-5)
    # Half is the expectation; one order of the queries lies around it, the wider the fewer they are.
    assert apgr(*random, **ends) == pytest.approx(0.5, abs=0.1)
    assert cpt(*random, recovered=0.8, **ends) == pytest.approx(0.8, abs=0.2)
    assert apgr(*strong_share(strong - weak, weak, strong), **ends) > 0.9


def test_routerdc_single_models_and_oracle() -> None:
    rows = frame("routerdc")
    rows = rows[rows.split == "test"]
    chosen = rows.dataset.isin(MULTIPLE_CHOICE)
    rows = rows.assign(quality=rows.quality.where(~chosen, (rows.quality > 0).astype(float)))
    parts = {name: table(part) for name, part in rows.groupby("dataset") if name in ROUTERDC}

    found = {name: (100 * best_single(one).quality, 100 * oracle(one).quality) for name, one in parts.items()}
    assert {name: tuple(round(figure, 2) for figure in pair) for name, pair in found.items()} == ROUTERDC


@pytest.mark.parametrize("name", ROUTERBENCH)
def test_routerbench_single_models_and_oracle(name: str) -> None:
    rows = frame("routerbench", unique=True)
    one = table(rows[(rows.split == "test") & (rows.dataset == name)])
    alone = {point.name: point for point in singles(one)}
    big, mid = alone["gpt-4-1106-preview"], alone["mistralai/mixtral-8x7b-chat"]
    found = (big.quality, 1000 * big.cost, mid.quality, 1000 * mid.cost, oracle(one).quality)

    assert found == pytest.approx(ROUTERBENCH[name], abs=5e-3)
    assert found[::2] == pytest.approx(ROUTERBENCH[name][::2], abs=5e-5)
    zero = aiq([p.cost for p in alone.values()], [p.quality for p in alone.values()], c_max=big.cost)
    assert aiq(*frontier(one), c_max=big.cost) > zero


def test_early_abstention_accuracy_cost_and_auroc() -> None:
    rows = frame("cascades")
    rows = rows[rows.split == "test"]
    found = {}
    for key, part in rows.groupby(["dataset", "model"]):
        # A few confidences are infinite.
        confidence = part.confidence.clip(part.confidence[np.isfinite(part.confidence)].min(), 0.0)
        found[key] = (part.quality.mean(), 1000 * part.cost_usd.mean(), auroc(confidence, part.quality))

    for key, (accuracy, cost, area) in CASCADES.items():
        assert found[key] == (
            pytest.approx(accuracy, abs=5.1e-5),
            pytest.approx(cost, abs=5.1e-5),
            pytest.approx(area, abs=5.1e-4),
        )
