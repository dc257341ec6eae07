"""Timing several arms side by side in one process: random order, warm-up, no garbage collection meanwhile."""

import asyncio
import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

WARM_UP = 20
# An arm that takes longer (seconds) is called this often at most.
SLOW, SLOW_CALLS = 0.02, 150
RANDOM = random.Random(0)

Calls = Mapping[str, Callable[[Any], Any]]
Times = dict[str, list[float]]
Clock = Callable[[Callable[[Any], Any], Any], float]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector out of the timing."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def orders(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Yield the arms in a new order each round, the collector running between rounds only."""
    for index in range(rounds):
        yield RANDOM.sample(names, len(names))
        if index % 100 == 99:
            gc.collect()


def sample(clock: Clock, calls: Calls, prompt: Callable[[], Any], rounds: int) -> Times:
    """Return the seconds that each call took, by arm."""
    warm: Times = {name: [] for name in calls}
    for _ in range(WARM_UP):
        for name, its in warm.items():
            its.append(clock(calls[name], prompt()))
    slow = {name for name, its in warm.items() if statistics.median(its) > SLOW}
    times: Times = {name: [] for name in calls}
    every = max(rounds // SLOW_CALLS, 1)
    with quiet():
        for index, order in enumerate(orders(list(calls), rounds)):
            for name in order:
                if name not in slow or index % every == 0:
                    times[name].append(clock(calls[name], prompt()))
    return times


def run(calls: Calls, prompt: Callable[[], Any], rounds: int) -> Times:
    """Sample plain calls."""
    return sample(_clock, calls, prompt, rounds)


def arun(calls: Calls, prompt: Callable[[], Any], rounds: int) -> Times:
    """Sample calls that are awaited."""
    with asyncio.Runner() as runner:
        return sample(lambda call, given: runner.run(_aclock(call, given)), calls, prompt, rounds)


def _clock(call: Callable[[Any], Any], given: Any) -> float:
    started = time.perf_counter()
    call(given)
    return time.perf_counter() - started


async def _aclock(call: Callable[[Any], Any], given: Any) -> float:
    started = time.perf_counter()
    await call(given)
    took = time.perf_counter() - started
    await idle(0.002)
    return took


async def idle(pause: float) -> None:
    """Wait until what calls left to the loop, such as LiteLLM's logging, is done; it is not the next call's."""
    busy = math.inf
    while busy > pause / 4:
        before = time.process_time()
        await asyncio.sleep(pause)
        busy = time.process_time() - before


def percentiles(seconds: Sequence[float]) -> list[float]:
    """Return p50, p95 and p99 in ms."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return [cuts[percent - 1] * 1e3 for percent in (50, 95, 99)]


def added(times: Times, base: str) -> dict[str, list[float]]:
    """Return the ms that each arm adds to p50, p95 and p99 of `base`."""
    floor = percentiles(times[base])
    return {name: [a - b for a, b in zip(percentiles(its), floor, strict=True)] for name, its in times.items()}


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    shown = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *shown)) + "\n"
