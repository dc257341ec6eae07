"""How LlamaIndex makes the engine's calls: each is a call on a candidate's own LLM, which tells of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.llms import LLM
from pydantic import BaseModel

from router_integrations.adapters.attempting import as_faults, schema_error, with_usage
from router_integrations.adapters.call_settings import strip_settings
from router_integrations.adapters.targets import Target
from router_integrations.errors import ProviderError
from router_integrations.llama_index.answered import answered
from router_integrations.llama_index.binding import Binding, Replayed, SchemaBinding
from router_integrations.llama_index.convert import attempt_fields
from router_integrations.llama_index.describe import Job
from router_integrations.llama_index.history import translate
from router_integrations.llama_index.litellm_llm import LiteLLMModel
from router_integrations.types import Attempt, Call


@dataclass(slots=True, kw_only=True)
class Reply:
    """An LLM's response, and the object that it holds if one was asked for."""

    response: ChatResponse
    parsed: BaseModel | None = None


class Shown:
    """What the caller sees next, to be taken out once: the engine keeps the chunks of a stream to its end.

    Each response holds all that came before it, so a long answer would otherwise be kept some thousand times.
    """

    __slots__ = ("_inside",)

    def __init__(self, inside: Any) -> None:
        self._inside = inside

    def take(self) -> Any:
        """Return it, and let it go."""
        inside, self._inside = self._inside, None
        return inside


@dataclass(kw_only=True)
class LlamaIndexHost:
    """Makes the calls of one request.

    Args:
        models: The LLM of each candidate, by name.
        targets: What each candidate's provider expects of a history, by name.
        job: What the caller asked.
        manager: The router's callback manager, told of calls on LLMs that have no handlers of their own.
        span: The span of the router, which the calls are inside.
        input_tokens: Tokens of the prompt, for candidates that report no usage.
        limiter: Acquired before each call.
        asked: Parameters of calls whose replies the strategy looks at, by name; the caller's own win.

    Attributes:
        whole: Whether the answer comes in one piece, from an LLM that cannot stream.
    """

    models: Mapping[str, LLM]
    targets: Mapping[str, Target]
    job: Job
    manager: CallbackManager
    span: str | None = None
    input_tokens: int = 0
    limiter: Any = None
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    whole: bool = field(default=False, init=False)
    _last: dict[int, ChatResponse] = field(default_factory=dict)
    # The log-probabilities of gated streams so far.
    _heard: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Make `call` on the candidate's LLM."""
        if self.limiter is not None:
            self.limiter.acquire()
        ready = self._prepare(call, timeout)
        with as_faults(), self._inside():
            return self._attempt(call, ready, ready.call(""))

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        """Async `ask`."""
        if self.limiter is not None:
            await self.limiter.async_acquire()
        ready = self._prepare(call, timeout)
        with as_faults(), self._inside():
            return self._attempt(call, ready, await ready.call("a"))

    def stream(self, call: Call, timeout: float | None) -> Generator[Any, None, None]:
        """Make `call`; yield responses that grow, or objects that do."""
        if self.limiter is not None:
            self.limiter.acquire()
        ready = self._prepare(call, timeout)
        shown = None
        with as_faults(), closing(self._responses(ready)) as responses:
            for response in responses:
                shown = self._shown(call, ready, response, shown)
                if not self._held(call, shown):
                    yield Shown(shown)
            yield from map(Shown, self._last_object(call, ready, shown))

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Async `stream`."""
        if self.limiter is not None:
            await self.limiter.async_acquire()
        ready = self._prepare(call, timeout)
        shown = None
        with as_faults():
            async with aclosing(self._aresponses(ready)) as responses:
                async for response in responses:
                    shown = self._shown(call, ready, response, shown)
                    if not self._held(call, shown):
                        yield Shown(shown)
                for last in self._last_object(call, ready, shown):
                    yield Shown(last)

    def attempt(self, call: Call, chunks: Sequence[Any]) -> Attempt:
        """Return what a stream amounts to, which its last response tells."""
        response = self._last.get(id(call))
        if response is None:
            return Attempt(call=call)
        attempt = replace(self._told(call, response), native=Reply(response=response))
        heard = self._heard.get(id(call), ())
        return replace(attempt, logprobs=heard) if len(heard) > len(attempt.logprobs) else attempt

    def replay(self, attempt: Attempt) -> Iterator[Any]:
        """Yield a buffered answer as one chunk."""
        reply: Reply = attempt.native
        if isinstance(binding := self._binding(attempt.call), SchemaBinding):
            # A stream whose gate never opened has been checked, and its object let go.
            llm = self.models[attempt.call.candidate.name]
            yield Shown(binding.parse(reply.response, llm) if reply.parsed is None else reply.parsed)
        else:
            yield Shown(whole(reply.response))

    def _responses(self, ready: Replayed) -> Generator[ChatResponse, None, None]:
        try:
            with self._inside():
                source = ready.call("stream_")
                response = next(source, None)
        except NotImplementedError:
            with self._inside():
                response = ready.call("")
            yield self._in_one_piece(response)
            return
        with closing(source):
            while response is not None:
                yield response
                with self._inside():
                    response = next(source, None)

    async def _aresponses(self, ready: Replayed) -> AsyncGenerator[ChatResponse, None]:
        try:
            with self._inside():
                source = await ready.call("astream_")
                response = await anext(source, None)
        except NotImplementedError:
            with self._inside():
                response = await ready.call("a")
            yield self._in_one_piece(response)
            return
        async with aclosing(source):
            while response is not None:
                yield response
                with self._inside():
                    response = await anext(source, None)

    def _in_one_piece(self, response: ChatResponse) -> ChatResponse:
        self.whole = True
        return whole(response)

    def _shown(self, call: Call, ready: Replayed, response: ChatResponse, before: Any) -> Any:
        """Return what the caller sees of a response of a stream."""
        self._last[id(call)] = response = answered(response, call.candidate)
        if call.gate is not None:
            self._hear(call, response)
        if isinstance(binding := self._binding(call), SchemaBinding):
            return binding.partial(response, ready.llm, before)
        return response

    def _hear(self, call: Call, response: ChatResponse) -> None:
        """Add the log-probabilities of new text; a response without any, the last, may hold those of the whole."""
        if response.delta and (fresh := attempt_fields(response, call.candidate)["logprobs"]):
            self._heard[id(call)] = self._heard.get(id(call), ()) + tuple(fresh)

    def _held(self, call: Call, shown: Any) -> bool:
        """Return whether none of an object's fields has come: till one has, another candidate can be asked."""
        return isinstance(self._binding(call), SchemaBinding) and all(value is None for _, value in shown)

    def _last_object(self, call: Call, ready: Replayed, shown: Any) -> Iterator[Any]:
        """Check the object that a stream has come to; yield it if nothing of it was shown."""
        response = self._last.get(id(call))
        if response is None or not isinstance(binding := self._binding(call), SchemaBinding):
            return
        try:
            binding.parse(response, ready.llm)
        except ValueError as problem:
            raise schema_error(problem) from problem
        if self._held(call, shown):
            yield shown

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Let what the block tells the dispatcher be inside the router's span."""
        token = active_span_id.set(self.span)
        try:
            yield
        finally:
            active_span_id.reset(token)

    def _prepare(self, call: Call, timeout: float | None) -> Replayed:
        # A call that is made again begins anew.
        self._last.pop(id(call), None)
        self._heard.pop(id(call), None)
        candidate = call.candidate
        llm, target = watched(self.models[candidate.name], self.manager), self.targets[candidate.name]
        settings: dict[str, Any] = {}
        if call.prompt is None:
            messages = list(translate(list(self.job.messages), target))
            settings = strip_settings(dict(self.job.kwargs), target)
            if call.revision is not None:
                messages.append(ChatMessage(role=MessageRole.ASSISTANT, content=call.revision.draft))
                messages.append(ChatMessage(role=MessageRole.USER, content=call.revision.feedback))
        else:
            messages = [ChatMessage(role=MessageRole.USER, content=call.prompt)]
        if not call.final:
            settings = {**self.asked.get(candidate.name, {}), **settings}
        if timeout is not None and isinstance(llm, LiteLLMModel):
            settings["timeout"] = timeout
        if (binding := self._binding(call)) is not None:
            return binding.on(candidate, llm, messages, settings)
        return Replayed(llm, "chat", (messages,), settings)

    def _binding(self, call: Call) -> Binding | None:
        """Return the caller's tools or class; a call with a prompt of its own has none."""
        return self.job.binding if call.prompt is None else None

    def _attempt(self, call: Call, ready: Replayed, response: ChatResponse) -> Attempt:
        """Return the attempt; an answer that breaks the schema is paid for all the same, and is a failure."""
        reply = Reply(response=answered(response, call.candidate))
        error: ProviderError | None = None
        if isinstance(binding := self._binding(call), SchemaBinding):
            try:
                reply.parsed = binding.parse(response, ready.llm)
            except ValueError as problem:
                error = schema_error(problem)
        return replace(self._told(call, response), error=error, native=reply)

    def _told(self, call: Call, response: ChatResponse) -> Attempt:
        told = with_usage(attempt_fields(response, call.candidate), call, self.input_tokens)
        return Attempt(call=call, **told)


def whole(response: ChatResponse) -> ChatResponse:
    """Return a whole response as the one chunk of a stream."""
    return response.model_copy(update={"delta": response.message.content or ""})


def watched(llm: LLM, manager: CallbackManager) -> LLM:
    """Return `llm` with the router's callback manager, unless it has handlers of its own; the user's is not changed."""
    if not manager.handlers or llm.callback_manager is manager:
        return llm
    if any(handler not in manager.handlers for handler in llm.callback_manager.handlers):
        return llm
    return llm.model_copy(update={"callback_manager": manager})
