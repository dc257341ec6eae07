"""What the tests of both adapters need again and again: candidates on the scripted server, and what it was asked."""

from typing import Any

from router_integrations import Candidate
from router_integrations.testing.replies import Recorded
from router_integrations.testing.server import ScriptedServer

# Small answers the first, big the second.
EASY = "hi"
HARD = "Prove that there are infinitely many primes, and compare two proofs step by step."
BOTH = {"small": EASY, "big": HARD}
CHEAP = {"input_price": 1e-7, "output_price": 4e-7}
DEAR = {"input_price": 3e-6, "output_price": 1e-5}
ABLE = {"tools": True, "tool_choice": True, "schema": True}


class Seen:
    """The scripted server as one test sees it: only its own requests."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self._before = len(server.requests)

    @property
    def requests(self) -> list[Recorded]:
        return self.server.requests[self._before :]

    @property
    def models(self) -> list[str]:
        return [request.model for request in self.requests]

    @property
    def last(self) -> Any:
        """The body of the last request."""
        return self.requests[-1].body

    def candidate(self, model: str, **fields: Any) -> Candidate:
        """Return a candidate that reaches the server; `model` is a LiteLLM id of a provider that takes `api_base`."""
        params = {"api_base": self.server.base_url, "api_key": "sk-test", **fields.pop("params", {})}
        settings = {"name": model.rpartition("/")[2], "max_retries": 0, **CHEAP, **ABLE, **fields}
        return Candidate(model, params=params, **settings)
