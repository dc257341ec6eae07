"""Attempts for the tests of estimators that look at answers."""

from __future__ import annotations

from typing import Any

from router_integrations.candidates import Candidate
from router_integrations.types import Attempt, Call, Request

SMALL, LARGE, THIRD = (Candidate(name, model=object(), strength=0.5) for name in ("small", "large", "third"))
QUERY = Request(text="What is 2 + 2?")


def reply(text: str = "", candidate: Candidate = SMALL, **fields: Any) -> Attempt:
    """An answer of `candidate`."""
    return Attempt(call=Call(candidate=candidate), text=text, **fields)
