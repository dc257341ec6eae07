from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router_integrations import Attempt, Best, Call, Candidate, Estimate, HashingEncoder, Request, Utility
from router_integrations.calibration import allocate
from router_integrations.estimators import Neighbors
from router_integrations.estimators.learned import Data, Learned
from router_integrations.evaluation import forecast, replay, subset
from router_integrations.evaluation.bulk import in_bulk
from router_integrations.learning import Record, Table
from tests.evaluation.recorded import frame, needs_records, table

NAMES = ("a", "b", "c", "new")
level = st.sampled_from([0.0, 0.3, 0.7, 0.9, 1.0])
price = st.sampled_from([None, 0.0, 0.01, 0.02])
utilities = st.builds(
    Utility,
    enough=st.sampled_from([0.0, 0.7, 1.0]),
    per_usd=st.sampled_from([0.0, 0.5, 1.0]),
    per_second=st.sampled_from([0.0, 0.1]),
    optimism=st.sampled_from([-1.0, 0.0, 1.0]),
)


class Told(Learned):
    """Predicts the grades it has seen; a batch is one query after the other, to the last bit."""

    def _learn(self, data: Data) -> Any:
        return data.table.names, {"quality": np.nan_to_num(data.table.quality, nan=0.5), "vectors": data.vectors}

    def _predict(self, state: Any, vectors: Any) -> Any:
        rows = [int(np.argmax(state["vectors"] @ vector)) for vector in vectors]
        quality = state["quality"][rows]
        return quality, quality / 8


class Live:
    """`Best` under another name, which therefore goes through the engine."""

    def __init__(self, best: Best) -> None:
        self.best = best

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call:
        return self.best.decide(request, attempts)


def same(best: Best, grades: Table, pool: Sequence[Candidate]) -> None:
    bulk, live = replay(best, grades, pool), replay(Live(best), grades, pool)

    assert bulk.chosen.tolist() == live.chosen.tolist()
    assert bulk.quality.tolist() == live.quality.tolist()
    np.testing.assert_array_equal(bulk.cost, live.cost)
    assert bulk.attempts.tolist() == live.attempts.tolist()


@given(
    grades=st.lists(st.tuples(level, level, level, st.booleans()), min_size=1, max_size=6),
    prices=st.tuples(price, price, price, price),
    latencies=st.tuples(price, price, price, price),
    window=st.sampled_from([None, 2, 1000]),
    utility=utilities,
)
def test_bulk_choices_are_those_of_the_engine(
    grades: list[Any], prices: Any, latencies: Any, window: Any, utility: Utility
) -> None:
    pool = [
        Candidate(
            name,
            model=object(),
            input_price=cost,
            output_price=cost,
            latency=seconds,
            context_window=window if name == "a" else None,
        )
        for name, cost, seconds in zip(NAMES, prices, latencies, strict=True)
    ]
    records = [
        Record(text="word " * (row + 1) + str(row), candidate=name, quality=grade, output_tokens=10 * row)
        for row, (*known, also) in enumerate(grades)
        for name, grade in zip(NAMES, known if also else known[1:], strict=False)
    ]
    # The estimator has never seen the last candidate; the replay has its grades.
    seen = Told().fit(records)
    asked = [*records, *(Record(text=r.text, candidate="new", quality=0.5) for r in records if r.candidate == "a")]

    same(Best(estimator=seen, utility=utility), Table.of(asked), [c for c in pool if c.name in Table.of(asked).names])


def test_an_estimator_without_records_goes_through_the_engine() -> None:
    assert in_bulk(Best(estimator=Told())) is None
    assert in_bulk(Best()) is None


def test_an_estimator_with_a_way_of_its_own_goes_through_the_engine() -> None:
    class Own(Told):
        def estimate(
            self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
        ) -> list[Estimate]:
            return [Estimate(quality=len(candidate.name) / 2) for candidate in candidates]

    records = [Record(text="hi", candidate=name, quality=1.0) for name in ("x", "xx")]
    own = Best(estimator=Own().fit(records), utility=Utility(enough=1))

    assert in_bulk(own) is None
    assert replay(own, Table.of(records), [Candidate(n, model=object()) for n in ("x", "xx")]).share("xx") == 1.0


@needs_records
def test_bulk_choices_on_real_records_are_those_of_the_engine() -> None:
    rows = frame("cascades")
    train, test = table(rows[rows.split == "train"]), subset(table(rows[rows.split == "test"]), rows=range(0, 4000, 10))
    grades = (
        Record(text=text, candidate=name, quality=quality, output_tokens=int(tokens))
        for text, *each in zip(train.texts, train.quality, train.output_tokens, strict=True)
        for name, quality, tokens in zip(train.names, *each, strict=True)
    )
    costs = train.cost.mean(axis=0) / 300
    pool = [
        Candidate(name, model=object(), input_price=cost, output_price=cost)
        for name, cost in zip(train.names, costs, strict=True)
    ]
    best = Best(estimator=Neighbors().fit(grades), utility=Utility(enough=1, per_usd=300))

    # A matrix product of many rows rounds otherwise than one of a single row: neighbours in a tie may change places.
    bulk, live = replay(best, test, pool), replay(Live(best), test, pool)
    assert (bulk.chosen != live.chosen).mean() <= 0.005
    assert len(set(bulk.chosen)) > 2


def test_a_forecast_singly_is_that_in_bulk_and_shares_out_a_budget() -> None:
    pool = [Candidate(name, model=object(), input_price=0.0, output_price=at * 1e-3) for at, name in enumerate("ab", 1)]
    seen = [
        Record(text=f"w{row}", candidate=name, quality=row / 4, output_tokens=10) for row in range(4) for name in "ab"
    ]
    estimator = Told(encoder=HashingEncoder(dimensions=64)).fit(seen)
    requests = [Request(text=f"w{row}", candidates=tuple(pool[: row + 1])) for row in range(2)]

    class Single:
        estimate = staticmethod(estimator.estimate)

    bulk, single = forecast(estimator, requests, pool), forecast(Single(), requests, pool)

    assert bulk.allowed.tolist() == [[True, False], [True, True]]
    for name in ("allowed", "quality", "std", "cost", "latency"):
        np.testing.assert_array_equal(getattr(bulk, name), getattr(single, name))
    assert allocate(bulk.quality, bulk.cost, budget=0.02).tolist() == [0, 0]
