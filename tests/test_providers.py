"""Calls through LiteLLM over real HTTP on loopback: every fault, every mode, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import aiohttp
import pytest

from router_integrations import providers
from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError
from router_integrations.providers import acomplete, astream, complete, stream, usage
from router_integrations.testing.replies import Fault, Recorded, Reply, ToolCall
from router_integrations.testing.server import ScriptedServer
from router_integrations.types import Usage

# By our own import, which keeps the price map off the network.
litellm = providers._litellm()
# LiteLLM's own, on ordinary calls; they would be errors here and break the call.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

HELLO = [{"role": "user", "content": "Say hello"}]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather", "parameters": {"type": "object", "properties": {}}},
}
TOOL_LOOP = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
]
KEY = "sk-test-0123456789"
MODES = ["complete", "acomplete", "stream", "astream"]
STREAMS = ["stream", "astream"]


def idle(server: ScriptedServer) -> bool:
    return server.open_streams == 0


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def server(shared: ScriptedServer) -> ScriptedServer:
    """Return the server; each test uses it from where the last one left it."""
    shared.script("scripted")
    assert shared.wait_until(idle)
    return shared


def scripted(server: ScriptedServer, id: str = "openai/scripted", **fields: Any) -> Candidate:
    params = {"api_base": server.base_url, "api_key": KEY, **fields.pop("params", {})}
    return Candidate(id, params=params, input_price=1e-6, output_price=2e-6, **fields)


def ask(mode: str, candidate: Candidate, params: Mapping[str, Any] | None = None, **options: Any) -> list[Any]:
    """Make one call in the given mode; return the reply, or the chunks."""
    messages, timeout = options.get("messages", HELLO), options.get("timeout", 10.0)
    arguments = (candidate, messages, params or {}, timeout)

    async def collected() -> list[Any]:
        return [chunk async for chunk in astream(*arguments)]

    match mode:
        case "complete":
            return [complete(*arguments)]
        case "acomplete":
            return [asyncio.run(acomplete(*arguments))]
        case "stream":
            return list(stream(*arguments))
    return asyncio.run(collected())


def sent(server: ScriptedServer, call: Callable[[], Any]) -> list[Recorded]:
    """Return the requests that `call` caused."""
    before = len(server.requests)
    call()
    return server.requests[before:]


def text(chunks: list[Any]) -> str:
    deltas = (choice.get("delta") or choice.get("message") or {} for chunk in chunks for choice in chunk["choices"])
    return "".join(delta.get("content") or "" for delta in deltas)


def failure(mode: str, server: ScriptedServer, *steps: Any, timeout: float = 10.0) -> tuple[ProviderError, int]:
    """Return how a call fails, and the number of requests it took."""
    server.script("scripted", *steps, repeat=True)
    caught: list[ProviderError] = []

    def call() -> None:
        with pytest.raises(ProviderError) as raised:
            ask(mode, scripted(server), timeout=timeout)
        caught.append(raised.value)

    requests = sent(server, call)
    return caught[0], len(requests)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("status", "family"),
    [
        (400, "bad_request"),
        (401, "authentication"),
        (402, "permission"),
        (403, "permission"),
        (404, "not_found"),
        (408, "timeout"),
        (409, "server"),
        (413, "context_overflow"),
        (422, "bad_request"),
        (425, "server"),
        (429, "rate_limit"),
        (500, "server"),
        (503, "server"),
        (529, "server"),
    ],
)
def test_an_error_status_becomes_one_error_after_one_request(
    mode: str, server: ScriptedServer, status: int, family: str
) -> None:
    error, requests = failure(mode, server, Fault("status", status=status, message="no way"))

    assert (error.family, error.status_code, error.retry_after, requests) == (family, status, None, 1)
    assert str(error) == f"HTTP {status}: no way"
    assert isinstance(error.__cause__, litellm.exceptions.openai.OpenAIError)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("fault", "family"),
    [
        (Fault("status", status=400, code="context_length_exceeded"), "context_overflow"),
        (Fault("status", status=400, message="maximum context length is 10 tokens"), "context_overflow"),
        (Fault("status", status=400, code="content_policy_violation"), "content_policy"),
        (Fault("reset"), "connection"),
        (Fault("empty_choices"), "malformed"),
        (Fault("truncated_json"), "malformed"),
        (Fault("truncated_stream"), "malformed"),
        (Fault("error_in_stream"), "server"),
        (Fault("wrong_content_type"), "malformed"),
        (Fault("empty_stream"), "malformed"),
    ],
    ids=lambda value: f"{value.kind}-{value.code}-{value.status}" if isinstance(value, Fault) else value,
)
def test_a_broken_reply_becomes_one_error_after_one_request(
    mode: str, server: ScriptedServer, fault: Fault, family: str
) -> None:
    error, requests = failure(mode, server, fault)

    assert (error.family, requests) == (family, 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_connection_reset_in_the_reply_may_be_tried_again(mode: str, server: ScriptedServer) -> None:
    error, requests = failure(mode, server, Fault("reset_stream"))

    # LiteLLM's async transport cannot tell a reset from an early end.
    assert error.family in ("connection", "malformed")
    assert (error.retryable, error.status_code, requests) == (True, None, 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_hanging_server_is_a_timeout(mode: str, server: ScriptedServer) -> None:
    error, requests = failure(mode, server, Fault("hang"), timeout=0.3)

    assert (error.family, error.status_code, requests) == ("timeout", None, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_told(mode: str, server: ScriptedServer, status: int) -> None:
    error, requests = failure(mode, server, Fault("status", status=status, retry_after=3))

    assert (error.retry_after, requests) == (3.0, 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_is_not_there_is_a_connection_failure(mode: str, server: ScriptedServer) -> None:
    candidate = scripted(server, params={"api_base": "http://127.0.0.1:1/v1"})

    with pytest.raises(ProviderError) as raised:
        ask(mode, candidate)

    assert raised.value.family == "connection"


@pytest.mark.parametrize("mode", STREAMS)
@pytest.mark.parametrize("kind", ["truncated_stream", "reset_stream", "error_in_stream"])
@pytest.mark.parametrize(("after", "shown"), [(1, 0), (3, 3)])
def test_a_stream_shows_nothing_before_the_first_word(
    mode: str, server: ScriptedServer, kind: Any, after: int, shown: int
) -> None:
    server.script("scripted", Fault(kind, after_chunks=after))
    chunks: list[Any] = []

    async def follow() -> None:
        async for chunk in astream(scripted(server), HELLO, {}, 10):
            chunks.append(chunk)

    with pytest.raises(ProviderError):
        if mode == "astream":
            asyncio.run(follow())
        else:
            for chunk in stream(scripted(server), HELLO, {}, 10):
                chunks.append(chunk)

    assert len(chunks) == shown


@pytest.mark.parametrize("mode", MODES)
def test_a_provider_that_echoes_the_key_does_not_get_it_into_the_message(mode: str, server: ScriptedServer) -> None:
    candidate = scripted(server, params={"api_key": "hunter2", "extra_headers": {"x-api-key": "hunter3"}})
    server.script("scripted", Fault("status", status=401, message="bad keys hunter2, hunter3, sk-proj-abc123def"))

    with pytest.raises(ProviderError) as raised:
        ask(mode, candidate)

    assert str(raised.value) == "HTTP 401: bad keys ***, ***, ***"


@pytest.mark.parametrize("mode", MODES)
def test_the_reply_and_all_that_came_with_it_is_kept(mode: str, server: ScriptedServer) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}}
    reply = Reply(
        text="Hello there",
        reasoning_content="They greet.",
        message_fields={"annotations": [{"type": "url_citation"}], "provider_extra": "kept"},
        usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, **details},
        logprobs=(-0.1, -0.2),
    )
    server.script("scripted", reply)

    chunks = ask(mode, scripted(server), {"logprobs": True, "top_logprobs": 1})

    whole = json.dumps(chunks)
    assert text(chunks) == "Hello there"
    assert chunks[0]["model"] == "scripted"
    assert chunks[0]["id"].startswith("chatcmpl-")
    assert usage(chunks[-1]) == Usage(input_tokens=9, output_tokens=3, cache_read_tokens=4)
    assert chunks[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1
    assert all(word in whole for word in ("They", "url_citation", "kept", "-0.1", "-0.2"))
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c.get("finish_reason")] == ["stop"]


@pytest.mark.parametrize("mode", MODES)
def test_tool_calls_arrive(mode: str, server: ScriptedServer) -> None:
    server.script("scripted", Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),)))

    chunks = ask(mode, scripted(server), {"tools": [TOOL], "tool_choice": "required"})

    calls = [
        call
        for chunk in chunks
        for choice in chunk["choices"]
        for call in (choice.get("delta") or choice.get("message") or {}).get("tool_calls") or ()
    ]
    assert calls[0]["function"]["name"] == "weather"
    assert json.loads("".join(call["function"].get("arguments") or "" for call in calls)) == {"city": "Oslo"}


@pytest.mark.parametrize("mode", STREAMS)
def test_a_stream_comes_in_pieces_and_asks_for_its_usage(mode: str, server: ScriptedServer) -> None:
    server.script("scripted", Reply(text="one two three"))
    chunks: list[Any] = []

    requests = sent(server, lambda: chunks.extend(ask(mode, scripted(server))))

    assert sum(bool(text([chunk])) for chunk in chunks) == 3
    assert requests[0].body["stream_options"] == {"include_usage": True}
    assert [usage(chunk) for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert usage(chunks[-1]) == Usage(input_tokens=2, output_tokens=3)


@pytest.mark.parametrize("mode", MODES)
def test_usage_that_the_provider_did_not_report_is_not_made_up(mode: str, server: ScriptedServer) -> None:
    server.script("scripted", Reply(text="one two three", usage={}))

    chunks = ask(mode, scripted(server))

    assert text(chunks) == "one two three"
    assert usage(chunks[-1]) is None


@pytest.mark.parametrize("mode", MODES)
def test_litellms_mock_replies_work(mode: str, server: ScriptedServer) -> None:
    chunks = ask(mode, scripted(server, params={"mock_response": "Hello from nowhere"}))

    assert text(chunks) == "Hello from nowhere"


@pytest.mark.parametrize("mode", MODES)
def test_the_body_holds_what_was_asked_and_nothing_else(mode: str, server: ScriptedServer) -> None:
    candidate = scripted(server, params={"temperature": 0.1, "top_p": 0.5, "guided_choice": ["a"], "stop": ["x"]})
    params = {"temperature": 0.9, "max_tokens": 5, "stop": None}

    body = dict(sent(server, lambda: ask(mode, candidate, params))[0].body)

    streamed = {"stream": True, "stream_options": {"include_usage": True}} if mode in STREAMS else {}
    assert body == {
        "model": "scripted",
        "messages": HELLO,
        "temperature": 0.9,
        "top_p": 0.5,
        "max_tokens": 5,
        "guided_choice": ["a"],
        **streamed,
    }


@pytest.mark.parametrize("mode", MODES)
def test_messages_are_not_changed(mode: str, server: ScriptedServer) -> None:
    messages = [{"role": "system", "content": "Be brief"}, *TOOL_LOOP]
    before = json.dumps(messages)

    ask(mode, scripted(server), messages=messages)

    assert json.dumps(messages) == before


@pytest.mark.parametrize(
    ("id", "given", "left_out"),
    [
        ("openai/o3-mini", {"temperature": 0.2, "max_tokens": 9}, {"temperature"}),
        ("openai/o3-mini", {"top_p": 0.2, "parallel_tool_calls": False}, {"top_p", "parallel_tool_calls"}),
        ("openai/gpt-5", {"temperature": 0.2, "stop": ["x"], "logprobs": True}, {"temperature", "stop", "logprobs"}),
        ("openai/gpt-5.1", {"temperature": 0.2, "reasoning_effort": "low"}, {"temperature"}),
        ("openai/gpt-5.1", {"temperature": 0.2}, set()),
        ("openai/gpt-4o", {"temperature": 0.2, "stop": ["x"], "logprobs": True}, set()),
    ],
)
def test_a_parameter_that_the_model_refuses_is_left_out_with_one_warning(
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
    id: str,
    given: dict[str, Any],
    left_out: set[str],
) -> None:
    candidate = scripted(server, id, name=request.node.name)

    bodies = [r.body for r in sent(server, lambda: [ask(mode, candidate, given) for mode in ("complete", "acomplete")])]

    taken = {*given} - left_out
    renamed = {"max_completion_tokens" if name == "max_tokens" else name for name in taken}
    assert [{*body} - {"model", "messages"} for body in bodies] == [renamed, renamed]
    warned = [record.getMessage() for record in caplog.records if record.name.startswith("router_integrations")]
    assert len(warned) == len(left_out)
    assert all(f"'{candidate.name}' does not take {name}=" in " ".join(warned) for name in left_out)


def test_the_candidates_capability_overrules_litellms_table(server: ScriptedServer) -> None:
    candidate = scripted(server, "perplexity/sonar", tools=True, tool_choice=True)

    body = sent(server, lambda: complete(candidate, HELLO, {"tools": [TOOL], "tool_choice": "required"}, 10))[0].body

    assert body["tools"] == [TOOL]
    assert body["tool_choice"] == "required"


def test_tools_are_never_left_out_in_silence(server: ScriptedServer) -> None:
    candidate = scripted(server, "perplexity/sonar", tools=False)

    def call() -> None:
        with pytest.raises(ProviderError) as raised:
            complete(candidate, HELLO, {"tools": [TOOL]}, 10)
        assert raised.value.family == "bad_request"

    assert sent(server, call) == []


@pytest.mark.parametrize("mode", MODES)
def test_an_id_without_a_provider_is_refused_before_any_request(
    mode: str, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    def call() -> None:
        with pytest.raises(ProviderError, match="write the id as 'provider/model'") as raised:
            ask(mode, scripted(server, "no-such-model"))
        assert raised.value.family == "not_found"

    assert sent(server, call) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", MODES)
def test_failures_print_nothing_but_the_users_own_calls_may(
    mode: str, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    failure(mode, server, Fault("status", status=500))
    failure(mode, server, Fault("truncated_stream"))
    assert capfd.readouterr() == ("", "")

    server.script("scripted", Fault("status", status=500))
    with pytest.raises(litellm.InternalServerError):
        litellm.completion("openai/scripted", HELLO, api_base=server.base_url, api_key=KEY, max_retries=0)
    assert "Give Feedback" in capfd.readouterr().out


@pytest.mark.parametrize("mode", MODES)
def test_the_users_retry_setting_is_neither_used_nor_forgotten(
    mode: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "num_retries", 2)

    _, requests = failure(mode, server, Fault("status", status=500))

    assert requests == 1
    assert litellm.num_retries == 2


def test_closing_a_stream_closes_its_connection(server: ScriptedServer) -> None:
    server.script("scripted", Reply(text="one two three four", chunk_delay=0.1))
    before = server.aborted
    chunks = stream(scripted(server), HELLO, {}, 10)

    next(chunks)
    assert server.open_streams == 1
    chunks.close()

    assert server.wait_until(idle)
    assert server.aborted == before + 1


async def test_closing_an_async_stream_closes_its_connection(server: ScriptedServer) -> None:
    server.script("scripted", Reply(text="one two three four", chunk_delay=0.1))
    before = server.aborted
    chunks = astream(scripted(server), HELLO, {}, 10)

    await anext(chunks)
    assert server.open_streams == 1
    await chunks.aclose()

    assert await asyncio.to_thread(server.wait_until, idle)
    assert server.aborted == before + 1


async def test_cancelling_a_call_closes_its_connection(server: ScriptedServer) -> None:
    server.script("scripted", Fault("hang"))
    before = server.aborted
    task = asyncio.create_task(acomplete(scripted(server), HELLO, {}, 10))
    while server.open_streams == 0:
        await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.wait_until, idle)
    assert server.aborted == before + 1


def test_every_event_loop_leaves_nothing_open(server: ScriptedServer, capfd: pytest.CaptureFixture[str]) -> None:
    def sessions() -> int:
        gc.collect()
        return sum(type(o) is aiohttp.ClientSession and not o.closed for o in gc.get_objects())

    before = sessions()
    for mode in ("acomplete", "astream") * 3:
        ask(mode, scripted(server))
    failure("astream", server, Fault("truncated_stream"))

    assert sessions() == before
    assert providers._keepers == {}
    assert capfd.readouterr() == ("", "")


# LiteLLM's one logging queue moves from loop to loop, and may lose an entry where two of them do so at once.
@pytest.mark.filterwarnings("ignore:.*Logging.async_success_handler:pytest.PytestUnraisableExceptionWarning")
def test_threads_with_event_loops_of_their_own_do_not_disturb_each_other(server: ScriptedServer) -> None:
    answers: list[str] = []

    def work() -> None:
        for _ in range(3):
            answers.append(text(ask("acomplete", scripted(server))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == ["Here is a short answer to: Say hello"] * 12


class _Canned(BaseHTTPRequestHandler):
    """Answers with the server's one reply, whatever is asked."""

    server: Any

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        payload = json.dumps(self.server.reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def canned() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), _Canned)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def openai_reply(usage: Mapping[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


ANTHROPIC_REPLY = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "thinking", "thinking": "hm", "signature": "signed"}, {"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 10,
    },
}
GEMINI_REPLY = {
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 40,
        "totalTokenCount": 150,
    },
}
BEDROCK_REPLY = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": {
        "inputTokens": 5,
        "outputTokens": 10,
        "totalTokens": 135,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 20,
    },
    "metrics": {"latencyMs": 1},
}
BEDROCK_ID = "bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0"


def at(canned: Any, id: str) -> Candidate:
    """Return a candidate of a provider that is the canned server."""
    url = f"http://127.0.0.1:{canned.server_address[1]}"
    if not id.startswith("bedrock/"):
        return Candidate(id, params={"api_base": url, "api_key": KEY}, input_price=0, output_price=0)
    aws = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region_name": "us-east-1"}
    return Candidate(id, params={"aws_bedrock_runtime_endpoint": url, **aws}, input_price=0, output_price=0)


@pytest.mark.parametrize(
    ("id", "reply", "expected"),
    [
        (
            "openai/gpt-4o",
            openai_reply(
                {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}}
            ),
            Usage(input_tokens=100, output_tokens=10, cache_read_tokens=60),
        ),
        (
            "deepseek/deepseek-chat",
            openai_reply({"prompt_tokens": 100, "completion_tokens": 10, "prompt_cache_hit_tokens": 60}),
            Usage(input_tokens=100, output_tokens=10, cache_read_tokens=60),
        ),
        (
            "anthropic/claude-sonnet-4-5",
            ANTHROPIC_REPLY,
            Usage(input_tokens=125, output_tokens=10, cache_read_tokens=100, cache_write_tokens=20),
        ),
        ("gemini/gemini-2.5-pro", GEMINI_REPLY, Usage(input_tokens=100, output_tokens=50, cache_read_tokens=60)),
        (
            BEDROCK_ID,
            BEDROCK_REPLY,
            Usage(input_tokens=125, output_tokens=10, cache_read_tokens=100, cache_write_tokens=20),
        ),
    ],
    ids=["openai", "deepseek", "anthropic", "gemini", "bedrock"],
)
def test_cached_tokens_are_counted_once_for_every_provider(
    canned: Any, id: str, reply: dict[str, Any], expected: Usage
) -> None:
    canned.reply = reply

    assert usage(complete(at(canned, id), HELLO, {}, 10)) == expected


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({}, None),
        ({"usage": None}, None),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, None),
        (
            {"usage": {"prompt_tokens": 5, "completion_tokens": 1, "cache_read_input_tokens": 100}},
            Usage(input_tokens=105, output_tokens=1, cache_read_tokens=100),
        ),
        (
            {"usage": {"prompt_tokens": 50, "completion_tokens": 1, "cache_creation_input_tokens": 20}},
            Usage(input_tokens=50, output_tokens=1, cache_write_tokens=20),
        ),
    ],
)
def test_usage_of_other_shapes(reported: dict[str, Any], expected: Usage | None) -> None:
    assert usage(reported) == expected


def test_signed_thinking_is_kept(canned: Any) -> None:
    canned.reply = ANTHROPIC_REPLY

    message = complete(at(canned, "anthropic/claude-sonnet-4-5"), HELLO, {}, 10)["choices"][0]["message"]

    assert message["thinking_blocks"] == [{"type": "thinking", "thinking": "hm", "signature": "signed"}]
    assert message["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("id", "reply", "path"),
    [
        ("anthropic/claude-sonnet-4-5", ANTHROPIC_REPLY, ("tools", 0, "name")),
        (BEDROCK_ID, BEDROCK_REPLY, ("toolConfig", "tools", 0, "toolSpec", "name")),
    ],
    ids=["anthropic", "bedrock"],
)
def test_tool_calls_in_the_history_bring_a_tool_where_one_is_demanded(
    canned: Any, capfd: pytest.CaptureFixture[str], id: str, reply: dict[str, Any], path: tuple[Any, ...]
) -> None:
    canned.reply = reply

    complete(at(canned, id), TOOL_LOOP, {}, 10)

    found: Any = canned.bodies[-1]
    for key in path:
        found = found[key]
    assert found == "unavailable"
    assert capfd.readouterr().err == ""


def test_tool_calls_in_the_history_bring_no_tool_elsewhere(server: ScriptedServer) -> None:
    requests = sent(server, lambda: complete(scripted(server), TOOL_LOOP, {}, 10))

    assert "tools" not in requests[0].body


def run(script: str, *options: str) -> str:
    """Run a script in a new interpreter; return what it printed."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_litellm_is_imported_once_by_the_first_call_and_leaves_no_trace() -> None:
    out = run(
        """
        import os, sys, threading, warnings
        from router_integrations import providers
        assert "litellm" not in sys.modules
        filters, environment = list(warnings.filters), dict(os.environ)
        found = []
        threads = [threading.Thread(target=lambda: found.append(providers._litellm())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [sys.modules["litellm"]] * 8
        assert os.environ == environment, {*os.environ.items()} ^ {*environment.items()}
        assert warnings.filters == filters
        """,
        "-W",
        "error",
    )

    assert out == ""


def test_the_first_import_neither_stops_the_event_loop_nor_the_users_choice_of_price_map() -> None:
    out = run(
        """
        import asyncio, os, sys
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"
        from router_integrations import providers

        async def main():
            loading = asyncio.create_task(providers.load())
            ticks = 0
            while not loading.done():
                await asyncio.sleep(0.001)
                ticks += 1
            print(ticks > 5, "litellm" in sys.modules, os.environ["LITELLM_LOCAL_MODEL_COST_MAP"])

        asyncio.run(main())
        """
    )

    assert out == "True True true\n"


def test_calls_change_no_setting_of_litellm() -> None:
    out = run(
        """
        import logging, os
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        import litellm
        logging.getLogger("router_integrations").setLevel("ERROR")
        plain = (bool, int, float, str, list, dict, set, type(None))
        def settings():
            return {n: repr(v) for n, v in vars(litellm).items() if not n.startswith("__") and isinstance(v, plain)}
        from router_integrations.candidates import Candidate
        from router_integrations.errors import ProviderError
        from router_integrations.providers import complete, stream
        from router_integrations.testing.replies import Fault
        from router_integrations.testing.server import ScriptedServer
        before = settings()
        with ScriptedServer() as server:
            server.script("o3-mini", Fault("status", status=500))
            candidate = Candidate("openai/o3-mini", params={"api_base": server.base_url, "api_key": "sk-x"})
            for params in ({}, {"temperature": 0.3}):
                try:
                    complete(candidate, [{"role": "user", "content": "hi"}], params, 10)
                    list(stream(candidate, [{"role": "user", "content": "hi"}], params, 10))
                except ProviderError:
                    print("failed")
        after = settings()
        noted = {"_async_client_cleanup_registered"}  # LiteLLM's own reminder to clean up at exit
        print({name for name in before if before[name] != after.get(name)} - noted)
        """
    )

    assert out.splitlines() == ["failed", "set()"]
