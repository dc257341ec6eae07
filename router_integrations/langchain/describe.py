"""A LangChain call seen as a `Request`: what is asked, what it needs, how long it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from router_integrations.adapters.describing import Seen, modality_of
from router_integrations.candidates import Candidate
from router_integrations.langchain.binding import Binding, SchemaBinding, ToolBinding
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Capability, Modality, Request

_BLOCK_MODALITY: dict[str, Modality] = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "document": "pdf",
    "pdf": "pdf",
    "file": "pdf",
    "input_file": "pdf",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call on the router, as LangChain made it.

    Args:
        messages: The caller's own messages.
        stop: Stop sequences.
        kwargs: Call settings for whichever candidate answers.
        binding: Tools or schema to replay on it.
        forced: The name or id of the one candidate that the caller wants.
    """

    messages: Sequence[BaseMessage]
    stop: list[str] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    binding: Binding | None = None
    forced: str | None = None


def describe(job: Job, config: RunnableConfig, *, context_turns: int, candidates: Sequence[Candidate]) -> Request:
    """Return the request that strategies see; `candidates` only tell how exactly tokens must be counted.

    Raises:
        RequestError: A text holds a lone surrogate.
    """
    messages: Sequence[Any] = job.messages
    # Pydantic makes `isinstance` slow, and this runs for each message of each call.
    kinds = [message.type.removesuffix("MessageChunk").lower() for message in messages]
    media = _media(messages)
    tools = _tools(job)
    previous, answered = _previous(messages, kinds)
    conversation, user = ids_of(config)
    seen = Seen(
        kinds=kinds,
        texts=[_text(message, kind) for message, kind in zip(messages, kinds, strict=True)],
        media=media,
        images=_images(messages, kinds) if "image" in media else (),
        tools=tools,
        tool_tokens=_tool_tokens(job, tools),
        calls_tools=any(kind == "ai" and one.tool_calls for one, kind in zip(messages, kinds, strict=True)),
        schema=_schema(job),
        needs=_needs(job),
        previous=previous,
        answered=answered,
        in_tool_loop=_in_tool_loop(messages[-1]),
        max_output_tokens=job.kwargs.get("max_tokens") or job.kwargs.get("max_completion_tokens"),
        conversation_id=conversation,
        user_id=user,
        native=messages,
    )
    return seen.request(candidates, context_turns=context_turns)


def characters(messages: Sequence[BaseMessage]) -> int:
    """Return how many characters the messages' texts have."""
    return sum(
        len(content)
        if isinstance(content := message.content, str)
        else sum(len(_block_text(block)) for block in content)
        for message in messages
    )


def _text(message: Any, kind: str) -> str:
    content = message.content
    text = content if isinstance(content, str) else "\n".join(_block_text(block) for block in content)
    if kind == "ai" and message.tool_calls:
        text += json.dumps([[call["name"], call["args"]] for call in message.tool_calls], default=str)
    return text


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return block
    text = block.get("text") or block.get("thinking") or block.get("reasoning") or ""
    return text if isinstance(text, str) else ""


def _media(messages: Sequence[BaseMessage]) -> list[Modality]:
    blocks = (block for message in messages if isinstance(message.content, list) for block in message.content)
    found = (_modality(block) for block in blocks if isinstance(block, dict))
    return [modality for modality in found if modality is not None]


def _modality(block: Mapping[str, Any]) -> Modality | None:
    kind = block.get("type", "")
    if kind != "media":
        return _BLOCK_MODALITY.get(kind)
    return modality_of(str(block.get("mime_type", "")))


def _images(messages: Sequence[BaseMessage], kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the images of the last human turn; what a tool or a model has shown is not what is asked."""
    last = next((m for m, kind in zip(reversed(messages), reversed(kinds), strict=True) if kind == "human"), None)
    blocks = last.content if last is not None and isinstance(last.content, list) else ()
    found = (_image(block) for block in blocks if isinstance(block, dict) and _modality(block) == "image")
    return tuple(image for image in found if image is not None)


def _image(block: Mapping[str, Any]) -> str | None:
    """Return the URL or data URI of an image block; the block's own string, uncopied, where it is one already."""
    source = block.get("source")
    if isinstance(source, Mapping):
        block = source
    given = block.get("image_url")
    url = given.get("url") if isinstance(given, Mapping) else given or block.get("url") or block.get("file_uri")
    if isinstance(url, str):
        return url
    data = block.get("base64") or block.get("data")
    mime = block.get("mime_type") or block.get("media_type") or "image/*"
    return f"data:{mime};base64,{data}" if isinstance(data, str) else None


def _tools(job: Job) -> tuple[Mapping[str, Any], ...]:
    if isinstance(job.binding, ToolBinding):
        return job.binding.described
    return tuple(job.kwargs.get("tools") or ())


def _tool_tokens(job: Job, tools: Sequence[Mapping[str, Any]]) -> int:
    if not tools:
        return 0
    return (
        job.binding.tokens if isinstance(job.binding, ToolBinding) else estimate_tokens(json.dumps(tools, default=str))
    )


def _schema(job: Job) -> Mapping[str, Any] | None:
    if isinstance(job.binding, SchemaBinding):
        return job.binding.described
    response_format = _response_format(job)
    if isinstance(response_format, Mapping):
        schema: Mapping[str, Any] | None = response_format.get("json_schema")
        return schema
    return None


def _response_format(job: Job) -> Any:
    bound = job.binding.kwargs.get("response_format") if job.binding is not None else None
    return bound or job.kwargs.get("response_format")


def _needs(job: Job) -> frozenset[Capability]:
    needs: set[Capability] = set()
    if isinstance(job.binding, SchemaBinding) and job.binding.need is not None:
        needs.add(job.binding.need)
    response_format = _response_format(job)
    if response_format is not None and not (
        isinstance(response_format, Mapping) and response_format.get("type") in ("text", "json_object")
    ):
        needs.add("schema")
    return frozenset(needs)


def _previous(messages: Sequence[BaseMessage], kinds: Sequence[str]) -> tuple[str | None, int]:
    """Return who gave the last answer, by the trace on it, and the number of messages up to it."""
    for index in reversed(range(len(messages))):
        if kinds[index] == "ai":
            trace = messages[index].response_metadata.get("router")
            return (trace.get("candidate") if isinstance(trace, Mapping) else None), index + 1
    return None, 0


def _in_tool_loop(last: BaseMessage) -> bool:
    """Whether the model is owed the answer to its tool calls: a tool message, or Anthropic's results in a human one."""
    blocks = last.content if isinstance(last.content, list) else ()
    return last.type == "tool" or any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks
    )


def ids_of(config: RunnableConfig) -> tuple[str | None, str | None]:
    """Return the conversation's and the user's id: LangGraph's `thread_id`, and `user_id`, configurable or metadata."""
    known = {**(config.get("metadata") or {}), **(config.get("configurable") or {})}
    thread, user = known.get("thread_id"), known.get("user_id")
    return (None if thread is None else str(thread)), (None if user is None else str(user))
