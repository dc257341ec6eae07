from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from router_integrations.adapters.rungs import (
    Graded,
    Measured,
    Output,
    Spoken,
    Tally,
    cascade_of,
    check_names,
    checked_estimator,
    grade_of,
    placed,
    step_fault,
)
from router_integrations.candidates import Candidate
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, ProviderError, StrategyError
from router_integrations.estimators import AnswerQuality, SelfConsistency, TokenConfidence
from router_integrations.types import Attempt, Call, Request, Usage

QUICK, SLOW = placed([Candidate(name, model=object()) for name in ("quick", "slow")])
REQUEST = Request(text="2 + 2?", candidates=(QUICK, SLOW))
USAGE = Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4)


def graded(confidence: Any) -> Attempt:
    return Attempt(call=Call(candidate=QUICK), text="4", native=Output(value="4", confidence=confidence))


def judge(question: str, answer: str) -> float:
    return 1.0


@pytest.mark.parametrize("confidence", [0, 0.25, 1, np.float32(0.25), np.int64(1)])
def test_what_the_function_said_is_the_confidence(confidence: float) -> None:
    assert Graded().confidence(REQUEST, QUICK, [graded(confidence)]) == confidence


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (ValueError("boom"), "failed: ValueError"),
        (None, "returned None"),
        (2, "returned 2"),
        ("high", "returned 'high'"),
    ],
)
def test_a_function_that_says_no_confidence_is_a_strategy_error(given: Any, says: str) -> None:
    with pytest.raises(StrategyError, match=says):
        Graded().confidence(REQUEST, QUICK, [graded(given)])


def test_measured_costs_are_those_of_rungs_that_have_not_answered() -> None:
    measured = Measured(estimator=None, costs={"quick": 0.25, "slow": 0.5})
    before = measured.estimate(REQUEST, (QUICK, SLOW))
    after = measured.estimate(REQUEST, (QUICK, SLOW), [Attempt(call=Call(candidate=QUICK), text="4", cost=0.1)])

    assert [one.cost for one in before] == [0.25, 0.5]
    assert [one.cost for one in after] == [0.1, 0.5]


def test_a_rung_is_as_strong_as_its_place_unless_the_user_knows_better() -> None:
    known = Candidate("known", model=object(), strength=0.1)

    assert [one.strength for one in placed([QUICK, known, Candidate("last", model=object())])] == [0.5, 0.1, 1.0]


def test_estimators_and_functions_judge() -> None:
    estimator = TokenConfidence()

    assert (checked_estimator(estimator), checked_estimator(judge), checked_estimator(None)) == (estimator, judge, None)
    assert (grade_of(estimator), grade_of(judge), grade_of(None)) == (None, judge, None)


async def _later(question: str, answer: str) -> float:
    return 1.0


@pytest.mark.parametrize("given", [0.5, TokenConfidence, _later, SelfConsistency()])
def test_nobody_else_does(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must be an estimator or a plain function|don't give"):
        checked_estimator(given)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accept": {"typo": 0.5}}, r"accept names \['typo'\]"),
        ({"abstain": {"typo": 0.5}}, r"abstain names \['typo'\]"),
        ({"costs": {"typo": 0.5}}, r"costs names \['typo'\]"),
        ({"costs": {"quick": float("inf")}}, "costs must be finite"),
    ],
)
def test_options_by_name_must_be_about_somebody(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check_names(["quick"], **{"costs": {}, **options})


def test_the_strategy_asks_in_the_order_given() -> None:
    plain = cascade_of(None, costs={}, accept=0.5, abstain=None)
    own = cascade_of(judge, costs={"slow": 0.5}, accept={"quick": 0.9}, abstain=0.1)

    assert (plain.estimator, plain.order, plain.accept) == (None, "given", 0.5)
    assert isinstance(own.estimator, Measured) and isinstance(own.estimator.estimator, Graded)
    assert isinstance(Measured(estimator=None, costs={}).estimator, AnswerQuality)


def test_a_tally_sums_what_the_models_used() -> None:
    tally = Tally(rung=QUICK)
    assert (tally.model, tally.usage, tally.cost) == (None, None, None)
    tally.spoken += [Spoken(model=name, usage=USAGE, cost=0.25) for name in ("a", "b", "a")]

    assert (tally.model, tally.cost) == ("a, b", 0.75)
    assert tally.usage == Usage(input_tokens=30, output_tokens=6, cache_read_tokens=12)
    tally.spoken.append(Spoken(model=None, usage=None, cost=None))
    assert tally.cost is None
    assert tally.usage is not None and tally.usage.estimated


def test_a_free_rung_costs_nothing_whatever_it_says() -> None:
    free = Candidate("free", model=object(), input_price=0.0, output_price=0.0)

    assert Tally(rung=free, spoken=[Spoken(model="a", usage=None, cost=None)]).cost == 0.0


def test_prices_are_the_rungs_own_before_those_of_the_map() -> None:
    priced = Candidate("priced", model=object(), input_price=1.0, output_price=1.0)

    assert Tally(rung=priced).priced("openai", "gpt-4o-mini") is priced
    assert Tally(rung=QUICK).priced("openai", "unheard-of", "gpt-4o-mini").id == "openai/gpt-4o-mini"
    assert Tally(rung=QUICK).priced(None, None, "unheard-of") is QUICK


class OutputParserException(ValueError):
    """As both frameworks call theirs."""


def _failed(cause: Exception) -> AllCandidatesFailed:
    error = AllCandidatesFailed("nobody answered")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (ProviderError("busy", family="rate_limit"), "rate_limit"),
        (TimeoutError(), "timeout"),
        (OutputParserException("no JSON"), "schema"),
        (_failed(ProviderError("down", family="server")), "server"),
        (KeyError("topic"), "bad_request"),
    ],
)
def test_whatever_a_rung_raises_is_a_failure_of_a_kind(error: Exception, family: str) -> None:
    assert step_fault(error).family == family


def test_secrets_stay_out_of_the_message() -> None:
    assert "sk-abcdefghijklmnopqrstuvwx" not in str(step_fault(ValueError("key sk-abcdefghijklmnopqrstuvwx")))


def test_langgraphs_way_to_pause_is_no_failure() -> None:
    class GraphBubbleUp(Exception):
        pass

    with pytest.raises(GraphBubbleUp):
        step_fault(GraphBubbleUp())
