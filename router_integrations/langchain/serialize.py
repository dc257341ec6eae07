"""A router in LangChain's serialised form, without secrets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from router_integrations.adapters.identity import is_default, plain_candidate

if TYPE_CHECKING:
    from router_integrations.langchain.chat_model import RouterChatModel


def router_json(router: RouterChatModel, form: Any) -> Any:
    """Return the serialised `form` with candidates and limits as plain values.

    A default strategy is left out; any other is code, which no file may bring in, so loading says that it is missing.
    """
    kwargs = form["kwargs"]
    kwargs["candidates"] = [plain_candidate(candidate) for candidate in router.candidates]
    if router.judges:
        kwargs["judges"] = [plain_candidate(judge) for judge in router.judges]
    kwargs["limits"] = dataclasses.asdict(router.limits)
    kwargs.pop("api_key", None)
    kwargs.pop("strategy", None)
    if not is_default(router.strategy):
        # Left to LangChain: it would take a dict of its own form for the user's and escape it.
        kwargs["strategy"] = router.strategy
    return form
