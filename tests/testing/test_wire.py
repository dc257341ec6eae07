from __future__ import annotations

import asyncio
import json
import os
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.testing.server import ScriptedServer

# LiteLLM itself makes pydantic warn, at its first call and in its streams.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*:DeprecationWarning"),
]

MESSAGES = [{"role": "user", "content": "hi there"}]


def ask(client: httpx.Client, model: str = "m", **options: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"model": model, "messages": MESSAGES, **options})


def stream(client: httpx.Client, **options: Any) -> list[Any]:
    """The parsed events of a whole stream, `[DONE]` as it is."""
    response = ask(client, stream=True, **options)
    assert response.headers["content-type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def deltas(events: list[Any]) -> list[dict[str, Any]]:
    return [choice["delta"] for event in events[:-1] for choice in event["choices"]]


FULL = Reply(
    text="Oslo is cold",
    tool_calls=(ToolCall(name="f", arguments={"city": "Tromsø"}), ToolCall(name="g", arguments="{broken")),
    usage={"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}},
    reasoning_content="let me think",
    message_fields={"annotations": ["a"]},
)


def test_a_reply_arrives_whole(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", FULL)
    answer = ask(client).json()
    (choice,) = answer["choices"]
    message = choice["message"]
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]
    assert calls == [("f", '{"city": "Tromsø"}'), ("g", "{broken")]
    assert message["content"] == "Oslo is cold"
    assert message["reasoning_content"] == "let me think"
    assert message["annotations"] == ["a"]
    assert choice["finish_reason"] == "tool_calls"
    assert answer["usage"] == FULL.usage


def test_a_streamed_reply_carries_the_same_in_pieces(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", FULL)
    events = stream(client, stream_options={"include_usage": True})
    parts = deltas(events)
    pieces = [call for part in parts for call in part.get("tool_calls", ())]
    joined = ["".join(p["function"]["arguments"] for p in pieces if p["index"] == index) for index in (0, 1)]
    assert parts[0] == {"role": "assistant", "content": "", "annotations": ["a"]}
    assert [part["content"] for part in parts[1:] if "content" in part] == ["Oslo", " is", " cold"]
    assert "".join(part.get("reasoning_content", "") for part in parts) == "let me think"
    assert joined == ['{"city": "Tromsø"}', "{broken"]
    assert [piece["function"]["name"] for piece in pieces if "id" in piece] == ["f", "g"]
    assert len(pieces) == 8
    assert events[-3]["choices"][0]["finish_reason"] == "tool_calls"
    assert (events[-2]["choices"], events[-2]["usage"], events[-1]) == ([], FULL.usage, "[DONE]")


def test_usage_counts_words_and_is_streamed_only_when_asked(client: httpx.Client) -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 8, "total_tokens": 10}
    assert ask(client).json()["usage"] == usage
    assert ask(client, n=3).json()["usage"]["completion_tokens"] == 24
    assert stream(client, stream_options={"include_usage": True})[-2]["usage"] == usage
    assert all("usage" not in event for event in stream(client)[:-1])


def test_usage_may_be_left_out(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="x", usage={}), repeat=True)
    assert "usage" not in ask(client).json()
    assert stream(client, stream_options={"include_usage": True})[-2]["choices"] != []


def test_n_choices(client: httpx.Client) -> None:
    assert [choice["index"] for choice in ask(client, n=3).json()["choices"]] == [0, 1, 2]
    streamed = {choice["index"] for event in stream(client, n=2)[:-1] for choice in event["choices"]}
    assert streamed == {0, 1}


def test_logprobs_come_when_asked_the_same_each_time_and_streamed_with_their_token(client: httpx.Client) -> None:
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": 3}
    whole = ask(client, **options).json()["choices"][0]["logprobs"]["content"]
    events = stream(client, **options)[:-1]
    streamed = [event["choices"][0]["logprobs"]["content"][0] for event in events if event["choices"][0]["logprobs"]]
    assert streamed == whole
    assert "".join(entry["token"] for entry in whole) == "Here is a short answer to: hi there"
    assert all(-2 <= entry["logprob"] < 0 for entry in whole)
    assert [top["token"] for top in whole[0]["top_logprobs"]] == ["Here", "Here~1", "Here~2"]
    assert ask(client).json()["choices"][0]["logprobs"] is None


def test_scripted_logprobs_and_finish_reason(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="yes no", logprobs=(-0.5, -3.0), finish_reason="content_filter"))
    (choice,) = ask(client, logprobs=True).json()["choices"]
    assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == [-0.5, -3.0]
    assert choice["finish_reason"] == "content_filter"


def test_delays_hold_back_the_first_byte_and_each_chunk(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="a b", delay=0.03, chunk_delay=0.02))
    start = time.monotonic()
    assert len(stream(client)) == 5
    assert time.monotonic() - start >= 0.03 + 4 * 0.02


# Through LiteLLM


@pytest.fixture
def litellm() -> Iterator[Any]:
    """LiteLLM without what it would leave open: cached clients, and an event loop made for a call without one."""
    asyncio.set_event_loop(None)
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm
        import openai

    yield litellm
    cache = litellm.in_memory_llm_clients_cache
    for client in cache.cache_dict.values():
        if isinstance(client, openai.OpenAI):
            client.close()
    cache.flush_cache()


@pytest.fixture
def options(server: ScriptedServer) -> dict[str, Any]:
    base = {"model": "openai/m", "api_base": server.base_url, "api_key": "k", "max_retries": 0}
    return {**base, "messages": MESSAGES}


TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
CACHED = Reply(
    text="Oslo is cold",
    usage={
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
    reasoning_content="let me think",
)


def test_litellm_reads_a_reply(server: ScriptedServer, litellm: Any, options: dict[str, Any]) -> None:
    server.script("m", CACHED)
    answer = litellm.completion(**options)
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Oslo is cold", "let me think")
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    assert server.requests[0].headers["authorization"] == "Bearer k"


def test_litellm_streams_words_log_probabilities_and_usage(litellm: Any, options: dict[str, Any]) -> None:
    asked = {"logprobs": True, "top_logprobs": 2, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(**options, **asked, stream=True))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    words = [choice.delta.content for choice in choices if choice.delta.content]
    scored = [choice.logprobs.content[0].token for choice in choices if getattr(choice, "logprobs", None)]
    assert words == scored == ["Here", " is", " a", " short", " answer", " to:", " hi", " there"]
    assert [chunk.usage.total_tokens for chunk in chunks if getattr(chunk, "usage", None)] == [10]


@pytest.mark.parametrize("streamed", [False, True])
def test_litellm_reads_tool_calls(litellm: Any, options: dict[str, Any], *, streamed: bool) -> None:
    asked = {**options, "messages": [{"role": "user", "content": "add 3 and 4"}], "tools": [TOOL]}
    answer = litellm.completion(**asked, stream=streamed)
    if streamed:
        answer = litellm.stream_chunk_builder(list(answer))
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 3, "b": 4})
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.fixture
async def acompletion(litellm: Any) -> AsyncIterator[Any]:
    yield litellm.acompletion
    await litellm.close_litellm_async_clients()


async def test_litellm_answers_and_streams_async(acompletion: Any, options: dict[str, Any]) -> None:
    answer = await acompletion(**options)
    streamed = [chunk async for chunk in await acompletion(**options, stream=True)]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert text == answer.choices[0].message.content == "Here is a short answer to: hi there"


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault("status", status=429, retry_after=2), "RateLimitError"),
        (Fault("status", status=401), "AuthenticationError"),
        (Fault("status", status=404), "NotFoundError"),
        (Fault("status", status=503), "ServiceUnavailableError"),
        (Fault("status", status=400, message="This model's maximum context length is 8"), "ContextWindowExceededError"),
        (Fault("reset"), "InternalServerError"),
    ],
)
def test_litellm_maps_faults_to_its_own_errors(
    server: ScriptedServer, litellm: Any, options: dict[str, Any], fault: Fault, name: str
) -> None:
    server.script("m", fault)
    with pytest.raises(getattr(litellm, name)):
        litellm.completion(**options)
