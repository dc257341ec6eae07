"""Every strategy in a folder: it comes back as it was, and what older versions wrote is read for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from router_integrations import strategies
from router_integrations.candidates import Candidate
from router_integrations.errors import StorageError
from router_integrations.estimators import AnswerQuality, Difficulty, PrePost, SelfVerification, TokenConfidence
from router_integrations.gating import Gate
from router_integrations.storage import SavedRouter, load_router, save_router
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import (
    POMDP,
    REFINE_PROMPT,
    AgreementCascade,
    Best,
    BestOfN,
    Cascade,
    CascadeRouting,
    Fixed,
    GreedyPOMDP,
    Hedged,
    JudgedCascade,
    JudgedPolicies,
    LatencyTradeoff,
    MultiStage,
    PolicyUnion,
    SelfTestedCascade,
    Thresholds,
)
from router_integrations.types import Utility

# Written by version 0.1; what is added to it later is written by the version that adds it.
GOLDEN = Path(__file__).parent / "golden" / "strategies_v1.json"
POOL = (Candidate("openai/gpt-4o-mini"), Candidate("openai/gpt-4o"))
# Confidence in the small candidate's answer, its grade, the large one's grade.
CASES = [(0.0, 0.0, 1.0), (0.25, 0.0, 1.0), (0.5, 0.0, 0.0), (0.75, 1.0, 1.0), (1.0, 1.0, 0.0)] * 4


def by_name() -> dict[str, Any]:
    pomdp, greedy, twice = POMDP(steps=4).fit(CASES), GreedyPOMDP(steps=4).fit(CASES), Thresholds(count=2, steps=4)
    union = PolicyUnion(policies=(POMDP(steps=4), Thresholds(steps=4))).fit(CASES)
    refining = Cascade(estimator=TokenConfidence(), order=("small", "big"), abstain={"big": 0.1}, refine=REFINE_PROMPT)
    return {
        "Best": Best(estimator=Difficulty(unknown=0.5), utility=Utility(enough=0.9)),
        "Fixed": Fixed(name="big"),
        "LatencyTradeoff": LatencyTradeoff(estimator=Difficulty()),
        "Cascade": Cascade(accept={"small": 0.9}, gate=Gate(above=0.8, window=4), refine={"small": "Check it."}),
        "refining": refining,
        "CascadeRouting": CascadeRouting(
            estimator=PrePost(before=Difficulty(), after=AnswerQuality()), utility=Utility(per_usd=3.0)
        ),
        "JudgedCascade": JudgedCascade(judge="big", votes=4, policy=pomdp, verification=SelfVerification()),
        "JudgedCascade by name": JudgedCascade(votes=4, policy={"small": union, "big": greedy, "medium": 0.5}),
        "JudgedCascade with thresholds": JudgedCascade(votes=4, policy=twice),
        "JudgedPolicies": JudgedPolicies(policies={"maths": "sums"}, judge="big", routes={"maths": "small"}),
        "AgreementCascade": AgreementCascade(levels=[{"small": 2, "other": 1}, {"big": 1}], voters="candidates"),
        "BestOfN": BestOfN(n=3, order=("small", "big"), top=2),
        "SelfTestedCascade": SelfTestedCascade(runner="sandbox", solutions=2),
        "MultiStage": MultiStage(router=Best(), cascade=refining),
        "Hedged": Hedged(strategy=MultiStage(router=Best(), cascade=Cascade()), after=2.0, rival="big"),
    }


STRATEGIES = by_name()
every = pytest.mark.parametrize("name", STRATEGIES)


def plain(strategy: Any) -> Any:
    writer = Writer()
    form = writer.plain(strategy, "strategy")

    assert writer.arrays == {}
    return form


def test_every_strategy_is_here() -> None:
    exported = {getattr(strategies, name) for name in strategies.__all__}
    used = {type(one) for one in STRATEGIES.values()} | {POMDP, GreedyPOMDP, PolicyUnion, Thresholds}

    assert {one for one in exported if isinstance(one, type)} - used <= {strategies.EscalationPolicy}


@every
def test_it_comes_back_from_a_folder(name: str, tmp_path: Path) -> None:
    strategy = STRATEGIES[name]
    save_router(tmp_path / "router", SavedRouter(candidates=POOL, strategy=strategy, settings={}))
    loaded = load_router(tmp_path / "router").strategy

    assert type(loaded) is type(strategy)
    assert plain(loaded) == plain(strategy)


@every
def test_what_was_written_once_is_read_for_ever(name: str) -> None:
    written = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]

    assert plain(Reader({}, {}).value(written)) == plain(STRATEGIES[name])


@pytest.mark.parametrize(
    ("strategy", "option"),
    [
        (Cascade(refine=lambda request, answer, estimate: "Again."), "refine"),
        (BestOfN(reward=lambda request, answer: 1.0), "reward"),
        (BestOfN(read=str.lower), "read"),
    ],
    ids=["refine", "reward", "read"],
)
def test_a_function_is_refused_by_the_name_of_its_option(strategy: Any, option: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"strategy\.{option} is a .* no folder can hold it"):
        save_router(tmp_path / "router", SavedRouter(candidates=POOL, strategy=strategy, settings={}))
