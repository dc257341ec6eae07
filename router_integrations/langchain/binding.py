"""Tools and output schemas, kept as the caller gave them and replayed on the candidate that answers.

What a provider makes of a tool or a schema is its own chat model's business, and which one it is isn't known before
the decision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableSequence
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool

from router_integrations.errors import ConfigurationError
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Capability

# The call argument that carries a binding from `bind_tools` to the call.
BINDING = "router_binding"
_METHODS = ("function_calling", "json_mode", "json_schema")


@dataclass(frozen=True, slots=True)
class Replayed:
    """A binding on one candidate: whom to ask, and what turns its message into the caller's object, if anything.

    Without a `parser`, `whole` tells that the runnable answers a ``{"raw", "parsed", "parsing_error"}`` dict itself.
    """

    runnable: Runnable[Any, Any]
    parser: Runnable[Any, Any] | None = None
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What was bound; the last replay on each candidate is kept, for converting tools takes longer than deciding."""

    kwargs: Mapping[str, Any]
    _kept: dict[str, tuple[BaseChatModel, Replayed]] = field(default_factory=dict, repr=False, compare=False)

    def on(self, name: str, model: BaseChatModel) -> Replayed:
        """Return this binding replayed on the model of the candidate called `name`."""
        kept = self._kept.get(name)
        if kept is None or kept[0] is not model:
            kept = self._kept[name] = (model, self._replay(model))
        return kept[1]

    def _replay(self, model: BaseChatModel) -> Replayed:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ToolBinding(Binding):
    """Tools with their choice and whatever else was given to `bind_tools`."""

    tools: tuple[Any, ...]
    described: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, tools: Sequence[Any], kwargs: Mapping[str, Any]) -> ToolBinding:
        """Return a binding of `tools`; a provider's own tool that has no OpenAI form is described by itself."""
        return cls(tools=tuple(tools), kwargs=kwargs, described=tuple(_describe(tool) for tool in tools))

    @cached_property
    def tokens(self) -> int:
        """About how many tokens the tools take."""
        return estimate_tokens(json.dumps(self.described, default=str))

    def _replay(self, model: BaseChatModel) -> Replayed:
        return Replayed(model.bind_tools(list(self.tools), **self.kwargs))


@dataclass(frozen=True, kw_only=True)
class SchemaBinding(Binding):
    """A schema that the answer must follow, with whatever else was given to `with_structured_output`."""

    schema: Any
    described: Mapping[str, Any]
    include_raw: bool

    @classmethod
    def of(cls, schema: Any, kwargs: Mapping[str, Any], *, include_raw: bool) -> SchemaBinding:
        """Return a binding of `schema`.

        Raises:
            ConfigurationError: The method is not LangChain's.
        """
        method = kwargs.get("method")
        if method is not None and method not in _METHODS:
            raise ConfigurationError(f"method must be one of {list(_METHODS)} but got {method!r}")
        described = convert_to_json_schema(schema) if schema is not None else {}
        return cls(schema=schema, kwargs=kwargs, described=described, include_raw=include_raw)

    @property
    def need(self) -> Capability | None:
        """What a candidate must be able to do for it."""
        methods: dict[Any, Capability | None] = {
            "json_schema": "schema",
            "function_calling": "tools",
            "json_mode": None,
        }
        return methods.get(self.kwargs.get("method"), "structured")

    def _replay(self, model: BaseChatModel) -> Replayed:
        structured = model.with_structured_output(self.schema, **self.kwargs)
        if isinstance(structured, RunnableSequence):
            first, *rest = structured.steps
            return Replayed(first, rest[0] if len(rest) == 1 else RunnableSequence(*rest))
        return Replayed(model.with_structured_output(self.schema, include_raw=True, **self.kwargs), whole=True)


def _describe(tool: dict[str, Any] | type | Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return convert_to_openai_tool(tool)
    except ValueError:
        if isinstance(tool, dict):
            return tool
        raise
