"""OpenAI-shaped replies and chunks as LlamaIndex's responses; those of a stream say all that was said so far."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from router_integrations import providers
from router_integrations.adapters.replies import (
    REPLAYED,
    Pieces,
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

_OF_REPLY = ("citations", "search_results")
_METADATA = ("id", "created", "model", "system_fingerprint", "service_tier")
# These are blocks of their own.
_SHOWN = frozenset({*REPLAYED, "images"})


def chat_response(reply: Mapping[str, Any], prompt: Prompt) -> ChatResponse:
    """Return the first choice of a reply; `raw` holds the whole reply.

    >>> from router_integrations import Candidate
    >>> reply = {"choices": [{"message": {"content": "Hi"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    >>> response = chat_response(reply, Prompt(Candidate("openai/gpt-4o-mini"), []))
    >>> response.message.content, response.additional_kwargs["total_tokens"]
    ('Hi', 11)
    """
    choice = reply["choices"][0]
    texts = (text for one in reply["choices"] for text in said(one["message"]))
    return ChatResponse(
        message=_message(reply, choice["message"]),
        raw=reply if reply.get("model") else {**reply, "model": bare_model(prompt.candidate)},
        logprobs=_logprobs(choice.get("logprobs")),
        additional_kwargs=_token_counts(reply, prompt, texts),
    )


def completion(response: ChatResponse) -> CompletionResponse:
    """Return what a response says, as a completion."""
    return CompletionResponse(
        text=response.message.content or "",
        delta=response.delta,
        raw=response.raw,
        logprobs=response.logprobs,
        additional_kwargs=response.additional_kwargs,
    )


def _message(reply: Mapping[str, Any], message: Mapping[str, Any]) -> ChatMessage:
    extra = extra_fields(reply, message)
    calls = message.get("tool_calls") or ()
    text = text_of(message.get("content"))
    blocks: list[Any] = _thinking(extra)
    if text or not (calls or extra.get("images")):
        blocks.append(TextBlock(text=text))
    blocks += [_image(one) for one in extra.get("images") or ()]
    blocks += [_call(call) for call in calls]
    kwargs = {name: value for name, value in extra.items() if name not in _SHOWN}
    if calls:
        # LlamaIndex's chat engines and programs look for the calls here.
        kwargs["tool_calls"] = list(calls)
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs)


def _thinking(extra: Mapping[str, Any]) -> list[ThinkingBlock]:
    """Return the reasoning, each piece with all that its provider wants back with it."""
    blocks = []
    for thought in extra.get("thinking_blocks") or ():
        about = {name: value for name, value in thought.items() if name not in ("thinking", "index")}
        blocks.append(ThinkingBlock(content=thought.get("thinking"), additional_information=about))
    for item in extra.get("reasoning_items") or ():
        summary = "\n".join(part.get("text") or "" for part in item.get("summary") or ())
        blocks.append(ThinkingBlock(content=summary or None, additional_information=dict(item)))
    loose = extra.get("reasoning_content")
    # LiteLLM says signed thoughts once more, as plain text.
    if loose and not any(block.content for block in blocks):
        about = {"type": "reasoning_content"}
        blocks.insert(0, ThinkingBlock(content=loose, additional_information=about))
    return blocks


def _call(call: Mapping[str, Any]) -> ToolCallBlock:
    arguments = arguments_of(call)
    parsed, _ = parse_arguments(arguments)
    name = (call.get("function") or {}).get("name") or ""
    return ToolCallBlock(
        tool_call_id=call.get("id"), tool_name=name, tool_kwargs=arguments if parsed is None else parsed
    )


def _image(made: Mapping[str, Any]) -> ImageBlock:
    url = made["image_url"]["url"]
    if not url.startswith("data:"):
        return ImageBlock(url=url)
    head, _, data = url.partition(",")
    mime = head.removeprefix("data:").partition(";")[0]
    return ImageBlock(image=base64.b64decode(data), image_mimetype=mime or None)


def _logprobs(reported: Any) -> list[list[LogProb]] | None:
    content = reported.get("content") if isinstance(reported, Mapping) else None
    if not content:
        return None
    return [[_logprob(one) for one in (token, *(token.get("top_logprobs") or ()))] for token in content]


def _logprob(token: Mapping[str, Any]) -> LogProb:
    return LogProb(token=token.get("token") or "", logprob=token["logprob"], bytes=token.get("bytes") or [])


def _token_counts(reply: Mapping[str, Any], prompt: Prompt, texts: Iterable[str]) -> dict[str, Any]:
    """Return the usage in the words of LlamaIndex's integrations, and how the tokens divide."""
    usage = providers.usage(reply)
    counted = prompt.estimate(texts) if usage is None else usage
    counts: dict[str, Any] = {
        "prompt_tokens": counted.input_tokens,
        "completion_tokens": counted.output_tokens,
        "total_tokens": counted.input_tokens + counted.output_tokens,
    }
    if usage is None:
        return {**counts, "usage_estimated": True}
    read, wrote = token_details(reply, usage)
    named = {
        "cache_read_tokens": read.get("cache_read"),
        "cache_write_tokens": read.get("cache_creation"),
        "reasoning_tokens": wrote.get("reasoning"),
    }
    return {**counts, **{name: count for name, count in named.items() if count}}


class ChunkReader:
    """Adds up one stream.

    Args:
        prompt: What was sent, for the usage that the provider may not report.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._pieces = Pieces()
        self._about: dict[str, Any] = {}
        self._choice: dict[str, Any] = {"index": 0}
        self._text: list[str] = []
        self._extra: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []
        self._logprobs: list[Any] = []

    def read(self, chunk: Mapping[str, Any]) -> ChatResponse | None:
        """Return all that was said so far; `None` for a chunk that says nothing."""
        choice: Mapping[str, Any] = next((one for one in chunk.get("choices") or () if not one.get("index")), {})
        delta = choice.get("delta") or {}
        text = text_of(delta.get("content"))
        extra = extra_fields(chunk, delta)
        calls = [self._pieces.call(call) for call in delta.get("tool_calls") or ()]
        self._note(chunk, choice)
        if not (text or extra or calls):
            return None
        self._text.append(text)
        self._add(extra)
        for call in calls:
            self._add_call(call)
        thought = extra.get("reasoning_content")
        return ChatResponse(
            message=_message(self._extra, self._whole()),
            delta=text,
            raw=chunk,
            additional_kwargs={"thinking_delta": thought} if thought else {},
        )

    def end(self) -> ChatResponse:
        """Return the whole answer with its usage, as a call that was not streamed would have given it."""
        if self._logprobs:
            self._choice["logprobs"] = {"content": self._logprobs}
        choice = {**self._choice, "message": self._whole()}
        of_reply = {name: self._extra[name] for name in _OF_REPLY if name in self._extra}
        reply = {**self._about, "object": "chat.completion", "choices": [choice], **of_reply}
        return chat_response(reply, self._prompt).model_copy(update={"delta": ""})

    def _note(self, chunk: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        self._about |= {name: chunk[name] for name in (*_METADATA, "usage") if chunk.get(name)}
        told = choice_metadata(choice)
        logprobs = told.pop("logprobs", None) or {}
        self._logprobs += logprobs.get("content") or () if isinstance(logprobs, Mapping) else ()
        self._choice |= told

    def _add(self, extra: dict[str, Any]) -> None:
        for thought in extra.pop("thinking_blocks", ()):
            self._add_thought(self._pieces.thinking(thought))
        specific = extra.pop("provider_specific_fields", None)
        if specific:
            self._extra["provider_specific_fields"] = _joined(self._extra.get("provider_specific_fields"), specific)
        self._extra |= {name: extra.pop(name) for name in _OF_REPLY if name in extra}
        for name, value in extra.items():
            known = isinstance(value, str | list) and name in self._extra
            self._extra[name] = self._extra[name] + value if known else value

    def _add_thought(self, piece: dict[str, Any]) -> None:
        thoughts = self._extra.setdefault("thinking_blocks", [])
        known = next((one for one in thoughts if one["index"] == piece["index"]), None)
        if known is None:
            thoughts.append(piece)
            return
        for name in ("thinking", "signature", "data"):
            if piece.get(name):
                known[name] = (known.get(name) or "") + piece[name]

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        if piece["index"] == len(self._calls):
            self._calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call = self._calls[piece["index"]]
        function = call["function"]
        self._calls[piece["index"]] = {
            **call,
            "id": call["id"] or piece["id"],
            "function": {
                "name": function["name"] or piece["name"] or "",
                "arguments": function["arguments"] + (piece["args"] or ""),
            },
        }

    def _whole(self) -> dict[str, Any]:
        """Return the message so far, in OpenAI's form."""
        message = {name: value for name, value in self._extra.items() if name not in _OF_REPLY}
        if self._calls:
            message["tool_calls"] = list(self._calls)
        return {"role": "assistant", "content": "".join(self._text), **message}


def _joined(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(old or {})
    for name, value in new.items():
        joined[name] = [*joined[name], *value] if isinstance(value, list) and name in joined else value
    return joined


def forced_single(response: ChatResponse) -> ChatResponse:
    """Return `response` with its first tool call alone; itself when it has no other."""
    blocks = response.message.blocks
    extra = [place for place, block in enumerate(blocks) if isinstance(block, ToolCallBlock)][1:]
    if not extra:
        return response
    kept = [block for place, block in enumerate(blocks) if place not in extra]
    kwargs = {**response.message.additional_kwargs}
    kwargs["tool_calls"] = kwargs.get("tool_calls", [])[:1]
    message = response.message.model_copy(update={"blocks": kept, "additional_kwargs": kwargs})
    return response.model_copy(update={"message": message})
