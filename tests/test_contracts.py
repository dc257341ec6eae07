from __future__ import annotations

import inspect
import math
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import AllCandidatesFailed, StrategyError
from router_integrations.estimators import Difficulty, Policies
from router_integrations.strategies import Best, Fixed, JudgedPolicies
from router_integrations.testing import checks
from router_integrations.testing.contracts import EstimatorContract, StrategyContract
from router_integrations.types import Attempt, Call, Estimate, Request, Stop, Utility


class TestDifficulty(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Difficulty:
        return Difficulty()


class TestBest(StrategyContract):
    @pytest.fixture(params=[Best(), Best(utility=Utility(enough=1, per_usd=100, optimism=1))], ids=["enough", "linear"])
    def strategy(self, request: pytest.FixtureRequest) -> Best:
        return request.param


class TestFixed(StrategyContract):
    @pytest.fixture(params=[None, "large", "absent"])
    def strategy(self, request: pytest.FixtureRequest) -> Fixed:
        return Fixed(name=request.param)


POLICIES = {"small": "small talk", "large": "proofs and maths"}


class TestPolicies(EstimatorContract):
    @pytest.fixture(params=[None, "large", "absent"])
    def estimator(self, request: pytest.FixtureRequest) -> Policies:
        return Policies(policies=POLICIES, default=request.param)


class TestJudgedPolicies(StrategyContract):
    @pytest.fixture(params=["small", "medium", "absent"])
    def strategy(self, request: pytest.FixtureRequest) -> JudgedPolicies:
        return JudgedPolicies(policies=POLICIES, judge=request.param)


class _Estimates:
    """A right estimator for the broken ones to break."""

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        return [Estimate(quality=0.5, cost=one.input_price) for one in candidates]


class TestASoundEstimator(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> _Estimates:
        return _Estimates()


class NotANumber(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return [Estimate(quality=math.nan) for _ in candidates]


class NegativeStd(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return [Estimate(quality=0.5, std=-0.1) for _ in candidates]


class GrowsWithTheText(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return [Estimate(quality=min(len(request.text) / 1000, 1.1)) for _ in candidates]


class AtLeastOne(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return super().estimate(request, candidates, attempts) or [Estimate(quality=0.5)]


class KnowsThree(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return [Estimate(quality={"small": 0.2, "medium": 0.5, "large": 0.8}[one.name]) for one in candidates]


class NeedsUsage(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return [Estimate(quality=1 / sum(a.usage.output_tokens for a in attempts) if attempts else 0.5)] * len(
            candidates
        )


class SortedByPrice(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return super().estimate(request, sorted(candidates, key=lambda one: one.name), attempts)


class TrustsTheFirst(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        return [Estimate(quality=1 / (1 + place)) for place in range(len(candidates))]


class Remembers(_Estimates):
    def __init__(self) -> None:
        self._asked = count(1)

    def estimate(self, request, candidates, attempts=()):
        quality = 1 / next(self._asked)
        return [Estimate(quality=quality) for _ in candidates]


class SortsInPlace(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        if isinstance(candidates, list):
            candidates.reverse()
        return super().estimate(request, candidates, attempts)


class AddsToTools(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        for tool in request.tools:
            tool["seen"] = True
        return super().estimate(request, candidates, attempts)


class Positional(_Estimates):
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed


class Converts(_Estimates):
    def __init__(self, *, weights: Sequence[float] = (1, 2)) -> None:
        self.weights = list(weights)


class StoresElsewhere(_Estimates):
    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed


class KeepsTheRequest(_Estimates):
    def estimate(self, request, candidates, attempts=()):
        self.request = request
        time.sleep(1e-4)
        return [Estimate(quality=min(len(self.request.text) / 1000, 1.0)) for _ in candidates]


BROKEN_ESTIMATORS = [
    ("test_gives_one_valid_estimate_per_candidate", NotANumber, AssertionError),
    ("test_gives_one_valid_estimate_per_candidate", NegativeStd, AssertionError),
    ("test_takes_a_huge_text", GrowsWithTheText, AssertionError),
    ("test_takes_any_number_of_candidates", AtLeastOne, AssertionError),
    ("test_takes_a_candidate_never_seen", KnowsThree, KeyError),
    ("test_reads_attempts", NeedsUsage, AttributeError),
    ("test_order_of_candidates_does_not_matter", SortedByPrice, AssertionError),
    ("test_order_of_candidates_does_not_matter", TrustsTheFirst, AssertionError),
    ("test_same_input_gives_the_same_estimates", Remembers, AssertionError),
    ("test_does_not_change_its_arguments", SortsInPlace, AssertionError),
    ("test_does_not_change_its_arguments", AddsToTools, AssertionError),
    ("test_constructor_only_stores_keyword_options", Positional, AssertionError),
    ("test_constructor_only_stores_keyword_options", Converts, AssertionError),
    ("test_constructor_only_stores_keyword_options", StoresElsewhere, AssertionError),
    ("test_is_safe_to_share_between_threads", KeepsTheRequest, AssertionError),
]


class _Asks:
    """A right strategy for the broken ones to break: asks one after the other until one answers."""

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        return Call(candidate=request.candidates[0], final=True)


class TestASoundStrategy(StrategyContract):
    @pytest.fixture
    def strategy(self) -> _Asks:
        return _Asks()


class NeverStops(_Asks):
    def decide(self, request, attempts=()):
        return Call(candidate=request.candidates[0])


class AsksAStranger(_Asks):
    def decide(self, request, attempts=()):
        return Call(candidate=Candidate("stranger", model=object()), final=True)


class GivesUp(_Asks):
    def decide(self, request, attempts=()):
        return Stop(reason="one failed") if attempts else Call(candidate=request.candidates[0], final=True)


class GivesUpOnTwo(_Asks):
    def decide(self, request, attempts=()):
        return Stop(reason="two failed") if len(attempts) == 2 else super().decide(request, attempts)


class GoesOn(_Asks):
    def decide(self, request, attempts=()):
        if attempts and request.candidates:
            return Stop(attempt=attempts[-1])
        return Call(candidate=[*request.candidates, *(one.call.candidate for one in attempts)][0])


class FinalTogether(_Asks):
    def decide(self, request, attempts=()):
        return [Call(candidate=one, final=True) for one in request.candidates]


class FinalVerdict(_Asks):
    def decide(self, request, attempts=()):
        return Call(candidate=request.candidates[0], purpose="judge", final=True)


class CountsItsCalls(_Asks):
    def __init__(self) -> None:
        self._asked = 0

    def decide(self, request, attempts=()):
        self._asked += 1
        return Call(candidate=request.candidates[self._asked % len(request.candidates)], final=True)


class ReadsNative(_Asks):
    def decide(self, request, attempts=()):
        if not attempts:
            return Call(candidate=request.candidates[0])
        if attempts[-1].native is not None and len(attempts) == 1:
            return Call(candidate=request.candidates[-1])
        return Stop(attempt=attempts[-1])


class Cuts(_Asks):
    def decide(self, request, attempts=()):
        if isinstance(attempts, list):
            attempts.clear()
        return super().decide(request, attempts)


class PositionalName(_Asks):
    def __init__(self, name: str = "") -> None:
        self.name = name


class SharesTheRequest(_Asks):
    def decide(self, request, attempts=()):
        self.request = request
        time.sleep(1e-4)
        return Call(candidate=self.request.candidates[0], reason=self.request.text, final=True)


BROKEN_STRATEGIES = [
    ("test_halts", NeverStops, StrategyError),
    ("test_asks_only_the_candidates_of_the_request", AsksAStranger, StrategyError),
    ("test_asks_somebody_else_after_a_failure", GivesUp, AllCandidatesFailed),
    ("test_raises_a_typed_error_when_all_fail", GivesUpOnTwo, AssertionError),
    ("test_ends_with_one_of_its_answers_when_nobody_is_left", GoesOn, AssertionError),
    ("test_a_final_call_is_the_last", FinalTogether, StrategyError),
    ("test_a_final_call_is_the_last", FinalVerdict, AssertionError),
    ("test_sync_async_and_streamed_runs_agree", CountsItsCalls, AssertionError),
    ("test_a_replay_decides_as_the_live_run", ReadsNative, AssertionError),
    ("test_decides_alike_each_time", CountsItsCalls, AssertionError),
    ("test_does_not_change_its_arguments", Cuts, AssertionError),
    ("test_constructor_only_stores_keyword_options", PositionalName, AssertionError),
    ("test_is_safe_to_share_between_threads", SharesTheRequest, AssertionError),
]


def _check(suite: type, test: str, **subject: Any) -> None:
    method = getattr(suite(), test)
    offered = {**subject, "candidates": checks.example_candidates(), "text": checks.HUGE_TEXTS["words"]}
    method(**{name: offered[name] for name in inspect.signature(method).parameters})


@pytest.mark.parametrize(("test", "broken", "error"), BROKEN_ESTIMATORS)
def test_the_estimator_contract_catches(test: str, broken: type, error: type[Exception]) -> None:
    with pytest.raises(error):
        _check(EstimatorContract, test, estimator=broken())


@pytest.mark.parametrize(("test", "broken", "error"), BROKEN_STRATEGIES)
def test_the_strategy_contract_catches(test: str, broken: type, error: type[Exception]) -> None:
    with pytest.raises(error):
        _check(StrategyContract, test, strategy=broken())


@pytest.mark.parametrize(
    ("suite", "broken"), [(EstimatorContract, BROKEN_ESTIMATORS), (StrategyContract, BROKEN_STRATEGIES)]
)
def test_each_contract_test_is_shown_to_fail(suite: type, broken: list[tuple[str, type, type[Exception]]]) -> None:
    tests = {name for name in dir(suite) if name.startswith("test_")}

    assert {name for name, _, _ in broken} == tests - {"test_no_test_is_waived_in_silence"}


def _waived(test: Any) -> type:
    return type("Waived", (StrategyContract,), {"test_halts": test})


def _empty(*marks: pytest.MarkDecorator) -> Any:
    def test(self: object) -> None: ...

    for mark in marks:
        test = mark(test)
    return test


@pytest.mark.parametrize(
    "test",
    [None, _empty(), _empty(pytest.mark.skip(reason="slow")), _empty(pytest.mark.xfail())],
    ids=["deleted", "emptied", "skipped", "no reason"],
)
def test_a_contract_test_taken_out_in_silence_is_caught(test: Any) -> None:
    with pytest.raises(AssertionError, match="test_halts is overridden"):
        _waived(test)().test_no_test_is_waived_in_silence()


def test_a_contract_test_may_be_waived_with_a_reason() -> None:
    waived = _empty(pytest.mark.xfail(reason="it waits for a judge"))

    _waived(waived)().test_no_test_is_waived_in_silence()
