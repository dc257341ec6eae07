"""OpenAI-shaped replies and chunks as LangChain's messages."""

from typing import Any

import pytest
from chat_model_standard import sum_of
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk

from router_integrations.adapters.replies import Prompt
from router_integrations.candidates import Candidate
from router_integrations.langchain.chunks import ChunkReader
from router_integrations.langchain.replies import chat_result

PROMPT = Prompt(Candidate("anthropic/claude-sonnet-4-5"), [{"role": "user", "content": "Hello there"}])
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def reply(message: dict[str, Any], **fields: Any) -> AIMessage:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    result = chat_result({"model": "claude-real", "choices": [choice], "usage": USAGE, **fields}, PROMPT)
    return result.generations[0].message


def streamed(*deltas: dict[str, Any], usage: Any = USAGE, **fields: Any) -> AIMessageChunk:
    return sum_of(pieces(*deltas, usage=usage, **fields))


def pieces(*deltas: dict[str, Any], usage: Any = USAGE, **fields: Any) -> list[AIMessageChunk]:
    reader = ChunkReader(PROMPT)
    head = {"id": "c-1", "model": "claude-real", **fields}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": usage})
    read = [reader.read(chunk) for chunk in chunks] + [reader.end()]
    return [chunk for chunk in read if chunk is not None]


SIGNED = [
    {"type": "thinking", "thinking": "hm, well", "signature": "s1"},
    {"type": "redacted_thinking", "data": "dark"},
    {"type": "thinking", "thinking": "aha", "signature": "s2"},
]
STANDARD = [
    {"type": "reasoning", "reasoning": "hm, well", "extras": {"signature": "s1"}},
    {"type": "non_standard", "value": {"type": "redacted_thinking", "data": "dark"}},
    {"type": "reasoning", "reasoning": "aha", "extras": {"signature": "s2"}},
    {"type": "text", "text": "Hi"},
]


def without_index(blocks: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in block.items() if name != "index"} for block in blocks]


def test_signed_thinking_is_kept_and_shown() -> None:
    message = reply({"content": "Hi", "thinking_blocks": SIGNED, "reasoning_content": "hm, wellaha"})

    assert message.content == "Hi"
    assert message.additional_kwargs["thinking_blocks"] == SIGNED
    assert message.content_blocks == STANDARD


@pytest.mark.parametrize("numbered", [True, False])
def test_streamed_thinking_adds_up_to_the_whole_blocks(numbered: bool) -> None:
    parts = [
        (0, {"type": "thinking", "thinking": "hm, "}),
        (0, {"type": "thinking", "thinking": "well"}),
        (0, {"type": "thinking", "thinking": "", "signature": "s1"}),
        (1, {"type": "redacted_thinking", "data": "dark"}),
        (2, {"type": "thinking", "thinking": "aha"}),
        (2, {"type": "thinking", "thinking": "", "signature": "s2"}),
    ]
    deltas = [
        {"reasoning_content": part.get("thinking"), "thinking_blocks": [{"index": i, **part} if numbered else part]}
        for i, part in parts
    ]

    message = streamed(*deltas, {"content": "Hi"})

    assert without_index(message.additional_kwargs["thinking_blocks"]) == SIGNED
    assert message.additional_kwargs["reasoning_content"] == "hm, wellaha"
    assert without_index(message.content_blocks) == STANDARD


def test_repeated_provider_fields_are_not_repeated() -> None:
    specific = {"thinking_blocks": SIGNED, "native_finish_reason": "end_turn", "refusal": None}

    message = reply({"content": "Hi", "thinking_blocks": SIGNED, "provider_specific_fields": specific})

    assert message.additional_kwargs["provider_specific_fields"] == {"native_finish_reason": "end_turn"}


def test_streamed_provider_fields_merge_without_harm() -> None:
    fields = {"score": 0.5, "tier": "gold", "sources": ["a"]}
    later = {"score": 0.7, "tier": "gold", "sources": ["b"]}

    message = streamed(
        {"content": "H", "provider_specific_fields": fields}, {"content": "i", "provider_specific_fields": later}
    )

    assert message.additional_kwargs["provider_specific_fields"] == {
        "score": 0.5,
        "tier": "gold",
        "sources": ["a", "b"],
    }


def test_what_describes_the_reply_is_on_one_chunk() -> None:
    chunks = pieces({"content": "H"}, {"content": "i"}, system_fingerprint="fp", citations=["u"])

    for name in ("model_name", "provider", "id", "system_fingerprint", "finish_reason"):
        assert sum(name in chunk.response_metadata for chunk in chunks) == 1, name
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1
    whole = sum_of(chunks)
    assert whole.additional_kwargs["citations"] == ["u"]
    assert whole.response_metadata == {
        "model_name": "claude-real",
        "model_provider": "litellm",
        "provider": "anthropic",
        "id": "c-1",
        "system_fingerprint": "fp",
        "finish_reason": "stop",
    }


def test_chunks_that_show_nothing_are_held_back() -> None:
    reader = ChunkReader(PROMPT)

    assert reader.read({"choices": [{"delta": {"role": "assistant", "content": ""}}]}) is None
    assert reader.end() is None


def test_a_whole_reply_has_the_metadata_of_a_streamed_one() -> None:
    assert reply({"content": "Hi"}, id="c-1").response_metadata == {
        **streamed({"content": "Hi"}).response_metadata,
        "token_usage": USAGE,
    }


@pytest.mark.parametrize("model", [None, ""])
def test_the_model_name_is_never_empty(model: Any) -> None:
    assert reply({"content": "Hi"}, model=model).response_metadata["model_name"] == "claude-sonnet-4-5"


def call(arguments: Any, index: Any = 0, **fields: Any) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": arguments, **fields.pop("function", {})}, **fields}


def test_tool_call_pieces_find_each_other_whatever_the_provider_repeats() -> None:
    first = {"id": "a", "function": {"name": "f"}}
    message = streamed(
        {"tool_calls": [call('{"x"', **first)]},
        {"tool_calls": [call(": 1}", **first)]},
        {"tool_calls": [call('{"y": 2}', id="b", function={"name": "g"})]},
    )

    assert [(one["name"], one["args"], one["id"]) for one in message.tool_calls] == [
        ("f", {"x": 1}, "a"),
        ("g", {"y": 2}, "b"),
    ]


def test_tool_call_pieces_without_an_index_are_in_order() -> None:
    message = streamed(
        {"tool_calls": [call('{"x"', index=None, id="a", function={"name": "f"})]},
        {"tool_calls": [call(": 1}", index=None)]},
        {"tool_calls": [call({"y": 2}, index=None, id="b", function={"name": "g"})]},
    )

    assert [(one["name"], one["args"]) for one in message.tool_calls] == [("f", {"x": 1}), ("g", {"y": 2})]


def test_text_and_a_piece_of_a_call_in_one_chunk_stay_apart() -> None:
    first, *_ = pieces({"content": "Hi", "tool_calls": [call('{"x"', id="a", function={"name": "f"})]})

    assert [(block["type"], block["index"]) for block in first.content_blocks] == [
        ("text", "lc_text"),
        ("tool_call_chunk", "lc_tool_call_chunk_0"),
    ]


@pytest.mark.parametrize("arguments", ['{"x": ', "[1]", "3"])
def test_arguments_that_are_no_object_make_an_invalid_call(arguments: str) -> None:
    message = reply({"content": None, "tool_calls": [call(arguments, id="a", function={"name": "f"})]})

    assert message.tool_calls == []
    (invalid,) = message.invalid_tool_calls
    assert (invalid["name"], invalid["args"], invalid["id"]) == ("f", arguments, "a")


@pytest.mark.parametrize(("arguments", "expected"), [("", {}), (None, {}), ({"x": 1}, {"x": 1})])
def test_missing_and_object_arguments_are_taken(arguments: Any, expected: Any) -> None:
    message = reply({"content": None, "tool_calls": [call(arguments, id="a", function={"name": "f"})]})

    assert (message.content, message.tool_calls[0]["args"]) == ("", expected)


def test_a_refusal_is_a_block() -> None:
    message = reply({"content": None, "refusal": "No."})

    assert message.additional_kwargs["refusal"] == "No."
    assert message.content_blocks == [{"type": "refusal", "refusal": "No."}]


def test_citations_are_on_the_text() -> None:
    cited = {"url": "http://x", "title": "X", "start_index": 0, "end_index": 2}

    message = reply({"content": "Hi", "annotations": [{"type": "url_citation", "url_citation": cited}]})

    assert message.content_blocks == [{"type": "text", "text": "Hi", "annotations": [{"type": "citation", **cited}]}]


def test_usage_has_all_its_details() -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
        "cache_creation_input_tokens": 2,
    }
    expected = {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_token_details": {"audio": 1, "cache_read": 4, "cache_creation": 2},
        "output_token_details": {"audio": 0, "reasoning": 3},
    }

    assert reply({"content": "Hi"}, usage=usage).usage_metadata == expected
    assert streamed({"content": "Hi"}, usage=usage).usage_metadata == expected


def test_a_missing_usage_is_estimated_and_marked() -> None:
    whole = reply({"content": "Hi there, you"}, usage=None)
    parts = streamed({"content": "Hi there"}, {"content": ", you"}, usage=None)

    assert whole.usage_metadata == {"input_tokens": 7, "output_tokens": 4, "total_tokens": 11}
    assert parts.usage_metadata["input_tokens"] == 7
    assert whole.response_metadata["usage_estimated"] is parts.response_metadata["usage_estimated"] is True


def test_all_choices_are_kept_and_paid_once() -> None:
    choices = [{"index": i, "finish_reason": "stop", "message": {"content": text}} for i, text in enumerate("ab")]

    first, second = chat_result({"choices": choices, "usage": USAGE}, PROMPT).generations

    assert (first.text, second.text) == ("a", "b")
    assert (first.message.usage_metadata["total_tokens"], second.message.usage_metadata) == (15, None)


def test_content_in_parts_is_text() -> None:
    assert reply({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}).content == "Hi"


def test_messages_hold_plain_values_only() -> None:
    message = reply({"content": "Hi", "thinking_blocks": SIGNED}, service_tier="default")

    assert "not_implemented" not in dumps(message)
