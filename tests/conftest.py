"""What all tests share: the one real language model."""

from collections.abc import Iterator

import pytest

from router_integrations.demo.server import LocalServer


@pytest.fixture(scope="session")
def local_server() -> Iterator[LocalServer]:
    """SmolLM2 behind llama.cpp's server; a test that needs it fails where its weights are absent."""
    with LocalServer() as server:
        yield server
