"""Wrappers of a router that take tools and schemas as the router itself does, whatever the order.

LangChain's own wrappers either have no `bind_tools`, or hand it on to what they wrap and forget themselves: the setting
of ``model.bind(temperature=0).bind_tools(tools)`` would be lost without a word.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSerializable
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import RunnableConfigurableAlternatives
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.retry import RunnableRetry

from router_integrations.langchain.binding import BINDING
from router_integrations.trace import Trace

_Ours = TypeVar("_Ours", bound=RunnableSerializable[Any, Any])


class Wrappable(RunnableSerializable[Any, Any]):
    """Something that LangChain's wrappers go around without losing what is bound before or after."""

    def bind(self, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind settings of the call."""
        return as_ours(BoundRouter, super().bind(**kwargs))

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind a config."""
        return as_ours(BoundRouter, super().with_config(config, **kwargs))

    def with_listeners(self, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind listeners to the run."""
        return as_ours(BoundRouter, super().with_listeners(**kwargs))

    def with_types(self, *args: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind the types of input and output."""
        return as_ours(BoundRouter, super().with_types(*args, **kwargs))

    def with_retry(self, **kwargs: Any) -> Runnable[Any, Any]:
        """Make the whole request again when nobody answered it."""
        return as_ours(RetriedRouter, super().with_retry(**kwargs))

    def with_fallbacks(self, *args: Any, **kwargs: Any) -> RunnableWithFallbacks[Any, Any]:
        """Ask another runnable when nobody answered."""
        return as_ours(RouterWithFallbacks, super().with_fallbacks(*args, **kwargs))

    def configurable_alternatives(self, *args: Any, **kwargs: Any) -> RunnableSerializable[Any, Any]:
        """Let a config choose something else instead."""
        return as_ours(AlternativeRouters, super().configurable_alternatives(*args, **kwargs))


class SerializedAsTheirs:
    """A second base of LangChain's, by whose name the class is serialised: it does the same once all is bound."""

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return LangChain's own name for it."""
        return cls.__bases__[1].lc_id()  # type: ignore[attr-defined, no-any-return]


class _BindsInside(RunnableBindingBase[Any, Any], Wrappable):  # type: ignore[no-redef]
    """Whatever is bound late goes to what is wrapped; the wrapper stays around it."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind tools."""
        return self._around(self._inner.bind_tools(tools, **kwargs))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Hold answers to a schema."""
        return self._around(self._inner.with_structured_output(schema, **kwargs))

    def explain(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Trace:
        """Decide without calling anybody, what is bound counted in."""
        trace: Trace = self._inner.explain(input, self._merge_configs(config), **{**self.kwargs, **kwargs})
        return trace

    @property
    def _inner(self) -> Any:
        return self.bound

    def _around(self, bound: Any) -> Runnable[Any, Any]:
        # What was bound before gives way, as it does in LangChain.
        kwargs = {name: value for name, value in self.kwargs.items() if name != BINDING}
        return self.model_copy(update={"bound": bound, "kwargs": kwargs})


class BoundRouter(SerializedAsTheirs, RunnableBinding[Any, Any], _BindsInside):  # type: ignore[misc, no-redef]
    """A router with settings of the call or a config."""


class RetriedRouter(SerializedAsTheirs, RunnableRetry[Any, Any], _BindsInside):  # type: ignore[no-redef]
    """A router whose requests are made again when they fail."""


class RouterWithFallbacks(SerializedAsTheirs, RunnableWithFallbacks[Any, Any], Wrappable):
    """A router with something to ask when nobody answered; LangChain binds tools and schemas on both."""


class AlternativeRouters(SerializedAsTheirs, RunnableConfigurableAlternatives[Any, Any], Wrappable):
    """A router or something else, as a config says; all is bound on each of them."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind tools."""
        return self._each(lambda model: model.bind_tools(tools, **kwargs))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Hold answers to a schema."""
        return self._each(lambda model: model.with_structured_output(schema, **kwargs))

    def _each(self, change: Callable[[Any], Any]) -> Runnable[Any, Any]:
        def later(one: Any) -> Any:
            return change(one) if isinstance(one, Runnable) else lambda: change(one())

        alternatives = {key: later(one) for key, one in self.alternatives.items()}
        return self.model_copy(update={"default": change(self.default), "alternatives": alternatives})


def as_ours(cls: type[_Ours], made: Runnable[Any, Any]) -> _Ours:
    """Return LangChain's wrapper as our class of it."""
    return cls(**{name: getattr(made, name) for name in type(made).model_fields})  # type: ignore[attr-defined]
