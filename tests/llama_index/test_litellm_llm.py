"""`LiteLLMModel` over real HTTP, beyond the contract of LLMs: settings, reasoning, log-probabilities, faults, files."""

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import FunctionTool
from pydantic import SecretStr, ValidationError

from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError, RequestError
from router_integrations.llama_index.convert import attempt_fields
from router_integrations.llama_index.litellm_llm import LiteLLMModel
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.testing.server import ScriptedServer

SECRET = "sk-very-secret"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
Make = Callable[..., LiteLLMModel]
HI = [ChatMessage("Hi")]


@pytest.fixture
def make(server: ScriptedServer) -> Make:
    def build(params: dict[str, Any] | None = None, **fields: Any) -> LiteLLMModel:
        known = {name: fields.pop(name) for name in ("tools", "tool_choice", "input_price") if name in fields}
        own = {"api_base": server.base_url, "api_key": SECRET, **(params or {})}
        return LiteLLMModel(candidate=Candidate("openai/small", params=own, **known), **fields)

    server.script("small")
    return build


def weather(city: str) -> str:
    """Tell the weather."""
    return f"fine in {city}"


WEATHER = FunctionTool.from_defaults(weather)


def sent(server: ScriptedServer) -> Any:
    return server.requests[-1].body


async def every_way(llm: LiteLLMModel, messages: list[ChatMessage], **kwargs: Any) -> list[ChatResponse]:
    streamed = [response async for response in await llm.astream_chat(messages, **kwargs)]
    return [
        llm.chat(messages, **kwargs),
        await llm.achat(messages, **kwargs),
        list(llm.stream_chat(messages, **kwargs))[-1],
        streamed[-1],
    ]


# What goes out


def test_settings_go_out_and_the_nearest_one_wins(make: Make, server: ScriptedServer) -> None:
    llm = make({"temperature": 0.2}, temperature=0.1, max_tokens=50, stop=["x"])

    llm.chat(HI, stop=["y"], seed=7)

    body = sent(server)
    assert (body["temperature"], body["max_tokens"], body["stop"], body["seed"]) == (0.2, 50, ["y"], 7)
    llm.complete("Hi", temperature=0.3)
    assert (sent(server)["temperature"], sent(server)["stop"]) == (0.3, ["x"])


def test_nothing_is_sent_that_nobody_set(make: Make, server: ScriptedServer) -> None:
    make().chat(HI)

    assert set(sent(server)) == {"model", "messages"}


def test_a_call_may_name_another_model(make: Make, server: ScriptedServer) -> None:
    assert make().chat(HI, model="other").raw["model"] == "other"
    assert sent(server)["model"] == "other"


def test_a_secret_key_reaches_the_provider_alone(make: Make, server: ScriptedServer) -> None:
    for llm in (make({"api_key": SecretStr(SECRET)}), make({"api_key": None}, api_key=SECRET)):
        llm.chat(HI)
        assert server.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in f"{llm!r}{llm.to_json()}{llm.to_payload()}"


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(ValidationError, match="temprature"):
        LiteLLMModel(candidate=Candidate("openai/small"), temprature=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("choice", "required", "on_the_wire"),
    [
        (None, False, None),
        (None, True, "required"),
        ("auto", True, "auto"),
        ("any", False, "required"),
        ("weather", False, {"type": "function", "function": {"name": "weather"}}),
        ({"type": "tool", "name": "weather"}, False, {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_every_tool_choice_is_understood(
    make: Make, server: ScriptedServer, choice: Any, required: bool, on_the_wire: Any
) -> None:
    make().chat_with_tools([WEATHER], "Weather in Oslo?", tool_choice=choice, tool_required=required)

    assert sent(server).get("tool_choice") == on_the_wire


def test_a_choice_that_names_no_tool_is_an_error_before_any_call(make: Make, server: ScriptedServer) -> None:
    before = len(server.requests)

    with pytest.raises(RequestError, match=r"'wether' names none of the tools \['weather'\]"):
        make().chat_with_tools([WEATHER], "Hi", tool_choice="wether")

    assert len(server.requests) == before


@pytest.mark.parametrize(("choice", "sent"), [("required", "auto"), ("weather", "auto"), ("none", "none")])
def test_claude_is_not_forced_to_call_while_it_thinks(choice: str, sent: str) -> None:
    llm = LiteLLMModel(candidate=Candidate("anthropic/claude-sonnet-4-5", params={"reasoning_effort": "low"}))
    call = llm._prepare_chat_with_tools([WEATHER], "Hi", tool_choice=choice)

    assert llm._request(call.pop("messages"), call).params["tool_choice"] == sent


@pytest.mark.parametrize(("parallel", "calls"), [(False, 1), (True, 2)])
def test_one_call_at_a_time_is_asked_for_and_held(
    make: Make, server: ScriptedServer, parallel: bool, calls: int
) -> None:
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    server.script("small", Reply(tool_calls=(call, call)))

    response = make().chat_with_tools([WEATHER], "Weather?", allow_parallel_tool_calls=parallel)

    assert sent(server).get("parallel_tool_calls") == (None if parallel else False)
    assert len([block for block in response.message.blocks if isinstance(block, ToolCallBlock)]) == calls
    assert len(response.message.additional_kwargs["tool_calls"]) == calls


def test_a_chat_takes_tools_and_formats_in_openais_form(make: Make, server: ScriptedServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "object", "properties": {}}}}

    make().chat(HI, tools=[WEATHER, WEATHER.metadata.to_openai_tool()], response_format=form)

    assert [tool["function"]["name"] for tool in sent(server)["tools"]] == ["weather", "weather"]
    assert sent(server)["response_format"] == form


def test_a_prompt_is_shaped_unless_it_has_been(make: Make, server: ScriptedServer) -> None:
    llm = make(completion_to_prompt=lambda prompt: f"Q: {prompt}")

    llm.complete("Why?")
    assert sent(server)["messages"][0]["content"] == "Q: Why?"
    llm.complete("Why?", formatted=True)
    assert sent(server)["messages"][0]["content"] == "Why?"


# What comes back


async def test_every_way_gives_the_same_answer(make: Make, server: ScriptedServer) -> None:
    told = Reply(text="Four it is", reasoning_content="two and two", logprobs=(-0.1, -0.2, -0.3), usage=USAGE)
    server.script("small", told, repeat=True)
    llm = make()

    for response in await every_way(llm, [ChatMessage("2 + 2?")], logprobs=True):
        fields = attempt_fields(response, llm.candidate)
        assert [type(block) for block in response.message.blocks] == [ThinkingBlock, TextBlock]
        assert response.message.blocks[0].content == "two and two"
        assert (fields["text"], fields["model"], fields["finish_reason"]) == ("Four it is", "small", "stop")
        assert fields["logprobs"] == (-0.1, -0.2, -0.3)
        assert (fields["usage"].input_tokens, fields["usage"].output_tokens) == (9, 4)
        assert [place[0].logprob for place in response.logprobs or []] == [-0.1, -0.2, -0.3]
        assert response.raw["usage"]["total_tokens"] == response.additional_kwargs["total_tokens"] == 13


async def test_every_way_estimates_a_usage_that_is_not_reported(make: Make, server: ScriptedServer) -> None:
    server.script("small", Reply(text="Four it is", usage={}), repeat=True)
    llm = make()

    for response in await every_way(llm, [ChatMessage("2 + 2?")]):
        counts = {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9, "usage_estimated": True}
        assert response.additional_kwargs == counts
        assert attempt_fields(response, llm.candidate)["usage"].estimated


async def test_cached_and_reasoning_tokens_are_told(make: Make, server: ScriptedServer) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens_details": {"reasoning_tokens": 3}}
    server.script("small", Reply(text="Four", usage={**USAGE, **details}), repeat=True)

    for response in await every_way(make(), HI):
        told = response.additional_kwargs
        assert (told["cache_read_tokens"], told["reasoning_tokens"]) == (6, 3)


def test_a_stream_tells_reasoning_as_it_comes(make: Make, server: ScriptedServer) -> None:
    server.script("small", Reply(text="Four", reasoning_content="two and two"))

    told = [response.additional_kwargs.get("thinking_delta") or "" for response in make().stream_chat(HI)]

    assert "".join(told) == "two and two"


async def test_calls_come_alike_in_every_way(make: Make, server: ScriptedServer) -> None:
    calls = (ToolCall(name="weather", arguments={"city": "Oslo"}), ToolCall(name="weather", arguments={"city": "Rom"}))
    server.script("small", Reply(text="Let me see", tool_calls=calls), repeat=True)
    llm = make()

    for response in await every_way(llm, HI, tools=[WEATHER]):
        found = llm.get_tool_calls_from_response(response)
        assert [call.tool_kwargs for call in found] == [{"city": "Oslo"}, {"city": "Rom"}]
        assert [call["id"] for call in response.message.additional_kwargs["tool_calls"]] == [c.tool_id for c in found]
        assert response.message.content == "Let me see"


def test_half_a_call_never_fails(make: Make, server: ScriptedServer) -> None:
    server.script("small", Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Os\\lo", "days": [1, 2]}),)))
    llm = make()

    seen = [llm.get_tool_calls_from_response(part) for part in llm.stream_chat_with_tools([WEATHER], "Weather?")]

    assert len(seen) > 3
    assert seen[-1][0].tool_kwargs == {"city": "Os\\lo", "days": [1, 2]}


def test_arguments_that_are_no_json_are_kept_and_call_nothing(make: Make, server: ScriptedServer) -> None:
    server.script("small", Reply(tool_calls=(ToolCall(name="weather", arguments="city = Oslo"),)))
    llm = make()
    response = llm.chat_with_tools([WEATHER], "Weather?")

    assert response.message.blocks[-1].tool_kwargs == "city = Oslo"
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {}
    assert attempt_fields(response, llm.candidate)["tool_calls"] == ()


def test_no_call_is_an_error_unless_it_may_be(make: Make) -> None:
    response = make().chat(HI)

    assert make().get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="calls no tool but says 'Here is a short answer to: Hi'"):
        make().get_tool_calls_from_response(response)


def test_a_picture_that_was_made_is_a_block(make: Make, server: ScriptedServer) -> None:
    made = base64.b64encode(b"\x89PNG picture").decode()
    images = [{"type": "image_url", "index": 0, "image_url": {"url": f"data:image/png;base64,{made}"}}]
    server.script("small", Reply(text="Here", message_fields={"images": images}))

    text, image = make().chat(HI).message.blocks

    assert (text.text, image.image_mimetype, image.image) == ("Here", "image/png", made.encode())


# How it fails


@pytest.mark.parametrize(
    ("fault", "family"),
    [
        (Fault("status", status=429, retry_after=3), "rate_limit"),
        (Fault("status", status=401), "authentication"),
        (Fault("status", status=400, code="context_length_exceeded"), "context_overflow"),
        (Fault("status", status=503), "server"),
        (Fault("truncated_stream", after_chunks=1), "malformed"),
    ],
)
async def test_every_way_fails_with_the_providers_error_after_one_call(
    make: Make, server: ScriptedServer, fault: Fault, family: str
) -> None:
    llm, caught = make(), list[Any]()
    server.script("small", fault, repeat=True)
    before = len(server.requests)
    for attempt in (lambda: llm.chat(HI), lambda: list(llm.stream_chat(HI)), lambda: list(llm.stream_complete("Hi"))):
        with pytest.raises(ProviderError) as failure:
            attempt()
        caught.append(failure.value)
    for start in (llm.astream_chat(HI), llm.astream_complete("Hi")):
        with pytest.raises(ProviderError) as failure:
            await anext(await start)
        caught.append(failure.value)
    with pytest.raises(ProviderError) as failure:
        await llm.achat(HI)
    caught.append(failure.value)

    assert {(error.family, error.retry_after) for error in caught} == {(family, fault.retry_after)}
    assert len(server.requests) == before + len(caught)


def test_a_broken_stream_has_shown_what_it_had(make: Make, server: ScriptedServer) -> None:
    server.script("small", Fault("reset_stream", after_chunks=3))
    stream = make().stream_chat(HI)

    assert next(stream).delta == "Here"
    with pytest.raises(ProviderError) as failure:
        list(stream)

    assert failure.value.retryable


@pytest.mark.parametrize("where", ["call", "model"])
async def test_a_call_has_its_own_timeout(make: Make, server: ScriptedServer, where: str) -> None:
    server.script("small", Fault("hang"), repeat=True)
    llm = make(timeout=0.2) if where == "model" else make(timeout=60)
    given = {} if where == "model" else {"timeout": 0.2}

    with pytest.raises(ProviderError) as failure:
        llm.chat(HI, **given)
    with pytest.raises(ProviderError) as late:
        await anext(await llm.astream_chat(HI, **given))

    assert (failure.value.family, late.value.family) == ("timeout", "timeout")


def test_half_a_reply_is_a_failure(make: Make, server: ScriptedServer) -> None:
    server.script("small", Fault("truncated_json"))

    with pytest.raises(ProviderError) as failure:
        make().chat(HI)

    assert failure.value.retryable


# What it is


def test_a_dict_comes_back_without_its_secrets(make: Make) -> None:
    llm = make({"seed": 3}, temperature=0.5, api_key=SECRET, input_price=1e-6)

    form = json.loads(llm.to_json())
    again = LiteLLMModel.from_dict(form)

    assert SECRET not in json.dumps(form)
    assert (again.temperature, again.candidate.params["seed"], again.candidate.input_price) == (0.5, 3, 1e-6)
    assert again.api_key is None


@pytest.mark.parametrize(
    ("candidate", "max_tokens", "window", "output"),
    [
        (Candidate("openai/gpt-4o-mini"), None, 128_000, 16_384),
        (Candidate("openai/gpt-4o-mini"), 100, 128_000, 100),
        (Candidate("openai/unheard-of"), None, 8192, 1024),
        (Candidate("openai/gpt-4"), None, 8192, 2048),
    ],
    ids=lambda value: getattr(value, "id", value),
)
def test_row_57_limits_leave_room_for_a_prompt(
    candidate: Candidate, max_tokens: int | None, window: int, output: int
) -> None:
    metadata = LiteLLMModel(candidate=candidate, max_tokens=max_tokens).metadata

    assert (metadata.context_window, metadata.num_output) == (window, output)
    assert metadata.is_chat_model


@pytest.mark.parametrize(("tools", "calls"), [(True, True), (None, True), (False, False)])
def test_row_55_it_calls_functions_unless_known_not_to(make: Make, tools: bool | None, calls: bool) -> None:
    assert make(tools=tools).metadata.is_function_calling_model is calls


async def test_files_are_read_off_the_event_loop(
    make: Make, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    threads: list[int] = []
    read = Path.read_bytes

    def seen(path: Path) -> bytes:
        if path == picture:
            threads.append(threading.get_ident())
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", seen)
    message = ChatMessage(blocks=[ImageBlock(path=picture)])
    await make().achat([message])
    await anext(await make().astream_chat([message]))

    assert len(threads) >= 2
    assert threading.get_ident() not in threads
    url = sent(server)["messages"][0]["content"][0]["image_url"]["url"]
    assert url == "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
