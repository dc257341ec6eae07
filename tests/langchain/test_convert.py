"""What a provider receives of LangChain's messages, and what an attempt learns from any model's message."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from router_integrations.candidates import Candidate
from router_integrations.langchain.convert import attempt_fields, to_openai
from router_integrations.types import Usage

MARK = {"type": "ephemeral"}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "sig"}
CALL = {"name": "f", "args": {"x": 1}, "id": "1", "type": "tool_call"}
WIRE_CALL = {"type": "function", "id": "1", "function": {"name": "f", "arguments": '{"x": 1}'}}


def one(message: BaseMessage) -> dict[str, Any]:
    (converted,) = to_openai([message])
    return converted


@pytest.mark.parametrize(
    "block",
    [
        THINKING,
        {"type": "redacted_thinking", "data": "x"},
        {"type": "reasoning", "reasoning": "hm", "extras": {"signature": "sig"}},
        {"type": "non_standard", "value": {"type": "redacted_thinking", "data": "x"}},
        {"type": "tool_call", "name": "f", "args": {"x": 1}, "id": "1"},
        {"type": "tool_use", "name": "f", "input": {"x": 1}, "id": "1"},
        {"type": "function_call", "name": "f", "arguments": '{"x": 1}', "call_id": "1"},
        {"type": "input_json_delta", "partial_json": "{"},
    ],
)
def test_reasoning_and_calls_never_stay_in_the_content(block: dict[str, Any]) -> None:
    message = AIMessage([block, {"type": "text", "text": "Hi"}], tool_calls=[CALL])

    assert one(message) == {"role": "assistant", "content": "Hi", "tool_calls": [WIRE_CALL]}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "name": "f", "input": {"x": 1}, "id": "1"},
        {"type": "function_call", "name": "f", "arguments": '{"x": 1}', "call_id": "1"},
    ],
)
def test_a_call_that_is_only_in_the_content_becomes_a_tool_call(block: dict[str, Any]) -> None:
    assert one(AIMessage([block])) == {"role": "assistant", "content": None, "tool_calls": [WIRE_CALL]}


def test_signed_reasoning_goes_back_beside_the_content() -> None:
    kept = {"thinking_blocks": [{**THINKING, "index": 0}], "reasoning_content": "hm"}

    converted = one(AIMessage([THINKING, {"type": "text", "text": "Hi"}], additional_kwargs=kept))

    assert converted == {
        "role": "assistant",
        "content": "Hi",
        "thinking_blocks": [THINKING],
        "reasoning_content": "hm",
    }


def test_gemini_gets_its_thought_signatures_back_and_nothing_else_of_its_fields() -> None:
    fields = {"provider_specific_fields": {"thought_signatures": ["s"], "native_finish_reason": "STOP"}}

    assert one(AIMessage("Hi", additional_kwargs=fields))["provider_specific_fields"] == {"thought_signatures": ["s"]}


@pytest.mark.parametrize("make", [SystemMessage, HumanMessage, AIMessage])
def test_cache_marks_stay_on_text(make: Any) -> None:
    blocks = [{"type": "text", "text": "a", "cache_control": MARK}, {"type": "text", "text": "b"}]

    assert one(make(blocks))["content"] == blocks


def test_cache_marks_stay_beside_reasoning_and_on_images() -> None:
    text = {"type": "text", "text": "a", "cache_control": MARK}
    source = {"type": "base64", "media_type": "image/png", "data": "AA"}

    assert one(AIMessage([THINKING, text]))["content"] == [text]
    assert one(HumanMessage([{"type": "image", "source": source, "cache_control": MARK}]))["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}, "cache_control": MARK}
    ]


def test_text_blocks_without_a_mark_become_a_string() -> None:
    assert one(HumanMessage(["a", {"type": "text", "text": "b"}]))["content"] == "a\nb"


def test_names_are_kept_in_a_form_that_providers_take() -> None:
    assert one(HumanMessage("hello", name="example_user"))["name"] == "example_user"
    assert one(HumanMessage("hello", name="Jo <admin>"))["name"] == "Jo_admin_"


def test_other_roles_pass() -> None:
    assert one(ChatMessage("hello", role="developer")) == {"role": "developer", "content": "hello"}


PDF = "data:application/pdf;base64,AA"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "image", "url": "http://x/i"}, {"type": "image_url", "image_url": {"url": "http://x/i"}}),
        (
            {"type": "image", "base64": "AA", "mime_type": "image/png"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        ),
        (
            {"type": "image", "source_type": "base64", "data": "AA", "mime_type": "image/png"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "http://x/i"}},
            {"type": "image_url", "image_url": {"url": "http://x/i"}},
        ),
        (
            {"type": "file", "base64": "AA", "mime_type": "application/pdf"},
            {"type": "file", "file": {"file_data": PDF, "filename": "file.pdf"}},
        ),
        (
            {"type": "file", "source_type": "base64", "data": "AA", "mime_type": "application/pdf", "filename": "a"},
            {"type": "file", "file": {"file_data": PDF, "filename": "a"}},
        ),
        (
            {"type": "file", "url": "http://x/a.pdf", "mime_type": "application/pdf"},
            {"type": "file", "file": {"file_id": "http://x/a.pdf"}},
        ),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}},
            {"type": "file", "file": {"file_data": PDF, "filename": "file.pdf"}},
        ),
        ({"type": "file", "file": {"file_id": "f-1"}}, {"type": "file", "file": {"file_id": "f-1"}}),
        (
            {"type": "audio", "base64": "AA", "mime_type": "audio/wav"},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        ),
        (
            {"type": "audio", "source_type": "base64", "data": "AA", "mime_type": "audio/wav"},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        ),
        (
            {"type": "video", "url": "http://x/v", "mime_type": "video/mp4"},
            {"type": "file", "file": {"file_id": "http://x/v", "format": "video/mp4"}},
        ),
    ],
)
def test_media_in_every_form_reach_the_wire(block: dict[str, Any], expected: dict[str, Any]) -> None:
    assert one(HumanMessage([block]))["content"] == [expected]
    assert one(ToolMessage([block], tool_call_id="1"))["content"] == [expected]


def test_plain_text_files_are_text() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "b"}}

    assert one(HumanMessage([{"type": "text-plain", "text": "a"}, document]))["content"] == "a\nb"


@pytest.mark.parametrize("content", ["boom", "Error: boom"])
def test_a_failed_tool_says_so_once(content: str) -> None:
    assert one(ToolMessage(content, tool_call_id="1", status="error"))["content"] == "Error: boom"


def test_a_failed_tool_with_blocks_says_so() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://x/i"}}

    converted = one(ToolMessage([image], tool_call_id="1", status="error"))

    assert converted["content"] == [{"type": "text", "text": "Error:"}, image]


def test_anthropic_tool_results_come_before_the_users_words() -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": "boom", "is_error": True}

    converted = to_openai([HumanMessage([{"type": "text", "text": "Go on"}, result])])

    assert converted == [
        {"role": "tool", "tool_call_id": "1", "content": "Error: boom"},
        {"role": "user", "content": "Go on"},
    ]


def test_a_call_that_could_not_be_parsed_keeps_its_place_before_its_result() -> None:
    invalid = {"name": "f", "args": "{x", "id": "1", "error": "bad", "type": "invalid_tool_call"}

    (call,) = one(AIMessage("", invalid_tool_calls=[invalid]))["tool_calls"]

    assert call == {"type": "function", "id": "1", "function": {"name": "f", "arguments": '{"invalid": "{x"}'}}


def test_the_callers_messages_are_not_changed() -> None:
    message = AIMessage([THINKING, {"type": "text", "text": "Hi", "cache_control": MARK}], tool_calls=[CALL])
    before = message.model_copy(deep=True)

    to_openai([message])

    assert message == before


CANDIDATE = Candidate("m", input_price=1.0, output_price=10.0, cache_read_price=0.1, cache_write_price=2.0)


def test_an_attempt_learns_all_that_a_message_tells() -> None:
    message = AIMessage(
        [{"type": "text", "text": "Hi"}],
        tool_calls=[CALL],
        usage_metadata={
            "input_tokens": 100,
            "output_tokens": 5,
            "total_tokens": 105,
            "input_token_details": {"cache_read": 60, "cache_creation": 30},
        },
        response_metadata={
            "model_name": "m-2026",
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "Hi", "logprob": -0.5}]},
        },
    )

    assert attempt_fields(message, CANDIDATE) == {
        "text": "Hi",
        "tool_calls": ({"name": "f", "args": {"x": 1}, "id": "1"},),
        "logprobs": (-0.5,),
        "top_logprobs": (),
        "finish_reason": "stop",
        "model": "m-2026",
        "usage": Usage(input_tokens=100, output_tokens=5, cache_read_tokens=60, cache_write_tokens=30),
        "cost": 10 * 1.0 + 60 * 0.1 + 30 * 2.0 + 5 * 10.0,
    }


def test_the_likeliest_tokens_are_read_the_highest_first() -> None:
    places = [[{"token": "b", "logprob": -2}, {"token": "a", "logprob": -1}], []]
    content = [{"token": "a", "logprob": -1, "top_logprobs": place} for place in places]
    message = AIMessage("aa", response_metadata={"logprobs": {"content": content}})

    assert attempt_fields(message, CANDIDATE)["top_logprobs"] == ((-1.0, -2.0), ())


def test_what_is_unknown_stays_unknown() -> None:
    fields = attempt_fields(AIMessage("Hi"), CANDIDATE)

    assert (fields["usage"], fields["cost"], fields["model"], fields["finish_reason"]) == (None, None, None, None)
    assert fields["logprobs"] == ()


def test_a_candidate_without_prices_costs_an_unknown_amount() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}

    assert attempt_fields(AIMessage("Hi", usage_metadata=usage), Candidate("m"))["cost"] is None


@pytest.mark.parametrize(
    ("details", "read", "write"),
    [
        ({"cache_read": 7, "cache_creation": 0, "ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2}, 7, 5),
        ({"priority_cache_read": 7, "priority": 93}, 7, 0),
        ({"audio": 4}, 0, 0),
    ],
)
def test_cached_tokens_are_read_in_every_integrations_words(details: Any, read: int, write: int) -> None:
    usage = {"input_tokens": 100, "output_tokens": 1, "total_tokens": 101, "input_token_details": details}

    found = attempt_fields(AIMessage("Hi", usage_metadata=usage), CANDIDATE)["usage"]

    assert (found.cache_read_tokens, found.cache_write_tokens) == (read, write)


@pytest.mark.parametrize(
    ("metadata", "model", "finish_reason"),
    [
        ({"model_name": "claude-x", "stop_reason": "end_turn", "model": "other"}, "claude-x", "end_turn"),
        ({"model": "llama3", "done_reason": "stop"}, "llama3", "stop"),
        ({"model_id": "amazon.nova", "stopReason": "end_turn"}, "amazon.nova", "end_turn"),
    ],
)
def test_other_integrations_words_are_understood(metadata: Any, model: str, finish_reason: str) -> None:
    fields = attempt_fields(AIMessage("Hi", response_metadata=metadata), CANDIDATE)

    assert (fields["model"], fields["finish_reason"]) == (model, finish_reason)


@pytest.mark.parametrize(
    "metadata",
    [
        {"logprobs": {"content": [{"token": "a", "logprob": -1}, {"token": "b", "logprob": -2}]}},
        {"logprobs": [{"token": "a", "logprob": -1}, {"token": "b", "logprob": -2}]},
        {"logprobs": {"tokens": ["", "a", "b"], "token_logprobs": [None, -1, -2]}},
        {"logprobs_result": [{"token": "a", "logprob": -1}, {"token": "b", "logprob": -2}]},
    ],
)
def test_log_probabilities_are_read_in_every_shape(metadata: Any) -> None:
    assert attempt_fields(AIMessage("ab", response_metadata=metadata), CANDIDATE)["logprobs"] == (-1.0, -2.0)


def test_an_estimated_usage_says_so() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    message = AIMessage("Hi", usage_metadata=usage, response_metadata={"usage_estimated": True})

    assert attempt_fields(message, CANDIDATE)["usage"].estimated
