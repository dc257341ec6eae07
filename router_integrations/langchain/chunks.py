"""OpenAI-shaped stream chunks as LangChain's, such that adding them up gives the whole message.

LangChain concatenates equal strings and sums numbers when it merges chunks, so whatever describes the whole reply must
be on exactly one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from router_integrations.adapters.replies import Pieces, Prompt, choice_metadata, extra_fields, text_of
from router_integrations.langchain.replies import MODEL_PROVIDER, estimated, reply_metadata, usage_metadata


class ChunkReader:
    """Reads one stream.

    Args:
        prompt: What was sent, for the usage that the provider may not report.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._pieces = Pieces()
        self._once: set[str] = set()
        self._said: list[str] = []
        self._has_usage = False

    def read(self, chunk: Mapping[str, Any]) -> AIMessageChunk | None:
        """Return the next chunk; `None` for one that tells nothing, so that the first one returned shows something."""
        choice: Mapping[str, Any] = next(
            (choice for choice in chunk.get("choices") or () if not choice.get("index")), {}
        )
        delta = choice.get("delta") or {}
        text = text_of(delta.get("content"))
        calls = [tool_call_chunk(**self._pieces.call(call)) for call in delta.get("tool_calls") or ()]
        extra = self._mergeable(extra_fields(chunk, delta))
        metadata = self._first_only(choice_metadata(choice), "finish_reason")
        usage = None if self._has_usage else usage_metadata(chunk)
        if not (text or calls or extra or metadata or usage):
            return None
        self._said += [text, str(extra.get("reasoning_content", "")), *(call["args"] or "" for call in calls)]
        self._has_usage = self._has_usage or usage is not None
        return AIMessageChunk(
            content=text,
            tool_call_chunks=calls,
            additional_kwargs=extra,
            usage_metadata=usage,
            response_metadata=self._about_reply(chunk) | metadata,
        )

    def end(self) -> AIMessageChunk | None:
        """Return a last chunk with about the usage if the provider reported none for what it said."""
        if self._has_usage or not self._once:
            return None
        return AIMessageChunk(
            content="",
            usage_metadata=estimated(self._prompt, self._said),
            response_metadata={"model_provider": MODEL_PROVIDER, "usage_estimated": True},
        )

    def _about_reply(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        about = reply_metadata(chunk, self._prompt.candidate)
        # This one alone merges with its equal, and each chunk is read by it.
        provider = {"model_provider": about.pop("model_provider")}
        return self._first_only(about, *about) | provider

    def _first_only(self, fields: dict[str, Any], *names: str) -> dict[str, Any]:
        """Return `fields` without those of `names` that an earlier chunk had."""
        kept = {name: value for name, value in fields.items() if name not in names or name not in self._once}
        self._once.update(name for name in kept if name in names)
        return kept

    def _mergeable(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Return `extra` so that pieces of a block find each other and repeated fields are sent once."""
        extra = self._first_only(extra, "citations", "search_results")
        if "thinking_blocks" in extra:
            extra["thinking_blocks"] = [self._pieces.thinking(block) for block in extra["thinking_blocks"]]
        if specific := extra.pop("provider_specific_fields", None):
            single = [name for name, value in specific.items() if not isinstance(value, list)]
            if kept := self._first_only(specific, *single):
                extra["provider_specific_fields"] = kept
        return extra
