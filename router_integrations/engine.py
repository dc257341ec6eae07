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

from router_integrations.errors import ProviderError
from router_integrations.live import Live, timed_out
from router_integrations.steps import Ask, Run, Wait
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
        """Return what the streamed `chunks` amount to; there may be none, or more to come."""
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
                    reply = _ask_all(host, step)
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
                    reply = await _aask_all(host, step)
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
                    live = Live(run=run, host=host, call=step.calls[0], timeout=step.timeouts[0])
                    yield from live.chunks()
                    reply = (live.attempt(),)
                else:
                    reply = _ask_all(host, step)
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
                    live = Live(run=run, host=host, call=step.calls[0], timeout=step.timeouts[0])
                    async with aclosing(live.achunks()) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    reply = (live.attempt(),)
                else:
                    reply = await _aask_all(host, step)
                step = steps.send(reply)
        except StopIteration as done:
            trace: Trace = done.value
    if trace.answer is not None and trace.answer.first_token is None:
        for chunk in host.replay(trace.answer):
            yield chunk


def _is_live(step: Ask) -> bool:
    return len(step.calls) == 1 and (step.calls[0].final or step.calls[0].gate is not None)


def _ask_all(host: Host, step: Ask) -> Sequence[Attempt]:
    if len(step.calls) == 1:
        return (_ask(host, step.calls[0], step.timeouts[0]),)
    with ThreadPoolExecutor(max_workers=len(step.calls)) as pool:
        # Each thread gets its own copy of the context: it carries the host's run tree.
        jobs = [
            pool.submit(contextvars.copy_context().run, _ask, host, call, timeout)
            for call, timeout in zip(step.calls, step.timeouts, strict=True)
        ]
        return [job.result() for job in jobs]


async def _aask_all(host: Host, step: Ask) -> Sequence[Attempt]:
    asked = [_aask(host, call, timeout) for call, timeout in zip(step.calls, step.timeouts, strict=True)]
    if len(asked) == 1:
        return [await asked[0]]
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        # A bug in one call does not leave the others running.
        for task in tasks:
            task.cancel()


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
        attempt = Attempt(call=call, error=timed_out(timeout))
    except ProviderError as error:
        attempt = Attempt(call=call, error=error)
    return replace(attempt, latency=attempt.latency or time.perf_counter() - started)
