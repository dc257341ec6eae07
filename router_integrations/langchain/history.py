"""A conversation's history, made fit for the candidate that is about to be asked; the caller's messages never change.

Reasoning and signatures mean something to the model that issued them alone; tool-call ids, cache marks and settings
to some providers only. Who issued a message is read off the trace or the provider's stamp on it. One that names
nobody belongs to the model of the nearest earlier answer that names one; without any it is foreign, except that a
Gemini thought signature on it shows it to be Gemini's.
"""

from __future__ import annotations

import re
import reprlib
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import count
from operator import is_
from typing import Any, NamedTuple, TypeGuard, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from router_integrations.candidates import Candidate
from router_integrations.errors import RequestError
from router_integrations.tokens import byte_length

_PROVIDERS = {
    "mistralai": "mistral", "google_genai": "gemini", "google_vertexai": "vertex_ai", "amazon_bedrock": "bedrock",
    "bedrock_converse": "bedrock", "litellm": "",
}  # fmt: skip
_ANY_ID = re.compile("(?s:.+)")
_DATE = re.compile(r"[-@](\d{8}|\d{4}-\d\d-\d\d)(-v\d+(:\d+)?)?$")
_GEMINI_3 = re.compile(r"gemini-([3-9]|\d\d|(pro|flash)-(lite-)?latest)")
_CLAUDE, _GOOGLE, _OPENAI = "anthropic|claude", "gemini|vertex", "openai|azure|xai"
_CACHES = f"{_CLAUDE}|gemini|nova"
# The ids that a provider takes: Mistral wants nine alphanumerics, OpenAI at most 40 characters.
_IDS = (
    (re.compile("(mis|minis|magis|mix|vox|pix|devs|codes)tral"), re.compile("[A-Za-z0-9]{9}")),
    (re.compile(f"{_CLAUDE}|bedrock"), re.compile("[A-Za-z0-9_-]{1,64}")),
    (re.compile("openai|azure"), re.compile("(?s:.{1,40})")),
)
# LiteLLM packs Gemini's thought signature into the id behind this.
_SIGNED_ID, _SIGNATURES = "__thought__", "__gemini_function_call_thought_signatures__"
_ALPHABET = string.digits + string.ascii_letters
_CALLS = frozenset({"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "function"})
_PAIRED = _CALLS | {"tool_result", "custom_tool_call"}
_REASONING = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content", "function_call_signature"})
_BLOCK_SECRETS = frozenset({"signature", "thought_signature", "provider_specific_fields", "extra_content", "item_id"})
_MESSAGE_SECRETS = frozenset(
    {"thinking", "thinking_blocks", "reasoning", "reasoning_content", "reasoning_items", "reasoning_details",
     "reasoning_steps", "provider_specific_fields", "__openai_function_call_ids__", _SIGNATURES}
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
_TYPES = frozenset({"human", "ai", "system", "tool", "function", "chat"})
_ROLES = frozenset({"system", "developer", "user", "human", "assistant", "ai", "model", "tool", "function"})
# Blocks of Bedrock's Converse, named by their only key, that LangChain knows without a type.
_CONVERSE = frozenset({"cachePoint", "guardContent", "guard_content", "image", "json"})

Message = TypeVar("Message", bound=BaseMessage)


class Issuer(NamedTuple):
    """Who made a message: the candidate's name by our trace, the provider and the model by its stamp."""

    candidate: str | None
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The candidate that is about to be asked.

    Args:
        candidate: Its name.
        provider: Its provider in LiteLLM's words or in LangChain's; empty when unknown, which strips no setting.
        model: The model's id, with or without the provider.
        reasoning: Whether it reasons; `None` is unknown.
        tools: Whether it calls tools; `None` is unknown.
        thinking: Whether Claude's manual thinking is on, which wants each step of a tool loop to begin with thinking.

    >>> Target.of(Candidate("mistral/mistral-large-latest")).provider
    'mistral'
    """

    candidate: str | None = None
    provider: str = ""
    model: str = ""
    reasoning: bool | None = None
    tools: bool | None = None
    thinking: bool = False

    @classmethod
    def of(cls, candidate: Candidate, model: Any = None) -> Target:
        """Return the target that `candidate` is; an own `model` is known by what it tells LangSmith of itself."""
        own: Any = candidate.model if candidate.model is None or model is None else model
        told: Mapping[str, Any] = own._get_ls_params() if hasattr(own, "_get_ls_params") else {}
        name = told.get("ls_model_name") or candidate.id
        given = candidate.params.get("thinking") if own is None else getattr(own, "thinking", None)
        manual = isinstance(given, Mapping) and given.get("type") == "enabled"
        return cls(
            candidate=candidate.name,
            provider=_provider(told.get("ls_provider") or candidate.provider) or _provider(name.rpartition("/")[0]),
            model=name,
            reasoning=candidate.reasoning,
            tools=candidate.tools,
            thinking=manual and "claude" in name.lower(),
        )

    def among(self, pattern: str | re.Pattern[str]) -> bool:
        """Return whether `pattern` is found in the provider or the model; an unknown provider may be any."""
        return not self.provider or re.search(pattern, f"{self.provider}/{self.model}".lower()) is not None


@lru_cache(maxsize=256)
def _provider(name: str | None) -> str:
    base = (name or "").partition("/")[0].partition("-")[0].lower()
    return _PROVIDERS.get(base, base)


def issuer(message: AIMessage) -> Issuer | None:
    """Return who made `message`: our trace on it says so, else the provider's stamp; `None` when nothing does.

    >>> issuer(AIMessage("Hi", response_metadata={"model_provider": "openai", "model_name": "gpt-4o"}))
    Issuer(candidate=None, provider='openai', model='gpt-4o')
    """
    stamp = message.response_metadata
    if not stamp:
        return None
    trace = stamp.get("router") or {}
    candidate = trace.get("candidate")
    model = (trace.get("model") if candidate else None) or stamp.get("model_name") or stamp.get("model") or ""
    provider = _provider(stamp.get("model_provider")) or _provider(str(candidate or "").rpartition("/")[0])
    return Issuer(candidate, provider, str(model)) if candidate or provider or model else None


@lru_cache(maxsize=1024)
def _same_model(one: str, other: str) -> bool:
    """Compare two ids: the provider before them, ``-latest`` and a date that only one of them has do not count."""
    one, other = (name.lower().rpartition("/")[2].removesuffix("-latest") for name in (one, other))
    return bool(one) and (one == other or _DATE.sub("", one) == other or one == _DATE.sub("", other))


def _is_target(who: Issuer, target: Target) -> bool:
    # The name decides first: deployments and proxies report models under other names than they are asked by.
    if who.candidate is not None and who.candidate == target.candidate:
        return True
    if not _same_model(who.model, target.model) or (who.candidate is not None and target.reasoning is False):
        return False
    azure = who.candidate is None and {who.provider, target.provider} == {"openai", "azure"}
    return not who.provider or who.provider == target.provider or azure


def _without(given: Any, keys: frozenset[str]) -> Any:
    return given if keys.isdisjoint(given) else {name: value for name, value in given.items() if name not in keys}


def _is_ai(message: BaseMessage) -> TypeGuard[AIMessage]:
    # Pydantic makes `isinstance` slow, and this runs for each message of each call.
    return message.type in ("ai", "AIMessageChunk")


def _is_tool(message: BaseMessage) -> TypeGuard[ToolMessage]:
    return message.type in ("tool", "ToolMessageChunk")


def _blocks(message: BaseMessage) -> Iterator[dict[str, Any]]:
    content = message.content
    return (block for block in content if isinstance(block, dict)) if isinstance(content, list) else iter(())


def _call_ids(message: AIMessage) -> Iterator[str]:
    """Yield the ids of the tool calls wherever the message holds them, empty and repeated ones too."""
    raw = message.additional_kwargs.get("tool_calls") or ()
    yield from (call.get("id") or "" for call in (*message.tool_calls, *message.invalid_tool_calls, *raw))
    for block in _blocks(message):
        if block.get("call_id") or block.get("type") in _CALLS:
            yield block.get("call_id") or block.get("id") or ""


def _bare(message: BaseMessage) -> bool:
    """Return whether `message` is text alone, the most frequent case by far."""
    if message.additional_kwargs or message.name or type(message.content) is not str:
        return False
    if _is_ai(message):
        return not (message.tool_calls or message.invalid_tool_calls)
    return not _is_tool(message)


def _calls(message: AIMessage) -> bool:
    return next(_call_ids(message), None) is not None


def _result_ids(message: BaseMessage) -> Iterator[str]:
    """Yield the ids that tool results answer; Anthropic's form has the results in a human message."""
    if _is_tool(message):
        yield message.tool_call_id
    elif message.type == "human":
        yield from (str(block.get("tool_use_id")) for block in _blocks(message) if block.get("type") == "tool_result")


def _signed(message: AIMessage) -> bool:
    """Return whether a tool call of `message` carries a Gemini thought signature."""
    raw = message.additional_kwargs.get("tool_calls") or ()
    return bool(message.additional_kwargs.get(_SIGNATURES)) or any(
        _SIGNED_ID in (call.get("id") or "") or "thought_signature" in (call.get("provider_specific_fields") or ())
        for call in (*message.tool_calls, *raw)
    )


def _nothing(kind: str) -> bool:
    return False


def _reasoning(kind: str) -> bool:
    return kind in _REASONING


def _provider_only(kind: str) -> bool:
    """Return whether other providers refuse this kind of block: reasoning, and tools that a provider ran itself."""
    ran = kind.startswith(("server_tool", "mcp_")) or kind.endswith(("_tool_result", "_call"))
    return kind in _REASONING or (ran and kind not in _CALLS)


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
            return self.ours or (_signed(message) and self.target.among(_GOOGLE))
        if who not in self.known:
            self.known[who] = _is_target(who, self.target)
        self.ours = self.known[who]
        return self.ours

    def message(self, message: BaseMessage) -> BaseMessage | None:
        """Return `message` for the target: itself when nothing has to change, `None` when nothing is left of it."""
        if _is_ai(message):
            return self.answer(message)
        update: dict[str, Any] = {}
        if isinstance(message.content, list):
            update["content"] = self.blocks(message.content, self.marks, _nothing)
        if message.additional_kwargs:
            update["additional_kwargs"] = _without(message.additional_kwargs, self.marks)
        if self.renamed and _is_tool(message):
            update["tool_call_id"] = self.renamed.get(message.tool_call_id, message.tool_call_id)
        return _updated(message, update)

    def answer(self, message: AIMessage) -> BaseMessage | None:
        who = issuer(message)
        owned = self.owns(message, who)
        if owned and who is not None:
            for one in _call_ids(message) if self.renamed else ():
                self.renamed.pop(one, None)
            return message
        calls = bool(message.tool_calls or message.invalid_tool_calls)
        if not (calls or message.additional_kwargs) and type(message.content) is str:
            return message
        for one in _call_ids(message):
            self.rename(one, keep_signature=owned)
        changed = _updated(message, self.changes(message, who, owned=owned))
        left = calls or changed.content or changed.additional_kwargs.get("tool_calls")
        return changed if left or changed is message else None

    def changes(self, message: AIMessage, who: Issuer | None, *, owned: bool) -> dict[str, Any]:
        """Return the fields of an answer that was issued by another model, or perhaps was."""
        drop, secrets = _nothing, self.marks
        if not owned:
            secrets = self.marks | _BLOCK_SECRETS
            drop = _reasoning if who is not None and who.provider == self.target.provider else _provider_only
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
        if not old:
            return
        new = old
        fits = self.legal.fullmatch(old) and (keep_signature or _SIGNED_ID not in old)
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
    return any(_is_tool(message) or (_is_ai(message) and _calls(message)) for message in messages)


def refuses(messages: Sequence[BaseMessage], target: Target) -> str:
    """Return in words why `target` cannot go on with this history; empty when it can.

    A candidate without tools takes no tool messages. Within an open tool loop Gemini 3 wants a thought signature of
    its own on each step, and Claude with manual thinking a thinking block. A step that the target issued is let pass
    without: LiteLLM and langchain-google-genai then send Google's placeholder.

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
        if _is_ai(message):
            owned = walk.owns(message, issuer(message))
            foreign = foreign or (not owned and _calls(message))
        elif message.type == "human" and not any(_result_ids(message)):
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
        walk = _Translation(target)
        return walk.blocks(value, walk.marks, _nothing)
    return value


def check(messages: Sequence[BaseMessage]) -> None:
    """Refuse a history that every provider would refuse, before any model is called.

    Legal, and let through: an answer at the end, with or without tool calls; several results for one answer's calls;
    results in a human message; system messages anywhere; calls that could not be parsed and have no result.

    Args:
        messages: The conversation, first message first.

    Raises:
        RequestError: It is empty, a message or a content block is malformed, a text holds a lone surrogate, or tool
            calls and results do not pair up; the error names the message's index.

    >>> check([ToolMessage("3", tool_call_id="1")])
    Traceback (most recent call last):
    router_integrations.errors.RequestError: messages[0] is the result of the tool call '1', but the answer before it \
makes no such call; keep a call and its results together
    """
    if not messages:
        raise RequestError("messages is empty; give at least one message")
    waiting: dict[str, bool] = {}
    answered: set[str] = set()
    known: set[type] = set()
    for index, message in enumerate(messages):
        if type(message) not in known:
            _check_kind(index, message)
            known.add(type(message))
        _check_content(index, message)
        for one in _result_ids(message):
            _check_result(index, one, waiting, answered)
        if not (_is_tool(message) or message.type == "function"):
            _check_answered(index, waiting, answered)
            waiting, answered = _waiting(message), set()
    if answered:
        _check_answered(len(messages), waiting, answered)


def _waiting(message: BaseMessage) -> dict[str, bool]:
    """Return the ids that may have a result after `message`, and whether they must."""
    if not _is_ai(message) or _bare(message):
        return {}
    parsed = ((call["id"], True) for call in message.tool_calls if call["id"])
    return {**dict.fromkeys(_call_ids(message), False), **dict(parsed)}


def _check_result(index: int, one: str, waiting: Mapping[str, bool], answered: set[str]) -> None:
    if one not in waiting:
        raise RequestError(
            f"messages[{index}] is the result of the tool call {one!r}, but the answer before it makes no such call; "
            "keep a call and its results together"
        )
    if one and one in answered:
        raise RequestError(f"messages[{index}] is the second result of the tool call {one!r}; keep one of them")
    answered.add(one)


def _check_answered(index: int, waiting: Mapping[str, bool], answered: set[str]) -> None:
    missing = [one for one, wanted in waiting.items() if wanted and one not in answered]
    if missing:
        raise RequestError(
            f"the tool calls {missing!r} have no result before messages[{index}]; add a ToolMessage for each, "
            "or take the calls out"
        )


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
    if type(content) is str and content.isascii() and _bare(message):
        return
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
    _check_texts(where, [content, *(getattr(message, name, None) for name in fields)])


def _check_texts(where: str, values: list[Any]) -> None:
    """Look for lone surrogates in each text of a nested value; plain ASCII costs nothing."""
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
        elif isinstance(value, str) and not value.isascii():
            try:
                byte_length(value)
            except RequestError as error:
                raise RequestError(f"{where}: {error}") from error
