"""What goes out to LiteLLM for one call, whichever framework it came through."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from router_integrations.adapters.replies import Prompt
from router_integrations.candidates import Candidate
from router_integrations.errors import RequestError
from router_integrations.model_map import lookup
from router_integrations.model_map import providers as known_providers
from router_integrations.redact import reveal

ToolChoice = str | dict[str, Any] | bool | None
_WORDS = frozenset({"auto", "none", "required"})
# What OpenAI does not allow in the name of who speaks.
_BAD_NAME = re.compile(r"[\s<|\\/>]+")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One call, ready for `providers`.

    Args:
        candidate: Whom to ask.
        messages: The conversation in OpenAI's form.
        params: Parameters in OpenAI's names.
        timeout: Seconds; `None` is LiteLLM's own limit.

    >>> call = Outgoing.of(Candidate("openai/gpt-4o-mini"), {"temperature": 0}, [], {"timeout": 5, "seed": 1})
    >>> call.params, call.timeout
    ({'temperature': 0, 'seed': 1}, 5)
    """

    candidate: Candidate
    messages: list[dict[str, Any]]
    params: dict[str, Any]
    timeout: float | None

    @classmethod
    def of(
        cls, candidate: Candidate, settings: Mapping[str, Any], messages: list[dict[str, Any]], given: Mapping[str, Any]
    ) -> Outgoing:
        """Return the call with the model's `settings` and what is `given` with the call, which wins."""
        params = {name: value for name, value in {**settings, **given}.items() if name not in ("stream", "timeout")}
        timeout = given.get("timeout") or settings.get("timeout") or candidate.timeout
        if any(isinstance(value, SecretStr) for value in settings.values()):
            # `providers` keeps the candidate's secrets out of errors, so it must know them.
            candidate = replace(candidate, params=reveal(settings))
        candidate = _overridden(candidate, params.pop("model", None))
        return cls(candidate, messages, reveal(params), timeout)

    @property
    def prompt(self) -> Prompt:
        """What the reply answers."""
        return Prompt(self.candidate, self.messages, self.params.get("tools"))


def model_settings(candidate: Candidate, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's own settings where given, under those of the candidate, which win.

    >>> model_settings(Candidate("openai/gpt-4o-mini", params={"seed": 0}), {"seed": 1, "max_tokens": None})
    {'seed': 0}
    """
    given = {name: value for name, value in candidate.params.items() if value is not None}
    return {**{name: value for name, value in own.items() if value is not None}, **given}


def _overridden(candidate: Candidate, model: str | None) -> Candidate:
    """Return the candidate with another model: a LiteLLM id, or a name at the candidate's own provider."""
    if model is None or model == candidate.id:
        return candidate
    prefix, slash, _ = candidate.id.partition("/")
    complete = lookup(model) is not None or model.partition("/")[0] in known_providers()
    id_ = model if complete or not slash else f"{prefix}/{model}"
    return Candidate(id_, params=candidate.params, timeout=candidate.timeout)


def openai_tool_choice(choice: ToolChoice, tools: Sequence[dict[str, Any]]) -> str | dict[str, Any] | None:
    """Return the choice in OpenAI's form; `None` leaves it to the provider.

    Raises:
        RequestError: The choice names no tool.

    >>> openai_tool_choice("any", []), openai_tool_choice({"type": "tool", "name": "f"}, [])
    ('required', {'type': 'function', 'function': {'name': 'f'}})
    """
    if choice is None or choice is False:
        return None
    if choice is True or choice == "any":
        return "required"
    if isinstance(choice, dict):
        return _anthropic_choice(choice)
    if choice in _WORDS:
        return choice
    names = [tool["function"]["name"] for tool in tools if "function" in tool]
    if choice in names:
        return {"type": "function", "function": {"name": choice}}
    if any(choice in (tool.get("type"), tool.get("name")) for tool in tools):
        return {"type": choice}
    raise RequestError(
        f"tool_choice {choice!r} names none of the tools {names}; give one of them, 'auto', 'any' or 'none'"
    )


def _anthropic_choice(choice: dict[str, Any]) -> str | dict[str, Any]:
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": choice["name"]}}
    return {"any": "required", "auto": "auto", "none": "none"}.get(str(kind), choice)


def can_force_tools(candidate: Candidate, settings: Mapping[str, Any]) -> bool:
    """Return whether a tool may be demanded; Claude refuses that while it thinks.

    >>> can_force_tools(Candidate("anthropic/claude-sonnet-4-5"), {"reasoning_effort": "low"})
    False
    """
    thinks = settings.get("thinking") or settings.get("reasoning_effort")
    return candidate.tool_choice is not False and not (thinks and "claude" in candidate.id)


def file_part(url: str, mime: str | None, filename: str | None = None) -> dict[str, Any]:
    """Return LiteLLM's form of a file; a data URI goes along, another address is the provider's to fetch.

    >>> file_part("https://example.org/a.pdf", "application/pdf")
    {'type': 'file', 'file': {'file_id': 'https://example.org/a.pdf'}}
    """
    file = {"file_data": url} if url.startswith("data:") else {"file_id": url}
    if "file_data" in file:
        file["filename"] = filename or f"file{mimetypes.guess_extension(mime or '') or ''}"
    if mime and mime != "application/pdf":
        file["format"] = mime
    return {"type": "file", "file": file}


def speaker(name: str) -> str:
    """Return a speaker's name as OpenAI allows it.

    >>> speaker("Ada Lovelace")
    'Ada_Lovelace'
    """
    return _BAD_NAME.sub("_", name)
