from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import BudgetCurve, CalibratedEstimator, Linear
from router_integrations.learning import Record
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import Best
from router_integrations.testing import checks
from router_integrations.testing.learning import example_grades, example_texts
from router_integrations.types import Request, Utility

ENCODER = HashingEncoder(dimensions=6)
NEW = ["sum a fraction", "fly to an island", "bake bread", "完全不同"]
BUDGETS = {"m100": ("m", 100), "m400": ("m", 400), "m1600": ("m", 1600), "m200": ("m", 200), "other": ("o", 100)}
LEARNT = ("m100", "m400", "m1600")


def pool(*names: str) -> list[Candidate]:
    return [Candidate(name, model=object(), input_price=0.0, output_price=1e-3) for name in names]


def records(rule: Any, *, names: Any = LEARNT, number: int = 60, seed: int = 0) -> list[Record]:
    """Grades drawn with the probability that `rule` gives to a subject and a budget."""
    rng = np.random.default_rng(seed)
    return [
        Record(
            text=text,
            candidate=name,
            quality=float(rng.random() < rule(subject, BUDGETS[name][1])),
            output_tokens=BUDGETS[name][1] // 2,
        )
        for text, subject in example_texts(number).items()
        for name in names
        if rng.random() < 0.9
    ]


def rising(subject: str, budget: float) -> float:
    return 0.9 if budget >= 1600 or subject == "cooking" else 0.3


def falling(subject: str, budget: float) -> float:
    return 0.9 if budget <= 100 else 0.2


def odds(quality: np.ndarray) -> np.ndarray:
    return np.log(quality / (1 - quality))


def fitted(rule: Any = rising, **options: Any) -> BudgetCurve:
    return BudgetCurve(**{"budgets": BUDGETS, "encoder": ENCODER, **options}).fit(records(rule))


def expected_odds(given: list[Record], alpha: float) -> np.ndarray:
    """The curve as one logistic regression on the vector, the vector times the budget's place, and the budget."""
    place = {name: math.log(BUDGETS[name][1] / 400) / math.log(16) for name in LEARNT}
    # So large that the penalty on the levels is as good as none.
    level = {name: 1e4 * np.eye(3)[index] for index, name in enumerate(LEARNT)}

    def row(vector: np.ndarray, name: str) -> np.ndarray:
        return np.concatenate([vector, place[name] * vector, level[name]])

    rows = [row(ENCODER.encode([one.text])[0], one.candidate) for one in given]
    # The grade of one half that each candidate is taken to have.
    rows += [row(np.zeros(6), name) for name in LEARNT for _ in range(2)]
    grades = [*(one.quality for one in given), *[0, 1] * 3]
    model = LogisticRegression(C=1 / alpha, fit_intercept=False, tol=1e-10, max_iter=100_000, solver="newton-cg")
    model.fit(np.array(rows), grades, sample_weight=[*np.ones(len(given)), *[0.5] * 6])
    return np.column_stack(
        [model.decision_function([row(vector, name) for vector in ENCODER.encode(NEW)]) for name in LEARNT]
    )


@pytest.mark.parametrize("alpha", [0.3, 5.0])
def test_the_curve_is_one_logistic_regression_over_query_and_budget(alpha: float) -> None:
    quality, _ = fitted(falling, alpha=alpha).predict(NEW, pool(*LEARNT))

    assert odds(quality) == pytest.approx(expected_odds(records(falling), alpha), abs=2e-2)


def test_a_model_with_one_budget_is_logistic_regression() -> None:
    grades = example_grades(checks.example_candidates())
    linear = Linear(link="logistic", encoder=ENCODER).fit(grades).predict(NEW, checks.example_candidates())
    for budgets in (None, {"small": ("a", 10), "large": ("b", 20)}):
        curve = BudgetCurve(budgets=budgets, encoder=ENCODER).fit(grades).predict(NEW, checks.example_candidates())
        for got, wanted in zip(curve, linear, strict=True):
            assert got == pytest.approx(wanted, abs=1e-3)


def test_a_candidate_left_out_is_no_model_of_the_same_name() -> None:
    given = records(falling, names=("m100", "m400"))
    alone = [Record(text=one.text, candidate="m", quality=1 - one.quality) for one in given[::2]]
    with_it, without = (BudgetCurve(budgets=BUDGETS, encoder=ENCODER).fit(some) for some in ([*given, *alone], given))

    assert with_it.predict(NEW, pool("m100", "m400"))[0] == pytest.approx(without.predict(NEW, pool("m100", "m400"))[0])


def test_budgets_share_what_is_learnt_of_the_query() -> None:
    def subject_matters(subject: str, budget: float) -> float:
        return 0.95 if subject == "cooking" else 0.05

    # The largest budget was tried on few queries; what the others show of the subject serves it too.
    few = [one for one in records(subject_matters) if one.candidate != "m1600" or one.text in list(example_texts(4))]
    encoder = HashingEncoder(dimensions=64)
    shared = BudgetCurve(budgets=BUDGETS, encoder=encoder).fit(few)
    alone = BudgetCurve(encoder=encoder).fit(few)
    contrasts = []
    for estimator in (shared, alone):
        quality, _ = estimator.predict(["boil onion soup", "solve the equation"], pool("m1600"))
        contrasts.append(float(quality[0, 0] - quality[1, 0]))

    assert contrasts[0] > contrasts[1] + 0.1


def test_more_tokens_do_not_hurt_unless_the_records_say_so() -> None:
    texts = list(example_texts(60, seed=7))
    up, down = (fitted(rule).predict(texts, pool(*LEARNT))[0] for rule in (rising, falling))

    assert all((up[:, less] <= up[:, more]).all() for less, more in pairwise(range(3)))
    assert (down[:, 0] > down[:, 2]).all()


def test_rising_order_is_the_odds_of_the_query_sorted() -> None:
    def flat(subject: str, budget: float) -> float:
        return 0.5

    given = records(flat, number=30)
    raw = expected_odds(given, 1.0)
    quality, _ = BudgetCurve(budgets=BUDGETS, encoder=ENCODER).fit(given).predict(NEW, pool(*LEARNT))

    assert not np.array_equal(raw, np.sort(raw, axis=1))
    assert odds(quality) == pytest.approx(np.sort(raw, axis=1), abs=2e-2)


def test_a_budget_without_records_is_read_off_the_curve() -> None:
    budgets = {**BUDGETS, "tiny": ("m", 10), "huge": ("m", 10_000), "m800": ("m", 800)}
    estimator = fitted(budgets=budgets)
    quality, std = estimator.predict(NEW, pool(*LEARNT, "m200", "m800", "tiny", "huge"))
    at, slope = odds(quality), std / (quality * (1 - quality))

    for read in (at, slope):
        assert read[:, 3] == pytest.approx((read[:, 0] + read[:, 1]) / 2, rel=1e-3)
        assert read[:, 4] == pytest.approx((read[:, 1] + read[:, 2]) / 2, rel=1e-3)
        assert read[:, 5] == pytest.approx(read[:, 0])
        assert read[:, 6] == pytest.approx(read[:, 2])


def test_a_model_without_records_is_as_good_as_the_others() -> None:
    estimator = fitted()
    quality, std = estimator.predict(NEW, pool("other", "never heard of"))

    assert "other" not in estimator.fitted_.names
    assert (quality[:, 0] == quality[:, 1]).all()
    assert (std == 0.3).all()


def test_the_length_of_an_answer_is_read_off_the_curve_and_never_exceeds_the_budget() -> None:
    budgets = {**BUDGETS, "tiny": ("m", 10), "other": ("o", 100)}
    candidates = pool(*LEARNT, "m200", "tiny", "other", "never heard of")
    _, _, tokens = fitted(budgets=budgets).predict_with_tokens(NEW, candidates)
    costs = [one.cost for one in fitted(budgets=budgets).estimate(Request(text="sum"), candidates)]

    # Half of each budget was used, so 125 lie between 50 and 200; nothing is known of the last two.
    assert tokens == pytest.approx(np.tile([50, 200, 800, 125, 10, 100, 300], (4, 1)))
    assert costs == pytest.approx(tokens[0] * 1e-3)


def test_calibration_keeps_the_lengths_of_the_curve() -> None:
    budgets = {**BUDGETS, "tiny": ("m", 10), "other": ("o", 100)}
    inner = BudgetCurve(budgets=budgets, encoder=ENCODER)
    estimator = CalibratedEstimator(estimator=inner).fit(records(rising))
    _, _, tokens = estimator.predict_with_tokens(NEW, pool(*LEARNT, "m200", "tiny", "other"))

    assert tokens == pytest.approx(np.tile([50, 200, 800, 125, 10, 100], (4, 1)))


def test_a_budget_without_records_has_a_length_that_follows_the_query() -> None:
    given = [
        Record(
            text=text, candidate=name, quality=1.0, output_tokens=(5 if "sum" in text else 1) * BUDGETS[name][1] // 10
        )
        for text in example_texts(400)
        for name in LEARNT
    ]
    _, _, tokens = (
        BudgetCurve(budgets=BUDGETS, encoder=HashingEncoder())
        .fit(given)
        .predict_with_tokens(["sum sum", "bake"], pool("m100", "m200", "m400"))
    )

    assert tokens[0, 1] > tokens[1, 1] + 5
    assert tokens[:, 1] == pytest.approx((tokens[:, 0] + tokens[:, 2]) / 2, rel=1e-4)


def test_model_and_budget_are_chosen_at_once() -> None:
    candidates = tuple(pool(*LEARNT))
    estimator = BudgetCurve(budgets=BUDGETS, encoder=HashingEncoder(dimensions=64)).fit(records(rising, number=300))
    chosen = {}
    for price in (0.0, 0.4, 10.0):
        strategy = Best(estimator=estimator, utility=Utility(enough=1, per_usd=price))
        chosen[price] = [
            strategy.decide(Request(text=text, candidates=candidates)).candidate.name
            for text in ("boil onion soup flour", "solve equation integral prime")
        ]

    assert chosen[0.0] == ["m1600", "m1600"]
    assert chosen[0.4] == ["m100", "m1600"]
    assert chosen[10.0] == ["m100", "m100"]


@pytest.mark.parametrize("rule", [rising, falling])
def test_onboarding_draws_the_curve_that_fitting_would(rule: Any) -> None:
    def renamed(given: list[Record]) -> list[Record]:
        return [Record(text=one.text, candidate=f"n{one.candidate[1:]}", quality=one.quality) for one in given]

    budgets = {**BUDGETS, "n1600": ("n", 1600), "n400": ("n", 400), "n100": ("n", 100)}
    new = renamed(records(rule, seed=1))
    later = BudgetCurve(budgets=budgets, encoder=ENCODER).fit(records(rising)).onboard(new)
    alone = BudgetCurve(budgets=budgets, encoder=ENCODER).fit(new)
    old, names = pool(*LEARNT, "m200"), pool("n100", "n400", "n1600")

    assert later.predict(NEW, names)[0] == pytest.approx(alone.predict(NEW, names)[0], abs=1e-5)
    assert later.predict(NEW, names)[1] == pytest.approx(alone.predict(NEW, names)[1], rel=0.05)
    for got, before in zip(later.predict(NEW, old), fitted(budgets=budgets).predict(NEW, old), strict=True):
        assert got == pytest.approx(before)
    later.onboard([Record(text=one.text, candidate="one more", quality=1.0) for one in new])
    assert (later.predict(NEW, pool("one more"))[0] > 0.9).all()


def test_a_fit_that_fails_changes_nothing() -> None:
    estimator = fitted()
    before = estimator.fitted_
    with pytest.raises(ConfigurationError, match=r"BudgetCurve\.fit got no records"):
        estimator.fit([])

    assert estimator.fitted_ is before


def test_it_is_saved() -> None:
    estimator, writer = fitted(), Writer()
    plain = writer.plain(estimator, "estimator")
    again = Reader(writer.arrays, writer.layout).value(plain)

    for got, wanted in zip(
        again.predict_with_tokens(NEW, pool(*BUDGETS)), estimator.predict_with_tokens(NEW, pool(*BUDGETS)), strict=True
    ):
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("tokens", [0, -1, float("inf"), float("nan")])
def test_a_budget_out_of_range_is_refused(tokens: float) -> None:
    with pytest.raises(ConfigurationError, match="'a' has"):
        BudgetCurve(budgets={"a": ("m", tokens)})


def test_a_penalty_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"BudgetCurve\.alpha"):
        BudgetCurve(alpha=0)
