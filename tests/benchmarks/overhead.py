"""What a router costs each call: the time it adds to a model that answers at once.

One process, the arms in a new random order each round, a text of its own for each call so that no cache helps, the
garbage collector kept out. Nothing is sent anywhere.

    python tests/benchmarks/overhead.py            # an idle machine, some seven minutes
    python tests/benchmarks/overhead.py --quick    # a look, not a result
"""

import argparse
import asyncio
import gc
import importlib.metadata
import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import overhead_langchain as arms
from measuring import SLOW, SLOW_CALLS, WARM_UP, Calls, Times, added, arun, idle, orders, percentiles, quiet, run, table

TURNS = (1, 4, 16, 64, 256)
CONCURRENT = 1000
LONG = f"{arms.TOKENS:,} tokens"
VERSIONS = ("router_integrations", "langchain-core", "litellm", "langchain-model-router", "cascadeflow")


class Rounds(NamedTuple):
    """How often each part is measured."""

    latency: int = 3000
    litellm: int = 300
    other: int = 500
    bursts: int = 10


def compared(times: Times, base: str) -> str:
    rows = [[name, percentiles(times[name])[0], *plus] for name, plus in added(times, base).items()]
    return table(["", "p50, ms", "added p50", "added p95", "added p99"], rows)


def latency(rounds: Rounds) -> tuple[str, dict[str, dict[str, list[float]]]]:
    """Return the main tables, and what each arm adds to `invoke` by prompt."""
    models = arms.models()
    found, parts = {}, []
    prompts: dict[str, Callable[[], Any]] = {"short prompt": arms.short_prompt, LONG: arms.long_prompt}
    for label, prompt in prompts.items():
        sync = run({name: model.invoke for name, model in models.items()}, prompt, rounds.latency)
        found[label] = added(sync, arms.BARE)
        parts += [f"### `invoke`, {label}\n", compared(sync, arms.BARE), absent(sync)]
        awaited = arun({name: model.ainvoke for name, model in models.items()}, prompt, rounds.other)
        parts += [f"### `ainvoke`, {label}\n", compared(awaited, arms.BARE)]
        over = arun(arms.litellm_calls(), prompt, rounds.litellm)
        parts += [f"### Over LiteLLM's own mocked answer, async, {label}\n", compared(over, arms.BARE_LITELLM)]
    return "\n".join(parts), found


def absent(times: Times) -> str:
    """Return how to install the arms that are not there."""
    return "".join(f"{name} is not installed: `{how}`.\n" for name, how in arms.INSTALL.items() if name not in times)


def by_turns(rounds: int) -> tuple[str, dict[str, float]]:
    """Return the table of added p50 by turns, and the exponent with which each arm grows."""
    calls = {name: model.invoke for name, model in arms.models().items() if name != arms.CASCADEFLOW}
    cost: Times = {name: [] for name in calls}
    for turns in TURNS:
        times = run(calls, partial(arms.conversation, turns), rounds)
        plus = added(times, arms.BARE)
        for name in calls:
            cost[name].append(percentiles(times[name])[0] if name == arms.BARE else plus[name][0])
    grows = {name: exponent(its) for name, its in cost.items()}
    rows = [[name if name == arms.BARE else f"added by {name}", *its, grows[name]] for name, its in cost.items()]
    return table(["p50, ms", *(f"{turns} turns" for turns in TURNS), "exponent"], rows), grows


def exponent(costs: Sequence[float]) -> float:
    """Return e of ``cost = cost at one turn + factor * (turns - 1)**e``, fitted to the three longest conversations."""
    grown = [(turns - 1, cost - costs[0]) for turns, cost in zip(TURNS, costs, strict=True)][-3:]
    points = [(math.log(turns), math.log(cost)) for turns, cost in grown if cost > 0]
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else 0.0


def with_tools(rounds: int) -> str:
    tools = arms.tools(8)
    models = {name: model for name, model in arms.models().items() if name != arms.CASCADEFLOW}
    calls = {name: model.bind_tools(tools).invoke for name, model in models.items()}
    return compared(run(calls, arms.short_prompt, rounds), arms.BARE)


def streamed(rounds: int) -> str:
    models = arms.models()
    first: Times = {name: [] for name in models}
    rest: Times = {name: [] for name in models}
    with quiet():
        for order in orders(list(models), WARM_UP + rounds):
            for name in order:
                started = time.perf_counter()
                chunks = models[name].stream(arms.short_prompt())
                next(chunks)
                arrived = time.perf_counter()
                further = sum(1 for _ in chunks)
                first[name].append(arrived - started)
                # In microseconds where the tables have milliseconds.
                rest[name].append((time.perf_counter() - arrived) / further * 1e3)
    to_first, to_each = added(first, arms.BARE), added(rest, arms.BARE)
    rows = [
        [name, percentiles(first[name])[0], to_first[name][0], percentiles(rest[name])[0], to_each[name][0]]
        for name in models
    ]
    return table(["p50", "first chunk, ms", "added, ms", "each further chunk, µs", "added, µs"], rows)


async def together(call: Callable[[Any], Any], prompts: Sequence[Any]) -> float:
    """Return the seconds that calls take that start at once."""
    started = time.perf_counter()
    await asyncio.gather(*map(call, prompts))
    return time.perf_counter() - started


async def burst(calls: Calls, base: str, rounds: int) -> tuple[list[list[Any]], dict[str, float]]:
    """Return rows of calls per second, and the share of `base`'s that each arm reaches."""
    times: Times = {name: [] for name in calls}
    with quiet():
        for order in orders(list(calls), rounds + 1):
            for name in order:
                prompts = [arms.short_prompt() for _ in range(CONCURRENT)]
                times[name].append(await together(calls[name], prompts))
                await idle(0.05)
                gc.collect()
    rate = {name: CONCURRENT / statistics.median(its[1:]) for name, its in times.items()}
    share = {name: its / rate[base] for name, its in rate.items()}
    return [[name, round(rate[name]), f"{share[name]:.0%}"] for name in calls], share


def throughput(rounds: int) -> tuple[str, dict[str, float]]:
    """Return the tables of calls per second, and the share of the bare model's that `Difficulty` reaches."""
    parts, shares = [], {}
    for delay in (0.0, 0.02, 1.0):
        label = f"a model of {delay * 1e3:.0f} ms"
        models = {name: model for name, model in arms.models(delay=delay).items() if name != arms.CASCADEFLOW}
        rows, share = asyncio.run(burst({n: m.ainvoke for n, m in models.items()}, arms.BARE, rounds))
        parts.append(table([label, "calls/s", "of the bare model"], rows))
        shares[label] = share[arms.DIFFICULTY]
    label = "LiteLLM's client, its answer mocked"
    # The complexity router's logging goes on for seconds after a burst and slows the others.
    calls = {name: call for name, call in arms.litellm_calls().items() if name != arms.COMPLEXITY}
    rows, share = asyncio.run(burst(calls, arms.LITELLM_MODEL, rounds))
    parts.append(table([label, "calls/s", f"of {arms.LITELLM_MODEL}"], rows))
    return "\n".join(parts), {**shares, label: share[arms.OVER_LITELLM]}


def peak(name: str) -> list[float]:
    """Return the MB that 1,000 calls in flight add: to the process, and of Python's own in a second pass."""
    call = arms.models(name, delay=1.0)[name].ainvoke
    prompts = [arms.short_prompt() for _ in range(CONCURRENT)]
    asyncio.run(together(call, prompts[:1]))
    before = resident("VmRSS")
    asyncio.run(together(call, prompts))
    grown = resident() - before
    tracemalloc.start()
    asyncio.run(together(call, prompts))
    return [grown, tracemalloc.get_traced_memory()[1] / 1e6]


def resident(word: str = "VmHWM") -> float:
    """Return the MB of the process: at its peak, or with ``VmRSS`` now."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS: bytes
    # Linux hands `ru_maxrss` down from the parent process.
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(word)) * 1024 / 1e6


def memory() -> str:
    names = [name for name in (arms.BARE, arms.CHAT_ROUTER, arms.FIXED, arms.DIFFICULTY) if arms.models(name)]
    # A process of its own for each: the resident peak of a process never falls.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        rows = [[name, *sizes] for name, sizes in zip(names, pool.map(peak, names), strict=True)]
    return table([f"{CONCURRENT:,} calls in flight, MB", "resident", "allocated by Python"], rows)


def goals(found: Mapping[str, Mapping[str, Sequence[float]]], grows: float, shares: Mapping[str, float]) -> str:
    rows: list[tuple[str, str, bool]] = []
    for label, plus in found.items():
        if arms.CHAT_ROUTER in plus:
            ours, theirs = plus[arms.FIXED][0], plus[arms.CHAT_ROUTER][0]
            goal = f"`Fixed` adds at most what ChatRouter adds, p50, {label}"
            rows.append((goal, f"{ours:.3f} ms against {theirs:.3f} ms", ours <= theirs))
    long = found[LONG][arms.DIFFICULTY][0]
    rows.append((f"`Difficulty` adds less than 0.5 ms, p50, {LONG}", f"{long:.3f} ms", long < 0.5))
    rows.append(
        ("added p50 grows at most linearly with the turns (1.1 allowed)", f"exponent {grows:.2f}", grows <= 1.1)
    )
    for label, share in shares.items():
        rows.append((f"at least 90 % of the throughput, {label}", f"{share:.0%}", share >= 0.9))
    return table(["goal", "measured", "met"], [[goal, what, "yes" if met else "no"] for goal, what, met in rows])


def about() -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    command = " ".join(["python", *sys.orig_argv[1:]])
    return (
        f"{date.today()} · {platform.system()} {platform.machine()}, {_cpu()}, {os.cpu_count()} cores · "
        f"Python {platform.python_version()} · {versions}\n\n"
        f"Made by `{command}`. The bare model answers at once. What an arm adds to a percentile is its own percentile "
        f"less the bare model's. Arms slower than {SLOW * 1e3:.0f} ms are called {SLOW_CALLS} times.\n"
    )


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def measured(rounds: Rounds) -> str:
    before = os.getloadavg()[0]
    latencies, found = latency(rounds)
    turns, grows = by_turns(rounds.other)
    rates, shares = throughput(rounds.bursts)
    tools, stream, sizes = with_tools(rounds.other), streamed(rounds.other), memory()
    parts = {
        "Goals": goals(found, grows[arms.DIFFICULTY], shares),
        "Added latency": latencies,
        "Added latency by turns of the conversation": turns,
        "Added latency of `invoke` with 8 tools bound, short prompt": tools,
        f"A stream of {arms.CHUNKS} chunks": stream,
        f"Throughput: {CONCURRENT:,} concurrent `ainvoke`": rates,
        "Peak memory": sizes,
    }
    load = f"Load average {before:.1f} before, {os.getloadavg()[0]:.1f} after; a run on a busy machine is no result.\n"
    return "\n".join(["# Overhead\n", about(), load, *(f"## {name}\n\n{part}" for name, part in parts.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=["langchain"], default="langchain")
    parser.add_argument("--quick", action="store_true", help="few samples: a look, not a result")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "overhead.md")
    options = parser.parse_args()
    report = measured(Rounds(latency=150, litellm=20, other=60, bursts=2) if options.quick else Rounds())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
