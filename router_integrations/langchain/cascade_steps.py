"""The steps of a cascade of runnables, checked when the cascade is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.base import coerce_to_runnable

from router_integrations.adapters.rungs import placed
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.errors import ConfigurationError
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.langchain.pool import own_model


def as_steps(given: Iterable[Candidate | str]) -> tuple[Candidate, ...]:
    """Return the steps, each with a runnable as its model.

    Raises:
        ConfigurationError: There is none, two share a name, or one has no runnable.

    >>> [(step.name, step.model.invoke("x")) for step in as_steps([Candidate("upper", model=str.upper)])]
    [('upper', 'X')]
    """
    return tuple(_step(step) for step in placed(as_candidates(given)))


def _step(step: Candidate) -> Candidate:
    if isinstance(step.model, BaseChatModel):
        step = own_model(step)
    try:
        runnable = LiteLLMChatModel(candidate=step) if step.model is None else coerce_to_runnable(step.model)
        return dataclasses.replace(step, model=runnable)
    except TypeError as error:
        raise ConfigurationError(
            f"{step.name!r}: model must be a runnable but got {type(step.model).__name__}"
        ) from error
