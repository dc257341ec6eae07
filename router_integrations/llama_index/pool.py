"""The candidates of a router as LlamaIndex LLMs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.llama_index.litellm_llm import LiteLLMModel
from router_integrations.model_map import lookup

if TYPE_CHECKING:
    from router_integrations.llama_index.router_llm import RouterLLM

_KNOWN = ("input_price", "output_price", "cache_read_price", "cache_write_price", "context_window", "max_output")


def own_llm(candidate: Candidate) -> Candidate:
    """Return `candidate` with what its own LLM says of itself filled in.

    Raises:
        ConfigurationError: Its model is no LLM, or is said to call tools but cannot.

    >>> from llama_index.core.llms import MockLLM
    >>> own_llm(Candidate("mock", model=MockLLM())).tools
    False
    """
    llm = candidate.model
    if llm is None:
        return candidate
    if not isinstance(llm, LLM):
        raise ConfigurationError(
            f"{candidate.name!r}: model must be a LlamaIndex LLM but got {type(llm).__name__}; give the LLM itself"
        )
    told = llm.metadata
    calls = isinstance(llm, FunctionCallingLLM)
    if candidate.tools and not calls:
        raise ConfigurationError(
            f"{candidate.name!r}: tools must be False, for {type(llm).__name__} is no FunctionCallingLLM; leave it out"
        )
    entry = Candidate(told.model_name) if told.model_name and lookup(told.model_name) is not None else None
    known: dict[str, Any] = {name: getattr(entry, name) for name in _KNOWN} if entry else {}
    # What LlamaIndex says of an LLM of which it knows nothing.
    if told.context_window != DEFAULT_CONTEXT_WINDOW:
        known["context_window"] = told.context_window
    if told.num_output > 0 and told.num_output != DEFAULT_NUM_OUTPUTS:
        known["max_output"] = told.num_output
    known["tools"] = calls and told.is_function_calling_model
    filled = {name: value for name, value in known.items() if value is not None and getattr(candidate, name) is None}
    return dataclasses.replace(candidate, **filled) if filled else candidate


def litellm_llm(candidate: Candidate, router: RouterLLM) -> LiteLLMModel:
    """Return a thin LLM on LiteLLM with the router's settings."""
    return LiteLLMModel(
        candidate=candidate,
        temperature=router.temperature,
        max_tokens=router.max_tokens,
        stop=router.stop,
        callback_manager=router.callback_manager,
    )
