"""Both adapters decide alike: the same requests go to the same candidates, in as many attempts, at the same cost."""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from router_integrations import Best, Candidate, Fixed, Limits
from router_integrations.errors import RouterError
from router_integrations.estimators import TokenConfidence
from router_integrations.langchain import RouterChatModel
from router_integrations.llama_index import RouterLLM
from router_integrations.strategies import AgreementCascade, BestOfN, Cascade, CascadeRouting
from router_integrations.testing.llama_index.blocks import PNG
from router_integrations.testing.llama_index.tools import weather
from router_integrations.testing.replies import Fault, Reply, Step
from router_integrations.testing.server import ScriptedServer

EASY = "What is the capital of France?"
HARD = "Prove that there are infinitely many primes, and compare two proofs step by step."
USAGE = {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49}
SURE = Reply(text="It is Paris", logprobs=(-0.01, -0.01, -0.01), usage=USAGE)
UNSURE = Reply(text="It is Lyon", logprobs=(-2.0, -2.0, -2.0), usage=USAGE)
DOWN = Fault("status", status=503)
TOOL = FunctionTool.from_defaults(weather)
# What differs from run to run, and each framework's own words for an answer that breaks a schema.
_CHANGING = {"decide_us", "latency", "first_token", "message"}


class Person(BaseModel):
    """A person."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request, as both frameworks can put it.

    Args:
        turns: Role and text of each message; a "call" is an assistant's of the weather tool, an "image" a user's.
        strategy: Who decides.
        tools: Whether the weather tool is offered.
        structured: Whether a `Person` is asked for.
        scripts: What each candidate says.
        options: Further options of both routers.
        settings: Settings of the call.
    """

    turns: tuple[tuple[str, str], ...]
    strategy: Any = field(default_factory=Best)
    tools: bool = False
    structured: bool = False
    scripts: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def _said(text: str) -> tuple[tuple[str, str], ...]:
    return (("user", text),)


_HISTORY = (("system", "Be short."), ("user", HARD), ("assistant", "There are."), ("user", "And the capital?"))
_LOOP = (("user", "How is the weather in 'Oslo'?"), ("call", "Oslo"), ("result", "It is sunny in Oslo."))
_LOGPROBS = {"options": {}, "settings": {"logprobs": True}}
CASES = {
    "easy": Case(turns=_said(EASY)),
    "hard": Case(turns=_said(HARD)),
    "unicode": Case(turns=_said("请证明根号二是无理数。🙂")),
    "code": Case(turns=_said("def f(x):\n    return {x: [x]}\nWhat does f do?")),
    "empty": Case(turns=_said(" ")),
    "long": Case(turns=_said("word " * 9_000)),
    "history": Case(turns=_HISTORY),
    "context turns": Case(turns=_HISTORY, options={"context_turns": 1}),
    "fixed": Case(turns=_said(EASY), strategy=Fixed(name="big")),
    "forced": Case(turns=_said(EASY), settings={"model": "big"}),
    "limit": Case(turns=_said(EASY), settings={"max_tokens": 3}),
    "tools": Case(turns=_said("How is the weather in 'Oslo'?"), tools=True),
    "tool loop": Case(turns=_LOOP, tools=True),
    "tool loop without tools": Case(turns=_LOOP),
    "image": Case(turns=(("image", "What is this?"),)),
    "image of long ago": Case(turns=(("image", "What is this?"), ("assistant", "A dot."), ("user", EASY))),
    "structured": Case(turns=_said("Who is 'Ada'?"), structured=True),
    "structured history": Case(turns=(*_HISTORY[:3], ("user", "Who is 'Ada'?")), structured=True),
    "structured after junk": Case(
        turns=_said("Who is 'Ada'?"), structured=True, scripts={"small": (Reply(text="No"),)}
    ),
    "down": Case(turns=_said(EASY), scripts={"small": (DOWN,)}),
    "all down": Case(turns=_said(EASY), scripts=dict.fromkeys(("small", "eyes", "big"), (DOWN,))),
    "too dear": Case(turns=_said(EASY), options={"limits": Limits(budget=1e-12)}),
    "cascade": Case(turns=_said(EASY), strategy=Cascade()),
    "cascade of a hard one": Case(turns=_said(HARD), strategy=Cascade()),
    "cascade that accepts": Case(
        turns=_said(EASY), strategy=Cascade(estimator=TokenConfidence()), scripts={"small": (SURE,)}, **_LOGPROBS
    ),
    "cascade that goes on": Case(
        turns=_said(EASY),
        strategy=Cascade(estimator=TokenConfidence()),
        scripts={"small": (UNSURE,), "eyes": (UNSURE,), "big": (SURE,)},
        **_LOGPROBS,
    ),
    "cascade with tools": Case(turns=_said("How is the weather in 'Oslo'?"), strategy=Cascade(), tools=True),
    "cascade in a tool loop": Case(turns=_LOOP, strategy=Cascade(), tools=True),
    "cascade of objects": Case(turns=_said("Who is 'Ada'?"), strategy=Cascade(), structured=True),
    "cascade routing": Case(turns=_said(HARD), strategy=CascadeRouting()),
    "agreement": Case(turns=_said(EASY), strategy=AgreementCascade(levels=[{"small": 1, "eyes": 1}, {"big": 1}])),
    "best of n": Case(turns=_said(EASY), strategy=BestOfN()),
}


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def pool(server: ScriptedServer) -> list[Candidate]:
    params = {"api_base": server.base_url, "api_key": "sk-test"}
    able = {"params": params, "tools": True, "tool_choice": True, "schema": True, "max_retries": 0}
    return [
        Candidate("openai/small", name="small", input_price=1e-7, output_price=4e-7, context_window=8_000, **able),
        Candidate("openai/eyes", name="eyes", input_price=1e-6, output_price=4e-6, vision=True, **able),
        Candidate("openai/big", name="big", input_price=3e-6, output_price=1e-5, context_window=200_000, **able),
    ]


def _langchain(role: str, text: str) -> Any:
    if role == "image":
        url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        return HumanMessage([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}])
    if role == "call":
        return AIMessage("", tool_calls=[{"name": "weather", "args": {"city": text}, "id": "call_1"}])
    if role == "result":
        return ToolMessage(text, tool_call_id="call_1")
    return {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}[role](text)


def _llama_index(role: str, text: str) -> ChatMessage:
    if role == "image":
        return ChatMessage(role="user", blocks=[TextBlock(text=text), ImageBlock(image=PNG)])
    if role == "call":
        call = ToolCallBlock(tool_call_id="call_1", tool_name="weather", tool_kwargs={"city": text})
        return ChatMessage(role="assistant", blocks=[call])
    if role == "result":
        return ChatMessage(role="tool", content=text, additional_kwargs={"tool_call_id": "call_1"})
    return ChatMessage(role=role, content=text)


def ask_langchain(router: RouterChatModel, case: Case, way: str) -> None:
    messages = [_langchain(*turn) for turn in case.turns]
    model: Any = router
    if case.tools:
        model = router.bind_tools([TOOL.metadata.to_openai_tool()])
    if case.structured:
        # As LlamaIndex's programs do.
        model = router.with_structured_output(Person, method="function_calling")

    async def astream() -> None:
        async for _ in model.astream(messages, **case.settings):
            pass

    match way:
        case "whole":
            model.invoke(messages, **case.settings)
        case "async":
            asyncio.run(model.ainvoke(messages, **case.settings))
        case "stream":
            list(model.stream(messages, **case.settings))
        case _:
            asyncio.run(astream())


def ask_llama_index(router: RouterLLM, case: Case, way: str) -> None:
    messages = [_llama_index(*turn) for turn in case.turns]
    name = {"whole": "{}", "async": "a{}", "stream": "stream_{}", "async stream": "astream_{}"}[way]
    if case.structured:
        method, arguments = "structured_predict", (Person, ChatPromptTemplate(message_templates=messages))
        options = {"llm_kwargs": case.settings}
    elif case.tools:
        method, arguments = "chat_with_tools", ([TOOL],)
        options = {"chat_history": messages, **case.settings}
    else:
        method, arguments, options = "chat", (messages,), case.settings
    call = getattr(router, name.format(method))

    async def aask() -> None:
        answer = await call(*arguments, **options)
        if "stream" in name:
            async for _ in answer:
                pass

    if name.startswith("a"):
        asyncio.run(aask())
    elif "stream" in name:
        list(call(*arguments, **options))
    else:
        call(*arguments, **options)


def steady(told: Any) -> Any:
    """What a trace tells, without clocks."""
    if isinstance(told, dict):
        return {name: steady(value) for name, value in told.items() if name not in _CHANGING}
    # A stream of LangChain's parsers that finds no object is empty, whatever was said.
    return [steady(one) for one in told] if isinstance(told, list) else {"schema": "malformed"}.get(told, told)


def story(server: ScriptedServer, cls: Any, ask: Any, case: Case, way: str) -> Any:
    """What one router decided and paid, whom the server heard, and the error."""
    for name in ("small", "eyes", "big"):
        server.script(name, *case.scripts.get(name, ()))
    traces: list[Any] = []
    router = cls(candidates=pool(server), strategy=case.strategy, on_trace=traces.append, **case.options)
    before = len(server.requests)
    error = ""
    try:
        ask(router, case, way)
    except RouterError as failure:
        error = type(failure).__name__.removeprefix("LangChain")
        traces = traces or [failure.trace]
    (trace,) = traces
    # Calls that are made at once arrive in any order.
    asked = sorted(request.model for request in server.requests[before:])
    return steady(trace.as_dict()) if trace else None, asked, error


@pytest.mark.parametrize("way", ["whole", "async", "stream", "async stream"])
@pytest.mark.parametrize("name", CASES)
def test_both_adapters_decide_alike(server: ScriptedServer, name: str, way: str) -> None:
    case = CASES[name]
    one = story(server, RouterChatModel, ask_langchain, case, way)
    other = story(server, RouterLLM, ask_llama_index, case, way)

    assert other == one
    assert one[1] or one[2], "nobody was asked, and nothing failed"


@pytest.mark.parametrize("saver", [RouterChatModel, RouterLLM])
@pytest.mark.parametrize(
    "strategy", [Best(), Cascade(accept=0.6), Fixed(name="big")], ids=lambda one: type(one).__name__
)
def test_one_saved_router_loads_in_both_and_decides_alike(
    server: ScriptedServer, tmp_path: Path, saver: Any, strategy: Any
) -> None:
    saver(candidates=pool(server), strategy=strategy, temperature=0.3, limits=Limits(max_calls=2)).save(tmp_path)
    langchain, llama_index = RouterChatModel.load(tmp_path), RouterLLM.load(tmp_path)

    assert langchain.temperature == llama_index.temperature == 0.3
    assert langchain.limits == llama_index.limits
    for text in (EASY, HARD, "你好"):
        one, other = langchain.explain(text), llama_index.explain(text)
        assert steady(other.as_dict()) == steady(one.as_dict())


def test_routers_of_both_share_health(server: ScriptedServer) -> None:
    server.script("small", Fault("status", status=429, retry_after=30))
    first = RouterChatModel(candidates=pool(server), strategy=Best())
    second = RouterLLM(candidates=pool(server), strategy=Best(), health=first.health)
    first.invoke(EASY)

    answer = second.complete(EASY)

    assert [attempt["candidate"] for attempt in answer.additional_kwargs["router"]["attempts"]] == ["eyes"]
