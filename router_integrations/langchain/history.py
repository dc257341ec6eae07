"""A conversation's history, made fit for the candidate that is about to be asked; the caller's messages never change.

Reasoning and signatures mean something to the model that issued them alone; tool-call ids, cache marks and settings
to some providers only. Who issued a message, and whether that is the target, is `targets`' to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import is_
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from router_integrations.adapters.call_ids import CallIds
from router_integrations.adapters.call_settings import marks_of, strip_settings, without
from router_integrations.adapters.targets import Issuer, Ownership, Step, Target, refusal
from router_integrations.langchain.issuers import (
    CALLS,
    SIGNATURES,
    call_ids,
    has_calls,
    is_ai,
    is_signed,
    is_tool,
    issuer,
    result_ids,
)
from router_integrations.langchain.malformed import check

__all__ = ["Issuer", "Target", "check", "issuer", "needs_tools", "refuses", "strip_settings", "translate"]

_PAIRED = CALLS | {"tool_result", "custom_tool_call"}
_REASONING = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content", "function_call_signature"})
_BLOCK_SECRETS = frozenset({"signature", "thought_signature", "provider_specific_fields", "extra_content", "item_id"})
_MESSAGE_SECRETS = frozenset(
    {"thinking", "thinking_blocks", "reasoning", "reasoning_content", "reasoning_items", "reasoning_details",
     "reasoning_steps", "provider_specific_fields", "__openai_function_call_ids__", SIGNATURES}
)  # fmt: skip
_FUNCTION_CALL, _ITEM_ID = frozenset({"function_call"}), frozenset({"id"})
_ITEMS = frozenset({"text", "output_text", "refusal", "function_call"})
Message = TypeVar("Message", bound=BaseMessage)


def _nothing(kind: str) -> bool:
    return False


def _provider_only(kind: str) -> bool:
    """Return whether other providers refuse this kind of block: reasoning, and tools that a provider ran itself."""
    ran = kind.startswith(("server_tool", "mcp_")) or kind.endswith(("_tool_result", "_call"))
    return kind in _REASONING or (ran and kind not in CALLS)


class _Translation:
    """One walk from the first message to the last; what follows a message has no say in how it is translated."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.marks = marks_of(target)
        self.cache_points = target.among("^bedrock")
        self.ownership = Ownership(target)
        self.ids = CallIds(target)

    def message(self, message: BaseMessage) -> BaseMessage | None:
        """Return `message` for the target: itself when nothing has to change, `None` when nothing is left of it."""
        if is_ai(message):
            return self.answer(message)
        update: dict[str, Any] = {}
        if isinstance(message.content, list):
            update["content"] = self.blocks(message.content, self.marks, _nothing)
        if message.additional_kwargs:
            update["additional_kwargs"] = without(message.additional_kwargs, self.marks)
        if self.ids.renamed and is_tool(message):
            update["tool_call_id"] = self.ids.of(message.tool_call_id)
        return _updated(message, update)

    def answer(self, message: AIMessage) -> BaseMessage | None:
        who = issuer(message)
        owned = self.ownership.owns(who, lambda: is_signed(message))
        if owned and who is not None:
            for one in call_ids(message) if self.ids.renamed else ():
                self.ids.keep(one)
            return message
        calls = bool(message.tool_calls or message.invalid_tool_calls)
        if not (calls or message.additional_kwargs) and type(message.content) is str:
            return message
        for one in call_ids(message):
            self.ids.rename(one, keep_signature=owned)
        changed = _updated(message, self.changes(message, who, owned=owned))
        left = calls or changed.content or changed.additional_kwargs.get("tool_calls")
        return changed if left or changed is message else None

    def changes(self, message: AIMessage, who: Issuer | None, *, owned: bool) -> dict[str, Any]:
        """Return the fields of an answer that was issued by another model, or perhaps was."""
        drop: Callable[[str], bool] = _nothing
        secrets = self.marks
        if not owned:
            secrets = self.marks | _BLOCK_SECRETS
            drop = (
                _REASONING.__contains__ if who is not None and who.provider == self.target.provider else _provider_only
            )
        update: dict[str, Any] = {}
        for name in ("tool_calls", "invalid_tool_calls", "tool_call_chunks"):
            if given := getattr(message, name, None):
                update[name] = self.blocks(given, secrets, _nothing)
        if message.content and isinstance(message.content, list):
            update["content"] = self.blocks(message.content, secrets, drop) or ""
        extra: Any = without(message.additional_kwargs, self.marks if owned else self.marks | _MESSAGE_SECRETS)
        if message.tool_calls and not owned:
            # Gemini's copy of the call; whoever is sent both forms refuses them.
            extra = without(extra, _FUNCTION_CALL)
        if raw := extra.get("tool_calls"):
            calls = self.blocks(raw, secrets, _nothing)
            extra = extra if calls is raw else {**extra, "tool_calls": calls}
        return {**update, "additional_kwargs": extra}

    def blocks(self, given: Any, secrets: frozenset[str], drop: Callable[[str], bool]) -> Any:
        """Return a list of blocks or calls without what the target may not see; itself when nothing changes."""
        kept = [self.block(one, secrets, drop) for one in given if not self.hides(one, drop)]
        return given if len(kept) == len(given) and all(map(is_, kept, given)) else kept

    def hides(self, block: Any, drop: Callable[[str], bool]) -> bool:
        if not isinstance(block, dict):
            return False
        return drop(str(block.get("type"))) or ("cachePoint" in block and not self.cache_points)

    def block(self, block: Any, secrets: frozenset[str], drop: Callable[[str], bool]) -> Any:
        if not isinstance(block, dict):
            return block
        kind = block.get("type")
        # OpenAI takes its own item ids back only together with the reasoning that belongs to them.
        changed = without(block, secrets | _ITEM_ID if drop is not _nothing and kind in _ITEMS else secrets)
        for name in ("extras", "metadata", "function"):
            if isinstance(inner := changed.get(name), dict) and (cut := without(inner, secrets)) is not inner:
                changed = {**changed, name: cut}
        if isinstance(inner := changed.get("content"), list):
            cut = self.blocks(inner, secrets, drop)
            changed = changed if cut is inner else {**changed, "content": cut}
        for name in ("id", "call_id", "tool_use_id") if self.ids.renamed and kind in _PAIRED else ():
            if changed.get(name) in self.ids.renamed:
                changed = {**changed, name: self.ids.of(changed[name])}
        return changed


def _updated(message: Message, update: Mapping[str, Any]) -> Message:
    """Return `message` with the fields that are not its own already; itself when there are none."""
    changes = {name: value for name, value in update.items() if value is not getattr(message, name)}
    return message.model_copy(update=changes) if changes else message


def translate(messages: list[BaseMessage], target: Target) -> list[BaseMessage]:
    """Return the history as `target` can read it; the same list when nothing has to change.

    What the target itself issued goes back byte for byte. From other models' messages reasoning and signatures are
    dropped, never turned into text, and tool-call ids that the target refuses are renamed, in call and result alike.
    Other providers' cache marks and the blocks of tools that they ran themselves are dropped, and so is an answer of
    which nothing is left. Linear, and the same again when translated twice.

    Args:
        messages: The conversation, first message first; never changed.
        target: Who is about to be asked.

    >>> thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    >>> history = [AIMessage([thought, {"type": "text", "text": "Hi"}])]
    >>> translate(history, Target(provider="openai", model="gpt-4o"))[0].content
    [{'type': 'text', 'text': 'Hi'}]
    """
    walk = _Translation(target)
    translated = [walk.message(message) for message in messages]
    if all(map(is_, translated, messages)):
        return messages
    return [message for message in translated if message is not None]


def needs_tools(messages: Sequence[BaseMessage]) -> bool:
    """Return whether the history holds tool calls or results, so that some providers want ``tools=`` with it.

    >>> needs_tools([AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])]), needs_tools([])
    (True, False)
    """
    return any(is_tool(message) or (is_ai(message) and has_calls(message)) for message in messages)


def refuses(messages: Sequence[BaseMessage], target: Target) -> str:
    """Return in words why `target` cannot go on with this history; empty when it can. See `targets.refusal`.

    >>> from langchain_core.messages import ToolMessage
    >>> call = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
    >>> refuses([call, ToolMessage("3", tool_call_id="1")], Target(provider="gemini", model="gemini-3-pro-preview"))
    "the open tool loop was begun by another model and lacks this one's thought signature"
    """
    return refusal(target, lambda: needs_tools(messages), _steps(messages))


def _steps(messages: Sequence[BaseMessage]) -> Iterator[Step | None]:
    for message in messages:
        if is_ai(message):
            yield Step(issuer(message), partial(is_signed, message), partial(has_calls, message))
        elif message.type == "human" and not any(result_ids(message)):
            yield None
