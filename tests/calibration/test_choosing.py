from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_integrations import Attempt, Best, Call, Fixed, HashingEncoder, Request, Stop, Utility
from router_integrations.calibration import (
    Budget,
    ErrorRate,
    QualityFloor,
    StrongShare,
    Target,
    calibrate,
    calibrate_by_folds,
)
from router_integrations.calibration.trials import Turn, best_trials
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Difficulty, Neighbors
from router_integrations.evaluation import replay
from router_integrations.evaluation.evaluating import forecast_table
from router_integrations.evaluation.replay import at_once
from router_integrations.learning import Record, Table
from router_integrations.testing.table import Outcome
from tests.calibration.told import POOL, Singly, Told, table, told

# Not fitted, so that many fits are quick.
ENCODER = HashingEncoder(dimensions=64)
# Small is worse and worse from query to query, and the estimator knows it; big is always right.
SAYS = [[0.9, 0.95], [0.7, 0.95], [0.5, 0.95], [0.3, 0.95]]
TABLE = table([[1.0, 1.0], [1.0, 1.0], [0.5, 1.0], [0.0, 1.0]])
BEST = Best(estimator=told(SAYS))
LINEAR = Best(estimator=told(SAYS), utility=Utility(enough=1))


@pytest.mark.parametrize(
    ("to", "threshold", "bigs"),
    [
        (Budget(usd=4.0), 0.7, 2),
        (Budget(usd=2.5), 0.7, 2),
        (Budget(usd=2.4), 0.5, 1),
        (Budget(usd=1.74), 0.3, 0),
        (Budget(usd=1.0), 0.3, 0),
        (QualityFloor(share=1.0, of="big"), 0.7, 2),
        (QualityFloor(share=0.875, of="big"), 0.5, 1),
        (QualityFloor(share=0.88, of="big"), 0.7, 2),
        (QualityFloor(share=0.5, of="big"), 0.3, 0),
        (QualityFloor(share=1.4, of="small"), 0.5, 1),
        (StrongShare(share=0.0, of="big"), 0.3, 0),
        (StrongShare(share=0.5, of="big"), 0.7, 2),
        (StrongShare(share=0.74, of="big"), 0.7, 2),
        (StrongShare(share=1.0, of="big"), 0.95, 4),
    ],
)
def test_the_threshold_is_the_one_that_reaches_the_target(to: Target, threshold: float, bigs: int) -> None:
    found = calibrate(BEST, TABLE, POOL, to=to)
    done = replay(found.strategy, TABLE, POOL)

    # Just above 0 everybody is good enough, as at the least that is expected of anybody.
    assert found.setting == pytest.approx(threshold) or (bigs == 0 and found.setting <= threshold)
    assert found.strategy.utility == Utility(enough=found.setting)
    assert done.share("big") == bigs / 4 == found.shares["big"].value
    assert done.mean_cost == found.cost.value
    assert done.mean_quality == found.quality.value


@pytest.mark.parametrize(
    ("to", "low", "high", "bigs"),
    [
        (Budget(usd=2.5), 0.25 / 3, 0.45 / 3, 2),
        (Budget(usd=1.75), 0.45 / 3, 0.65 / 3, 1),
        (QualityFloor(share=1.0, of="big"), 0.25 / 3, 0.45 / 3, 2),
        (StrongShare(share=0.75, of="big"), 0.05 / 3, 0.25 / 3, 3),
        (StrongShare(share=0.1, of="big"), 0.65 / 3, 1.0, 0),
    ],
)
def test_the_price_is_one_that_reaches_the_target(to: Target, low: float, high: float, bigs: int) -> None:
    found = calibrate(LINEAR, TABLE, POOL, to=to, knob="per_usd")

    assert low < found.setting < high
    assert found.strategy.utility == Utility(enough=1, per_usd=found.setting)
    assert replay(found.strategy, TABLE, POOL).share("big") == bigs / 4 == found.shares["big"].value


def test_at_no_price_the_best_is_asked() -> None:
    found = calibrate(LINEAR, TABLE, POOL, to=StrongShare(share=1.0, of="big"), knob="per_usd")

    assert (found.setting < 0.05 / 3, found.shares["big"].value) == (True, 1.0)


def test_what_the_strategy_says_of_the_rest_stays() -> None:
    best = Best(estimator=told(SAYS), utility=Utility(enough=0.2, per_usd=1e-9, optimism=-1))

    found = calibrate(best, TABLE, POOL, to=Budget(usd=2.5))

    assert found.strategy.utility == Utility(enough=found.setting, per_usd=1e-9, optimism=-1)
    assert found.strategy.estimator is best.estimator
    assert best.utility == Utility(enough=0.2, per_usd=1e-9, optimism=-1)


def test_no_setting_costs_another_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Told, "asked", 0)
    calibrate(BEST, TABLE, POOL, to=ErrorRate(at_most=0.5))

    assert Told.asked == 4


@pytest.mark.parametrize("to", [Budget(usd=2.0), QualityFloor(share=0.8, of="big"), ErrorRate(at_most=0.45)])
def test_an_estimator_that_predicts_singly_gets_the_same_setting(to: Target) -> None:
    single = Best(estimator=Singly(estimator=told(SAYS)))

    assert calibrate(single, TABLE, POOL, to=to).setting == calibrate(BEST, TABLE, POOL, to=to).setting


def test_a_strategy_of_another_kind_is_replayed_at_each_setting() -> None:
    class Gate:
        """Asks small, and big when small is not sure enough of itself."""

        def __init__(self, sure: float) -> None:
            self.sure = sure

        def decide(self, request: Request, attempts: Any = ()) -> Call:
            small, big = request.candidates
            if not attempts:
                return Call(candidate=small)
            return Call(candidate=big, final=True) if float(attempts[0].text) < self.sure else _stop(attempts[0])

    def _stop(attempt: Attempt) -> Any:
        return Stop(attempt=attempt)

    outcomes = [{"small": Outcome(text=str(one[0]))} for one in SAYS]
    found = calibrate(
        Gate, TABLE, POOL, to=QualityFloor(share=1.0, of="big"), knob=[0.2, 0.4, 0.6, 0.8], outcomes=outcomes
    )

    # Two of four pay for both.
    assert (found.setting, found.cost.value, found.strategy.sure) == (0.6, (1 + 1 + 5 + 5) / 4, 0.6)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        (Budget(usd=0.5), r"no setting costs at most 0.5 USD a query; the cheapest costs 1; raise Budget.usd"),
        (QualityFloor(share=1.1, of="big"), r"no setting has 1.1 of the quality of 'big', 1.100; the best has 1.000"),
        (QualityFloor(share=0.9, of="huge"), r"of='huge' is none of the candidates \['small', 'big'\]"),
        (StrongShare(share=0.9, of="huge"), r"of='huge' is none of the candidates"),
        (
            ErrorRate(at_most=0.19),
            r"with 4 queries the most careful one guarantees 0.200, and none can less than 0.200",
        ),
    ],
)
def test_a_target_out_of_reach_is_an_error_that_says_what_is_in_reach(to: Target, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        calibrate(BEST, TABLE, POOL, to=to)


def test_a_share_out_of_reach_is_an_error() -> None:
    with pytest.raises(
        ConfigurationError, match=r"every setting asks 'small' for more than 0.5 of the queries; the least"
    ):
        calibrate(Best(estimator=told([[0.9, 0.1]] * 4)), TABLE, POOL, to=StrongShare(share=0.5, of="small"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(usd=0), "Budget.usd must be above 0"),
        (lambda: QualityFloor(share=0, of="big"), "QualityFloor.share must be above 0"),
        (lambda: StrongShare(share=1.5, of="big"), r"StrongShare.share must be in \[0, 1\]"),
        (lambda: ErrorRate(at_most=1.0), r"ErrorRate.at_most must be in \(0, 1\)"),
        (lambda: calibrate(Fixed(), TABLE, POOL, to=Budget(usd=1)), "knows no knob of .*Fixed"),
        (lambda: calibrate(BEST, TABLE, POOL, to=Budget(usd=1), knob="price"), "must be 'enough' or 'per_usd'"),
        (lambda: calibrate(lambda x: BEST, TABLE, POOL, to=Budget(usd=1)), "the settings to try for a function"),
        (lambda: calibrate(lambda x: BEST, TABLE, POOL, to=Budget(usd=1), knob=[]), "the settings to try"),
        (lambda: calibrate(LINEAR, TABLE, POOL, to=ErrorRate(at_most=0.5), knob="per_usd"), "chooses a threshold"),
        (
            lambda: calibrate(BEST, table([[1, np.nan]]), POOL, to=QualityFloor(share=1, of="big")),
            "1 queries have no grade of 'big'",
        ),
        (lambda: calibrate(BEST, table([[1, 1]], [np.nan, 1]), POOL, to=Budget(usd=1)), "a query's cost is unknown"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_subclass_of_best_may_have_ways_of_its_own() -> None:
    class Mine(Best):
        pass

    with pytest.raises(ConfigurationError, match="knows no knob of Mine"):
        calibrate(Mine(), TABLE, POOL, to=Budget(usd=4))


def test_without_costs_a_share_can_be_had_all_the_same() -> None:
    found = calibrate(BEST, table(TABLE.quality, [np.nan, np.nan]), POOL, to=StrongShare(share=0.5, of="big"))

    assert found.cost is None
    assert found.shares["big"].value == 0.5


def test_the_intervals_are_those_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    grades = (rng.random((400, 2)) < [0.6, 0.9]).astype(float)
    says = np.column_stack([rng.random(400), np.full(400, 2.0)]).clip(0, 1)

    found = calibrate(Best(estimator=told(says)), table(grades), POOL, to=StrongShare(share=0.5, of="big"))

    share = found.shares["big"]
    half = 1.96 * (0.5 * 0.5 / 400) ** 0.5
    assert found.queries == 400
    assert share.value == pytest.approx(0.5, abs=0.005)
    assert (share.low, share.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.01)
    assert found.cost.low == pytest.approx(1 + 3 * share.low)
    assert found.quality.low < found.quality.value < found.quality.high


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])] * 4), min_size=1, max_size=8),
    st.sampled_from([1.0, 1.5, 2.5, 4.0]),
)
def test_no_threshold_at_all_is_better_within_the_budget(rows: list[Any], usd: float) -> None:
    says, grades = np.array(rows)[:, :2], table(np.array(rows)[:, 2:])
    best = Best(estimator=told(says))
    expected = forecast_table(best.estimator, grades, POOL)
    every = [at_once(Utility(enough=x), expected, grades) for x in np.linspace(0, 1, 21)]
    within = [one.mean_quality for one in every if one.mean_cost <= usd]
    trials = best_trials(Turn(best=best, knob="enough"), expected, grades, fixed=False)
    if not within:
        with pytest.raises(ConfigurationError):
            Budget(usd=usd).pick(trials)
        return

    found = trials.run(Budget(usd=usd).pick(trials))

    assert found.mean_quality == max(within)
    assert found.mean_cost <= usd


class TestByFolds:
    def records(self, queries: int = 200) -> list[Record]:
        """Nobody can tell which of the two is right; one in four answers is."""
        right = np.random.default_rng(0).random((queries, 2)) < 0.25
        return [
            Record(text=f"w{row}x", candidate=one.name, quality=float(right[row, at]), cost=float(at + 1))
            for row in range(queries)
            for at, one in enumerate(POOL)
        ]

    def test_what_an_estimator_knows_by_heart_is_not_counted(self) -> None:
        records = self.records()
        best = Best(estimator=Neighbors(k=1, encoder=ENCODER), utility=Utility(enough=1))
        learnt = Best(estimator=Neighbors(k=1, encoder=ENCODER).fit(records), utility=Utility(enough=1))
        to = Budget(usd=2.0)

        cheated = calibrate(learnt, Table.of(records), POOL, to=to)
        honest = calibrate_by_folds(best, records, POOL, to=to)

        # Either is right on 1 - 0.75² of the queries; who picks blindly, on a quarter.
        assert cheated.quality.value > 0.4
        assert honest.quality.value < 0.36
        assert honest.queries == 200

    def test_the_estimator_returned_has_learnt_from_all_and_the_one_given_from_nothing(self) -> None:
        records = self.records(20)
        best = Best(estimator=Neighbors(k=3, encoder=ENCODER))

        found = calibrate_by_folds(best, records, POOL, to=StrongShare(share=0.5, of="big"), folds=4)

        expected = Neighbors(k=3, encoder=ENCODER).fit(records).predict(["w3x", "w5x"], POOL)[0]
        assert found.strategy.estimator.predict(["w3x", "w5x"], POOL)[0].tolist() == expected.tolist()
        assert best.estimator.fitted_ is None
        assert found.shares["big"].value <= 0.5

    @pytest.mark.parametrize("folds", [1, 21])
    def test_there_is_a_query_for_each_fold(self, folds: int) -> None:
        with pytest.raises(ConfigurationError, match=r"folds must be in \[2, 20\]"):
            calibrate_by_folds(Best(estimator=Neighbors()), self.records(20), POOL, to=Budget(usd=2), folds=folds)

    def test_an_estimator_that_does_not_learn_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="needs an estimator that learns"):
            calibrate_by_folds(Best(estimator=Difficulty()), self.records(20), POOL, to=Budget(usd=2))

    @pytest.mark.parametrize("to", [QualityFloor(share=0.5, of="big"), ErrorRate(at_most=0.9, of="big")])
    def test_queries_without_the_grade_compared_with_are_left_out_of_the_choice(
        self, to: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        records = [one for one in self.records(20) if one.candidate == "small" or one.text not in ("w3x", "w5x")]
        best = Best(estimator=Neighbors(k=3, encoder=ENCODER))

        found = calibrate_by_folds(best, records, POOL, to=to, folds=18)

        expected = Neighbors(k=3, encoder=ENCODER).fit(records).predict(["w3x"], POOL)[0]
        assert found.strategy.estimator.predict(["w3x"], POOL)[0].tolist() == expected.tolist()
        assert found.queries == 18
        assert caplog.messages == ["queries without a grade of 'big', left out of the choice: 2 of 20"]

    def test_a_target_without_a_comparison_takes_all_queries(self, caplog: pytest.LogCaptureFixture) -> None:
        records = [one for one in self.records(20) if one.candidate == "small" or one.text != "w3x"]

        found = calibrate_by_folds(Best(estimator=Neighbors(k=3)), records, POOL, to=StrongShare(share=0.5, of="big"))

        assert (found.queries, caplog.messages) == (20, [])

    @pytest.mark.parametrize(("graded", "message"), [(0, "knows nothing of"), (1, r"folds must be in \[2, 1\]")])
    def test_too_little_to_compare_with_is_an_error(self, graded: int, message: str) -> None:
        records = [one for one in self.records(20) if one.candidate == "small" or int(one.text[1:-1]) < graded]

        with pytest.raises(ConfigurationError, match=message):
            calibrate_by_folds(Best(estimator=Neighbors()), records, POOL, to=QualityFloor(share=1, of="big"))
