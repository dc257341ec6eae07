"""OpenAI-shaped replies as LangChain's messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages import content as blocks
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.outputs import ChatGeneration, ChatResult

from router_integrations import providers
from router_integrations.candidates import Candidate
from router_integrations.langchain.convert import REPLAYED
from router_integrations.langchain.counting import count_request
from router_integrations.tokens import estimate_tokens

# Not the provider's own name: LangChain would read the content as that provider's native one and lose the reasoning
# that comes beside it. Who answered is `provider` in the response's metadata.
MODEL_PROVIDER = "litellm"
_MESSAGE_FIELDS = (*REPLAYED, "annotations", "refusal", "audio", "images")
_REPLY_FIELDS = ("citations", "search_results")
_METADATA = ("id", "system_fingerprint", "service_tier")
_CALL_BLOCKS = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """What was sent to whom, for what a reply leaves out.

    Args:
        candidate: Who was asked.
        messages: The messages in OpenAI's form.
        tools: The tools that were sent with them.
    """

    candidate: Candidate
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Any] | None = None

    def estimate(self, said: Iterable[str]) -> UsageMetadata:
        """Return about the usage of a reply that consists of the texts `said`."""
        read = count_request(self.messages, self.tools, estimate_tokens)
        wrote = sum(map(estimate_tokens, said))
        return UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)


def chat_result(reply: Mapping[str, Any], prompt: Prompt) -> ChatResult:
    """Return every choice of a reply; the usage, which is that of all of them, is on the first."""
    messages = [_message(reply, choice, prompt.candidate) for choice in reply["choices"]]
    first = messages[0]
    first.usage_metadata = usage_metadata(reply)
    if first.usage_metadata is None:
        first.usage_metadata = prompt.estimate(text for choice in reply["choices"] for text in _said(choice["message"]))
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


def bare_model(candidate: Candidate) -> str:
    """Return the model's name without LiteLLM's provider prefix.

    >>> bare_model(Candidate("openai/gpt-4o-mini")), bare_model(Candidate("gpt-4o-mini"))
    ('gpt-4o-mini', 'gpt-4o-mini')
    """
    _, slash, bare = candidate.id.partition("/")
    return bare if slash else candidate.id


def choice_metadata(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return why a choice, or a chunk of one, ended, and its log-probabilities."""
    return {name: choice[name] for name in ("finish_reason", "logprobs") if choice.get(name)}


def extra_fields(reply: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what comes beside the content of a message, or of a delta: reasoning, citations or a refusal."""
    fields = {name: message[name] for name in _MESSAGE_FIELDS if message.get(name)}
    fields |= {name: reply[name] for name in _REPLY_FIELDS if reply.get(name)}
    # LiteLLM repeats here what it has already put beside the content.
    known = {*_MESSAGE_FIELDS, *_REPLY_FIELDS}
    specific = {
        name: value
        for name, value in (message.get("provider_specific_fields") or {}).items()
        if value is not None and name not in known
    }
    return {**fields, "provider_specific_fields": specific} if specific else fields


def text_of(content: Any) -> str:
    """Return the text of a reply's content, whichever form the provider gave it."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


def usage_metadata(reply: Mapping[str, Any]) -> UsageMetadata | None:
    """Return the usage of a reply with its details; `None` when the provider reports none."""
    usage = providers.usage(reply)
    if usage is None:
        return None
    raw = reply["usage"]
    read: Mapping[str, Any] = raw.get("prompt_tokens_details") or {}
    wrote: Mapping[str, Any] = raw.get("completion_tokens_details") or {}
    metadata: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    details = {
        "input_token_details": {
            "audio": read.get("audio_tokens"),
            "cache_read": usage.cache_read_tokens or read.get("cached_tokens"),
            "cache_creation": usage.cache_write_tokens or None,
        },
        "output_token_details": {"audio": wrote.get("audio_tokens"), "reasoning": wrote.get("reasoning_tokens")},
    }
    for name, counts in details.items():
        if known := {key: value for key, value in counts.items() if value is not None}:
            metadata[name] = known
    return cast("UsageMetadata", metadata)


def _said(message: Mapping[str, Any]) -> Iterable[str]:
    yield text_of(message.get("content"))
    yield message.get("reasoning_content") or ""
    for call in message.get("tool_calls") or ():
        yield arguments_of(call)


def arguments_of(call: Mapping[str, Any]) -> str:
    """Return the arguments of a tool call, or of a piece of one, as JSON; some providers send an object."""
    arguments = (call.get("function") or {}).get("arguments") or ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _tool_calls(raw: Iterable[Mapping[str, Any]]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in raw:
        name, arguments = call["function"].get("name") or "", arguments_of(call)
        try:
            parsed, problem = json.loads(arguments or "{}", strict=False), "the arguments are no JSON object"
        except json.JSONDecodeError as error:
            parsed, problem = None, f"the arguments are no JSON: {error}"
        if isinstance(parsed, dict):
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
