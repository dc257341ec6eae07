"""How a cascade as a workflow makes the engine's calls: on LLMs, query engines and async functions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.llms import LLM, ChatMessage, ChatResponseAsyncGen, MessageRole
from llama_index.core.schema import QueryBundle
from pydantic import BaseModel

from router_integrations.adapters.rungs import is_async
from router_integrations.adapters.targets import Target
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.llama_index.convert import attempt_fields
from router_integrations.llama_index.history import translate
from router_integrations.llama_index.judges import own_judge
from router_integrations.llama_index.pool import own_llm
from router_integrations.llama_index.query_host import Piece, QueryHost
from router_integrations.llama_index.selector_host import model_of
from router_integrations.types import Attempt, Call

_RESPONSES = (Response, StreamingResponse, AsyncStreamingResponse, PydanticResponse)


@dataclass(kw_only=True)
class WorkflowHost(QueryHost):
    """Makes the calls of one request on whatever the candidates have as models.

    Args:
        messages: The conversation; LLMs get it as they can read it, everybody else its last human turn.
        targets: What each LLM's provider expects of a history, by name.
        asked: Parameters of calls of LiteLLM models whose answers are looked at, by name.
    """

    messages: Sequence[ChatMessage]
    targets: Mapping[str, Target]
    asked: Mapping[str, Mapping[str, Any]]
    # The log-probabilities of streams so far.
    _heard: dict[int, list[float]] = field(default_factory=dict)

    async def _arespond(self, call: Call) -> RESPONSE_TYPE:
        model, text = call.candidate.model, self._text(call)
        if isinstance(model, LLM):
            asked = {} if call.final or call.prompt is not None else self.asked.get(call.candidate.name, {})
            if not call.final and call.gate is None:
                return Response((await model.achat(self._messages(call), **asked)).message.content)
            return AsyncStreamingResponse(self._deltas(call, await model.astream_chat(self._messages(call), **asked)))
        if isinstance(model, BaseQueryEngine):
            return await model.aquery(QueryBundle(text))
        return _response(await model(text))

    async def _deltas(self, call: Call, chunks: ChatResponseAsyncGen) -> AsyncGenerator[str, None]:
        heard = self._heard[id(call)] = []
        async for chunk in chunks:
            # One that adds no text, the last, may hold those of the whole.
            if call.gate is not None and chunk.delta:
                heard += attempt_fields(chunk, call.candidate)["logprobs"]
            yield chunk.delta or ""

    def attempt(self, call: Call, chunks: Sequence[Piece]) -> Attempt:
        """Return what a stream amounts to; while it goes on, its log-probabilities are those heard so far."""
        attempt, heard = super().attempt(call, chunks), self._heard.get(id(call), ())
        return replace(attempt, logprobs=tuple(heard)) if len(heard) > len(attempt.logprobs) else attempt

    def replay(self, attempt: Attempt) -> Iterator[Piece]:
        """Yield a buffered response; its text alone when the response was left behind."""
        return super().replay(attempt) if attempt.native.value is not None else iter((Piece(token=attempt.text),))

    def _text(self, call: Call) -> str:
        if call.prompt is not None:
            return call.prompt
        if call.revision is None:
            return self.query.query_str
        return f"{self.query.query_str}\n\nEarlier answer: {call.revision.draft}\n\n{call.revision.feedback}"

    def _messages(self, call: Call) -> list[ChatMessage]:
        if call.prompt is not None:
            return [ChatMessage(role=MessageRole.USER, content=call.prompt)]
        messages = translate([*self.messages], self.targets[call.candidate.name])
        if call.revision is None:
            return messages
        draft = ChatMessage(role=MessageRole.ASSISTANT, content=call.revision.draft)
        return [*messages, draft, ChatMessage(role=MessageRole.USER, content=call.revision.feedback)]


def as_rung(candidate: Candidate) -> Candidate:
    """Return the candidate with an LLM, a query engine or an async function as its model.

    Raises:
        ConfigurationError: Its model is none of these.
    """
    model = candidate.model
    if model is None:
        return replace(candidate, model=model_of(candidate))
    if isinstance(model, LLM):
        return own_llm(candidate)
    if not isinstance(model, BaseQueryEngine) and not is_async(model):
        raise ConfigurationError(
            f"{candidate.name!r}: model must be a LlamaIndex LLM, a query engine or an async function but got "
            f"{type(model).__name__}; write async def f(query: str) -> str"
        )
    return candidate


def as_judge(candidate: Candidate) -> Candidate:
    """Return the candidate with an LLM as its model, be it the user's function.

    Raises:
        ConfigurationError: Its model is neither.
    """
    judge = own_judge(candidate)
    return judge if judge.model is not None else as_rung(judge)


def _response(given: Any) -> RESPONSE_TYPE:
    if isinstance(given, _RESPONSES):
        return given
    return PydanticResponse(given) if isinstance(given, BaseModel) else Response(None if given is None else str(given))
