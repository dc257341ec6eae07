"""A LlamaIndex call seen as a `Request`: what is asked, what it needs, how long it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    CitableBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    VideoBlock,
)

from router_integrations.adapters.describing import Kind, Seen, modality_of
from router_integrations.adapters.replies import arguments_of, parse_arguments
from router_integrations.candidates import Candidate
from router_integrations.llama_index.answered import answerer_of
from router_integrations.llama_index.binding import Binding, SchemaBinding, ToolBinding
from router_integrations.llama_index.blocks import is_plain, named_type
from router_integrations.llama_index.convert import calls_of
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Capability, Modality, Request

_KINDS: Mapping[MessageRole, Kind] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "human",
    MessageRole.ASSISTANT: "ai",
    MessageRole.CHATBOT: "ai",
    MessageRole.MODEL: "ai",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
_MEDIA: Mapping[type, Modality] = {ImageBlock: "image", AudioBlock: "audio", VideoBlock: "video"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call on the router, as LlamaIndex made it.

    Args:
        messages: The caller's own messages.
        kwargs: Call settings for whichever candidate answers.
        binding: Tools or class to replay on it.
        forced: The name or id of the one candidate that the caller wants.
        tags: Those around the call, which name the conversation and the user.
    """

    messages: Sequence[ChatMessage]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    binding: Binding | None = None
    forced: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)


def describe(job: Job, candidates: Sequence[Candidate], *, context_turns: int) -> Request:
    """Return the request that strategies see.

    Args:
        job: The call.
        candidates: Who may be asked; they tell how exactly tokens must be counted, and how a schema can be followed.
        context_turns: Human turns before the last one that are part of the routing input, at least 0.

    Raises:
        RequestError: A text holds a lone surrogate.
    """
    messages = job.messages
    kinds = [_KINDS[message.role] for message in messages]
    rich = [message for message in messages if not is_plain(message)]
    media = [modality for message in rich for block in _flat(message) if (modality := _modality(block))]
    last = max((index for index, kind in enumerate(kinds) if kind == "ai"), default=-1)
    answerer = answerer_of(messages[last]) if last >= 0 else None
    calls = [list(calls_of(one)) if kind == "ai" else [] for one, kind in zip(messages, kinds, strict=True)]
    tools = job.binding.described if isinstance(job.binding, ToolBinding) else tuple(job.kwargs.get("tools") or ())
    schema = job.binding.described if isinstance(job.binding, SchemaBinding) else _response_schema(job)
    seen = Seen(
        kinds=kinds,
        texts=[_text(one, made) for one, made in zip(messages, calls, strict=True)],
        media=media,
        images=_images(messages, kinds) if "image" in media else (),
        tools=tools,
        tool_tokens=_tool_tokens(job),
        calls_tools=any(calls),
        schema=schema,
        needs=_needs(job, candidates),
        previous=answerer.candidate if answerer else None,
        answered=last + 1,
        in_tool_loop=kinds[-1] == "tool",
        max_output_tokens=job.kwargs.get("max_tokens") or job.kwargs.get("max_completion_tokens"),
        **ids_in(job.tags),
        native=messages,
    )
    return seen.request(candidates, context_turns=context_turns)


def ids_in(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return whose request it is, as instrumentation tags tell.

    >>> ids_in({"thread_id": 7})
    {'conversation_id': '7', 'user_id': None}
    """
    names = {"conversation_id": "thread_id", "user_id": "user_id"}
    return {ours: None if tags.get(theirs) is None else str(tags[theirs]) for ours, theirs in names.items()}


def characters(messages: Sequence[ChatMessage]) -> int:
    """Return how many characters the messages' texts have."""
    return sum(len(_block_text(block)) for message in messages for block in _flat(message))


def _flat(message: ChatMessage) -> Sequence[Any]:
    if is_plain(message):
        return message.blocks
    inner = (block.content if isinstance(block, CitableBlock) else (block,) for block in message.blocks)
    return [block for blocks in inner for block in blocks]


def _text(message: ChatMessage, calls: Sequence[Mapping[str, Any]]) -> str:
    text = "\n".join([said for block in _flat(message) if (said := _block_text(block))])
    made = [[call["function"].get("name"), parse_arguments(arguments_of(call))[0]] for call in calls]
    return text + json.dumps(made, default=str) if made else text


def _block_text(block: Any) -> str:
    if isinstance(block, TextBlock):
        return block.text
    return block.content or "" if isinstance(block, ThinkingBlock) else ""


def _modality(block: Any) -> Modality | None:
    if isinstance(block, DocumentBlock):
        mime = named_type(block) or ""
        return None if mime.startswith("text/") else modality_of(mime)
    return _MEDIA.get(type(block))


def _images(messages: Sequence[ChatMessage], kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the images of the last human turn that need not be read from a file."""
    last = next((m for m, kind in zip(reversed(messages), reversed(kinds), strict=True) if kind == "human"), None)
    blocks = [block for block in _flat(last) if isinstance(block, ImageBlock)] if last is not None else []
    return tuple(image for block in blocks if (image := _image(block)))


def _image(block: ImageBlock) -> str | None:
    if isinstance(block.image, bytes):
        # LlamaIndex keeps the bytes in Base64.
        return f"data:{block.image_mimetype or 'image/*'};base64,{block.image.decode()}"
    return str(block.url) if block.url else None


def _tool_tokens(job: Job) -> int:
    if job.binding is not None:
        return job.binding.tokens if isinstance(job.binding, ToolBinding) else 0
    tools = job.kwargs.get("tools")
    return estimate_tokens(json.dumps(tools, default=str)) if tools else 0


def _response_schema(job: Job) -> Mapping[str, Any] | None:
    given = job.kwargs.get("response_format")
    return given.get("json_schema") if isinstance(given, Mapping) else None


def _needs(job: Job, candidates: Sequence[Candidate]) -> frozenset[Capability]:
    if isinstance(job.binding, SchemaBinding):
        need = job.binding.need(candidates)
        return frozenset() if need is None else frozenset({need})
    given = job.kwargs.get("response_format")
    free = given is None or (isinstance(given, Mapping) and given.get("type") in ("text", "json_object"))
    return frozenset() if free else frozenset({"schema"})
