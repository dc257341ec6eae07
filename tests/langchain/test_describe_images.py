"""The images that a strategy sees: those of the last human turn, whatever form they have."""

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)

from router_integrations import Candidate
from router_integrations.langchain.describe import Job, describe

POOL = (Candidate("openai/gpt-4o"),)
URL, DATA = "https://example.com/cat.png", "aGVsbG8="
URI = f"data:image/png;base64,{DATA}"
TEXT = {"type": "text", "text": "What is this?"}
FORMS = [
    ({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}, URL),
    ({"type": "image_url", "image_url": URL}, URL),
    ({"type": "image_url", "image_url": {"url": URI}}, URI),
    ({"type": "input_image", "image_url": URI, "detail": "auto"}, URI),
    ({"type": "image", "url": URL}, URL),
    ({"type": "image", "base64": DATA, "mime_type": "image/png"}, URI),
    ({"type": "image", "source_type": "url", "url": URL}, URL),
    ({"type": "image", "source_type": "base64", "data": DATA, "mime_type": "image/png"}, URI),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}, URI),
    ({"type": "image", "source": {"type": "url", "url": URL}}, URL),
    ({"type": "media", "mime_type": "image/png", "data": DATA}, URI),
    ({"type": "media", "mime_type": "image/png", "file_uri": URL}, URL),
    ({"type": "image", "base64": DATA}, f"data:image/*;base64,{DATA}"),
]
NOT_SEEN = [
    {"type": "image", "file_id": "file-1"},
    {"type": "image", "source_type": "id", "id": "file-1"},
    {"type": "image", "source": {"type": "file", "file_id": "file-1"}},
    {"type": "image_url", "image_url": {}},
    {"type": "media", "mime_type": "image/png", "data": b"bytes"},
    {"type": "file", "base64": DATA, "mime_type": "application/pdf"},
    {"type": "media", "mime_type": "audio/wav", "data": DATA},
    {"type": "audio", "base64": DATA, "mime_type": "audio/wav"},
]


def images(messages: Sequence[BaseMessage]) -> tuple[str, ...]:
    return describe(Job(messages=messages), {}, context_turns=0, candidates=POOL).images


@pytest.mark.parametrize(("block", "expected"), FORMS)
def test_an_image_of_any_form_is_seen(block: Any, expected: str) -> None:
    assert images([HumanMessage([TEXT, block])]) == (expected,)
    assert images([HumanMessageChunk([TEXT, block])]) == (expected,)
    assert images(convert_to_messages([{"role": "user", "content": [TEXT, block]}])) == (expected,)


@pytest.mark.parametrize("block", NOT_SEEN)
def test_what_is_no_image_or_cannot_be_reached_is_not(block: Any) -> None:
    assert images([HumanMessage([TEXT, block])]) == ()


def test_several_images_keep_their_order() -> None:
    assert images([HumanMessage([FORMS[0][0], TEXT, FORMS[5][0], "words", FORMS[0][0]])]) == (URL, URI, URL)


def test_only_the_last_human_turn_counts() -> None:
    seen = HumanMessage([TEXT, FORMS[0][0]])

    assert images([seen, AIMessage("A cat."), HumanMessage("Sure?")]) == ()
    assert images([HumanMessage("Hi"), AIMessage("Hello"), seen]) == (URL,)


def test_what_others_show_is_not_what_is_asked() -> None:
    call = AIMessage([FORMS[0][0]], tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    result = ToolMessage([FORMS[5][0]], tool_call_id="1")

    assert images([SystemMessage([TEXT, FORMS[0][0]]), HumanMessage("Look."), call, result]) == ()
    assert images([HumanMessage([TEXT, FORMS[0][0]]), call, result]) == (URL,)


def test_an_image_in_anthropic_s_form_of_a_tool_result_is_not_asked_about() -> None:
    call = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    result = {"type": "tool_result", "tool_use_id": "1", "content": [FORMS[8][0]]}

    assert images([HumanMessage("Look."), call, HumanMessage([result])]) == ()


def test_a_large_data_uri_is_not_copied() -> None:
    uri = "data:image/png;base64," + "A" * 1_000_000
    message = HumanMessage([TEXT, {"type": "image_url", "image_url": {"url": uri}}])
    [seen] = images([message])

    assert seen is message.content[1]["image_url"]["url"]  # type: ignore[index]
