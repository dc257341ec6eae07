"""The router where chat models go: LCEL chains, agents with middleware, LangGraph, chats with a memory."""

from collections.abc import Callable
from typing import Any

import pytest
from doubles import EASY, HARD, USAGE, Own, Wire, add, router_over, trace_of, weather
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from pydantic import BaseModel

from router_integrations.errors import AllCandidatesFailed
from router_integrations.langchain import RouterChatModel
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.types import Attempt, Call, Request, Stop

DOWN = Fault("status", status=503)
ASK = "What is the weather in 'Oslo'?"
SAID = f"Here is a short answer to: {EASY}"


class Person(BaseModel):
    """A person."""

    name: str


class Drafts:
    """Asks the first candidate for a draft, then the second for the answer."""

    def decide(self, request: Request, attempts: tuple[Attempt, ...] = ()) -> Call | Stop:
        if attempts:
            return Call(candidate=request.candidates[1], final=True, reason="the draft was poor")
        return Call(candidate=request.candidates[0], reason="draft")


def words_shown(stream: Any) -> list[str]:
    return [message.text for message, _ in stream if isinstance(message, AIMessageChunk) and message.text]


# Chains


async def test_a_chain_answers_whole_streamed_and_in_batches(wire: Wire):
    chain = ChatPromptTemplate.from_template("{query}") | wire.router() | StrOutputParser()
    assert chain.invoke({"query": EASY}) == SAID
    assert await chain.ainvoke({"query": EASY}) == SAID
    assert "".join(chain.stream({"query": EASY})) == SAID
    assert "".join([piece async for piece in chain.astream({"query": EASY})]) == SAID
    queries = [{"query": EASY}, {"query": HARD}]
    assert chain.batch(queries) == await chain.abatch(queries)
    assert [await chain.ainvoke(query) for query in queries] == chain.batch(queries)


async def test_a_batch_routes_each_query_for_itself(wire: Wire):
    router = wire.router()
    queries = [EASY, HARD] * 3
    for answers in (router.batch(queries, {"max_concurrency": 3}), await router.abatch(queries)):
        assert [trace_of(answer)["candidate"] for answer in answers] == ["small", "big"] * 3


async def test_a_failure_in_a_batch_spares_the_others(wire: Wire):
    router = router_over(Own(), Own(replies=[ConnectionError("down")]))
    good, bad = router.batch([EASY, EASY], return_exceptions=True), router.bind(model="big")
    assert [type(answer) for answer in good] == [AIMessage, AIMessage]
    first, second = await bad.abatch([EASY, HARD], return_exceptions=True)
    assert isinstance(first, AllCandidatesFailed)
    assert isinstance(second, AllCandidatesFailed)


def test_chains_side_by_side_and_one_after_the_other(wire: Wire):
    router = wire.router()
    both = RunnableParallel(answer=router | StrOutputParser(), query=RunnablePassthrough())
    assert both.invoke(EASY) == {"answer": SAID, "query": EASY}
    chain = both | RunnableLambda(lambda found: f"Say it again: {found['answer']}") | router | StrOutputParser()
    assert chain.invoke(EASY) == f"Here is a short answer to: Say it again: {SAID}"


def test_a_streaming_parser_sees_the_tokens(wire: Wire):
    wire.server.script("small", Reply(text='{"name": "Ada", "born": 1815}'))
    grown = list((wire.router() | JsonOutputParser()).stream(EASY))
    assert len(grown) > 2
    assert grown[-1] == {"name": "Ada", "born": 1815}


# Agents


@pytest.fixture
def agent(wire: Wire) -> Any:
    return create_agent(wire.router(), [weather, add], system_prompt="Be kind.")


def assert_answered(messages: list[BaseMessage]) -> None:
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert messages[1].tool_calls[0]["args"] == {"city": "Oslo"}
    assert "It is sunny in Oslo." in messages[-1].text


async def test_an_agent_calls_its_tools_and_answers(wire: Wire, agent: Any):
    assert_answered(agent.invoke({"messages": ASK})["messages"])
    assert_answered((await agent.ainvoke({"messages": ASK}))["messages"])
    for request in wire.requests:
        assert request.body["messages"][0] == {"role": "system", "content": "Be kind."}
        assert [tool["function"]["name"] for tool in request.body["tools"]] == ["weather", "add"]


async def test_an_agent_streams_messages_updates_and_values(wire: Wire, agent: Any):
    shown = words_shown(agent.stream({"messages": ASK}, stream_mode="messages"))
    assert "".join(shown) == "The tool returned: It is sunny in Oslo."
    assert len(shown) == 8
    async_shown = [pair async for pair in agent.astream({"messages": ASK}, stream_mode="messages")]
    assert words_shown(async_shown) == shown
    steps = [list(update) for update in agent.stream({"messages": ASK}, stream_mode="updates")]
    assert steps == [["model"], ["tools"], ["model"]]
    *_, last = agent.stream({"messages": ASK}, stream_mode="values")
    assert_answered(last["messages"])
    modes = {mode for mode, _ in agent.stream({"messages": ASK}, stream_mode=["messages", "updates", "values"])}
    assert modes == {"messages", "updates", "values"}


async def test_an_agents_usage_counts_each_token_once_under_the_real_model(wire: Wire, agent: Any):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    call = Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),), usage=usage)
    for run in ("invoke", "stream", "ainvoke"):
        wire.server.script("small", call, Reply(text="Sunny.", usage=usage))
        with get_usage_metadata_callback() as seen:
            if run == "stream":
                list(agent.stream({"messages": ASK}, stream_mode="messages"))
            else:
                await agent.ainvoke({"messages": ASK}) if run == "ainvoke" else agent.invoke({"messages": ASK})
        counts = {model: (one["input_tokens"], one["output_tokens"]) for model, one in seen.usage_metadata.items()}
        assert counts == {"small": (20, 10)}


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
async def test_an_agent_with_tools_returns_an_object(wire: Wire, strategy: Any):
    agent = create_agent(wire.router(), [weather], response_format=strategy(Person))
    for result in (agent.invoke({"messages": "I am 'Ada'"}), await agent.ainvoke({"messages": "I am 'Ada'"})):
        assert result["structured_response"] == Person(name="Ada")
    body = wire.requests[0].body
    if strategy is ToolStrategy:
        assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]) == (
            ["weather", "Person"],
            "required",
        )
    else:
        assert body["response_format"]["json_schema"]["name"] == "Person"
        assert [tool["function"]["name"] for tool in body["tools"]] == ["weather"]


def test_a_wrong_object_is_told_to_the_model_and_made_again(wire: Wire):
    wrong = Reply(tool_calls=(ToolCall(name="Person", arguments={"age": 3}),))
    right = Reply(tool_calls=(ToolCall(name="Person", arguments={"name": "Ada"}),))
    wire.server.script("small", wrong, right)
    agent = create_agent(wire.router(), [], response_format=ToolStrategy(Person))
    assert agent.invoke({"messages": "I am 'Ada'"})["structured_response"] == Person(name="Ada")
    assert wire.models == ["small", "small"]


class Swap(AgentMiddleware):
    """Takes another model for the steps after a tool."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(self._swapped(request))

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return await handler(self._swapped(request))

    def _swapped(self, request: Any) -> Any:
        after_tool = isinstance(request.messages[-1], ToolMessage)
        return request.override(model=self.model, model_settings={"seed": 7}) if after_tool else request


async def test_middleware_can_swap_a_router_in_and_out(wire: Wire):
    plain = Own(replies=[AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}])])
    to_router = create_agent(plain, [weather], middleware=[Swap(wire.router())])
    assert_answered(to_router.invoke({"messages": ASK})["messages"])
    assert (wire.models, wire.last["seed"], len(wire.last["tools"])) == (["small"], 7, 1)
    done = Own(replies=[AIMessage("It is sunny in Oslo.")])
    to_plain = create_agent(wire.router(), [weather], middleware=[Swap(done)])
    assert_answered((await to_plain.ainvoke({"messages": ASK}))["messages"])
    assert len(done.bound[0]["tools"]) == 1


def test_summarization_middleware_counts_and_summarises_with_the_router(wire: Wire):
    router = wire.router(small={"context_window": 2000}, big={"context_window": 1000})
    middleware = SummarizationMiddleware(router, trigger=("fraction", 0.5), keep=("messages", 2))
    agent = create_agent(router, [], middleware=[middleware])
    long = [HumanMessage("word " * 300), AIMessage("word " * 300), HumanMessage(EASY)]
    messages = agent.invoke({"messages": long})["messages"]
    assert wire.models.count("small") + wire.models.count("big") == 2
    assert "summary" in messages[0].text.lower()
    assert len(messages) < 5


def test_fallback_middleware_moves_from_router_to_router(wire: Wire):
    for model in ("small", "big"):
        wire.server.script(model, DOWN)
    other = RouterChatModel(candidates=[wire.candidate("openai/other")])
    agent = create_agent(wire.router(), [weather], middleware=[ModelFallbackMiddleware(other)])
    assert_answered(agent.invoke({"messages": ASK})["messages"])
    assert wire.models == ["small", "big", "other", "small"]


async def test_retry_middleware_retries_what_langchain_calls_retryable(wire: Wire):
    for model in ("small", "big"):
        wire.server.script(model, DOWN, Reply(text="Here I am."))
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False, on_failure="error")
    agent = create_agent(wire.router(), [], middleware=[retry])
    assert (await agent.ainvoke({"messages": EASY}))["messages"][-1].text == "Here I am."
    assert wire.models == ["small", "big", "small"]


def test_a_call_limit_counts_the_routers_calls(wire: Wire):
    agent = create_agent(
        wire.router(), [weather], middleware=[ModelCallLimitMiddleware(run_limit=1, exit_behavior="end")]
    )
    messages = agent.invoke({"messages": ASK})["messages"]
    assert wire.models == ["small"]
    assert "limit" in messages[-1].text.lower()


def test_an_agents_tool_loop_stays_on_its_model_and_the_next_turn_is_free(wire: Wire):
    agent = create_agent(wire.router(), [weather], checkpointer=MemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": f"{HARD} And what is the weather in 'Oslo'?"}, thread)
    assert wire.models == ["big", "big"]
    agent.invoke({"messages": EASY}, thread)
    assert wire.models == ["big", "big", "small"]


# It moved to langchain.agents; what is out there still calls it here.
@pytest.mark.filterwarnings("ignore:create_react_agent has been moved:DeprecationWarning")
def test_the_old_react_agent_works_too(wire: Wire):
    agent = create_react_agent(wire.router(), [weather], response_format=Person)
    result = agent.invoke({"messages": [("user", f"I am 'Oslo'. {ASK}")]})
    assert_answered(result["messages"])
    assert isinstance(result["structured_response"], Person)


# LangGraph


def graph_over(model: Any) -> Any:
    def call(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async def acall(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", RunnableLambda(call, acall))
    graph.add_node("tools", ToolNode([weather]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=MemorySaver())


async def test_a_graph_with_tools_and_a_checkpointer(wire: Wire):
    graph = graph_over(wire.router().bind_tools([weather]))
    thread: Any = {"configurable": {"thread_id": "1"}}
    assert_answered(graph.invoke({"messages": ASK}, thread)["messages"])
    assert len((await graph.ainvoke({"messages": EASY}, thread))["messages"]) == 6
    again = graph.get_state(thread).values["messages"]
    assert [trace_of(one)["candidate"] for one in again if isinstance(one, AIMessage)] == ["small"] * 3


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_a_graph_shows_text_once_and_token_by_token(wire: Wire, mode: str):
    graph = graph_over(wire.router().bind_tools([weather]))
    thread: Any = {"configurable": {"thread_id": mode}}
    if mode == "invoke":
        shown = words_shown(graph.stream({"messages": EASY}, thread, stream_mode="messages"))
    else:
        shown = words_shown([pair async for pair in graph.astream({"messages": EASY}, thread, stream_mode="messages")])
    assert "".join(shown) == SAID


def test_a_graph_keeps_the_conversations_id_for_strategies(wire: Wire):
    seen: list[str | None] = []

    class Noting:
        def decide(self, request: Request, attempts: tuple[Attempt, ...] = ()) -> Call:
            seen.append(request.conversation_id)
            return Call(candidate=request.candidates[0], final=True)

    graph = graph_over(wire.router(strategy=Noting()))
    graph.invoke({"messages": EASY}, {"configurable": {"thread_id": "42"}})
    assert seen == ["42"]


async def test_drafts_are_hidden_and_billed(wire: Wire):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    wire.server.script("small", Reply(text="a poor draft", usage=usage), repeat=True)
    wire.server.script("big", Reply(text="the good answer", usage=usage), repeat=True)
    graph = graph_over(wire.router(strategy=Drafts()))
    with get_usage_metadata_callback() as seen:
        shown = words_shown(
            graph.stream({"messages": EASY}, {"configurable": {"thread_id": "1"}}, stream_mode="messages")
        )
        thread: Any = {"configurable": {"thread_id": "2"}}
        ashown = words_shown([pair async for pair in graph.astream({"messages": EASY}, thread, stream_mode="messages")])
    assert ("".join(shown), "".join(ashown)) == ("the good answer", "the good answer")
    assert {model: one["total_tokens"] for model, one in seen.usage_metadata.items()} == {"small": 30, "big": 30}
    answer = graph.get_state(thread).values["messages"][-1]
    assert trace_of(answer)["cost"] == pytest.approx((10 * 1e-7 + 5 * 4e-7) + (10 * 3e-6 + 5 * 1e-5))
    assert answer.usage_metadata["total_tokens"] == 15


def test_a_drafts_tokens_are_hidden_in_a_stream_of_the_router_itself(wire: Wire):
    wire.server.script("small", Reply(text="a poor draft"))
    wire.server.script("big", Reply(text="the good answer"))
    assert "".join(chunk.text for chunk in wire.router(strategy=Drafts()).stream(EASY)) == "the good answer"


# Tool loops


def opened(candidate: str, query: str = EASY) -> list[BaseMessage]:
    """Return a tool loop that a candidate began."""
    call = AIMessage(
        "",
        tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}],
        response_metadata={"router": {"candidate": candidate}},
    )
    return [HumanMessage(query), call, ToolMessage("sunny", tool_call_id="call_1")]


@pytest.mark.parametrize(("candidate", "query", "other"), [("big", EASY, "small"), ("small", HARD, "big")])
async def test_a_tool_loop_is_locked_whatever_the_difficulty_says(wire: Wire, candidate: str, query: str, other: str):
    bound = wire.router().bind_tools([weather])
    loop = opened(candidate, query)
    bound.invoke(loop)
    await bound.ainvoke(loop)
    list(bound.stream(loop))
    assert wire.models == [candidate] * 3
    bound.invoke([*loop, AIMessage("Sunny."), HumanMessage(query)])
    assert wire.models[3:] == [other]


def test_a_locked_model_that_fails_gives_way(wire: Wire):
    wire.server.script("big", DOWN)
    answer = wire.router().bind_tools([weather]).invoke(opened("big"))
    assert wire.models == ["big", "small"]
    assert trace_of(answer)["candidate"] == "small"


def test_a_loop_begun_by_somebody_unknown_locks_nobody(wire: Wire):
    wire.router().bind_tools([weather]).invoke(opened("gone"))
    assert wire.models == ["small"]


# Conversations


# LangChain would have memory in LangGraph; what is out there still uses these two.
@pytest.mark.filterwarnings("ignore:The class `InMemoryChatMessageHistory` was deprecated")
@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated")
def test_a_chat_with_a_memory_goes_on(wire: Wire):
    memory = InMemoryChatMessageHistory()
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be kind."), MessagesPlaceholder("past"), ("user", "{query}")]
    )
    chat = RunnableWithMessageHistory(
        prompt | wire.router(), lambda session: memory, input_messages_key="query", history_messages_key="past"
    )
    config: Any = {"configurable": {"session_id": "1"}}
    assert [trace_of(chat.invoke({"query": query}, config))["candidate"] for query in (EASY, HARD, "thanks")] == [
        "small",
        "big",
        "small",
    ]
    assert [message["role"] for message in wire.last["messages"]] == ["system"] + ["user", "assistant"] * 2 + ["user"]
    assert len(memory.messages) == 6


def test_the_system_prompt_does_not_make_a_query_hard(wire: Wire):
    wire.router().invoke([SystemMessage(HARD * 3), HumanMessage(EASY)])
    assert wire.models == ["small"]


def test_context_turns_make_the_turns_before_count(wire: Wire):
    talk = [HumanMessage(HARD), AIMessage("Done."), HumanMessage("hi")]
    assert wire.router().explain(talk).candidate == "small"
    assert wire.router(context_turns=1).explain(talk).candidate == "big"


def test_an_own_model_in_an_agent_gets_its_tools_and_counts_once():
    call = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}])
    small = Own(label="own-small", replies=[call, AIMessage("It is sunny in Oslo.")])
    agent = create_agent(router_over(small, Own()), [weather])
    with get_usage_metadata_callback() as seen:
        assert_answered(agent.invoke({"messages": ASK})["messages"])
    assert seen.usage_metadata["own-small"]["total_tokens"] == 2 * USAGE["total_tokens"]
    assert len(small.bound) == 2


def test_tool_results_in_anthropics_form_keep_the_loop_with_its_model(wire: Wire):
    asked = {"name": "look", "args": {}, "id": "call_1"}
    trace = {"router": {"candidate": "big", "model": "big"}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}
    begun = AIMessage("", tool_calls=[asked], response_metadata=trace)

    held = wire.router().explain([HumanMessage("Hi"), begun, ToolMessage("sunny", tool_call_id="call_1")])
    assert held.candidate == "big"
    assert wire.router().explain([HumanMessage("Hi"), begun, HumanMessage([result])]).candidate == "big"
