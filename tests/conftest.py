"""What all tests share: the one real language model."""

import inspect
import os
import sys
from collections.abc import Iterator

import pytest

from router_integrations.demo.server import LocalServer


def pytest_configure() -> None:
    """Keeps OpenBLAS, not loaded yet, from threads that spin while they wait: on busy cores they are slow."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def local_server() -> Iterator[LocalServer]:
    """SmolLM2 behind llama.cpp's server; a test that needs it fails where its weights are absent."""
    with LocalServer() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _close_clients() -> Iterator[None]:
    """LiteLLM keeps its HTTP clients until the interpreter ends, which then warns of their sockets."""
    yield
    litellm = sys.modules.get("litellm")
    kept = list(litellm.in_memory_llm_clients_cache.cache_dict.values()) if litellm is not None else []
    for client in kept:
        close = getattr(client, "close", None)
        if close is not None and not inspect.iscoroutinefunction(close):
            close()
