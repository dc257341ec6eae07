"""The report of `overhead.py --framework llama-index`: what is measured, and the goals."""

import asyncio
import gc
import multiprocessing
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from loops import HELD, heartbeat_rows, heartbeat_table, heartbeats, held, longest, longest_table
from measuring import CONCURRENT, Calls, added, burst, compared, grown, in_flight, run, streams, table, verdicts, warm
from overhead_llama_index import (
    BARE,
    CHUNKS,
    DIFFICULTY,
    FIXED,
    MESSAGES,
    OURS,
    OVER_LITELLM,
    called,
    conversation,
    handlers,
    history,
    models,
    over_litellm,
    served,
    short_prompt,
    ways,
)

GOAL, SHARE, GROWN, LONG_TALK = 0.5, 0.9, 10_000, 256
WRONG = "answers that went to the wrong caller"
VERSIONS = ("router_integrations", "llama-index-core", "llama-index-llms-litellm", "litellm")


def latency(rounds: int) -> tuple[str, dict[str, float]]:
    """Return the tables, and what `Difficulty` adds to p50 by way of asking, in ms."""
    parts, found = [], {}
    for label, (prompt, method, given) in ways().items():
        for name, prefix, measure in ((label, "", run), (label.replace("`", "`a", 1), "a", warm)):
            calls = {arm: called(llm, prefix + method, given) for arm, llm in models().items()}
            times = measure(calls, prompt, rounds)
            found[name] = added(times, BARE)[DIFFICULTY][0]
            parts.append(f"### {name}\n\n{compared(times, BARE)}")
    with handlers() as manager:
        times = run({arm: llm.chat for arm, llm in models(manager=manager).items()}, short_prompt, rounds)
    name = "`chat`, short prompt, with a token counter and an event handler"
    found[name] = added(times, BARE)[DIFFICULTY][0]
    return "\n".join([*parts, f"### {name}\n\n{compared(times, BARE)}"]), found


def throughput(rounds: int) -> tuple[str, dict[str, float]]:
    """Return the tables of calls per second, and the shares of the bare LLM's that `Difficulty` reaches."""
    parts, shares = [], {}
    for delay in (0.0, 0.02, 1.0):
        label = f"an LLM of {delay * 1e3:.0f} ms"
        calls = {name: llm.achat for name, llm in models(delay=delay).items()}
        rows, share = asyncio.run(burst(calls, BARE, short_prompt, rounds))
        parts.append(table([label, "calls/s", "of the bare LLM"], rows))
        shares[label] = share[DIFFICULTY]
    answer = "Yes, that is right."
    with served(answer) as base:
        # The server takes a core, and with a thread for each connection its time.
        over = {
            "LiteLLM's client, its answer mocked": (over_litellm(mock_response=answer), rounds),
            "LiteLLM's client, HTTP on loopback": (over_litellm(api_base=base), min(rounds, 3)),
        }
        for label, (calls, few) in over.items():
            rows, share = asyncio.run(burst(calls, OURS, short_prompt, few))
            parts.append(table([label, "calls/s", f"of {OURS}"], rows))
            shares[label] = share[OVER_LITELLM]
    return "\n".join(parts), shares


def loop(rounds: int) -> tuple[str, dict[str, float]]:
    """Return the tables, and by what is measured how long `Difficulty` holds the loop, in ms."""
    steps: list[list[Any]] = []
    beats: list[list[Any]] = []
    most = {}
    asked = [(label, way, CONCURRENT) for label, way in ways().items()]
    asked.append(
        (f"`chat`, {2 * LONG_TALK - 1} messages", (lambda: conversation(LONG_TALK), "chat", {}), CONCURRENT // 20)
    )
    for label, (prompt, method, given), count in asked:
        calls = {arm: called(llm, f"a{method}", given) for arm, llm in models(delay=0.02).items()}
        found = held(calls, prompt, count, rounds)
        steps += longest(found, label)
        most[f"no step computes for {HELD:g} ms, {label}"] = max(step.cpu for step in found[DIFFICULTY]) * 1e3
    waiting = {name: llm.achat for name, llm in models(delay=0.02).items()}
    for label, prompt in (("short prompt", short_prompt), (f"{MESSAGES} messages", history)):
        late = heartbeats(waiting, prompt)
        beats += heartbeat_rows(late, label)
        most[f"no beat is {HELD:g} ms late, {label}"] = max(late[DIFFICULTY]) * 1e3
    return f"{longest_table(steps)}\n{heartbeat_table(beats)}", most


def kept(name: str) -> list[float]:
    """Return what 10,000 calls leave behind after 1,000: bytes for each call, and objects altogether."""
    call = models()[name].chat
    for _ in range(1000):
        call(short_prompt())
    gc.collect()
    tracemalloc.start()
    before, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
    for _ in range(GROWN):
        call(short_prompt())
    gc.collect()
    return [(tracemalloc.get_traced_memory()[0] - before) / GROWN, len(gc.get_objects()) - objects]


def peak(name: str) -> list[float]:
    """Return the MB that 1,000 calls in flight add: to the process, and of Python's own in a second pass."""
    return in_flight(models(delay=1.0)[name].achat, short_prompt)


def memory() -> tuple[str, float]:
    """Return the table, and the bytes that each of 10,000 calls leaves behind."""
    names = [BARE, FIXED, DIFFICULTY]
    # A process of its own for each: the resident peak of a process never falls.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        left = dict(zip(names, pool.map(kept, names), strict=True))
        rows = [[name, *sizes, *left[name]] for name, sizes in zip(names, pool.map(peak, names), strict=True)]
    header = [f"{CONCURRENT:,} calls in flight, MB", "resident", "allocated by Python"]
    return table([*header, f"bytes a call leaves, {GROWN:,} calls", "objects left"], rows), left[DIFFICULTY][0]


async def mixed(calls: Calls) -> dict[str, int]:
    """Return how many of 1,000 concurrent answers were another caller's."""
    wrong = {}
    for name, call in calls.items():
        prompts = [short_prompt() for _ in range(CONCURRENT)]
        answers = await asyncio.gather(*map(call, prompts))
        pairs = zip(prompts, answers, strict=True)
        wrong[name] = sum(not (asked[-1].content or "").endswith(said.message.content) for asked, said in pairs)
    return wrong


def measured(most: int, few: int, bursts: int) -> dict[str, str]:
    """Return the sections of the report by title.

    Args:
        most: How often each way of asking is measured.
        few: How often what takes longer is.
        bursts: How often 1,000 calls start at once.
    """
    latencies, plus = latency(most)
    turns, grows = grown({name: llm.chat for name, llm in models().items()}, BARE, conversation, few)
    rates, shares = throughput(bursts)
    blocks, held_for = loop(bursts)
    sizes, left = memory()
    wrong = sum(asyncio.run(mixed({name: llm.achat for name, llm in models(delay=0.02).items()})).values())
    goals = [(f"adds less than {GOAL} ms, p50, {name}", f"{one:.3f} ms", one < GOAL) for name, one in plus.items()]
    goals += [
        (f"at least {SHARE:.0%} of the throughput, {name}", f"{one:.0%}", one >= SHARE) for name, one in shares.items()
    ]
    goals += [(name, f"{one:.2f} ms", one < HELD) for name, one in held_for.items()]
    exponent = grows[DIFFICULTY]
    goals += [
        ("added p50 grows at most linearly with the turns (1.1 allowed)", f"exponent {exponent:.2f}", exponent <= 1.1),
        (f"{GROWN:,} calls leave nothing behind, less than a byte each", f"{left:.2f}", left < 1),
        (f"none of {3 * CONCURRENT:,} concurrent {WRONG}", str(wrong), wrong == 0),
    ]
    return {
        "Goals of `RouterLLM` with its default, `Difficulty`": verdicts(goals),
        "Added latency": latencies,
        "Added latency by turns of the conversation": turns,
        f"A stream of {CHUNKS} chunks": streams(
            {name: llm.stream_chat for name, llm in models().items()}, BARE, short_prompt, few
        ),
        f"Throughput: {CONCURRENT:,} concurrent `achat`": rates,
        "The event loop": blocks,
        "Memory": sizes,
    }
