"""What replies and chunks in OpenAI's form tell, whichever framework asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router_integrations.adapters.counting import count_request
from router_integrations.candidates import Candidate
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Usage

# What the issuer of a message wants back with it, beside the content.
REPLAYED = ("reasoning_content", "thinking_blocks", "reasoning_items")
# How providers call these two.
FINISH_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason")
MODEL_KEYS = ("model_name", "model", "model_id")
_MESSAGE_FIELDS = (*REPLAYED, "annotations", "refusal", "audio", "images")
_REPLY_FIELDS = ("citations", "search_results")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What was sent to whom, for what a reply leaves out.

    Args:
        candidate: Who was asked.
        messages: The messages in OpenAI's form.
        tools: The tools that were sent with them.

    >>> Prompt(Candidate("openai/gpt-4o-mini"), [{"role": "user", "content": "Hi"}]).estimate(["Hello there"])
    Usage(input_tokens=5, output_tokens=3, cache_read_tokens=0, cache_write_tokens=0, estimated=True)
    """

    candidate: Candidate
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Any] | None = None

    def estimate(self, said: Iterable[str]) -> Usage:
        """Return about the usage of a reply that consists of the texts `said`."""
        read = count_request(self.messages, self.tools, estimate_tokens)
        return Usage(input_tokens=read, output_tokens=sum(map(estimate_tokens, said)), estimated=True)


def bare_model(candidate: Candidate) -> str:
    """Return the model's name without LiteLLM's provider prefix.

    >>> bare_model(Candidate("openai/gpt-4o-mini")), bare_model(Candidate("gpt-4o-mini"))
    ('gpt-4o-mini', 'gpt-4o-mini')
    """
    _, slash, bare = candidate.id.partition("/")
    return bare if slash else candidate.id


def text_of(content: Any) -> str:
    """Return the text of a reply's content, whichever form the provider gave it."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


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


def arguments_of(call: Mapping[str, Any]) -> str:
    """Return the arguments of a tool call, or of a piece of one, as JSON; some providers send an object."""
    arguments = (call.get("function") or {}).get("arguments") or ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def parse_arguments(arguments: str) -> tuple[dict[str, Any] | None, str]:
    """Return the arguments of a tool call, or `None` and in words why they are none.

    >>> parse_arguments('{"a": 1}'), parse_arguments("[]")
    (({'a': 1}, ''), (None, 'the arguments are no JSON object'))
    """
    try:
        parsed = json.loads(arguments or "{}", strict=False)
    except json.JSONDecodeError as error:
        return None, f"the arguments are no JSON: {error}"
    return (parsed, "") if isinstance(parsed, dict) else (None, "the arguments are no JSON object")


def said(message: Mapping[str, Any]) -> Iterable[str]:
    """Yield the texts that a message, or a delta, was billed for: content, reasoning and arguments."""
    yield text_of(message.get("content"))
    yield message.get("reasoning_content") or ""
    for call in message.get("tool_calls") or ():
        yield arguments_of(call)


def token_details(reply: Mapping[str, Any], usage: Usage) -> tuple[dict[str, int], dict[str, int]]:
    """Return how the input and the output tokens of a reply divide, as far as it tells.

    >>> reply = {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens": 2}}
    >>> token_details(reply, Usage(input_tokens=9, output_tokens=2, cache_read_tokens=4))
    ({'cache_read': 4}, {})
    """
    read: Mapping[str, Any] = reply["usage"].get("prompt_tokens_details") or {}
    wrote: Mapping[str, Any] = reply["usage"].get("completion_tokens_details") or {}
    input_details = {
        "audio": read.get("audio_tokens"),
        "cache_read": usage.cache_read_tokens or read.get("cached_tokens"),
        "cache_creation": usage.cache_write_tokens or None,
    }
    output_details = {"audio": wrote.get("audio_tokens"), "reasoning": wrote.get("reasoning_tokens")}
    return _known(input_details), _known(output_details)


def _known(counts: Mapping[str, int | None]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count is not None}


def logprobs_of(reported: Any) -> tuple[float, ...]:
    """Return the log-probability of each token, from the form of OpenAI or of older APIs.

    >>> logprobs_of({"content": [{"token": "Hi", "logprob": -0.5}]})
    (-0.5,)
    """
    if isinstance(reported, Mapping):
        if isinstance(reported.get("token_logprobs"), list):
            return tuple(float(value) for value in reported["token_logprobs"] if value is not None)
        reported = reported.get("content")
    if not isinstance(reported, list):
        return ()
    return tuple(float(token["logprob"]) for token in reported if isinstance(token, Mapping) and "logprob" in token)


def top_logprobs_of(reported: Any) -> tuple[tuple[float, ...], ...]:
    """Return the log-probabilities of the likeliest tokens at each place, likeliest first; empty if none are told."""
    content = reported.get("content") if isinstance(reported, Mapping) else None
    places = [token.get("top_logprobs") or () for token in content or () if isinstance(token, Mapping)]
    if not any(places):
        return ()
    return tuple(tuple(sorted((float(one["logprob"]) for one in place), reverse=True)) for place in places)


class Pieces:
    """Numbers the pieces of one stream's tool calls and thinking, so that those of one block find each other.

    >>> pieces = Pieces()
    >>> first = pieces.call({"index": 0, "id": "1", "function": {"name": "add", "arguments": "{"}})
    >>> pieces.call({"index": 0, "id": "1", "function": {"name": "add", "arguments": "}"}})
    {'name': None, 'args': '}', 'id': None, 'index': 0}
    """

    def __init__(self) -> None:
        self._slots: dict[Any, int] = {}
        self._ids: list[str | None] = []
        self._named: set[int] = set()
        self._thinking = 0

    def call(self, delta: Mapping[str, Any]) -> dict[str, Any]:
        """Return a piece of a tool call with the index of its call; name and id are on the first piece only."""
        id_ = delta.get("id") or None
        slot = self._slot(delta.get("index"), id_)
        fresh_id = id_ if self._ids[slot] is None else None
        self._ids[slot] = self._ids[slot] or id_
        name = (delta.get("function") or {}).get("name") or None
        if slot in self._named:
            name = None
        elif name:
            self._named.add(slot)
        return {"name": name, "args": arguments_of(delta), "id": fresh_id, "index": slot}

    def _slot(self, index: Any, id_: str | None) -> int:
        """Return our index of the call; another id under a known index is another call."""
        slot = self._slots.get(index)
        if slot is None or (id_ and self._ids[slot] not in (None, id_)):
            slot = self._slots[index] = len(self._ids)
            self._ids.append(None)
        return slot

    def thinking(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """Return a piece of a thinking block with the index of its block; a signature ends one."""
        if block.get("index") is not None:
            return dict(block)
        numbered = {**block, "index": self._thinking}
        if block.get("signature") or block.get("type") == "redacted_thinking":
            self._thinking += 1
        return numbered
