"""What an adapter reads off a call, as strategies see it."""

from typing import Any

import pytest

from router_integrations import Candidate
from router_integrations.adapters.describing import Seen, may_count
from router_integrations.errors import RequestError

KINDS = ["system", "human", "ai", "human"]
TEXTS = ["Be kind.", "Hello", "Hi", "Bye"]


@pytest.mark.parametrize(("context_turns", "text"), [(0, "Bye"), (1, "Hello\nBye"), (9, "Hello\nBye")])
def test_the_last_human_turn_is_what_is_routed_on(context_turns: int, text: str):
    request = Seen(kinds=KINDS, texts=TEXTS).request((), context_turns=context_turns)
    assert (request.text, request.system, request.turns) == (text, "Be kind.", 2)


def test_a_conversation_without_a_human_is_routed_on_its_last_text():
    assert Seen(kinds=["system", "ai"], texts=["Be kind.", "Hi"]).request((), context_turns=0).text == "Hi"


@pytest.mark.parametrize(
    ("seen", "needs"),
    [
        ({}, set()),
        ({"media": ["image", "pdf"]}, {"vision", "pdf"}),
        ({"tools": ({"type": "function"},)}, {"tools"}),
        ({"calls_tools": True}, {"tools"}),
        ({"kinds": ["system", "human", "ai", "tool"]}, {"tools"}),
        ({"needs": frozenset({"schema"}), "media": ["audio"]}, {"schema", "audio"}),
    ],
)
def test_what_the_answering_candidate_must_be_able_to_do(seen: Any, needs: set[str]):
    request = Seen(**{"kinds": KINDS, "texts": TEXTS, **seen}).request((), context_turns=0)
    assert request.needs == needs
    assert request.modalities == {"text", *seen.get("media", ())}


@pytest.mark.parametrize(("in_tool_loop", "locked"), [(True, "big"), (False, None)])
def test_only_an_open_tool_loop_locks_the_model(in_tool_loop: bool, locked: str | None):
    seen = Seen(kinds=KINDS, texts=TEXTS, previous="big", answered=3, in_tool_loop=in_tool_loop)
    request = seen.request((), context_turns=0)
    assert (request.snapshot.previous, request.snapshot.locked) == ("big", locked)
    assert request.cached_tokens == len("Be kind.HelloHi") // 4


def test_tokens_are_estimated_far_from_every_window_and_counted_near_one():
    seen = Seen(kinds=["human"], texts=["word " * 100], media=["image"], tool_tokens=50)
    far = seen.request([Candidate("openai/gpt-4o")], context_turns=0)
    near = seen.request([Candidate("m", model=object(), context_window=1000)], context_turns=0)
    assert (far.input_tokens, far.tokens_estimated) == (4 + 800 + 50 + 125, True)
    assert (near.input_tokens, near.tokens_estimated) == (4 + 800 + 50 + 101, False)


def test_a_text_that_no_provider_can_receive_is_refused():
    with pytest.raises(RequestError, match="lone surrogate"):
        Seen(kinds=["human"], texts=["\ud800"]).request((), context_turns=0)


def test_without_a_window_nothing_is_counted():
    assert not may_count(10**9, [Candidate("m", model=object())])
