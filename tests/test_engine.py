from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from typing import Any

import pytest

from router_integrations import engine
from router_integrations.candidates import Candidate
from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    ProviderError,
    RouterError,
    StreamInterrupted,
)
from router_integrations.health import Health
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Request, Stop, Usage

CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")
DOWN = ProviderError("down", family="not_found")
BUSY = ProviderError("busy", family="rate_limit", retry_after=0.01)
USAGE = Usage(input_tokens=10, output_tokens=5)


def candidate(name: str, **fields: Any) -> Candidate:
    return Candidate(name, model=object(), **fields)


A, B = candidate("a"), candidate("b")


class Does:
    def __init__(self, rule: Callable[[Request, Sequence[Attempt]], Any]) -> None:
        self.decide = lambda request, attempts=(): rule(request, attempts)


FINAL = Does(lambda request, _: Call(candidate=request.candidates[0], final=True))
DRAFT = Does(
    lambda request, attempts: (
        Stop(attempt=attempts[-1])
        if attempts and attempts[-1].error is None
        else Call(candidate=request.candidates[0], final=False)
    )
)
ALL = Does(
    lambda request, attempts: (
        Stop(attempt=attempts[0], reason="first of all")
        if attempts
        else [Call(candidate=one) for one in request.candidates]
    )
)


class Scripted:
    """A host whose candidates play a script: a list of texts to stream, with an error or a pause in between."""

    def __init__(self, **scripts: Sequence[Any]) -> None:
        self.scripts = scripts
        self.open = 0
        self.closed = 0
        self.callers: dict[str, str] = {}

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        self.callers[call.candidate.name] = CALLER.get()
        return self.attempt(call, list(self._play(call)))

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        self.callers[call.candidate.name] = CALLER.get()
        return self.attempt(call, [chunk async for chunk in self.astream(call, timeout)])

    def stream(self, call: Call, timeout: float | None) -> Generator[str, None, None]:
        self.open += 1
        try:
            yield from self._play(call)
        finally:
            self.closed += 1

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[str, None]:
        self.open += 1
        try:
            for part in self.scripts[call.candidate.name]:
                await _meet(part)
                if isinstance(part, str):
                    yield part
        finally:
            self.closed += 1

    def attempt(self, call: Call, chunks: Sequence[str]) -> Attempt:
        text = "".join(chunks)
        return Attempt(call=call, text=text, usage=USAGE if text else None, native=text)

    def replay(self, attempt: Attempt) -> Iterator[str]:
        yield f"replayed {attempt.text}"

    def _play(self, call: Call) -> Iterator[str]:
        for part in self.scripts[call.candidate.name]:
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, threading.Barrier):
                part.wait(timeout=10)
            else:
                yield part


async def _meet(part: Any) -> None:
    if isinstance(part, BaseException):
        raise part
    if isinstance(part, asyncio.Barrier):
        await part.wait()
    if isinstance(part, asyncio.Event):
        await part.wait()


Driver = Callable[[Run, Scripted], list[str]]


def _run(run: Run, host: Scripted) -> list[str]:
    return [engine.run(run, host).answer.text]


def _arun(run: Run, host: Scripted) -> list[str]:
    return [asyncio.run(engine.arun(run, host)).answer.text]


def _stream(run: Run, host: Scripted) -> list[str]:
    return list(engine.stream(run, host))


def _astream(run: Run, host: Scripted) -> list[str]:
    async def collect() -> list[str]:
        return [chunk async for chunk in engine.astream(run, host)]

    return asyncio.run(collect())


every_driver = pytest.mark.parametrize("drive", [_run, _arun, _stream, _astream])
streamed = pytest.mark.parametrize("drive", [_stream, _astream])
buffered = pytest.mark.parametrize("drive", [_run, _arun])


def run_of(strategy: Any, *candidates: Candidate, **options: Any) -> Run:
    return Run(strategy=strategy, request=Request(text="hi", candidates=candidates or (A, B)), **options)


class TestEveryDriver:
    @every_driver
    def test_an_answer_comes_with_its_trace(self, drive: Driver) -> None:
        run = run_of(FINAL)

        assert "".join(drive(run, Scripted(a=["yes"]))) == "yes"
        assert run.trace.answer is run.trace.attempts[0]
        assert run.trace.answer.usage == USAGE
        assert run.trace.answer.native == "yes"
        assert run.trace.answer.latency > 0

    @every_driver
    def test_a_failure_goes_to_the_next_candidate(self, drive: Driver) -> None:
        run = run_of(FINAL)

        assert "".join(drive(run, Scripted(a=[DOWN], b=["yes"]))) == "yes"
        assert [attempt.error for attempt in run.trace.attempts] == [DOWN, None]
        assert all(attempt.latency > 0 for attempt in run.trace.attempts)

    @every_driver
    def test_a_passing_failure_is_waited_out(self, drive: Driver) -> None:
        host = Scripted(a=[BUSY])
        run = run_of(
            Does(lambda request, _: Call(candidate=request.candidates[0], final=True)), candidate("a", max_retries=1)
        )

        with pytest.raises(AllCandidatesFailed, match="busy"):
            drive(run, host)
        assert len(run.trace.attempts) == 2

    @every_driver
    def test_all_failed_carries_the_trace(self, drive: Driver) -> None:
        run = run_of(FINAL)
        with pytest.raises(AllCandidatesFailed) as caught:
            drive(run, Scripted(a=[DOWN], b=[DOWN]))

        assert caught.value.trace is run.trace
        assert len(run.trace.attempts) == 2

    @every_driver
    def test_to_abstain_is_an_error(self, drive: Driver) -> None:
        with pytest.raises(Abstained):
            drive(run_of(Does(lambda *_: Stop())), Scripted())

    @every_driver
    def test_a_bug_of_the_host_is_raised_as_it_is_and_releases_the_trial(self, drive: Driver) -> None:
        health = _half_open("a")
        with pytest.raises(ZeroDivisionError):
            drive(run_of(FINAL, health=health), Scripted(a=[ZeroDivisionError()]))

        assert health.cooling() == frozenset()

    @every_driver
    def test_calls_made_at_once_overlap_and_see_the_callers_context(self, drive: Driver) -> None:
        is_async = drive in (_arun, _astream)
        barrier = asyncio.Barrier(2) if is_async else threading.Barrier(2)
        host = Scripted(a=[barrier, "one"], b=[barrier, "two"])
        run = run_of(ALL)
        token = CALLER.set("me")
        try:
            drive(run, host)
        finally:
            CALLER.reset(token)

        assert [attempt.text for attempt in run.trace.attempts] == ["one", "two"]
        assert host.callers == {"a": "me", "b": "me"}

    @every_driver
    def test_of_calls_made_at_once_one_may_fail(self, drive: Driver) -> None:
        run = run_of(ALL)
        drive(run, Scripted(a=["one"], b=[DOWN]))

        assert [attempt.error for attempt in run.trace.attempts] == [None, DOWN]

    @every_driver
    def test_a_latency_that_the_host_knows_is_kept(self, drive: Driver) -> None:
        class Recorded(Scripted):
            def attempt(self, call: Call, chunks: Sequence[str]) -> Attempt:
                return Attempt(call=call, text="".join(chunks), latency=42.0)

        run = run_of(FINAL)
        drive(run, Recorded(a=["yes"]))

        assert run.trace.answer.latency == 42.0


class TestStreaming:
    @streamed
    def test_a_final_call_is_passed_on_chunk_by_chunk(self, drive: Driver) -> None:
        run = run_of(FINAL)

        assert drive(run, Scripted(a=["y", "e", "s"])) == ["y", "e", "s"]
        assert 0 < run.trace.answer.first_token <= run.trace.answer.latency

    def test_the_first_chunk_is_shown_before_the_second_is_there(self) -> None:
        host = Scripted(a=["first", ZeroDivisionError()])
        chunks = engine.stream(run_of(FINAL), host)

        assert next(chunks) == "first"
        chunks.close()

    async def test_the_first_chunk_is_shown_before_the_second_is_there_async(self) -> None:
        second = asyncio.Event()
        chunks = engine.astream(run_of(FINAL), Scripted(a=["first", second, "second"]))

        assert await anext(chunks) == "first"
        second.set()
        assert await anext(chunks) == "second"
        await chunks.aclose()

    @streamed
    def test_a_call_that_may_be_thrown_away_is_not_shown_until_it_is_the_answer(self, drive: Driver) -> None:
        strategy = Does(
            lambda request, attempts: (
                Call(candidate=request.candidates[len(attempts)]) if len(attempts) < 2 else Stop(attempt=attempts[1])
            )
        )
        assert drive(run_of(strategy), Scripted(a=["draft"], b=["better"])) == ["replayed better"]

    @streamed
    def test_a_draft_then_a_final_call_shows_only_the_final_one(self, drive: Driver) -> None:
        strategy = Does(
            lambda request, attempts: Call(candidate=request.candidates[len(attempts)], final=len(attempts) == 1)
        )
        assert drive(run_of(strategy), Scripted(a=["draft"], b=["bet", "ter"])) == ["bet", "ter"]

    @streamed
    def test_a_fault_before_the_first_chunk_goes_to_the_next_candidate(self, drive: Driver) -> None:
        assert drive(run_of(FINAL), Scripted(a=[DOWN], b=["y", "es"])) == ["y", "es"]

    @streamed
    def test_a_stream_without_a_chunk_is_a_fault(self, drive: Driver) -> None:
        run = run_of(FINAL)

        assert drive(run, Scripted(a=[], b=["yes"])) == ["yes"]
        assert run.trace.attempts[0].error.family == "malformed"

    @streamed
    def test_a_fault_after_the_first_chunk_is_an_error_and_no_repeated_text(self, drive: Driver) -> None:
        broken = ProviderError("reset", family="connection")
        health = Health(threshold=1)
        run = run_of(FINAL, candidate("a", max_retries=5), B, health=health)
        shown: list[str] = []
        with pytest.raises(StreamInterrupted, match=r"'a' broke after its first chunk \(reset\); ask again") as caught:
            _show(drive, run, Scripted(a=["one ", "two ", broken], b=["one two three"]), shown)

        assert shown == ["one ", "two "]
        assert caught.value.__cause__ is broken
        (attempt,) = caught.value.trace.attempts
        assert (attempt.text, attempt.error, attempt.usage) == ("one two ", broken, USAGE)
        assert caught.value.trace.answer is None
        assert run.trace is caught.value.trace
        assert health.cooling() == {"a"}


def _show(drive: Driver, run: Run, host: Scripted, shown: list[str]) -> None:
    """Stream as `drive` does, keeping what was shown before an error."""
    if drive is _stream:
        for chunk in engine.stream(run, host):
            shown.append(chunk)
        return

    async def collect() -> None:
        async for chunk in engine.astream(run, host):
            shown.append(chunk)

    asyncio.run(collect())


def _half_open(name: str) -> Health:
    """A health whose candidate has rested, so that its next call is the trial."""
    now = iter([0.0])
    health = Health(threshold=1, cooldown=1, clock=lambda: next(now, 100.0))
    health.record(name, ProviderError("down", family="server"))
    return health


class Keeps(Scripted):
    """A host that holds on to its generator, so that nobody closes it by forgetting it."""

    def stream(self, call: Call, timeout: float | None) -> Generator[str, None, None]:
        self.kept = super().stream(call, timeout)
        return self.kept


class TestGivingUp:
    def test_an_abandoned_stream_closes_the_hosts(self) -> None:
        host, health = Keeps(a=["one", "two"]), _half_open("a")
        chunks = engine.stream(run_of(FINAL, health=health), host)
        next(chunks)
        assert health.cooling() == {"a"}
        chunks.close()

        assert (host.open, host.closed) == (1, 1)
        assert health.cooling() == frozenset()

    async def test_an_abandoned_async_stream_closes_the_hosts(self) -> None:
        host, health = Scripted(a=["one", "two"]), _half_open("a")
        chunks = engine.astream(run_of(FINAL, health=health), host)
        await anext(chunks)
        assert health.cooling() == {"a"}
        await chunks.aclose()

        assert (host.open, host.closed) == (1, 1)
        assert health.cooling() == frozenset()

    @pytest.mark.parametrize("strategy", [FINAL, DRAFT, ALL], ids=["final", "draft", "several"])
    async def test_a_cancelled_call_is_cancelled_at_the_host(self, strategy: Does) -> None:
        never = asyncio.Event()
        host, health = Scripted(a=[never], b=[never]), _half_open("a")
        task = asyncio.create_task(engine.arun(run_of(strategy, health=health), host))
        while not host.open:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert host.open == host.closed
        assert health.cooling() == frozenset()

    async def test_a_bug_in_one_call_cancels_the_others(self) -> None:
        host = Scripted(a=[ZeroDivisionError()], b=[asyncio.Event()])
        with pytest.raises(ZeroDivisionError):
            await engine.arun(run_of(ALL), host)
        await asyncio.sleep(0)

        assert host.open == host.closed == 2

    async def test_a_cancelled_stream_is_cancelled_at_the_host(self) -> None:
        host, health = Scripted(a=["one", asyncio.Event()]), _half_open("a")
        started = asyncio.Event()

        async def consume() -> None:
            async for _ in engine.astream(run_of(FINAL, health=health), host):
                started.set()

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert (host.open, host.closed) == (1, 1)
        assert health.cooling() == frozenset()


class TestTime:
    @pytest.mark.parametrize("strategy", [FINAL, DRAFT, ALL], ids=["final", "draft", "several"])
    async def test_a_hanging_call_times_out(self, strategy: Does) -> None:
        hangs = candidate("a", timeout=0.01)
        run = run_of(strategy, hangs)
        with pytest.raises(AllCandidatesFailed, match=r"no answer within 0\.01 s") as caught:
            await engine.arun(run, Scripted(a=[asyncio.Event()]))

        assert caught.value.trace.attempts[0].error.family == "timeout"

    async def test_a_stream_that_never_starts_times_out_and_goes_on(self) -> None:
        run = run_of(FINAL, candidate("a", timeout=0.01), B)
        host = Scripted(a=[asyncio.Event()], b=["yes"])

        assert [chunk async for chunk in engine.astream(run, host)] == ["yes"]
        assert run.trace.attempts[0].error.family == "timeout"
        assert host.open == host.closed

    async def test_a_stream_that_falls_silent_is_interrupted(self) -> None:
        run = run_of(FINAL, candidate("a", timeout=0.01), B)
        with pytest.raises(StreamInterrupted, match="no answer within"):
            [chunk async for chunk in engine.astream(run, Scripted(a=["one", asyncio.Event()], b=["yes"]))]

    async def test_a_slow_reader_is_no_silence(self) -> None:
        run = run_of(FINAL, candidate("a", timeout=0.05))
        found = []
        async for chunk in engine.astream(run, Scripted(a=["one", "two"])):
            await asyncio.sleep(0.1)
            found.append(chunk)

        assert found == ["one", "two"]

    def test_the_host_is_told_how_long_a_call_may_take(self) -> None:
        class Notes(Scripted):
            def ask(self, call: Call, timeout: float | None) -> Attempt:
                told.append(timeout)
                return super().ask(call, timeout)

        told: list[float | None] = []
        engine.run(run_of(DRAFT, candidate("a", timeout=7.0)), Notes(a=["yes"]))
        engine.run(run_of(DRAFT, A, limits=Limits(deadline=1000)), Notes(a=["yes"]))

        assert told[0] == 7.0
        assert told[1] == pytest.approx(1000, abs=60)

    async def test_a_wait_does_not_block_the_loop(self) -> None:
        run = run_of(FINAL, candidate("a", max_retries=1))
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticker = asyncio.create_task(tick())
        with pytest.raises(RouterError):
            await engine.arun(run, Scripted(a=[BUSY]))
        ticker.cancel()

        assert ticks > 10


def test_one_host_and_one_health_serve_many_threads() -> None:
    host, health = Scripted(a=["yes"], b=["yes"]), Health()
    traces: list[Trace] = []

    def work() -> None:
        for _ in range(50):
            traces.append(engine.run(run_of(FINAL, health=health), host))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(traces) == 400
    assert {trace.answer.text for trace in traces} == {"yes"}


async def test_many_requests_share_a_loop() -> None:
    host = Scripted(a=["yes"])
    runs = [run_of(FINAL) for _ in range(200)]
    traces = await asyncio.gather(*(engine.arun(run, host) for run in runs))

    assert {trace.answer.text for trace in traces} == {"yes"}
    assert host.open == host.closed == 200
