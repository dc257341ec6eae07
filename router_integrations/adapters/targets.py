"""Who issued the answers of a conversation, whom it goes to, and what that provider can read of it.

The trace or the provider's stamp on an answer names its issuer. An answer that names nobody belongs to the model of
the nearest earlier answer that names one; without any it is foreign, except that a Gemini thought signature on it
shows it to be Gemini's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from router_integrations.candidates import Candidate

CLAUDE, GOOGLE, OPENAI = "anthropic|claude", "gemini|vertex", "openai|azure|xai"
# Who takes cache marks.
CACHES = f"{CLAUDE}|gemini|nova"
# The words of the frameworks for a provider, and LiteLLM's.
_PROVIDERS = {
    "mistralai": "mistral", "google_genai": "gemini", "genai": "gemini", "google_vertexai": "vertex_ai",
    "vertex": "vertex_ai", "amazon_bedrock": "bedrock", "bedrock_converse": "bedrock", "azure_openai": "azure",
    "openai_responses": "openai", "litellm": "",
}  # fmt: skip
_DATE = re.compile(r"[-@](\d{8}|\d{4}-\d\d-\d\d)(-v\d+(:\d+)?)?$")
_GEMINI_3 = re.compile(r"gemini-([3-9]|\d\d|(pro|flash)-(lite-)?latest)")


class Issuer(NamedTuple):
    """Who made a message: the candidate's name by our trace, the provider and the model by its stamp.

    >>> Issuer("small", "openai", "gpt-4o-mini").provider
    'openai'
    """

    candidate: str | None
    provider: str
    model: str


def issuer_of(candidate: str | None, provider: str | None, model: str | None) -> Issuer | None:
    """Return the issuer that an answer names; `None` when it names nobody.

    >>> issuer_of("openai/gpt-4o", None, "gpt-4o")
    Issuer(candidate='openai/gpt-4o', provider='openai', model='gpt-4o')
    """
    known = _provider(provider) or _provider(str(candidate or "").rpartition("/")[0])
    return Issuer(candidate, known, str(model or "")) if candidate or known or model else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The candidate that is about to be asked.

    Args:
        candidate: Its name.
        provider: Its provider in LiteLLM's words or in a framework's; empty when unknown, which strips no setting.
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
        """Return the target that `candidate` is; an own `model` is known by what it tells of itself."""
        own: Any = candidate.model if candidate.model is None or model is None else model
        told_provider, told_name = _told(own)
        name = told_name or candidate.id
        given = candidate.params.get("thinking") if own is None else _thinking(own)
        manual = isinstance(given, Mapping) and given.get("type") == "enabled"
        return cls(
            candidate=candidate.name,
            provider=_provider(told_provider or candidate.provider) or _provider(name.rpartition("/")[0]),
            model=name,
            reasoning=candidate.reasoning,
            tools=candidate.tools,
            thinking=manual and "claude" in name.lower(),
        )

    def among(self, pattern: str | re.Pattern[str]) -> bool:
        """Return whether `pattern` is found in the provider or the model; an unknown provider may be any."""
        return not self.provider or _found(pattern, f"{self.provider}/{self.model}".lower())


def _told(own: Any) -> tuple[str | None, str | None]:
    """Return the provider and the model that an own model names: LangChain's to LangSmith, LlamaIndex's in its class.

    LlamaIndex's `metadata` comes last, for some integrations refuse it for a model that they do not know.
    """
    if hasattr(own, "_get_ls_params"):
        params: Mapping[str, Any] = own._get_ls_params()
        return params.get("ls_provider"), params.get("ls_model_name")
    if not callable(class_name := getattr(own, "class_name", None)):
        return None, None
    fields = (getattr(own, name, None) for name in ("model", "model_name"))
    model = next((field for field in fields if isinstance(field, str) and field), None)
    return class_name().lower().removesuffix("llm").removesuffix("_"), model or own.metadata.model_name


def _thinking(own: Any) -> Any:
    return getattr(own, "thinking", None) or getattr(own, "thinking_dict", None)


@lru_cache(maxsize=1024)
def _found(pattern: str | re.Pattern[str], text: str) -> bool:
    return re.search(pattern, text) is not None


@lru_cache(maxsize=256)
def _provider(name: str | None) -> str:
    base = (name or "").partition("/")[0].partition("-")[0].lower()
    return _PROVIDERS.get(base, base)


@lru_cache(maxsize=1024)
def _same_model(one: str, other: str) -> bool:
    """Compare two ids: the provider before them, ``-latest`` and a date that only one of them has do not count."""
    one, other = (name.lower().rpartition("/")[2].removesuffix("-latest") for name in (one, other))
    return bool(one) and (one == other or _DATE.sub("", one) == other or one == _DATE.sub("", other))


def is_target(who: Issuer, target: Target) -> bool:
    """Return whether `who` is the model that `target` asks.

    >>> is_target(Issuer(None, "openai", "gpt-4o-2024-08-06"), Target(provider="openai", model="openai/gpt-4o"))
    True
    """
    # The name decides first: deployments and proxies report models under other names than they are asked by.
    if who.candidate is not None and who.candidate == target.candidate:
        return True
    if not _same_model(who.model, target.model) or (who.candidate is not None and target.reasoning is False):
        return False
    azure = who.candidate is None and {who.provider, target.provider} == {"openai", "azure"}
    return not who.provider or who.provider == target.provider or azure


class Ownership:
    """Tells which answers of one conversation a target issued; asked from the first answer to the last.

    Args:
        target: Who is about to be asked.

    >>> Ownership(Target(candidate="small")).owns(Issuer("small", "", ""), lambda: False)
    True
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ours = False
        self._known: dict[Issuer, bool] = {}

    def owns(self, who: Issuer | None, signed: Callable[[], bool]) -> bool:
        """Return whether the target issued an answer that `who` is named on; `signed` tells of a Gemini signature."""
        if who is None:
            return self._ours or (signed() and self._target.among(GOOGLE))
        if who not in self._known:
            self._known[who] = is_target(who, self._target)
        self._ours = self._known[who]
        return self._ours


class Step(NamedTuple):
    """One answer of a conversation.

    >>> Step(None, signed=lambda: False, calls=lambda: True).calls()
    True
    """

    issuer: Issuer | None
    signed: Callable[[], bool]
    calls: Callable[[], bool]


def refusal(target: Target, holds_tools: Callable[[], bool], steps: Iterable[Step | None]) -> str:
    """Return in words why `target` cannot go on with a conversation; empty when it can.

    A candidate without tools takes no tool messages. Within an open tool loop Gemini 3 wants a thought signature of
    its own on each step, and Claude with manual thinking a thinking block. A step that the target issued is let pass
    without: LiteLLM and the frameworks' integrations then send Google's placeholder.

    Args:
        target: Who is about to be asked.
        holds_tools: Whether the conversation holds tool calls or results.
        steps: Its answers in order, and `None` for each human turn, which ends a tool loop.

    >>> refusal(Target(tools=False), lambda: True, [])
    'no tools, but the history holds tool calls'
    """
    no_tools = target.tools is False or (target.tools is None and target.provider == "perplexity")
    if no_tools and holds_tools():
        return "no tools, but the history holds tool calls"
    lacks = "thought signature" if _GEMINI_3.search(target.model.lower()) else "thinking" if target.thinking else ""
    if not lacks:
        return ""
    ownership, foreign = Ownership(target), False
    for step in steps:
        if step is None:
            foreign = False
        else:
            owned = ownership.owns(step.issuer, step.signed)
            foreign = foreign or (not owned and step.calls())
    return f"the open tool loop was begun by another model and lacks this one's {lacks}" if foreign else ""
