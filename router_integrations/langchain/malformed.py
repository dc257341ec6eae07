"""What every provider would refuse of a history, found before any model is called."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from router_integrations.adapters.pairing import Pairing, check_texts
from router_integrations.errors import RequestError
from router_integrations.langchain.issuers import call_ids, is_ai, is_bare, is_tool, result_ids

_TYPES = frozenset({"human", "ai", "system", "tool", "function", "chat"})
_ROLES = frozenset({"system", "developer", "user", "human", "assistant", "ai", "model", "tool", "function"})
# Blocks of Bedrock's Converse, named by their only key, that LangChain knows without a type.
_CONVERSE = frozenset({"cachePoint", "guardContent", "guard_content", "image", "json"})


def check(messages: Sequence[BaseMessage]) -> None:
    """Refuse a history that every provider would refuse, before any model is called.

    Legal, and let through: an answer at the end, with or without tool calls; several results for one answer's calls;
    results in a human message; system messages anywhere; calls that could not be parsed and have no result.

    Args:
        messages: The conversation, first message first.

    Raises:
        RequestError: It is empty, a message or a content block is malformed, a text holds a lone surrogate, or tool
            calls and results do not pair up; the error names the message's index.

    >>> from langchain_core.messages import ToolMessage
    >>> check([ToolMessage("3", tool_call_id="1")])
    Traceback (most recent call last):
    router_integrations.errors.RequestError: messages[0] is the result of the tool call '1', but the answer before it \
makes no such call; keep a call and its results together
    """
    if not messages:
        raise RequestError("messages is empty; give at least one message")
    pairing = Pairing()
    known: set[type] = set()
    for index, message in enumerate(messages):
        if type(message) not in known:
            _check_kind(index, message)
            known.add(type(message))
        if not pairing.waiting and _is_plain(message):
            continue
        _check_content(index, message)
        for one in result_ids(message):
            pairing.result(index, one)
        if not (is_tool(message) or message.type == "function"):
            pairing.turn(index, _waiting(message))
    pairing.end(len(messages))


def _is_plain(message: BaseMessage) -> bool:
    """Return whether `message` is ASCII text alone, of a role that every provider knows: nothing can be wrong."""
    content = message.content
    return (
        type(content) is str
        and content.isascii()
        and is_bare(message)
        and message.type not in ("chat", "ChatMessageChunk")
    )


def _waiting(message: BaseMessage) -> dict[str, bool]:
    """Return the ids that may have a result after `message`, and whether they must."""
    if not is_ai(message) or is_bare(message):
        return {}
    parsed = ((call["id"], True) for call in message.tool_calls if call["id"])
    return {**dict.fromkeys(call_ids(message), False), **dict(parsed)}


def _check_kind(index: int, message: Any) -> None:
    if not isinstance(message, BaseMessage) or message.type.removesuffix("MessageChunk").lower() not in _TYPES:
        raise RequestError(
            f"messages[{index}] must be a message to a model but got {reprlib.repr(message)}; leave it out"
        )


def _check_content(index: int, message: BaseMessage) -> None:
    where = f"messages[{index}]"
    content: Any = message.content
    if message.type.startswith(("chat", "Chat")) and (role := getattr(message, "role", None)) not in _ROLES:
        raise RequestError(f"{where} has the role {role!r}, which no provider knows; use 'user' or 'assistant'")
    if not isinstance(content, str | list):
        raise RequestError(f"{where}.content must be a string or a list of blocks but got {content!r}; use '' for none")
    for position, block in enumerate(content if isinstance(content, list) else ()):
        named = isinstance(block, dict) and (isinstance(block.get("type"), str) or not _CONVERSE.isdisjoint(block))
        if not (named or isinstance(block, str)):
            raise RequestError(
                f"{where}.content[{position}] must be a string or a dict with a 'type' but got {reprlib.repr(block)}; "
                "wrap text as {'type': 'text', 'text': ...}"
            )
    fields = ("name", "additional_kwargs", "tool_calls", "invalid_tool_calls", "tool_call_id")
    check_texts(where, [content, *(getattr(message, name, None) for name in fields)])
