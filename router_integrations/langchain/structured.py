"""What takes tools and schemas, and what `with_structured_output` returns."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NoReturn

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.configurable import RunnableConfigurableFields
from langchain_core.tools import BaseTool
from pydantic import ConfigDict

from router_integrations.langchain.binding import BINDING, SchemaBinding, ToolBinding
from router_integrations.langchain.wrapping import SerializedAsTheirs, Wrappable, as_ours
from router_integrations.trace import Trace


class Bindable(Wrappable):
    """Something whose calls take a binding along."""

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools; whichever candidate answers binds them in its own way, all arguments untouched.

        Args:
            tools: In any form that the candidates' own `bind_tools` take.
            tool_choice: Passed on as it is.
            **kwargs: Passed on as they are.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(**{BINDING: ToolBinding.of(tools, kwargs)})

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Hold answers to a schema; whichever candidate answers does so in its own way.

        Args:
            schema: A pydantic class, a `TypedDict` or a JSON schema.
            include_raw: Return ``{"raw", "parsed", "parsing_error"}`` instead of the object.
            **kwargs: ``method``, ``strict`` and the like, for the candidate's own method.
        """
        return StructuredRouter(router=self, binding=SchemaBinding.of(schema, kwargs, include_raw=include_raw))

    def configurable_fields(self, **kwargs: Any) -> RunnableSerializable[Any, Any]:
        """Let a config set fields; what is bound, before or after, is bound on whichever router that makes."""
        return as_ours(ConfigurableRouter, super().configurable_fields(**kwargs))


class ConfigurableRouter(SerializedAsTheirs, RunnableConfigurableFields[Any, Any], Bindable):
    """A router some fields of which a config sets."""


class StructuredRouter(Wrappable):
    """A router whose answers are objects: each candidate is held to the schema in its own way.

    An answer that breaks the schema is a failed attempt, so the next candidate is asked.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    router: Any
    binding: SchemaBinding

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Return the parsed object, or the ``{"raw", "parsed", "parsing_error"}`` dict if that was asked for."""
        return self.router.invoke(input, config, **{**kwargs, BINDING: self.binding})

    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Async `invoke`."""
        return await self.router.ainvoke(input, config, **{**kwargs, BINDING: self.binding})

    def stream(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Yield the object as it grows, where the schema's parser can."""
        yield from self.router.stream(input, config, **{**kwargs, BINDING: self.binding})

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Async `stream`."""
        async for chunk in self.router.astream(input, config, **{**kwargs, BINDING: self.binding}):
            yield chunk

    def explain(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Trace:
        """Decide without calling anybody."""
        trace: Trace = self.router.explain(input, config, **{**kwargs, BINDING: self.binding})
        return trace

    def bind_tools(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a schema is bound already.

        Raises:
            TypeError: Always; it names the right order.
        """
        raise TypeError(
            "bind_tools after with_structured_output has no meaning; bind the tools on the router itself and pass "
            "response_format= there: router.bind_tools(tools, response_format=schema)"
        )

    def with_structured_output(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a schema is bound already.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a schema is bound already; call with_structured_output once, on the router itself")
