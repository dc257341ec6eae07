"""Timing several arms side by side in one process: random order, warm-up, no garbage collection meanwhile."""

import asyncio
import gc
import math
import random
import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

WARM_UP = 20
# An arm that takes longer (seconds) is called this often at most.
SLOW, SLOW_CALLS = 0.02, 150
RANDOM = random.Random(0)
TURNS = (1, 4, 16, 64, 256)
CONCURRENT = 1000
# Each is one token.
WORDS = [
    *("report", "market", "system", "value", "number", "table", "model", "cost", "price", "water", "river", "house"),
    *("light", "paper", "stone", "large", "small", "first", "second", "early", "write", "read", "find", "compare"),
    *("explain", "prove", "design", "list", "show", "count", "each", "because", "when", "where", "after", "before"),
    *("between", "under", "people", "group", "city", "school", "month", "year", "week", "point", "state", "company"),
]

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


def warm(calls: Calls, prompt: Callable[[], Any], rounds: int) -> Times:
    """Sample calls that are awaited one after the other; they leave nothing to the loop that must be waited for."""

    async def clock(call: Callable[[Any], Any], given: Any) -> float:
        await call(given)
        started = time.perf_counter()
        await call(given)
        return time.perf_counter() - started

    with asyncio.Runner() as runner:
        return sample(lambda call, given: runner.run(clock(call, given)), calls, prompt, rounds)


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


def compared(times: Times, base: str) -> str:
    rows = [[name, percentiles(times[name])[0], *plus] for name, plus in added(times, base).items()]
    return table(["", "p50, ms", "added p50", "added p95", "added p99"], rows)


def verdicts(rows: Sequence[tuple[str, str, bool]]) -> str:
    return table(["goal", "measured", "met"], [[goal, what, "yes" if met else "no"] for goal, what, met in rows])


def text(words: int) -> str:
    """Return a text that nobody has seen, of this many words and a number."""
    return " ".join(RANDOM.choices(WORDS, k=words)) + f" {RANDOM.random()}?"


def grown(calls: Calls, base: str, conversation: Callable[[int], Any], rounds: int) -> tuple[str, dict[str, float]]:
    """Return the table of added p50 by turns, and the exponent with which each arm grows."""
    cost: Times = {name: [] for name in calls}
    for turns in TURNS:
        times = run(calls, partial(conversation, turns), rounds)
        plus = added(times, base)
        for name in calls:
            cost[name].append(percentiles(times[name])[0] if name == base else plus[name][0])
    grows = {name: exponent(its) for name, its in cost.items()}
    rows = [[name if name == base else f"added by {name}", *its, grows[name]] for name, its in cost.items()]
    return table(["p50, ms", *(f"{turns} turns" for turns in TURNS), "exponent"], rows), grows


def exponent(costs: Sequence[float]) -> float:
    """Return e of ``cost = cost at one turn + factor * (turns - 1)**e``, fitted to the three longest conversations."""
    grown = [(turns - 1, cost - costs[0]) for turns, cost in zip(TURNS, costs, strict=True)][-3:]
    points = [(math.log(turns), math.log(cost)) for turns, cost in grown if cost > 0]
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else 0.0


def streams(calls: Calls, base: str, prompt: Callable[[], Any], rounds: int) -> str:
    """Return the table of how long the first chunk takes, and each further one."""
    first: Times = {name: [] for name in calls}
    rest: Times = {name: [] for name in calls}
    with quiet():
        for order in orders(list(calls), WARM_UP + rounds):
            for name in order:
                started = time.perf_counter()
                chunks = calls[name](prompt())
                next(chunks)
                arrived = time.perf_counter()
                further = sum(1 for _ in chunks)
                first[name].append(arrived - started)
                # In microseconds where the tables have milliseconds.
                rest[name].append((time.perf_counter() - arrived) / further * 1e3)
    to_first, to_each = added(first, base), added(rest, base)
    rows = [
        [name, percentiles(first[name])[0], to_first[name][0], percentiles(rest[name])[0], to_each[name][0]]
        for name in calls
    ]
    return table(["p50", "first chunk, ms", "added, ms", "each further chunk, µs", "added, µs"], rows)


async def together(call: Callable[[Any], Any], prompts: Sequence[Any]) -> float:
    """Return the seconds that calls take that start at once."""
    started = time.perf_counter()
    await asyncio.gather(*map(call, prompts))
    return time.perf_counter() - started


async def burst(
    calls: Calls, base: str, prompt: Callable[[], Any], rounds: int
) -> tuple[list[list[Any]], dict[str, float]]:
    """Return rows of calls per second, and the share of `base`'s that each arm reaches."""
    times: Times = {name: [] for name in calls}
    with quiet():
        for order in orders(list(calls), rounds + 1):
            for name in order:
                prompts = [prompt() for _ in range(CONCURRENT)]
                times[name].append(await together(calls[name], prompts))
                await idle(0.05)
                gc.collect()
    rate = {name: CONCURRENT / statistics.median(its[1:]) for name, its in times.items()}
    share = {name: its / rate[base] for name, its in rate.items()}
    return [[name, round(rate[name]), f"{share[name]:.0%}"] for name in calls], share


def in_flight(call: Callable[[Any], Any], prompt: Callable[[], Any]) -> list[float]:
    """Return the MB that 1,000 calls in flight add: to the process, and of Python's own in a second pass."""
    prompts = [prompt() for _ in range(CONCURRENT)]
    asyncio.run(together(call, prompts[:1]))
    before = resident("VmRSS")
    asyncio.run(together(call, prompts))
    grew = resident() - before
    tracemalloc.start()
    asyncio.run(together(call, prompts))
    return [grew, tracemalloc.get_traced_memory()[1] / 1e6]


def resident(word: str = "VmHWM") -> float:
    """Return the MB of the process: at its peak, or with ``VmRSS`` now."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS: bytes
    # Linux hands `ru_maxrss` down from the parent process.
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(word)) * 1024 / 1e6
