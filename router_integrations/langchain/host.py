"""How LangChain makes the engine's calls: every call is a chat-model run of its own, a child of the router's run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.utils import AddableDict

from router_integrations.adapters.attempting import as_faults, is_cut_off, schema_error, with_usage
from router_integrations.langchain.binding import Binding, Replayed, SchemaBinding
from router_integrations.langchain.convert import attempt_fields
from router_integrations.langchain.describe import Job
from router_integrations.langchain.history import Target, strip_settings, translate
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.types import Attempt, Call

# LangGraph shows no token of a run with this tag: a draft may still be thrown away.
_HIDDEN = "nostream"


@dataclass(slots=True, kw_only=True)
class Reply:
    """A model's message, and what the bound schema's parser made of it."""

    message: AIMessage
    parsed: Any = None
    parsing_error: BaseException | None = None

    def as_raw(self) -> dict[str, Any]:
        """Return LangChain's form of a structured answer with its raw message."""
        return {"raw": self.message, **self._outcome()}

    def tail(self) -> Iterator[dict[str, Any]]:
        """Yield what follows the streamed raw message in that form."""
        for name, value in self._outcome().items():
            yield AddableDict({name: value})

    def _outcome(self) -> dict[str, Any]:
        return {"parsed": self.parsed, "parsing_error": self.parsing_error}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call made ready: whom to ask, with what, under which config."""

    replayed: Replayed
    messages: list[BaseMessage]
    config: RunnableConfig
    kwargs: dict[str, Any]


@dataclass(kw_only=True)
class LangChainHost:
    """Makes the calls of one request.

    Args:
        models: The chat model of each candidate, by name.
        targets: What each candidate's provider expects of a history, by name.
        job: What the caller asked.
        config: The run's config; its callbacks are children of the router's run.
        input_tokens: Tokens of the prompt, for candidates that report no usage.
        limiter: Acquired before each call.
        asked: Parameters of calls whose replies the strategy looks at, by name; the caller's own win.
    """

    models: Mapping[str, BaseChatModel]
    targets: Mapping[str, Target]
    job: Job
    config: RunnableConfig
    input_tokens: int = 0
    limiter: BaseRateLimiter | None = None
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _streamed: dict[int, list[BaseMessage]] = field(default_factory=dict)

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Make `call` on the candidate's chat model."""
        if self.limiter is not None:
            self.limiter.acquire(blocking=True)
        ready = self._prepare(call, timeout)
        with as_faults():
            answer = ready.replayed.runnable.invoke(ready.messages, ready.config, **ready.kwargs)
        return self._attempt(call, self._parse(ready, answer))

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        """Async `ask`."""
        if self.limiter is not None:
            await self.limiter.aacquire(blocking=True)
        ready = self._prepare(call, timeout)
        with as_faults():
            answer = await ready.replayed.runnable.ainvoke(ready.messages, ready.config, **ready.kwargs)
        if ready.replayed.parser is not None:
            # It is paid for, should the parser take too long.
            self._streamed[id(call)] = [answer]
        return self._attempt(call, await self._aparse(ready, answer))

    def stream(self, call: Call, timeout: float | None) -> Generator[Any, None, None]:
        """Make `call`; yield message chunks, or what the schema's parser makes of them."""
        if self.limiter is not None:
            self.limiter.acquire(blocking=True)
        ready = self._prepare(call, timeout)
        chunks = self._tokens(call, ready)
        if isinstance(binding := self._binding(call), SchemaBinding):
            chunks = self._objects(binding, call, ready, chunks)
        with as_faults(), closing(chunks):
            yield from chunks

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Async `stream`."""
        if self.limiter is not None:
            await self.limiter.aacquire(blocking=True)
        ready = self._prepare(call, timeout)
        chunks = self._atokens(call, ready)
        if isinstance(binding := self._binding(call), SchemaBinding):
            chunks = self._aobjects(binding, call, ready, chunks)
        with as_faults():
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    def attempt(self, call: Call, chunks: Sequence[Any]) -> Attempt:
        """Return what a stream amounts to; with a parser the messages behind `chunks` count."""
        seen = self._streamed.get(id(call), ())
        if not seen:
            return Attempt(call=call)
        reply = Reply(message=_merged(seen))
        if isinstance(self._binding(call), SchemaBinding):
            reply.parsed = chunks[-1] if chunks else None
        return replace(self._attempt(call, reply), error=None)

    def replay(self, attempt: Attempt) -> Iterator[Any]:
        """Yield a buffered answer as one chunk."""
        reply: Reply = attempt.native
        if isinstance(binding := self._binding(attempt.call), SchemaBinding):
            yield reply.as_raw() if binding.include_raw else reply.parsed
        else:
            yield as_chunk(reply.message)

    def _prepare(self, call: Call, timeout: float | None) -> Prepared:
        # A call that is made again begins anew.
        self._streamed.pop(id(call), None)
        name = call.candidate.name
        model, target = self.models[name], self.targets[name]
        binding = self._binding(call)
        if call.prompt is None:
            messages, kwargs = translate(list(self.job.messages), target), self._call_settings(target)
            if call.revision is not None:
                messages = [*messages, AIMessage(call.revision.draft), HumanMessage(call.revision.feedback)]
        else:
            messages, kwargs = [HumanMessage(call.prompt)], {}
        if not call.final:
            kwargs = {**self.asked.get(name, {}), **kwargs}
        if timeout is not None and isinstance(model, LiteLLMChatModel):
            kwargs["timeout"] = timeout
        config = self.config
        if not call.final:
            config = {**config, "tags": [*config.get("tags", ()), _HIDDEN]}
        return Prepared(
            replayed=Replayed(model) if binding is None else binding.on(name, model),
            messages=messages,
            config=config,
            kwargs=kwargs,
        )

    def _binding(self, call: Call) -> Binding | None:
        """Return the caller's tools or schema; a call with a prompt of its own has none."""
        return self.job.binding if call.prompt is None else None

    def _asked_itself(self, call: Call) -> bool:
        """Return whether the strategy wanted the log-probabilities, and not the caller, whose messages they swell."""
        wanted = "logprobs" in self.asked.get(call.candidate.name, {})
        return wanted and not call.final and "logprobs" not in self.job.kwargs

    def _call_settings(self, target: Target) -> dict[str, Any]:
        settings = strip_settings(dict(self.job.kwargs), target)
        return settings if self.job.stop is None else {**settings, "stop": self.job.stop}

    def _parse(self, ready: Prepared, answer: Any) -> Reply:
        parser = ready.replayed.parser
        if parser is None:
            return _reply(answer)
        try:
            return Reply(message=answer, parsed=parser.invoke(answer, self.config))
        except Exception as error:  # noqa: BLE001 - whatever the parser raises is the answer's fault, and is kept
            return Reply(message=answer, parsing_error=error)

    async def _aparse(self, ready: Prepared, answer: Any) -> Reply:
        parser = ready.replayed.parser
        if parser is None:
            return _reply(answer)
        try:
            return Reply(message=answer, parsed=await parser.ainvoke(answer, self.config))
        except Exception as error:  # noqa: BLE001 - as in `_parse`
            return Reply(message=answer, parsing_error=error)

    def _objects(
        self, binding: SchemaBinding, call: Call, ready: Prepared, tokens: Generator[Any, None, None]
    ) -> Generator[Any, None, None]:
        """Yield what the parser makes of the tokens as they come; with the raw message, the object comes last."""
        if ready.replayed.whole or ready.replayed.parser is None:
            yield from tokens
        elif binding.include_raw:
            for chunk in tokens:
                yield AddableDict(raw=chunk)
            yield from self._parse(ready, _merged(self._streamed[id(call)])).tail()
        else:
            yield from ready.replayed.parser.transform(tokens, self.config)

    async def _aobjects(
        self, binding: SchemaBinding, call: Call, ready: Prepared, tokens: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[Any, None]:
        if ready.replayed.whole or ready.replayed.parser is None:
            async for chunk in tokens:
                yield chunk
        elif binding.include_raw:
            async for chunk in tokens:
                yield AddableDict(raw=chunk)
            for last in (await self._aparse(ready, _merged(self._streamed[id(call)]))).tail():
                yield last
        else:
            async for parsed in ready.replayed.parser.atransform(tokens, self.config):
                yield parsed

    def _tokens(self, call: Call, ready: Prepared) -> Generator[BaseMessage, None, None]:
        seen = self._streamed[id(call)] = []
        source = ready.replayed.runnable.stream(ready.messages, ready.config, **ready.kwargs)
        with closing(cast("Generator[BaseMessage]", source)) as chunks:
            for chunk in chunks:
                seen.append(chunk)
                yield chunk

    async def _atokens(self, call: Call, ready: Prepared) -> AsyncGenerator[BaseMessage, None]:
        seen = self._streamed[id(call)] = []
        source = ready.replayed.runnable.astream(ready.messages, ready.config, **ready.kwargs)
        async with aclosing(cast("AsyncGenerator[BaseMessage]", source)) as chunks:
            async for chunk in chunks:
                seen.append(chunk)
                yield chunk

    def _attempt(self, call: Call, reply: Reply) -> Attempt:
        """Return the attempt; an answer that breaks the schema is paid for all the same, and is a failure."""
        error = None
        told = attempt_fields(reply.message, call.candidate)
        if isinstance(self._binding(call), SchemaBinding):
            if reply.parsed is not None and is_cut_off(told):
                # LangChain's parsers close what is open, and pass half an answer off as a whole one.
                reply.parsed, reply.parsing_error = None, OutputParserException("it was cut off at the token limit")
            if reply.parsed is None:
                error = schema_error(reply.parsing_error)
        told = with_usage(told, call, self.input_tokens)
        if told["logprobs"] and self._asked_itself(call):
            reply.message = _without_logprobs(reply.message)
        return Attempt(call=call, error=error, native=reply, **told)


def _reply(answer: Any) -> Reply:
    if isinstance(answer, dict):
        return Reply(message=answer["raw"], parsed=answer["parsed"], parsing_error=answer["parsing_error"])
    return Reply(message=answer)


def _without_logprobs(message: AIMessage) -> AIMessage:
    metadata = {name: value for name, value in message.response_metadata.items() if name != "logprobs"}
    return message.model_copy(update={"response_metadata": metadata})


def _merged(seen: Sequence[BaseMessage]) -> AIMessage:
    first, *rest = seen
    if not isinstance(first, AIMessageChunk):
        return cast("AIMessage", first)
    return cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(first, *cast("Any", rest))))


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """Return a whole message as the one chunk of a stream."""
    if isinstance(message, AIMessageChunk):
        return message
    fields = {name: getattr(message, name) for name in AIMessage.model_fields if name not in ("type", "tool_calls")}
    chunks = [
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": index}
        for index, call in enumerate(message.tool_calls)
    ]
    return AIMessageChunk(**{**fields, "tool_call_chunks": chunks, "chunk_position": "last"})
