"""A conversation's history, made fit for the candidate that is about to be asked; the caller's messages never change.

Thinking and signatures mean something to the model that issued them alone; tool-call ids and cache points to some
providers only; and each integration has content blocks and roles that it refuses. Who issued an answer is noted on it
by `answered`, and whether that is the target is `targets`' to say.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import is_
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from router_integrations.adapters.call_ids import SIGNED_ID, CallIds
from router_integrations.adapters.call_settings import marks_of, strip_settings, without
from router_integrations.adapters.targets import CLAUDE, Issuer, Ownership, Step, Target, issuer_of, refusal
from router_integrations.llama_index.answered import answerer_of
from router_integrations.llama_index.blocks import cited, is_plain
from router_integrations.llama_index.convert import arguments_object, calls_of
from router_integrations.llama_index.malformed import check

__all__ = ["Issuer", "Target", "check", "issuer", "needs_tools", "refuses", "strip_settings", "translate"]

ANSWERS = frozenset({MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL})
RESULTS = frozenset({MessageRole.TOOL, MessageRole.FUNCTION})
# What only the issuer of a message, or the integration that made it, understands.
_SECRETS = frozenset(
    {"thinking", "thinking_blocks", "reasoning", "reasoning_content", "reasoning_items", "thought_signatures",
     "provider_specific_fields", "built_in_tool_calls", "reference_audio_id", "annotations", "citations",
     "search_results", "refusal", "audio"}
)  # fmt: skip
_CALLS = frozenset({"tool_calls", "function_call"})
_SIGNATURES = ("thought_signature", "provider_specific_fields")


def issuer(message: ChatMessage) -> Issuer | None:
    """Return who made `message`; `None` when nothing tells.

    >>> issuer(ChatMessage("Hi", role="assistant")) is None
    True
    """
    who = answerer_of(message)
    return issuer_of(who.candidate, who.model.rpartition("/")[0], who.model) if who else None


def is_signed(message: ChatMessage) -> bool:
    """Return whether a message carries a Gemini thought signature."""
    if is_plain(message):
        return False
    raw = message.additional_kwargs.get("tool_calls") or ()
    return any(message.additional_kwargs.get("thought_signatures") or ()) or any(
        SIGNED_ID in (call.get("id") or "") or any(call.get(name) for name in _SIGNATURES)
        for call in (*calls_of(message), *(one for one in raw if isinstance(one, dict)))
    )


def _has_calls(message: ChatMessage) -> bool:
    return next(calls_of(message), None) is not None


class _Translation:
    """One walk from the first message to the last; what follows a message has no say in how it is translated."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.marks = marks_of(target)
        self.cites = target.among(CLAUDE)
        self.develops = target.among("openai|azure")
        self.ownership = Ownership(target)
        self.ids = CallIds(target)
        # The new ids of the last answer's calls, in their order: some integrations call several calls the same.
        self.renamed: dict[str, deque[str]] = {}

    def message(self, message: ChatMessage) -> ChatMessage | None:
        """Return `message` for the target: itself when nothing has to change, `None` when nothing is left of it."""
        if message.role in ANSWERS:
            return self.answer(message)
        if message.role == MessageRole.USER and is_plain(message):
            return message
        extra: Any = without(message.additional_kwargs, self.marks)
        if self.renamed and (new := self.renamed.get(old := extra.get("tool_call_id"))):
            own = new.popleft() if len(new) > 1 else new[0]
            extra = extra if own == old else {**extra, "tool_call_id": own}
        role = MessageRole.SYSTEM if message.role == MessageRole.DEVELOPER and not self.develops else message.role
        return _updated(message, {"blocks": self.blocks(message.blocks), "additional_kwargs": extra, "role": role})

    def answer(self, message: ChatMessage) -> ChatMessage | None:
        who = issuer(message)
        owned = self.ownership.owns(who, partial(is_signed, message))
        self.renamed = {}
        if (owned and who is not None) or (message.role == MessageRole.ASSISTANT and is_plain(message)):
            return message
        calls = [self.renewed(call, keep_signature=owned) for call in self.numbered(message)]
        secrets = self.marks
        kept = message.blocks
        if not owned:
            secrets = self.marks | _SECRETS | (_CALLS if calls else frozenset())
            kept = [block for block in kept if not isinstance(block, ThinkingBlock | CitationBlock)]
        changes: dict[str, Any] = {
            "blocks": self.answer_blocks(message.blocks, kept, calls),
            "additional_kwargs": without(message.additional_kwargs, secrets),
        }
        if not owned:
            changes["role"] = MessageRole.ASSISTANT
        changed = _updated(message, changes)
        left = changed is message or any(map(_says, changed.blocks)) or changed.additional_kwargs.get("function_call")
        return changed if left else None

    def answer_blocks(self, old: list[Any], kept: list[Any], calls: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the blocks of an answer with its calls renamed; calls from beside the blocks come last."""
        new = deque(calls)
        blocks = [_call(block, new.popleft()) if isinstance(block, ToolCallBlock) else block for block in kept]
        return _same(old, [*self.blocks(blocks), *(_call(None, call) for call in new)])

    def numbered(self, message: ChatMessage) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the calls of a message, each with a name of its own: their ids may be the same."""
        seen: dict[str, int] = defaultdict(int)
        for call in calls_of(message):
            old = str(call.get("id") or "")
            yield call, f"{old}_{seen[old] + 1}" if seen[old] else old
            seen[old] += 1

    def renewed(self, numbered: tuple[dict[str, Any], str], *, keep_signature: bool) -> dict[str, Any]:
        """Return a call with an id that the target takes, and note it for the result."""
        call, own = numbered
        self.ids.rename(own, keep_signature=keep_signature)
        new = self.ids.of(own)
        self.renamed.setdefault(str(call.get("id") or ""), deque()).append(new)
        return {**call, "id": new}

    def blocks(self, given: list[Any]) -> list[Any]:
        """Return blocks without what the target refuses in any message; the same list when nothing changes."""
        return _same(given, [one for block in given for one in self.readable(block)])

    def readable(self, block: Any) -> Sequence[Any]:
        if isinstance(block, CachePoint) and self.marks:
            return ()
        if isinstance(block, CitableBlock) and not self.cites:
            return cited(block)
        return (block,)


def _call(block: ToolCallBlock | None, call: Mapping[str, Any]) -> ToolCallBlock:
    """Return a call as the block that every integration reads: some want its arguments as an object."""
    if block is not None and block.tool_call_id == call["id"] and isinstance(block.tool_kwargs, dict):
        return block
    function = call["function"]
    arguments = arguments_object(function.get("arguments"))
    return ToolCallBlock(tool_call_id=call["id"], tool_name=function.get("name") or "", tool_kwargs=arguments)


def _says(block: Any) -> bool:
    return not (isinstance(block, CachePoint) or (isinstance(block, TextBlock) and not block.text))


def _same(old: list[Any], new: list[Any]) -> list[Any]:
    return old if len(new) == len(old) and all(map(is_, new, old)) else new


def _updated(message: ChatMessage, update: Mapping[str, Any]) -> ChatMessage:
    """Return `message` with the fields that are not its own already; itself when there are none."""
    changes = {name: value for name, value in update.items() if value is not getattr(message, name)}
    return message.model_copy(update=changes) if changes else message


def translate(messages: list[ChatMessage], target: Target) -> list[ChatMessage]:
    """Return the history as `target` can read it; the same list when nothing has to change.

    What the target itself issued goes back byte for byte. From other models' answers thinking and signatures are
    dropped, never turned into text; their calls become blocks, with ids that the target takes, in call and result
    alike. Other providers' cache points are dropped, and so is an answer of which nothing is left. Linear, and the
    same again when translated twice.

    Args:
        messages: The conversation, first message first; never changed.
        target: Who is about to be asked.

    >>> history = [ChatMessage(role="assistant", blocks=[ThinkingBlock(content="Hm."), TextBlock(text="Hi")])]
    >>> translate(history, Target(provider="openai", model="gpt-4o"))[0].blocks
    [TextBlock(block_type='text', text='Hi')]
    """
    walk = _Translation(target)
    translated = [walk.message(message) for message in messages]
    if all(map(is_, translated, messages)):
        return messages
    return [message for message in translated if message is not None]


def needs_tools(messages: Sequence[ChatMessage]) -> bool:
    """Return whether the history holds tool calls or results, so that some providers want ``tools=`` with it.

    >>> needs_tools([ChatMessage(role="tool", content="3")]), needs_tools([])
    (True, False)
    """
    return any(one.role in RESULTS or (one.role in ANSWERS and _has_calls(one)) for one in messages)


def refuses(messages: Sequence[ChatMessage], target: Target) -> str:
    """Return in words why `target` cannot go on with this history; empty when it can. See `targets.refusal`.

    >>> call = ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_call_id="1", tool_name="add")])
    >>> refuses([call], Target(provider="gemini", model="gemini-3-pro-preview"))
    "the open tool loop was begun by another model and lacks this one's thought signature"
    """
    return refusal(target, lambda: needs_tools(messages), _steps(messages))


def _steps(messages: Sequence[ChatMessage]) -> Iterator[Step | None]:
    for message in messages:
        if message.role in ANSWERS:
            yield Step(issuer(message), partial(is_signed, message), partial(_has_calls, message))
        elif message.role == MessageRole.USER:
            yield None
