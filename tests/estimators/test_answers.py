from __future__ import annotations

from dataclasses import replace

import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ProviderError
from router_integrations.estimators import (
    Agreement,
    AnswerQuality,
    AnswerScorer,
    CalibratedConfidence,
    CodeSyntax,
    Completeness,
    Difficulty,
    QuantileClassifier,
    SampleSimilarity,
    SchemaValidity,
    SelfConsistency,
    SelfVerification,
    SemanticEntropy,
    TokenConfidence,
    ToolCallValidity,
    TopTokenConfidence,
    VerbalizedConfidence,
    Weakest,
)
from router_integrations.estimators.answers import AnswerEstimator, graded_answers
from router_integrations.learning import Record
from router_integrations.storage.coding import Reader, Writer
from router_integrations.testing import checks
from router_integrations.testing.contracts import EstimatorContract
from router_integrations.types import Call, Estimate
from tests.estimators.answered import LARGE, QUERY, SMALL, reply

GRADED = [
    Record(
        text=f"{text} {i}",
        candidate=candidate.name,
        quality=float(i % 3 > place),
        answer=f"It is {i % 3}.",
        logprobs=(-0.1, -0.5 * (i % 3)),
    )
    for i, text in enumerate(["What is it?", "And this?"] * 15)
    for place, candidate in enumerate(checks.example_candidates())
]
# Every estimator of answers stands here, with what it says that it needs.
ESTIMATORS: list[tuple[AnswerEstimator, set[str]]] = [
    (TokenConfidence(), {"logprobs"}),
    (TokenConfidence(aggregate="sum"), {"logprobs"}),
    (TokenConfidence(aggregate="quantile", quantile=0.1), {"logprobs"}),
    (TopTokenConfidence(), {"top_logprobs"}),
    (TopTokenConfidence(score="negentropy", aggregate="min"), {"top_logprobs"}),
    (VerbalizedConfidence(), set()),
    (SelfVerification(), {"judge"}),
    (SelfVerification(read="number"), {"judge"}),
    (SelfVerification(read="probability"), {"judge", "logprobs"}),
    (SelfConsistency(), {"samples"}),
    (SemanticEntropy(same=HashingEncoder(dimensions=32)), {"samples"}),
    (SemanticEntropy(likelihood=True), {"samples", "logprobs"}),
    (SampleSimilarity(), {"samples"}),
    (Agreement(), {"candidates"}),
    (CodeSyntax(), set()),
    (SchemaValidity(), set()),
    (ToolCallValidity(), set()),
    (Completeness(), set()),
    (Weakest(estimators=(CodeSyntax(), TokenConfidence())), {"logprobs"}),
    (AnswerQuality(), set()),
    (AnswerQuality(text=SelfVerification()), {"judge"}),
    (QuantileClassifier(), {"logprobs"}),
    (QuantileClassifier().fit(GRADED), {"logprobs"}),
    (AnswerScorer(), set()),
    (AnswerScorer(encoder=HashingEncoder(dimensions=32)).fit(GRADED), set()),
    (AnswerScorer().fit(GRADED), set()),
    (CalibratedConfidence(estimator=TokenConfidence()), {"logprobs"}),
    (CalibratedConfidence(estimator=TokenConfidence(), method="isotonic").fit(GRADED), {"logprobs"}),
    (CalibratedConfidence(estimator=QuantileClassifier()).fit(GRADED), {"logprobs"}),
]
IDS = [type(estimator).__name__ for estimator, _ in ESTIMATORS]


class TestEstimatorsOfAnswers(EstimatorContract):
    @pytest.fixture(params=[estimator for estimator, _ in ESTIMATORS], ids=IDS)
    def estimator(self, request: pytest.FixtureRequest) -> AnswerEstimator:
        return request.param


@pytest.mark.parametrize(("estimator", "needs"), ESTIMATORS, ids=IDS)
def test_says_what_it_needs(estimator: AnswerEstimator, needs: set[str]) -> None:
    assert estimator.needs == needs


@pytest.mark.parametrize("estimator", [estimator for estimator, _ in ESTIMATORS], ids=IDS)
def test_who_has_not_answered_is_estimated_by_the_prior(estimator: AnswerEstimator) -> None:
    attempts = [reply("4", SMALL, logprobs=(-0.1,)), reply("5", SMALL, logprobs=(-0.2,))]

    assert estimator.estimate(QUERY, [SMALL, LARGE], attempts)[1] == Difficulty().estimate(QUERY, [LARGE])[0]
    assert estimator.estimate(QUERY, [LARGE, SMALL]) == Difficulty().estimate(QUERY, [LARGE, SMALL])


@pytest.mark.parametrize("estimator", [estimator for estimator, _ in ESTIMATORS], ids=IDS)
def test_a_saved_one_estimates_as_before(estimator: AnswerEstimator) -> None:
    attempts = [reply("4", logprobs=(-0.1, -0.9)), reply("```py\nx = 4\n```", logprobs=(-0.2,))]
    writer = Writer()
    plain = writer.plain(estimator, "estimator")

    again = Reader(writer.arrays, writer.layout).value(plain)

    assert again.confidence(QUERY, SMALL, attempts) == pytest.approx(estimator.confidence(QUERY, SMALL, attempts))


class Never:
    """A prior that stands out."""

    def estimate(self, request, candidates, attempts=()):
        return [Estimate(quality=0.123) for _ in candidates]


def test_an_own_prior_is_asked_for_those_without_an_answer_only() -> None:
    estimates = TokenConfidence(prior=Never()).estimate(QUERY, [LARGE, SMALL], [reply("4", logprobs=(0.0,))])

    assert [one.quality for one in estimates] == [0.123, 1.0]


def test_an_answer_that_tells_nothing_leaves_the_prior() -> None:
    assert TokenConfidence(prior=Never()).estimate(QUERY, [SMALL], [reply("4")])[0].quality == 0.123


def test_the_last_answer_counts_and_failures_and_verdicts_do_not() -> None:
    good = reply("4", logprobs=(0.0,), cost=0.25, latency=2.0)
    failure = replace(reply(), error=ProviderError("down", family="not_found"))
    verdict = replace(good, call=Call(candidate=SMALL, purpose="judge"), logprobs=(-9.0,))

    estimate = TokenConfidence().estimate(QUERY, [SMALL], [reply("5", logprobs=(-5.0,)), good, failure, verdict])[0]

    assert estimate == Estimate(quality=1.0, cost=0.25, latency=2.0)


def test_a_candidate_without_prices_is_estimated_when_it_has_answered() -> None:
    bare = Candidate("bare", model=object())

    assert TokenConfidence().estimate(QUERY, [bare], [reply("4", bare, logprobs=(0.0,))])[0].quality == 1.0


@pytest.mark.parametrize(
    "text", [*checks.HUGE_TEXTS.values(), "```" + "a" * 200_000, "`" * 200_000, "not" + " " * 200_000]
)
@pytest.mark.parametrize("estimator", [estimator for estimator, _ in ESTIMATORS], ids=IDS)
def test_takes_a_huge_answer(estimator: AnswerEstimator, text: str) -> None:
    judged = replace(
        reply(text), call=Call(candidate=SMALL, purpose="judge", prompt=SelfVerification().ask(QUERY, reply(text)))
    )

    checks.check_estimates(estimator, QUERY, [SMALL, LARGE], [reply(text), reply(text), judged])


def test_records_of_one_query_become_attempts_with_the_grade_of_the_answer_meant() -> None:
    texts = (("a", "4", 1.0), ("a", "5", 0.0), ("b", "9", 0.5), ("a", "4", 1.0), ("a", "6", 0.0))
    records = [Record(text="q", candidate=name, answer=text, quality=grade) for name, text, grade in texts]
    blind = [Record(text="q", candidate="a", quality=0.0), replace(records[0], candidate="c", over="a")]

    last = graded_answers([*records, *blind], TokenConfidence().answer)
    most = graded_answers(records, SelfConsistency().answer)

    assert [(one.candidate.name, one.quality, len(one.attempts)) for one in last] == [("a", 0.0, 5), ("b", 0.5, 5)]
    assert [one.quality for one in most] == [1.0, 0.5]


def test_a_record_s_usage_cost_and_latency_come_along() -> None:
    record = Record(
        text="q", candidate="a", answer="4", quality=1, cost=0.5, latency=2.0, input_tokens=3, output_tokens=1
    )

    attempt = graded_answers([record], TokenConfidence().answer)[0].attempts[0]

    assert (attempt.text, attempt.cost, attempt.latency) == ("4", 0.5, 2.0)
    assert attempt.usage is not None and (attempt.usage.input_tokens, attempt.usage.output_tokens) == (3, 1)
