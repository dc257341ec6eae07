from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, ProviderError
from router_integrations.estimators import SelfVerification
from router_integrations.evaluation import replay
from router_integrations.learning import Record, Table
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import JudgedCascade, Thresholds
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Request, Snapshot, Usage

SMALL, MEDIUM, BIG, JUDGE = (
    Candidate(name, model=object(), max_retries=0, input_price=price, output_price=price)
    for name, price in (("small", 1e-7), ("medium", 1e-6), ("big", 1e-5), ("judge", 1e-8))
)
POOL = (SMALL, MEDIUM, BIG)
DOWN = Outcome(error=ProviderError("down", family="not_found"))
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}


def cascade(**options: Any) -> JudgedCascade:
    return JudgedCascade(**{"order": "given", "votes": 4, **options})


def votes(said: str) -> list[Outcome]:
    """A verdict for each letter: t approves, f does not, x fails, n is nonsense."""
    words = {"t": Outcome(text="True"), "f": Outcome(text="False"), "x": DOWN, "n": Outcome(text="Perhaps")}
    return [words[letter] for letter in said]


def judging(answer: str, said: str) -> list[Outcome]:
    """A candidate that gives an answer and then judges it."""
    return [Outcome(text=answer), *votes(said)]


def traced(
    strategy: JudgedCascade, request: Request | None = None, limits: Limits | None = None, **outcomes: Any
) -> Trace:
    pool = tuple(one for one in POOL if one.name in outcomes)
    asked = request or Request(text="What is 2 + 2?", candidates=pool, judges=(*pool, JUDGE))
    return run(Run(strategy=strategy, request=asked, limits=limits or Limits()), TableHost(outcomes))


def asked(trace: Trace) -> list[tuple[str, str, int]]:
    """Who was asked for what, and how often in a row."""
    calls = [(one.call.candidate.name, one.call.purpose) for one in trace.attempts]
    return [(*call, len(list(group))) for call, group in itertools.groupby(calls)]


def answer(trace: Trace) -> str:
    assert trace.answer is not None
    return trace.answer.text


class TestJudgedCascade(StrategyContract):
    @pytest.fixture(
        params=[
            JudgedCascade(),
            JudgedCascade(policy=1.0, votes=3),
            JudgedCascade(judge="medium", order="given", policy={"small": 0.9}),
            JudgedCascade(judge="absent", order=("large", "small")),
            JudgedCascade(policy=Thresholds(count=2).fit([(0.0, 0.0, 0.0), (0.5, 0.0, 1.0)])),
        ],
        ids=["default", "never sure", "judge", "absent", "learnt"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> JudgedCascade:
        strategy: JudgedCascade = request.param
        return strategy


def test_an_answer_that_most_votes_approve_is_kept() -> None:
    trace = traced(cascade(), small=judging("4", "ttft"), big=Outcome(text="four"))

    assert asked(trace) == [("small", "answer", 1), ("small", "judge", 4)]
    assert answer(trace) == "4"
    assert trace.reason == "'small' was kept at 0.75 by 4 votes"


def test_half_of_the_votes_are_not_enough() -> None:
    trace = traced(cascade(), small=judging("5", "tftf"), big=Outcome(text="four"))

    assert asked(trace) == [("small", "answer", 1), ("small", "judge", 4), ("big", "answer", 1)]
    assert answer(trace) == "four"
    assert trace.attempts[-1].call.reason == "'small' was passed over at 0.50 by 4 votes"


def test_the_votes_are_asked_for_at_once() -> None:
    request = Request(text="2 + 2?", candidates=(SMALL, BIG))
    strategy = cascade(votes=8)
    trace = traced(strategy, small=judging("4", "t" * 8), big=Outcome(text="four"))
    calls = strategy.decide(request, trace.attempts[:1])

    assert isinstance(calls, Sequence) and len(calls) == 8


@pytest.mark.parametrize(("said", "kept"), [("xxxt", True), ("nnxt", True), ("nnxf", False), ("xxxx", False)])
def test_a_vote_that_fails_or_is_nonsense_does_not_count(said: str, kept: bool) -> None:
    trace = traced(cascade(), small=judging("4", said), big=Outcome(text="four"))

    assert answer(trace) == ("4" if kept else "four")


@pytest.mark.parametrize("said", ["xxxx", "nnnn", "xnxn"])
def test_without_a_vote_the_next_candidate_is_asked(said: str) -> None:
    # A policy that keeps hopeless answers must not take silence for one.
    keeps_zero = Thresholds(count=2).fit([(0.0, 0.0, 0.0), (0.5, 0.0, 1.0)])
    trace = traced(cascade(policy=keeps_zero), small=judging("4", said), big=Outcome(text="four"))

    assert asked(trace)[-1] == ("big", "answer", 1)
    assert trace.attempts[-1].call.reason == "'small' could not be judged"


def test_a_judge_that_is_not_there_leaves_the_answer_unjudged() -> None:
    trace = traced(cascade(judge="absent"), small=Outcome(text="4"), big=Outcome(text="four"))

    assert asked(trace) == [("small", "answer", 1), ("big", "answer", 1)]


def test_another_candidate_may_judge() -> None:
    trace = traced(cascade(judge="judge"), small=Outcome(text="4"), big=Outcome(text="b"), judge=votes("tttt"))

    assert asked(trace) == [("small", "answer", 1), ("judge", "judge", 4)]
    assert answer(trace) == "4"


def test_a_judge_reads_query_and_answer_alone() -> None:
    request = Request(text="2 + 2?", candidates=(SMALL, BIG), system="Be kind.", tools=(TOOL,), native=["history"])
    trace = traced(cascade(), request, small=judging("four", "tttt"), big=Outcome())
    prompt = trace.attempts[1].call.prompt

    assert prompt is not None
    assert "2 + 2?" in prompt and "four" in prompt
    assert "Be kind." not in prompt and "search" not in prompt


def test_examples_are_shown_before_the_answer() -> None:
    verification = SelfVerification(examples=(("3 + 3?", "7", "False"), ("Capital of {x}?", "Paris", "True")))
    trace = traced(cascade(verification=verification), small=judging("4", "tttt"), big=Outcome())
    prompt = trace.attempts[1].call.prompt or ""
    first, second, own = (prompt.index(text) for text in ("3 + 3?", "Capital of {x}?", "What is 2 + 2?"))

    assert first < second < own
    assert prompt.count("True or False: False") == 1 and prompt.endswith("True or False:")
    assert answer(trace) == "4"


def test_the_last_candidate_is_not_judged_and_may_be_streamed() -> None:
    trace = traced(cascade(), small=judging("5", "ffff"), big=Outcome(text="four"))

    assert [one.call.final for one in trace.attempts] == [False] * 5 + [True]


def test_each_of_many_candidates_is_judged_by_its_own_policy() -> None:
    strategy = cascade(policy={"small": 0.9, "medium": 0.2})
    trace = traced(strategy, small=judging("5", "tttf"), medium=judging("4", "tfff"), big=Outcome(text="four"))

    assert asked(trace) == [
        ("small", "answer", 1),
        ("small", "judge", 4),
        ("medium", "answer", 1),
        ("medium", "judge", 4),
    ]
    assert answer(trace) == "4"


def test_the_same_answer_of_two_candidates_is_judged_twice() -> None:
    trace = traced(cascade(), small=judging("4", "ffff"), medium=judging("4", "tttt"), big=Outcome(text="four"))

    assert asked(trace)[-1] == ("medium", "judge", 4)
    assert trace.reason == "'medium' was kept at 1.00 by 4 votes"


def test_a_policy_that_has_learnt_keeps_what_is_hopeless() -> None:
    policy = Thresholds(count=2, steps=4).fit([(0.0, 0.0, 0.0), (0.5, 0.0, 1.0), (1.0, 1.0, 1.0)])
    ends = [
        answer(traced(cascade(policy=policy), small=judging("4", said), big=Outcome(text="four")))
        for said in ("ffff", "ttff", "tttt")
    ]

    assert ends == ["4", "four", "4"]


def test_when_the_next_candidate_fails_the_answer_is_not_judged_again() -> None:
    trace = traced(cascade(), small=judging("5", "ffff"), medium=DOWN, big=Outcome(text="four"))

    assert [call for call in asked(trace) if call[1] == "judge"] == [("small", "judge", 4)]
    assert trace.attempts[-1].call.reason == "'medium' failed (not_found)"


def test_when_all_others_fail_the_answer_passed_over_is_returned() -> None:
    trace = traced(cascade(), small=judging("5", "ffff"), big=DOWN)

    assert answer(trace) == "5"


def test_when_all_fail_nobody_is_judged() -> None:
    with pytest.raises(AllCandidatesFailed) as caught:
        traced(cascade(), small=DOWN, medium=DOWN, big=DOWN)

    assert caught.value.trace is not None and len(caught.value.trace.attempts) == 3


def test_a_tool_loop_goes_on_unjudged() -> None:
    request = Request(text="hi", candidates=POOL, snapshot=Snapshot(locked="small"))
    trace = traced(cascade(), request, small=judging("4", "ffff"), medium=Outcome(), big=Outcome())

    assert asked(trace) == [("small", "answer", 1)]
    assert trace.attempts[0].call.final is True


@pytest.mark.parametrize(("budget", "judged"), [(1.0, True), (1e-3, False)])
def test_an_answer_is_judged_only_if_the_budget_allows_another(budget: float, judged: bool) -> None:
    request = Request(text="hi", candidates=(SMALL, BIG), judges=(SMALL, BIG), snapshot=Snapshot(budget=budget))
    limits = Limits(budget=budget)
    trace = traced(cascade(), request, limits, small=judging("4", "ffff"), big=Outcome(text="four"))

    assert answer(trace) == ("four" if judged else "4")
    assert (("small", "judge", 4) in asked(trace)) is judged


def test_votes_that_leave_no_money_for_another_answer_are_not_asked_for() -> None:
    dear = Candidate("judge", model=object(), input_price=1e-3, output_price=1e-3)
    request = Request(text="hi", candidates=(SMALL, BIG), judges=(dear,), snapshot=Snapshot(budget=0.1))
    trace = traced(cascade(judge="judge"), request, small=Outcome(text="4"), big=Outcome(text="b"), judge=votes("ffff"))

    assert asked(trace) == [("small", "answer", 1)]
    assert trace.reason.startswith("nobody else can be asked")


def test_every_vote_is_paid_for() -> None:
    usage = Usage(input_tokens=100, output_tokens=1)
    said = [Outcome(text=word, usage=usage) for word in ("4", "True", "True", "True", "True")]
    trace = traced(cascade(), small=said, big=Outcome())

    assert trace.cost == pytest.approx(5 * 101e-7)


def test_replay_judges_as_live_requests_do() -> None:
    grades = {("a", "small"): 1.0, ("a", "big"): 1.0, ("b", "small"): 0.0, ("b", "big"): 1.0}
    table = Table.of(
        Record(text=text, candidate=name, quality=grade, cost={"small": 0.1, "big": 1.0}[name])
        for (text, name), grade in grades.items()
    )
    rows = [
        {"small": [Outcome(text="s"), *(Outcome(text=word, cost=0.01) for _ in range(4))]} for word in ("True", "False")
    ]
    done = replay(cascade(), table, [SMALL, BIG], outcomes=rows)

    assert done.quality.tolist() == [1.0, 1.0]
    assert done.cost.tolist() == pytest.approx([0.14, 1.14])
    assert done.attempts.tolist() == [5, 6]


def test_it_is_saved_with_what_its_policy_has_learnt() -> None:
    policy = Thresholds(count=2).fit([(0.0, 0.0, 0.0), (0.5, 0.0, 1.0), (1.0, 1.0, 1.0)])
    verification = SelfVerification(examples=(("3 + 3?", "7", "False"),))
    writer = Writer()
    plain = writer.plain(JudgedCascade(policy={"small": policy, "big": 0.3}, verification=verification), "strategy")
    again = Reader(writer.arrays, writer.layout).value(plain)

    assert isinstance(again, JudgedCascade) and isinstance(again.policy, dict)
    assert again.policy["small"].escalates_ == policy.escalates_ and again.policy["big"] == 0.3
    assert again.verification is not None and again.verification.examples == verification.examples


@pytest.mark.parametrize(
    "options",
    [{"votes": 0}, {"policy": 1.5}, {"policy": {"small": -0.1}}, {"policy": float("nan")}, {"order": "small"}],
)
def test_options_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Cascade"):
        JudgedCascade(**options)
