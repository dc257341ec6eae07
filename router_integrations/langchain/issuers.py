"""Who issued the messages of a conversation, whom they go to, and what they hold.

The trace or the provider's stamp on an answer names its issuer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from router_integrations.candidates import Candidate

_PROVIDERS = {
    "mistralai": "mistral", "google_genai": "gemini", "google_vertexai": "vertex_ai", "amazon_bedrock": "bedrock",
    "bedrock_converse": "bedrock", "litellm": "",
}  # fmt: skip
_DATE = re.compile(r"[-@](\d{8}|\d{4}-\d\d-\d\d)(-v\d+(:\d+)?)?$")
# LiteLLM packs Gemini's thought signature into the id behind this.
SIGNED_ID, SIGNATURES = "__thought__", "__gemini_function_call_thought_signatures__"
CALLS = frozenset({"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "function"})


class Issuer(NamedTuple):
    """Who made a message: the candidate's name by our trace, the provider and the model by its stamp."""

    candidate: str | None
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The candidate that is about to be asked.

    Args:
        candidate: Its name.
        provider: Its provider in LiteLLM's words or in LangChain's; empty when unknown, which strips no setting.
        model: The model's id, with or without the provider.
        reasoning: Whether it reasons; `None` is unknown.
        tools: Whether it calls tools; `None` is unknown.
        thinking: Whether Claude's manual thinking is on, which wants each step of a tool loop to begin with thinking.

    >>> Target.of(Candidate("mistral/mistral-large-latest")).provider
    'mistral'
    """

    candidate: str | None = None
    provider: str = ""
    model: str = ""
    reasoning: bool | None = None
    tools: bool | None = None
    thinking: bool = False

    @classmethod
    def of(cls, candidate: Candidate, model: Any = None) -> Target:
        """Return the target that `candidate` is; an own `model` is known by what it tells LangSmith of itself."""
        own: Any = candidate.model if candidate.model is None or model is None else model
        told: Mapping[str, Any] = own._get_ls_params() if hasattr(own, "_get_ls_params") else {}
        name = told.get("ls_model_name") or candidate.id
        given = candidate.params.get("thinking") if own is None else getattr(own, "thinking", None)
        manual = isinstance(given, Mapping) and given.get("type") == "enabled"
        return cls(
            candidate=candidate.name,
            provider=_provider(told.get("ls_provider") or candidate.provider) or _provider(name.rpartition("/")[0]),
            model=name,
            reasoning=candidate.reasoning,
            tools=candidate.tools,
            thinking=manual and "claude" in name.lower(),
        )

    def among(self, pattern: str | re.Pattern[str]) -> bool:
        """Return whether `pattern` is found in the provider or the model; an unknown provider may be any."""
        return not self.provider or _found(pattern, f"{self.provider}/{self.model}".lower())


@lru_cache(maxsize=1024)
def _found(pattern: str | re.Pattern[str], text: str) -> bool:
    return re.search(pattern, text) is not None


@lru_cache(maxsize=256)
def _provider(name: str | None) -> str:
    base = (name or "").partition("/")[0].partition("-")[0].lower()
    return _PROVIDERS.get(base, base)


def issuer(message: AIMessage) -> Issuer | None:
    """Return who made `message`: our trace on it says so, else the provider's stamp; `None` when nothing does.

    >>> issuer(AIMessage("Hi", response_metadata={"model_provider": "openai", "model_name": "gpt-4o"}))
    Issuer(candidate=None, provider='openai', model='gpt-4o')
    """
    stamp = message.response_metadata
    if not stamp:
        return None
    trace = stamp.get("router") or {}
    candidate = trace.get("candidate")
    model = (trace.get("model") if candidate else None) or stamp.get("model_name") or stamp.get("model") or ""
    provider = _provider(stamp.get("model_provider")) or _provider(str(candidate or "").rpartition("/")[0])
    return Issuer(candidate, provider, str(model)) if candidate or provider or model else None


@lru_cache(maxsize=1024)
def _same_model(one: str, other: str) -> bool:
    """Compare two ids: the provider before them, ``-latest`` and a date that only one of them has do not count."""
    one, other = (name.lower().rpartition("/")[2].removesuffix("-latest") for name in (one, other))
    return bool(one) and (one == other or _DATE.sub("", one) == other or one == _DATE.sub("", other))


def is_target(who: Issuer, target: Target) -> bool:
    """Return whether `who` is the model that `target` asks."""
    # The name decides first: deployments and proxies report models under other names than they are asked by.
    if who.candidate is not None and who.candidate == target.candidate:
        return True
    if not _same_model(who.model, target.model) or (who.candidate is not None and target.reasoning is False):
        return False
    azure = who.candidate is None and {who.provider, target.provider} == {"openai", "azure"}
    return not who.provider or who.provider == target.provider or azure


def is_ai(message: BaseMessage) -> TypeGuard[AIMessage]:
    """Return whether `message` is an answer of a model."""
    # Pydantic makes `isinstance` slow, and this runs for each message of each call.
    return message.type in ("ai", "AIMessageChunk")


def is_tool(message: BaseMessage) -> TypeGuard[ToolMessage]:
    """Return whether `message` is the result of a tool call."""
    return message.type in ("tool", "ToolMessageChunk")


def _blocks(message: BaseMessage) -> Iterator[dict[str, Any]]:
    content = message.content
    return (block for block in content if isinstance(block, dict)) if isinstance(content, list) else iter(())


def call_ids(message: AIMessage) -> Iterator[str]:
    """Yield the ids of the tool calls wherever the message holds them, empty and repeated ones too."""
    raw = message.additional_kwargs.get("tool_calls") or ()
    yield from (call.get("id") or "" for call in (*message.tool_calls, *message.invalid_tool_calls, *raw))
    for block in _blocks(message):
        if block.get("call_id") or block.get("type") in CALLS:
            yield block.get("call_id") or block.get("id") or ""


def is_bare(message: BaseMessage) -> bool:
    """Return whether `message` is text alone, the most frequent case by far."""
    if message.additional_kwargs or message.name or type(message.content) is not str:
        return False
    if is_ai(message):
        return not (message.tool_calls or message.invalid_tool_calls)
    return not is_tool(message)


def has_calls(message: AIMessage) -> bool:
    """Return whether `message` calls tools."""
    return not is_bare(message) and next(call_ids(message), None) is not None


def result_ids(message: BaseMessage) -> Iterator[str]:
    """Yield the ids that tool results answer; Anthropic's form has the results in a human message."""
    if is_tool(message):
        yield message.tool_call_id
    elif message.type == "human":
        yield from (str(block.get("tool_use_id")) for block in _blocks(message) if block.get("type") == "tool_result")


def is_signed(message: AIMessage) -> bool:
    """Return whether a tool call of `message` carries a Gemini thought signature."""
    raw = message.additional_kwargs.get("tool_calls") or ()
    return bool(message.additional_kwargs.get(SIGNATURES)) or any(
        SIGNED_ID in (call.get("id") or "") or "thought_signature" in (call.get("provider_specific_fields") or ())
        for call in (*message.tool_calls, *raw)
    )
