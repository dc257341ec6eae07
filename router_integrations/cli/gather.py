"""The command that makes records: ``collect`` asks candidates prompts and grades the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_integrations.cli.app import command, progress
from router_integrations.cli.settings import named_candidates

if TYPE_CHECKING:
    from router_integrations.collect import Tally


@command
@dataclass(frozen=True, kw_only=True)
class Collect:
    """Ask every candidate every prompt, grade the answers, and write records to train on.

    Run it again with the same --out to go on after a stop: what has a record is not asked again, what failed is.
    Ends with 1 if something is left to do.
    """

    prompts: Annotated[Path, typer.Argument(help="A .txt with a prompt a line, or a table with prompt and answer.")]
    candidate: Annotated[
        list[str],
        typer.Option(help="A LiteLLM model id, or a .json list of ids and Candidate options; several times."),
    ]
    out: Annotated[Path, typer.Option(help="The .jsonl file of records.")]
    grader: Annotated[
        str,
        typer.Option(help="exact, contains or number compare; judge:MODEL asks a model; module:function is yours."),
    ]
    budget: Annotated[float | None, typer.Option(help="USD at most, for all runs with this file.")] = None
    samples: Annotated[int, typer.Option(help="Answers of each candidate to each prompt.")] = 1
    concurrency: Annotated[int, typer.Option(help="Calls under way at once.")] = 8
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None

    def run(self) -> None:
        """Ask, with a bar, and say how far it came."""
        from router_integrations.collect import Judge, Plan, collect

        kind, _, model = self.grader.partition(":")
        grader = Judge(named_candidates([model])[0]) if kind == "judge" else self.grader
        with progress("collecting") as moved:
            plan = Plan(
                samples=self.samples,
                concurrency=self.concurrency,
                max_tokens=self.max_tokens,
                on_progress=lambda tally: moved(tally.done + tally.failed, tally.total),
            )
            pool = named_candidates(self.candidate)
            tally = collect(self.prompts, pool, out=self.out, grader=grader, budget=self.budget, plan=plan)
        typer.echo(_told(tally))
        if tally.done < tally.total:
            raise typer.Exit(1)


def _told(tally: Tally) -> str:
    unknown = f" and what {', '.join(tally.unpriced)} cost" if tally.unpriced else ""
    left = f", {tally.left} left for the budget" if tally.left else ""
    return f"{tally.done} of {tally.total} done, {tally.failed} failed{left}; {tally.spent:.6f} USD{unknown}"
