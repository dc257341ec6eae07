"""The strategy that does not route."""

from __future__ import annotations

from collections.abc import Sequence

from router_integrations.types import Attempt, Call, Request


class Fixed:
    """Asks one named candidate, and the others in the user's order only when it cannot answer.

    WHEN: pre-generation. WHAT: nothing. HOW: a rule. `decide` takes O(candidates).

    Args:
        name: The candidate to ask; `None` takes the first one.

    >>> from router_integrations.candidates import Candidate
    >>> pool = (Candidate("small", model=object()), Candidate("big", model=object()))
    >>> Fixed(name="big").decide(Request(text="hi", candidates=pool)).candidate.name
    'big'
    """

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call:
        """Return a final call to the named candidate, or to the first one that is left."""
        for candidate in request.candidates:
            if candidate.name == self.name:
                return Call(candidate=candidate, final=True, reason="fixed choice")
        first = request.candidates[0]
        reason = "first candidate" if self.name is None else f"{self.name!r} cannot answer"
        return Call(candidate=first, final=True, reason=reason)
