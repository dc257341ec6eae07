from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from router_integrations import Candidate, Difficulty, HashingEncoder
from router_integrations.calibration import calibration_errors
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import CalibratedEstimator, KMeansQuality, Neighbors
from router_integrations.estimators.learned import Data
from router_integrations.learning import Record, Table
from router_integrations.storage.coding import Reader, Writer
from tests.calibration.told import POOL, Told, told

ENCODER = HashingEncoder(dimensions=64)
METHODS = pytest.mark.parametrize("method", ["platt", "isotonic"])


def overconfident(queries: int, seed: int = 0) -> tuple[np.ndarray, list[Record]]:
    """What is said of small and big, and grades whose log-odds are half of that, minus a half."""
    rng = np.random.default_rng(seed)
    says = rng.uniform(0.02, 0.98, size=(queries, 2))
    truth = 1 / (1 + np.exp(0.5 - 0.5 * np.log(says / (1 - says))))
    right = rng.random(says.shape) < truth
    records = [
        Record(text=str(row), candidate=one.name, quality=float(right[row, at]), output_tokens=300)
        for row in range(queries)
        for at, one in enumerate(POOL)
    ]
    return says, records


def predicted(estimator: Any, texts: list[str]) -> np.ndarray:
    return estimator.predict(texts, POOL)[0]


@METHODS
def test_estimates_come_near_to_what_comes_of_them(method: Any) -> None:
    says, records = overconfident(8000)
    estimator = CalibratedEstimator(estimator=told(says), method=method).calibrate(records[:6000])

    fresh = Table.of(records[6000:])
    before = calibration_errors(estimator.uncalibrated, fresh, POOL)
    after = calibration_errors(estimator, fresh, POOL)

    assert all(before[name] > 0.12 and after[name] < 0.05 for name in ("small", "big"))


def test_platts_curve_is_found_again() -> None:
    says, records = overconfident(5000)
    estimator = CalibratedEstimator(estimator=told(says)).calibrate(records)

    slope, intercept = estimator.fitted_.state["calibration"][0, :, 0]

    assert (slope, intercept) == pytest.approx((0.5, -0.5), abs=0.06)


def test_the_isotonic_curve_is_scikit_learns() -> None:
    says, records = overconfident(300)
    estimator = CalibratedEstimator(estimator=told(says), method="isotonic").calibrate(records)
    expected = IsotonicRegression(out_of_bounds="clip").fit(says[:, 1], [one.quality for one in records[1::2]])

    texts = [str(row) for row in range(300)]

    assert predicted(estimator, texts)[:, 1] == pytest.approx(expected.predict(says[:, 1]), abs=1e-5)
    assert np.isfinite(estimator.fitted_.state["calibration"]).all()


@METHODS
def test_a_curve_of_a_useful_estimator_keeps_the_order_of_queries(method: Any) -> None:
    says, records = overconfident(500)
    estimator = CalibratedEstimator(estimator=told(says), method=method).calibrate(records)
    order = np.argsort(says[:, 0])

    assert (np.diff(predicted(estimator, [str(row) for row in order])[:, 0]) >= 0).all()


@METHODS
def test_an_estimator_that_always_says_the_same_is_given_the_mean(method: Any) -> None:
    records = [
        Record(text=str(row), candidate=one.name, quality=float(row % 4 == 0)) for row in range(100) for one in POOL
    ]
    estimator = CalibratedEstimator(estimator=told(np.full((100, 2), 0.9)), method=method).calibrate(records)

    assert predicted(estimator, ["3"])[0] == pytest.approx([0.25, 0.25], abs=0.01)


@pytest.mark.parametrize(("grades", "moved"), [(9, False), (10, True)])
def test_a_candidate_with_fewer_than_ten_grades_keeps_its_estimates(grades: int, moved: bool) -> None:
    says, records = overconfident(100)
    few = [one for one in records if one.candidate == "small" or int(one.text) < grades]

    quality = predicted(CalibratedEstimator(estimator=told(says)).calibrate(few), ["50"])[0]

    assert quality[0] != pytest.approx(says[50, 0])
    assert (quality[1] != pytest.approx(says[50, 1])) is moved


def test_the_deviation_and_the_length_of_answers_stay() -> None:
    records = graded()
    inner = Neighbors(k=3, encoder=ENCODER).fit(records)
    estimator = CalibratedEstimator(estimator=inner).calibrate(records)
    before, after = (one.predict_with_tokens(["word 3"], POOL) for one in (inner, estimator))

    assert before[0].tolist() != after[0].tolist()
    assert before[1].tolist() == after[1].tolist()
    assert before[2].tolist() == after[2].tolist()


def graded(queries: int = 100) -> list[Record]:
    right = np.random.default_rng(0).random((queries, 2)) < 0.5
    return [
        Record(text=f"word {row}", candidate=one.name, quality=float(right[row, at]), output_tokens=10 + row)
        for row in range(queries)
        for at, one in enumerate(POOL)
    ]


class Spy(Neighbors):
    """Keeps what it was taught."""

    taught: ClassVar[list[Data]] = []

    def _learn(self, data: Data) -> Any:
        self.taught.append(data)
        return super()._learn(data)


def test_fit_hides_the_held_out_queries_from_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spy, "taught", [])
    records = graded()
    battles = [Record(text=f"word {row}", candidate="small", over="big", quality=1.0) for row in range(100)]
    inner = Spy(k=3, encoder=ENCODER)
    estimator = CalibratedEstimator(estimator=inner, held_out=0.25).fit([*records, *battles])

    data = Spy.taught[0]
    shown = set(data.table.texts)

    assert len(Spy.taught) == 1 and len(shown) == 75
    assert {one.text for one in data.graded} == {one.text for one in data.battles} == shown
    assert np.array_equal(data.vectors, ENCODER.encode(data.table.texts))
    assert inner.fitted_ is None
    assert estimator.uncalibrated.predict(["word 3"], POOL)[0] == pytest.approx(
        Neighbors(k=3, encoder=ENCODER).fit(r for r in records if r.text in shown).predict(["word 3"], POOL)[0]
    )


def test_the_seed_chooses_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spy, "taught", [])
    for seed in (0, 0, 1):
        CalibratedEstimator(estimator=Spy(encoder=ENCODER), seed=seed).fit(graded())
    first, again, other = (data.table.texts for data in Spy.taught)

    assert first == again != other


def test_with_too_few_queries_to_hold_out_the_estimator_learns_from_all_and_is_left_alone() -> None:
    records = graded(30)
    estimator = CalibratedEstimator(estimator=Neighbors(k=3, encoder=ENCODER)).fit(records)

    expected = Neighbors(k=3, encoder=ENCODER).fit(records).predict(["word 3"], POOL)[0]

    # Three tenths of thirty are nine.
    assert estimator.predict(["word 3"], POOL)[0] == pytest.approx(expected)
    assert np.isnan(estimator.fitted_.state["calibration"]).all()


def test_a_candidate_added_later_has_no_curve_and_the_others_keep_theirs() -> None:
    estimator = CalibratedEstimator(estimator=KMeansQuality(clusters=3, encoder=ENCODER)).fit(graded())
    before = estimator.predict(["word 3"], POOL)[0]
    estimator.onboard([Record(text=f"word {row}", candidate="new", quality=1.0) for row in range(40)])
    new = Candidate("new", model=object())

    quality = estimator.predict(["word 3"], [*POOL, new])[0][0]

    assert quality[:2].tolist() == before[0].tolist()
    assert quality[2] == estimator.uncalibrated.predict(["word 3"], [new])[0][0, 0] > 0.9


@METHODS
def test_it_is_saved_and_loaded(method: Any) -> None:
    estimator = CalibratedEstimator(
        estimator=Neighbors(k=3, encoder=HashingEncoder(dimensions=64)), method=method, held_out=0.4, seed=3
    ).fit(graded())
    writer = Writer()
    plain = writer.plain(estimator, "estimator")

    found = Reader(writer.arrays, writer.layout).value(plain)

    texts = ["word 3", "something else"]
    assert (found.method, found.held_out, found.seed, found.estimator.k) == (method, 0.4, 3, 3)
    assert found.predict(texts, POOL)[0].tolist() == estimator.predict(texts, POOL)[0].tolist()
    assert (
        found.uncalibrated.predict(texts, POOL)[0].tolist() == estimator.uncalibrated.predict(texts, POOL)[0].tolist()
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CalibratedEstimator(estimator=Difficulty()), "must be another one that learns"),
        (lambda: CalibratedEstimator(estimator=CalibratedEstimator(estimator=Told())), "must be another one"),
        (
            lambda: CalibratedEstimator(estimator=Told(), method="beta"),
            "method must be 'platt' or 'isotonic' but got 'beta'",
        ),
        (lambda: CalibratedEstimator(estimator=Told(), held_out=0.0), r"held_out must be in \(0, 1\) but got 0.0"),
        (lambda: CalibratedEstimator(estimator=Told(), held_out=1.0), r"held_out must be in \(0, 1\)"),
        (lambda: CalibratedEstimator(estimator=Told()).calibrate(graded()), "has learnt nothing yet"),
        (lambda: CalibratedEstimator(estimator=told([[1, 1]])).calibrate([]), "got no graded attempt"),
        (lambda: CalibratedEstimator(estimator=Told()).uncalibrated, "has learnt nothing yet"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()
