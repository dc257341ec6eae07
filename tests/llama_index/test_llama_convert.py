"""LlamaIndex's messages in OpenAI's form, and what the responses of any integration tell."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    LogProb,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from router_integrations.adapters.replies import Prompt
from router_integrations.candidates import Candidate
from router_integrations.errors import RequestError
from router_integrations.llama_index.blocks import reads_files
from router_integrations.llama_index.convert import attempt_fields, calls_of, openai_tools, to_openai
from router_integrations.llama_index.replies import ChunkReader, chat_response
from router_integrations.types import Usage

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
PDF = b"%PDF-1.4 tiny"
POINT = CachePoint(cache_control=CacheControl(type="ephemeral"))
HOUR = CachePoint(cache_control=CacheControl(type="ephemeral", ttl="1h"))
PROMPT = Prompt(Candidate("anthropic/claude-sonnet-4-5"), [])


def content(*blocks: Any, role: str = "user") -> Any:
    return to_openai([ChatMessage(role=role, blocks=list(blocks))])[0]["content"]


def one(message: ChatMessage) -> dict[str, Any]:
    (converted,) = to_openai([message])
    return converted


# Roles and names


@pytest.mark.parametrize(
    ("role", "on_the_wire"),
    [
        ("system", "system"),
        ("developer", "developer"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("chatbot", "assistant"),
        ("model", "assistant"),
        ("function", "function"),
    ],
)
def test_every_role_is_one_of_openais(role: str, on_the_wire: str) -> None:
    message = ChatMessage(role=role, content="Hi", additional_kwargs={"name": "Ada Lovelace"})

    assert one(message) == {"role": on_the_wire, "content": "Hi", "name": "Ada_Lovelace"}


def test_a_result_names_its_call_and_nothing_else_goes_out() -> None:
    kwargs = {"tool_call_id": "1", "session_id": "s", "prompt_tokens": 3}

    assert one(ChatMessage(role="tool", content="3", additional_kwargs=kwargs)) == {
        "role": "tool",
        "content": "3",
        "tool_call_id": "1",
    }


def test_an_empty_message_stays_one() -> None:
    assert one(ChatMessage(role="assistant")) == {"role": "assistant", "content": ""}


# Content


def test_texts_become_one() -> None:
    assert content(TextBlock(text="one"), TextBlock(text="two")) == "one\ntwo"


@pytest.mark.parametrize(
    "block",
    [
        ImageBlock(image=PNG),
        ImageBlock(image=base64.b64encode(PNG)),
        ImageBlock(image=io.BytesIO(PNG)),
        ImageBlock(url=PNG_URL),
    ],
    ids=["bytes", "base64", "stream", "data URI"],
)
def test_a_picture_in_any_form_is_a_data_uri(block: ImageBlock) -> None:
    for _ in range(2):  # a stream can be read again
        assert content(block) == [{"type": "image_url", "image_url": {"url": PNG_URL}}]


def test_a_path_is_read_and_a_url_is_not(tmp_path: Path) -> None:
    picture = tmp_path / "dot"
    picture.write_bytes(PNG)

    assert content(ImageBlock(path=picture, detail="low")) == [
        {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}}
    ]
    assert content(ImageBlock(url="https://nowhere.invalid/a.png")) == [
        {"type": "image_url", "image_url": {"url": "https://nowhere.invalid/a.png"}}
    ]


def test_audio_video_and_documents() -> None:
    data = base64.b64encode(b"sound").decode()
    document = base64.b64encode(PDF).decode()

    assert content(AudioBlock(audio=b"sound!", format="mp3"))[0]["input_audio"]["format"] == "mp3"
    assert content(AudioBlock(url=f"data:audio/wav;base64,{data}")) == [
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    ]
    assert content(AudioBlock(url="https://nowhere.invalid/a.wav"))[0]["file"]["file_id"].endswith("a.wav")
    assert content(VideoBlock(video=b"moving!", video_mimetype="video/mp4"))[0]["file"]["format"] == "video/mp4"
    assert content(DocumentBlock(data=PDF, title="a.pdf")) == [
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{document}", "filename": "a.pdf"}}
    ]
    assert content(DocumentBlock(url="https://nowhere.invalid/a.pdf")) == [
        {"type": "file", "file": {"file_id": "https://nowhere.invalid/a.pdf"}}
    ]


def test_a_text_file_is_text_that_every_model_reads(tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Grüße", encoding="utf-8")

    assert content(DocumentBlock(path=str(notes))) == "# Grüße"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (ImageBlock(), "an empty ImageBlock says nothing"),
        (DocumentBlock(path="/nowhere/a.pdf"), "'/nowhere/a.pdf' cannot be read"),
    ],
    ids=["empty", "no file"],
)
def test_a_block_that_says_nothing_is_an_error(block: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        content(block)


def test_a_block_that_nobody_knows_is_an_error() -> None:
    message = ChatMessage("Hi")
    message.blocks.append(CacheControl(type="ephemeral"))  # type: ignore[arg-type]

    with pytest.raises(RequestError, match="of the kind 'CacheControl'"):
        to_openai([message])


def test_only_paths_and_streams_are_files(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    held, read = ImageBlock(image=PNG), ImageBlock(path=path)
    citable = CitableBlock(title="t", source="s", content=[read])

    assert [reads_files([ChatMessage(blocks=[block])]) for block in (held, read, citable)] == [False, True, True]
    assert reads_files([ChatMessage(blocks=[ImageBlock(image=io.BytesIO(PNG))])])


def test_cache_points_mark_what_stands_before_them() -> None:
    mark = {"type": "ephemeral"}

    assert content(POINT, TextBlock(text="a"), POINT, TextBlock(text="b"), HOUR) == [
        {"type": "text", "text": "a", "cache_control": mark},
        {"type": "text", "text": "b", "cache_control": {**mark, "ttl": "1h"}},
    ]
    assert one(ChatMessage("a", additional_kwargs={"cache_control": mark}))["content"] == [
        {"type": "text", "text": "a", "cache_control": mark}
    ]


def test_citable_text_goes_out_and_citations_stay() -> None:
    citable = CitableBlock(title="Primes", source="euclid.txt", content="There is no last one.")
    citation = CitationBlock(cited_content="no last", source="euclid.txt", title="Primes", additional_location_info={})

    assert content(citable) == "Primes (euclid.txt):\nThere is no last one."
    assert content(TextBlock(text="None."), citation, role="assistant") == "None."


# Calls


@pytest.mark.parametrize(
    ("kwargs", "arguments"),
    [({"a": "ü"}, '{"a": "ü"}'), ('{"a": 1}', '{"a": 1}'), ("a = 1", '{"invalid": "a = 1"}'), ("", "{}"), ({}, "{}")],
)
def test_arguments_are_always_a_json_object(kwargs: Any, arguments: str) -> None:
    message = ChatMessage(
        role="assistant", blocks=[ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs=kwargs)]
    )

    function = {"name": "add", "arguments": arguments}
    assert one(message) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }


class _Function(BaseModel):
    name: str
    arguments: str


class _Call(BaseModel):
    id: str
    function: _Function


@pytest.mark.parametrize(
    "call",
    [
        {"id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}},
        _Call(id="1", function=_Function(name="add", arguments='{"a": 1}')),
        SimpleNamespace(id="1", function=SimpleNamespace(name="add", arguments='{"a": 1}')),
        {"id": "1", "name": "add", "input": {"a": 1}},
        {"toolUseId": "1", "name": "add", "input": {"a": 1}},
        SimpleNamespace(id="1", name="add", args={"a": 1}),
    ],
    ids=["openai", "pydantic", "object", "anthropic", "bedrock", "gemini"],
)
def test_calls_that_older_integrations_kept_beside_the_blocks(call: Any) -> None:
    message = ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [call]})

    assert list(calls_of(message)) == [
        {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]
    assert one(message)["tool_calls"] == list(calls_of(message))


def test_calls_are_not_sent_twice() -> None:
    raw = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    signed = {**raw, "provider_specific_fields": {"thought_signature": "c2ln"}}
    block = ToolCallBlock(tool_call_id="1", tool_name="add")
    message = ChatMessage(role="assistant", blocks=[block], additional_kwargs={"tool_calls": [signed]})

    assert one(message)["tool_calls"] == [signed]


def test_a_call_without_an_id_is_known_by_its_tool() -> None:
    message = ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_name="add")])

    assert next(calls_of(message))["id"] == "add"


def test_an_old_function_call_stays_one() -> None:
    call = {"name": "add", "arguments": "{}"}
    message = ChatMessage(role="assistant", content="", additional_kwargs={"function_call": call})

    assert one(message)["function_call"] == call


def test_tools_keep_the_form_that_they_have() -> None:
    built_in = {"type": "web_search_20250305", "name": "web_search"}
    tool = FunctionTool.from_defaults(lambda a: a, name="echo", description="d" * 2000)

    formatted = openai_tools([built_in, tool])

    assert (formatted[0], formatted[1]["function"]["name"]) == (built_in, "echo")


# Thinking: there and back


def replied(**message: Any) -> ChatResponse:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi", **message}}
    return chat_response({"model": "m", "choices": [choice]}, PROMPT)


def streamed(*deltas: dict[str, Any]) -> ChatResponse:
    reader = ChunkReader(PROMPT)
    for delta in deltas:
        reader.read({"choices": [{"index": 0, "delta": delta}]})
    return reader.end()


SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "eHh4"}
ITEM = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "x",
}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"reasoning_content": "Hm."}, ["Hm."]),
        ({"thinking_blocks": [SIGNED, HIDDEN], "reasoning_content": "Hm."}, ["Hm.", None]),
        ({"reasoning_items": [ITEM]}, ["Hm."]),
    ],
    ids=["plain", "signed", "items"],
)
def test_thinking_goes_back_as_it_came(told: dict[str, Any], shown: list[str | None]) -> None:
    message = replied(**told).message

    assert [block.content for block in message.blocks if isinstance(block, ThinkingBlock)] == shown
    assert one(message) == {"role": "assistant", "content": "Hi", **told}


def test_thinking_of_llamaindexs_own_integration_goes_back_signed() -> None:
    block = ThinkingBlock(content="Hm.", additional_information={"signature": "c2ln"})

    assert one(ChatMessage(role="assistant", blocks=[block]))["thinking_blocks"] == [SIGNED]


def test_a_stream_of_thinking_adds_up() -> None:
    response = streamed(
        {"reasoning_content": "H", "thinking_blocks": [{"type": "thinking", "thinking": "H"}]},
        {"reasoning_content": "m.", "thinking_blocks": [{"type": "thinking", "thinking": "m."}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln"}]},
        {"thinking_blocks": [HIDDEN]},
        {"content": "H"},
        {"content": "i"},
    )

    assert one(response.message)["thinking_blocks"] == [SIGNED, HIDDEN]
    assert response.message.content == "Hi"


def test_a_signature_without_a_call_goes_back() -> None:
    fields = {"provider_specific_fields": {"thought_signatures": ["c2ln"]}}

    for response in (replied(**fields), streamed({"content": "Hi", **fields})):
        assert one(response.message)["provider_specific_fields"] == {"thought_signatures": ["c2ln"]}


def test_what_a_stream_says_of_the_reply_comes_once() -> None:
    reader = ChunkReader(PROMPT)
    for text in ("H", "i"):
        reader.read({"citations": ["u"], "choices": [{"index": 0, "delta": {"content": text, "refusal": text}}]})
    response = reader.end()

    assert response.raw["citations"] == response.message.additional_kwargs["citations"] == ["u"]
    assert response.message.additional_kwargs["refusal"] == "Hi"


# What responses tell


class _Usage(BaseModel):
    input_tokens: int = 10
    output_tokens: int = 5
    cache_read_input_tokens: int | None = 100
    cache_creation_input_tokens: int | None = None


class _Raw(BaseModel):
    model: str = "gpt-4o"
    usage: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    choices: list[Any] = [
        {"finish_reason": "stop", "logprobs": {"content": [{"token": "Hi", "logprob": -0.5, "top_logprobs": []}]}}
    ]


def response(raw: Any = None, **fields: Any) -> ChatResponse:
    return ChatResponse(message=ChatMessage("Hi", role="assistant"), raw=raw, **fields)


@pytest.mark.parametrize(
    ("given", "usage"),
    [
        (response(_Raw()), Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4)),
        (response({"usage": _Usage()}), Usage(input_tokens=110, output_tokens=5, cache_read_tokens=100)),
        (
            response({"usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5}}),
            Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4),
        ),
        (
            response(
                {
                    "usage_metadata": {
                        "prompt_token_count": 10,
                        "candidates_token_count": 5,
                        "thoughts_token_count": 2,
                        "cached_content_token_count": None,
                    }
                }
            ),
            Usage(input_tokens=10, output_tokens=7),
        ),
        (
            response({"usage": {"inputTokens": 10, "outputTokens": 5, "cacheWriteInputTokens": 3}}),
            Usage(input_tokens=13, output_tokens=5, cache_write_tokens=3),
        ),
        (
            response({"metadata": {"usage": {"inputTokens": 1, "outputTokens": 2}}}),
            Usage(input_tokens=1, output_tokens=2),
        ),
        (response({"prompt_eval_count": 10, "eval_count": 5}), Usage(input_tokens=10, output_tokens=5)),
        (
            response(object(), additional_kwargs={"prompt_tokens": 10, "completion_tokens": 5}),
            Usage(input_tokens=10, output_tokens=5),
        ),
        (
            response(None, additional_kwargs={"usage": _Usage(cache_read_input_tokens=None)}),
            Usage(input_tokens=10, output_tokens=5),
        ),
        (response(), None),
        (response({"usage": None}), None),
        (response({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}), None),
    ],
    ids=[
        "openai", "anthropic", "responses", "gemini", "bedrock", "bedrock stream", "ollama", "told beside",
        "an object beside", "nothing", "null", "zero",
    ],
)  # fmt: skip
def test_tokens_are_found_in_every_providers_words(given: ChatResponse, usage: Usage | None) -> None:
    fields = attempt_fields(given, Candidate("m", model=object(), input_price=1.0, output_price=1.0))

    assert fields["usage"] == usage
    assert (fields["cost"] is None) == (usage is None)


def test_a_response_of_openais_tells_everything() -> None:
    fields = attempt_fields(response(_Raw()), Candidate("m", model=object()))

    assert (fields["text"], fields["model"], fields["finish_reason"]) == ("Hi", "gpt-4o", "stop")
    assert fields["logprobs"] == (-0.5,)


@pytest.mark.parametrize(
    "given",
    [
        response({"stop_reason": "end_turn"}),
        response({"stopReason": "end_turn"}),
        response({"done_reason": "end_turn"}),
        response({"candidates": [SimpleNamespace(finish_reason=SimpleNamespace(name="end_turn"))]}),
        ChatResponse(message=ChatMessage("Hi", additional_kwargs={"stop_reason": "end_turn"})),
    ],
    ids=["anthropic", "bedrock", "ollama", "gemini", "anthropic stream"],
)
def test_why_it_ended_is_found_in_every_providers_words(given: ChatResponse) -> None:
    assert attempt_fields(given, Candidate("m", model=object()))["finish_reason"] == "end_turn"


def test_log_probabilities_that_only_llamaindex_kept() -> None:
    places = [[LogProb(token="a", logprob=-0.1), LogProb(token="b", logprob=-2.5)], [LogProb(token="c", logprob=-0.2)]]

    fields = attempt_fields(response(logprobs=places), Candidate("m", model=object()))

    assert fields["logprobs"] == (-0.1, -0.2)
    assert fields["top_logprobs"] == ((-0.1, -2.5), ())
