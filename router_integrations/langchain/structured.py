"""What `RouterChatModel.with_structured_output` returns."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import ConfigDict

from router_integrations.langchain.binding import BINDING, SchemaBinding

if TYPE_CHECKING:
    pass


class StructuredRouter(RunnableSerializable[LanguageModelInput, Any]):
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

    def bind_tools(self, *args: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Refuse: a schema is bound already.

        Raises:
            TypeError: Always; it names the right order.
        """
        raise TypeError(
            "bind_tools after with_structured_output has no meaning; bind the tools on the router itself and pass "
            "response_format= there: router.bind_tools(tools, response_format=schema)"
        )
