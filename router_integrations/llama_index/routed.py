"""Every way of asking an LLM, led through the engine; the LLM events are those of the candidates' own LLMs."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool

from router_integrations import engine
from router_integrations.adapters.describing import may_count
from router_integrations.adapters.options import RouterOptions
from router_integrations.llama_index.answered import answerer_of
from router_integrations.llama_index.binding import BINDING, TOOL_OPTIONS, ToolBinding, tool_calls
from router_integrations.llama_index.chatting import ChatLLM
from router_integrations.llama_index.describe import Job, characters
from router_integrations.llama_index.host import LlamaIndexHost
from router_integrations.llama_index.replies import completion
from router_integrations.llama_index.results import Tail, responded, tell
from router_integrations.llama_index.session import job_of, open_session
from router_integrations.steps import Run
from router_integrations.trace import Trace


class RoutedLLM(RouterOptions, ChatLLM):
    """Every way of asking an LLM, led through the engine; `RouterLLM` adds what is asked.

    LlamaIndex opens a span around each of them. No method is marked as an LLM's call: those that the candidates' LLMs
    tell of are the only ones.
    """

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer with one candidate's response, the trace added.

        Args:
            messages: The conversation, first message first; not changed.
            **kwargs: Settings of the call; ``model="name"`` chooses the candidate.

        Raises:
            RequestError: The request is malformed, or no candidate can take it; nobody has been called.
            AllCandidatesFailed: Nobody answered.
        """
        return responded(self._run(self._job(messages, kwargs)))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Async `chat`."""
        return responded(await self._arun(self._job(messages, kwargs)))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Yield one candidate's responses as they come, each with the answer so far; the last one carries the trace.

        Args:
            messages: As for `chat`.
            **kwargs: As for `chat`.

        Raises:
            StreamInterrupted: The stream broke after its first chunk.
        """
        return self._chunks(self._job(messages, kwargs), active_span_id.get())

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Async `stream_chat`."""
        return self._achunks(self._job(messages, kwargs), active_span_id.get())

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002
        """Answer a prompt, on which the choice is made; arguments and errors are those of `chat`.

        Args:
            prompt: What the user says.
            formatted: Whether `completion_to_prompt` has seen it.
            **kwargs: As for `chat`.
        """
        return completion(responded(self._run(self._prompted(prompt, kwargs, formatted=formatted))))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002
        """Async `complete`."""
        return completion(responded(await self._arun(self._prompted(prompt, kwargs, formatted=formatted))))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002
        """Stream `complete`."""
        return self._completions(
            self._chunks(self._prompted(prompt, kwargs, formatted=formatted), active_span_id.get())
        )

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:  # noqa: FBT001, FBT002
        """Async `stream_complete`."""
        return self._acompletions(
            self._achunks(self._prompted(prompt, kwargs, formatted=formatted), active_span_id.get())
        )

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> list[ToolSelection]:
        """Return the tool calls of a response as the LLM that gave it reads them; see the base class."""
        who = answerer_of(response.message)
        found = tool_calls(response, self._pool.models.get(who.candidate) if who else None)
        return found or super().get_tool_calls_from_response(response, error_on_no_tool_call)

    def _with_tools(self, tools: Sequence[BaseTool], given: dict[str, Any]) -> dict[str, Any]:
        # LlamaIndex's programs say that they choose no tool, which some LLMs take for "none".
        options = {name: given[name] for name in TOOL_OPTIONS if given.get(name) is not None}
        settings = {name: value for name, value in given.items() if name not in TOOL_OPTIONS}
        return {**settings, BINDING: ToolBinding(tools=tuple(tools), options=options)}

    def _prompted(self, prompt: str, kwargs: dict[str, Any], *, formatted: bool) -> Job:
        return self._job(self._prompt(prompt, formatted=formatted), kwargs)

    def _job(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Job:
        return job_of(messages, self.stop, kwargs)

    def _open(self, job: Job) -> tuple[Run, LlamaIndexHost]:
        return open_session(self._pool, self._settings, job, self.callback_manager)

    async def _aopen(self, job: Job) -> tuple[Run, LlamaIndexHost]:
        if may_count(characters(job.messages), self._pool.candidates):
            return await asyncio.to_thread(self._open, job)
        return self._open(job)

    def _run(self, job: Job) -> Trace:
        run, host = self._open(job)
        try:
            return engine.run(run, host)
        finally:
            self._tell(run, host.span)

    async def _arun(self, job: Job) -> Trace:
        run, host = await self._aopen(job)
        try:
            return await engine.arun(run, host)
        finally:
            self._tell(run, host.span)

    def _chunks(self, job: Job, span: str | None) -> Generator[Any, None, None]:
        """Yield the responses, or the objects, of one request."""
        run, host = self._open(job)
        host.span = span
        tail = Tail(job.binding)
        try:
            with closing(engine.stream(run, host)) as chunks:
                for chunk in chunks:
                    yield from tail.hold(chunk.take(), only=host.whole or run.trace.answer is not None)
        finally:
            self._tell(run, span)
        yield from tail.release(run.trace)

    async def _achunks(self, job: Job, span: str | None) -> AsyncGenerator[Any, None]:
        run, host = await self._aopen(job)
        host.span = span
        tail = Tail(job.binding)
        try:
            async with aclosing(engine.astream(run, host)) as chunks:
                async for chunk in chunks:
                    for ready in tail.hold(chunk.take(), only=host.whole or run.trace.answer is not None):
                        yield ready
        finally:
            self._tell(run, span)
        for ready in tail.release(run.trace):
            yield ready

    def _tell(self, run: Run, span: str | None) -> None:
        """Tell of the end of a request, however it ended."""
        tell(run.trace, span)
        self._observe(run.trace)
