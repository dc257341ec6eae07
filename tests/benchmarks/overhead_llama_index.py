"""What `overhead.py --framework llama-index` measures: an LLM that answers at once, and `RouterLLM` over two of it."""

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import FunctionTool
from measuring import (
    CONCURRENT,
    text,
)

from router_integrations import Candidate, Fixed
from router_integrations.llama_index import LiteLLMModel, RouterLLM
from router_integrations.testing.replies import Reply
from router_integrations.testing.server import ScriptedServer

# LiteLLM would fetch it.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# By default it lets 500 calls go to one host at a time, and the others wait.
os.environ["AIOHTTP_CONNECTOR_LIMIT_PER_HOST"] = str(CONCURRENT)

BARE, FIXED, DIFFICULTY = "bare LLM", "RouterLLM, Fixed", "RouterLLM, Difficulty"
OURS, THEIRS, OVER_LITELLM = (
    "LiteLLMModel, no router",
    "llama-index-llms-litellm, no router",
    "RouterLLM, Difficulty, over LiteLLM ids",
)
SERVED = ("gpt-4o-mini", "gpt-4o")
CHUNKS, TOKENS, MESSAGES = 200, 2000, 50
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Fake(FunctionCallingLLM):
    """Answers after `delay` seconds with the last word that it was told; streams 200 chunks at once."""

    model: str = "gpt-4o-mini"
    delay: float = 0.0

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model, is_chat_model=True, is_function_calling_model=True)

    def _said(self, messages: Sequence[ChatMessage]) -> ChatResponse:
        word = (messages[-1].content or "").rpartition(" ")[2]
        return ChatResponse(message=ChatMessage(word, role="assistant"), raw={"model": self.model, "usage": USAGE})

    def _pieces(self) -> Iterator[ChatResponse]:
        for count in range(1, CHUNKS + 1):
            yield ChatResponse(message=ChatMessage(" word" * count, role="assistant"), delta=" word")

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._said(messages)

    @llm_chat_callback()
    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        if self.delay:
            await asyncio.sleep(self.delay)
        return self._said(messages)

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        return (piece for piece in self._pieces())

    @llm_chat_callback()
    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        async def pieces() -> AsyncIterator[ChatResponse]:
            for piece in self._pieces():
                yield piece

        return pieces()

    def complete(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    acomplete = stream_complete = astream_complete = complete

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        # As LlamaIndex's own integrations do it.
        return {"messages": chat_history, "tools": [one.metadata.to_openai_tool() for one in tools]}

    def get_tool_calls_from_response(self, response: Any, *args: Any, **kwargs: Any) -> list[ToolSelection]:
        return []


def models(*, delay: float = 0.0, manager: CallbackManager | None = None) -> dict[str, Any]:
    """Return the arms, their LLMs taking `delay` seconds, with a callback manager if there is one."""

    def fake(model: str) -> Fake:
        return Fake(model=model, delay=delay)

    def router(**strategy: Any) -> RouterLLM:
        pool = [Candidate("a", model=fake("gpt-4o-mini")), Candidate("b", model=fake("gpt-4o"))]
        return RouterLLM(candidates=pool, **strategy)

    made = {BARE: fake("gpt-4o-mini"), FIXED: router(strategy=Fixed(name="a")), DIFFICULTY: router()}
    for llm in made.values():
        if manager is not None:
            llm.callback_manager = manager
    return made


def short_prompt() -> list[ChatMessage]:
    return [ChatMessage(text(10))]


def long_prompt() -> list[ChatMessage]:
    # The number at the end takes some ten tokens.
    return [ChatMessage(text(TOKENS - 10))]


def conversation(turns: int) -> list[ChatMessage]:
    history: list[ChatMessage] = []
    for _ in range(turns - 1):
        history += ChatMessage(text(20)), ChatMessage(text(20), role="assistant")
    return [*history, ChatMessage(text(20))]


def history() -> list[ChatMessage]:
    return [ChatMessage("Be kind.", role="system"), *conversation(MESSAGES // 2)]


def tools(count: int) -> list[FunctionTool]:
    def weather(city: str) -> str:
        return city

    return [FunctionTool.from_defaults(weather, name=f"tool{one}", description=text(12)) for one in range(count)]


class Heard(BaseEventHandler):
    """Looks at each event, as a tracer does."""

    events: int = 0

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.events += 1


@contextmanager
def handlers() -> Iterator[CallbackManager]:
    """Count tokens and listen to the dispatcher in the block."""
    root, before = get_dispatcher(), list(get_dispatcher().event_handlers)
    root.add_event_handler(Heard())
    try:
        yield CallbackManager([TokenCountingHandler(tokenizer=str.split)])
    finally:
        root.event_handlers = before


Ways = Mapping[str, tuple[Callable[[], Any], str, Mapping[str, Any]]]


def ways() -> Ways:
    """Return what is asked, by name: the prompt, the method without its `a`, and its arguments."""
    asked = {"tools": tools(8)}
    return {
        "`chat`, short prompt": (short_prompt, "chat", {}),
        f"`chat`, {TOKENS:,} tokens": (long_prompt, "chat", {}),
        f"`chat`, {MESSAGES} messages": (history, "chat", {}),
        "`chat_with_tools`, 8 tools": (short_prompt, "chat_with_tools", asked),
    }


def called(llm: Any, method: str, given: Mapping[str, Any]) -> Callable[[Any], Any]:
    ask = getattr(llm, method)
    return partial(_with_tools, ask, given["tools"]) if given else ask


def _with_tools(ask: Any, given: Any, messages: Any) -> Any:
    return ask(given, chat_history=messages)


def serve(answer: str, address: Any, stop: Any) -> None:
    """Answer over HTTP until told to stop; run in a process of its own."""
    with ScriptedServer() as server:
        for name in SERVED:
            server.script(name, Reply(text=answer), repeat=True)
        address.put(server.base_url)
        stop.wait()


@contextmanager
def served(answer: str) -> Iterator[str]:
    """Run the server in the block; its address."""
    spawn = multiprocessing.get_context("spawn")
    address, stop = spawn.Queue(), spawn.Event()
    process = spawn.Process(target=serve, args=(answer, address, stop))
    process.start()
    try:
        yield address.get(timeout=60)
    finally:
        stop.set()
        process.join()


def over_litellm(**params: Any) -> dict[str, Callable[[Any], Any]]:
    """Return `achat` over LiteLLM's client, each call of it with `params`."""
    pool = [Candidate(f"openai/{name}", params={"api_key": "none", **params}) for name in SERVED]
    calls = {OURS: LiteLLMModel(candidate=pool[0]).achat, OVER_LITELLM: RouterLLM(candidates=pool).achat}
    try:
        from llama_index.llms.litellm import LiteLLM
    except ImportError:
        return calls
    theirs = LiteLLM(pool[0].id, api_key="none", max_retries=0, additional_kwargs=params)
    return {THEIRS: theirs.achat, **calls}
