"""Objects instead of texts: each candidate is held to the class in its own way.

An answer that breaks the schema is a failed attempt, so the next candidate is asked.
"""

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.instrumentation.events.llm import LLMStructuredPredictEndEvent, LLMStructuredPredictStartEvent
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import PydanticProgramMode

from router_integrations.adapters.attempting import failed_also
from router_integrations.errors import AllCandidatesFailed, ProviderError
from router_integrations.llama_index.binding import BINDING, SchemaBinding
from router_integrations.llama_index.describe import Job
from router_integrations.llama_index.results import dispatcher
from router_integrations.llama_index.routed import RoutedLLM


class PredictingLLM(RoutedLLM):
    """An LLM that predicts objects, whichever candidate answers."""

    def structured_predict(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        """Return an object of a class.

        Args:
            output_cls: The class, of pydantic's.
            prompt: What is asked.
            llm_kwargs: Settings of the call.
            **prompt_args: The variables of the prompt.

        Raises:
            AllCandidatesFailed: Nobody's answer follows the class; also a ValueError, as from LlamaIndex's programs.
        """
        _started(output_cls, prompt, prompt_args)
        with _failing_as_programs():
            return _ended(self._run(self._object_job(output_cls, prompt, llm_kwargs, prompt_args)))

    async def astructured_predict(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        """Async `structured_predict`."""
        _started(output_cls, prompt, prompt_args)
        with _failing_as_programs():
            return _ended(await self._arun(self._object_job(output_cls, prompt, llm_kwargs, prompt_args)))

    def _structured_stream_call(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Generator[Any, None, None]:
        job = self._object_job(output_cls, prompt, llm_kwargs, prompt_args)
        yield from self._chunks(job, active_span_id.get())

    async def _structured_astream_call(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> AsyncGenerator[Any, None]:
        return self._achunks(self._object_job(output_cls, prompt, llm_kwargs, prompt_args), active_span_id.get())

    def _object_job(
        self,
        output_cls: Any,
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> Job:
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        words_only = self.pydantic_program_mode == PydanticProgramMode.LLM
        binding = SchemaBinding(output_cls=output_cls, words_only=words_only)
        # LlamaIndex's programs take these from the caller too: how an object is asked for is not the caller's to say.
        own = ("tool_choice", "tool_required", "allow_parallel_tool_calls")
        settings = {name: value for name, value in (llm_kwargs or {}).items() if name not in own}
        return self._job(messages, {**settings, BINDING: binding})


@contextmanager
def _failing_as_programs() -> Iterator[None]:
    try:
        yield
    except AllCandidatesFailed as error:
        cause = error.__cause__
        if not (isinstance(cause, ProviderError) and cause.family == "schema"):
            raise
        raised = failed_also(ValueError)(str(error))
        raised.trace = error.trace
        raise raised from cause


def _started(output_cls: Any, prompt: Any, prompt_args: dict[str, Any]) -> None:
    told: Any = {"output_cls": output_cls, "template": prompt, "template_args": prompt_args}
    dispatcher.event(LLMStructuredPredictStartEvent(**told))


def _ended(trace: Any) -> Any:
    output = trace.answer.native.parsed
    dispatcher.event(LLMStructuredPredictEndEvent(output=output))
    return output
