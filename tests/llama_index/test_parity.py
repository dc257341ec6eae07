"""One table of requests, decided by both adapters: same candidate, same attempts, same cost."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from router_integrations import Candidate
from router_integrations.langchain import RouterChatModel
from router_integrations.llama_index import RouterLLM
from router_integrations.strategies import Best, BestOfN, Cascade, JudgedCascade
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.trace import Trace
from tests.llama_index.llms import Line
from tests.wired import DEAR, EASY, HARD

IMAGE = "https://example.com/cat.png"
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
# Both a text and a call: a schema may be followed either way.
OBJECT = Reply(text='{"name": "Ada"}', tool_calls=(ToolCall(name="Person", arguments={"name": "Ada"}),), usage=USAGE)
BROKEN = Reply(text="{}", tool_calls=(ToolCall(name="Person"),), usage=USAGE)
FINE = Reply(text="Fine.", usage=USAGE)
CALLED = Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),), usage=USAGE)
SURE = Reply(text="one two", logprobs=(-0.01, -0.01), usage=USAGE)
UNSURE = Reply(text="one two", logprobs=(-3.0, -3.0), usage=USAGE)
DOWN = Fault("status", status=503)


class Person(BaseModel):
    """A person."""

    name: str


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


def system_and_history(last: str) -> tuple[Any, Any]:
    turns = [("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi"), ("user", last)]
    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    chain = [kinds[role](text) for role, text in turns]
    return chain, [ChatMessage(role=role, content=text) for role, text in turns]


def said(text: str) -> tuple[Any, Any]:
    return [HumanMessage(text)], [ChatMessage(content=text)]


def seen(text: str) -> tuple[Any, Any]:
    parts = [{"type": "text", "text": text}, {"type": "image", "url": IMAGE}]
    return [HumanMessage(parts)], [ChatMessage(blocks=[TextBlock(text=text), ImageBlock(url=IMAGE)])]


Ask = Callable[[RouterChatModel, RouterLLM, tuple[Any, Any]], None]


def plainly(chain: RouterChatModel, llama: RouterLLM, asked: tuple[Any, Any]) -> None:
    assert chain.invoke(asked[0]).text == llama.chat(asked[1]).message.content


def streamed(chain: RouterChatModel, llama: RouterLLM, asked: tuple[Any, Any]) -> None:
    shown = "".join(chunk.text for chunk in chain.stream(asked[0]))
    assert shown == "".join(response.delta for response in llama.stream_chat(asked[1]))


def with_tools(chain: RouterChatModel, llama: RouterLLM, asked: tuple[Any, Any]) -> None:
    called = chain.bind_tools([weather]).invoke(asked[0])
    answered = llama.chat_with_tools([FunctionTool.from_defaults(weather)], chat_history=asked[1])
    selected = llama.get_tool_calls_from_response(answered, error_on_no_tool_call=False)
    assert [call["args"] for call in called.tool_calls] == [call.tool_kwargs for call in selected]


def in_a_tool_loop(chain: RouterChatModel, llama: RouterLLM, asked: tuple[Any, Any]) -> None:
    bound, tools = chain.bind_tools([weather]), [FunctionTool.from_defaults(weather)]
    called = bound.invoke(asked[0], model="big")
    bound.invoke([*asked[0], called, ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])])
    answered = llama.chat_with_tools(tools, chat_history=asked[1], model="big")
    (call,) = llama.get_tool_calls_from_response(answered)
    result = ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id})
    llama.chat_with_tools(tools, chat_history=[*asked[1], answered.message, result])


def for_an_object(chain: RouterChatModel, llama: RouterLLM, asked: tuple[Any, Any]) -> None:
    predicted = llama.structured_predict(Person, ChatPromptTemplate(message_templates=asked[1]))
    assert chain.with_structured_output(Person).invoke(asked[0]) == predicted == Person(name="Ada")


class Row(NamedTuple):
    """A request.

    Args:
        asked: The messages, in LangChain's form and in LlamaIndex's.
        way: How both are asked.
        small: What the small candidate says.
        big: What the big one says.
        strategy: Decides.
        lacks: What the small candidate cannot do.
    """

    asked: tuple[Any, Any]
    way: Ask = plainly
    small: tuple[Any, ...] = (FINE,)
    big: tuple[Any, ...] = (FINE,)
    strategy: Callable[[], Any] = Best
    lacks: tuple[str, ...] = ()


def cascade() -> Any:
    return Cascade(order="given")


def judged() -> Any:
    return JudgedCascade(order="given", votes=3)


VERDICTS = tuple(Reply(text=text, usage=USAGE) for text in ("False", "False", "True"))
TABLE = {
    "easy": Row(said(EASY)),
    "hard": Row(said(HARD)),
    "easy, streamed": Row(said(EASY), streamed),
    "history": Row(system_and_history(EASY)),
    "history, hard": Row(system_and_history(HARD)),
    "the first is down": Row(said(EASY), small=(DOWN,)),
    "the first is down, streamed": Row(said(EASY), streamed, small=(DOWN,)),
    "tools": Row(said(EASY), with_tools, small=(CALLED,)),
    "tools that only one calls": Row(said(EASY), with_tools, big=(CALLED,), lacks=("tools",)),
    "a tool loop": Row(said(EASY), in_a_tool_loop, big=(CALLED, FINE)),
    "an image": Row(seen(EASY)),
    "an image that only one sees": Row(seen(EASY), lacks=("vision",)),
    "an object": Row(said(EASY), for_an_object, small=(OBJECT,)),
    "an object by a tool": Row(said(EASY), for_an_object, small=(OBJECT,), lacks=("schema",)),
    "an object by the provider": Row(said(EASY), for_an_object, small=(OBJECT,), lacks=("tools",)),
    "an object that only one gives": Row(said(EASY), for_an_object, big=(OBJECT,), lacks=("tools", "schema")),
    "an object that breaks its class": Row(said(EASY), for_an_object, small=(BROKEN,), big=(OBJECT,)),
    "a sure draft": Row(said(EASY), small=(SURE,), strategy=cascade),
    "an unsure draft": Row(said(EASY), small=(UNSURE,), strategy=cascade),
    "an unsure draft, streamed": Row(said(EASY), streamed, small=(UNSURE,), strategy=cascade),
    "a judged draft": Row(said(HARD), small=(FINE, *VERDICTS), strategy=judged),
    "a judged draft with tools": Row(said(HARD), with_tools, small=(FINE, *VERDICTS), strategy=judged),
    "the best of three": Row(said(EASY), small=(FINE, FINE, SURE), strategy=lambda: BestOfN(n=3)),
}


def told(trace: Trace) -> dict[str, Any]:
    """What must be the same; how tools and schemas are worded, and so how long they are, is each framework's own."""
    whole = trace.as_dict()
    same = ("candidate", "model", "reason", "alternatives", "rejected", "cost")
    attempts = []
    for one in whole["attempts"]:
        kept = {name: value for name, value in one.items() if name not in ("latency", "first_token", "finish_reason")}
        attempts.append({**kept, "error": (one["error"] or {}).get("family")})
    return {**{name: whole[name] for name in same}, "attempts": attempts}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_both_frameworks_decide_alike(line: Line, row: Row):
    small = line.candidate("openai/small", **{"vision": True, **dict.fromkeys(row.lacks, False)})
    pool: list[Candidate] = [small, line.candidate("openai/big", vision=True, **DEAR)]
    traces: dict[str, list[Trace]] = {"chain": [], "llama": []}
    chain = RouterChatModel(candidates=pool, strategy=row.strategy(), on_trace=traces["chain"].append)
    llama = RouterLLM(candidates=pool, strategy=row.strategy(), on_trace=traces["llama"].append)
    # Twice, for both ask.
    line.server.script("small", *row.small, *row.small)
    line.server.script("big", *row.big, *row.big)
    row.way(chain, llama, row.asked)
    assert traces["chain"]
    assert list(map(told, traces["chain"])) == list(map(told, traces["llama"]))
    if row.way in (plainly, streamed):
        counted, again = ([(t.input_tokens, t.estimates) for t in traces[name]] for name in traces)
        assert counted == again
