"""Tool calls and their results, paired whichever framework they come through."""

from __future__ import annotations

import pytest

from router_integrations.adapters.pairing import Pairing
from router_integrations.errors import RequestError


def test_calls_that_share_an_id_have_a_result_each() -> None:
    pairing = Pairing()
    pairing.turn(0, {"add": True}, {"add": 2})
    pairing.result(1, "add")

    with pytest.raises(RequestError, match=r"\['add'\] have no result before messages\[2\]"):
        pairing.end(2)
    pairing.result(2, "add")
    with pytest.raises(RequestError, match=r"messages\[3\] is the second result"):
        pairing.result(3, "add")
    pairing.end(3)


def test_a_call_that_may_have_a_result_needs_none() -> None:
    pairing = Pairing()
    pairing.turn(0, {"1": False})
    pairing.turn(1, {})

    with pytest.raises(RequestError, match=r"messages\[2\] is the result of the tool call '1'"):
        pairing.result(2, "1")


def test_calls_may_end_a_conversation() -> None:
    pairing = Pairing()
    pairing.turn(0, {"1": True})
    pairing.end(1)
