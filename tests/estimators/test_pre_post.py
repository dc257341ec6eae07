from __future__ import annotations

import math

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Difficulty, PrePost, TokenConfidence
from router_integrations.learning import Record
from router_integrations.testing.contracts import EstimatorContract
from router_integrations.types import Attempt, Call, Request

SMALL, BIG = (Candidate(name, model=object(), strength=0.5) for name in ("small", "big"))
REQUEST = Request(text="What is 2 + 2?")
BEFORE = Difficulty().estimate(REQUEST, [SMALL])[0]


def record(candidate: str, confidence: float) -> Record:
    logprobs = (math.log(confidence),)
    return Record(text=REQUEST.text, candidate=candidate, quality=1.0, logprobs=logprobs, query_id=f"{confidence}")


RECORDS = [record("small", 0.9), record("small", 0.5)]


class TestPrePost(EstimatorContract):
    @pytest.fixture(params=[False, True], ids=["untaught", "fitted"])
    def estimator(self, request: pytest.FixtureRequest) -> PrePost:
        made = PrePost(before=Difficulty(), after=TokenConfidence())
        return made.fit(RECORDS, candidates=[SMALL]) if request.param else made


def fitted() -> PrePost:
    return PrePost(before=Difficulty(), after=TokenConfidence()).fit(RECORDS, candidates=[SMALL])


def test_before_an_answer_the_first_estimator_speaks() -> None:
    unfitted = PrePost(before=Difficulty(), after=TokenConfidence())

    assert unfitted.estimate(REQUEST, [SMALL]) == [BEFORE]


def test_the_spread_before_an_answer_is_how_far_answers_moved_the_estimate() -> None:
    moves = [0.9 - BEFORE.quality, 0.5 - BEFORE.quality]
    estimate = fitted().estimate(REQUEST, [SMALL])[0]

    assert estimate.std == pytest.approx(math.sqrt(sum(move**2 for move in moves) / 2))
    assert estimate.quality == BEFORE.quality


def test_after_an_answer_the_second_estimator_speaks_and_nothing_moves_any_more() -> None:
    answer = Attempt(call=Call(candidate=SMALL), text="4", logprobs=(math.log(0.6),), cost=0.01)
    small, big = fitted().estimate(REQUEST, [SMALL, BIG], [answer])

    assert (small.quality, small.std, small.cost) == (pytest.approx(0.6), 0.0, 0.01)
    assert big.quality == BEFORE.quality


def test_an_answer_that_tells_nothing_leaves_the_prediction_without_spread() -> None:
    answer = Attempt(call=Call(candidate=SMALL), text="4")

    assert fitted().estimate(REQUEST, [SMALL], [answer])[0].std == 0.0
    assert fitted().estimate(REQUEST, [SMALL], [answer])[0].quality == BEFORE.quality


def test_somebody_without_records_moves_as_the_others_do() -> None:
    small, big = fitted().estimate(REQUEST, [SMALL, BIG])

    assert big.std == pytest.approx(small.std)


def test_it_needs_what_the_second_estimator_needs() -> None:
    assert fitted().needs == {"logprobs"}


def test_records_without_answers_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match=r"PrePost\.fit got no answer"):
        PrePost(before=Difficulty(), after=TokenConfidence()).fit([Record(text="hi", candidate="small", quality=1.0)])


def test_an_estimator_that_looks_at_no_answers_cannot_come_after() -> None:
    with pytest.raises(ConfigurationError, match=r"PrePost\.after must look at answers"):
        PrePost(before=Difficulty(), after=Difficulty())  # type: ignore[arg-type]
