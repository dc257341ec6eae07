"""A conversation's history, made fit for the candidate that is about to be asked; the caller's messages never change.

Reasoning and signatures mean something to the model that issued them alone; tool-call ids, cache marks and settings
to some providers only. Who issued a message is read off the trace or the provider's stamp on it. One that names
nobody belongs to the model of the nearest earlier answer that names one; without any it is foreign, except that a
Gemini thought signature on it shows it to be Gemini's.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count
from operator import is_
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from router_integrations.langchain.issuers import (
    CALLS,
    SIGNATURES,
    SIGNED_ID,
    Issuer,
    Target,
    call_ids,
    has_calls,
    is_ai,
    is_signed,
    is_target,
    is_tool,
    issuer,
    result_ids,
)
from router_integrations.langchain.malformed import check

__all__ = ["Issuer", "Target", "check", "issuer", "needs_tools", "refuses", "strip_settings", "translate"]

_ANY_ID = re.compile("(?s:.+)")
_GEMINI_3 = re.compile(r"gemini-([3-9]|\d\d|(pro|flash)-(lite-)?latest)")
_CLAUDE, _GOOGLE, _OPENAI = "anthropic|claude", "gemini|vertex", "openai|azure|xai"
_CACHES = f"{_CLAUDE}|gemini|nova"
# The ids that a provider takes: Mistral wants nine alphanumerics, OpenAI at most 40 characters.
_IDS = (
    (re.compile("(mis|minis|magis|mix|vox|pix|devs|codes)tral"), re.compile("[A-Za-z0-9]{9}")),
    (re.compile(f"{_CLAUDE}|bedrock"), re.compile("[A-Za-z0-9_-]{1,64}")),
    (re.compile("openai|azure"), re.compile("(?s:.{1,40})")),
)
_ALPHABET = string.digits + string.ascii_letters
_PAIRED = CALLS | {"tool_result", "custom_tool_call"}
_REASONING = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content", "function_call_signature"})
_BLOCK_SECRETS = frozenset({"signature", "thought_signature", "provider_specific_fields", "extra_content", "item_id"})
_MESSAGE_SECRETS = frozenset(
    {"thinking", "thinking_blocks", "reasoning", "reasoning_content", "reasoning_items", "reasoning_details",
     "reasoning_steps", "provider_specific_fields", "__openai_function_call_ids__", SIGNATURES}
)  # fmt: skip
_MARK, _FUNCTION_CALL, _ITEM_ID = frozenset({"cache_control"}), frozenset({"function_call"}), frozenset({"id"})
_ITEMS = frozenset({"text", "output_text", "refusal", "function_call"})
# Settings and the providers or models that take them.
_SETTINGS = {
    "cache_control": _CACHES,
    "thinking": f"{_CLAUDE}|{_GOOGLE}|bedrock|deepseek|magistral|zai|moonshot|minimax|volcengine",
    "context_management": f"{_CLAUDE}|{_OPENAI}",
    **dict.fromkeys(("betas", "mcp_servers", "container", "inference_geo", "output_config"), _CLAUDE),
    "prompt_cache_key": f"{_OPENAI}|fireworks|mistral",
    **dict.fromkeys(("prompt_cache_retention", "safety_identifier", "previous_response_id", "truncation"), _OPENAI),
    **dict.fromkeys(("safety_settings", "cached_content", "thinking_budget", "thinking_level"), _GOOGLE),
    **dict.fromkeys(("safe_prompt", "random_seed", "prompt_mode"), "mistral|magistral"),
    **dict.fromkeys(("guardrail_config", "guardrailConfig", "performance_config"), "bedrock"),
}
_HEADERS = {"anthropic-": _CLAUDE, "openai-": _OPENAI, "x-goog-": _GOOGLE, "x-session-affinity": "fireworks"}

Message = TypeVar("Message", bound=BaseMessage)


def _without(given: Any, keys: frozenset[str]) -> Any:
    return given if keys.isdisjoint(given) else {name: value for name, value in given.items() if name not in keys}


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
        self.legal = next((ids for models, ids in _IDS if target.provider and target.among(models)), _ANY_ID)
        self.marks = frozenset[str]() if target.among(_CACHES) else _MARK
        self.cache_points = target.among("^bedrock")
        self.ours = False
        self.known: dict[Issuer, bool] = {}
        self.renamed: dict[str, str] = {}
        self.taken: dict[str, str] = {}

    def owns(self, message: AIMessage, who: Issuer | None) -> bool:
        if who is None:
            return self.ours or (is_signed(message) and self.target.among(_GOOGLE))
        if who not in self.known:
            self.known[who] = is_target(who, self.target)
        self.ours = self.known[who]
        return self.ours

    def message(self, message: BaseMessage) -> BaseMessage | None:
        """Return `message` for the target: itself when nothing has to change, `None` when nothing is left of it."""
        if is_ai(message):
            return self.answer(message)
        update: dict[str, Any] = {}
        if isinstance(message.content, list):
            update["content"] = self.blocks(message.content, self.marks, _nothing)
        if message.additional_kwargs:
            update["additional_kwargs"] = _without(message.additional_kwargs, self.marks)
        if self.renamed and is_tool(message):
            update["tool_call_id"] = self.renamed.get(message.tool_call_id, message.tool_call_id)
        return _updated(message, update)

    def answer(self, message: AIMessage) -> BaseMessage | None:
        who = issuer(message)
        owned = self.owns(message, who)
        if owned and who is not None:
            for one in call_ids(message) if self.renamed else ():
                self.renamed.pop(one, None)
            return message
        calls = bool(message.tool_calls or message.invalid_tool_calls)
        if not (calls or message.additional_kwargs) and type(message.content) is str:
            return message
        for one in call_ids(message):
            self.rename(one, keep_signature=owned)
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
        extra: Any = _without(message.additional_kwargs, self.marks if owned else self.marks | _MESSAGE_SECRETS)
        if message.tool_calls and not owned:
            # Gemini's copy of the call; whoever is sent both forms refuses them.
            extra = _without(extra, _FUNCTION_CALL)
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
        changed = _without(block, secrets | _ITEM_ID if drop is not _nothing and kind in _ITEMS else secrets)
        for name in ("extras", "metadata", "function"):
            if isinstance(inner := changed.get(name), dict) and (cut := _without(inner, secrets)) is not inner:
                changed = {**changed, name: cut}
        if isinstance(inner := changed.get("content"), list):
            cut = self.blocks(inner, secrets, drop)
            changed = changed if cut is inner else {**changed, "content": cut}
        for name in ("id", "call_id", "tool_use_id") if self.renamed and kind in _PAIRED else ():
            if changed.get(name) in self.renamed:
                changed = {**changed, name: self.renamed[changed[name]]}
        return changed

    def rename(self, old: str, *, keep_signature: bool) -> None:
        """Give a call whose id the target refuses another one, the same each time, which no other call has."""
        new = old
        fits = not old or (self.legal.fullmatch(old) and (keep_signature or SIGNED_ID not in old))
        if not fits or self.taken.setdefault(old, old) != old:
            new = next(one for one in _nine(old) if self.taken.setdefault(one, old) == old)
        if new == old:
            self.renamed.pop(old, None)
        else:
            self.renamed[old] = new


def _updated(message: Message, update: Mapping[str, Any]) -> Message:
    """Return `message` with the fields that are not its own already; itself when there are none."""
    changes = {name: value for name, value in update.items() if value is not getattr(message, name)}
    return message.model_copy(update=changes) if changes else message


def _nine(old: str) -> Iterator[str]:
    """Yield ids that every provider takes, made of `old` alone so that each call makes the same ones."""
    for attempt in count():
        number = int.from_bytes(sha256(f"{attempt}:{old}".encode()).digest()[:8])
        yield "".join(_ALPHABET[number // 62**place % 62] for place in range(9))


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
    """Return in words why `target` cannot go on with this history; empty when it can.

    A candidate without tools takes no tool messages. Within an open tool loop Gemini 3 wants a thought signature of
    its own on each step, and Claude with manual thinking a thinking block. A step that the target issued is let pass
    without: LiteLLM and langchain-google-genai then send Google's placeholder.

    >>> from langchain_core.messages import ToolMessage
    >>> call = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
    >>> refuses([call, ToolMessage("3", tool_call_id="1")], Target(provider="gemini", model="gemini-3-pro-preview"))
    "the open tool loop was begun by another model and lacks this one's thought signature"
    """
    no_tools = target.tools is False or (target.tools is None and target.provider == "perplexity")
    if no_tools and needs_tools(messages):
        return "no tools, but the history holds tool calls"
    lacks = "thought signature" if _GEMINI_3.search(target.model.lower()) else "thinking" if target.thinking else ""
    if not lacks:
        return ""
    walk, foreign = _Translation(target), False
    for message in messages:
        if is_ai(message):
            owned = walk.owns(message, issuer(message))
            foreign = foreign or (not owned and has_calls(message))
        elif message.type == "human" and not any(result_ids(message)):
            foreign = False
    return f"the open tool loop was begun by another model and lacks this one's {lacks}" if foreign else ""


def strip_settings(kwargs: dict[str, Any], target: Target) -> dict[str, Any]:
    """Return call settings without those that only other providers take; the same dict when there are none.

    >>> strip_settings({"thinking": {"type": "enabled"}, "temperature": 0}, Target(provider="openai", model="gpt-4o"))
    {'temperature': 0}
    """
    kept = {
        name: _setting(name, value, target)
        for name, value in kwargs.items()
        if name not in _SETTINGS or target.among(_SETTINGS[name])
    }
    return kwargs if len(kept) == len(kwargs) and all(map(is_, kept.values(), kwargs.values())) else kept


def _setting(name: str, value: Any, target: Target) -> Any:
    if name == "extra_headers" and isinstance(value, Mapping):
        others = tuple(prefix for prefix, takers in _HEADERS.items() if not target.among(takers))
        return _without(value, frozenset(header for header in value if header.lower().startswith(others)))
    if name in ("extra_body", "model_kwargs") and isinstance(value, dict):
        return strip_settings(value, target)
    if name == "tools" and isinstance(value, list):
        return (walk := _Translation(target)).blocks(value, walk.marks, _nothing)
    return value
