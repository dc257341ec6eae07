"""How many tokens a chat request has, without asking anybody."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What the role and the separators of one message take; OpenAI's figure, and about right elsewhere.
MESSAGE_OVERHEAD = 4
# About what an image takes; other media vary more than any constant could tell.
_MEDIA_TOKENS = 800


def count_request(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, count: Callable[[str], int]
) -> int:
    """Return the tokens of a request in OpenAI's form.

    Args:
        messages: The messages.
        tools: The tool definitions.
        count: Counts the tokens of a text.

    >>> count_request([{"role": "user", "content": "hi there"}], None, lambda text: len(text.split()))
    6
    """
    total = sum(MESSAGE_OVERHEAD + _count_message(message, count) for message in messages)
    return total + (count(json.dumps(tools, ensure_ascii=False, default=str)) if tools else 0)


def _count_message(message: Mapping[str, Any], count: Callable[[str], int]) -> int:
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    texts += [call["function"]["name"] + call["function"]["arguments"] for call in message.get("tool_calls") or ()]
    texts += [message[name] for name in ("name", "reasoning_content") if isinstance(message.get(name), str)]
    return sum(map(count, texts)) + _MEDIA_TOKENS * sum("text" not in part for part in parts)
