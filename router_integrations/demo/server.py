"""llama.cpp's own OpenAI-compatible server with the demo model, as a child process on 127.0.0.1."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Self

from router_integrations.demo.weights import WeightsError, find_weights
from router_integrations.errors import RouterError

MODEL_NAME = "smollm2-135m"
CONTEXT_WINDOW = 4096

_SLOTS = 4
_MAX_THREADS = 4  # a model this small loses more to synchronisation than it gains beyond that
_MAX_OUTPUT = 256  # a 135M model that starts to repeat itself would fill the context
_READY = re.compile(rb"^serving (http://\S+)\s*$")

# The model's own template knows no tools, so llama.cpp would drop them. This one says the same where none
# are offered. A model of this size calls a tool only if it just saw it done, hence the two examples; they
# and the tools go away once a result is there, so that it answers in words.
_CHAT_TEMPLATE = r"""
{%- set system = messages[0].content if messages[0].role == 'system'
    else 'You are a helpful AI assistant named SmolLM, trained by Hugging Face' %}
{%- set offered = tools if messages[-1].role == 'user' else none %}
{{- '<|im_start|>system\n' + system }}
{%- if offered %}
    {{- '\n\nYou can call these functions:\n<tools>' }}
    {%- for tool in offered %}{{ '\n' + tool | tojson }}{% endfor %}
    {{- '\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- if offered %}
    {%- for question, call in [
        ('What is 5 times 6?', '{"name": "multiply", "arguments": {"a": 5, "b": 6}}'),
        ('Tell me about cats.', '{"name": "search", "arguments": {"query": "cats"}}'),
    ] %}
        {{- '<|im_start|>user\n' + question + '<|im_end|>\n<|im_start|>assistant\n' }}
        {{- '<tool_call>\n' + call + '\n</tool_call><|im_end|>\n' }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\nThe function returned: ' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' and message.tool_calls %}
        {{- '<|im_start|>assistant\n' + (message.content or '') }}
        {%- for call in message.tool_calls %}
            {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif not (loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}
"""


class LocalServerError(RouterError, RuntimeError):
    """The local model server stopped, or was not ready in time; the message ends with its log."""


class LocalServer:
    """Serve the demo model on a free port of 127.0.0.1 while the `with` block runs.

    The server is a process of its own that ends with ours in every case, a SIGKILL included. It knows
    one model, `smollm2-135m`, with 4,096 tokens of context for each of 4 requests at a time. Unless
    the request says otherwise, it answers greedily with at most 256 tokens: the same request gets the
    same answer.

        with LocalServer() as server:
            litellm.completion(f"openai/{server.model}", api_base=server.base_url, api_key="none", ...)

    Args:
        weights: A GGUF file; None takes what `find_weights` finds.
        startup_timeout: Seconds the model may take to load, above 0.

    Attributes:
        model: The name to ask for.
        base_url: Such as `http://127.0.0.1:40123/v1`; set once the block is entered.
    """

    model = MODEL_NAME
    base_url: str

    def __init__(self, *, weights: Path | None = None, startup_timeout: float = 60.0) -> None:
        self._weights = weights
        self._startup_timeout = startup_timeout

    def __enter__(self) -> Self:
        weights = self._weights or find_weights()
        if weights is None:
            raise WeightsError("no model weights on this machine; call fetch_weights() first")
        self._log: deque[str] = deque(maxlen=20)
        self._ready = threading.Event()
        self._address: str | None = None
        self._process = _spawn(weights)
        self._reader = threading.Thread(target=self._read, name="llama.cpp log", daemon=True)
        self._reader.start()
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def _read(self) -> None:
        output = self._process.stdout or ()
        for line in output:
            if match := _READY.match(line):
                self._address = match[1].decode()
                self._ready.set()
            else:
                self._log.append(line.decode(errors="replace").rstrip())
        self._ready.set()  # the process ended

    def _wait(self) -> None:
        in_time = self._ready.wait(self._startup_timeout)
        if self._address is None:
            happened = "stopped" if in_time else f"was not ready within {self._startup_timeout!r} seconds"
            raise LocalServerError("\n".join([f"the local model server {happened}; its log:", *self._log]))
        self.base_url = f"{self._address}/v1"

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _spawn(weights: Path) -> subprocess.Popen[bytes]:
    env = {
        # Idle OpenMP threads that spin make a busy machine up to 50 times slower.
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        # The child finds what its parent finds: notebooks and test runners edit sys.path.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(weights)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
    )


def _serve(weights: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is our parent's to handle
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {MODEL_NAME}
    params.port = 0  # the system picks one: no race
    params.n_parallel = _SLOTS
    params.n_ctx = _SLOTS * CONTEXT_WINDOW
    params.n_predict = _MAX_OUTPUT
    params.sampling.temp = 0.0
    params.cache_prompt = False  # reusing a prefix changes the rounding, hence the answers
    params.cache_ram_mib = 0
    params.chat_template = _CHAT_TEMPLATE
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(_cores(), _MAX_THREADS)
    params.ui = False
    params.offline = True
    params.verbosity = 1  # errors
    server = xllamacpp.Server(params)  # returns when the model is loaded
    os.write(1, f"serving {server.listening_address}\n".encode())
    sys.stdin.buffer.read()  # ends when our parent does, however it dies
    os._exit(0)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


if __name__ == "__main__":
    _serve(sys.argv[1])
