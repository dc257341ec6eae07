from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import BradleyTerry, Linear, Neighbors, PerUser
from router_integrations.evaluation import replay
from router_integrations.learning import Record, Table
from router_integrations.strategies import Best
from router_integrations.types import Request, Utility

POOL = [Candidate(name, model=object(), input_price=0.0, output_price=0.0) for name in ("plain", "witty")]
ENCODER = HashingEncoder(dimensions=16)
# Everybody likes both half; Ann likes the witty one, Bob the plain one.
TASTES = {"ann": {"plain": 0.0, "witty": 1.0}, "bob": {"plain": 1.0, "witty": 0.0}}
TEXTS = [f"question {number}" for number in range(10)]


def records(*, users: tuple[str, ...] = ("ann", "bob")) -> list[Record]:
    return [
        Record(text=text, candidate=name, quality=grade, user_id=user, query_id=f"{user}: {text}")
        for user in users
        for text in TEXTS
        for name, grade in TASTES[user].items()
    ]


def qualities(estimator: PerUser, user: str | None, pool: list[Candidate] = POOL) -> list[float]:
    return [one.quality for one in estimator.estimate(Request(text="question 3", user_id=user), pool)]


def test_an_offset_is_the_mean_residual_shrunk_by_the_ridge() -> None:
    shared = Neighbors(k=20, encoder=ENCODER)
    mine = PerUser(estimator=shared, ridge=10).fit(records())

    assert qualities(mine, None) == pytest.approx([0.5, 0.5])
    # Ten residuals of a half, and ten of nothing.
    assert qualities(mine, "ann") == pytest.approx([0.25, 0.75])
    assert qualities(mine, "bob") == pytest.approx([0.75, 0.25])


def test_unknown_users_and_candidates_get_the_shared_estimate() -> None:
    mine = PerUser(estimator=Neighbors(k=20, encoder=ENCODER)).fit(records())
    shared = Neighbors(k=20, encoder=ENCODER).fit(records())
    pool = [*POOL, Candidate("new", model=object(), input_price=0.0, output_price=0.0)]
    request = Request(text="question 3", user_id="eve")

    assert mine.estimate(request, pool) == shared.estimate(request, pool)
    assert qualities(mine, "ann", pool)[2] == qualities(mine, None, pool)[2]


def test_only_the_quality_is_the_users_own() -> None:
    mine = PerUser(estimator=Neighbors(encoder=ENCODER)).fit(records())
    (ann, _), (nobody, _) = (mine.estimate(Request(text="hi", user_id=user), POOL) for user in ("ann", None))

    assert ann.quality < nobody.quality
    assert (ann.std, ann.cost, ann.latency) == (nobody.std, nobody.cost, nobody.latency)


def test_quality_stays_in_range() -> None:
    mine = PerUser(estimator=Neighbors(k=1, encoder=ENCODER), ridge=1e-6).fit(
        [
            *records(users=("ann",)),
            Record(text="question 3", candidate="witty", quality=0.0, user_id="bob", query_id="b"),
        ]
    )

    assert all(0 <= one <= 1 for user in ("ann", "bob") for one in qualities(mine, user))


def test_prediction_in_bulk_says_what_single_estimates_say() -> None:
    mine = PerUser(estimator=Linear(encoder=ENCODER)).fit(records())
    quality, _ = mine.predict(["question 3"] * 3, POOL, users=["ann", None, "bob"])

    assert np.allclose(quality, [qualities(mine, user) for user in ("ann", None, "bob")])


def test_the_given_estimator_is_not_changed() -> None:
    shared = Linear(encoder=ENCODER)
    PerUser(estimator=shared).fit(records())

    assert shared.fitted_ is None


def test_preferences_teach_the_shared_estimator_only() -> None:
    battles = [Record(text="hi", candidate="plain", over="witty", quality=1.0, user_id="ann") for _ in range(9)]
    mine = PerUser(estimator=BradleyTerry(encoder=ENCODER)).fit(battles)

    assert qualities(mine, "ann") == qualities(mine, None)
    assert qualities(mine, "ann")[0] > 0.7


def test_replay_asks_as_the_users_of_the_table() -> None:
    mine = PerUser(estimator=Neighbors(k=20, encoder=ENCODER), ridge=1.0).fit(records())
    table = Table.of(records())
    done = replay(Best(estimator=mine, utility=Utility(enough=1)), table, POOL)

    assert table.user_ids == ("ann",) * 10 + ("bob",) * 10
    assert done.mean_quality == 1.0


def test_a_query_that_several_users_graded_is_nobodys() -> None:
    shared = [Record(text="hi", candidate="plain", quality=1.0, user_id=user) for user in ("ann", "bob")]

    assert Table.of(shared).user_ids == (None,)


def test_users_are_saved(tmp_path: Path) -> None:
    from router_integrations.storage.coding import Reader, Writer

    mine = PerUser(estimator=Neighbors(k=20)).fit(records())
    writer = Writer()
    plain = writer.plain(mine, "estimator")
    again = Reader(writer.arrays, writer.layout).value(plain)

    assert qualities(again, "ann") == qualities(mine, "ann") != qualities(mine, "bob")


def test_an_unfitted_one_estimates_as_the_shared_one_does_and_predicts_nothing() -> None:
    pool = [Candidate("small", model=object(), strength=0.3), Candidate("big", model=object(), strength=0.9)]
    request = Request(text="Hi", user_id="ann")

    assert PerUser().estimate(request, pool) == Neighbors().estimate(request, pool)
    with pytest.raises(ConfigurationError, match="call fit"):
        PerUser().predict(["hi"], pool)


def test_a_ridge_of_0_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"PerUser\.ridge must be"):
        PerUser(ridge=0)
