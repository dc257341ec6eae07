"""Who is tested: what all parts of the contract take from the class that inherits them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from router_integrations.testing.server import ScriptedServer
from router_integrations.testing.suites import Suite

# What no test server would say of its own accord.
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
UNICODE = "Grüße — 世界 🙂\nनमस्ते\tzero\u200bwidth"


class Subject(Suite):
    """The LLM under test and the server behind it.

    Attributes:
        model: The name by which the LLM asks the server for its model.
        secret: The key to give the LLM, which may be seen nowhere.
    """

    model = "contract"
    secret = "sk-contract-5ecretKeyOfTheContract"

    @pytest.fixture(scope="class")
    @classmethod
    def address(cls) -> Iterator[ScriptedServer]:
        """The server of all tests of the class: clients are often kept by address, and never closed."""
        with ScriptedServer() as running:
            yield running

    @pytest.fixture
    def server(self, address: ScriptedServer) -> ScriptedServer:
        """A server of OpenAI's chat completions that obeys, and plays what `script` tells it."""
        address.forget()
        return address

    @pytest.fixture
    def llm(self, server: ScriptedServer) -> Any:
        """The LLM under test: override it."""
        raise NotImplementedError(
            f"{type(self).__name__} must override the fixture `llm`; "
            "return an LLM that asks server.base_url for self.model with self.secret as its key"
        )
