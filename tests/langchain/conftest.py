"""Fixtures of the LangChain adapter's tests: a scripted server, and media that need no network."""

import asyncio
import base64
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from doubles import Wire

from router_integrations.testing.server import ScriptedServer

_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def pytest_configure(config: pytest.Config) -> None:
    # LangChain's suites use pytest-recording's mark; the plugin itself is off.
    config.addinivalue_line("markers", "vcr: a test whose traffic could be recorded")
    # LiteLLM looks at every attribute of each chunk, the deprecated ones of pydantic included.
    config.addinivalue_line("filterwarnings", "ignore:Accessing the 'model_:DeprecationWarning")
    # Otherwise pytest-asyncio makes a loop to put back after its own, and never closes it.
    asyncio.set_event_loop(None)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers every download of LangChain's suites with one white pixel."""
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "router-integrations")
    monkeypatch.setattr(
        "langchain_tests.integration_tests.chat_models.httpx.get", lambda *_, **__: SimpleNamespace(content=_PNG)
    )


@pytest.fixture
def wire(server: ScriptedServer) -> Iterator[Wire]:
    """The server for one test, whose scripts end with it."""
    seen = Wire(server)
    yield seen
    for model in {*server.models}:
        server.script(model)
