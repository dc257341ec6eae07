from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.evaluation import replay
from router_integrations.learning import Record, Table
from router_integrations.steps import Run
from router_integrations.strategies import JudgedPolicies
from router_integrations.strategies.judged_policies import read_name
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Request, Snapshot, Usage

SMALL, BIG, JUDGE = (
    Candidate(name, model=object(), max_retries=0, input_price=price, output_price=price)
    for name, price in (("small", 1e-6), ("big", 1e-5), ("judge", 1e-7))
)
WRITTEN = {"small": "small talk", "big": "maths {and} code"}
STRATEGY = JudgedPolicies(policies=WRITTEN, judge="judge", default="small")
USAGE = Usage(input_tokens=100, output_tokens=10)


def traced(
    verdict: Outcome, *, strategy: JudgedPolicies = STRATEGY, request: Request | None = None, **others: Outcome
) -> tuple[Trace, TableHost]:
    asked = request or Request(text="What is 2 + 2?", candidates=(SMALL, BIG), judges=(SMALL, BIG, JUDGE))
    answers = {"small": Outcome(text="s", usage=USAGE), "big": Outcome(text="b", usage=USAGE), **others}
    host = TableHost({**answers, "judge": verdict})
    return run(Run(strategy=strategy, request=asked), host), host


def test_the_candidate_of_the_policy_that_the_judge_names_answers() -> None:
    trace, host = traced(Outcome(text="big", usage=USAGE))
    judged, answered = host.calls

    assert (judged.candidate, judged.purpose, judged.final) == (JUDGE, "policy", False)
    assert (answered.candidate, answered.purpose, answered.final, answered.prompt) == (BIG, "answer", True, None)
    assert trace.answer is not None and trace.answer.text == "b"
    assert trace.reason == "falls under the policy 'big'"


def test_the_judge_reads_the_policies_and_the_query() -> None:
    prompt = traced(Outcome(text="big"))[1].calls[0].prompt

    assert prompt is not None
    assert "- small: small talk\n- big: maths {and} code\n" in prompt
    assert "<query>\nWhat is 2 + 2?\n</query>" in prompt


def test_of_a_long_query_the_judge_reads_both_ends() -> None:
    text = "a" * 5000 + "b" * 5000 + "c" * 5000
    request = Request(text=text, candidates=(SMALL, BIG), judges=(JUDGE,))
    prompt = traced(Outcome(text="big"), request=request)[1].calls[0].prompt

    assert prompt is not None
    assert "a" * 4000 + "\n[...]\n" + "c" * 4000 in prompt
    assert "b" * 10 not in prompt


def test_the_judge_is_paid_for() -> None:
    trace, _ = traced(Outcome(text="big", usage=USAGE))

    assert trace.cost == pytest.approx(110 * 1e-7 + 110 * 1e-5)
    assert [attempt["purpose"] for attempt in trace.as_dict()["attempts"]] == ["policy", "answer"]


@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        (Outcome(text="none"), "named no policy"),
        (Outcome(text=""), "named no policy"),
        (Outcome(text="small, or else big"), "named no policy"),
        (Outcome(error=ProviderError("down", family="not_found")), "failed (not_found)"),
    ],
)
@pytest.mark.parametrize("default", ["big", "small", None])
def test_without_a_policy_the_default_answers(verdict: Outcome, why: str, default: str | None) -> None:
    strategy = JudgedPolicies(policies=WRITTEN, judge="judge", default=default)
    trace, _ = traced(verdict, strategy=strategy)
    expected = default or "small"

    assert trace.candidate == expected
    assert trace.reason == f"the judge 'judge' {why}, so {expected!r} is asked"


def test_a_judge_that_cannot_be_asked_is_left_out() -> None:
    trace, host = traced(Outcome(text="big"), request=Request(text="hi", candidates=(SMALL, BIG)))

    assert [call.candidate for call in host.calls] == [SMALL]
    assert trace.reason == "the judge 'judge' cannot be asked, so 'small' is asked"


def test_a_judge_that_rests_is_left_out() -> None:
    resting = Snapshot(cooling=frozenset({"judge"}))
    request = Request(text="hi", candidates=(SMALL, BIG), judges=(JUDGE,), snapshot=resting)

    assert traced(Outcome(text="big"), request=request)[0].reason.startswith("the judge 'judge' cannot be asked")


def test_with_one_candidate_left_nobody_judges() -> None:
    locked = Request(text="hi", candidates=(SMALL, BIG), judges=(JUDGE,), snapshot=Snapshot(locked="big"))
    _, host = traced(Outcome(text="small"), request=locked)

    assert [call.candidate for call in host.calls] == [BIG]


def test_when_the_chosen_one_fails_the_default_answers_without_a_second_verdict() -> None:
    request = Request(text="hi", candidates=(SMALL, BIG, JUDGE))
    down = Outcome(error=ProviderError("down", family="not_found"))
    trace, host = traced(Outcome(text="big"), request=request, big=down)

    assert [call.candidate for call in host.calls] == [JUDGE, BIG, SMALL]
    assert trace.reason == "'big', whom the policy 'big' is for, cannot answer, so 'small' is asked"


def test_the_judge_may_answer_too() -> None:
    strategy = JudgedPolicies(policies=WRITTEN, judge="small")
    request = Request(text="hi", candidates=(SMALL, BIG))
    host = TableHost({"small": [Outcome(text="small"), Outcome(text="hello")], "big": Outcome()})
    trace = run(Run(strategy=strategy, request=request), host)

    assert trace.answer is not None and trace.answer.text == "hello"
    assert [call.purpose for call in host.calls] == ["policy", "answer"]


def test_a_policy_may_lead_to_a_candidate_of_another_name() -> None:
    strategy = JudgedPolicies(policies={"maths": "sums"}, routes={"maths": "big"}, judge="judge")

    assert traced(Outcome(text="Maths."), strategy=strategy)[0].candidate == "big"


def test_replay_judges_as_live_requests_do() -> None:
    grades = {("sum", "small"): 0.0, ("sum", "big"): 1.0, ("chat", "small"): 0.9, ("chat", "big"): 0.8}
    table = Table.of(
        [Record(text=text, candidate=name, quality=grade, cost=0.5) for (text, name), grade in grades.items()]
        + [Record(text=text, candidate="judge", quality=0.0, cost=0.0) for text in ("sum", "chat")]
    )
    outcomes = [{"judge": Outcome(text=name, cost=0.25)} for name in ("big", "small")]
    done = replay(STRATEGY, table, [SMALL, BIG, JUDGE], outcomes=outcomes)

    assert done.quality.tolist() == [1.0, 0.9]
    assert done.cost.tolist() == [0.75, 0.75]
    assert np.array_equal(done.attempts, [2, 2])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("code", "code"),
        ('{"route": "Code"}', "code"),
        ("`code-review`", "code-review"),
        ("code\ncode", "code"),
        ("It is about code review.", "code"),
        ("decode", None),
        ("code or code-review", None),
        ("<think>code-review?</think>code", "code"),
        ("", None),
    ],
)
def test_the_name_is_read_from_the_reply(said: str, name: str | None) -> None:
    assert read_name(said, ["code", "code-review"]) == name


def test_policies_without_text_are_refused() -> None:
    options: dict[str, Any] = {"policies": {}, "judge": "judge"}
    with pytest.raises(ConfigurationError, match=r"JudgedPolicies\.policies must hold"):
        JudgedPolicies(**options)
