"""The steps of a cascade of runnables, and who judges them, checked when the cascade is built."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.base import coerce_to_runnable

from router_integrations.candidates import Candidate, as_candidates
from router_integrations.errors import ConfigurationError
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.langchain.pool import own_model
from router_integrations.types import Estimator


def as_steps(given: Iterable[Candidate | str]) -> tuple[Candidate, ...]:
    """Return the steps, each with a runnable as its model.

    Raises:
        ConfigurationError: There is none, two share a name, or one has no runnable.

    >>> [(step.name, step.model.invoke("x")) for step in as_steps([Candidate("upper", model=str.upper)])]
    [('upper', 'X')]
    """
    steps = as_candidates(given)
    return tuple(_step(step, place / len(steps)) for place, step in enumerate(steps, start=1))


def checked_estimator(given: Any) -> Any:
    """Return `given`: an estimator that can judge what runnables return, a plain function, or nothing.

    Raises:
        ConfigurationError: It is neither, or needs what steps don't give.
    """
    is_estimator = isinstance(given, Estimator) and not isinstance(given, type)
    is_function = callable(given) and not isinstance(given, type) and not inspect.iscoroutinefunction(given)
    if given is not None and not is_estimator and not is_function:
        raise ConfigurationError(
            f"must be an estimator or a plain function of input and output but is {given!r}; for example "
            "lambda input, output: 1.0"
        )
    if missing := {"judge", "samples"} & getattr(given, "needs", frozenset()):
        raise ConfigurationError(f"{given!r} needs {sorted(missing)}, which steps don't give; use another estimator")
    return given


def _step(step: Candidate, place: float) -> Candidate:
    """Return the step with a runnable as its model; by default it is as strong as its `place`, in (0, 1], says."""
    if isinstance(step.model, BaseChatModel):
        step = own_model(step)
    strength = place if step.strength is None else step.strength
    try:
        runnable = LiteLLMChatModel(candidate=step) if step.model is None else coerce_to_runnable(step.model)
        return dataclasses.replace(step, model=runnable, strength=strength)
    except TypeError as error:
        raise ConfigurationError(
            f"{step.name!r}: model must be a runnable but got {type(step.model).__name__}"
        ) from error
