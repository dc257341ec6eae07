"""A router in LangChain's serialised form, without secrets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from router_integrations.candidates import Candidate
from router_integrations.redact import is_secret
from router_integrations.strategies import Best

if TYPE_CHECKING:
    from router_integrations.langchain.chat_model import RouterChatModel


def router_json(router: RouterChatModel, form: Any) -> Any:
    """Return the serialised `form` with candidates and limits as plain values.

    A default strategy is left out; any other is code, which no file may bring in, so loading says that it is missing.
    """
    kwargs = form["kwargs"]
    kwargs["candidates"] = [_candidate_json(candidate) for candidate in router.candidates]
    kwargs["limits"] = dataclasses.asdict(router.limits)
    kwargs.pop("api_key", None)
    kwargs.pop("strategy", None)
    if not _is_default(router.strategy):
        # Left to LangChain: it would take a dict of its own form for the user's and escape it.
        kwargs["strategy"] = router.strategy
    return form


def _is_default(strategy: Any) -> bool:
    return type(strategy) is Best and strategy.estimator is None and strategy.utility is None


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    fields = {field.name: getattr(candidate, field.name) for field in dataclasses.fields(candidate)}
    fields["params"] = {name: value for name, value in candidate.params.items() if not is_secret(name, value)}
    return {name: value for name, value in fields.items() if value is not None}
