"""A scripted OpenAI-compatible chat-completions server on loopback, for tests without a network."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from router_integrations.errors import ConfigurationError
from router_integrations.testing.obedient import obey
from router_integrations.testing.replies import Body, Recorded, Reply, Step
from router_integrations.testing.wire import Response, answer, error, failure, whole

_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends RST instead of FIN


class ScriptedServer:
    """A chat-completions server that plays scripts, and obeys the request where there is none.

    It listens on a free loopback port between `__enter__` and `__exit__`; leaving closes every connection at
    once, the hanging ones included.

    >>> import json, urllib.request
    >>> body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    >>> with ScriptedServer() as server:
    ...     server.script("small", Reply(text="Hello there"))
    ...     url = f"{server.base_url}/chat/completions"
    ...     with urllib.request.urlopen(url, json.dumps(body).encode()) as response:
    ...         answer = json.load(response)
    >>> answer["choices"][0]["message"]["content"]
    'Hello there'
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._scripts: dict[str, deque[Step]] = {}
        self._endless: set[str] = set()
        self._requests: list[Recorded] = []
        self._open_streams = 0
        self._aborted = 0
        self._stopping = False
        self._http: _HttpServer | None = None

    def __enter__(self) -> Self:
        """Starts to listen."""
        self._stopping = False
        self._http = _HttpServer(self)
        # The interval bounds how long a stop takes.
        threading.Thread(target=self._http.serve_forever, args=(0.005,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes every connection and waits until their threads are done."""
        if self._http is not None:
            self._stopping = True
            self._http.close()
            self._http = None

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL, such as "http://127.0.0.1:40001/v1".

        Raises:
            ConfigurationError: The server is not running.
        """
        if self._http is None:
            raise ConfigurationError("base_url needs a running server; enter `with ScriptedServer() as server:` first")
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def script(self, model: str, *steps: Step, repeat: bool = False) -> None:
        """Sets what the next requests for a model get, one step each; an older script is dropped.

        Args:
            model: The model's name as it arrives, so without LiteLLM's "openai/".
            steps: Replies and faults in order; when they are used up the model obeys again.
            repeat: Whether the last step goes on for ever.
        """
        with self._changed:
            self._scripts[model] = deque(steps)
            (self._endless.add if repeat else self._endless.discard)(model)

    def forget(self) -> None:
        """Drops scripts, requests and counts, once no response is being written; the address stays."""
        self.wait_until(lambda server: server.open_streams == 0)
        with self._changed:
            self._scripts.clear()
            self._endless.clear()
            self._requests.clear()
            self._aborted = 0

    @property
    def requests(self) -> list[Recorded]:
        """The chat requests so far, in order of arrival."""
        with self._changed:
            return list(self._requests)

    def requests_to(self, model: str) -> list[Recorded]:
        """The chat requests for one model so far, in order of arrival."""
        return [request for request in self.requests if request.model == model]

    @property
    def models(self) -> list[str]:
        """The names of the models that were scripted or asked for."""
        with self._changed:
            return sorted({*self._scripts, *(request.model for request in self._requests)})

    @property
    def open_streams(self) -> int:
        """How many responses, streamed or not, are being written now."""
        with self._changed:
            return self._open_streams

    @property
    def aborted(self) -> int:
        """How many responses lost their client before the end."""
        with self._changed:
            return self._aborted

    def wait_until(self, condition: Callable[[Self], bool], *, timeout: float = 10.0) -> bool:
        """Waits for what the server's threads will have counted, such as `lambda server: server.aborted == 1`.

        Args:
            condition: Asked again after each change of `requests`, `open_streams` and `aborted`.
            timeout: Seconds, >= 0.

        Returns:
            Whether the condition came true in time.
        """
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout)

    def _take(self, request: Recorded) -> tuple[int, Step | None]:
        with self._changed:
            self._requests.append(request)
            steps = self._scripts.get(request.model)
            if not steps:
                return len(self._requests), None
            last = len(steps) == 1 and request.model in self._endless
            return len(self._requests), steps[0] if last else steps.popleft()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._changed:
            self._open_streams += 1
            self._changed.notify_all()
        lost = 0
        try:
            yield
        except ConnectionError:
            lost = 0 if self._stopping else 1
        finally:
            with self._changed:
                self._aborted += lost
                self._open_streams -= 1
                self._changed.notify_all()


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 1024

    def __init__(self, script: ScriptedServer) -> None:
        self.script = script
        self._connections: set[socket.socket] = set()
        self._emptied = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look the host's name up, which takes seconds without a network.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._emptied:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._emptied:
            self._connections.discard(request)
            self._emptied.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        with self._emptied:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._emptied.wait_for(lambda: not self._connections, timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_GET(self) -> None:
        if self.path.rstrip("/").endswith("/models"):
            data = [{"id": name, "object": "model"} for name in self.server.script.models]
            self._send(whole({"object": "list", "data": data}))
        else:
            self._send(error(404, f"no such path: {self.path}"))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.endswith("/chat/completions"):
            return self._send(error(404, f"no such path: {self.path}"))
        try:
            body = json.loads(raw)
            model, _ = body["model"], body["messages"][0]["role"]
        except (ValueError, LookupError, TypeError):
            return self._send(error(400, "the body must be a JSON object with `model` and `messages`"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        script = self.server.script
        number, step = script._take(Recorded(model=model, body=body, headers=headers, path=self.path))
        with script._writing():
            self._play(step or obey(body), body, number)

    def _play(self, step: Step, body: Body, number: int) -> None:
        if isinstance(step, Reply):
            self._send(answer(step, body, number))
        elif step.kind == "hang":
            self._pause(None)
        elif step.kind == "reset":
            self._reset()
        else:
            self._send(failure(step, body, number))

    def _send(self, response: Response) -> None:
        self._pause(response.delay)
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.content_type)
        if response.length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(response.length))
        self.end_headers()
        self._send_body(response)

    def _send_body(self, response: Response) -> None:
        chunked = response.length is None
        for index, piece in enumerate(response.pieces):
            if index:
                self._pause(response.chunk_delay)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            self.wfile.flush()
        if chunked and response.ending == "complete":
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        self.close_connection = response.ending != "complete"
        if response.ending == "reset":
            self._reset()

    def _pause(self, seconds: float | None) -> None:
        """Waits, for ever when `seconds` is `None`; fails at once when the client or the server closes."""
        self.connection.settimeout(seconds)
        try:
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionAbortedError("the client went away")
        except (TimeoutError, BlockingIOError):
            pass
        finally:
            self.connection.settimeout(None)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        socket.close(self.connection.detach())
        self.close_connection = True

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests`, not a log."""
