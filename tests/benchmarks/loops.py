"""How long a router holds the event loop: the steps of 1,000 calls at once, and a heartbeat beside a steady load."""

import asyncio
import time
from asyncio.events import Handle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from measuring import CONCURRENT, Calls, idle, percentiles, quiet, table

# Milliseconds that a step may hold the loop.
HELD = 5.0
# Seconds between two calls of the steady load, and between two beats.
EVERY, BEAT = 0.005, 0.001


class Step(NamedTuple):
    """One step of the loop: seconds on the clock, and of them those that its thread computed."""

    wall: float
    cpu: float


@contextmanager
def steps() -> Iterator[list[Step]]:
    """Time each step of the loop in the block; while one lasts nothing else in the loop gets on."""
    found: list[Step] = []
    plain = Handle._run

    def timed(handle: Handle) -> None:
        computed, started = time.thread_time(), time.perf_counter()
        plain(handle)
        found.append(Step(time.perf_counter() - started, time.thread_time() - computed))

    Handle._run = timed  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Handle._run = plain  # type: ignore[method-assign]


async def begun(call: Callable[[Any], Any], prompts: Sequence[Any]) -> list[Any]:
    """Start the calls, some in each step, and return the tasks when all are done."""
    running = []
    for index, prompt in enumerate(prompts):
        running.append(asyncio.create_task(call(prompt)))
        if index % 20 == 19:
            await asyncio.sleep(0)
    await asyncio.wait(running)
    return running


def held(calls: Calls, prompt: Callable[[], Any], count: int, rounds: int) -> dict[str, list[Step]]:
    """Return the steps of `count` calls that start at once, by arm."""
    found: dict[str, list[Step]] = {}
    for name, call in calls.items():
        asyncio.run(begun(call, [prompt() for _ in range(10)]))
        with quiet(), steps() as its:
            for _ in range(rounds):
                # What is let go of at the end is the benchmark's, and must not be let go of in a step.
                prompts = [prompt() for _ in range(count)]
                done = asyncio.run(begun(call, prompts))
                del done, prompts
        found[name] = its
    return found


def longest(found: dict[str, list[Step]], prompt: str) -> list[list[Any]]:
    """Return a row by arm: the steps, their p50 and p99, and the longest one."""
    rows = []
    for name, its in found.items():
        cpu = percentiles([step.cpu for step in its])
        most = max(step.cpu for step in its), max(step.wall for step in its)
        rows.append([f"{name}, {prompt}", f"{len(its):,}", cpu[0], cpu[2], *(one * 1e3 for one in most)])
    return rows


def longest_table(rows: Sequence[Sequence[Any]]) -> str:
    return table(["CPU of a step, ms", "steps", "p50", "p99", "longest", "longest on the clock"], rows)


async def beside(call: Callable[[Any], Any], prompts: Sequence[Any]) -> list[float]:
    """Return by how many seconds each beat was late while the calls started one by one."""
    late: list[float] = []

    async def beats() -> None:
        while True:
            due = time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            late.append(time.perf_counter() - due)

    heart = asyncio.create_task(beats())
    running = []
    for prompt in prompts:
        running.append(asyncio.create_task(call(prompt)))
        await asyncio.sleep(EVERY)
    await asyncio.gather(*running)
    heart.cancel()
    await idle(0.01)
    return late


def heartbeats(calls: Calls, prompt: Callable[[], Any]) -> dict[str, list[float]]:
    """Return by how many seconds each beat was late, by arm."""
    late = {}
    for name, call in calls.items():
        with quiet():
            late[name] = asyncio.run(beside(call, [prompt() for _ in range(CONCURRENT)]))
    return late


def heartbeat_rows(late: dict[str, list[float]], prompt: str) -> list[list[Any]]:
    """Return a row by arm: how late the beats are, p50, p99 and the latest."""
    rows = []
    for name, its in late.items():
        p50, _, p99 = percentiles(its)
        rows.append([f"{name}, {prompt}", f"{len(its):,}", p50, p99, max(its) * 1e3])
    return rows


def heartbeat_table(rows: Sequence[Sequence[Any]]) -> str:
    return table(["a beat is late by, ms", "beats", "p50", "p99", "latest"], rows)
