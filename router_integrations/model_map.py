"""LiteLLM's bundled price map, read by path: importing litellm would take seconds and hundreds of megabytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_MAP_FILE = "model_prices_and_context_window_backup.json"


def litellm_folder() -> Path | None:
    """Return the folder of the installed litellm package without importing it; `None` if it is absent.

    >>> litellm_folder().name
    'litellm'
    """
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@lru_cache(maxsize=1)
def _model_map() -> Mapping[str, Mapping[str, Any]]:
    folder = litellm_folder()
    if folder is None:
        return {}
    loaded: dict[str, dict[str, Any]] = json.loads((folder / _MAP_FILE).read_text(encoding="utf-8"))
    loaded.pop("sample_spec", None)  # explains the file's format; its prices are zeros
    return loaded


def lookup(model_id: str) -> Mapping[str, Any] | None:
    """Return the map's entry for a LiteLLM model id, or `None` when the map does not know it; never raises.

    The provider prefix may be in the id (``openai/gpt-4o-mini``) or only in the entry.

    >>> lookup("openai/gpt-4o-mini")["litellm_provider"], lookup("openai/no-such-model")
    ('openai', None)
    """
    models = _model_map()
    if model_id in models:
        return models[model_id]
    provider, _, bare = model_id.partition("/")
    entry = models.get(bare)
    # The entry's provider may be a branch of the id's: "vertex_ai-language-models", "cohere_chat".
    known = (entry or {}).get("litellm_provider", "")
    return entry if provider and (known == provider or known.startswith((f"{provider}-", f"{provider}_"))) else None


@lru_cache(maxsize=1)
def providers() -> frozenset[str]:
    """Return the names of the providers that the map knows.

    >>> {"openai", "anthropic"} <= providers()
    True
    """
    return frozenset(entry.get("litellm_provider", "") for entry in _model_map().values())


def model_ids(part: str) -> list[str]:
    """Return the ids of the chat models that the map knows and whose id contains `part`, sorted.

    >>> "gpt-4o-mini" in model_ids("4o-mini")
    True
    """
    return sorted(name for name, entry in _model_map().items() if part in name and entry.get("mode") == "chat")
