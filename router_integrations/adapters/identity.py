"""A router and its candidates in plain values, without secrets: for traces, cache keys and dictionary forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from router_integrations.candidates import Candidate
from router_integrations.redact import is_secret, redact
from router_integrations.strategies import Best


def identify(router: Any, own_settings: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what makes two routers answer differently, without secrets: for traces and cache keys.

    Args:
        router: The router.
        own_settings: Returns the settings of an own model.
    """

    def identified(candidate: Candidate) -> dict[str, Any]:
        own = {} if candidate.model is None else own_settings(candidate.model)
        return {"name": candidate.name, "id": candidate.id, **redact({**candidate.params, **own})}

    return {
        "candidates": [identified(candidate) for candidate in (*router.candidates, *router.judges)],
        "strategy": _identify_object(router.strategy),
        "limits": repr(router.limits),
        "context_turns": router.context_turns,
        "temperature": router.temperature,
        "max_tokens": router.max_tokens,
        "stop": router.stop,
    }


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


def is_default(strategy: Any) -> bool:
    """Whether a router has this strategy when none is given."""
    return type(strategy) is Best and strategy.estimator is None and strategy.utility is None


def plain_candidate(candidate: Candidate) -> dict[str, Any]:
    """Return the fields of a candidate that are set, without secrets.

    >>> plain_candidate(Candidate("m", model=object(), params={"api_key": "sk-1", "seed": 1}))["params"]
    {'seed': 1}
    """
    fields = {field.name: getattr(candidate, field.name) for field in dataclasses.fields(candidate)}
    fields["params"] = {name: value for name, value in candidate.params.items() if not is_secret(name, value)}
    return {name: value for name, value in fields.items() if value is not None}


def without_model(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a candidate with its own model's class in place of the model."""
    return {**plain, "model": type(plain["model"]).__name__} if "model" in plain else plain
