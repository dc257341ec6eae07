"""Settings of a call that only some providers take, and how to leave them out for the others."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any

from router_integrations.adapters.targets import CACHES, CLAUDE, GOOGLE, OPENAI, Target

MARK = frozenset({"cache_control"})
# Settings and the providers or models that take them.
_SETTINGS = {
    "cache_control": CACHES,
    "thinking": f"{CLAUDE}|{GOOGLE}|bedrock|deepseek|magistral|zai|moonshot|minimax|volcengine",
    "context_management": f"{CLAUDE}|{OPENAI}",
    **dict.fromkeys(("betas", "mcp_servers", "container", "inference_geo", "output_config"), CLAUDE),
    "prompt_cache_key": f"{OPENAI}|fireworks|mistral",
    **dict.fromkeys(("prompt_cache_retention", "safety_identifier", "previous_response_id", "truncation"), OPENAI),
    **dict.fromkeys(("safety_settings", "cached_content", "thinking_budget", "thinking_level"), GOOGLE),
    **dict.fromkeys(("safe_prompt", "random_seed", "prompt_mode"), "mistral|magistral"),
    **dict.fromkeys(("guardrail_config", "guardrailConfig", "performance_config"), "bedrock"),
}
_HEADERS = {"anthropic-": CLAUDE, "openai-": OPENAI, "x-goog-": GOOGLE, "x-session-affinity": "fireworks"}


def without(given: Any, keys: frozenset[str]) -> Any:
    """Return a dict without `keys`; itself when it has none of them.

    >>> without({"a": 1, "b": 2}, frozenset({"b"}))
    {'a': 1}
    """
    return given if keys.isdisjoint(given) else {name: value for name, value in given.items() if name not in keys}


def marks_of(target: Target) -> frozenset[str]:
    """Return the cache marks that `target` does not take.

    >>> marks_of(Target(provider="openai", model="gpt-4o"))
    frozenset({'cache_control'})
    """
    return frozenset() if target.among(CACHES) else MARK


def strip_settings(kwargs: dict[str, Any], target: Target) -> dict[str, Any]:
    """Return call settings without those that only other providers take; the same dict when there are none.

    >>> strip_settings({"thinking": {"type": "enabled"}, "temperature": 0}, Target(provider="openai", model="gpt-4o"))
    {'temperature': 0}
    """
    kept = {
        name: _setting(name, value, target)
        for name, value in kwargs.items()
        if name not in _SETTINGS or target.among(_SETTINGS[name])
    }
    return kwargs if len(kept) == len(kwargs) and all(map(is_, kept.values(), kwargs.values())) else kept


def _setting(name: str, value: Any, target: Target) -> Any:
    if name == "extra_headers" and isinstance(value, Mapping):
        others = tuple(prefix for prefix, takers in _HEADERS.items() if not target.among(takers))
        return without(value, frozenset(header for header in value if header.lower().startswith(others)))
    if name in ("extra_body", "model_kwargs") and isinstance(value, dict):
        return strip_settings(value, target)
    if name == "tools" and isinstance(value, list):
        return _tools(value, target)
    return value


def _tools(given: list[Any], target: Target) -> list[Any]:
    """Return the tools without other providers' cache marks; the same list when there are none."""
    marks, points = marks_of(target), target.among("^bedrock")
    kept = [_tool(tool, marks) for tool in given if points or not (isinstance(tool, dict) and "cachePoint" in tool)]
    return given if len(kept) == len(given) and all(map(is_, kept, given)) else kept


def _tool(tool: Any, marks: frozenset[str]) -> Any:
    if not isinstance(tool, dict):
        return tool
    changed = without(tool, marks)
    for name in ("extras", "metadata", "function"):
        if isinstance(inner := changed.get(name), dict) and (cut := without(inner, marks)) is not inner:
            changed = {**changed, name: cut}
    return changed
