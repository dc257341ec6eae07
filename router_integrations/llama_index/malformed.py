"""What every provider would refuse of a LlamaIndex history, found before any LLM is called."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from router_integrations.adapters.pairing import Pairing, check_texts
from router_integrations.adapters.replies import parse_arguments
from router_integrations.errors import RequestError
from router_integrations.llama_index.blocks import is_plain
from router_integrations.llama_index.convert import calls_of


def check(messages: Sequence[ChatMessage]) -> None:
    """Refuse a history that every provider would refuse, before any LLM is called.

    Legal, and let through: an answer at the end, with or without tool calls; several results for one answer's calls;
    system messages anywhere; calls that could not be parsed and have no result.

    Args:
        messages: The conversation, first message first.

    Raises:
        RequestError: It is empty, a message or a content block is malformed, a text holds a lone surrogate, or tool
            calls and results do not pair up; the error names the message's index.

    >>> check([ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "1"})])
    Traceback (most recent call last):
    router_integrations.errors.RequestError: messages[0] is the result of the tool call '1', but the answer before it \
makes no such call; keep a call and its results together
    """
    if not messages:
        raise RequestError("messages is empty; give at least one message")
    pairing = Pairing()
    for index, message in enumerate(messages):
        _check_message(index, message)
        if message.role == MessageRole.TOOL:
            pairing.result(index, _result_id(index, message))
        elif message.role != MessageRole.FUNCTION:
            pairing.turn(index, *_waiting(message))
    pairing.end(len(messages))


def _result_id(index: int, message: ChatMessage) -> str:
    one = message.additional_kwargs.get("tool_call_id")
    if not isinstance(one, str):
        raise RequestError(
            f"messages[{index}] is a tool's result but names no call; give it "
            "additional_kwargs={'tool_call_id': ...}, the id of the call"
        )
    return one


def _waiting(message: ChatMessage) -> tuple[dict[str, bool], dict[str, int]]:
    """Return the ids that may have a result after `message`, whether they must, and how many calls share each."""
    if is_plain(message):
        return {}, {}
    wanted: dict[str, bool] = {}
    times = Counter[str]()
    for call in calls_of(message):
        one = str(call["id"])
        wanted[one] = bool(one) and parse_arguments(call["function"]["arguments"])[0] is not None
        times[one] += 1
    return wanted, times


def _check_message(index: int, message: Any) -> None:
    where = f"messages[{index}]"
    if not isinstance(message, ChatMessage) or not isinstance(message.role, MessageRole):
        raise RequestError(f"{where} must be a ChatMessage but got {reprlib.repr(message)}; leave it out")
    if is_plain(message) and (message.content or "").isascii():
        return
    for position, block in enumerate(message.blocks):
        if not hasattr(block, "block_type"):
            raise RequestError(
                f"{where}.blocks[{position}] must be a content block but got {reprlib.repr(block)}; "
                "wrap text as TextBlock(text=...)"
            )
    check_texts(where, [message.additional_kwargs, *(_texts(block) for block in message.blocks)])


def _texts(block: Any) -> Any:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, ThinkingBlock):
        return block.content
    return block.__dict__ if isinstance(block, ToolCallBlock) else None
