"""Fixtures of the LlamaIndex adapter's tests: a scripted server."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from router_integrations.testing.server import ScriptedServer
from tests.llama_index.corpus import Wire
from tests.llama_index.llms import Line


def pytest_configure() -> None:
    # Otherwise pytest-asyncio makes a loop to put back after its own, and never closes it.
    asyncio.set_event_loop(None)
    # LlamaIndex's own LiteLLM class would fetch the price map when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def wire(server: ScriptedServer) -> Iterator[Wire]:
    """The server for one test, whose scripts end with it."""
    yield Wire(server)
    for model in {*server.models}:
        server.script(model)


@pytest.fixture
def line(server: ScriptedServer) -> Iterator[Line]:
    """The server for one test of the router, whose scripts end with it."""
    yield Line(server)
    for model in {*server.models}:
        server.script(model)
