"""Hedged calls: when a rival is asked, who wins, what is left of the other."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

from router_integrations import engine
from router_integrations.candidates import Candidate
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, ProviderError, StrategyError
from router_integrations.gating import Gate
from router_integrations.health import Health
from router_integrations.hedging import Hedge, arace, race
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.types import Attempt, Call, Estimate, Request, Stop
from tests.test_engine import Does, Scripted, candidate

A, B = candidate("a", input_price=1.0, output_price=1.0), candidate("b", input_price=1.0, output_price=1.0)
DOWN = ProviderError("down", family="not_found")
SOON, NEVER = 0.02, 60.0


class Slow(Scripted):
    """A host whose pauses are threads' events in the sync ways and loops' events in the others."""

    def __init__(self, **scripts: Any) -> None:
        super().__init__(**scripts)
        self.ended = threading.Event()

    def _play(self, call: Call) -> Generator[str, None, None]:
        for part in self.scripts[call.candidate.name]:
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, threading.Event):
                assert part.wait(timeout=30)
            else:
                yield part

    def stream(self, call: Call, timeout: float | None) -> Generator[str, None, None]:
        try:
            yield from super().stream(call, timeout)
        finally:
            self.ended.set()

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[str, None]:
        self.open += 1
        try:
            for part in self.scripts[call.candidate.name]:
                if isinstance(part, BaseException):
                    raise part
                if isinstance(part, threading.Event):
                    while not part.is_set():
                        await asyncio.sleep(0.001)
                else:
                    yield part
        finally:
            self.closed += 1


Driver = Callable[[Run, Slow], str]


def _run(run: Run, host: Slow) -> str:
    return engine.run(run, host).answer.text


def _arun(run: Run, host: Slow) -> str:
    return asyncio.run(engine.arun(run, host)).answer.text


def _stream(run: Run, host: Slow) -> str:
    return "".join(engine.stream(run, host))


def _astream(run: Run, host: Slow) -> str:
    async def collect() -> str:
        return "".join([chunk async for chunk in engine.astream(run, host)])

    return asyncio.run(collect())


every_driver = pytest.mark.parametrize("drive", [_run, _arun, _stream, _astream])
awaited = pytest.mark.parametrize("drive", [_arun, _astream])


@pytest.fixture
def gate() -> Any:
    """Never opens by itself; opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def hedged(after: float = SOON, rival: Candidate = B, **fields: Any) -> Does:
    def rule(request: Request, attempts: Any) -> Any:
        seen = [one for one in attempts if one.error is None]
        hedge = Hedge(candidate=rival, after=after) if rival in request.candidates else None
        asked = Call(candidate=request.candidates[0], hedge=hedge, **{"final": True, **fields})
        return Stop(attempt=seen[0], reason="answered") if seen else asked

    return Does(rule)


def run_of(strategy: Any, **options: Any) -> Run:
    return Run(strategy=strategy, request=Request(text="hi", candidates=(A, B), conversation_id="c"), **options)


def story(run: Run) -> list[tuple[str, str | None]]:
    return [(one.call.candidate.name, one.error and one.error.family) for one in run.trace.attempts]


@every_driver
@pytest.mark.parametrize("final", [True, False], ids=["final", "draft"])
def test_an_answer_in_time_has_no_rival(drive: Driver, final: bool) -> None:
    run = run_of(hedged(NEVER, final=final))

    assert drive(run, Slow(a=["yes"], b=[ZeroDivisionError()])).endswith("yes")
    assert story(run) == [("a", None)]


@every_driver
@pytest.mark.parametrize("final", [True, False], ids=["final", "draft"])
def test_a_slow_call_gets_a_rival_that_answers(drive: Driver, final: bool, gate: Any) -> None:
    run = run_of(hedged(final=final))

    assert drive(run, Slow(a=[gate, "late"], b=["y", "es"])).endswith("yes")
    assert story(run) == [("a", "cancelled"), ("b", None)]
    assert str(run.trace.attempts[0].error) == "'b' answered first"
    assert run.trace.answer is run.trace.attempts[1]
    assert run.trace.attempts[0].first_token is None


@every_driver
def test_the_slow_call_may_still_win(drive: Driver, gate: Any) -> None:
    run, slow = run_of(hedged()), threading.Event()

    class Opens(Slow):
        """The rival's call begins, and only then the first one answers."""

        def _play(self, call: Call) -> Generator[str, None, None]:
            if call.candidate is B:
                slow.set()
            yield from super()._play(call)

        async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[str, None]:
            if call.candidate is B:
                slow.set()
            async for part in super().astream(call, timeout):
                yield part

    assert drive(run, Opens(a=[slow, "late"], b=[gate, "never"])) == "late"
    assert story(run) == [("b", "cancelled"), ("a", None)]


@every_driver
def test_a_rival_that_fails_leaves_the_call_running(drive: Driver) -> None:
    run, slow = run_of(hedged()), threading.Event()

    class Opens(Slow):
        def attempt(self, call: Call, chunks: Any) -> Attempt:
            return super().attempt(call, chunks)

        def _play(self, call: Call) -> Generator[str, None, None]:
            if call.candidate is B:
                threading.Timer(0.02, slow.set).start()
            yield from super()._play(call)

        async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[str, None]:
            if call.candidate is B:
                asyncio.get_running_loop().call_later(0.02, slow.set)
            async for part in super().astream(call, timeout):
                yield part

    assert drive(run, Opens(a=[slow, "late"], b=[DOWN])) == "late"
    assert story(run) == [("b", "not_found"), ("a", None)]


@every_driver
def test_a_failure_in_time_goes_to_the_next_candidate_as_ever(drive: Driver) -> None:
    run = run_of(hedged(NEVER))

    assert drive(run, Slow(a=[DOWN], b=["yes"])) == "yes"
    assert story(run) == [("a", "not_found"), ("b", None)]


@every_driver
def test_when_both_fail_both_are_told_and_nobody_is_asked_again(drive: Driver) -> None:
    run, slow = run_of(hedged()), threading.Event()
    host = Slow(a=[slow, DOWN], b=[DOWN])
    threading.Timer(0.1, slow.set).start()
    with pytest.raises(AllCandidatesFailed):
        drive(run, host)

    assert sorted(story(run)) == [("a", "not_found"), ("b", "not_found")]


@every_driver
def test_the_same_candidate_may_be_the_rival(drive: Driver, gate: Any) -> None:
    class Second(Slow):
        """Hangs the first time."""

        def _play(self, call: Call) -> Generator[str, None, None]:
            part = gate if call.hedge is not None else "again"
            if part is gate:
                gate.wait(timeout=30)
            yield "again"

        async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[str, None]:
            while call.hedge is not None:
                await asyncio.sleep(0.001)
            yield "again"

    run = run_of(hedged(rival=A))

    assert drive(run, Second()) == "again"
    assert story(run) == [("a", "cancelled"), ("a", None)]


@awaited
def test_the_loser_is_closed_before_the_answer_is_returned(drive: Driver, gate: Any) -> None:
    host = Slow(a=[gate, "late"], b=["yes"])
    drive(run_of(hedged()), host)

    assert host.open == host.closed == 2


def test_a_sync_loser_closes_its_stream_when_its_next_chunk_comes(gate: Any) -> None:
    host = Slow(a=[gate, "late", "later"], b=["yes"])
    assert _stream(run_of(hedged()), host) == "yes"
    assert host.ended.wait(timeout=10)
    host.ended.clear()
    gate.set()

    assert host.ended.wait(timeout=10)
    assert host.open == host.closed == 2


@every_driver
def test_who_is_given_up_is_no_fault_of_its_candidate(drive: Driver, gate: Any) -> None:
    health = Health(threshold=1)
    drive(run_of(hedged(), health=health), Slow(a=[gate, "late"], b=["yes"]))

    assert health.cooling() == frozenset()


@pytest.mark.parametrize(
    "limits", [Limits(max_calls=1), Limits(budget=1.5), Limits(conversation_budget=1.5), Limits(deadline=0.3)], ids=repr
)
def test_no_rival_is_asked_beyond_a_limit(limits: Limits) -> None:
    costs = {name: Estimate(quality=1.0, cost=1.0) for name in "ab"}
    run = run_of(hedged(0.5 if limits.deadline else SOON, estimates=costs), limits=limits)
    (ask,) = [next(run.steps())]

    assert ask.rivals == {}


def test_a_rival_has_its_own_time_and_no_more_than_the_request() -> None:
    own = candidate("b", timeout=3.0)
    for limits, expected in ((Limits(), 3.0), (Limits(deadline=2.0), 1.5)):
        request = Request(text="hi", candidates=(A, own))
        ask = next(Run(strategy=hedged(0.5, rival=own), request=request, limits=limits).steps())
        assert ask.rivals[0].timeout == pytest.approx(expected, abs=0.2)


@every_driver
def test_what_the_loser_is_known_to_have_used_is_paid(drive: Driver, gate: Any) -> None:
    class Knows(Slow):
        def attempt(self, call: Call, chunks: Any) -> Attempt:
            return Attempt(call=call, text="".join(chunks), cost=0.25 if call.candidate is A else 0.5)

    run, ledger = run_of(hedged(), limits=Limits(conversation_budget=9.0)), Ledger()
    run = run_of(hedged(), limits=Limits(conversation_budget=9.0), ledger=ledger)
    drive(run, Knows(a=[gate, "late"], b=["yes"]))

    assert run.trace.cost == ledger.spent("c") == 0.75


@every_driver
def test_several_calls_at_once_each_have_their_rival(drive: Driver, gate: Any) -> None:
    def rule(request: Request, attempts: Any) -> Any:
        seen = [one for one in attempts if one.error is None]
        return Stop(attempt=seen[-1]) if seen else [Call(candidate=A, hedge=Hedge(candidate=B, after=SOON))] * 2

    run = run_of(Does(rule))

    assert drive(run, Slow(a=[gate, "late"], b=["yes"])).endswith("yes")
    assert sorted(story(run), key=repr) == [("a", "cancelled")] * 2 + [("b", None)] * 2


async def test_a_cancelled_race_ends_both_and_tells_of_both() -> None:
    never = threading.Event()
    for stream in (True, False):
        host, run = Slow(a=["one", never], b=[never]), run_of(hedged(final=stream, gate=Gate(window=9)))
        host.scripts = {"a": [never], "b": [never]} if not stream else host.scripts
        call = _collect(engine.astream(run, host)) if stream else engine.arun(run, host)
        task = asyncio.create_task(call)
        while host.open < (1 if stream else 2):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert host.open == host.closed
        assert run.trace.reason == "the caller left before the end"
        if not stream:
            assert sorted(story(run)) == [("a", "cancelled"), ("b", "cancelled")]


async def _collect(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


async def test_a_reader_who_leaves_after_the_race_pays_for_both() -> None:
    never = threading.Event()
    run = run_of(hedged())
    chunks = engine.astream(run, host := Slow(a=[never], b=["one", "two"]))
    assert await anext(chunks) == "one"
    await chunks.aclose()

    assert host.open == host.closed == 2
    assert story(run) == [("a", "cancelled"), ("b", None)]
    assert run.trace.answer is run.trace.attempts[1]


@every_driver
def test_a_bug_is_raised_as_it_is(drive: Driver, gate: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        drive(run_of(hedged()), Slow(a=[gate], b=[ZeroDivisionError()]))


def test_a_rival_that_is_no_candidate_is_refused() -> None:
    stranger = candidate("stranger")
    call = Call(candidate=A, hedge=Hedge(candidate=stranger, after=1.0))
    with pytest.raises(StrategyError, match="asks 'stranger', which is not among"):
        run_of(Does(lambda *_: call)).decide()


@pytest.mark.parametrize("after", [0.0, -1.0, math.inf, math.nan])
def test_the_time_before_a_rival_must_be_above_zero(after: float) -> None:
    with pytest.raises(ConfigurationError, match=r"Hedge\.after must be finite and above 0 seconds"):
        Hedge(candidate=A, after=after)


class TestRace:
    def test_without_a_good_result_the_first_one_counts(self) -> None:
        slow = threading.Event()

        def first() -> int:
            slow.wait(timeout=10)
            return 0

        def rival() -> int:
            threading.Timer(0.02, slow.set).start()
            return 0

        place, ran = race(first, rival, after=0.01, good=bool)

        assert (place, [one.result() for one in ran]) == (0, [0, 0])

    async def test_async_too(self) -> None:
        async def after(seconds: float, value: int) -> int:
            await asyncio.sleep(seconds)
            return value

        place, ran = await arace(lambda: after(0.05, 0), lambda: after(0.0, 0), after=0.01, good=bool)

        assert (place, [one.result() for one in ran]) == (0, [0, 0])
