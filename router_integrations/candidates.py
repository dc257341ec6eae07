"""What a candidate costs, how much it can read and what it can do; who can take a request at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from router_integrations.errors import ConfigurationError, NoEligibleCandidate
from router_integrations.model_map import lookup
from router_integrations.types import Capability, Request, Usage

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)
# Our field: the key of LiteLLM's map.
_MAP_NUMBERS = {
    "input_price": "input_cost_per_token",
    "output_price": "output_cost_per_token",
    "cache_read_price": "cache_read_input_token_cost",
    "cache_write_price": "cache_creation_input_token_cost",
    "context_window": "max_input_tokens",
    "max_output": "max_output_tokens",
}
_MAP_FLAGS = {
    "tools": "supports_function_calling",
    "tool_choice": "supports_tool_choice",
    "schema": "supports_response_schema",
    "vision": "supports_vision",
    "audio": "supports_audio_input",
    "pdf": "supports_pdf_input",
    "video": "supports_video_input",
    "reasoning": "supports_reasoning",
}
_RULES: tuple[tuple[tuple[str, ...], str, Callable[[float], bool]], ...] = (
    (
        ("input_price", "output_price", "cache_read_price", "cache_write_price", "latency", "max_retries"),
        "a finite number of at least 0",
        lambda value: value >= 0 and math.isfinite(value),
    ),
    (("context_window", "max_output", "timeout"), "a number above 0", lambda value: value > 0),
    (("strength",), "a number in [0, 1]", lambda value: 0 <= value <= 1),
)
_CHAT_MODES = (None, "chat", "responses", "completion")
# Below this many tokens providers cache nothing.
_MIN_CACHED_TOKENS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One action the router may take: a model with its settings, prices, limits and capabilities.

    Everything LiteLLM's bundled map knows about the id is filled in; every field can be overridden; what nobody knows
    stays `None` and is never taken for 0. A capability that the map does not mention counts as absent for a model it
    knows, as it does for LiteLLM; dearer rates for very long prompts are not modelled.

    Args:
        id: A LiteLLM model id such as ``"openai/gpt-4o-mini"``, or any name when `model` is given.
        name: How the candidate is called in traces and overrides; the id by default. Two candidates may share an id.
        model: The user's own chat model object; called as it is, with none of its settings changed.
        params: Sent with each call of a LiteLLM id (``temperature``, ``api_base``, ``api_key``, …); never shown.
        input_price: USD per input token.
        output_price: USD per output token.
        cache_read_price: USD per input token read from the provider's cache.
        cache_write_price: USD per input token written to it.
        context_window: Input tokens it can read.
        max_output: Output tokens it can write.
        tools: Whether it can call tools. The other capabilities likewise; `None` is unknown.
        tool_choice: Whether it can be made to call a tool.
        schema: Whether it can be held to a JSON schema.
        vision: Whether it reads images.
        audio: Whether it reads audio.
        pdf: Whether it reads PDF files.
        video: Whether it reads video.
        reasoning: Whether it is a reasoning model.
        strength: How capable it is, in [0, 1]; by default estimators rank candidates by price.
        latency: Typical seconds to an answer.
        timeout: Seconds that one call may take; 600 by default for a LiteLLM id.
        max_retries: How often a call is made again after a failure that may pass; by default 2 for a LiteLLM id and
            0 for an own model, which retries by itself.

    Raises:
        ConfigurationError: A field is out of range.

    >>> mini = Candidate("openai/gpt-4o-mini")
    >>> mini.input_price, mini.context_window, mini.tools
    (1.5e-07, 128000, True)
    >>> Candidate("openai/unheard-of").input_price is None
    True
    """

    id: str = field(kw_only=False)
    name: str = ""
    model: Any = field(default=None, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    input_price: float | None = None
    output_price: float | None = None
    cache_read_price: float | None = None
    cache_write_price: float | None = None
    context_window: int | None = None
    max_output: int | None = None
    tools: bool | None = None
    tool_choice: bool | None = None
    schema: bool | None = None
    vision: bool | None = None
    audio: bool | None = None
    pdf: bool | None = None
    video: bool | None = None
    reasoning: bool | None = None
    strength: float | None = None
    latency: float | None = None
    timeout: float | None = None
    max_retries: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id.strip():
            raise ConfigurationError(f"Candidate.id must be a model id or a name but got {self.id!r}")
        self._set("name", self.name or self.id)
        if not isinstance(self.name, str):
            raise ConfigurationError(f"{self.id!r}: name must be text but got {self.name!r}")
        if not isinstance(self.params, Mapping):
            raise ConfigurationError(f"{self.name!r}: params must be a mapping but got {type(self.params).__name__}")
        self._set("params", dict(self.params))
        self._fill(None if self.model is not None else lookup(self.id))
        if self.max_retries is None:
            self._set("max_retries", 2 if self.model is None else 0)
        if self.timeout is None and self.model is None:
            self._set("timeout", 600.0)
        self._check()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _fill(self, entry: Mapping[str, Any] | None) -> None:
        if entry is None:
            return
        for name, key in _MAP_NUMBERS.items():
            if getattr(self, name) is None and isinstance(entry.get(key), int | float):
                self._set(name, entry[key])
        for name, key in _MAP_FLAGS.items():
            if getattr(self, name) is None:
                self._set(name, bool(entry.get(key)))

    def _check(self) -> None:
        for names, rule, fits in _RULES:
            for name in names:
                value = getattr(self, name)
                if value is not None and not (isinstance(value, int | float) and fits(value)):
                    raise ConfigurationError(
                        f"{self.name!r}: {name} must be {rule} but got {value!r}; leave it out if unknown"
                    )

    @property
    def provider(self) -> str | None:
        """The provider's name: the map's, else the id's prefix; `None` for an own model without one."""
        entry = lookup(self.id)
        if entry is not None and "litellm_provider" in entry:
            return str(entry["litellm_provider"])
        prefix, slash, _ = self.id.partition("/")
        return prefix if slash else None

    @property
    def structured(self) -> bool | None:
        """Whether it can be held to a schema one way or the other: by itself or by a tool call."""
        ways = (self.schema, self.tools)
        return True if True in ways else (None if None in ways else False)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the prices, limits and capabilities that nobody knows."""
        return tuple(name for name in (*_MAP_NUMBERS, *_MAP_FLAGS) if getattr(self, name) is None)

    def cost(self, usage: Usage) -> float | None:
        """Return USD for `usage`; `None` when a price that is needed is unknown.

        Cached tokens are billed once, at their own price where one is known, else as plain input.

        >>> Candidate("m", input_price=1.0, output_price=2.0, cache_read_price=0.1).cost(
        ...     Usage(input_tokens=10, output_tokens=5, cache_read_tokens=10))
        11.0
        """
        if self.input_price is None or self.output_price is None:
            return None
        read = self.input_price if self.cache_read_price is None else self.cache_read_price
        write = self.input_price if self.cache_write_price is None else self.cache_write_price
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        return (
            plain * self.input_price
            + usage.cache_read_tokens * read
            + usage.cache_write_tokens * write
            + usage.output_tokens * self.output_price
        )

    def expected_cost(self, request: Request, output_tokens: float) -> float | None:
        """Return the USD that `request` would cost with `output_tokens` tokens of answer; `None` if unknown.

        A candidate that answered the previous turn reads the old turns from its cache; another pays them in full.
        """
        warm = self.name == request.snapshot.previous and request.cached_tokens >= _MIN_CACHED_TOKENS
        return self.cost(
            Usage(
                input_tokens=request.input_tokens,
                output_tokens=math.ceil(output_tokens),
                cache_read_tokens=min(request.cached_tokens, request.input_tokens) if warm else 0,
            )
        )


def as_candidates(given: Iterable[Candidate | str]) -> tuple[Candidate, ...]:
    """Return the candidates with ids turned into `Candidate`s, checked as a set.

    Raises:
        ConfigurationError: There is none, two share a name, one is neither an id nor a `Candidate`, or a LiteLLM id
            has no known price.

    >>> [candidate.name for candidate in as_candidates(["openai/gpt-4o-mini", Candidate("big", model=object())])]
    ['openai/gpt-4o-mini', 'big']
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ConfigurationError(f"candidates must be a list of model ids or Candidates but got {given!r}")
    candidates = tuple(_as_candidate(one) for one in given)
    if not candidates:
        raise ConfigurationError("candidates is empty; give at least one LiteLLM model id or Candidate")
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.name in seen:
            raise ConfigurationError(f"two candidates are called {candidate.name!r}; give one of them name=")
        seen.add(candidate.name)
        mode = (lookup(candidate.id) or {}).get("mode") if candidate.model is None else None
        if mode not in _CHAT_MODES:
            raise ConfigurationError(f"{candidate.id!r} is a model for {mode}, not for chat; give a chat model's id")
        if candidate.model is None and (candidate.input_price is None or candidate.output_price is None):
            raise ConfigurationError(
                f"the price of {candidate.id!r} is unknown; check the id, or give input_price= and output_price= "
                "in USD per token (0 if it is free)"
            )
    return candidates


def _as_candidate(one: Candidate | str) -> Candidate:
    if isinstance(one, str):
        return Candidate(one)
    if not isinstance(one, Candidate):
        raise ConfigurationError(
            f"a candidate must be a model id or a Candidate but got {type(one).__name__}; "
            "wrap your own model as Candidate('name', model=...)"
        )
    return one


def lacks(candidate: Candidate, request: Request) -> str:
    """Return in words what keeps `candidate` from taking `request`; empty when nothing does.

    >>> lacks(Candidate("m", vision=False, model=object()), Request(text="", needs=frozenset({"vision"})))
    'no vision'
    """
    missing = [f"no {need}" for need in sorted(request.needs) if getattr(candidate, need) is False]
    window = candidate.context_window
    if window is not None and request.input_tokens > window:
        about = "about " if request.tokens_estimated else ""
        missing.append(f"context window {window:,} < {about}{request.input_tokens:,} tokens")
    return ", ".join(missing)


def eligible(
    candidates: Sequence[Candidate], request: Request, refused: Mapping[str, str] | None = None
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """Return those that can take `request`, and why each of the others cannot, by name.

    A candidate whose capability is unknown stands back while there is one that is known to have it. `refused` says in
    words what else keeps a candidate away, by name: its provider's rules for the conversation so far.

    Raises:
        NoEligibleCandidate: None can; the message names what each one lacks.

    >>> seeing, blind = Candidate("seeing", model=object()), Candidate("blind", vision=False, model=object())
    >>> eligible([seeing, blind], Request(text="", needs=frozenset({"vision"})))[1]
    {'blind': 'no vision'}
    """
    rejected: dict[str, str] = {}
    able: list[Candidate] = []
    for candidate in candidates:
        if reason := lacks(candidate, request) or (refused or {}).get(candidate.name, ""):
            rejected[candidate.name] = reason
        else:
            able.append(candidate)
    if not able:
        each = "; ".join(f"{name!r}: {reason}" for name, reason in rejected.items())
        raise NoEligibleCandidate(
            f"no candidate can take this request ({each}); add one that can, shorten the request, "
            "or override the capability on the Candidate"
        )
    known = [candidate for candidate in able if all(getattr(candidate, need) for need in request.needs)]
    for candidate in able if known else ():
        if candidate not in known:
            unknown = ", ".join(need for need in sorted(request.needs) if getattr(candidate, need) is None)
            rejected[candidate.name] = f"not known to have {unknown}"
    return tuple(known or able), rejected
