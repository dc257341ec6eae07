"""`LiteLLMModel`: one LiteLLM candidate as a LlamaIndex LLM, with nothing between the two."""

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
    LLMMetadata,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.tools import BaseTool
from pydantic import ConfigDict, Field, SecretStr, field_serializer, field_validator

from router_integrations import providers
from router_integrations.adapters.identity import plain_candidate
from router_integrations.adapters.outgoing import Outgoing, can_force_tools, model_settings
from router_integrations.adapters.replies import bare_model
from router_integrations.candidates import Candidate
from router_integrations.llama_index.blocks import reads_files
from router_integrations.llama_index.chatting import ChatLLM
from router_integrations.llama_index.convert import openai_tools, to_openai
from router_integrations.llama_index.limits import known_limits
from router_integrations.llama_index.replies import ChunkReader, chat_response, completion, forced_single
from router_integrations.llama_index.tool_calls import tool_arguments

# What events show of a candidate's prices, for whoever counts what models inside a component cost.
PRICES = ("input_price", "output_price", "cache_read_price", "cache_write_price")


class LiteLLMModel(ChatLLM):
    """One LiteLLM model as a LlamaIndex LLM; each call is made once.

    Retries are the router's. What fails is a `ProviderError`. Every call takes OpenAI's parameters too, such as
    ``tools``, ``response_format`` or ``logprobs``, and a ``timeout``.

    Args:
        candidate: The model, with its own parameters.
        temperature: Sampling temperature, as the provider takes it.
        max_tokens: Longest answer, in tokens.
        timeout: Seconds that one call may take; the candidate's by default.
        stop: Stop sequences, for calls that give none.
        api_key: The provider's key; its environment variable by default.

    The candidate's own `params` win over these, and what a call gives wins over both.

    >>> LiteLLMModel(candidate=Candidate("openai/gpt-4o-mini")).metadata.context_window
    128000
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    candidate: Candidate
    temperature: float | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    timeout: float | None = Field(default=None, gt=0)
    stop: list[str] | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)

    @field_validator("candidate", mode="before")
    @classmethod
    def _from_dict(cls, given: Any) -> Any:
        return Candidate(**given) if isinstance(given, dict) else given

    @field_serializer("candidate")
    def _without_secrets(self, candidate: Candidate) -> dict[str, Any]:
        return plain_candidate(candidate)

    @classmethod
    def class_name(cls) -> str:
        """Return what LlamaIndex calls this kind of LLM."""
        return "router_integrations_litellm"

    @property
    def metadata(self) -> LLMMetadata:
        """What the candidate is known to take; what nobody knows is a careful guess."""
        settings = self._settings
        longest = settings.get("max_tokens") or settings.get("max_completion_tokens")
        window, output = known_limits([self.candidate], longest)
        return LLMMetadata(
            context_window=window,
            num_output=output,
            is_chat_model=True,
            is_function_calling_model=self.candidate.tools is not False,
            model_name=bare_model(self.candidate),
        )

    def to_payload(self) -> dict[str, Any]:
        """Return what traces may show of this LLM."""
        return {
            "class_name": self.class_name(),
            **self.metadata.model_dump(),
            "candidate": self.candidate.name,
            "provider": self.candidate.provider,
            "temperature": self._settings.get("temperature"),
            **{name: getattr(self.candidate, name) for name in PRICES},
        }

    @property
    def _settings(self) -> dict[str, Any]:
        names = ("temperature", "max_tokens", "timeout", "stop", "api_key")
        return model_settings(self.candidate, {name: getattr(self, name) for name in names})

    def _request(self, messages: Sequence[ChatMessage], given: dict[str, Any]) -> Outgoing:
        if given.get("tools"):
            given = {**given, "tools": openai_tools(given["tools"])}
        demanded = given.get("tool_choice") not in (None, "auto", "none")
        if demanded and not can_force_tools(self.candidate, {**self._settings, **given}):
            given = {**given, "tool_choice": "auto"}
        return Outgoing.of(self.candidate, self._settings, to_openai(messages), given)

    async def _arequest(self, messages: Sequence[ChatMessage], given: dict[str, Any]) -> Outgoing:
        if reads_files(messages):
            return await asyncio.to_thread(self._request, messages, given)
        return self._request(messages, given)

    def _ask(self, messages: Sequence[ChatMessage], given: dict[str, Any]) -> ChatResponse:
        request = self._request(messages, given)
        reply = providers.complete(request.candidate, request.messages, request.params, request.timeout)
        return chat_response(reply, request.prompt)

    async def _aask(self, messages: Sequence[ChatMessage], given: dict[str, Any]) -> ChatResponse:
        request = await self._arequest(messages, given)
        reply = await providers.acomplete(request.candidate, request.messages, request.params, request.timeout)
        return chat_response(reply, request.prompt)

    def _stream(self, messages: Sequence[ChatMessage], given: dict[str, Any]) -> Generator[ChatResponse, None, None]:
        request = self._request(messages, given)
        reader = ChunkReader(request.prompt)
        source = providers.stream(request.candidate, request.messages, request.params, request.timeout)
        with closing(source):
            for chunk in source:
                if (response := reader.read(chunk)) is not None:
                    yield response
        yield reader.end()

    async def _astream(
        self, messages: Sequence[ChatMessage], given: dict[str, Any]
    ) -> AsyncGenerator[ChatResponse, None]:
        request = await self._arequest(messages, given)
        reader = ChunkReader(request.prompt)
        source = providers.astream(request.candidate, request.messages, request.params, request.timeout)
        async with aclosing(source):
            async for chunk in source:
                if (response := reader.read(chunk)) is not None:
                    yield response
        yield reader.end()

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation.

        Args:
            messages: The conversation, first message first; not changed.
            **kwargs: Parameters of this call, in OpenAI's names.

        Raises:
            ProviderError: The call failed.
            RequestError: A content block is empty or unknown.
        """
        return self._ask(messages, kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002
        """Answer a prompt; arguments and errors are those of `chat`.

        Args:
            prompt: What the user says.
            formatted: Whether `completion_to_prompt` has seen it.
            **kwargs: Parameters of this call, in OpenAI's names.
        """
        return completion(self._ask(self._prompt(prompt, formatted=formatted), kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Yield the answer so far, again and again; the last response has the usage. Arguments are those of `chat`."""
        return self._stream(messages, kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002
        """Stream `complete`."""
        return self._completions(self._stream(self._prompt(prompt, formatted=formatted), kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Async `chat`."""
        return await self._aask(messages, kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002
        """Async `complete`."""
        return completion(await self._aask(self._prompt(prompt, formatted=formatted), kwargs))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Async `stream_chat`."""
        return self._astream(messages, kwargs)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:  # noqa: FBT001, FBT002
        """Async `stream_complete`."""
        return self._acompletions(self._astream(self._prompt(prompt, formatted=formatted), kwargs))

    def _with_tools(self, tools: Sequence[BaseTool], given: dict[str, Any]) -> dict[str, Any]:
        parallel, required = given.pop("allow_parallel_tool_calls"), given.pop("tool_required")
        return tool_arguments(tools, given, parallel=parallel, required=required)

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> ChatResponse:
        # Not every model can be told to make one call at a time.
        return response if allow_parallel_tool_calls else forced_single(response)
