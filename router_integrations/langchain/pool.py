"""The candidates of a router as LangChain chat models, and what can be said of them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.langchain.profile import PROFILE
from router_integrations.model_map import lookup

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


def litellm_model(candidate: Candidate, router: RouterChatModel) -> LiteLLMChatModel:
    """Return a thin chat model on LiteLLM with the router's settings."""
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


def own_settings(model: Any) -> Mapping[str, Any]:
    """Return what makes an own chat model answer differently, by its own word."""
    return model._identifying_params if isinstance(model, BaseChatModel) else {}
