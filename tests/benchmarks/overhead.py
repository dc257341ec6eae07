"""What a router costs each call: the time it adds to a model that answers at once.

One process, the arms in a new random order each round, a text of its own for each call so that no cache helps, the
garbage collector kept out. Nothing is sent anywhere.

    python tests/benchmarks/overhead.py            # an idle machine, some seven minutes
    python tests/benchmarks/overhead.py --framework llama-index    # LlamaIndex instead, some twelve minutes
    python tests/benchmarks/overhead.py --quick    # a look, not a result
    python tests/benchmarks/overhead.py --only cascades    # that section of the results alone, one minute
"""

import argparse
import asyncio
import importlib.metadata
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import overhead_cascades
import overhead_langchain as arms
from measuring import (
    CONCURRENT,
    SLOW,
    SLOW_CALLS,
    Times,
    added,
    arun,
    burst,
    compared,
    grown,
    in_flight,
    run,
    streams,
    table,
    verdicts,
)

RESULTS = {"langchain": "overhead.md", "llama-index": "overhead_llama_index.md"}
LONG = f"{arms.TOKENS:,} tokens"
VERSIONS = ("router_integrations", "langchain-core", "litellm", "langchain-model-router", "cascadeflow")


class Rounds(NamedTuple):
    """How often each part is measured."""

    latency: int = 3000
    litellm: int = 300
    other: int = 500
    bursts: int = 10


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
    return grown(calls, arms.BARE, arms.conversation, rounds)


def with_tools(rounds: int) -> str:
    tools = arms.tools(8)
    models = {name: model for name, model in arms.models().items() if name != arms.CASCADEFLOW}
    calls = {name: model.bind_tools(tools).invoke for name, model in models.items()}
    return compared(run(calls, arms.short_prompt, rounds), arms.BARE)


def streamed(rounds: int) -> str:
    return streams({name: model.stream for name, model in arms.models().items()}, arms.BARE, arms.short_prompt, rounds)


def throughput(rounds: int) -> tuple[str, dict[str, float]]:
    """Return the tables of calls per second, and the share of the bare model's that `Difficulty` reaches."""
    parts, shares = [], {}
    for delay in (0.0, 0.02, 1.0):
        label = f"a model of {delay * 1e3:.0f} ms"
        models = {name: model for name, model in arms.models(delay=delay).items() if name != arms.CASCADEFLOW}
        calls = {name: model.ainvoke for name, model in models.items()}
        rows, share = asyncio.run(burst(calls, arms.BARE, arms.short_prompt, rounds))
        parts.append(table([label, "calls/s", "of the bare model"], rows))
        shares[label] = share[arms.DIFFICULTY]
    label = "LiteLLM's client, its answer mocked"
    # The complexity router's logging goes on for seconds after a burst and slows the others.
    calls = {name: call for name, call in arms.litellm_calls().items() if name != arms.COMPLEXITY}
    rows, share = asyncio.run(burst(calls, arms.LITELLM_MODEL, arms.short_prompt, rounds))
    parts.append(table([label, "calls/s", f"of {arms.LITELLM_MODEL}"], rows))
    return "\n".join(parts), {**shares, label: share[arms.OVER_LITELLM]}


def peak(name: str) -> list[float]:
    """Return the MB that 1,000 calls in flight add: to the process, and of Python's own in a second pass."""
    return in_flight(arms.models(name, delay=1.0)[name].ainvoke, arms.short_prompt)


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
    return verdicts(rows)


def about(packages: Sequence[str]) -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
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


def measured(rounds: Rounds) -> dict[str, str]:
    """Return the sections of LangChain's report by title."""
    latencies, found = latency(rounds)
    turns, grows = by_turns(rounds.other)
    rates, shares = throughput(rounds.bursts)
    tools, stream, sizes = with_tools(rounds.other), streamed(rounds.other), memory()
    return {
        "Goals": goals(found, grows[arms.DIFFICULTY], shares),
        "Added latency": latencies,
        "Added latency by turns of the conversation": turns,
        "Added latency of `invoke` with 8 tools bound, short prompt": tools,
        f"A stream of {arms.CHUNKS} chunks": stream,
        f"Throughput: {CONCURRENT:,} concurrent `ainvoke`": rates,
        "Peak memory": sizes,
        "Cascades": overhead_cascades.cascades(rounds.latency),
    }


def whole(framework: str, rounds: Rounds) -> str:
    before = os.getloadavg()[0]
    if framework == "langchain":
        title, versions, parts = "Overhead", VERSIONS, measured(rounds)
    else:
        import llama_index_report as llama_index

        title, versions = "Overhead in LlamaIndex", llama_index.VERSIONS
        parts = llama_index.measured(rounds.latency, rounds.other, rounds.bursts)
    load = f"Load average {before:.1f} before, {os.getloadavg()[0]:.1f} after; a run on a busy machine is no result.\n"
    sections = [f"## {name}\n\n{part}" for name, part in parts.items()]
    return "\n".join([f"# {title}\n", about(versions), load, *sections])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=list(RESULTS), default="langchain")
    parser.add_argument("--quick", action="store_true", help="few samples: a look, not a result")
    parser.add_argument("--out", type=Path, help=f"by default one of {list(RESULTS.values())} in results/")
    parser.add_argument("--only", choices=["cascades"], help="measure this section, and leave the others as they are")
    options = parser.parse_args()
    rounds = Rounds(latency=150, litellm=20, other=60, bursts=2) if options.quick else Rounds()
    out = options.out or Path(__file__).parent / "results" / RESULTS[options.framework]
    if options.only:
        section = overhead_cascades.cascades(rounds.latency)
        report = overhead_cascades.replaced(out.read_text(encoding="utf-8"), section)
    else:
        report = whole(options.framework, rounds)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
