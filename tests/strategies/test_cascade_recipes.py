"""Methods of papers that are a cascade with another estimator."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from router_integrations.calibration import frugal_cascade
from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.estimators import AnswerScorer, CodeSyntax, TokenConfidence, Weakest
from router_integrations.evaluation import replay
from router_integrations.learning import Record, Table
from router_integrations.strategies import Cascade
from router_integrations.testing.table import Outcome
from router_integrations.types import Attempt, Call, Request

SMALL, BIG = (
    Candidate(name, model=object(), max_retries=0, input_price=price, output_price=price)
    for name, price in (("small", 1e-7), ("big", 1e-5))
)
SOUND, BROKEN = "```python\nprint(1)\n```", "```python\nprint(1\n```"
COSTS = {"small": 0.1, "big": 1.0}


def table(rows: int) -> Table:
    """Queries whose answers of small are worth nothing and those of big all, so that quality shows who answered."""
    return Table.of(
        Record(text=f"Print {row}.", candidate=name, quality=float(name == "big"), cost=cost)
        for row in range(rows)
        for name, cost in COSTS.items()
    )


def test_synconfroute_accepts_code_that_parses_and_is_likely() -> None:
    strategy = Cascade(
        estimator=Weakest(estimators=(CodeSyntax(), TokenConfidence())), order=("small", "big"), accept=0.8
    )
    drafts = [(SOUND, 0.9), (BROKEN, 0.9), (SOUND, 0.7), (BROKEN, 0.7)]
    rows = [{"small": Outcome(text=text, logprobs=(math.log(sure),))} for text, sure in drafts]
    done = replay(strategy, table(4), [SMALL, BIG], outcomes=rows)

    assert [done.names[at] for at in done.chosen] == ["small", "big", "big", "big"]
    assert done.cost.tolist() == pytest.approx([0.1, 1.1, 1.1, 1.1])


def test_synconfroute_takes_each_rung_of_a_longer_cascade_by_its_own_syntax() -> None:
    middle = Candidate("middle", model=object(), strength=0.5)
    grades = Table.of(
        Record(text="Print 1.", candidate=name, quality=0.5, cost=1.0) for name in ("small", "middle", "big")
    )
    strategy = Cascade(
        estimator=Weakest(estimators=(CodeSyntax(), TokenConfidence())), order=("small", "middle", "big"), accept=0.5
    )
    rows = [{name: Outcome(text=text, logprobs=(-0.1,)) for name, text in (("small", BROKEN), ("middle", SOUND))}]
    done = replay(strategy, grades, [SMALL, middle, BIG], outcomes=rows)

    assert [done.names[at] for at in done.chosen] == ["middle"]


def learnt() -> AnswerScorer:
    """A scorer that knows guesses from answers."""
    graded = [
        Record(text=f"sum {row}", candidate="small", quality=row % 2, answer="It is so." if row % 2 else "I guess it.")
        for row in range(40)
    ]
    return AnswerScorer(encoder=HashingEncoder(dimensions=32)).fit(graded)


def test_a_learnt_scorer_escalates_what_it_takes_for_wrong() -> None:
    rows = [{"small": Outcome(text=text)} for text in ("It is so.", "I guess it.")]
    done = replay(
        Cascade(estimator=learnt(), order=("small", "big"), accept=0.5), table(2), [SMALL, BIG], outcomes=rows
    )

    assert [done.names[at] for at in done.chosen] == ["small", "big"]


def test_frugalgpt_is_a_learnt_scorer_with_thresholds_for_a_budget() -> None:
    scorer = learnt()
    texts = ["It is so." if row % 2 else "I guess it." for row in range(20)]
    graded = Table.of(
        Record(text=f"total {row}", candidate=name, quality=1.0 if name == "big" else row % 2, cost=COSTS[name])
        for row in range(20)
        for name in COSTS
    )
    said = [{"small": texts[row], "big": "It is so."} for row in range(20)]
    sure = [
        [
            scorer.confidence(Request(text=query), one, [Attempt(call=Call(candidate=one), text=row[one.name])]) or 0.0
            for one in (BIG, SMALL)
        ]
        for query, row in zip(graded.texts, said, strict=True)
    ]
    strategies = [frugal_cascade(graded, sure, budget=budget, estimator=scorer) for budget in (0.1, 0.4, 0.7)]
    rows = [{name: Outcome(text=text) for name, text in row.items()} for row in said]
    done = [replay(strategy, graded, [SMALL, BIG], outcomes=rows) for strategy in strategies]

    assert [strategy.order for strategy in strategies] == [("small",), ("small", "big"), ("small", "big")]
    assert all(one.mean_cost <= budget + 1e-9 for one, budget in zip(done, (0.1, 0.4, 0.7), strict=True))
    assert all(worse.mean_quality < better.mean_quality for worse, better in pairwise(done))
    assert done[-1].mean_quality == 1.0 and done[-1].mean_cost == pytest.approx(0.6)
