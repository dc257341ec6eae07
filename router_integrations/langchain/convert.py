"""LangChain messages in OpenAI's form, and what any chat model's message tells about the attempt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_openai_messages

from router_integrations.adapters.outgoing import file_part, speaker
from router_integrations.adapters.replies import FINISH_KEYS, MODEL_KEYS, REPLAYED, logprobs_of, top_logprobs_of
from router_integrations.candidates import Candidate
from router_integrations.types import Usage

# What LangChain's own conversion would send on as content although no provider takes it there.
_NEVER_CONTENT = frozenset(
    {
        "thinking",
        "redacted_thinking",
        "reasoning",
        "tool_call",
        "tool_call_chunk",
        "invalid_tool_call",
        "input_json_delta",
        "function_call",
    }
)
# Blocks that become messages or tool calls of their own.
_MOVED = frozenset({"tool_use", "tool_result"})


def to_openai(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return the messages in OpenAI's form, with what LangChain's conversion loses kept and what it leaks dropped.

    Reasoning leaves the content and goes back beside it, where the provider that signed it looks for it; cache marks
    and names stay; a failed tool's result says so.

    >>> to_openai([AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}])])
    [{'role': 'assistant', 'content': 'Hi'}]
    """
    return [converted for message in messages for converted in _convert(message)]


def _convert(message: BaseMessage) -> list[dict[str, Any]]:
    blocks: list[Any] | None = None
    if isinstance(message.content, list):
        blocks = [block for given in message.content if (block := _portable(given)) is not None]
        message = message.model_copy(update={"content": blocks})
    text_format: Any = "string" if blocks is None else "block"
    converted = convert_to_openai_messages([message], text_format=text_format)
    for one in converted:
        if isinstance(one["content"], list):
            one["content"] = _content(one["content"], blocks if one["role"] != "tool" or len(converted) == 1 else None)
        if "name" in one:
            one["name"] = speaker(one["name"])
    if isinstance(message, AIMessage):
        _add_assistant_fields(converted[0], message)
    if isinstance(message, ToolMessage) and message.status == "error":
        converted[0]["content"] = _as_error(converted[0]["content"])
    # A call's result comes before anything else the user says.
    return sorted(converted, key=lambda one: one["role"] != "tool") if len(converted) > 1 else converted


def _portable(block: Any) -> Any:
    """Return a content block in a form that LangChain's conversion understands; `None` to leave it out."""
    if not isinstance(block, dict):
        return block
    if block.get("type") == "non_standard" and isinstance(block.get("value"), dict):
        block = block["value"]
    portable = _reshaped(block)
    if portable is not None and "cache_control" in block:
        return {**portable, "cache_control": block["cache_control"]}
    return portable


def _reshaped(block: dict[str, Any]) -> dict[str, Any] | None:
    kind = block.get("type")
    if kind in _NEVER_CONTENT and not (kind == "function_call" and "call_id" in block):
        return None
    if kind == "text-plain" and "text" in block:
        return {"type": "text", "text": block["text"]}
    if kind == "tool_result" and block.get("is_error"):
        return {**block, "content": _as_error(block.get("content") or "")}
    if kind in ("image", "document") and isinstance(block.get("source"), dict):
        return _anthropic_source(block)
    if kind in ("file", "audio", "video"):
        return _file(block)
    return block


def _anthropic_source(block: dict[str, Any]) -> dict[str, Any]:
    source = block["source"]
    if source.get("type") == "text":
        return {"type": "text", "text": source["data"]}
    url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data')}"
    if block["type"] == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return file_part(url, source.get("media_type") or "application/pdf", block.get("title"))


def _file(block: dict[str, Any]) -> dict[str, Any]:
    """Return LiteLLM's form of a file, audio or video block; LangChain's conversion has none for URLs and videos."""
    mime = block.get("mime_type")
    data = block.get("base64") or block.get("data")
    if isinstance(block.get("url"), str):
        return file_part(block["url"], mime, block.get("filename"))
    if isinstance(data, str) and block["type"] != "audio":
        extras = block.get("extras") or block.get("metadata") or {}
        return file_part(f"data:{mime};base64,{data}", mime, block.get("filename") or extras.get("filename"))
    return block


def _content(parts: list[dict[str, Any]], blocks: list[Any] | None) -> str | list[dict[str, Any]]:
    """Return the content with the cache marks of `blocks`; plain text without any becomes a string."""
    kept = [block for block in blocks or () if not (isinstance(block, dict) and block.get("type") in _MOVED)]
    if len(kept) == len(parts):
        for part, block in zip(parts, kept, strict=True):
            if isinstance(block, dict) and "cache_control" in block:
                part["cache_control"] = block["cache_control"]
    parts = [part for part in parts if part.get("type") not in _NEVER_CONTENT]
    if all(part.get("type") == "text" and "cache_control" not in part for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _add_assistant_fields(converted: dict[str, Any], message: AIMessage) -> None:
    calls = [*converted.get("tool_calls", ()), *_invalid_calls(message)]
    if calls:
        converted["tool_calls"] = calls
        converted["content"] = converted["content"] or None
    for name in REPLAYED:
        value = message.additional_kwargs.get(name)
        if value:
            converted[name] = [_without_index(item) for item in value] if isinstance(value, list) else value
    # Gemini signs answers without a tool call here.
    fields = message.additional_kwargs.get("provider_specific_fields")
    if isinstance(fields, dict) and fields.get("thought_signatures"):
        converted["provider_specific_fields"] = {"thought_signatures": fields["thought_signatures"]}


def _without_index(item: Any) -> Any:
    """Return a block without the index that only served to merge its chunks."""
    return {name: value for name, value in item.items() if name != "index"} if isinstance(item, dict) else item


def _invalid_calls(message: AIMessage) -> Iterator[dict[str, Any]]:
    """Yield the calls that could not be parsed: their error results would otherwise answer no call."""
    for call in message.invalid_tool_calls:
        if call.get("id"):
            function = {"name": call.get("name") or "", "arguments": json.dumps({"invalid": call.get("args") or ""})}
            yield {"type": "function", "id": call["id"], "function": function}


def _as_error(content: Any) -> Any:
    """Return a tool's result so that the model sees that it failed; OpenAI's form has no field for it."""
    if isinstance(content, str):
        return content if content.lower().startswith("error") else f"Error: {content}"
    return [{"type": "text", "text": "Error:"}, *content]


def attempt_fields(message: AIMessage, candidate: Candidate) -> dict[str, Any]:
    """Return what `message`, from whichever chat model, tells for an `Attempt`.

    The price is that of the candidate that was asked, whatever name the provider gives itself; unknown is `None`.

    >>> usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    >>> fields = attempt_fields(AIMessage("Hi", usage_metadata=usage), Candidate("openai/gpt-4o-mini"))
    >>> fields["text"], round(fields["cost"], 8)
    ('Hi', 4.5e-06)
    """
    metadata = message.response_metadata
    usage = _usage(message)
    logprobs = metadata.get("logprobs") or metadata.get("logprobs_result")
    return {
        "text": str(message.text),
        "tool_calls": tuple({name: call[name] for name in ("name", "args", "id")} for call in message.tool_calls),
        "logprobs": logprobs_of(logprobs),
        "top_logprobs": top_logprobs_of(logprobs),
        "finish_reason": next((str(metadata[key]) for key in FINISH_KEYS if metadata.get(key)), None),
        "model": next((str(metadata[key]) for key in MODEL_KEYS if metadata.get(key)), None),
        "usage": usage,
        "cost": 0.0 if _from_cache(message) else None if usage is None else candidate.cost(usage),
    }


def _from_cache(message: AIMessage) -> bool:
    """Return whether LangChain's cache gave the answer, which it marks with a cost of 0."""
    reported: Mapping[str, Any] = message.usage_metadata or {}
    return reported.get("total_cost") == 0


def _usage(message: AIMessage) -> Usage | None:
    reported = message.usage_metadata
    # LangChain's cache notes its cost of 0 here even if nothing else is known.
    if reported is None or "input_tokens" not in reported:
        return None
    details: Mapping[str, Any] = reported.get("input_token_details") or {}
    counts = {name: value for name, value in details.items() if isinstance(value, int)}
    return Usage(
        input_tokens=reported["input_tokens"],
        output_tokens=reported["output_tokens"],
        # OpenAI's service tiers prefix the name; Anthropic splits writes by lifetime and then reports 0 in one.
        cache_read_tokens=sum(value for name, value in counts.items() if name.endswith("cache_read")),
        cache_write_tokens=sum(
            value for name, value in counts.items() if name == "cache_creation" or name.startswith("ephemeral_")
        ),
        estimated=bool(message.response_metadata.get("usage_estimated")),
    )
