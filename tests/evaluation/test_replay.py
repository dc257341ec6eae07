from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config

from router_integrations import Attempt, Best, Call, Candidate, Fixed, Limits, Request, Stop, Utility
from router_integrations.errors import ConfigurationError, NoEligibleCandidate, ProviderError, StrategyError
from router_integrations.estimators import Neighbors
from router_integrations.evaluation import replay, replay_each, subset
from router_integrations.learning import Record, Table
from router_integrations.strategies import Hedged, JudgedCascade, MultiStage
from router_integrations.testing.table import Outcome

SMALL = Candidate("small", model=object(), input_price=1e-6, output_price=2e-6)
BIG = Candidate("big", model=object(), input_price=1e-5, output_price=2e-5)
GRADES = {"easy": (1.0, 1.0), "hard": (0.0, 1.0), "open": (0.5, 0.25)}
RECORDS = [
    Record(text=text, candidate=name, quality=grade, cost=cost, output_tokens=10, domain=text[0])
    for text, grades in GRADES.items()
    for name, grade, cost in zip(("small", "big"), grades, (1.0, 3.0), strict=True)
]
TABLE = Table.of(RECORDS)


class Sure:
    """Asks the first candidate, and the last one when the first was not sure."""

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Stop:
        if not attempts:
            return Call(candidate=request.candidates[0])
        if len(attempts) == 1 and min(attempts[0].logprobs) < -1:
            return Call(candidate=request.candidates[-1], final=True)
        return Stop(attempt=attempts[-1])


class Silent:
    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Stop:
        return Stop(reason="too risky")


class Both:
    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Any:
        if not attempts:
            return [Call(candidate=request.candidates[0]), Call(candidate=request.candidates[0])]
        return Stop(attempt=max(attempts, key=lambda attempt: attempt.text))


def test_a_strategy_gets_the_grade_and_the_cost_of_its_choice() -> None:
    done = replay(Fixed(name="big"), TABLE, [SMALL, BIG])

    assert done.names == ("small", "big")
    assert done.chosen.tolist() == [1, 1, 1]
    assert done.quality.tolist() == [1.0, 1.0, 0.25]
    assert done.cost.tolist() == [3.0, 3.0, 3.0]
    assert done.attempts.tolist() == [1, 1, 1]
    assert (done.mean_quality, done.mean_cost, done.share("big"), done.share("small")) == (0.75, 3.0, 1.0, 0.0)


def test_a_cascade_reads_the_replies_and_pays_for_all_of_them() -> None:
    rows = [{"small": Outcome(text="4", logprobs=(-0.1, sure))} for sure in (-0.2, -3.0, -0.5)]
    done = replay(Sure(), TABLE, [SMALL, BIG], outcomes=rows)

    assert done.chosen.tolist() == [0, 1, 0]
    assert done.quality.tolist() == [1.0, 1.0, 0.5]
    assert done.cost.tolist() == [1.0, 4.0, 1.0]
    assert done.attempts.tolist() == [1, 2, 1]


def test_each_call_of_one_candidate_gets_its_next_reply() -> None:
    samples = [{"small": (Outcome(text="a"), Outcome(text="b", cost=0.5))}] * 3

    done = replay(Both(), TABLE, [SMALL, BIG], outcomes=samples)

    assert done.cost.tolist() == [1.5, 1.5, 1.5]
    assert done.attempts.tolist() == [2, 2, 2]


@pytest.mark.parametrize(("said", "answered"), [("True", 0), ("False", 1)])
def test_judges_are_replayed_where_their_replies_are_known(said: str, answered: int) -> None:
    rows = [{"small": (Outcome(text="4"), Outcome(text=said, cost=0.5)), "big": Outcome(text="4")}] * 3
    done = replay(JudgedCascade(votes=1, order="given"), TABLE, [SMALL, BIG], outcomes=rows)

    assert done.chosen.tolist() == [answered] * 3
    assert done.cost.tolist() == [1.5 + 3.0 * answered] * 3


@pytest.mark.parametrize("rows", [None, [{"small": Outcome(text="4")}] * 3], ids=["no replies", "only the answer"])
def test_an_answer_is_not_taken_for_a_verdict_on_itself(rows: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"JudgedCascade asked 'small' with a prompt .* outcomes= a list"):
        replay(JudgedCascade(votes=1, order="given"), TABLE, [SMALL, BIG], outcomes=rows)


def test_a_judge_without_replies_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"JudgedCascade asks \['other'\] to judge, who are none of \['small'"):
        replay(JudgedCascade(judge="other"), TABLE, [SMALL, BIG])


@pytest.mark.parametrize("wrapped", [Hedged(strategy=Sure(), after=1.0), MultiStage(router=Fixed(), cascade=Sure())])
def test_a_strategy_around_another_one_is_replayed_as_that_one(wrapped: Any) -> None:
    rows = [{"small": Outcome(text="4", logprobs=(-0.1, sure))} for sure in (-0.2, -3.0, -0.5)]
    done, alone = (replay(one, TABLE, [SMALL, BIG], outcomes=rows) for one in (wrapped, Sure()))

    assert done.chosen.tolist() == alone.chosen.tolist() == [0, 1, 0]
    assert done.cost.tolist() == alone.cost.tolist()


def test_who_gives_no_answer_earns_nothing() -> None:
    done = replay(Silent(), TABLE, [SMALL, BIG])

    assert done.chosen.tolist() == [-1, -1, -1]
    assert done.quality.tolist() == done.cost.tolist() == done.attempts.tolist() == [0, 0, 0]


def test_a_failure_escalates_as_it_does_live() -> None:
    down = Outcome(error=ProviderError("down", family="server"))
    rows: list[dict[str, Outcome]] = [{}, {"small": down}, {"small": down, "big": down}]

    done = replay(Fixed(name="small"), TABLE, [SMALL, BIG], outcomes=rows)

    assert done.chosen.tolist() == [0, 1, -1]
    assert done.quality.tolist() == [1.0, 1.0, 0.0]
    assert done.cost.tolist() == [1.0, 3.0, 0.0]
    assert done.attempts.tolist() == [1, 2, 2]


def test_limits_hold() -> None:
    rows = [{"small": Outcome(logprobs=(-9.0,))}] * 3

    done = replay(Sure(), TABLE, [SMALL, BIG], outcomes=rows, limits=Limits(budget=0.9))

    assert done.chosen.tolist() == [0, 0, 0]


def test_a_candidate_without_a_grade_is_not_asked() -> None:
    table = Table.of(record for record in RECORDS if (record.text, record.candidate) != ("hard", "big"))

    assert replay(Fixed(name="big"), table, [SMALL, BIG]).chosen.tolist() == [1, 0, 1]


def test_a_candidate_whose_window_is_too_small_is_not_asked() -> None:
    tiny = Candidate("small", model=object(), context_window=1)
    table = Table.of([*RECORDS, *(Record(text="long " * 9, candidate=c, quality=1.0) for c in ("small", "big"))])

    assert replay(Fixed(name="small"), table, [tiny, BIG]).chosen.tolist() == [0, 0, 0, 1]
    with pytest.raises(NoEligibleCandidate, match="context window"):
        replay(Fixed(name="small"), table, [tiny])


def test_the_price_stands_in_for_a_missing_cost() -> None:
    records = [
        Record(text="four", candidate="small", quality=1.0, output_tokens=10),
        Record(text="two", candidate="small", quality=1.0),
    ]
    done = replay(Fixed(), Table.of(records), [SMALL])

    assert done.cost[0] == pytest.approx(1e-6 + 10 * 2e-6)
    assert np.isnan(done.cost[1])
    assert np.isnan(done.mean_cost)


def test_a_fan_out_changes_nothing() -> None:
    table = subset(TABLE, rows=[0, 1, 2] * 200)
    rows = [{"small": Outcome(logprobs=(-0.1 * (row % 20),))} for row in range(600)]
    alone = replay(Sure(), table, [SMALL, BIG], outcomes=rows)

    with parallel_config("threading", n_jobs=2):
        together = replay(Sure(), table, [SMALL, BIG], outcomes=rows)

    assert alone.chosen.tolist() == together.chosen.tolist()
    assert alone.cost.tolist() == together.cost.tolist()
    assert set(alone.chosen.tolist()) == {0, 1}


def test_strategies_that_share_an_estimator_share_its_predictions() -> None:
    class Counting(Neighbors):
        calls = 0

        def predict_with_tokens(self, *args: Any) -> Any:
            self.calls += 1
            return super().predict_with_tokens(*args)

    learnt = Counting(k=1).fit(RECORDS)
    strategies = [Best(estimator=learnt, utility=Utility(enough=enough)) for enough in (0.1, 0.9, 1.0)]
    done = replay_each([*strategies, Fixed(name="big")], TABLE, [SMALL, BIG])

    assert learnt.calls == 1
    assert [one.share("big") for one in done] == [0.0, pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0]


def test_a_subset_keeps_the_order_it_is_given() -> None:
    part = subset(TABLE, rows=[2, 0], names=["small"])

    assert (part.texts, part.names, part.domains) == (("open", "easy"), ("small",), ("o", "e"))
    assert part.quality.tolist() == [[0.5], [1.0]]
    assert part.cost.tolist() == [[1.0], [1.0]]
    assert part.output_tokens.tolist() == [[10.0], [10.0]]


def test_nonsense_of_a_strategy_is_not_hidden() -> None:
    class Nonsense:
        def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Any:
            return "big"

    with pytest.raises(StrategyError, match=r"Nonsense\.decide must return"):
        replay(Nonsense(), TABLE, [SMALL])


def test_what_the_table_lacks_is_named() -> None:
    half = Table.of(record for record in RECORDS if (record.text, record.candidate) != ("hard", "small"))

    with pytest.raises(ConfigurationError, match="knows nothing of \\['huge'\\]"):
        replay(Fixed(), TABLE, [SMALL, Candidate("huge", model=object())])
    with pytest.raises(ConfigurationError, match="no candidate has a grade on query 1 \\('hard'\\)"):
        replay(Fixed(), half, [SMALL])
    with pytest.raises(ConfigurationError, match="1 rows of outcomes for 3 queries"):
        replay(Fixed(), TABLE, [SMALL], outcomes=[{}])


def test_prompts_are_as_long_as_the_records_say() -> None:
    records = [
        Record(text="hi", candidate="small", quality=1.0, input_tokens=size, output_tokens=10) for size in (33, 35)
    ]
    candidate = Candidate("small", model=object(), input_price=1.0, output_price=0.0)

    table = Table.of(records)

    assert table.input_tokens == (34,)
    assert replay(Best(estimator=Neighbors(k=1).fit(records)), table, [candidate]).mean_cost == 34
    assert subset(table, rows=[0, 0]).input_tokens == (34, 34)
