from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from router_integrations import engine
from router_integrations.candidates import Candidate
from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    ConfigurationError,
    ProviderError,
    StorageError,
    StrategyError,
)
from router_integrations.estimators import AnswerQuality, CalibratedConfidence, PrePost, TokenConfidence
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.evaluation.replay import replay
from router_integrations.gating import Gate
from router_integrations.learning import Record, Table
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.storage import SavedRouter, load_router, save_router
from router_integrations.strategies import REFINE_PROMPT, Cascade
from router_integrations.strategies.refining import written
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Request, Snapshot

SMALL, BIG = (
    Candidate(name, model=object(), max_retries=0, input_price=price, output_price=price)
    for name, price in (("small", 1e-7), ("big", 1e-5))
)
POOL = (SMALL, BIG)
SCHEMA = {"type": "object", "properties": {"years": {"type": "integer"}}, "required": ["years"]}
BROKEN = Outcome(text='{"years": "old"}', error=ProviderError("the answer breaks the schema: no", family="schema"))
DOWN = Outcome(error=ProviderError("down", family="not_found"))
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "required": ["q"]}}}


def said(confidence: float, text: str = "", cost: float | None = None) -> Outcome:
    return Outcome(text=text or f"{confidence}", logprobs=(math.log(confidence),), cost=cost)


class SchemaHost(TableHost):
    """A table whose failures keep their text, as a host's answers that break the schema do."""

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        outcome = self._next(call)
        return Attempt(
            call=call,
            text=outcome.text,
            logprobs=outcome.logprobs,
            tool_calls=outcome.tool_calls,
            cost=outcome.cost,
            error=outcome.error,
        )


def cascade(**options: Any) -> Cascade:
    return Cascade(**{"estimator": TokenConfidence(), "order": "given", "refine": "Check it.", **options})


def traced(strategy: Cascade, request: Request | None = None, limits: Any = None, **outcomes: Any) -> Trace:
    asked = request or Request(text="Q?", candidates=tuple(one for one in POOL if one.name in outcomes))
    return engine.run(Run(strategy=strategy, request=asked, limits=limits or Limits()), SchemaHost(outcomes))


def story(trace: Trace) -> list[tuple[str, bool]]:
    return [(one.call.candidate.name, one.call.revision is not None) for one in trace.attempts]


def feedback(trace: Trace, place: int = 1) -> str:
    revision = trace.attempts[place].call.revision
    assert revision is not None
    return revision.feedback


def text(trace: Trace) -> str:
    assert trace.answer is not None
    return trace.answer.text


class TestCascade(StrategyContract):
    @pytest.fixture(
        params=[
            Cascade(refine=REFINE_PROMPT),
            Cascade(estimator=TokenConfidence(), refine="Check it.", accept=1.0),
            Cascade(estimator=TokenConfidence(), refine={"small": "Check it."}, gate=Gate(window=1)),
        ],
        ids=["default", "never sure", "gated"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> Cascade:
        strategy: Cascade = request.param
        return strategy


def test_an_unsure_answer_is_improved_before_the_next_candidate_is_asked() -> None:
    trace = traced(cascade(), small=[said(0.5, "draft"), said(0.9, "better")], big=said(0.9))

    assert story(trace) == [("small", False), ("small", True)]
    assert text(trace) == "better"
    assert trace.attempts[1].call.reason == "'small' was not sure enough, 0.50 <= 0.70, and may improve its answer"
    revision = trace.attempts[1].call.revision
    assert revision is not None and (revision.draft, revision.feedback) == ("draft", "Check it.")


def test_a_sure_answer_is_left_alone() -> None:
    assert story(traced(cascade(), small=said(0.9), big=said(0.9))) == [("small", False)]


def test_an_answer_is_improved_once_and_then_followed_by_the_next_candidate() -> None:
    trace = traced(cascade(), small=said(0.5), big=said(0.9))

    assert story(trace) == [("small", False), ("small", True), ("big", False)]


def test_an_answer_to_abstain_from_is_not_improved() -> None:
    with pytest.raises(Abstained) as caught:
        traced(cascade(abstain=0.5), small=said(0.5), big=said(0.9))

    assert caught.value.trace is not None and story(caught.value.trace) == [("small", False)]


def test_an_improved_answer_can_be_abstained_from() -> None:
    with pytest.raises(Abstained, match=r"too unsure to go on, 0\.10"):
        traced(cascade(abstain=0.2), small=[said(0.5), said(0.1)], big=said(0.9))


def test_without_the_option_nobody_is_asked_twice() -> None:
    assert story(traced(cascade(refine=None), small=said(0.5), big=said(0.9))) == [("small", False), ("big", False)]


def test_by_name_the_others_are_not_improved() -> None:
    strategy = cascade(refine={"big": "Check it."})
    trace = traced(strategy, small=said(0.5), big=[said(0.5, "draft"), said(0.4, "again")])

    assert story(trace) == [("small", False), ("big", False), ("big", True)]
    assert text(trace) == "again"


def test_the_last_answer_streams_once_it_is_improved() -> None:
    trace = traced(cascade(), small=[said(0.5), said(0.5)], big=[said(0.5), said(0.5)])

    assert [one.call.final for one in trace.attempts] == [False, False, False, True]


def test_the_best_so_far_may_be_the_draft() -> None:
    trace = traced(cascade(), small=[said(0.6, "draft"), said(0.2, "worse")], big=DOWN)

    assert text(trace) == "draft"
    assert trace.reason.endswith("the best answer so far, by 'small' with confidence 0.60")
    assert trace.confidence == pytest.approx(0.6)


def test_of_equals_the_later_one_is_the_best_so_far() -> None:
    assert text(traced(cascade(), small=[said(0.6, "draft"), said(0.6, "later")], big=DOWN)) == "later"


def test_the_draft_stays_when_improving_it_fails() -> None:
    trace = traced(cascade(), small=[said(0.6, "draft"), DOWN], big=DOWN)

    assert story(trace) == [("small", False), ("small", True), ("big", False)]
    assert text(trace) == "draft"


def test_a_function_sees_the_answer_and_its_estimate_and_may_let_it_be() -> None:
    seen = []

    def feed(request: Request, answer: Attempt, estimate: Estimate) -> str | None:
        seen.append((request.text, answer.text, round(estimate.quality, 2)))
        return "Really?" if estimate.quality > 0.4 else None

    assert feedback(traced(cascade(refine=feed), small=said(0.5, "a"), big=said(0.9))) == "Really?"
    assert story(traced(cascade(refine=feed), small=said(0.3, "b"), big=said(0.9))) == [
        ("small", False),
        ("big", False),
    ]
    assert seen == [("Q?", "a", 0.5), ("Q?", "b", 0.3)]


def test_a_function_that_returns_no_text_is_a_bug_that_is_told() -> None:
    with pytest.raises(StrategyError, match="refine must return a text or None but returned 7"):
        traced(cascade(refine=lambda *_: 7), small=said(0.5), big=said(0.9))


@pytest.mark.parametrize("estimator", [AnswerQuality(), TokenConfidence()], ids=["says why", "does not"])
def test_who_breaks_the_schema_is_told_how(estimator: Any) -> None:
    request = Request(text="Age?", candidates=POOL, schema=SCHEMA)
    trace = traced(cascade(estimator=estimator), request, small=[BROKEN, said(0.9, '{"years": 41}')], big=said(0.9))

    assert story(trace) == [("small", False), ("small", True)]
    assert feedback(trace) == "The answer breaks the schema: at years: 'old' is not of type 'integer'. Check it."
    assert trace.attempts[1].call.reason == "'small' failed (schema), and may improve its answer"


def test_what_only_the_parser_minds_is_told_in_its_words() -> None:
    broken = ProviderError("the answer breaks the schema: parser: the whole answer again", family="schema")
    broken.__cause__ = ValueError("years must\nbe positive. For further information visit https://x.y")
    first = Outcome(text='{"years": -1}', error=broken)
    request = Request(text="Age?", candidates=POOL, schema=SCHEMA)

    trace = traced(cascade(), request, small=[first, said(0.9)], big=said(0.9))
    assert feedback(trace) == "The answer breaks the schema: years must be positive. Check it."


def test_the_only_candidate_gets_a_second_chance_at_the_schema() -> None:
    request = Request(text="Age?", candidates=(SMALL,), schema=SCHEMA)
    trace = traced(cascade(), request, small=[BROKEN, said(0.3, '{"years": 41}')])

    assert text(trace) == '{"years": 41}'


@pytest.mark.parametrize("refine", ["Check it.", lambda *_: None], ids=["again", "no feedback"])
def test_who_breaks_the_schema_for_good_is_followed_by_the_next_candidate(refine: Any) -> None:
    request = Request(text="Age?", candidates=POOL, schema=SCHEMA)
    trace = traced(cascade(refine=refine), request, small=BROKEN, big=said(0.9))

    assert [name for name, _ in story(trace)][-1] == "big"
    with pytest.raises(AllCandidatesFailed):
        traced(cascade(refine=refine), request, small=BROKEN, big=BROKEN)


def test_without_the_option_a_broken_schema_is_a_failure_as_ever() -> None:
    request = Request(text="Age?", candidates=POOL, schema=SCHEMA)

    assert story(traced(cascade(refine=None), request, small=BROKEN, big=said(0.9))) == [
        ("small", False),
        ("big", False),
    ]


def test_a_wrong_tool_call_goes_back_as_text_with_what_is_wrong() -> None:
    wrong = Outcome(tool_calls=({"name": "search", "args": {}, "id": "1"},))
    right = Outcome(tool_calls=({"name": "search", "args": {"q": "Lima"}, "id": "2"},))
    request = Request(text="Q?", candidates=POOL, tools=(TOOL,))
    trace = traced(cascade(estimator=AnswerQuality()), request, small=[wrong, right], big=said(0.9))

    assert trace.attempts[1].call.revision is not None
    assert trace.attempts[1].call.revision.draft == '[{"name": "search", "arguments": {}}]'
    assert feedback(trace) == "The arguments of 'search' are wrong: 'q' is a required property. Check it."
    assert trace.answer is trace.attempts[1]


def test_in_a_tool_loop_nothing_is_improved() -> None:
    request = Request(text="Q?", candidates=POOL, tools=(TOOL,), snapshot=Snapshot(locked="small"))
    trace = traced(cascade(), request, small=said(0.1), big=said(0.9))

    assert story(trace) == [("small", False)]
    assert trace.attempts[0].call.final and not trace.attempts[0].call.revisable


def test_an_answer_stopped_at_its_gate_is_not_improved() -> None:
    strategy = cascade(gate=Gate(window=1, above=0.7))

    assert story(traced(strategy, small=said(0.5), big=said(0.9)))[1] == ("big", False)


def test_an_answer_shorter_than_its_gate_is_improved() -> None:
    strategy = cascade(gate=Gate(window=9))
    trace = traced(strategy, small=[said(0.5), said(0.9)], big=said(0.9))

    assert story(trace) == [("small", False), ("small", True)]
    assert trace.attempts[1].call.gate == Gate(window=9)


@pytest.mark.parametrize(("budget", "improves"), [(0.0250, True), (0.0199, False)])
def test_an_answer_is_improved_only_where_the_budget_pays_for_it(budget: float, improves: bool) -> None:
    request = Request(text="Q?", candidates=(SMALL,), snapshot=Snapshot(budget=budget))
    draft = Attempt(call=Call(candidate=SMALL), text="5", logprobs=(math.log(0.5),), cost=0.01)
    move = cascade().decide(request, [draft])

    assert isinstance(move, Call) is improves
    if isinstance(move, Call):
        tokens = 1 + 3
        assert move.estimates["small"].cost == pytest.approx(0.01 + tokens * 1e-7)


def test_at_the_end_of_a_limit_the_best_so_far_is_returned() -> None:
    trace = traced(cascade(), None, Limits(budget=0.015), small=said(0.5, cost=0.01))

    assert story(trace) == [("small", False)]
    assert text(trace) == "0.5"


async def test_every_driver_improves_alike() -> None:
    outcomes = {"small": [said(0.5, "draft"), said(0.9, "better")], "big": said(0.9)}
    request = Request(text="Q?", candidates=POOL)
    runs = [Run(strategy=cascade(), request=request) for _ in range(3)]
    await engine.arun(runs[0], TableHost(outcomes))
    sync = [chunk.text for chunk in engine.stream(runs[1], TableHost(outcomes))]
    later = [chunk.text async for chunk in engine.astream(runs[2], TableHost(outcomes))]

    assert "".join(sync) == "".join(later) == "better"
    assert [story(one.trace) for one in runs] == [[("small", False), ("small", True)]] * 3


@pytest.mark.parametrize("estimator", [PrePost(before=Difficulty(), after=AnswerQuality()),
                                       CalibratedConfidence(estimator=AnswerQuality())])  # fmt: skip
def test_what_is_wrong_is_known_through_other_estimators(estimator: Any) -> None:
    draft = Attempt(call=Call(candidate=SMALL), text="```python\nprint(1\n```")
    move = cascade(estimator=estimator).decide(Request(text="Q?", candidates=POOL), [draft])

    assert isinstance(move, Call) and move.revision is not None
    wrong = "The Python code does not parse: '(' was never closed in line 1, `print(1`. Check it."
    assert move.revision.feedback == wrong


@pytest.mark.parametrize(
    ("draft", "shown"),
    [
        ({"text": " "}, "(no answer)"),
        ({"text": "Let me see.", "tool_calls": ({"name": "f", "args": {}, "id": "1"},)},
         'Let me see.\n[{"name": "f", "arguments": {}}]'),
    ],
)  # fmt: skip
def test_a_draft_is_never_empty(draft: Any, shown: str) -> None:
    assert written(Request(text="Q?"), Attempt(call=Call(candidate=SMALL), **draft)) == shown


@pytest.mark.parametrize("refine", ["", " ", 1, {"small": None, "big": ""}, True])
def test_feedback_must_be_a_text_or_a_function(refine: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Cascade\.refine must be a text, or a function"):
        cascade(refine=refine)


def test_a_table_has_no_grade_of_improved_answers() -> None:
    table = Table.of([Record(text="Q?", candidate=name, quality=1.0) for name in ("small", "big")])
    outcomes = [{"small": said(0.5), "big": said(0.9)}]

    with pytest.raises(ConfigurationError, match=r"asked 'small' to improve its answer"):
        replay(cascade(), table, POOL, outcomes=outcomes)
    assert replay(cascade(refine=None), table, POOL, outcomes=outcomes).share("big") == 1.0


def test_a_folder_keeps_texts_and_refuses_functions(tmp_path: Path) -> None:
    def router(refine: Any) -> SavedRouter:
        candidates = (Candidate("openai/gpt-4o-mini"),)
        return SavedRouter(candidates=candidates, strategy=cascade(refine=refine), settings={})

    save_router(tmp_path / "a", router({"x": "Check it."}))

    assert load_router(tmp_path / "a").strategy.refine == {"x": "Check it."}
    with pytest.raises(StorageError, match=r"strategy\.refine is a function, which is not ours"):
        save_router(tmp_path / "b", router(lambda *_: None))
