"""The candidates of a router as LangChain chat models, and what can be said of them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, ValidationError

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.langchain.history import Target
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.langchain.profile import PROFILE
from router_integrations.langchain.session import Pool
from router_integrations.model_map import lookup
from router_integrations.redact import redact

if TYPE_CHECKING:
    from router_integrations.langchain.chat_model import RouterChatModel

_PRICES = ("input_price", "output_price", "cache_read_price", "cache_write_price")


def own_model(candidate: Candidate) -> Candidate:
    """Return `candidate` with what its own chat model says of itself filled in.

    Raises:
        ConfigurationError: Its model is no chat model.
    """
    model = candidate.model
    if model is None:
        return candidate
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(
            f"{candidate.name!r}: model must be a LangChain chat model but got {type(model).__name__}; give the chat "
            "model itself, and retries or fallbacks to the router: max_retries=, or further candidates"
        )
    entry = _entry(model)
    profile: Mapping[str, Any] = model.profile or {}
    known = {name: profile.get(word) for name, word in PROFILE.items()}
    if known["tools"] is None:
        # The base class's method only raises.
        known["tools"] = type(model).bind_tools is not BaseChatModel.bind_tools
    known |= {name: getattr(entry, name) for name in _PRICES} if entry else {}
    filled = {name: value for name, value in known.items() if value is not None and getattr(candidate, name) is None}
    return dataclasses.replace(candidate, **filled) if filled else candidate


def _entry(model: BaseChatModel) -> Candidate | None:
    """Return what LiteLLM's map knows of the model behind a chat model, by the name it gives to traces."""
    params = model._get_ls_params()
    name, provider = params.get("ls_model_name"), params.get("ls_provider")
    for model_id in (f"{provider}/{name}", name):
        if name and lookup(str(model_id)) is not None:
            return Candidate(str(model_id))
    return None


def build_pool(router: RouterChatModel) -> Pool:
    """Return the candidates with a chat model each: the user's own as it is, or a thin one on LiteLLM."""
    candidates = tuple(_with_router_settings(candidate, router) for candidate in router.candidates)
    models = {c.name: c.model if c.model is not None else _litellm_model(c, router) for c in candidates}
    return Pool(
        candidates=candidates,
        models=models,
        targets={c.name: Target.of(c, models[c.name]) for c in candidates},
    )


def _with_router_settings(candidate: Candidate, router: RouterChatModel) -> Candidate:
    if candidate.model is not None:
        return candidate
    changes: dict[str, Any] = {}
    if router.timeout is not None:
        changes["timeout"] = router.timeout
    if router.max_retries is not None:
        changes["max_retries"] = router.max_retries
    if router.api_key is not None:
        changes["params"] = {"api_key": router.api_key.get_secret_value(), **candidate.params}
    return dataclasses.replace(candidate, **changes) if changes else candidate


def _litellm_model(candidate: Candidate, router: RouterChatModel) -> LiteLLMChatModel:
    settings = {
        "temperature": router.temperature,
        "max_tokens": router.max_tokens,
        "stop": router.stop,
        "streaming": router.streaming,
    }
    # The base class tells a given value from a default one.
    given = {
        name: value
        for name, value in settings.items()
        if name in router.model_fields_set and value is not None and name not in candidate.params
    }
    return LiteLLMChatModel(
        candidate=candidate,
        cache=router.cache,
        disable_streaming=router.disable_streaming,
        output_version=router.output_version,
        verbose=router.verbose,
        **given,
    )


def explain_options(cls: type[BaseModel], error: ValidationError) -> str:
    """Return in words what is wrong with a constructor's options; values stay out, for they may be secrets."""
    words = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(map(str, problem["loc"])) or cls.__name__
        if problem["type"] == "extra_forbidden":
            near = get_close_matches(name, cls.model_fields, n=1)
            words.append(f"{name!r} is no option of {cls.__name__}" + (f"; did you mean {near[0]!r}?" if near else ""))
        else:
            words.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(words)


def identify(router: RouterChatModel) -> dict[str, Any]:
    """Return what makes two routers answer differently, without secrets: for traces and cache keys."""
    return {
        "candidates": [_identify_candidate(candidate) for candidate in router.candidates],
        "strategy": _identify_object(router.strategy),
        "limits": repr(router.limits),
        "context_turns": router.context_turns,
        "temperature": router.temperature,
        "max_tokens": router.max_tokens,
        "stop": router.stop,
    }


def _identify_candidate(candidate: Candidate) -> dict[str, Any]:
    model = candidate.model
    own = model._identifying_params if isinstance(model, BaseChatModel) else {}
    return {"name": candidate.name, "id": candidate.id, **redact({**candidate.params, **own})}


def _identify_object(thing: Any) -> Any:
    """Return a strategy or an estimator as its class and its options; the default repr would name an address."""
    if isinstance(thing, Mapping):
        return {name: _identify_object(value) for name, value in thing.items()}
    if hasattr(thing, "tobytes"):
        # The repr of an array leaves out most of it.
        return blake2b(thing.tobytes(), digest_size=8).hexdigest()
    if "object at 0x" not in (text := repr(thing)):
        return text
    if dataclasses.is_dataclass(thing):
        own = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    else:
        own = getattr(thing, "__dict__", {})
    options = {name: _identify_object(value) for name, value in own.items() if not name.startswith("_")}
    return {type(thing).__name__: options}
