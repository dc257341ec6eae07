from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import urllib.parse
from typing import Any

import httpx
import pytest

from router_integrations.errors import ConfigurationError
from router_integrations.testing.replies import Fault, FaultKind, Reply
from router_integrations.testing.server import ScriptedServer

MESSAGES = [{"role": "user", "content": "hi there"}]


def ask(client: httpx.Client, model: str = "m", *, timeout: float = 10, **options: Any) -> httpx.Response:
    body = {"model": model, "messages": MESSAGES, **options}
    return client.post("/chat/completions", json=body, timeout=timeout)


def content(response: httpx.Response) -> Any:
    return response.json()["choices"][0]["message"]["content"]


def opened(client: httpx.Client) -> contextlib.AbstractContextManager[httpx.Response]:
    return client.stream("POST", "/chat/completions", json={"model": "m", "messages": MESSAGES, "stream": True})


def raw_connection(server: ScriptedServer) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(urllib.parse.urlsplit(server.base_url).netloc))


def root_of(error: BaseException) -> BaseException:
    inner = error.__cause__ or error.__context__
    return root_of(inner) if inner else error


# Scripts and records


def test_steps_are_used_one_a_request_and_then_the_model_obeys(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="one"), Reply(text="two"))
    assert [content(ask(client)) for _ in range(3)] == ["one", "two", "Here is a short answer to: hi there"]


def test_a_repeated_script_goes_on_with_its_last_step(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="one"), Reply(text="two"), repeat=True)
    assert [content(ask(client)) for _ in range(4)] == ["one", "two", "two", "two"]
    server.script("m", Reply(text="new"))
    assert [content(ask(client)) for _ in range(2)] == ["new", "Here is a short answer to: hi there"]


def test_each_model_has_its_own_script(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("a", Reply(text="from a"))
    server.script("b", Reply(text="from b"))
    answers = [ask(client, "b"), ask(client, "a")]
    assert [(answer.json()["model"], content(answer)) for answer in answers] == [("b", "from b"), ("a", "from a")]


def test_requests_are_recorded_in_order(server: ScriptedServer, client: httpx.Client) -> None:
    ask(client, "a", temperature=0.5)
    ask(client, "b")
    assert [request.model for request in server.requests] == ["a", "b"]
    (request,) = server.requests_to("a")
    assert request.body == {"model": "a", "messages": MESSAGES, "temperature": 0.5}
    assert (request.path, request.headers["content-type"]) == ("/v1/chat/completions", "application/json")


def test_models_are_listed(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("scripted", Reply(text="x"))
    ask(client, "asked")
    assert [model["id"] for model in client.get("/models").json()["data"]] == ["asked", "scripted"]


@pytest.mark.parametrize("body", [b"no json", b"[]", b"{}", b'{"model": "m", "messages": []}'])
def test_a_malformed_request_is_a_400_and_the_connection_lives(client: httpx.Client, body: bytes) -> None:
    response = client.post("/chat/completions", content=body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert ask(client).status_code == 200


def test_an_unknown_path_is_a_404(client: httpx.Client) -> None:
    assert client.post("/embeddings", json={}).status_code == client.get("/files").status_code == 404


def test_wrong_steps_are_refused_when_they_are_written() -> None:
    with pytest.raises(ConfigurationError, match="kind must be one of status, reset"):
        Fault("explode")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="one number per token"):
        Reply(text="two words", logprobs=(-0.1,))
    with pytest.raises(ConfigurationError, match="base_url needs a running server"):
        _ = ScriptedServer().base_url


# Faults


def test_a_status_carries_its_error_and_wait(server: ScriptedServer, client: httpx.Client) -> None:
    for status in (400, 401, 404, 408, 413, 429, 500, 503):
        server.script("m", Fault("status", status=status, message="no", code="why", retry_after=1.5))
        response = ask(client)
        error = response.json()["error"]
        assert (response.status_code, error["message"], error["code"]) == (status, "no", "why")
        assert response.headers["retry-after"] == "1.5"
    server.script("m", Fault("status"))
    assert "retry-after" not in ask(client).headers


@pytest.mark.parametrize("streamed", [False, True])
def test_reset_ends_the_connection_before_any_byte(
    server: ScriptedServer, client: httpx.Client, *, streamed: bool
) -> None:
    server.script("m", Fault("reset"))
    with pytest.raises(httpx.ReadError) as caught:
        ask(client, stream=streamed)
    assert isinstance(root_of(caught.value), ConnectionResetError)


@pytest.mark.parametrize("streamed", [False, True])
def test_hang_sends_nothing_until_the_client_gives_up(
    server: ScriptedServer, client: httpx.Client, *, streamed: bool
) -> None:
    server.script("m", Fault("hang"))
    with pytest.raises(httpx.ReadTimeout):
        ask(client, stream=streamed, timeout=0.05)
    assert server.wait_until(lambda counted: counted.aborted == 1)
    assert server.open_streams == 0


def test_empty_choices(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Fault("empty_choices"), repeat=True)
    assert ask(client).json()["choices"] == []
    first, done, rest = ask(client, stream=True).text.split("\n\n")
    assert (json.loads(first.removeprefix("data: "))["choices"], done, rest) == ([], "data: [DONE]", "")


def test_truncated_json_looks_whole_but_does_not_parse(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Fault("truncated_json"), repeat=True)
    for text in (ask(client).text, ask(client, stream=True).text.removeprefix("data: ")):
        assert text.startswith('{"id": "chatcmpl-')
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)


def test_wrong_content_type_is_a_page(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Fault("wrong_content_type"), repeat=True)
    for response in (ask(client), ask(client, stream=True)):
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html")
        assert response.text.startswith("<html>")


def test_empty_stream_sends_only_the_end(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Fault("empty_stream"), repeat=True)
    assert ask(client, stream=True).text == "data: [DONE]\n\n"
    assert ask(client).text == ""


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize(
    ("kind", "error"), [("truncated_stream", httpx.RemoteProtocolError), ("reset_stream", httpx.ReadError)]
)
def test_a_broken_stream_ends_after_its_good_chunks(
    server: ScriptedServer, client: httpx.Client, kind: FaultKind, error: type[Exception], after: int
) -> None:
    server.script("m", Fault(kind, after_chunks=after))
    with opened(client) as response, pytest.raises(error):
        for line in response.iter_lines():
            after -= line.startswith("data: {")
    assert after == 0


@pytest.mark.parametrize(
    ("kind", "error"), [("truncated_stream", httpx.RemoteProtocolError), ("reset_stream", httpx.ReadError)]
)
def test_a_stream_fault_breaks_a_whole_body_too(
    server: ScriptedServer, client: httpx.Client, kind: FaultKind, error: type[Exception]
) -> None:
    server.script("m", Fault(kind))
    with pytest.raises(error):
        ask(client)
    assert ask(client).status_code == 200


def test_error_in_stream_comes_after_its_good_chunks(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Fault("error_in_stream", message="overloaded", after_chunks=2), repeat=True)
    *good, last, rest = ask(client, stream=True).text.split("\n\n")
    error = {"message": "overloaded", "type": "server_error", "param": None, "code": None}
    assert (len(good), json.loads(last.removeprefix("data: ")), rest) == (2, {"error": error}, "")
    assert ask(client).json() == {"error": error}


# Connections


def test_a_connection_is_kept_alive(server: ScriptedServer) -> None:
    with raw_connection(server) as raw:
        answers = []
        for _ in range(2):
            raw.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": MESSAGES}))
            port = raw.sock.getsockname()[1]
            answers.append((port, len(raw.getresponse().read())))
    assert len(set(answers)) == 1


def test_an_aborted_stream_is_seen(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="word " * 1000, chunk_delay=0.01))
    with opened(client) as response:
        lines = response.iter_lines()  # held: httpx closes the response with its iterator
        next(lines)
        assert server.open_streams == 1
    assert server.wait_until(lambda counted: counted.aborted == 1)
    assert server.open_streams == 0


def test_a_stream_read_to_its_end_is_not_aborted(server: ScriptedServer, client: httpx.Client) -> None:
    assert ask(client, stream=True).text.endswith("data: [DONE]\n\n")
    assert server.wait_until(lambda counted: counted.open_streams == 0)
    assert server.aborted == 0


def test_waiting_gives_up(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="x", chunk_delay=60))
    with opened(client) as response:
        lines = response.iter_lines()  # held: httpx closes the response with its iterator
        next(lines)
        assert not server.wait_until(lambda counted: counted.open_streams == 0, timeout=0.01)


@pytest.mark.parametrize("step", [Fault("hang"), Reply(delay=60), Reply(text="a b", chunk_delay=60)])
def test_leaving_the_context_frees_waiting_clients(step: Fault | Reply) -> None:
    failures: list[Exception] = []

    def wait(url: str) -> None:
        try:
            httpx.post(f"{url}/chat/completions", json={"model": "m", "messages": MESSAGES, "stream": True}, timeout=60)
        except httpx.RemoteProtocolError as error:
            failures.append(error)

    with ScriptedServer() as server:
        server.script("m", step, repeat=True)
        clients = [threading.Thread(target=wait, args=(server.base_url,)) for _ in range(5)]
        for thread in clients:
            thread.start()
        assert server.wait_until(lambda counted: counted.open_streams == 5)
    for thread in clients:
        thread.join(timeout=10)
    assert (len(failures), server.open_streams, server.aborted) == (5, 0, 0)


def test_after_the_context_nobody_listens() -> None:
    with ScriptedServer() as server:
        url = server.base_url
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models")


def test_hundreds_of_connections_at_once(server: ScriptedServer) -> None:
    """All are open together: none is answered before the last one has asked."""
    server.script("m", Fault("hang"), repeat=True)
    body = json.dumps({"model": "m", "messages": MESSAGES})
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(raw_connection(server)).request("POST", "/v1/chat/completions", body)
        assert server.wait_until(lambda counted: counted.open_streams == 400)
    assert server.wait_until(lambda counted: counted.aborted == 400)


def test_starting_never_looks_a_host_name_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("a look-up takes seconds without a network"))
    with ScriptedServer() as server:
        assert server.base_url.startswith("http://127.0.0.1:")


def test_a_server_that_forgets_starts_anew_at_its_address(server: ScriptedServer, client: httpx.Client) -> None:
    server.script("m", Reply(text="scripted"), repeat=True)
    ask(client)
    server.forget()

    assert content(ask(client)) == "Here is a short answer to: hi there"
    assert len(server.requests) == 1
