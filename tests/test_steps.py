from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from router_integrations import steps as steps_module
from router_integrations.candidates import Candidate
from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    ConfigurationError,
    LimitExceeded,
    ProviderError,
    RouterError,
    StrategyError,
)
from router_integrations.health import Health
from router_integrations.limits import Limits
from router_integrations.steps import Ask, Run, Wait
from router_integrations.strategies import Fixed
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Request, Snapshot, Stop, Usage

Reply = str | ProviderError | Attempt


def candidate(name: str, **fields: Any) -> Candidate:
    return Candidate(name, model=object(), **fields)


def failure(family: Any = "not_found", **fields: Any) -> ProviderError:
    return ProviderError(f"{family}!", family=family, **fields)


A, B, C = candidate("a"), candidate("b"), candidate("c")


@dataclass
class Does:
    """A strategy made of a function, which notes the candidates it was shown."""

    rule: Callable[[Request, Sequence[Attempt]], Any]
    shown: list[list[str]] = field(default_factory=list)

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Any:
        self.shown.append([one.name for one in request.candidates])
        return self.rule(request, attempts)


def in_order() -> Does:
    return Does(lambda request, attempts: Call(candidate=request.candidates[0], final=True))


@dataclass
class Played:
    trace: Trace
    asked: list[str]
    waits: list[float]
    timeouts: list[float | None]


def play(
    strategy: Any, replies: dict[str, Sequence[Reply]], *, candidates: Sequence[Candidate], **options: Any
) -> Played:
    """Run without any I/O: each call takes the candidate's next reply, the last one repeats."""
    played = Played(trace=Trace(), asked=[], waits=options.pop("waits", []), timeouts=[])
    snapshot = options.pop("snapshot", Snapshot())
    run = options.pop("run", None) or Run(
        strategy=strategy, request=Request(text="hi", candidates=tuple(candidates), snapshot=snapshot), **options
    )
    queues = {name: list(row) for name, row in replies.items()}
    generator = run.steps()
    try:
        step = next(generator)
        while True:
            if isinstance(step, Wait):
                played.waits.append(step.seconds)
                step = generator.send(())
                continue
            played.asked += [call.candidate.name for call in step.calls]
            played.timeouts += step.timeouts
            step = generator.send([_attempt(call, queues[call.candidate.name]) for call in step.calls])
    except StopIteration as done:
        played.trace = done.value
    return played


def _attempt(call: Call, queue: list[Reply]) -> Attempt:
    reply = queue.pop(0) if len(queue) > 1 else queue[0]
    if isinstance(reply, Attempt):
        return Attempt(call=call, text=reply.text, cost=reply.cost, usage=reply.usage)
    return Attempt(call=call, error=reply) if isinstance(reply, ProviderError) else Attempt(call=call, text=reply)


def dummy(text: str, cost: float) -> Attempt:
    return Attempt(call=Call(candidate=A), text=text, cost=cost, usage=Usage(input_tokens=1, output_tokens=1))


class TestOneAnswer:
    def test_a_final_reply_ends_the_request_without_another_decision(self) -> None:
        strategy = in_order()
        played = play(strategy, {"a": ["yes"]}, candidates=[A, B], rejected={"blind": "no vision"})

        assert played.trace.answer is played.trace.attempts[0]
        assert played.trace.answer.text == "yes"
        assert strategy.shown == [["a", "b"]]
        assert played.trace.alternatives == ("a", "b")
        assert played.trace.rejected == {"blind": "no vision"}

    def test_a_reply_that_is_not_final_is_decided_upon(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call | Stop:
            if len(attempts) < 2:
                return Call(candidate=request.candidates[len(attempts)])
            return Stop(attempt=attempts[0], reason="the first was better")

        played = play(Does(rule), {"a": ["one"], "b": ["two"]}, candidates=[A, B])

        assert played.trace.answer is played.trace.attempts[0]
        assert played.trace.reason == "the first was better"

    def test_several_calls_are_made_at_once(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> list[Call] | Stop:
            return Stop(attempt=attempts[2]) if attempts else [Call(candidate=A)] * 3

        played = play(Does(rule), {"a": ["1", "2", "3"]}, candidates=[A])

        assert [attempt.text for attempt in played.trace.attempts] == ["1", "2", "3"]
        assert played.trace.answer is played.trace.attempts[2]

    def test_the_trace_keeps_the_estimates_of_the_first_decision(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call:
            quality = 0.1 if attempts else 0.9
            return Call(candidate=request.candidates[0], final=True, estimates={"a": Estimate(quality=quality)})

        played = play(Does(rule), {"a": [failure()], "b": ["yes"]}, candidates=[A, B])

        assert played.trace.estimates == {"a": Estimate(quality=0.9)}
        assert played.trace.first == "a"
        assert played.trace.candidate == "b"

    def test_time_spent_deciding_is_counted(self) -> None:
        assert play(in_order(), {"a": ["yes"]}, candidates=[A], decide_seconds=5.0).trace.decide_seconds > 5.0

    def test_a_plan_decides_and_calls_nobody(self) -> None:
        trace = Run(strategy=Fixed(name="b"), request=Request(text="hi", candidates=(A, B))).plan()

        assert (trace.candidate, trace.reason, trace.attempts) == ("b", "fixed choice", ())


class TestFailures:
    def test_a_failed_candidate_is_not_shown_again(self) -> None:
        strategy = in_order()
        played = play(strategy, {"a": [failure()], "b": [failure()], "c": ["yes"]}, candidates=[A, B, C])

        assert played.asked == ["a", "b", "c"]
        assert strategy.shown == [["a", "b", "c"], ["b", "c"], ["c"]]

    def test_all_failed_carries_the_trace_and_the_last_cause(self) -> None:
        last = failure("authentication")
        with pytest.raises(
            AllCandidatesFailed, match="no candidate answered: 'a': server!; 'b': authentication!"
        ) as caught:
            play(in_order(), {"a": [failure("server")], "b": [last]}, candidates=[A, B])

        assert caught.value.__cause__ is last
        assert [attempt.error.family for attempt in caught.value.trace.attempts] == ["server", "authentication"]
        assert caught.value.trace.cost == 0

    def test_the_run_keeps_the_trace_of_an_error(self) -> None:
        run = Run(strategy=in_order(), request=Request(text="hi", candidates=(A,)))
        with pytest.raises(AllCandidatesFailed) as caught:
            play(None, {"a": [failure()]}, candidates=[], run=run)

        assert run.trace is caught.value.trace

    def test_an_answer_in_hand_is_returned_when_nobody_is_left(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call:
            return Call(candidate=request.candidates[0])

        replies: dict[str, list[Reply]] = {"a": ["draft", failure()]}
        assert play(Does(rule), replies, candidates=[A]).trace.answer.text == "draft"

    def test_a_candidate_that_answered_when_asked_again_is_still_there(self) -> None:
        flaky = candidate("a", max_retries=1)

        def rule(request: Request, attempts: Sequence[Attempt]) -> Call | Stop:
            return Stop(attempt=attempts[-1]) if len(attempts) == 3 else Call(candidate=flaky)

        played = play(Does(rule), {"a": [failure("server"), "draft", "refined"]}, candidates=[flaky])

        assert played.trace.answer.text == "refined"

    def test_an_overflow_goes_only_to_larger_windows(self) -> None:
        small = [candidate(name, context_window=size) for name, size in (("a", 8), ("b", 8), ("c", 4), ("d", 16))]
        unknown = candidate("e")
        strategy = in_order()
        replies = {"a": [failure("context_overflow")], "d": [failure("context_overflow")], "e": ["yes"]}
        played = play(strategy, replies, candidates=[*small, unknown])

        assert strategy.shown == [["a", "b", "c", "d", "e"], ["d", "e"], ["e"]]
        assert played.trace.answer.text == "yes"

    def test_health_hears_of_every_call(self) -> None:
        health = Health(threshold=1)
        play(in_order(), {"a": [failure("server")], "b": ["yes"]}, candidates=[A, B], health=health)

        assert health.cooling() == {"a"}


class TestWhoIsShown:
    @pytest.mark.parametrize(
        ("cooling", "shown"), [({"a"}, ["b", "c"]), ({"a", "b"}, ["c"]), ({"a", "b", "c"}, ["a", "b", "c"])]
    )
    def test_who_rests_is_asked_only_when_everybody_rests(self, cooling: set[str], shown: list[str]) -> None:
        strategy = in_order()
        play(
            strategy,
            dict.fromkeys("abc", ("yes",)),
            candidates=[A, B, C],
            snapshot=Snapshot(cooling=frozenset(cooling)),
        )

        assert strategy.shown == [shown]

    def test_who_rests_is_asked_when_the_others_failed(self) -> None:
        snapshot = Snapshot(cooling=frozenset({"a"}))
        assert play(in_order(), {"a": ["yes"], "b": [failure()]}, candidates=[A, B], snapshot=snapshot).asked == [
            "b",
            "a",
        ]

    def test_in_a_tool_loop_only_the_locked_one_is_shown_until_it_fails(self) -> None:
        strategy = in_order()
        snapshot = Snapshot(locked="b", cooling=frozenset({"b"}))
        replies = {"b": [failure()], "a": [failure()], "c": ["yes"]}
        played = play(strategy, replies, candidates=[A, B, C], snapshot=snapshot)

        assert strategy.shown == [["b"], ["a", "c"], ["c"]]
        assert played.trace.answer.call.candidate is C

    def test_a_locked_candidate_that_is_not_eligible_is_no_lock(self) -> None:
        strategy = in_order()
        play(strategy, {"a": ["yes"]}, candidates=[A, B], snapshot=Snapshot(locked="gone"))

        assert strategy.shown == [["a", "b"]]


class TestRetries:
    @pytest.mark.parametrize("family", ["connection", "server", "malformed", "rate_limit", "timeout"])
    def test_a_failure_that_may_pass_is_tried_again_when_alone(self, family: str) -> None:
        alone = candidate("a", max_retries=2)
        played = play(in_order(), {"a": [failure(family), failure(family), "yes"]}, candidates=[alone])

        assert played.asked == ["a", "a", "a"]
        assert 0.125 <= played.waits[0] <= 0.25 <= played.waits[1] <= 0.5
        assert len(played.trace.attempts) == 3

    @pytest.mark.parametrize(
        "family", ["authentication", "permission", "not_found", "bad_request", "context_overflow", "content_policy"]
    )
    def test_a_failure_that_will_not_pass_is_not_tried_again(self, family: str) -> None:
        with pytest.raises(AllCandidatesFailed) as caught:
            play(in_order(), {"a": [failure(family)]}, candidates=[candidate("a", max_retries=2)])

        assert len(caught.value.trace.attempts) == 1

    def test_retries_are_as_many_as_the_candidate_says(self) -> None:
        with pytest.raises(AllCandidatesFailed) as caught:
            play(in_order(), {"a": [failure("server")]}, candidates=[candidate("a", max_retries=3)])

        assert len(caught.value.trace.attempts) == 4

    @pytest.mark.parametrize(
        ("reply", "others", "expected"),
        [
            (failure("rate_limit", retry_after=30.0), False, [30.0]),
            (failure("rate_limit", retry_after=30.0), True, []),
            (failure("rate_limit", retry_after=0.5), True, [0.5]),
            (failure("rate_limit", retry_after=-3.0), False, [0.0]),
            (failure("rate_limit", retry_after=61.0), False, []),
            (failure("timeout"), True, []),
        ],
    )
    def test_it_waits_as_asked_unless_somebody_else_can_answer_sooner(
        self, reply: ProviderError, others: bool, expected: list[float]
    ) -> None:
        pool = [candidate("a", max_retries=1), *([B] if others else [])]
        replies = {"a": [reply, "yes" if expected else reply], "b": ["yes"]}
        waits: list[float] = []
        with contextlib.nullcontext() if expected or others else pytest.raises(AllCandidatesFailed):
            play(in_order(), replies, candidates=pool, waits=waits)

        assert waits == expected

    def test_after_the_last_retry_somebody_else_is_asked(self) -> None:
        played = play(
            in_order(), {"a": [failure("server")], "b": ["yes"]}, candidates=[candidate("a", max_retries=2), B]
        )
        assert played.asked == ["a", "a", "a", "b"]

    def test_of_calls_made_at_once_only_the_failed_are_made_again(self) -> None:
        flaky = candidate("b", max_retries=1)

        def rule(request: Request, attempts: Sequence[Attempt]) -> list[Call] | Stop:
            return Stop(attempt=attempts[-1]) if attempts else [Call(candidate=A), Call(candidate=flaky)]

        played = play(Does(rule), {"a": ["one"], "b": [failure("server"), "two"]}, candidates=[A, flaky])

        assert played.asked == ["a", "b", "b"]
        assert played.trace.answer.text == "two"


class TestLimits:
    @pytest.mark.parametrize("name", ["max_calls", "deadline", "budget", "conversation_budget"])
    @pytest.mark.parametrize("value", [0, -1, math.nan])
    def test_a_limit_must_be_above_zero(self, name: str, value: float) -> None:
        with pytest.raises(
            ConfigurationError, match=rf"Limits\.{name} must be above 0 but got {value!r}; leave it out"
        ):
            Limits(**{name: value})

    def test_a_strategy_that_never_stops_is_stopped(self) -> None:
        with pytest.raises(StrategyError, match="Does did not stop after 5 calls") as caught:
            play(Does(lambda *_: Call(candidate=A)), {"a": ["no"]}, candidates=[A], limits=Limits(max_calls=5))

        assert len(caught.value.trace.attempts) == 5

    def test_more_calls_at_once_than_allowed_are_not_made(self) -> None:
        with pytest.raises(LimitExceeded, match="3 calls would be over the limit of 2 before there was an answer"):
            play(Does(lambda *_: [Call(candidate=A)] * 3), {}, candidates=[A], limits=Limits(max_calls=2))

    def test_the_best_answer_so_far_is_returned_when_the_calls_end(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call | Stop:
            asked = {attempt.call.candidate.name for attempt in attempts}
            left = [one for one in request.candidates if one.name not in asked]
            return Call(candidate=left[0]) if left else Stop(attempt=attempts[0], reason="'a' was best")

        played = play(
            Does(rule),
            {"a": ["one"], "b": ["two"], "c": ["three"]},
            candidates=[A, B, C],
            limits=Limits(max_calls=2),
        )

        assert played.trace.answer.text == "one"
        assert played.trace.reason == "3 calls would be over the limit of 2; 'a' was best"

    def test_retries_count_as_calls(self) -> None:
        with pytest.raises(AllCandidatesFailed) as caught:
            play(
                in_order(),
                {"a": [failure("server")], "b": ["yes"]},
                candidates=[candidate("a", max_retries=9), B],
                limits=Limits(max_calls=3),
            )
        assert len(caught.value.trace.attempts) == 3

    def test_retries_of_calls_made_at_once_stay_within_the_limit(self) -> None:
        pair = [candidate("a", max_retries=9), candidate("b", max_retries=9)]
        strategy = Does(lambda request, _: [Call(candidate=one) for one in request.candidates])
        with pytest.raises(AllCandidatesFailed) as caught:
            play(strategy, dict.fromkeys("ab", (failure("server"),)), candidates=pair, limits=Limits(max_calls=3))

        assert len(caught.value.trace.attempts) == 3

    def test_failures_that_use_up_the_calls_are_no_fault_of_the_strategy(self) -> None:
        with pytest.raises(AllCandidatesFailed):
            play(in_order(), dict.fromkeys("abc", (failure(),)), candidates=[A, B, C], limits=Limits(max_calls=2))

    def test_a_deadline_returns_the_last_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = [0.0]
        monkeypatch.setattr(steps_module.time, "monotonic", lambda: clock[0])

        def rule(request: Request, attempts: Sequence[Attempt]) -> Call:
            clock[0] += 6.0
            return Call(candidate=A)

        played = play(Does(rule), {"a": ["draft"]}, candidates=[A], limits=Limits(deadline=10))

        assert played.trace.answer.text == "draft"
        assert played.trace.reason == "the deadline of 10 s passed; this is the last answer"

    def test_a_deadline_without_an_answer_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = [0.0]
        monkeypatch.setattr(steps_module.time, "monotonic", lambda: clock[0])

        def rule(request: Request, attempts: Sequence[Attempt]) -> Call:
            clock[0] += 6.0
            return Call(candidate=request.candidates[0], purpose="judge")

        with pytest.raises(LimitExceeded, match="the deadline of 10 s passed before there was an answer") as caught:
            play(Does(rule), {"a": ["verdict"]}, candidates=[A], limits=Limits(deadline=10))

        assert len(caught.value.trace.attempts) == 1

    def test_no_retry_waits_beyond_the_deadline(self) -> None:
        reply = failure("rate_limit", retry_after=20.0)
        waits: list[float] = []
        with pytest.raises(AllCandidatesFailed):
            play(
                in_order(),
                {"a": [reply]},
                candidates=[candidate("a", max_retries=5)],
                limits=Limits(deadline=10),
                waits=waits,
            )

        assert waits == []

    def test_a_call_gets_the_shorter_of_its_own_time_and_what_is_left(self) -> None:
        own, left, none = (
            play(
                in_order(), {"a": ["yes"]}, candidates=[candidate("a", timeout=timeout)], limits=Limits(deadline=limit)
            )
            for timeout, limit in ((3.0, 100.0), (300.0, 100.0), (None, None))
        )
        assert own.timeouts == [3.0]
        assert left.timeouts[0] == pytest.approx(100, abs=10)
        assert none.timeouts == [None]

    def test_a_budget_returns_the_last_answer(self) -> None:
        strategy = Does(lambda *_: Call(candidate=A, estimates={"a": Estimate(quality=1, cost=0.4)}))
        played = play(strategy, {"a": [dummy("draft", 0.4)]}, candidates=[A], limits=Limits(budget=1.0))

        assert len(played.trace.attempts) == 2
        assert played.trace.reason == "1.200000 USD would be over the budget of 1.0 USD; this is the last answer"

    def test_a_budget_that_the_first_call_would_break_asks_nobody(self) -> None:
        strategy = Does(lambda *_: Call(candidate=A, final=True, estimates={"a": Estimate(quality=1, cost=2.0)}))
        with pytest.raises(LimitExceeded, match=r"2\.000000 USD would be over the budget of 1\.0 USD before") as caught:
            play(strategy, {}, candidates=[A], limits=Limits(budget=1.0))

        assert caught.value.trace.attempts == ()

    def test_the_strategy_says_which_answer_is_the_best_when_a_limit_ends_it(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call | Stop:
            if not request.candidates:
                return Stop(attempt=attempts[0], reason="the first was better", confidence=0.6)
            return Call(candidate=A)

        replies: dict[str, list[Reply]] = {"a": [dummy("good", 0.4), dummy("bad", 0.7)]}
        played = play(Does(rule), replies, candidates=[A], limits=Limits(budget=1.0))

        assert played.trace.answer is played.trace.attempts[0]
        assert played.trace.reason == "1.100000 USD would be over the budget of 1.0 USD; the first was better"
        assert played.trace.confidence == 0.6

    def test_and_when_nobody_is_left(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call | Stop:
            return Call(candidate=A) if request.candidates else Stop(attempt=attempts[0], reason="the first was better")

        replies: dict[str, list[Reply]] = {"a": ["good", "bad", failure()]}
        played = play(Does(rule), replies, candidates=[A])

        assert played.trace.answer is played.trace.attempts[0]
        assert played.trace.reason == "nobody is left to ask; the first was better"

    def test_it_may_abstain_at_the_end(self) -> None:
        strategy = Does(lambda request, _: Call(candidate=A) if request.candidates else Stop(reason="too risky"))
        with pytest.raises(Abstained, match=r"the budget of 1\.0 USD; too risky"):
            play(strategy, {"a": [dummy("draft", 2.0)]}, candidates=[A], limits=Limits(budget=1.0))

    def test_a_strategy_that_fails_without_candidates_ends_with_the_last_answer(self) -> None:
        strategy = Does(lambda request, attempts: Call(candidate=request.candidates[0]))
        played = play(strategy, {"a": [dummy("draft", 2.0)]}, candidates=[A], limits=Limits(budget=1.0))

        assert played.trace.answer.text == "draft"
        assert played.trace.reason.endswith("; this is the last answer")

    def test_a_verdict_is_no_answer_to_end_with(self) -> None:
        strategy = Does(lambda *_: Call(candidate=A, purpose="judge"))
        with pytest.raises(LimitExceeded, match="before there was an answer"):
            play(strategy, {"a": [dummy("True", 2.0)]}, candidates=[A], limits=Limits(budget=1.0))

    @pytest.mark.parametrize("cost", [0.6, 0.5])
    def test_spent_is_spent_even_when_no_estimate_says_so(self, cost: float) -> None:
        strategy = Does(lambda *_: Call(candidate=A))
        played = play(strategy, {"a": [dummy("d", cost)]}, candidates=[A], limits=Limits(budget=1.0))

        assert len(played.trace.attempts) == 2


class TestNonsense:
    @pytest.mark.parametrize("move", [None, [], (), "a", 3, A, [None], [Call(candidate=A), Stop()], {"a": 1}], ids=repr)
    def test_what_is_no_move_is_refused_with_what_came(self, move: Any) -> None:
        with pytest.raises(
            StrategyError, match=r"Does\.decide must return a Call, a non-empty list of Calls or a Stop"
        ):
            play(Does(lambda *_: move), {}, candidates=[A])

    @pytest.mark.parametrize("stranger", [candidate("z"), candidate("a")], ids=["unknown", "a double"])
    def test_a_stranger_is_not_asked(self, stranger: Candidate) -> None:
        with pytest.raises(StrategyError, match=r"Does asks '.', which is not among \['a', 'b'\]"):
            play(Does(lambda *_: Call(candidate=stranger)), {}, candidates=[A, B])

    def test_who_failed_is_a_stranger(self) -> None:
        with pytest.raises(StrategyError, match=r"asks 'a', which is not among \['b'\]") as caught:
            play(Does(lambda *_: Call(candidate=A)), {"a": [failure()]}, candidates=[A, B])

        assert len(caught.value.trace.attempts) == 1

    def test_two_final_calls_are_refused(self) -> None:
        with pytest.raises(StrategyError, match="Does returned 2 calls at once, one of them final"):
            play(Does(lambda *_: [Call(candidate=A), Call(candidate=B, final=True)]), {}, candidates=[A, B])

    def test_an_answer_that_nobody_gave_is_refused(self) -> None:
        with pytest.raises(StrategyError, match="stopped with an attempt never made"):
            play(Does(lambda *_: Stop(attempt=Attempt(call=Call(candidate=A)))), {}, candidates=[A])

    def test_an_error_of_the_strategys_own_keeps_its_cause_and_the_trace(self) -> None:
        def rule(*_: object) -> Call:
            raise ZeroDivisionError

        with pytest.raises(StrategyError, match="ZeroDivisionError") as caught:
            play(Does(rule), {}, candidates=[A])

        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.trace is not None


class TestAbstaining:
    def test_to_abstain_is_a_typed_error_with_the_reason(self) -> None:
        with pytest.raises(Abstained, match="Does gave no answer: too risky"):
            play(Does(lambda *_: Stop(reason="too risky")), {}, candidates=[A])

    def test_a_failed_attempt_is_no_answer_when_another_one_replied(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call | Stop:
            return (
                Stop(attempt=attempts[-1]) if len(attempts) == 2 else Call(candidate=request.candidates[len(attempts)])
            )

        with pytest.raises(Abstained, match="no reason"):
            play(Does(rule), {"a": ["yes"], "b": [failure()]}, candidates=[A, B])

    def test_to_stop_with_the_only_failure_is_all_failed(self) -> None:
        def rule(request: Request, attempts: Sequence[Attempt]) -> Call | Stop:
            return Stop(attempt=attempts[-1]) if attempts else Call(candidate=A)

        with pytest.raises(AllCandidatesFailed):
            play(Does(rule), {"a": [failure()]}, candidates=[A, B])


def test_a_run_that_is_given_up_releases_the_trial() -> None:
    now = [0.0]
    health = Health(threshold=1, cooldown=10, clock=lambda: now[0])
    health.record("a", failure("server"))
    now[0] = 11.0
    generator = Run(strategy=in_order(), request=Request(text="hi", candidates=(A,)), health=health).steps()

    assert isinstance(next(generator), Ask)
    assert health.cooling() == {"a"}
    generator.close()
    assert health.cooling() == frozenset()


def test_every_error_of_a_run_carries_a_trace() -> None:
    for rule in (lambda *_: None, lambda *_: Stop(), lambda *_: Call(candidate=A)):
        with pytest.raises(RouterError) as caught:
            play(Does(rule), {"a": [failure()]}, candidates=[A, B])
        assert caught.value.trace is not None


class TestJudges:
    """Candidates that may be asked with a prompt of their own."""

    def test_only_a_call_with_a_prompt_may_ask_one(self) -> None:
        request = Request(text="hi", candidates=(A,), judges=(B,))

        def rule(prompt: str | None) -> Does:
            return Does(lambda request, attempts: Call(candidate=B if not attempts else A, prompt=prompt, final=False))

        moves = Run(strategy=rule("Who?"), request=request).decide()
        with pytest.raises(StrategyError, match="'b', which is not among \\['a'\\]"):
            Run(strategy=rule(None), request=request).decide()

        assert [call.candidate for call in moves] == [B]

    @pytest.mark.parametrize("state", ["failed", "resting"])
    def test_one_that_failed_or_rests_is_not_shown(self, state: str) -> None:
        shown: list[tuple[Candidate, ...]] = []

        def rule(request: Request, attempts: Sequence[Attempt]) -> Call:
            shown.append(request.judges)
            if attempts or B not in request.judges:
                return Call(candidate=A, final=True)
            return Call(candidate=B, purpose="judge", prompt="Who?")

        cooling = frozenset({"b"} if state == "resting" else ())
        request = Request(text="hi", candidates=(A,), judges=(B, C), snapshot=Snapshot(cooling=cooling))
        run = Run(strategy=Does(rule), request=request)
        play(run.strategy, {"a": ["answer"], "b": [failure()]}, candidates=[A], run=run)

        assert shown == ([(B, C), (C,)] if state == "failed" else [(C,)])

    def test_a_prompt_that_is_too_long_for_one_says_nothing_of_the_conversation(self) -> None:
        large, small = candidate("large", context_window=100), candidate("small", context_window=50)

        def rule(request: Request, attempts: Sequence[Attempt]) -> Call:
            if not attempts:
                return Call(candidate=large, purpose="judge", prompt="long")
            return Call(candidate=request.candidates[0], final=True)

        replies: dict[str, Sequence[Reply]] = {"large": [failure("context_overflow")], "small": ["answer"]}
        played = play(Does(rule), replies, candidates=[large, small])

        assert played.trace.candidate == "small"
