from __future__ import annotations

import pytest

from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Groundedness, RetrievalScore, Weakest
from router_integrations.testing.contracts import EstimatorContract
from router_integrations.types import Attempt, Request
from tests.estimators.answered import SMALL, reply

FIRM = (
    "Brightwell was founded by Ada Moss in 1987. It employs 1,200 people in three countries.",
    "The firm's head office is in Leeds; its lamps are made by hand.",
)
WHO = Request(text="Who founded Brightwell, and when?")


class TestGroundedness(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Groundedness:
        return Groundedness()


class TestRetrievalScore(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> RetrievalScore:
        return RetrievalScore(low=0.2, high=0.6)


def grounded(text: str, sources: tuple[str, ...] = FIRM, request: Request = WHO) -> float | None:
    return Groundedness().confidence(request, SMALL, [reply(text, sources=sources)])


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("Ada Moss founded it in 1987.", 1.0),
        ("Brightwell's founder was ADA MOSS.", 1.0),  # other endings, other case
        ("Tom Reed founded it.", 0.0),
        ("Ada Reed founded it.", 0.5),
        ("Ada Moss founded it in 1978.", 0.0),  # a number that no source has
        ("It has 1200 people, in 3 countries.", 1.0),  # other ways to write a number
        ("Ada Moss founded it. It sells cars in Paris.", 2 / 5),  # two of the five words
    ],
)
def test_what_the_sources_hold_counts(text: str, confidence: float) -> None:
    assert grounded(text) == pytest.approx(confidence)


def test_the_words_of_the_query_are_no_evidence() -> None:
    asked = Request(text="Is the head office of Brightwell in Leeds?")

    assert grounded("The head office of Brightwell is in York.", request=asked) == 0.0
    # With nothing else to check they are checked.
    assert grounded("Yes, in Leeds.", request=asked) == 1.0
    assert grounded("Yes, in Leeds.", sources=("The office is in York.",), request=asked) == 0.0


@pytest.mark.parametrize("sources", [(), ("",), (" \n",)])
def test_without_sources_nothing_is_grounded(sources: tuple[str, ...]) -> None:
    assert grounded("Ada Moss founded it in 1987.", sources=sources) == 0.0


def test_what_cannot_be_checked_is_left_open() -> None:
    assert grounded("Yes.") is None
    assert grounded("") is None
    call = reply(tool_calls=({"name": "search", "args": {}, "id": "1"},), sources=FIRM)
    assert Groundedness().confidence(WHO, SMALL, [call]) is None


def test_scripts_without_spaces_are_read_sign_by_sign() -> None:
    sources = ("ブライトウェル社は1987年に設立された。",)
    asked = Request(text="いつ?")

    assert grounded("1987年に設立。", sources=sources, request=asked) == 1.0
    assert grounded("1990年に設立。", sources=sources, request=asked) == 0.0


def test_the_last_answer_counts() -> None:
    said = [reply("Tom Reed.", sources=FIRM), reply("Ada Moss.", sources=FIRM)]

    assert Groundedness().confidence(WHO, SMALL, said) == 1.0


@pytest.mark.parametrize(("scores", "confidence"), [((0.1, 0.4), 0.5), ((0.9,), 1.0), ((0.1,), 0.0), ((), None)])
def test_the_best_score_counts(scores: tuple[float, ...], confidence: float | None) -> None:
    found = RetrievalScore(low=0.2, high=0.6).confidence(WHO, SMALL, [reply("x", source_scores=scores)])

    assert found == (None if confidence is None else pytest.approx(confidence))


def test_both_together_are_as_good_as_the_weaker() -> None:
    both = Weakest(estimators=(RetrievalScore(low=0.2, high=0.6), Groundedness()))
    answer: Attempt = reply("Ada Moss.", sources=FIRM, source_scores=(0.3, 0.2))

    assert both.confidence(WHO, SMALL, [answer]) == pytest.approx(0.25)


@pytest.mark.parametrize(("low", "high"), [(0.6, 0.2), (0.5, 0.5), (float("nan"), 1.0), (0.0, float("inf"))])
def test_scores_need_two_ends(low: float, high: float) -> None:
    with pytest.raises(ConfigurationError, match="low < high"):
        RetrievalScore(low=low, high=high)
