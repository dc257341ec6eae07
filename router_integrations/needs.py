"""Whether candidates give what a strategy looks at: asked for where they can, told to the user where they cannot."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import Need
from router_integrations.model_map import lookup

Gives = Callable[[Candidate, Need], bool | None]

_log = logging.getLogger(__name__)
_ASKED: tuple[Need, ...] = ("logprobs", "top_logprobs")
# The likeliest tokens at each place; providers take 20 at most, some 5.
_TOP = 5
_MODEL_SETTINGS = ("model_kwargs", "additional_kwargs")

# LiteLLM sends these no `logprobs`, for they give none.
_GIVE_NONE = frozenset(
    {
        "ai21", "ai21_chat", "amazon_nova", "anthropic", "anthropic_text", "baseten", "bedrock", "bedrock_converse",
        "cerebras", "clarifai", "codestral", "cohere", "cohere_chat", "databricks", "deepinfra", "featherless_ai",
        "gigachat", "gradient_ai", "hyperbolic", "maritalk", "mistral", "nlp_cloud", "nvidia_nim", "ollama",
        "ollama_chat", "perplexity", "petals", "predibase", "replicate", "sagemaker", "sambanova", "snowflake",
        "triton", "v0", "vertex_ai-anthropic_models", "vertex_ai-mistral_models", "watsonx_text", "zai",
    }
)  # fmt: skip
# These give them when asked, and refuse no call for it.
_GIVE = frozenset({"openai", "azure", "hosted_vllm", "fireworks_ai"})
_REASONING = re.compile(r"(^|/)(o[134](-mini|-pro)?|gpt-5(-mini|-nano|-pro|-codex)?)(-20\d\d-\d\d-\d\d)?$")
_UNSURE = re.compile(r"(?:^|/|:)o\d|gpt-[5-9]|search|audio|codex|reason")
# Models that Bedrock serves in OpenAI's way.
_LIKE_OPENAI = re.compile("openai|moonshot|kimi")


@runtime_checkable
class LooksAtAnswers(Protocol):
    """A strategy that looks at answers before it goes on, and says what they must carry."""

    @property
    def uses(self) -> frozenset[Need]:
        """What its decisions are better with where answers carry it."""
        ...

    def demands(self, candidates: Sequence[Candidate]) -> Mapping[str, frozenset[Need]]:
        """Return what the replies of each candidate must carry, by name; whose replies nobody looks at is left out."""
        ...


def check_needs(
    strategy: Any, candidates: Sequence[Candidate], *, judges: Sequence[Candidate] = (), gives: Gives | None = None
) -> None:
    """Tell whoever builds a router of candidates that do not give what its strategy looks at.

    Args:
        strategy: Decides; one that does not say what it demands is let pass.
        candidates: Who can answer, in order.
        judges: Who only judges.
        gives: Whether a candidate gives something, `None` when nobody knows; `gives_need` by default.

    Raises:
        ConfigurationError: A candidate is known not to give it. One of which nothing is known is a logged warning.

    >>> from router_integrations.estimators import TokenConfidence
    >>> from router_integrations.strategies import Cascade
    >>> pool = [Candidate("anthropic/claude-haiku-4-5"), Candidate("openai/gpt-4o")]
    >>> try:
    ...     check_needs(Cascade(estimator=TokenConfidence(), order="given"), pool)
    ... except ConfigurationError as error:
    ...     print(str(error).partition(";")[0])
    Cascade looks at logprobs, which 'anthropic/claude-haiku-4-5' does not give
    """
    looks = _looking(strategy)
    demands = looks.demands(candidates) if looks is not None else {}
    name = type(looks).__name__
    for candidate in (*candidates, *judges):
        for need in [one for one in _ASKED if one in demands.get(candidate.name, ())]:
            known = (gives or gives_need)(candidate, need)
            if known is False:
                is_set = candidate.model is not None or "logprobs" in candidate.params
                own = f"set {need} on it if it can, " if is_set else ""
                raise ConfigurationError(
                    f"{name} looks at {need}, which {candidate.name!r} does not give; {own}use another candidate, or "
                    "what does without: AnswerQuality(), as a judge SelfVerification()"
                )
            if known is None:
                where = "params={'logprobs': True} asks" if candidate.model is None else "ask its model"
                _log.warning(
                    "%s looks at %s, and nobody knows whether %r gives them; %s for them, and without them its answers "
                    "are judged by the estimator's prior",
                    name,
                    need,
                    candidate.name,
                    where,
                )


def asked_for(strategy: Any, pool: Sequence[Candidate]) -> dict[str, dict[str, Any]]:
    """Return the parameters that have the replies of each LiteLLM candidate carry what a strategy uses, by name.

    Only those surely taken, and only where the candidate's own parameters are silent. They are meant for the calls
    whose replies are looked at, which a final one's is not.

    >>> from router_integrations.strategies import Best, Cascade
    >>> pool = [Candidate("openai/gpt-4o-mini"), Candidate("anthropic/claude-haiku-4-5"), Candidate("openai/o3")]
    >>> asked_for(Cascade(), pool), asked_for(Best(), pool)
    ({'openai/gpt-4o-mini': {'logprobs': True}}, {})
    """
    looks = _looking(strategy)
    uses = looks.uses if looks is not None else frozenset[Need]()
    wanted: dict[str, Any] = {"logprobs": True} if uses & {*_ASKED} else {}
    if "top_logprobs" in uses:
        wanted["top_logprobs"] = _TOP
    found = {}
    for candidate in pool:
        if candidate.model is None and gives_need(candidate, "logprobs"):
            silent = {name: value for name, value in wanted.items() if name not in candidate.params}
            found[candidate.name] = silent
    return {name: params for name, params in found.items() if params}


def _looking(strategy: Any) -> LooksAtAnswers | None:
    """Return who looks at the answers: the strategy, or the one that it wraps."""
    while not isinstance(strategy, LooksAtAnswers):
        if (strategy := getattr(strategy, "strategy", None)) is None:
            return None
    return strategy


def gives_need(candidate: Candidate, need: Need) -> bool | None:
    """Return whether replies of a candidate carry `need` when they are asked to; `None` when nobody knows.

    Other needs than log-probabilities are no matter of the candidate's. LiteLLM is not imported.

    >>> [gives_need(Candidate(name), "logprobs") for name in ("openai/gpt-4o", "mistral/mistral-tiny", "groq/any")]
    [True, False, None]
    """
    if need not in _ASKED:
        return True
    if candidate.model is not None:
        return model_gives(candidate.model, need)
    allowed = "logprobs" in candidate.params.get("allowed_openai_params", ())
    known = None if allowed else _provider_gives(candidate)
    given = candidate.params.get("logprobs")
    return known if given is None or known is False else bool(given)


def model_gives(model: Any, need: Need) -> bool | None:
    """Return what an own model's settings say of `need`; `None` when it has no such setting.

    >>> from types import SimpleNamespace
    >>> [model_gives(SimpleNamespace(**one), "logprobs") for one in ({"logprobs": True}, {"logprobs": None}, {})]
    [True, False, None]
    """
    for name in _MODEL_SETTINGS:
        if isinstance(more := getattr(model, name, None), Mapping) and more.get(need):
            return True
    return bool(getattr(model, need)) if hasattr(model, need) else None


def provider_gives(provider: str | None) -> bool | None:
    """Return `False` for a provider none of whose models gives log-probabilities, else `None`.

    >>> provider_gives("anthropic"), provider_gives("groq")
    (False, None)
    """
    return False if provider in _GIVE_NONE else None


def _provider_gives(candidate: Candidate) -> bool | None:
    name, provider = candidate.id.lower(), candidate.params.get("custom_llm_provider") or candidate.provider
    if provider in ("bedrock", "bedrock_converse") and _LIKE_OPENAI.search(name):
        return None
    if provider in _GIVE_NONE or "claude" in name:
        return False
    if provider not in _GIVE:
        return None
    if provider in ("openai", "azure"):
        # A name that Azure's user chose says nothing of the model.
        unknown = provider == "azure" and lookup(candidate.id) is None
        if _REASONING.search(name):
            return False
        return None if unknown or candidate.reasoning or _UNSURE.search(name) else True
    return True
