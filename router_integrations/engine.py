"""Runs a strategy: makes the calls that its `Run` asks for and sends back what came of them.

The only module below the adapters that waits. Every decision is in `steps`; here are its drivers: `run` and `stream`,
and their async twins.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, Protocol

from router_integrations.calling import Ask, Wait
from router_integrations.errors import ProviderError
from router_integrations.hedging import arace, ended, race
from router_integrations.live import Live, Race, beaten, cancelled, timed_out
from router_integrations.steps import Run
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call


class Host(Protocol):
    """How a framework makes a call. Methods that call a model raise `ProviderError` when the call fails.

    The engine measures the latency of an attempt unless the host has set one.
    """

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Make `call` and return what came back."""
        ...

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        """Make `call` and return what came back."""
        ...

    def stream(self, call: Call, timeout: float | None) -> Generator[Any, None, None]:
        """Make `call` and yield the host's own chunks."""
        ...

    def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Make `call` and yield the host's own chunks."""
        ...

    def attempt(self, call: Call, chunks: Sequence[Any]) -> Attempt:
        """Return what the streamed `chunks` amount to; there may be none, or more to come.

        Without chunks it is what is known of a call that was cut short, streamed or not: what it has used by then.
        """
        ...

    def replay(self, attempt: Attempt) -> Iterator[Any]:
        """Yield a buffered answer as chunks."""
        ...


def run(run: Run, host: Host) -> Trace:
    """Answer one request; return the trace, whose `answer` is the reply.

    Raises:
        RouterError: There is no answer; the error's `trace` tells what was tried and paid.
    """
    reply: Sequence[Attempt] = ()
    with closing(run.steps()) as steps:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                else:
                    reply = _ask_all(run, host, step)
                step = steps.send(reply)
        except StopIteration as done:
            trace: Trace = done.value
            return trace


async def arun(run: Run, host: Host) -> Trace:
    """Async `run`."""
    reply: Sequence[Attempt] = ()
    with closing(run.steps()) as steps:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                else:
                    reply = await _aask_all(run, host, step)
                step = steps.send(reply)
        except StopIteration as done:
            trace: Trace = done.value
            return trace


def stream(run: Run, host: Host) -> Generator[Any, None, None]:
    """Answer one request, yielding the host's chunks of a final call as they come; `run.trace` is set at the end.

    A call that is not final is buffered, or held back until its gate opens, so a reply that may still be thrown away
    is never shown.

    Raises:
        StreamInterrupted: The stream broke after its first chunk.
        RouterError: There is no answer.
    """
    reply: Sequence[Attempt] = ()
    with closing(run.steps()) as steps:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                elif _is_live(step):
                    live = _live(run, host, step)
                    yield from live.chunks()
                    reply = (live.attempt(),)
                else:
                    reply = _ask_all(run, host, step)
                step = steps.send(reply)
        except StopIteration as done:
            trace: Trace = done.value
    if trace.answer is not None and trace.answer.first_token is None:
        yield from host.replay(trace.answer)


async def astream(run: Run, host: Host) -> AsyncGenerator[Any, None]:
    """Async `stream`."""
    reply: Sequence[Attempt] = ()
    with closing(run.steps()) as steps:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                elif _is_live(step):
                    live = _live(run, host, step)
                    async with aclosing(live.achunks()) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    reply = (live.attempt(),)
                else:
                    reply = await _aask_all(run, host, step)
                step = steps.send(reply)
        except StopIteration as done:
            trace: Trace = done.value
    if trace.answer is not None and trace.answer.first_token is None:
        for chunk in host.replay(trace.answer):
            yield chunk


def _is_live(step: Ask) -> bool:
    return len(step.calls) == 1 and (step.calls[0].final or step.calls[0].gate is not None)


def _live(run: Run, host: Host, step: Ask) -> Live | Race:
    first = Live(run=run, host=host, call=step.calls[0], timeout=step.timeouts[0])
    if (rival := step.rivals.get(0)) is None:
        return first
    other = Live(run=run, host=host, call=rival.call, timeout=rival.timeout)
    return Race(first=first, rival=other, after=rival.after)


def _ask_all(run: Run, host: Host, step: Ask) -> Sequence[Attempt]:
    if len(step.calls) == 1:
        return _counted(run, [_ask_one(host, step, 0)])
    with ThreadPoolExecutor(max_workers=len(step.calls), thread_name_prefix="router-call") as pool:
        # Each thread gets its own copy of the context: it carries the host's run tree.
        jobs = [
            pool.submit(contextvars.copy_context().run, _ask_one, host, step, place) for place in range(len(step.calls))
        ]
        return _counted(run, [job.result() for job in jobs])


async def _aask_all(run: Run, host: Host, step: Ask) -> Sequence[Attempt]:
    started = time.perf_counter()
    asked = [_aask_one(run, host, step, place) for place in range(len(step.calls))]
    if len(asked) == 1:
        try:
            return _counted(run, [await asked[0]])
        except asyncio.CancelledError:
            run.abandoned(cancelled(host, step.calls[0], time.perf_counter() - started))
            raise
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return _counted(run, await asyncio.gather(*tasks))
    except BaseException:
        # A bug in one call leaves none of the others running, and what has come of them is paid for.
        for call, end in zip(step.calls, await ended(tasks), strict=True):
            known = end if isinstance(end, tuple) else (cancelled(host, call, time.perf_counter() - started),)
            for attempt in known:
                run.abandoned(attempt)
        raise


def _counted(run: Run, ends: Sequence[tuple[Attempt, ...]]) -> list[Attempt]:
    """Return the attempt that counts of each call, the first; the run is told of the others."""
    for _, *others in ends:
        for attempt in others:
            run.overtaken(attempt)
    return [end[0] for end in ends]


def _ask_one(host: Host, step: Ask, place: int) -> tuple[Attempt, ...]:
    """Make a call, and its rival's too if it takes long; return the attempt that counts first."""
    call, timeout, rival = step.calls[place], step.timeouts[place], step.rivals.get(place)
    if rival is None:
        return (_ask(host, call, timeout),)
    won, ran = race(
        lambda: _ask(host, call, timeout),
        lambda: _ask(host, rival.call, rival.timeout),
        after=rival.after,
        good=_answered,
    )
    return _ranked(host, (call, rival.call), won, [one.result() if one.done() else None for one in ran])


async def _aask_one(run: Run, host: Host, step: Ask, place: int) -> tuple[Attempt, ...]:
    call, timeout, rival = step.calls[place], step.timeouts[place], step.rivals.get(place)
    if rival is None:
        return (await _aask(host, call, timeout),)
    started: list[float] = []

    async def other() -> Attempt:
        started.append(time.perf_counter())
        return await _aask(host, rival.call, rival.timeout)

    try:
        won, ran = await arace(lambda: _aask(host, call, timeout), other, after=rival.after, good=_answered)
    except asyncio.CancelledError:
        for begun in started:
            run.abandoned(cancelled(host, rival.call, time.perf_counter() - begun))
        raise
    return _ranked(host, (call, rival.call), won, [None if one.cancelled() else one.result() for one in ran])


def _answered(attempt: Attempt) -> bool:
    return attempt.error is None


def _ranked(host: Host, calls: Sequence[Call], won: int, ends: Sequence[Attempt | None]) -> tuple[Attempt, ...]:
    """Return what came of a call and its rival, the attempt that counts first; `None` stands for one given up."""
    known = [end or host.attempt(call, ()) for call, end in zip(calls, ends, strict=False)]
    winner = known[won]
    return (winner, *(beaten(one, winner.call) for place, one in enumerate(known) if place != won))


def _ask(host: Host, call: Call, timeout: float | None) -> Attempt:
    started = time.perf_counter()
    try:
        attempt = host.ask(call, timeout)
    except ProviderError as error:
        attempt = Attempt(call=call, error=error)
    return replace(attempt, latency=attempt.latency or time.perf_counter() - started)


async def _aask(host: Host, call: Call, timeout: float | None) -> Attempt:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout):
            attempt = await host.aask(call, timeout)
    except TimeoutError:
        attempt = replace(host.attempt(call, ()), error=timed_out(timeout))
    except ProviderError as error:
        attempt = Attempt(call=call, error=error)
    return replace(attempt, latency=attempt.latency or time.perf_counter() - started)
