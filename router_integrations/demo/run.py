"""The demo: a dozen prompts through `RouterChatModel` over real models, and what that cost."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track
from rich.prompt import Prompt
from rich.table import Table

from router_integrations.demo.sources import Source, offers, open_source
from router_integrations.langchain import RouterChatModel
from router_integrations.trace import Trace

PROMPTS = (
    "What is the capital of Japan?",
    "How many days are in a week?",
    "What is 2+2?",
    "Name three fruits.",
    "What does HTTP stand for?",
    "Rewrite in the past tense: I walk to work.",
    "¿Cuál es la capital de España?",
    "水的化学式是什么?",
    "ما هي عاصمة مصر؟",
    "Write a Python function that adds two numbers.",
    "Compare a list and a tuple in Python, and give one reason for each.",
    "Solve the equation 3x + 5 = 20, and explain each step.",
    "Prove that the sum of two even numbers is even, and justify every step.",
    "Design a plan for moving a small shop online: compare two platforms, name the risks, "
    "and justify the order of the steps. It must fit a budget of exactly 2,000 euros.",
)


# Characters: a terminal that has room for the answers too, and what all but prompt and answer take.
_WIDE = 140
_OTHER_COLUMNS = 80


@dataclass(frozen=True, slots=True)
class Row:
    """One routed prompt."""

    prompt: str
    answer: str
    trace: Trace


def run_demo(source: str | None, console: Console) -> None:
    """Route the prompts and print the table.

    Args:
        source: Where the models come from; `None` asks if there is a choice and somebody to ask.
        console: Where to print.

    Raises:
        ConfigurationError: There is no such source here.
    """
    with open_source(source or _choose(console), console) as opened:
        console.print(opened.note, style="dim")
        traces: list[Trace] = []
        router = RouterChatModel(candidates=list(opened.candidates), on_trace=traces.append)
        rows = [
            Row(prompt, str(router.invoke(prompt).text), traces[-1])
            for prompt in track(PROMPTS, "routing", console=console)
        ]
    console.print(_table(rows, console.width))
    console.print(_summary(rows, opened))


def _choose(console: Console) -> str:
    choices = offers()
    if len(choices) == 1 or not sys.stdin.isatty():
        return choices[0]
    return Prompt.ask("Which models?", choices=choices, default=choices[0], console=console)


def _table(rows: list[Row], width: int) -> Table:
    table = Table(title="RouterChatModel")
    table.add_column("prompt", no_wrap=True, max_width=max(width - _OTHER_COLUMNS, 12) if width < _WIDE else 40)
    for heading in ("candidate", "why", "tokens", "cost, USD", "seconds"):
        table.add_column(heading, no_wrap=True)
    if width >= _WIDE:
        table.add_column("answer", no_wrap=True, max_width=width - _OTHER_COLUMNS - 44)
    for row in rows:
        answer = row.trace.answer
        usage, cost = (answer.usage, answer.cost) if answer else (None, None)
        cells = [
            row.prompt,
            row.trace.candidate,
            row.trace.reason.replace("with expected quality ", ""),
            f"{usage.input_tokens} + {usage.output_tokens}" if usage else "unknown",
            _usd(cost),
            f"{answer.latency:.1f}" if answer else "",
            " ".join(row.answer.split()),
        ]
        table.add_row(*cells[: len(table.columns)])
    return table


def _summary(rows: list[Row], source: Source) -> str:
    strongest = source.candidates[-1]
    usages = [row.trace.answer.usage for row in rows if row.trace.answer and row.trace.answer.usage]
    routed = math.fsum(row.trace.cost or 0.0 for row in rows)
    always = math.fsum(_priced(strongest.cost(usage)) for usage in usages)
    deciding = sorted(row.trace.decide_seconds for row in rows)[len(rows) // 2]
    saved = f", {1 - routed / always:.0%} less" if always else ""
    return (
        f"Routed: {_usd(routed)} USD. Always {strongest.name}, priced on the same tokens: {_usd(always)} USD{saved}. "
        f"Median time to decide: {deciding * 1e3:.2f} ms."
    )


def _priced(cost: float | None) -> float:
    return cost or 0.0


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.6f}"
