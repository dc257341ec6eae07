"""Commands that look: whom a router would choose, what candidates cost, a router at work."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from router_integrations.candidates import Candidate, as_candidates, eligible
from router_integrations.cli.app import app
from router_integrations.model_map import model_ids
from router_integrations.steps import Run
from router_integrations.strategies import Best
from router_integrations.tokens import count_tokens
from router_integrations.types import Estimate, Request, Utility

_FLAGS = ("tools", "schema", "vision", "audio", "pdf", "reasoning")
_UNKNOWN = "[yellow]unknown[/yellow]"


@app.command()
def route(
    prompt: Annotated[str, typer.Argument(help="The query.")],
    candidate: Annotated[list[str], typer.Option(help="A LiteLLM model id; give it several times.")],
    enough: Annotated[float, typer.Option(help="Expected quality that is enough, in [0, 1].")] = 0.7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Explain which candidate would answer PROMPT; nobody is called."""
    candidates = as_candidates(candidate)
    tokens = count_tokens(prompt, candidates[0].id)
    request = Request(text=prompt, candidates=candidates, input_tokens=tokens, tokens_estimated=False)
    able, rejected = eligible(candidates, request)
    strategy = Best(utility=Utility(enough=enough))
    trace = Run(strategy=strategy, request=replace(request, candidates=able), rejected=rejected).plan()
    if as_json:
        typer.echo(json.dumps(trace.as_dict(), indent=2))
        return
    table = Table("candidate", "expected quality", "expected cost, USD", title=f"{trace.candidate}: {trace.reason}")
    for name, estimate in trace.estimates.items():
        table.add_row(*_estimate_row(name, estimate), style="bold green" if name == trace.candidate else None)
    Console().print(table)


@app.command(name="candidates")
def show_candidates(
    ids: Annotated[list[str] | None, typer.Argument(help="LiteLLM model ids.")] = None,
    search: Annotated[str | None, typer.Option(help="Show the known chat models whose id contains this.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Show prices, windows and capabilities of models, and what is not known of them."""
    wanted = [*(ids or ()), *(model_ids(search) if search is not None else ())]
    if not wanted:
        raise typer.BadParameter("name a model id, or give --search TEXT")
    found = [Candidate(one) for one in wanted]
    if as_json:
        typer.echo(json.dumps([_facts(one) for one in found], indent=2))
        return
    table = Table(title="USD per million tokens; tokens")
    for heading in ("id", "in → out (cached)", "reads → writes", "can", "unknown"):
        table.add_column(heading, overflow="fold")
    for one in found:
        table.add_row(*_candidate_row(one))
    Console().print(table)


@app.command()
def demo(
    source: Annotated[
        str | None, typer.Option(help="local, ollama, or a provider whose key is set, such as openai.")
    ] = None,
) -> None:
    """Route a dozen prompts over real models: a small local one, an Ollama, or a provider whose key is set."""
    from router_integrations.demo.run import run_demo

    run_demo(source, Console())


def _estimate_row(name: str, estimate: Estimate) -> tuple[str, str, str]:
    cost = _UNKNOWN if estimate.cost is None else f"{estimate.cost:.6f}"
    return name, f"{estimate.quality:.2f} ± {estimate.std:.2f}", cost


def _candidate_row(candidate: Candidate) -> list[str]:
    prices = [candidate.input_price, candidate.output_price, candidate.cache_read_price]
    limits = [candidate.context_window, candidate.max_output]
    into, out, cached = (_UNKNOWN if price is None else f"{price * 1e6:.6g}" for price in prices)
    reads, writes = (_UNKNOWN if limit is None else f"{limit:,}" for limit in limits)
    can = [flag for flag in _FLAGS if getattr(candidate, flag)]
    return [
        candidate.id,
        f"{into} → {out} ({cached})",
        f"{reads} → {writes}",
        " ".join(can),
        " ".join(candidate.unknown),
    ]


def _facts(candidate: Candidate) -> dict[str, Any]:
    names = ("input_price", "output_price", "cache_read_price", "cache_write_price", "context_window", "max_output")
    facts = {name: getattr(candidate, name) for name in (*names, *_FLAGS)}
    return {"id": candidate.id, **facts, "unknown": list(candidate.unknown)}
