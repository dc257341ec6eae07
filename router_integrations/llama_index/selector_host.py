"""How a selection makes the engine's calls: a judge is asked, a choice only noted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.llms import LLM

from router_integrations.adapters.rungs import step_fault
from router_integrations.candidates import Candidate
from router_integrations.llama_index.metering import Meter, metered
from router_integrations.types import Attempt, Call


class SelectorHost:
    """Makes the calls of one selection."""

    def __init__(self) -> None:
        self._meters: dict[int, Meter] = {}

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Ask a judge; note a choice."""
        if call.prompt is None:
            return _noted(call)
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        try:
            with metered(meter):
                said = model_of(call.candidate).complete(call.prompt).text
        except Exception as error:  # noqa: BLE001 - a model may raise anything; the attempt keeps it
            return replace(_told(call, "", meter), error=step_fault(error))
        return _told(call, said, meter)

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        """Async `ask`."""
        if call.prompt is None:
            return _noted(call)
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        try:
            with metered(meter):
                said = (await model_of(call.candidate).acomplete(call.prompt)).text
        except Exception as error:  # noqa: BLE001 - as in `ask`
            return replace(_told(call, "", meter), error=step_fault(error))
        return _told(call, said, meter)

    def stream(self, call: Call, timeout: float | None) -> Generator[Any, None, None]:
        """Not used: a selection has nothing to stream."""
        raise NotImplementedError

    def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Not used, as `stream`."""
        raise NotImplementedError

    def attempt(self, call: Call, chunks: Sequence[Any]) -> Attempt:
        """Return what is known of a judge that was cut short."""
        return _told(call, "", self._meters.get(id(call)) or Meter(rung=call.candidate))

    def replay(self, attempt: Attempt) -> Iterator[Any]:
        """Not used, as `stream`."""
        raise NotImplementedError


def model_of(candidate: Candidate) -> LLM:
    """Return the LLM that a candidate is: the user's own, or a thin one on LiteLLM.

    >>> from llama_index.core.llms import MockLLM
    >>> model_of(Candidate("mock", model=MockLLM())).class_name()
    'MockLLM'
    """
    if candidate.model is not None:
        return candidate.model  # type: ignore[no-any-return]
    from router_integrations.llama_index.litellm_llm import LiteLLMModel

    return LiteLLMModel(candidate=candidate)


def _noted(call: Call) -> Attempt:
    # Shown at once, as it were: so the run ends with the first choice, whether or not it was to be looked at.
    return Attempt(call=call, cost=0.0, first_token=0.0)


def _told(call: Call, said: str, meter: Meter) -> Attempt:
    return Attempt(call=call, text=said, model=meter.model, usage=meter.usage, cost=meter.cost)
