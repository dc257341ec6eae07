"""The tokens that a response of any LlamaIndex LLM reports, in whichever provider's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatResponse

from router_integrations import providers
from router_integrations.types import Usage

_WORDS = ("usage", "usage_metadata", "usageMetadata")
_EVENTS = ("response", "metadata")
_INPUT = ("input_tokens", "inputTokens", "prompt_token_count", "promptTokenCount", "prompt_eval_count")
_OUTPUT = ("output_tokens", "outputTokens", "candidates_token_count", "candidatesTokenCount", "eval_count")
_THOUGHTS = ("thoughts_token_count", "thoughtsTokenCount")
_READ_WITHIN = ("cached_content_token_count", "cachedContentTokenCount")
# Anthropic and Bedrock count these beside the input's.
_READ_BESIDE = ("cache_read_input_tokens", "cacheReadInputTokens")
_WRITE_BESIDE = ("cache_creation_input_tokens", "cacheWriteInputTokens")


def plain(raw: Any) -> dict[str, Any]:
    """Return a provider's reply, or a part of one, as a dict, whatever kind of object it is.

    >>> plain({"a": 1}), plain(None)
    ({'a': 1}, {})
    """
    if isinstance(raw, Mapping):
        return dict(raw)
    if callable(dump := getattr(raw, "model_dump", None)):
        return dict(dump())
    return dict(getattr(raw, "__dict__", {}))


def first_choice(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reply tells about its first answer."""
    for name in ("choices", "candidates"):
        if isinstance(answers := raw.get(name), list | tuple) and answers:
            return plain(answers[0])
    return {}


def usage_of(response: ChatResponse) -> Usage | None:
    """Return the tokens that a response reports; `None` when it reports none.

    >>> from llama_index.core.base.llms.types import ChatMessage
    >>> usage_of(ChatResponse(message=ChatMessage("Hi"), raw={"usage": {"input_tokens": 9, "output_tokens": 2}}))
    Usage(input_tokens=9, output_tokens=2, cache_read_tokens=0, cache_write_tokens=0, estimated=False)
    """
    return next((usage for place in _places(response) if (usage := _read(place)) is not None), None)


def _places(response: ChatResponse) -> Iterator[dict[str, Any]]:
    """Yield where integrations report tokens, the fullest first."""
    raw = plain(response.raw)
    # Streams end with an event around what is told.
    for place in (raw, *(plain(raw[name]) for name in _EVENTS if raw.get(name)), *_beside(response)):
        for name in _WORDS:
            if place.get(name):
                yield {key: value for key, value in plain(place[name]).items() if value is not None}
        yield place


def _beside(response: ChatResponse) -> tuple[dict[str, Any], dict[str, Any]]:
    return response.additional_kwargs, response.message.additional_kwargs


def _read(counts: Mapping[str, Any]) -> Usage | None:
    if counts.get("prompt_tokens") is not None or counts.get("completion_tokens") is not None:
        return _ours(counts)
    read_in, wrote = _first(counts, _INPUT), _first(counts, _OUTPUT)
    if not (read_in or wrote):
        return None
    details = plain(counts.get("input_tokens_details"))
    read, write = _first(counts, _READ_BESIDE), _first(counts, _WRITE_BESIDE)
    return Usage(
        input_tokens=read_in + read + write,
        output_tokens=wrote + _first(counts, _THOUGHTS),
        cache_read_tokens=read or _first(counts, _READ_WITHIN) or _first(details, ("cached_tokens",)),
        cache_write_tokens=write,
    )


def _ours(counts: Mapping[str, Any]) -> Usage | None:
    """Read OpenAI's words, which are this library's too, with what it adds to them."""
    details = {name: plain(counts[name]) for name in ("prompt_tokens_details",) if counts.get(name)}
    usage = providers.usage({"usage": {**counts, **details}})
    if usage is None or "usage_estimated" not in counts:
        return usage
    return Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, estimated=True)


def _first(counts: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((int(counts[name]) for name in names if counts.get(name)), 0)
