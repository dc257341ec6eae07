"""Who issued the messages of a conversation, and what they hold.

The trace or the provider's stamp on an answer names its issuer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from router_integrations.adapters.call_ids import SIGNED_ID
from router_integrations.adapters.targets import Issuer, issuer_of

SIGNATURES = "__gemini_function_call_thought_signatures__"
CALLS = frozenset({"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "function"})


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
    return issuer_of(candidate, stamp.get("model_provider"), model)


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
