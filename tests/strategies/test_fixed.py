from __future__ import annotations

import pytest

from router_integrations.candidates import Candidate
from router_integrations.strategies import Fixed
from router_integrations.types import Request

A, B = Candidate("a", model=object()), Candidate("b", model=object())


@pytest.mark.parametrize(
    ("name", "pool", "chosen", "reason"),
    [
        ("b", (A, B), B, "fixed choice"),
        (None, (A, B), A, "first candidate"),
        (None, (B, A), B, "first candidate"),
        ("b", (A,), A, "'b' cannot answer"),
    ],
)
def test_it_asks(name: str | None, pool: tuple[Candidate, ...], chosen: Candidate, reason: str) -> None:
    call = Fixed(name=name).decide(Request(text="hi", candidates=pool))

    assert (call.candidate, call.reason, call.final, call.purpose) == (chosen, reason, True, "answer")
