"""`LiteLLMChatModel` over real HTTP: what goes out, what comes back, how it fails, and what it keeps to itself."""

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from chat_model_standard import sum_of
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelInvalidRequestError,
    ModelRateLimitError,
    ModelRefusalError,
    ModelTimeoutError,
)
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr, ValidationError

from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError, RequestError
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.testing.server import ScriptedServer

SECRET = "sk-very-secret"
Make = Callable[..., LiteLLMChatModel]


@pytest.fixture
def make(server: ScriptedServer) -> Make:
    def build(params: dict[str, Any] | None = None, **fields: Any) -> LiteLLMChatModel:
        known = {name: fields.pop(name) for name in ("schema", "tool_choice", "vision") if name in fields}
        own = {"api_base": server.base_url, "api_key": SECRET, **(params or {})}
        return LiteLLMChatModel(candidate=Candidate("openai/small", params=own, **known), **fields)

    server.script("small")
    return build


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"fine in {city}"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def sent(server: ScriptedServer) -> Any:
    return server.requests[-1].body


# What goes out


def test_settings_go_out_and_the_nearest_one_wins(make: Make, server: ScriptedServer) -> None:
    model = make({"temperature": 0.2, "stop": ["z"]}, temperature=0.1, max_tokens=50, stop=["x"])

    model.invoke("Hi", stop=["y"], seed=7)

    body = sent(server)
    assert (body["temperature"], body["max_tokens"], body["stop"], body["seed"]) == (0.2, 50, ["y"], 7)
    model.invoke("Hi", temperature=0.3)
    assert (sent(server)["temperature"], sent(server)["stop"]) == (0.3, ["z"])


def test_nothing_is_sent_that_nobody_set(make: Make, server: ScriptedServer) -> None:
    make().invoke("Hi")

    assert set(sent(server)) == {"model", "messages"}


@pytest.mark.parametrize(
    ("model", "arrives"), [("other", "other"), ("openai/other", "other"), ("gpt-4o-mini", "gpt-4o-mini")]
)
def test_a_call_may_name_another_model(make: Make, server: ScriptedServer, model: str, arrives: str) -> None:
    answer = make().invoke("Hi", model=model)

    assert (sent(server)["model"], answer.response_metadata["model_name"]) == (arrives, arrives)


def test_a_secret_key_reaches_the_provider_alone(make: Make, server: ScriptedServer) -> None:
    for model in (make({"api_key": SecretStr(SECRET)}), make({"api_key": None}, api_key=SECRET)):
        model.invoke("Hi")
        assert server.requests[-1].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("choice", "on_the_wire"),
    [
        (None, None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_every_tool_choice_is_understood(make: Make, server: ScriptedServer, choice: Any, on_the_wire: Any) -> None:
    make().bind_tools([weather], tool_choice=choice).invoke("What is the weather in Oslo?")

    assert sent(server).get("tool_choice") == on_the_wire


def test_a_choice_that_names_no_tool_is_an_error_before_any_call(make: Make) -> None:
    with pytest.raises(RequestError, match=r"'wether' names none of the tools \['weather'\]"):
        make().bind_tools([weather], tool_choice="wether")


def test_tools_in_every_form_and_their_options_go_out(make: Make, server: ScriptedServer) -> None:
    claude = {"name": "pick", "input_schema": {"type": "object", "properties": {}}, "cache_control": {"type": "x"}}
    bound = make().bind_tools([weather, Person, claude], strict=True, parallel_tool_calls=False)

    bound.invoke("Hi")

    body = sent(server)
    assert [one["function"]["name"] for one in body["tools"]] == ["weather", "Person", "pick"]
    assert all(one["function"]["strict"] for one in body["tools"])
    assert body["parallel_tool_calls"] is False
    assert bound.kwargs["tools"][2]["cache_control"] == {"type": "x"}


@pytest.mark.parametrize("built_in", [{"type": "web_search_20250305", "name": "web_search"}, {"googleSearch": {}}])
def test_a_providers_own_tool_stays_as_it_is(make: Make, built_in: dict[str, Any]) -> None:
    assert make().bind_tools([built_in]).kwargs["tools"] == [built_in]


def test_tools_and_a_response_format_go_together(make: Make, server: ScriptedServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "object", "properties": {}}}}

    make().bind_tools([weather], response_format=form, tool_choice=None).invoke("Hi")

    assert (sent(server)["response_format"], len(sent(server)["tools"])) == (form, 1)


# What comes back


async def every_way(model: Any, *args: Any, **kwargs: Any) -> list[Any]:
    parts = [part async for part in model.astream(*args, **kwargs)]
    return [
        model.invoke(*args, **kwargs),
        await model.ainvoke(*args, **kwargs),
        sum_of(model.stream(*args, **kwargs)),
        sum_of(parts),
    ]


async def test_every_way_gives_the_same_answer(make: Make, server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    told = Reply(text="Four it is", reasoning_content="two and two", logprobs=(-0.1, -0.2, -0.3), usage=usage)
    server.script("small", told, repeat=True)

    for answer in await every_way(make(), "2 + 2?", logprobs=True):
        metadata = answer.response_metadata
        assert answer.content == "Four it is"
        assert [token["logprob"] for token in metadata["logprobs"]["content"]] == [-0.1, -0.2, -0.3]
        assert (metadata["model_name"], metadata["provider"], metadata["finish_reason"]) == ("small", "openai", "stop")
        assert answer.usage_metadata["total_tokens"] == 13
        assert "usage_estimated" not in metadata
        assert [block["type"] for block in answer.content_blocks] == ["reasoning", "text"]


async def test_every_way_estimates_a_usage_that_is_not_reported(make: Make, server: ScriptedServer) -> None:
    server.script("small", Reply(text="Four it is", usage={}), repeat=True)

    for answer in await every_way(make(), "2 + 2?"):
        assert answer.usage_metadata == {"input_tokens": 6, "output_tokens": 3, "total_tokens": 9}
        assert answer.response_metadata["usage_estimated"] is True


@pytest.mark.parametrize("make_output", ["v0", "v1"])
async def test_reasoning_and_calls_are_blocks_in_both_output_versions(
    make: Make, server: ScriptedServer, make_output: str
) -> None:
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    server.script("small", Reply(text="Let me see", reasoning_content="hm", tool_calls=(call,)), repeat=True)

    for answer in await every_way(make(output_version=make_output), "Weather in Oslo?"):
        assert [block["type"] for block in answer.content_blocks] == ["reasoning", "text", "tool_call"]
        assert answer.tool_calls[0]["args"] == {"city": "Oslo"}


def test_the_first_chunk_shows_something(make: Make, server: ScriptedServer) -> None:
    chunks = list(make().stream("Hi"))

    assert chunks[0].content == "Here"
    assert len(chunks) > 5


def test_several_answers_come_and_are_paid_once(make: Make, server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}
    server.script("small", Reply(text="Hi", usage=usage))

    with get_usage_metadata_callback() as counted:
        (generations,) = make().generate([[HumanMessage("Hi")]], n=2).generations

    assert [generation.text for generation in generations] == ["Hi", "Hi"]
    assert counted.usage_metadata["small"]["total_tokens"] == 17


async def test_a_stream_that_is_left_ends_its_request(make: Make, server: ScriptedServer) -> None:
    server.script("small", Reply(text="one two three four five", chunk_delay=0.2), repeat=True)
    before = server.aborted

    stream = make().stream("Hi")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    async for _ in (live := make().astream("Hi")):
        break
    await live.aclose()  # type: ignore[attr-defined]

    assert server.wait_until(lambda running: running.aborted == before + 2)


# How it fails


@pytest.mark.parametrize(
    ("fault", "theirs", "family"),
    [
        (Fault("status", status=429, retry_after=3), ModelRateLimitError, "rate_limit"),
        (Fault("status", status=401), ModelAuthenticationError, "authentication"),
        (Fault("status", status=400), ModelInvalidRequestError, "bad_request"),
        (Fault("status", status=400, code="context_length_exceeded"), ContextOverflowError, "context_overflow"),
        (Fault("status", status=503), ModelAPIError, "server"),
        (Fault("truncated_stream", after_chunks=1), ModelAPIError, "malformed"),
    ],
)
async def test_failures_are_ours_and_langchains(
    make: Make, server: ScriptedServer, fault: Fault, theirs: type[Exception], family: str
) -> None:
    model = make()
    server.script("small", fault, repeat=True)
    caught: list[Any] = []
    for attempt in (lambda: model.invoke("Hi"), lambda: list(model.stream("Hi"))):
        with pytest.raises(theirs) as failure:
            attempt()
        caught.append(failure.value)
    for attempt in (lambda: model.ainvoke("Hi"), lambda: anext(model.astream("Hi"))):
        with pytest.raises(theirs) as failure:
            await attempt()
        caught.append(failure.value)

    for error in caught:
        assert isinstance(error, ProviderError)
        assert (error.family, error.status_code) == (family, fault.status if fault.kind == "status" else None)
        assert error.retry_after == fault.retry_after
        assert error.retryable == theirs.is_retryable  # type: ignore[attr-defined]
        assert error.__cause__ is not None


def test_a_call_has_its_own_timeout(make: Make, server: ScriptedServer) -> None:
    server.script("small", Fault("hang"))

    with pytest.raises(ModelTimeoutError):
        make(timeout=60).invoke("Hi", timeout=0.2)


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(ValidationError, match="temprature"):
        LiteLLMChatModel(candidate=Candidate("openai/small"), temprature=1)  # type: ignore[call-arg]


# Structured output


class Answer(TypedDict):
    """An answer."""

    name: str


@pytest.mark.parametrize(("schema", "expected"), [(True, "response_format"), (False, "tools"), (None, "tools")])
def test_the_method_is_what_the_candidate_is_known_to_support(
    make: Make, server: ScriptedServer, schema: bool | None, expected: str
) -> None:
    answer = make(schema=schema).with_structured_output(Person).invoke("Anna is 5")

    assert isinstance(answer, Person)
    assert {"response_format", "tools"} & set(sent(server)) == {expected}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("strict", [None, True])
def test_strict_is_sent_when_asked_for(make: Make, server: ScriptedServer, method: str, strict: bool | None) -> None:
    make().with_structured_output(Answer, method=method, strict=strict).invoke("Anna")  # type: ignore[arg-type]

    body = sent(server)
    form = body["response_format"]["json_schema"] if method == "json_schema" else body["tools"][0]["function"]
    assert form.get("strict") is strict
    assert form["name"] == "Answer"


def test_json_mode_asks_for_any_object(make: Make, server: ScriptedServer) -> None:
    answer = make().with_structured_output(None, method="json_mode").invoke("JSON with 'name'")  # type: ignore[arg-type]

    assert set(answer) == {"name"}
    assert sent(server)["response_format"] == {"type": "json_object"}


def test_a_schema_name_that_openai_refuses_is_mended(make: Make, server: ScriptedServer) -> None:
    schema = {"title": "A name, in words", "type": "object", "properties": {"name": {"type": "string"}}}

    make().with_structured_output(schema, method="json_schema").invoke("Anna")

    assert sent(server)["response_format"]["json_schema"]["name"] == "A_name_in_words"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_the_raw_answer_comes_with_what_was_made_of_it(make: Make, server: ScriptedServer, method: Any) -> None:
    structured = make().with_structured_output(Person, method=method, include_raw=True)
    good = structured.invoke("Anna is 5")
    bad = '{"name": "Anna"}'
    wrong = ToolCall(name="Person", arguments=bad)
    server.script("small", Reply(text=bad) if method == "json_schema" else Reply(tool_calls=(wrong,)))
    broken = structured.invoke("Anna is 5")

    assert isinstance(good["parsed"], Person)
    assert good["parsing_error"] is None
    assert good["raw"].usage_metadata is not None
    assert broken["parsed"] is None
    assert isinstance(broken["parsing_error"], ValueError)


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_a_refusal_is_langchains_error(make: Make, server: ScriptedServer, method: Any) -> None:
    server.script("small", Reply(message_fields={"refusal": "I would rather not."}))

    with pytest.raises(ModelRefusalError, match="rather not"):
        make().with_structured_output(Person, method=method).invoke("Anna is 5")


def test_an_unknown_method_is_an_error(make: Make) -> None:
    with pytest.raises(RequestError, match="'xml'"):
        make().with_structured_output(Person, method="xml")  # type: ignore[arg-type]


def test_a_tool_is_not_forced_on_whom_it_cannot_be(make: Make, server: ScriptedServer) -> None:
    make(tool_choice=False).with_structured_output(Person).invoke("Which Person? Anna is 5")

    assert "tool_choice" not in sent(server)


def test_claude_is_not_forced_while_it_thinks() -> None:
    params = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    model = LiteLLMChatModel(candidate=Candidate("anthropic/claude-sonnet-4-5", params=params))

    structured: Any = model.with_structured_output(Person, method="function_calling")

    assert "tool_choice" not in structured.first.kwargs


def test_bindings_work_through_fallbacks(make: Make, server: ScriptedServer) -> None:
    spare = LiteLLMChatModel(
        candidate=Candidate("openai/spare", params={"api_base": server.base_url, "api_key": SECRET})
    )
    both: Any = make().with_fallbacks([spare])
    server.script("small", Fault("status", status=500), repeat=True)

    assert both.bind_tools([weather], tool_choice="any").invoke("Weather in 'Oslo'?").tool_calls
    assert isinstance(both.with_structured_output(Person).invoke("Anna is 5"), Person)


# What it tells of itself


class Tracer(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.seen += [serialized, kwargs]


async def test_secrets_are_in_no_trace_dump_or_error(make: Make, server: ScriptedServer) -> None:
    params = {"extra_headers": {"X-Auth": SECRET}, "api_base": server.base_url.replace("//", f"//u:{SECRET}@")}
    tracer = Tracer()
    for model in (make(), make({"api_key": SecretStr(SECRET)}), make({"api_key": None}, api_key=SECRET)):
        model.invoke("Hi", {"callbacks": [tracer]})
        server.script("small", Fault("status", status=401, message=f"bad key {SECRET}"))
        with pytest.raises(ProviderError) as failure:
            await model.ainvoke("Hi", {"callbacks": [tracer]})
        assert SECRET not in str(failure.value)
        assert SECRET not in repr(model) + str(model) + dumps(model)
    assert SECRET not in repr(make(params)._identifying_params)
    assert SECRET not in repr(tracer.seen)


@pytest.mark.parametrize(
    "other",
    [
        {"params": {"api_base": "http://other"}},
        {"params": {"api_key": "sk-other"}},
        {"params": {"top_p": 0.5}},
        {"params": {"extra_headers": {"x-api-key": "other"}}},
        {"temperature": 0.5},
        {"max_tokens": 5},
        {"stop": ["x"]},
    ],
)
def test_every_setting_is_part_of_the_cache_key(make: Make, other: dict[str, Any]) -> None:
    assert make()._get_llm_string() == make()._get_llm_string()
    assert make()._get_llm_string() != make(**other)._get_llm_string()


def test_langsmith_is_told_the_real_provider_and_model() -> None:
    model = LiteLLMChatModel(
        candidate=Candidate("anthropic/claude-sonnet-4-5", params={"temperature": 0.5}), max_tokens=7, stop=["x"]
    )

    assert model._get_ls_params() == {
        "ls_provider": "anthropic",
        "ls_model_name": "claude-sonnet-4-5",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 7,
        "ls_stop": ["x"],
    }
    assert model._get_ls_params(model="other", temperature=0.1)["ls_model_name"] == "other"


def test_the_profile_is_the_candidates() -> None:
    profile = LiteLLMChatModel(candidate=Candidate("openai/gpt-4o-mini", tools=False)).profile

    assert profile is not None
    assert (profile["max_input_tokens"], profile["image_inputs"], profile["tool_calling"]) == (128_000, True, False)
    assert LiteLLMChatModel(candidate=Candidate("openai/unheard-of")).profile == {"text_inputs": True}


def test_tokens_are_counted_without_a_network() -> None:
    model = LiteLLMChatModel(candidate=Candidate("openai/gpt-4o"))
    messages = [HumanMessage("hello world"), HumanMessage([{"type": "image_url", "image_url": {"url": "http://x"}}])]

    assert model.get_num_tokens("hello world") == 2
    assert model.get_num_tokens_from_messages(messages) == 4 + 2 + 4 + 800
    assert model.get_num_tokens_from_messages(messages, [weather]) > 830


async def test_many_calls_at_once_do_not_mix(make: Make) -> None:
    model = make()

    answers = await asyncio.gather(*(model.ainvoke(f"number {i}") for i in range(50)))

    assert [answer.content for answer in answers] == [f"Here is a short answer to: number {i}" for i in range(50)]
