from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from router_integrations.demo import server as module
from router_integrations.demo.server import CONTEXT_WINDOW, LocalServer, LocalServerError
from router_integrations.demo.weights import WeightsError

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

# Prints the server's URL, then waits for the end. What a background job of a shell starts would ignore Ctrl-C.
PARENT = """
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)
from router_integrations.demo.server import LocalServer
try:
    with LocalServer() as server:
        print(server.base_url, flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    pass
"""

# Goes on after Ctrl-C, as a notebook does.
NOTEBOOK = """
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)
from router_integrations.demo.server import LocalServer
with LocalServer() as server:
    try:
        print(server.base_url, flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    input()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


def ask(server: LocalServer, messages: list[dict[str, Any]], **options: Any) -> Any:
    payload = {"model": server.model, "messages": messages, **options}
    return httpx.post(f"{server.base_url}/chat/completions", json=payload, timeout=300, trust_env=False).json()


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def is_open(url: str) -> bool:
    where = urlsplit(url)
    try:
        socket.create_connection((where.hostname, where.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def closes(url: str, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while is_open(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_it_is_ready_when_the_block_is_entered(server: LocalServer) -> None:
    models = httpx.get(f"{server.base_url}/models", trust_env=False).json()["data"]

    assert [model["id"] for model in models] == [server.model]


def test_it_answers_a_question(server: LocalServer) -> None:
    answer = ask(server, user("What is the capital of Japan?"))

    [choice] = answer["choices"]
    usage = answer["usage"]
    assert choice["message"]["content"] == "The capital of Japan is Tokyo."
    assert choice["finish_reason"] == "stop"
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_same_request_gets_the_same_answer_from_scratch(server: LocalServer) -> None:
    first, second = (ask(server, user("What is the capital of France?"), max_tokens=16) for _ in range(2))

    assert first["choices"] == second["choices"]
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_an_answer_without_end_is_cut(server: LocalServer) -> None:
    answer = ask(server, user("Count."), ignore_eos=True)

    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 256


def test_log_probabilities_arrive(server: LocalServer) -> None:
    answer = ask(server, user("Hi"), max_tokens=2, logprobs=True, top_logprobs=3)

    tokens = answer["choices"][0]["logprobs"]["content"]
    assert [len(token["top_logprobs"]) for token in tokens] == [3, 3]
    assert all(token["logprob"] <= 0 for token in tokens)


def test_it_calls_a_tool_and_then_answers_from_the_result(server: LocalServer) -> None:
    question = user("What is the weather in Paris?")
    called = ask(server, question, tools=[WEATHER])["choices"][0]

    [call] = called["message"]["tool_calls"]
    assert called["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"] == '{"city": "Paris"}'

    result = {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees, sunny"}
    answered = ask(server, [*question, called["message"], result], tools=[WEATHER])["choices"][0]
    assert "18 degrees" in answered["message"]["content"]
    assert answered["finish_reason"] == "stop"


def test_a_request_beyond_the_context_is_refused(server: LocalServer) -> None:
    error = ask(server, user("word " * CONTEXT_WINDOW))["error"]

    assert error["type"] == "exceed_context_size_error"
    assert error["n_ctx"] == CONTEXT_WINDOW


def test_it_stops_with_the_block_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), LocalServer() as running:
        url = running.base_url
        assert is_open(url)
        raise ZeroDivisionError

    assert not is_open(url)
    assert capfd.readouterr() == ("", "")


def run(script: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def first_line(parent: subprocess.Popen[str]) -> str:
    return parent.stdout.readline().strip() if parent.stdout else ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_dies_with_its_parent(number: signal.Signals) -> None:
    with run(PARENT) as parent:
        url = first_line(parent)
        assert is_open(url)
        # A terminal sends Ctrl-C to the whole group, the server included.
        (os.killpg if number == signal.SIGINT else os.kill)(parent.pid, number)
        _, errors = parent.communicate(timeout=60)

    assert closes(url)
    assert errors == ""


def test_it_survives_a_ctrl_c_that_its_parent_survives() -> None:
    with run(NOTEBOOK) as parent:
        url = first_line(parent)
        os.killpg(parent.pid, signal.SIGINT)
        assert first_line(parent) == "interrupted"
        health = httpx.get(f"{url.removesuffix('/v1')}/health", trust_env=False)
        parent.communicate("go on\n", timeout=60)

    assert health.json() == {"status": "ok"}
    assert not is_open(url)


def test_broken_weights_are_an_error_with_the_log(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))

    with (
        pytest.raises(LocalServerError, match=r"(?s)server stopped; its log:.*failed to load model"),
        LocalServer(weights=broken),
    ):
        pass


def test_a_slow_start_is_an_error_and_leaves_no_process() -> None:
    server = LocalServer(startup_timeout=0.001)

    with pytest.raises(LocalServerError, match=r"was not ready within 0\.001 seconds"), server:
        pass
    assert server._process.returncode is not None


def test_absent_weights_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_weights", lambda: None)

    with pytest.raises(WeightsError, match="fetch_weights"), LocalServer():
        pass
