"""Which parameters of a call a model takes. A provider refuses the whole call for one that it does not know."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError

_log = logging.getLogger(__name__)
_warned: set[tuple[str, str]] = set()

# Settings of the call, and what the answer would be wrong without: never left out, the call may be refused.
_KEPT = frozenset(
    {
        "additional_drop_params",
        "allowed_openai_params",
        "api_version",
        "custom_llm_provider",
        "drop_params",
        "extra_headers",
        "functions",
        "max_retries",
        "messages",
        "metadata",
        "model",
        "response_format",
        "stream",
        "stream_options",
        "tools",
        "user",
    }
)
# Whether these are taken depends on their values; effort first, because it decides about the others.
_BY_VALUE = (
    "reasoning_effort",
    "temperature",
    "top_p",
    "logprobs",
    "top_logprobs",
    "verbosity",
    "service_tier",
    "parallel_tool_calls",
)
# The candidate's field that overrules LiteLLM's table.
_OVERRULED_BY = {"tools": "tools", "tool_choice": "tool_choice", "response_format": "schema"}

# These refuse tool calls in the history, or flatten them to text, when no tool is given.
_TOOLS_DEMANDED_BY = frozenset({"anthropic", "bedrock"})
_NO_TOOL = {
    "type": "function",
    "function": {
        "name": "unavailable",
        "description": "Not available. Never call it.",
        "parameters": {"type": "object", "properties": {}},
    },
}


@dataclass(frozen=True, slots=True)
class _Route:
    """Where LiteLLM sends a model id, and the OpenAI parameters that it can give the model."""

    model: str
    provider: str
    supported: frozenset[str]


def accepted(
    litellm: Any, candidate: Candidate, params: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the parameters of one call that the model takes; warn once about each other one.

    What is no OpenAI parameter is the provider's own business and stays.

    Args:
        litellm: The module, already imported.
        candidate: Its own parameters count unless the call has others.
        params: Those of the call in OpenAI's names; `None` is unset.
        messages: The conversation; tool calls in it may demand tools.

    Raises:
        ProviderError: LiteLLM knows no provider for the candidate.
    """
    given = {name: value for name, value in {**candidate.params, **params}.items() if value is not None}
    for name in ("stream", "stream_options"):
        given.pop(name, None)
    api_base = given.get("api_base") or given.get("base_url")
    route = _route(litellm, candidate.id, given.get("custom_llm_provider"), api_base)
    given = _taken(litellm, candidate, given, route)
    if route.provider in _TOOLS_DEMANDED_BY and "tools" not in given and any(m.get("tool_calls") for m in messages):
        given["tools"] = [_NO_TOOL]
    return given


@lru_cache(maxsize=256)
def _route(litellm: Any, model: str, provider: str | None, api_base: str | None) -> _Route:
    try:
        bare, found, _, _ = litellm.get_llm_provider(model=model, custom_llm_provider=provider, api_base=api_base)
    except litellm.BadRequestError as error:
        raise ProviderError(
            f"LiteLLM knows no provider for {model!r}; write the id as 'provider/model'", family="not_found"
        ) from error
    # As LiteLLM does it: a provider without a table of its own takes what OpenAI takes.
    table = litellm.get_supported_openai_params(model=bare, custom_llm_provider=found)
    if table is None:
        table = litellm.get_supported_openai_params(model=bare, custom_llm_provider="openai")
    return _Route(bare, found, frozenset(table))


def _taken(litellm: Any, candidate: Candidate, given: Mapping[str, Any], route: _Route) -> dict[str, Any]:
    forced = {name for name, flag in _OVERRULED_BY.items() if name in given and getattr(candidate, flag)}
    allowed = {*given.get("allowed_openai_params", ()), *(forced - route.supported)}
    standard = litellm.constants.DEFAULT_CHAT_COMPLETION_PARAM_VALUES
    refused = {name for name in given if name in standard and name not in route.supported | allowed | _KEPT}
    values = frozenset(
        (name, given[name])
        for name in _BY_VALUE
        if isinstance(given.get(name), str | int | float) and name not in refused | allowed
    )
    if values:
        refused |= _refused(litellm, route, values)
    for name in sorted(refused):
        if (candidate.name, name) not in _warned:
            _warned.add((candidate.name, name))
            _log.warning("%r does not take %s=%r; it is left out", candidate.name, name, given[name])
    kept = {name: value for name, value in given.items() if name not in refused}
    return {**kept, "allowed_openai_params": sorted(allowed)} if allowed else kept


@lru_cache(maxsize=1024)
def _refused(litellm: Any, route: _Route, values: frozenset[tuple[str, Any]]) -> frozenset[str]:
    """Return the names that the model refuses with these values."""
    kept: dict[str, Any] = {}
    for name, value in sorted(values, key=lambda pair: _BY_VALUE.index(pair[0])):
        try:
            litellm.get_optional_params(
                route.model, custom_llm_provider=route.provider, drop_params=False, **{**kept, name: value}
            )
        except litellm.UnsupportedParamsError:
            continue
        kept[name] = value
    return frozenset(name for name, _ in values if name not in kept)
