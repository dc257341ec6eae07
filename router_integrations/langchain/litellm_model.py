"""`LiteLLMChatModel`: one LiteLLM candidate as a LangChain chat model, with nothing between the two."""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from router_integrations import providers
from router_integrations.adapters.counting import count_request
from router_integrations.adapters.outgoing import (
    Outgoing,
    ToolChoice,
    can_force_tools,
    model_settings,
    openai_tool_choice,
)
from router_integrations.adapters.replies import bare_model
from router_integrations.candidates import Candidate
from router_integrations.langchain.chunks import ChunkReader
from router_integrations.langchain.convert import to_openai
from router_integrations.langchain.errors import langchain_errors
from router_integrations.langchain.output_schema import (
    Method,
    Tool,
    check_method,
    openai_tools,
    parser_for,
    response_format,
    tool_name,
    with_parser,
)
from router_integrations.langchain.profile import intersection
from router_integrations.langchain.replies import chat_result
from router_integrations.redact import redact
from router_integrations.tokens import token_ids


class LiteLLMChatModel(BaseChatModel):
    """One LiteLLM model as a LangChain chat model; each call is made once.

    Retries are the router's, or LangChain's `with_retry`: errors are `ProviderError`s and LangChain's `ModelError`s.

    Args:
        candidate: The model, with its own parameters.
        temperature: Sampling temperature, as the provider takes it.
        max_tokens: Longest answer, in tokens.
        timeout: Seconds that one call may take; the candidate's by default.
        stop: Stop sequences, for calls that give none.
        streaming: Whether `invoke` streams too, for callbacks that watch tokens.
        api_key: The provider's key; its environment variable by default.

    The candidate's own `params` win over these, and what a call gives wins over both.

    >>> LiteLLMChatModel(candidate=Candidate("openai/gpt-4o-mini")).profile["max_input_tokens"]
    128000
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    candidate: Candidate
    temperature: float | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    timeout: float | None = Field(default=None, gt=0)
    stop: list[str] | None = None
    streaming: bool = False
    api_key: SecretStr | None = None

    @property
    def _llm_type(self) -> str:
        return "router-integrations-litellm"

    @property
    def _settings(self) -> dict[str, Any]:
        own = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
            "api_key": self.api_key,
        }
        return model_settings(self.candidate, own)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "candidate": self.candidate.name,
            "model": self.candidate.id,
            "params": redact(self._settings),
        }

    def _resolve_model_profile(self) -> ModelProfile | None:
        known: Any = intersection([self.candidate])
        if "image_inputs" in known:
            known["image_url_inputs"] = known["image_inputs"]
        profile: Any = {"text_inputs": True, **known}
        return profile  # type: ignore[no-any-return]

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        settings = {**self._settings, **kwargs}
        params = LangSmithParams(
            ls_provider=self.candidate.provider or "litellm",
            ls_model_name=kwargs.get("model") or bare_model(self.candidate),
            ls_model_type="chat",
        )
        if settings.get("temperature") is not None:
            params["ls_temperature"] = settings["temperature"]
        if settings.get("max_tokens") is not None:
            params["ls_max_tokens"] = settings["max_tokens"]
        if stop or settings.get("stop"):
            params["ls_stop"] = stop or settings["stop"]
        return params

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Outgoing:
        if stop:
            kwargs = {**kwargs, "stop": stop}
        return Outgoing.of(self.candidate, {"timeout": self.timeout, **self._settings}, to_openai(messages), kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        with langchain_errors():
            reply = providers.complete(request.candidate, request.messages, request.params, request.timeout)
        return chat_result(reply, request.prompt)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        with langchain_errors():
            reply = await providers.acomplete(request.candidate, request.messages, request.params, request.timeout)
        return chat_result(reply, request.prompt)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk, None, None]:
        request = self._request(messages, stop, kwargs)
        reader = ChunkReader(request.prompt)
        source = providers.stream(request.candidate, request.messages, request.params, request.timeout)
        with langchain_errors(), closing(source):
            for chunk in source:
                if (message := reader.read(chunk)) is not None:
                    yield ChatGenerationChunk(message=message)
        if (last := reader.end()) is not None:
            yield ChatGenerationChunk(message=last)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        request = self._request(messages, stop, kwargs)
        reader = ChunkReader(request.prompt)
        source = providers.astream(request.candidate, request.messages, request.params, request.timeout)
        with langchain_errors():
            async with aclosing(source):
                async for chunk in source:
                    if (message := reader.read(chunk)) is not None:
                        yield ChatGenerationChunk(message=message)
        if (last := reader.end()) is not None:
            yield ChatGenerationChunk(message=last)

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: ToolChoice = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools.

        Args:
            tools: Functions, classes, LangChain tools, or definitions of any provider's form.
            tool_choice: "auto", "none", "any" or "required" (the same), a tool's name, or a provider's dict.
            strict: Whether calls must follow the tools' schemas to the letter; the provider's default if `None`.
            **kwargs: Sent with each call, such as `parallel_tool_calls` or `response_format`.

        Raises:
            RequestError: `tool_choice` names no tool.
        """
        formatted = openai_tools(tools, strict=strict)
        choice = openai_tool_choice(tool_choice, formatted)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return self.bind(tools=formatted, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Method | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Hold answers to a schema.

        Args:
            schema: A pydantic class, a `TypedDict` or a JSON schema with a title.
            method: "json_schema" where the candidate is known to support it and "function_calling" elsewhere, by
                default; "json_mode" asks for any JSON, so the prompt must describe it.
            include_raw: Return ``{"raw", "parsed", "parsing_error"}`` instead of the object.
            strict: Whether the provider must hold the model to the schema; its default if `None`.
            **kwargs: Sent with each call.

        Raises:
            RequestError: There is no such method.
        """
        method = check_method(method or ("json_schema" if self.candidate.schema else "function_calling"))
        traced = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        bound: Runnable[LanguageModelInput, AIMessage]
        if method == "function_calling":
            choice = tool_name(schema) if can_force_tools(self.candidate, {**self._settings, **kwargs}) else None
            bound = self.bind_tools(
                [schema], tool_choice=choice, strict=strict, ls_structured_output_format=traced, **kwargs
            )
        else:
            form = response_format(schema, method, strict=strict)
            bound = self.bind(response_format=form, ls_structured_output_format=traced, **kwargs)
        return with_parser(bound, parser_for(schema, method), include_raw=include_raw)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of `text`, offline; another tokenizer stands in for one that is not public."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return token_ids(text, self.candidate.id)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Tool] | None = None) -> int:
        """Return about how many tokens the messages and tools are, offline.

        Args:
            messages: The messages; an image counts as 800 tokens.
            tools: Tools to be sent with them.
        """
        return count_request(to_openai(messages), openai_tools(tools) if tools else None, self.get_num_tokens)
