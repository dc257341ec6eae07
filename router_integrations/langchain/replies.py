"""OpenAI-shaped replies as LangChain's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages import content as blocks
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.outputs import ChatGeneration, ChatResult

from router_integrations import providers
from router_integrations.adapters.replies import (
    Prompt,
    arguments_of,
    bare_model,
    choice_metadata,
    extra_fields,
    parse_arguments,
    said,
    text_of,
    token_details,
)
from router_integrations.candidates import Candidate
from router_integrations.types import Usage

# Not the provider's own name: LangChain would read the content as that provider's native one and lose the reasoning
# that comes beside it. Who answered is `provider` in the response's metadata.
MODEL_PROVIDER = "litellm"
_METADATA = ("id", "system_fingerprint", "service_tier")
_CALL_BLOCKS = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call"})


def chat_result(reply: Mapping[str, Any], prompt: Prompt) -> ChatResult:
    """Return every choice of a reply; the usage, which is that of all of them, is on the first."""
    messages = [_message(reply, choice, prompt.candidate) for choice in reply["choices"]]
    first = messages[0]
    first.usage_metadata = usage_metadata(reply)
    if first.usage_metadata is None:
        first.usage_metadata = estimated(
            prompt, (text for choice in reply["choices"] for text in said(choice["message"]))
        )
        first.response_metadata["usage_estimated"] = True
    else:
        first.response_metadata["token_usage"] = reply["usage"]
    return ChatResult(generations=[ChatGeneration(message=message) for message in messages])


def _message(reply: Mapping[str, Any], choice: Mapping[str, Any], candidate: Candidate) -> AIMessage:
    message = choice["message"]
    calls, invalid = _tool_calls(message.get("tool_calls") or ())
    return AIMessage(
        content=text_of(message.get("content")),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs=extra_fields(reply, message),
        response_metadata={**reply_metadata(reply, candidate), **choice_metadata(choice)},
    )


def reply_metadata(reply: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """Return who answered, by the provider's own word where it gives one."""
    return {
        "model_name": reply.get("model") or bare_model(candidate),
        "model_provider": MODEL_PROVIDER,
        "provider": candidate.provider or MODEL_PROVIDER,
        **{name: reply[name] for name in _METADATA if reply.get(name)},
    }


def usage_metadata(reply: Mapping[str, Any]) -> UsageMetadata | None:
    """Return the usage of a reply with its details; `None` when the provider reports none."""
    usage = providers.usage(reply)
    if usage is None:
        return None
    details = zip(("input_token_details", "output_token_details"), token_details(reply, usage), strict=True)
    return cast("UsageMetadata", {**_totals(usage), **{name: counts for name, counts in details if counts}})


def estimated(prompt: Prompt, texts: Iterable[str]) -> UsageMetadata:
    """Return about the usage of a reply that consists of `texts`."""
    return _totals(prompt.estimate(texts))


def _totals(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
    )


def _tool_calls(raw: Iterable[Mapping[str, Any]]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in raw:
        name, arguments = call["function"].get("name") or "", arguments_of(call)
        parsed, problem = parse_arguments(arguments)
        if parsed is not None:
            calls.append(tool_call(name=name, args=parsed, id=call.get("id")))
        else:
            invalid.append(invalid_tool_call(name=name, args=arguments, id=call.get("id"), error=problem))
    return calls, invalid


def _content_blocks(message: AIMessage) -> list[blocks.ContentBlock]:
    """Return LangChain's standard blocks of a message of ours: its best effort, and what comes beside the content."""
    metadata = {name: value for name, value in message.response_metadata.items() if name != "model_provider"}
    found: list[Any] = message.model_copy(update={"response_metadata": metadata}).content_blocks
    extra = message.additional_kwargs
    if thinking := extra.get("thinking_blocks"):
        found = [*map(_reasoning_block, thinking), *(block for block in found if block["type"] != "reasoning")]
    if citations := [_citation(one) for one in extra.get("annotations") or () if one.get("type") == "url_citation"]:
        found = [{**block, "annotations": citations} if block["type"] == "text" else block for block in found]
    if extra.get("refusal"):
        found.append({"type": "refusal", "refusal": extra["refusal"]})
    return found


def _reasoning_block(thinking: Mapping[str, Any]) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "reasoning", "reasoning": thinking.get("thinking") or ""}
    if thinking["type"] == "redacted_thinking":
        block = {"type": "non_standard", "value": {name: thinking[name] for name in ("type", "data")}}
    elif thinking.get("signature"):
        block["extras"] = {"signature": thinking["signature"]}
    if "index" in thinking:
        block["index"] = f"lc_thinking_{thinking['index']}"
    return block


def _citation(annotation: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "citation", **annotation["url_citation"]}


def _chunk_blocks(chunk: AIMessageChunk) -> list[blocks.ContentBlock]:
    """Return the blocks of a chunk, each kind with an index of its own, for blocks of one index are merged."""
    found: list[Any] = _content_blocks(chunk)
    if chunk.chunk_position == "last":
        return found
    found = [block for block in found if block["type"] not in _CALL_BLOCKS]
    found += [{**piece, "type": "tool_call_chunk"} for piece in chunk.tool_call_chunks]
    for block in found:
        if isinstance(block.get("index"), int):
            block["index"] = f"lc_{block['type']}_{block['index']}"
        elif block["type"] in ("text", "reasoning"):
            block.setdefault("index", f"lc_{block['type']}")
    return found


register_translator(MODEL_PROVIDER, _content_blocks, _chunk_blocks)
