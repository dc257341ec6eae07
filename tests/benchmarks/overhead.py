"""What a router costs each call: time added to a model that answers at once, in one process, arms in random order.

    python tests/benchmarks/overhead.py            # an idle machine, some ten minutes
    python tests/benchmarks/overhead.py --quick    # a look, not a result

Nothing is sent anywhere. Each call gets a text of its own, so that no cache helps.
"""

import argparse
import asyncio
import gc
import importlib.metadata
import math
import multiprocessing
import os
import platform
import random
import resource
import statistics
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, create_model

from router_integrations import Candidate, Fixed
from router_integrations.langchain import RouterChatModel
from router_integrations.tokens import count_tokens

# Before anybody imports litellm, which would fetch it.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

BARE, CHAT_ROUTER, FIXED, DIFFICULTY = (
    "bare model",
    "ChatRouter",
    "RouterChatModel, Fixed",
    "RouterChatModel, Difficulty",
)
BARE_LITELLM, COMPLEXITY = "litellm.acompletion", "LiteLLM complexity router"
LITELLM_IDS = f"{DIFFICULTY}, over LiteLLM ids"
TURNS = (1, 4, 16, 64, 256)
CHUNKS, CONCURRENT, TOKENS = 200, 1000, 2000
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
WORDS = (
    "report market system value number table model cost price water river house light paper stone "
    "large small first second early write read find compare explain prove design list show count each because "
    "when where after before between under people group city school month year week point state company"
).split()
VERSIONS = ("router_integrations", "langchain-core", "litellm", "langchain-model-router", "cascadeflow")
RANDOM = random.Random(0)


class Rounds(NamedTuple):
    """How often each part is measured."""

    latency: int = 3000
    litellm: int = 300
    other: int = 500
    bursts: int = 10


class Fake(BaseChatModel):
    """Answers after `delay` seconds; streams 200 chunks."""

    model_name: str = "gpt-4o-mini"
    delay: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        stamp = {"model_name": self.model_name, "finish_reason": "stop"}
        answer = AIMessage("Yes, that is right.", response_metadata=stamp, usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.delay:
            await asyncio.sleep(self.delay)
        return self._generate(messages)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for index in range(CHUNKS):
            position = "last" if index == CHUNKS - 1 else None
            yield ChatGenerationChunk(message=AIMessageChunk(content=" word", chunk_position=position))

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[tool.model_json_schema() for tool in tools], **kwargs)


def text(words: int) -> str:
    return " ".join(RANDOM.choices(WORDS, k=words)) + f" {RANDOM.random()}?"


def short_prompt() -> list[BaseMessage]:
    return [HumanMessage(text(10))]


def long_prompt() -> list[BaseMessage]:
    # A word of the list is one token, the number at the end about ten.
    return [HumanMessage(text(TOKENS - 10))]


def conversation(turns: int) -> list[BaseMessage]:
    trace = {"router": {"candidate": "a", "model": "gpt-4o-mini"}}
    history: list[BaseMessage] = []
    for _ in range(turns - 1):
        history += HumanMessage(text(20)), AIMessage(text(20), response_metadata=trace)
    return [*history, HumanMessage(text(20))]


def routers(delay: float = 0.0) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the LangChain models by name, and how to install those that are missing."""
    a, b = Fake(delay=delay), Fake(model_name="gpt-4o", delay=delay)
    pool = [Candidate("a", model=a), Candidate("b", model=b)]
    models = {BARE: a, "with_fallbacks": a.with_fallbacks([b])}
    missing = {}
    for name, install, make in (
        (CHAT_ROUTER, "langchain-model-router==0.1.0", chat_router),
        ("cascadeflow", "'cascadeflow[langchain]==1.2.0'", cascadeflow),
    ):
        try:
            models[name] = make(a, b)
        except ImportError:
            missing[name] = f"`pip install {install}`"
    models[FIXED] = RouterChatModel(candidates=pool, strategy=Fixed(name="a"))
    models[DIFFICULTY] = RouterChatModel(candidates=pool)
    return models, missing


def chat_router(a: BaseChatModel, b: BaseChatModel) -> Any:
    from langchain_model_router import ChatRouter

    return ChatRouter(routes={"a": a, "b": b}, default_route="a", strategy=lambda request: "a")


def cascadeflow(a: BaseChatModel, b: BaseChatModel) -> Any:
    from cascadeflow.langchain import CascadeFlow

    every = ["trivial", "simple", "moderate", "hard", "expert"]
    return CascadeFlow(drafter=a, verifier=b, quality_threshold=0.0, cascade_complexities=every)


def litellm_calls() -> dict[str, Callable[[Any], Any]]:
    import litellm

    litellm.suppress_debug_info = True
    mock = {"api_key": "none", "mock_response": "Yes, that is right."}
    small, big = "openai/gpt-4o-mini", "openai/gpt-4o"
    tiers = {"SIMPLE": small, "MEDIUM": small, "COMPLEX": big, "REASONING": big}
    smart = {"model": "auto_router/complexity_router", "complexity_router_config": {"tiers": tiers}}
    deployments = [{"model_name": name, "litellm_params": {"model": name, **mock}} for name in (small, big)]
    router = litellm.Router(
        model_list=[
            *deployments,
            {"model_name": "smart", "litellm_params": {**smart, "complexity_router_default_model": small}},
        ]
    )
    ours = RouterChatModel(candidates=[Candidate(small, params=mock), Candidate(big, params=mock)])
    return {
        BARE_LITELLM: lambda messages: litellm.acompletion(model=small, messages=messages, **mock),
        COMPLEXITY: lambda messages: router.acompletion(model="smart", messages=messages),
        LITELLM_IDS: ours.ainvoke,
    }


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


def sample(calls: Mapping[str, Callable[[Any], Any]], prompt: Callable[[], Any], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each call by arm."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for order in orders(list(calls), 20):
        for name in order:
            calls[name](prompt())
    with quiet():
        for order in orders(list(calls), rounds):
            for name in order:
                call, given = calls[name], prompt()
                started = time.perf_counter()
                call(given)
                times[name].append(time.perf_counter() - started)
    return times


async def asample(
    calls: Mapping[str, Callable[[Any], Any]], prompt: Callable[[], Any], rounds: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for order in orders(list(calls), 20):
        for name in order:
            await calls[name](prompt())
    with quiet():
        for order in orders(list(calls), rounds):
            for name in order:
                call, given = calls[name], prompt()
                started = time.perf_counter()
                await call(given)
                times[name].append(time.perf_counter() - started)
                # What a call leaves to the loop, such as LiteLLM's logging, is not the next one's.
                await asyncio.sleep(0.001)
    return times


def percentiles(seconds: Sequence[float]) -> list[float]:
    cuts = statistics.quantiles(seconds, n=100)
    return [cuts[50 - 1] * 1e3, cuts[95 - 1] * 1e3, cuts[99 - 1] * 1e3]


def added(times: Mapping[str, Sequence[float]], base: str) -> dict[str, list[float]]:
    """Return the ms that each arm adds to p50, p95 and p99 of `base`."""
    floor = percentiles(times[base])
    return {name: [a - b for a, b in zip(percentiles(its), floor, strict=True)] for name, its in times.items()}


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    shown = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *shown)) + "\n"


def latency(rounds: Rounds) -> tuple[str, dict[str, dict[str, list[float]]]]:
    """Return the main tables, and what each arm adds by prompt."""
    models, missing = routers()
    found, parts = {}, []
    for label, prompt in (("short prompt", short_prompt), (f"{TOKENS:,} tokens", long_prompt)):
        sync = sample({name: model.invoke for name, model in models.items()}, prompt, rounds.latency)
        found[label] = added(sync, BARE)
        asynchronous = asyncio.run(asample({n: m.ainvoke for n, m in models.items()}, prompt, rounds.other))
        parts += [f"### invoke, {label}\n", compared(sync, BARE, missing)]
        parts += [f"### ainvoke, {label}\n", compared(asynchronous, BARE, missing)]
        served = asyncio.run(asample(litellm_calls(), lambda: as_openai(prompt()), rounds.litellm))
        parts += [f"### over LiteLLM with a mocked answer, async, {label}\n", compared(served, BARE_LITELLM, {})]
    return "\n".join(parts), found


def as_openai(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": message.content} for message in messages]


def compared(times: Mapping[str, Sequence[float]], base: str, missing: Mapping[str, str]) -> str:
    rows = [[name, percentiles(times[name])[0], *plus] for name, plus in added(times, base).items()]
    rows += [[name, f"not installed: {how}", "", "", ""] for name, how in missing.items()]
    return table(["", "p50, ms", "added p50", "added p95", "added p99"], rows)


def by_turns(rounds: int) -> tuple[str, dict[str, float]]:
    """Return the table of added p50 by turns, and the exponent with which each arm grows."""
    models = {name: model for name, model in routers()[0].items() if name not in ("cascadeflow", "with_fallbacks")}
    calls = {name: model.invoke for name, model in models.items()}
    cost: dict[str, list[float]] = {name: [] for name in calls}
    for turns in TURNS:
        times = sample(calls, lambda turns=turns: conversation(turns), rounds)
        for name in calls:
            base = 0.0 if name == BARE else statistics.median(times[BARE])
            cost[name].append((statistics.median(times[name]) - base) * 1e3)
    grows = {name: exponent(its) for name, its in cost.items()}
    rows = [[name if name == BARE else f"added by {name}", *its, grows[name]] for name, its in cost.items()]
    return table(["p50, ms", *(f"{turns} turns" for turns in TURNS), "exponent"], rows), grows


def exponent(costs: Sequence[float]) -> float:
    """Return e of ``cost = cost at one turn + factor * (turns - 1)**e``, fitted to the three longest conversations."""
    grown = [(turns - 1, cost - costs[0]) for turns, cost in zip(TURNS, costs, strict=True)][-3:]
    points = [(math.log(turns), math.log(cost)) for turns, cost in grown if cost > 0]
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else 0.0


def with_tools(rounds: int) -> str:
    tools = [create_model(f"Tool{i}", __doc__=text(12), city=(str, Field(description=text(5)))) for i in range(8)]
    calls = {n: m.bind_tools(tools).invoke for n, m in routers()[0].items() if hasattr(m, "bind_tools")}
    return compared(sample(calls, short_prompt, rounds), BARE, {})


def streamed(rounds: int) -> str:
    models = routers()[0]
    first: dict[str, list[float]] = {name: [] for name in models}
    each: dict[str, list[float]] = {name: [] for name in models}
    with quiet():
        for order in orders(list(models), rounds):
            for name in order:
                started = time.perf_counter()
                chunks = models[name].stream(short_prompt())
                next(chunks)
                arrived = time.perf_counter()
                count = sum(1 for _ in chunks)
                first[name].append(arrived - started)
                each[name].append((time.perf_counter() - arrived) / count)
    to_first, per_chunk = (added(times, BARE) for times in (first, each))
    rows = [
        [
            name,
            percentiles(first[name])[0],
            to_first[name][0],
            percentiles(each[name])[0] * 1e3,
            per_chunk[name][0] * 1e3,
        ]
        for name in models
    ]
    return table(["", "first chunk p50, ms", "added, ms", "each further chunk p50, µs", "added, µs"], rows)


async def together(model: Any) -> float:
    """Return the seconds that 1,000 calls take that start at once."""
    prompts = [short_prompt() for _ in range(CONCURRENT)]
    started = time.perf_counter()
    await asyncio.gather(*map(model.ainvoke, prompts))
    return time.perf_counter() - started


def throughput(rounds: int) -> tuple[str, dict[float, float]]:
    """Return the table of calls per second, and the share of the bare model's that `Difficulty` reaches by delay."""
    rows, shares = [], {}
    for delay in (0.0, 0.02, 1.0):
        models = routers(delay)[0]
        times: dict[str, list[float]] = {name: [] for name in models if name != "cascadeflow"}
        with quiet():
            for order in orders(list(times), rounds):
                for name in order:
                    times[name].append(asyncio.run(together(models[name])))
                    gc.collect()
        rate = {name: CONCURRENT / statistics.median(its) for name, its in times.items()}
        rows += [[f"{name}, {delay * 1e3:.0f} ms", round(its), f"{its / rate[BARE]:.0%}"] for name, its in rate.items()]
        shares[delay] = rate[DIFFICULTY] / rate[BARE]
    return table([f"{CONCURRENT:,} concurrent ainvoke", "calls/s", "of the bare model"], rows), shares


def peak(name: str) -> list[float]:
    """Return the MB that 1,000 concurrent calls add: to the process, and of Python's own in a second pass."""
    model = routers(delay=1.0)[0][name]
    model.invoke(short_prompt())
    before = resident()
    asyncio.run(together(model))
    grown = resident() - before
    tracemalloc.start()
    asyncio.run(together(model))
    return [grown, tracemalloc.get_traced_memory()[1] / 1e6]


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def memory() -> str:
    names = (BARE, FIXED, DIFFICULTY)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        rows = [[name, *sizes] for name, sizes in zip(names, pool.map(peak, names), strict=True)]
    return table([f"{CONCURRENT:,} calls in flight", "RSS, MB", "tracemalloc peak, MB"], rows)


def goals(found: Mapping[str, Mapping[str, Sequence[float]]], grows: float, shares: Mapping[float, float]) -> str:
    rows: list[list[Any]] = []
    for label, plus in found.items():
        if CHAT_ROUTER in plus:
            told = f"{plus[FIXED][0]:.3f} ms against {plus[CHAT_ROUTER][0]:.3f} ms"
            rows.append(
                [f"added p50 with `Fixed` at most ChatRouter's, {label}", told, plus[FIXED] <= plus[CHAT_ROUTER]]
            )
    long = found[f"{TOKENS:,} tokens"][DIFFICULTY][0]
    rows.append([f"added p50 with `Difficulty` under 0.5 ms, {TOKENS:,} tokens", f"{long:.3f} ms", long < 0.5])
    rows.append(["no faster than linear in turns (exponent up to 1.1)", f"{grows:.2f}", grows <= 1.1])
    rows += [
        [f"throughput at least 90 %, a model of {delay * 1e3:.0f} ms", f"{share:.0%}", share >= 0.9]
        for delay, share in shares.items()
    ]
    return table(["goal", "measured", "met"], [[*row[:2], "yes" if row[2] else "no"] for row in rows])


def about(command: str) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    cpu = next((line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")), "unknown CPU")
    tokens = count_tokens(str(long_prompt()[0].content), "openai/gpt-4o-mini")
    return (
        f"{date.today()} · {platform.system()} {platform.machine()}, {cpu}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} · Python {platform.python_version()} · {versions}\n\n"
        f"Made by `{command}`. The long prompt has {tokens:,} tokens. Milliseconds; an added percentile is the arm's "
        "percentile less the bare model's, which answers at once.\n"
    )


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=["langchain"], default="langchain")
    parser.add_argument("--quick", action="store_true", help="few samples: a look, not a result")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "overhead.md")
    options = parser.parse_args()
    rounds = Rounds(latency=150, litellm=20, other=40, bursts=2) if options.quick else Rounds()
    head = about(" ".join(["python", *sys.orig_argv[1:]]))
    latencies, found = latency(rounds)
    turns, grows = by_turns(rounds.other)
    rates, shares = throughput(rounds.bursts)
    parts = [
        "# Overhead\n",
        head,
        "## Goals\n",
        goals(found, grows[DIFFICULTY], shares),
        "## Added latency\n",
        latencies,
    ]
    parts += ["## Added latency by turns of the conversation\n", turns]
    parts += ["## Added latency with 8 tools bound, short prompt\n", with_tools(rounds.other)]
    parts += [f"## Stream of {CHUNKS} chunks\n", streamed(rounds.other)]
    parts += ["## Throughput\n", rates, "## Peak memory\n", memory()]
    report = "\n".join(parts)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
