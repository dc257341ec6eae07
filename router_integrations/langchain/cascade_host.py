"""How a cascade of runnables makes the engine's calls: every call is a run of the step, a child of the cascade's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor, set_config_context

from router_integrations.adapters.rungs import Grade, Output, step_fault
from router_integrations.langchain.cascade_outputs import Meter, answer_of, joined, sources_of, text_of
from router_integrations.langchain.convert import attempt_fields
from router_integrations.langchain.host import as_chunk
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.types import Attempt, Call

# LangGraph shows no token of a run with this tag: a draft may still be thrown away.
_HIDDEN = "nostream"


@dataclass(kw_only=True)
class RunnableHost:
    """Makes the calls of one request on the runnables that the candidates have as models.

    Args:
        input: What the caller gave; every step gets it as it is.
        config: The config of the cascade's children.
        kwargs: What else the caller gave; every step gets it too.
        costs: USD of one call, by name, of steps whose usage or prices nobody knows.
        text: Reads the text of a draft that is to be judged.
        grade: The user's function of input and draft.
        asked: Parameters of calls of LiteLLM models whose replies are looked at, by the name of the step.
    """

    input: Any
    config: RunnableConfig
    kwargs: Mapping[str, Any]
    costs: Mapping[str, float]
    text: Callable[[Any], str]
    grade: Grade | None
    asked: Mapping[str, Mapping[str, Any]]
    _meters: dict[int, Meter] = field(default_factory=dict)

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Run the step; a sync one can't be interrupted, so `timeout` only reaches LiteLLM models."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        config, kwargs = self._prepare(call, timeout, meter)
        try:
            output = call.candidate.model.invoke(self.input, config, **kwargs)
            attempt = self._attempt(call, output, meter)
        except Exception as error:  # noqa: BLE001 - a step may raise anything; the attempt keeps it
            return replace(_empty(call, meter), error=step_fault(error))
        return self._judged(attempt)

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        """Async `ask`."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        config, kwargs = self._prepare(call, timeout, meter)
        try:
            output = await call.candidate.model.ainvoke(self.input, config, **kwargs)
            attempt = self._attempt(call, output, meter)
        except Exception as error:  # noqa: BLE001 - as in `ask`
            return replace(_empty(call, meter), error=step_fault(error))
        if self.grade is None or call.final:
            return attempt
        # The user's function may take its time.
        return await run_in_executor(config, self._judged, attempt)

    def stream(self, call: Call, timeout: float | None) -> Generator[Any, None, None]:
        """Run the step; yield its chunks, each in a tuple: to the engine `None` is the end."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        config, kwargs = self._prepare(call, timeout, meter)
        source = call.candidate.model.stream(self.input, config, **kwargs)
        try:
            for chunk in source:
                yield (chunk,)
        except Exception as error:
            if (known := step_fault(error)) is error:
                raise
            raise known from error
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Async `stream`."""
        meter = self._meters[id(call)] = Meter(rung=call.candidate)
        config, kwargs = self._prepare(call, timeout, meter)
        source = call.candidate.model.astream(self.input, config, **kwargs)
        try:
            async for chunk in source:
                yield (chunk,)
        except Exception as error:
            if (known := step_fault(error)) is error:
                raise
            raise known from error
        finally:
            if (close := getattr(source, "aclose", None)) is not None:
                await close()

    def attempt(self, call: Call, chunks: Sequence[Any]) -> Attempt:
        """Return what a stream amounts to; without chunks, what the models inside had used when it was cut short."""
        meter = self._meters.get(id(call)) or Meter(rung=call.candidate)
        return self._attempt(call, joined([chunk for (chunk,) in chunks]), meter) if chunks else _empty(call, meter)

    def replay(self, attempt: Attempt) -> Iterator[Any]:
        """Yield a buffered output as one chunk."""
        output = attempt.native.value
        yield (as_chunk(output) if isinstance(output, AIMessage) else output,)

    def _prepare(self, call: Call, timeout: float | None, meter: Meter) -> tuple[RunnableConfig, dict[str, Any]]:
        tags = [*self.config.get("tags", ()), f"cascade:step:{call.candidate.name}"]
        if not call.final:
            tags.append(_HIDDEN)
        callbacks = cast("BaseCallbackManager", self.config["callbacks"]).copy()
        callbacks.add_handler(meter)
        asked = {} if call.final else self.asked.get(call.candidate.name, {})
        kwargs = {**asked, **self.kwargs}
        if timeout is not None and isinstance(call.candidate.model, LiteLLMChatModel):
            kwargs["timeout"] = timeout
        return {**self.config, "callbacks": callbacks, "tags": tags}, kwargs

    def _attempt(self, call: Call, output: Any, meter: Meter) -> Attempt:
        """Return the attempt, with what the last model inside says of the tokens that it made."""
        answer = answer_of(output)
        own = isinstance(answer, AIMessage)
        message = answer if own else next((one.message for one in reversed(meter.spoken) if one.message), None)
        told = attempt_fields(message, call.candidate) if message is not None else {}
        if meter.spoken:
            told |= {"model": meter.model, "usage": meter.usage, "cost": meter.cost}
        if not own:
            told["tool_calls"] = ()
        # A final output is judged by nobody, and streamed it may not have the form that the user's function expects.
        told["text"] = text_of(output) if call.final else self.text(output)
        if told.get("cost") is None:
            told["cost"] = self.costs.get(call.candidate.name)
        return Attempt(call=call, sources=sources_of(output), native=Output(value=output), **told)

    def _judged(self, attempt: Attempt) -> Attempt:
        if self.grade is None or attempt.call.final:
            return attempt
        output = attempt.native.value
        try:
            with set_config_context(self.config) as context:
                confidence: Any = context.run(self.grade, self.input, output)
        except Exception as error:  # noqa: BLE001 - raised where the answer is judged, so that the trace has it
            confidence = error
        return replace(attempt, native=Output(value=output, confidence=confidence))


def _empty(call: Call, meter: Meter) -> Attempt:
    """Return the attempt of a step that gave no output; what the models inside had used by then is paid for."""
    return Attempt(call=call, model=meter.model, usage=meter.usage, cost=meter.cost)
