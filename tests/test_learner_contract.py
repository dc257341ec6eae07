from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from images import ImageBytes

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.encoders_fusion import FusionEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import (
    MIRT,
    MLP,
    NIRT,
    BradleyTerry,
    BudgetCurve,
    CalibratedEstimator,
    ClusterLatency,
    ClusterRank,
    DomainQuality,
    DoublyRobust,
    DualContrastive,
    Eagle,
    Forest,
    GraphRouter,
    KMeansQuality,
    LearnedMap,
    Linear,
    Matching,
    MatrixFactorization,
    Neighbors,
    PerUser,
    PromptBradleyTerry,
    SimilarityWeighted,
    Zooter,
)
from router_integrations.learning import Learner, Record
from router_integrations.testing import checks
from router_integrations.testing.contracts import EstimatorContract
from router_integrations.testing.learning import LearnerContract, example_grades, example_preferences, right_share

# Not fitted, so that the many fits of the suite are quick.
ENCODER = HashingEncoder(dimensions=64)
FUSION = FusionEncoder(image=ImageBytes(), text=ENCODER, dimensions=64)


@dataclass(frozen=True)
class Case:
    """A learner, what it learns from, and the share of new queries on which it must find the best candidate.

    One that does not read the query reaches 2/3 at best: give it 0.6.
    """

    learner: Learner
    records: Callable[[Sequence[Candidate]], list[Record]] = example_grades
    accuracy: float = 0.9


# Every learner stands here, a line each; whoever adds one adds a line.
LEARNERS = [
    Case(Neighbors(k=5, encoder=ENCODER)),
    Case(Linear(encoder=ENCODER)),
    Case(Linear(link="logistic", encoder=ENCODER)),
    Case(MLP(hidden=16, steps=60, encoder=ENCODER)),
    Case(Forest(trees=10, encoder=ENCODER)),
    Case(Matching(encoder=ENCODER), accuracy=0.6),
    Case(Matching(labels="deterministic", margin=None, encoder=ENCODER), accuracy=0.6),
    Case(BudgetCurve(budgets={"small": ("one", 100), "large": ("one", 400)}, encoder=ENCODER)),
    Case(MatrixFactorization(dimensions=8, steps=60, encoder=ENCODER)),
    Case(MIRT(dimensions=8, steps=60, encoder=ENCODER)),
    Case(MIRT(dimensions=8, steps=60, warm_up=0.3, encoder=ENCODER)),
    Case(NIRT(dimensions=8, steps=60, encoder=ENCODER)),
    Case(NIRT(dimensions=8, steps=60, warm_up=0.3, encoder=ENCODER)),
    Case(GraphRouter(dimensions=16, steps=100, encoder=ENCODER)),
    Case(DualContrastive(dimensions=16, clusters=3, steps=60, encoder=ENCODER)),
    Case(KMeansQuality(clusters=8, encoder=ENCODER)),
    Case(KMeansQuality(clusters=8, nearest=3, encoder=ENCODER)),
    Case(MatrixFactorization(dimensions=8, steps=60, encoder=FUSION)),
    Case(Neighbors(k=5, encoder=FUSION)),
    Case(KMeansQuality(clusters=8, encoder=FUSION)),
    Case(ClusterRank(clusters=8, encoder=ENCODER)),
    Case(LearnedMap(clusters=8, encoder=ENCODER)),
    Case(ClusterLatency(clusters=8, encoder=ENCODER)),
    Case(Zooter(encoder=ENCODER)),
    Case(DomainQuality(alpha=1.0, encoder=ENCODER)),
    Case(DoublyRobust(encoder=ENCODER)),
    Case(DoublyRobust(objective="policy", alpha=0.1, encoder=ENCODER)),
    Case(PerUser(estimator=Neighbors(k=5, encoder=ENCODER))),
    Case(CalibratedEstimator(estimator=Neighbors(k=5, encoder=ENCODER))),
    Case(CalibratedEstimator(estimator=Linear(encoder=ENCODER), method="isotonic")),
    Case(BradleyTerry(encoder=ENCODER), example_preferences, accuracy=0.6),
    Case(SimilarityWeighted(encoder=ENCODER), example_preferences, accuracy=0.6),
    Case(Eagle(encoder=ENCODER), example_preferences),
    Case(PromptBradleyTerry(ridge=1.0, encoder=ENCODER), example_preferences),
    Case(PromptBradleyTerry(ridge=1.0, rank=4, encoder=ENCODER), example_preferences),
    Case(PromptBradleyTerry(ridge=1.0, encoder=ENCODER)),
]


class TestLearners(LearnerContract):
    @pytest.fixture(params=LEARNERS, ids=lambda case: type(case.learner).__name__)
    def case(self, request: pytest.FixtureRequest) -> Case:
        return request.param

    @pytest.fixture
    def learner(self, case: Case) -> Learner:
        return case.learner

    @pytest.fixture
    def records(self, case: Case, candidates: tuple[Candidate, ...]) -> list[Record]:
        return case.records(candidates)

    @pytest.fixture
    def accuracy(self, case: Case) -> float:
        return case.accuracy


class Sound(Neighbors):
    """A right learner for the broken ones to break."""

    def __init__(self, *, k: int = 5) -> None:
        super().__init__(k=k, encoder=ENCODER)


class TestASoundLearner(LearnerContract):
    @pytest.fixture
    def learner(self) -> Sound:
        return Sound()


class LikesTheFirst(Sound):
    def predict(self, texts, candidates):
        quality, std = super().predict(texts, candidates)
        return 0 * quality, std


class NeedsRecords(Sound):
    def estimate(self, request, candidates, attempts=()):
        self.predict([request.text], candidates)
        return super().estimate(request, candidates, attempts)


class Accumulates(Sound):
    seen_: tuple[Record, ...] = ()

    def fit(self, records):
        self.seen_ = (*self.seen_, *records)
        return super().fit(self.seen_)


class RollsDice(Sound):
    def _learn(self, data):
        names, state = super()._learn(data)
        return names, {**state, "mean": np.random.random(len(names)).astype(np.float32)}


class SharesOut(Sound):
    def predict(self, texts, candidates):
        quality, std = super().predict(texts, candidates)
        return quality / quality.sum(axis=1, keepdims=True), std


class CountsPlaces(Sound):
    def predict(self, texts, candidates):
        quality, std = super().predict(texts, candidates)
        return quality / (1 + np.arange(len(candidates))), std


class CentresTheBatch(Sound):
    def predict(self, texts, candidates):
        quality, std = super().predict(texts, candidates)
        return quality - quality.mean(axis=0), std


class FlatWhenEmpty(Sound):
    def predict(self, texts, candidates):
        return super().predict(texts, candidates) if texts else (np.zeros(0), np.zeros(0))


class WidensTheBatch(Sound):
    def predict(self, texts, candidates):
        quality, std = super().predict(texts, candidates)
        return quality, std * len(texts)


class NeedsAllGrades(Sound):
    def _learn(self, data):
        names, state = super()._learn(data)
        return names, {**state, "mean": np.where(np.isnan(data.table.quality).mean(axis=0) > 0.5, np.nan, 0.5)}


class TakesMissingForWrong(Sound):
    def _learn(self, data):
        names, state = super()._learn(data)
        wrong = np.where(np.isnan(state["quality"]).mean(axis=0) > 0.2, 0.0, state["quality"])
        return names, {**state, "quality": wrong, "mean": wrong.mean(axis=0)}


class NeedsTwo(Sound):
    def fit(self, records):
        given = list(records)
        if len(given) == 1:
            raise ConfigurationError("one record is too few")
        return super().fit(given)


class TakesNothing(Sound):
    def fit(self, records):
        given = list(records)
        return super().fit(given) if given else self


class ForgetsFirst(Sound):
    def fit(self, records):
        self.fitted_ = None
        return super().fit(records)


class NeedsAList(Sound):
    def fit(self, records):
        return super().fit(records[:])


class ReadsTwice(Sound):
    def fit(self, records):
        return super().fit([*list(records)[:100], *records])


class ReturnsAnother(Sound):
    def fit(self, records):
        super().fit(records)
        return Sound().fit(example_grades(checks.example_candidates()))


class EmptiesTheRecords(Sound):
    def fit(self, records):
        super().fit(records)
        if isinstance(records, list):
            records.clear()
        return self


class TurnsTheCandidates(Sound):
    def predict(self, texts, candidates):
        result = super().predict(texts, candidates)
        if isinstance(candidates, list):
            candidates.reverse()
        return result


class ForgetsOnboarding(Sound):
    def onboard(self, records):
        return self.fit(records)


class ShrugsAtNewcomers(Sound):
    def onboard(self, records):
        return super().onboard([replace(one, quality=1.0) for one in records])


class RefusesTooLate(Sound):
    def onboard(self, records):
        self.fit(records)
        raise ConfigurationError("all candidates are learnt together")


class FillsAnOption(Sound):
    def fit(self, records):
        self.k = 7
        return super().fit(records)


class StoresPlainly(Sound):
    def fit(self, records):
        self.names = ("a",)
        return super().fit(records)


BROKEN = [
    ("test_beats_random_on_a_separable_table", LikesTheFirst, AssertionError),
    ("test_works_before_any_record", NeedsRecords, ConfigurationError),
    ("test_fit_forgets_what_was_known", Accumulates, AssertionError),
    ("test_same_seed_gives_the_same_result", RollsDice, AssertionError),
    ("test_a_candidate_never_graded_changes_nothing_for_the_others", SharesOut, AssertionError),
    ("test_order_of_candidates_does_not_matter_in_a_batch", CountsPlaces, AssertionError),
    ("test_a_batch_equals_a_loop", CentresTheBatch, AssertionError),
    ("test_a_batch_equals_a_loop", FlatWhenEmpty, AssertionError),
    ("test_a_batch_equals_a_loop", WidensTheBatch, AssertionError),
    ("test_learns_when_grades_are_missing", NeedsAllGrades, AssertionError),
    ("test_learns_when_grades_are_missing", TakesMissingForWrong, AssertionError),
    ("test_learns_from_one_record", NeedsTwo, ConfigurationError),
    ("test_refuses_to_learn_from_nothing", TakesNothing, pytest.fail.Exception),
    ("test_refuses_to_learn_from_nothing", ForgetsFirst, ConfigurationError),
    ("test_fit_takes_any_iterable_and_returns_the_learner", NeedsAList, TypeError),
    ("test_fit_takes_any_iterable_and_returns_the_learner", ReadsTwice, AssertionError),
    ("test_fit_takes_any_iterable_and_returns_the_learner", ReturnsAnother, AssertionError),
    ("test_fit_and_predict_do_not_change_their_arguments", EmptiesTheRecords, AssertionError),
    ("test_fit_and_predict_do_not_change_their_arguments", TurnsTheCandidates, AssertionError),
    ("test_a_newcomer_is_onboarded_beside_the_others", ForgetsOnboarding, AssertionError),
    ("test_a_newcomer_is_onboarded_beside_the_others", ShrugsAtNewcomers, AssertionError),
    ("test_a_newcomer_is_onboarded_beside_the_others", RefusesTooLate, AssertionError),
    ("test_what_is_learnt_ends_in_an_underscore", FillsAnOption, AssertionError),
    ("test_what_is_learnt_ends_in_an_underscore", StoresPlainly, AssertionError),
]


@pytest.mark.parametrize(("test", "broken", "error"), BROKEN)
def test_the_learner_contract_catches(test: str, broken: type[Sound], error: type[Exception]) -> None:
    candidates = checks.example_candidates()
    method = getattr(LearnerContract(), test)
    records = example_grades(candidates)
    offered = {"learner": broken(), "candidates": candidates, "records": records, "accuracy": 0.9}
    asked = inspect.signature(method).parameters
    if "estimator" in asked:
        offered["estimator"] = broken().fit(example_grades(candidates))

    with pytest.raises(error):
        method(**{name: offered[name] for name in asked})


def test_each_test_of_the_learner_contract_is_shown_to_fail() -> None:
    own = {name for name in dir(LearnerContract) if name.startswith("test_") and not hasattr(EstimatorContract, name)}

    assert {name for name, _, _ in BROKEN} == own


def test_preferences_say_what_the_grades_say() -> None:
    candidates = checks.example_candidates()
    graded = {(one.text, one.candidate): one.quality for one in example_grades(candidates)}
    stronger = [
        graded[one.text, one.candidate] - graded[one.text, one.over]
        for one in example_preferences(candidates)
        if {(one.text, one.candidate), (one.text, one.over)} <= set(graded) and one.quality == 1
    ]

    assert stronger and set(stronger) == {1.0}


def test_the_share_of_right_choices_is_that_of_the_subject() -> None:
    candidates = checks.example_candidates()
    always_large = Sound().fit(
        [Record(text="any", candidate="large", quality=1.0), Record(text="any", candidate="medium", quality=0.0)]
    )

    assert right_share(always_large, candidates) == pytest.approx(2 / 3)
