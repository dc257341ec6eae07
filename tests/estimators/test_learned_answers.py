from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import CalibratedConfidence, QuantileClassifier, SelfVerification, TokenConfidence
from router_integrations.estimators.answers import GradedAnswer
from router_integrations.evaluation.metrics import ece
from router_integrations.learning import Record
from router_integrations.types import Attempt, Call
from tests.estimators.answered import LARGE, QUERY, SMALL, reply


def too_sure(number: int, *, seed: int, candidate: str = "small") -> list[Record]:
    """Answers whose token probability p is right in only p² of the cases."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.05, 0.999, number)
    right = rng.random(number) < sure**2
    return [
        Record(text=f"{candidate} {seed} {i}", candidate=candidate, quality=float(good), logprobs=(math.log(p),))
        for i, (p, good) in enumerate(zip(sure, right, strict=True))
    ]


def confidences(estimator, records: list[Record]) -> np.ndarray:
    pool = {name: Candidate(name, model=object()) for name in {record.candidate for record in records}}
    return np.array(
        [
            estimator.confidence(QUERY, pool[one.candidate], [reply("4", pool[one.candidate], logprobs=one.logprobs)])
            for one in records
        ]
    )


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_makes_confidence_a_probability(method) -> None:
    seen, new = too_sure(600, seed=0), too_sure(2000, seed=1)
    grades = [record.quality for record in new]
    calibrated = CalibratedConfidence(estimator=TokenConfidence(), method=method).fit(seen)

    assert ece(confidences(calibrated, new), grades) < 0.05 < 0.1 < ece(confidences(TokenConfidence(), new), grades)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_does_not_turn_the_order_round(method) -> None:
    calibrated = CalibratedConfidence(estimator=TokenConfidence(), method=method).fit(too_sure(300, seed=0))
    rising = [Record(text=str(p), candidate="small", quality=0, logprobs=(math.log(p),)) for p in (0.1, 0.5, 0.9, 0.99)]

    assert (np.diff(confidences(calibrated, rising)) >= 0).all()


def test_platt_tells_apart_what_is_nearly_certain() -> None:
    certain = [
        Record(text=f"{i}", candidate="small", quality=float(i % 2), logprobs=(-(1e-7 if i % 2 else 1e-4),))
        for i in range(100)
    ]
    calibrated = CalibratedConfidence(estimator=TokenConfidence()).fit(certain)

    assert confidences(calibrated, certain[:2]) == pytest.approx([0.0, 1.0], abs=0.1)


def test_each_candidate_has_its_curve_and_a_new_one_that_of_all() -> None:
    sure = [replace(one, candidate="large", quality=1.0) for one in too_sure(100, seed=2)]
    calibrated = CalibratedConfidence(estimator=TokenConfidence()).fit([*too_sure(100, seed=3), *sure])
    same = [Record(text="q", candidate=name, quality=0, logprobs=(-0.7,)) for name in ("small", "new", "large")]

    small, new, large = confidences(calibrated, same)

    assert small < new < large


def test_before_fit_confidence_stays_as_it_is() -> None:
    answer = [reply("4", logprobs=(-0.5,))]

    for calibrated in (CalibratedConfidence(estimator=TokenConfidence()), QuantileClassifier()):
        assert calibrated.confidence(QUERY, SMALL, answer) == TokenConfidence().confidence(QUERY, SMALL, answer)


def test_an_estimator_that_learns_is_taught_on_other_queries_than_the_curves() -> None:
    seen = too_sure(400, seed=4)
    inner = QuantileClassifier()
    calibrated = CalibratedConfidence(estimator=inner, held_out=0.5).fit(seen)

    assert inner.fitted_ is None
    learnt, everything = calibrated.fitted_["estimator"].fitted_["weights"], QuantileClassifier().fit(seen).fitted_
    assert not np.allclose(learnt, everything["weights"])
    assert ece(confidences(calibrated, new := too_sure(1000, seed=5)), [one.quality for one in new]) < 0.08


def test_verdicts_are_calibrated_from_answers_in_their_surroundings() -> None:
    verify = SelfVerification()

    def judged(said: str, quality: float) -> GradedAnswer:
        answer = reply("4")
        verdict = Attempt(call=Call(candidate=LARGE, purpose="judge", prompt=verify.ask(QUERY, answer)), text=said)
        return GradedAnswer(request=QUERY, candidate=SMALL, attempts=(answer, verdict), quality=quality)

    # Of those approved three in four are right, of the others one in four.
    answers = [
        judged(said, grade) for said, grades in (("True", "1110"), ("False", "0001")) for grade in map(float, grades)
    ]
    calibrated = CalibratedConfidence(estimator=verify, method="isotonic").fit_answers(answers * 5)

    found = [calibrated.confidence(QUERY, SMALL, judged(said, 0.0).attempts) for said in ("True", "False")]

    assert found == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("estimator", [CalibratedConfidence(estimator=TokenConfidence()), QuantileClassifier()])
@pytest.mark.parametrize("records", [[], [Record(text="q", candidate="a", quality=1.0, answer="4")]])
def test_there_must_be_something_to_learn_from(estimator, records) -> None:
    with pytest.raises(ConfigurationError, match="no graded answer with logprobs"):
        estimator.fit(records)

    assert estimator.fitted_ is None


def test_one_grade_is_enough_to_go_on() -> None:
    for estimator in (CalibratedConfidence(estimator=TokenConfidence()), QuantileClassifier()):
        assert 0 <= estimator.fit(too_sure(1, seed=0)).confidence(QUERY, SMALL, [reply("4", logprobs=(-1.0,))]) <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": object()},
        {"estimator": CalibratedConfidence(estimator=TokenConfidence())},
        {"estimator": TokenConfidence(), "method": "beta"},
        {"estimator": TokenConfidence(), "held_out": 0.0},
    ],
)
def test_options_out_of_range_are_refused(options) -> None:
    with pytest.raises(ConfigurationError, match="CalibratedConfidence"):
        CalibratedConfidence(**options)
