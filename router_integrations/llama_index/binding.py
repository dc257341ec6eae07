"""Tools and output classes, kept as the caller gave them and replayed on the candidate that answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, TextBlock
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.output_parsers.pydantic import PydanticOutputParser
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.program.utils import create_flexible_model
from llama_index.core.tools import BaseTool
from pydantic import BaseModel
from pydantic_core import from_json

from router_integrations.candidates import Candidate
from router_integrations.llama_index.convert import openai_tools
from router_integrations.llama_index.litellm_llm import LiteLLMModel
from router_integrations.llama_index.tool_calls import selections
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Capability

# The call argument that carries a binding to the call.
BINDING = "router_binding"
# What `chat_with_tools` takes beside tools and conversation; all else is a setting of the call.
TOOL_OPTIONS = ("allow_parallel_tool_calls", "tool_required", "tool_choice")


@dataclass(frozen=True, slots=True)
class Replayed:
    """A call on one candidate's LLM: the name of the method without what stands before it, and its arguments.

    Args:
        llm: The LLM.
        method: ``"chat"`` or ``"chat_with_tools"``; an ``a``, a ``stream_`` or both go before it.
        args: Its positional arguments.
        kwargs: The others.
    """

    llm: LLM
    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def call(self, prefix: str) -> Any:
        """Call the method with `prefix` before its name."""
        return getattr(self.llm, prefix + self.method)(*self.args, **self.kwargs)


@dataclass(frozen=True, kw_only=True)
class ToolBinding:
    """Tools with whatever else was given to `chat_with_tools`.

    Args:
        tools: The caller's own.
        options: Those of `TOOL_OPTIONS` that were given.
    """

    tools: tuple[BaseTool, ...]
    options: Mapping[str, Any]

    @cached_property
    def described(self) -> tuple[Mapping[str, Any], ...]:
        """The tools in OpenAI's form."""
        return tuple(openai_tools(self.tools))

    @cached_property
    def tokens(self) -> int:
        """About how many tokens the tools take."""
        return estimate_tokens(json.dumps(self.described, default=str))

    def on(self, candidate: Candidate, llm: LLM, messages: list[ChatMessage], settings: Mapping[str, Any]) -> Replayed:
        """Return the call that asks `llm` with the tools."""
        if not self.tools or not isinstance(llm, FunctionCallingLLM):
            return Replayed(llm, "chat", (messages,), settings)
        return Replayed(
            llm, "chat_with_tools", (list(self.tools),), {"chat_history": messages, **self.options, **settings}
        )


@dataclass(frozen=True, kw_only=True)
class SchemaBinding:
    """A class that the answer must be an object of.

    A candidate is held to it by a tool where it calls tools, as LlamaIndex's programs do it; by its provider where that
    is known to do so; and by words elsewhere.

    Args:
        output_cls: The class.
        words_only: Whether the caller wants it done by words, whoever answers.
    """

    output_cls: type[BaseModel]
    words_only: bool = False

    @cached_property
    def described(self) -> Mapping[str, Any]:
        """The JSON schema."""
        return self.output_cls.model_json_schema()

    def need(self, candidates: Sequence[Candidate]) -> Capability | None:
        """Return what a candidate must be able to do for it: nothing when nobody can be held to a schema."""
        held = not self.words_only and any(candidate.structured for candidate in candidates)
        return "structured" if held else None

    def on(self, candidate: Candidate, llm: LLM, messages: list[ChatMessage], settings: Mapping[str, Any]) -> Replayed:
        """Return the call that asks `llm` for an object."""
        way = self._way(candidate, llm)
        if way == "schema":
            name = str(self.described.get("title") or self.output_cls.__name__)
            form = {"type": "json_schema", "json_schema": {"name": name, "schema": self.described}}
            return Replayed(llm, "chat", (messages,), {**settings, "response_format": form})
        if way == "tool":
            options = {"tool_required": True, "allow_parallel_tool_calls": False, **settings}
            tool = get_function_tool(self.output_cls)
            return Replayed(llm, "chat_with_tools", ([tool],), {"chat_history": messages, **options})
        return Replayed(llm, "chat", (self._in_words(messages),), settings)

    def parse(self, response: ChatResponse, llm: LLM) -> BaseModel:
        """Return the object of an answer.

        Raises:
            ValueError: There is none, or it breaks the schema.
        """
        if (arguments := _arguments(response, llm)) is not None:
            return self.output_cls.model_validate(arguments)
        parsed: BaseModel = PydanticOutputParser(output_cls=self.output_cls).parse(response.message.content or "")
        return parsed

    def partial(self, response: ChatResponse, llm: LLM, before: Any) -> Any:
        """Return the object as far as it has come; fields that have not are `None`.

        Args:
            response: The answer so far.
            llm: Whose.
            before: What this returned last; `None` at first.
        """
        with suppress(ValueError):
            return self.parse(response, llm)
        arguments = _arguments(response, llm)
        begun = _begun(response.message.content or "") if arguments is None else arguments
        if not begun and before is not None:
            return before
        return self._flexible.model_validate(begun)

    @cached_property
    def _flexible(self) -> type[BaseModel]:
        return create_flexible_model(self.output_cls)

    def _way(self, candidate: Candidate, llm: LLM) -> str:
        if self.words_only:
            return "words"
        calls = isinstance(llm, FunctionCallingLLM)
        if calls and candidate.tools:
            return "tool"
        if isinstance(llm, LiteLLMModel) and candidate.schema:
            return "schema"
        return "tool" if calls and candidate.tools is None else "words"

    def _in_words(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        *others, last = messages
        words = PydanticOutputParser(output_cls=self.output_cls).get_format_string(escape_json=False)
        return [*others, last.model_copy(update={"blocks": [*last.blocks, TextBlock(text=words)]})]


Binding = ToolBinding | SchemaBinding


def tool_calls(response: ChatResponse, llm: Any) -> list[Any]:
    """Return the tool calls of `llm`'s response, or of one that is still being streamed; none while they are half."""
    if found := selections(response, required=False):
        return found
    if not isinstance(llm, FunctionCallingLLM) or isinstance(llm, LiteLLMModel):
        return []
    try:
        return llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) or []
    except (ValueError, KeyError, NotImplementedError):
        return []


def _arguments(response: ChatResponse, llm: LLM) -> dict[str, Any] | None:
    calls = tool_calls(response, llm)
    return dict(calls[0].tool_kwargs) if calls else None


def _begun(text: str) -> dict[str, Any]:
    """Return the fields of an object whose JSON is still being written; none while nothing can be read."""
    try:
        found: Any = from_json(text[text.index("{") :], allow_partial="trailing-strings")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
