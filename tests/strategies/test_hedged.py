from __future__ import annotations

from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.hedging import Hedge
from router_integrations.storage import SavedRouter, load_router, save_router
from router_integrations.strategies import BestOfN, Cascade, Fixed, Hedged, JudgedCascade
from router_integrations.testing.contracts import StrategyContract
from router_integrations.types import Attempt, Call, Request, Revision, Snapshot, Stop

POOL = tuple(Candidate(name, model=object(), strength=0.5) for name in ("small", "big"))
SMALL, BIG = POOL
REQUEST = Request(text="2 + 2?", candidates=POOL)


class Always:
    """A strategy that always returns the same."""

    def __init__(self, move: Any) -> None:
        self.move = move

    def decide(self, request: Request, attempts: Any = ()) -> Any:
        return self.move


class TestHedged(StrategyContract):
    @pytest.fixture(
        params=[
            Hedged(strategy=Fixed(), after=30.0),
            Hedged(strategy=Cascade(), after=30.0, rival="large"),
            Hedged(strategy=BestOfN(n=2), after=30.0, rival="absent"),
        ],
        ids=["fixed", "cascade", "best of n"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> Hedged:
        return request.param


def rivals(move: Any, *, rival: str | None = "big", request: Request = REQUEST) -> list[str]:
    found = Hedged(strategy=Always(move), after=2.0, rival=rival).decide(request)
    return [call.hedge.candidate.name for call in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize(
    ("call", "rival", "expected"),
    [
        (Call(candidate=SMALL), "big", "big"),
        (Call(candidate=SMALL), None, "small"),
        (Call(candidate=SMALL), "absent", "small"),
        (Call(candidate=BIG), "big", "big"),
        (Call(candidate=SMALL, purpose="judge", prompt="Right?"), "big", "small"),
        (Call(candidate=SMALL, revision=Revision(draft="5", feedback="No.")), "big", "small"),
    ],
)
def test_who_the_rival_is(call: Call, rival: str | None, expected: str) -> None:
    assert rivals(call, rival=rival) == [expected]


def test_in_a_tool_loop_nobody_else_is_asked() -> None:
    locked = Request(text="hi", candidates=(SMALL,), snapshot=Snapshot(locked="small"))

    assert rivals(Call(candidate=SMALL), request=locked) == ["small"]


def test_each_of_several_calls_has_one() -> None:
    assert rivals([Call(candidate=SMALL), Call(candidate=BIG)]) == ["big", "big"]


def test_what_the_strategy_says_is_kept() -> None:
    call = Call(candidate=SMALL, final=True, reason="why", hedge=Hedge(candidate=BIG, after=9.0))
    stop = Stop(attempt=Attempt(call=call), reason="done", confidence=0.5)

    assert Hedged(strategy=Always(call), after=2.0).decide(REQUEST) is call
    assert Hedged(strategy=Always(stop), after=2.0).decide(REQUEST) is stop


def test_its_judges_are_those_of_the_strategy() -> None:
    assert Hedged(strategy=JudgedCascade(judge="big"), after=2.0).judges == ("big",)
    assert Hedged(strategy=Fixed(), after=2.0).judges == ()


@pytest.mark.parametrize("after", [0.0, -1.0, float("inf"), float("nan")])
def test_the_time_must_be_above_zero(after: float) -> None:
    with pytest.raises(ConfigurationError, match=r"Hedged\.after must be finite and above 0 seconds but got"):
        Hedged(strategy=Fixed(), after=after)


def test_it_is_saved_with_the_strategy_inside(tmp_path: Any) -> None:
    strategy = Hedged(strategy=Cascade(accept=0.8), after=2.0, rival="b")
    pool = (Candidate("openai/gpt-4o-mini"),)
    save_router(tmp_path / "x", SavedRouter(candidates=pool, strategy=strategy, settings={}))
    loaded: Any = load_router(tmp_path / "x").strategy

    assert (loaded.after, loaded.rival, loaded.strategy.accept) == (2.0, "b", 0.8)
