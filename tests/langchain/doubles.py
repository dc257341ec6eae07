"""What the LangChain tests need again and again: own chat models, routers over them or over the scripted server."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from router_integrations import Candidate
from router_integrations.langchain import RouterChatModel
from tests.wired import ABLE as ABLE
from tests.wired import BOTH as BOTH
from tests.wired import CHEAP as CHEAP
from tests.wired import DEAR as DEAR
from tests.wired import EASY as EASY
from tests.wired import HARD as HARD
from tests.wired import Seen

USAGE: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


class Own(BaseChatModel):
    """A user's own chat model: plays `replies` in turn, the last one for ever, and keeps what it was asked.

    An exception among the replies is raised; in a stream one can follow some words.
    """

    label: str = "own-1"
    provider: str = "acme"
    reports_usage: bool = True
    replies: list[Any] = Field(default_factory=lambda: [AIMessage("one two three")])
    asked: list[list[BaseMessage]] = Field(default_factory=list)
    settings: list[dict[str, Any]] = Field(default_factory=list)
    bound: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "own"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"label": self.label}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {"ls_provider": self.provider, "ls_model_name": self.label, "ls_model_type": "chat"}

    def _next(self, messages: list[BaseMessage], settings: dict[str, Any]) -> Any:
        self.asked.append(list(messages))
        self.settings.append(settings)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def _finished(self, reply: AIMessage) -> AIMessage:
        metadata = {"model_name": self.label, "model_provider": self.provider, **reply.response_metadata}
        usage = dict(reply.usage_metadata or USAGE) if self.reports_usage else None
        return reply.model_copy(update={"response_metadata": metadata, "usage_metadata": usage, "id": None})

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        reply = self._next(messages, {**kwargs, "stop": stop})
        if isinstance(reply, Exception):
            raise reply
        return ChatResult(generations=[ChatGeneration(message=self._finished(reply))])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._next(messages, {**kwargs, "stop": stop})
        if isinstance(reply, Exception):
            raise reply
        words = str(reply.content).split(" ") if reply.content else []
        for index, word in enumerate(words):
            yield ChatGenerationChunk(message=AIMessageChunk(word if index == 0 else f" {word}"))
        if isinstance(fault := reply.additional_kwargs.get("fault"), Exception):
            raise fault
        whole = self._finished(reply)
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                "",
                tool_calls=whole.tool_calls,
                response_metadata=whole.response_metadata,
                usage_metadata=whole.usage_metadata,
            )
        )

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        self.bound.append({"tools": list(tools), **kwargs})
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)


class Runs(BaseCallbackHandler):
    """Keeps every run that starts, with how it ended."""

    def __init__(self) -> None:
        self.started: dict[Any, dict[str, Any]] = {}
        self.tokens: list[str] = []

    def _start(self, kind: str, serialized: Any, run_id: Any, parent_run_id: Any, **kwargs: Any) -> None:
        self.started[run_id] = {"kind": kind, "id": run_id, "parent": parent_run_id, "end": None, **kwargs}

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self._start("chain", serialized, run_id, parent_run_id, **kw)

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: Any, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self._start("model", serialized, run_id, parent_run_id, **kw)

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_chain_end(self, outputs: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.started[run_id] |= {"end": "ok", "output": outputs}

    def on_llm_end(self, response: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.started[run_id] |= {"end": "ok", "output": response}

    def on_chain_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        self.started[run_id] |= {"end": "error", "error": error}

    def on_llm_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        self.started[run_id] |= {"end": "error", "error": error}

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [run for run in self.started.values() if run["kind"] == kind]

    @property
    def models(self) -> list[tuple[str, str]]:
        """The model that each chat-model run names, and how the run ended, in order."""
        return [(run["metadata"]["ls_model_name"], run["end"]) for run in self.of("model")]


class Wire(Seen):
    """The scripted server as one test sees it, with routers over it."""

    def router(self, *, small: Any = None, big: Any = None, **options: Any) -> RouterChatModel:
        """Return a router over "small" and "big"."""
        pool = [
            self.candidate("openai/small", **(small or {})),
            self.candidate("openai/big", **{**DEAR, **(big or {})}),
        ]
        return RouterChatModel(candidates=pool, **options)


def router_over(small: BaseChatModel, big: BaseChatModel, **options: Any) -> RouterChatModel:
    """Return a router over two own models."""
    pool = [Candidate("small", model=small, **CHEAP), Candidate("big", model=big, **DEAR)]
    return RouterChatModel(candidates=pool, **options)


def trace_of(message: Any) -> dict[str, Any]:
    trace: dict[str, Any] = message.response_metadata["router"]
    return trace


def whole(chunks: Any) -> Any:
    """Add up the chunks of a stream."""
    first, *rest = chunks
    for chunk in rest:
        first = first + chunk
    return first


async def ask(model: Any, way: str, config: Any = None) -> Any:
    """Ask the hard question in one of the four ways; return the whole answer."""
    match way:
        case "invoke":
            return model.invoke(HARD, config)
        case "ainvoke":
            return await model.ainvoke(HARD, config)
        case "stream":
            return whole(model.stream(HARD, config))
    return whole([chunk async for chunk in model.astream(HARD, config)])


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b
