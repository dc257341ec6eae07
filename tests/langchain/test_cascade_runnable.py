"""CascadeRunnable over real chains and agents on the scripted server: what is shown, paid, traced and left running."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, TypedDict

import pytest
from doubles import CHEAP, DEAR, EASY, Own, Runs, Wire, weather, whole
from langchain.agents import create_agent
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.documents import Document
from langchain_core.exceptions import ModelAPIError, OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda, RunnablePassthrough
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from router_integrations import Candidate
from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    ConfigurationError,
    LimitExceeded,
    ProviderError,
    StrategyError,
    StreamInterrupted,
)
from router_integrations.estimators import Groundedness, SelfConsistency, TokenConfidence
from router_integrations.langchain import CascadeRunnable, LiteLLMChatModel
from router_integrations.limits import Limits
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.trace import Trace

WAYS = ["invoke", "ainvoke", "stream", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}
ASK = {"question": "Why is the sky blue?"}
UNSURE, SURE = Reply(text="Not sure.", usage=USAGE), Reply(text="Rayleigh scattering.", usage=USAGE)
DOWN = Fault("status", status=503)


def is_sure(question: Any, answer: Any) -> float:
    return 0.1 if "Not sure" in str(answer) else 0.9


def model(wire: Wire, name: str) -> LiteLLMChatModel:
    return LiteLLMChatModel(candidate=wire.candidate(f"openai/{name}"))


def chain(wire: Wire, name: str, parser: Any = None) -> Runnable[Any, Any]:
    return ChatPromptTemplate.from_template("{question}") | model(wire, name) | (parser or StrOutputParser())


def cascade(wire: Wire, **options: Any) -> CascadeRunnable:
    steps = [
        Candidate("small", model=chain(wire, "small"), **CHEAP),
        Candidate("big", model=chain(wire, "big"), **DEAR),
    ]
    return CascadeRunnable(steps=steps, **{"estimator": is_sure, **options})


async def ask(runnable: Any, way: str, input: Any = None, config: Any = None) -> Any:
    made = getattr(runnable, way)(ASK if input is None else input, config)
    if isinstance(made, AsyncIterator):
        return whole([chunk async for chunk in made])
    if way.startswith("a"):
        return await made
    return whole(made) if way == "stream" else made


def totals(handler: UsageMetadataCallbackHandler) -> dict[str, tuple[int, int]]:
    return {name: (one["input_tokens"], one["output_tokens"]) for name, one in handler.usage_metadata.items()}


def used(trace: Trace) -> list[tuple[int, int]]:
    return [(one.usage.input_tokens, one.usage.output_tokens) for one in trace.attempts if one.usage]


# What is shown, and what is paid


@pytest.mark.parametrize("way", WAYS)
async def test_a_poor_draft_is_paid_and_not_shown(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", SURE)
    traces: list[Trace] = []
    tokens = UsageMetadataCallbackHandler()
    answer = await ask(cascade(wire, on_trace=traces.append), way, config={"callbacks": [tokens]})
    (trace,) = traces

    assert answer == SURE.text
    assert [(one.call.candidate.name, one.model) for one in trace.attempts] == [("small", "small"), ("big", "big")]
    assert [one.cost for one in trace.attempts] == pytest.approx([PAID["small"], PAID["big"]])
    assert trace.reason == "'small' was not sure enough, 0.10 <= 0.70"
    assert totals(tokens) == {"small": (50, 10), "big": (50, 10)}
    assert used(trace) == [(50, 10), (50, 10)]
    # Only the last step is streamed: what may be thrown away is buffered.
    assert [bool(request.body.get("stream")) for request in wire.requests] == [False, way.endswith("stream")]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_estimators_see_the_documents_beside_an_answer(way: str) -> None:
    page = Document("Rayleigh scattering makes the sky blue.")
    made_up = RunnableLambda(lambda _: {"answer": "It reflects the sea.", "context": [page]})
    found = RunnableLambda(lambda _: {"answer": "Rayleigh scattering.", "context": [page]})
    steps = [Candidate(name, model=model) for name, model in (("a", made_up), ("b", found), ("c", made_up))]
    answer = await ask(CascadeRunnable(steps=steps, estimator=Groundedness()), way)

    assert answer["answer"] == "Rayleigh scattering."


@pytest.mark.parametrize("way", WAYS)
async def test_a_good_draft_is_the_answer(wire: Wire, way: str) -> None:
    wire.server.script("small", SURE)

    assert await ask(cascade(wire), way) == SURE.text
    assert wire.models == ["small"]


@pytest.mark.parametrize("way", WAYS)
async def test_abstaining_says_what_it_cost(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    with pytest.raises(Abstained, match="'small' was too unsure") as caught:
        await ask(cascade(wire, abstain={"small": 0.2}), way)

    assert wire.models == ["small"]
    assert caught.value.trace is not None and caught.value.trace.cost == pytest.approx(PAID["small"])


def test_the_last_step_streams_as_it_comes_and_a_message_stays_a_message(wire: Wire) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", SURE)
    steps = [Candidate(name, model=model(wire, name), **CHEAP) for name in ("small", "big")]
    chunks = list(CascadeRunnable(steps=steps, estimator=is_sure).stream("Why?"))

    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert [chunk.text for chunk in chunks if chunk.text] == SURE.tokens


@pytest.mark.parametrize("way", WAYS)
async def test_each_model_has_its_own_price_where_the_step_has_none(wire: Wire, way: str) -> None:
    wire.server.script("gpt-4o-mini", UNSURE)
    wire.server.script("unheard-of", SURE)
    traces: list[Trace] = []
    steps = [Candidate(name, model=chain(wire, name)) for name in ("gpt-4o-mini", "unheard-of")]
    await ask(CascadeRunnable(steps=steps, estimator=is_sure, on_trace=traces.append), way)

    assert traces[0].attempts[0].cost == pytest.approx(50 * 1.5e-7 + 10 * 6e-7)
    assert traces[0].attempts[1].cost is None and traces[0].cost is None
    assert used(traces[0]) == [(50, 10), (50, 10)]


def test_a_measured_cost_stands_in_where_no_tokens_tell() -> None:
    traces: list[Trace] = []
    steps = [Candidate("lookup", model=lambda _: "found")]
    CascadeRunnable(steps=steps, costs={"lookup": 0.002}, on_trace=traces.append).invoke("x")

    assert traces[0].cost == 0.002
    assert traces[0].estimates["lookup"].cost == 0.002


# Kinds of steps


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_is_a_step_and_all_its_calls_are_counted(wire: Wire, way: str) -> None:
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    wire.server.script("small", Reply(tool_calls=(call,), usage=USAGE), Reply(text="Sunny in Oslo.", usage=USAGE))
    wire.server.script("big", Reply(tool_calls=(call,), usage=USAGE), Reply(text="It is sunny.", usage=USAGE))
    traces: list[Trace] = []
    tokens = UsageMetadataCallbackHandler()
    seen: list[Any] = []

    def judge(question: Any, answer: Any) -> float:
        seen.append(answer["messages"][-1].text)
        return 0.1

    steps = [
        Candidate(name, model=create_agent(model(wire, name), [weather]), **price)
        for name, price in (("small", CHEAP), ("big", DEAR))
    ]
    agents = CascadeRunnable(steps=steps, estimator=judge, on_trace=traces.append)
    question = {"messages": [{"role": "user", "content": "Weather in Oslo?"}]}
    if way.endswith("invoke"):
        answer = await ask(agents, way, question, {"callbacks": [tokens]})
    else:
        made = getattr(agents, way)(question, {"callbacks": [tokens]})
        updates = [one async for one in made] if way == "astream" else list(made)
        answer = updates[-1]["model"]

    assert seen == ["Sunny in Oslo."]
    assert answer["messages"][-1].text == "It is sunny."
    assert wire.models == ["small", "small", "big", "big"]
    assert used(traces[0]) == [(100, 20), (100, 20)]
    assert totals(tokens) == {"small": (100, 20), "big": (100, 20)}
    assert traces[0].cost == pytest.approx(2 * PAID["small"] + 2 * PAID["big"])


def test_a_retrieval_chain_is_judged_by_its_answer(wire: Wire) -> None:
    wire.server.script("small", Reply(text="Paris is it.", logprobs=(-0.1, -0.1, -0.1)))
    rag = RunnablePassthrough.assign(context=lambda _: ["a page"]) | RunnablePassthrough.assign(
        answer=ChatPromptTemplate.from_template("{context} {question}")
        | LiteLLMChatModel(candidate=wire.candidate("openai/small", params={"logprobs": True}))
        | StrOutputParser()
    )
    traces: list[Trace] = []
    steps = [Candidate("rag", model=rag, **CHEAP), Candidate("big", model=chain(wire, "big"), **DEAR)]
    found = CascadeRunnable(steps=steps, estimator=TokenConfidence(), on_trace=traces.append).invoke(ASK)

    assert found["answer"] == traces[0].attempts[0].text == "Paris is it."
    assert traces[0].reason == "'rag' was sure enough, 0.90 > 0.70"


def test_a_litellm_id_and_a_plain_function_are_steps(wire: Wire) -> None:
    wire.server.script("big", SURE)
    steps = [Candidate("table", model=lambda _: "Not sure."), wire.candidate("openai/big")]

    assert CascadeRunnable(steps=steps, estimator=is_sure).invoke("Why?").text == SURE.text


@pytest.mark.parametrize("way", WAYS)
async def test_routers_and_cascades_are_steps_whose_models_are_counted_one_by_one(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE, repeat=True)
    wire.server.script("big", SURE)
    outer, inner, tokens = list[Trace](), list[Trace](), UsageMetadataCallbackHandler()
    routed = ChatPromptTemplate.from_template("{question}") | wire.router() | StrOutputParser()
    steps = [
        Candidate("router", model=routed, **CHEAP),
        Candidate("cascade", model=cascade(wire, on_trace=inner.append)),
    ]
    both = CascadeRunnable(steps=steps, estimator=is_sure, on_trace=outer.append)

    assert await ask(both, way, {"question": EASY}, {"callbacks": [tokens]}) == SURE.text
    assert [one.model for one in outer[0].attempts] == ["small", "small, big"]
    assert used(outer[0]) == [(50, 10), (100, 20)]
    assert used(inner[0]) == [(50, 10), (50, 10)]
    assert totals(tokens) == {"small": (100, 20), "big": (50, 10)}


@pytest.mark.parametrize("way", WAYS)
async def test_a_usage_that_nobody_knows_stays_unknown(way: str) -> None:
    traces: list[Trace] = []
    steps = [
        Candidate("silent", model=Own(reports_usage=False), **CHEAP),
        Candidate("silent too", model=Own(), **CHEAP),
    ]
    await ask(CascadeRunnable(steps=steps, estimator=lambda *_: 0.0, on_trace=traces.append), way, "Hi")

    assert [one.usage is None for one in traces[0].attempts] == [True, False]
    assert [one.cost is None for one in traces[0].attempts] == [True, False]


def test_the_text_of_a_draft_is_what_the_caller_says(wire: Wire) -> None:
    traces: list[Trace] = []
    steps = [Candidate("one", model=lambda _: {"body": "hello"}), Candidate("two", model=lambda _: "x")]
    CascadeRunnable(steps=steps, text=lambda output: str(output["body"]), on_trace=traces.append).invoke("Hi")

    assert traces[0].attempts[0].text == "hello"


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_an_answer_too(way: str) -> None:
    steps = [Candidate("none", model=RunnableLambda(lambda _: None)), Candidate("other", model=lambda _: "x")]

    assert await ask(CascadeRunnable(steps=steps, estimator=lambda *_: 1.0), way) is None


async def test_a_step_that_streams_nothings_streams_them_all() -> None:
    async def nothings(chunks: Any) -> AsyncIterator[None]:
        async for _ in chunks:
            yield None
            yield None

    steps = [Candidate("nothings", model=nothings)]

    assert [chunk async for chunk in CascadeRunnable(steps=steps).astream("x")] == [None, None]


# Failures


@pytest.mark.parametrize("way", WAYS)
async def test_a_draft_that_fails_is_followed_by_the_next_step(wire: Wire, way: str) -> None:
    wire.server.script("small", DOWN)
    wire.server.script("big", SURE)
    traces: list[Trace] = []

    assert await ask(cascade(wire, on_trace=traces.append), way) == SURE.text
    error = traces[0].attempts[0].error
    assert error is not None and error.family == "server"
    assert error.__cause__ is not error


@pytest.mark.parametrize("way", WAYS)
async def test_a_draft_that_cannot_be_parsed_is_paid(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", Reply(text='{"why": "scattering"}', usage=USAGE))
    traces: list[Trace] = []
    steps = [Candidate(name, model=chain(wire, name, JsonOutputParser()), **CHEAP) for name in ("small", "big")]
    made = getattr(CascadeRunnable(steps=steps, on_trace=traces.append), way)(ASK)
    answer = [one async for one in made] if way == "astream" else list(made) if way == "stream" else None
    answer = answer[-1] if answer else (await made if way == "ainvoke" else made)
    failed = traces[0].attempts[0]

    assert answer == {"why": "scattering"}
    assert failed.error is not None and failed.error.family == "schema"
    assert isinstance(failed.error.__cause__, OutputParserException)
    assert failed.cost == pytest.approx(PAID["small"])
    assert used(traces[0]) == [(50, 10), (50, 10)]


@pytest.mark.parametrize("way", WAYS)
async def test_when_the_last_step_is_down_the_draft_is_the_answer(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", DOWN)

    assert await ask(cascade(wire), way) == UNSURE.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [lambda *_: 1 / 0, lambda *_: 7, lambda *_: float("nan"), lambda *_: None])
async def test_an_estimator_that_fails_loses_nothing_that_was_paid(wire: Wire, way: str, bad: Any) -> None:
    wire.server.script("small", UNSURE)
    with pytest.raises(StrategyError, match=r"estimator function (failed: Zero|must return a number)") as caught:
        await ask(cascade(wire, estimator=bad), way)
    trace = caught.value.trace

    assert trace is not None and trace.cost == pytest.approx(PAID["small"])
    assert trace.attempts[0].native.value == UNSURE.text
    assert wire.models == ["small"]


@pytest.mark.parametrize("way", WAYS)
async def test_when_all_fail_the_error_is_langchains_too_and_has_the_trace(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", DOWN)
    traces: list[Trace] = []
    steps = [
        Candidate("parsed", model=chain(wire, "small", JsonOutputParser()), **CHEAP),
        Candidate("big", model=chain(wire, "big"), **DEAR),
    ]
    with pytest.raises(AllCandidatesFailed, match=r"'parsed': OutputParserException.*'big'") as caught:
        await ask(CascadeRunnable(steps=steps, on_trace=traces.append), way)

    assert isinstance(caught.value, ModelAPIError)
    assert isinstance(caught.value.__cause__, ProviderError)
    assert caught.value.trace == traces[0]
    assert traces[0].cost == pytest.approx(PAID["small"])


def test_what_a_step_raised_itself_is_kept() -> None:
    def broken(_: Any) -> str:
        raise KeyError("topic")

    with pytest.raises(AllCandidatesFailed, match="'own': KeyError: 'topic'") as caught:
        CascadeRunnable(steps=[Candidate("own", model=broken)]).invoke("x")

    assert caught.value.__cause__ is not None and isinstance(caught.value.__cause__.__cause__, KeyError)


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_breaks_is_not_begun_again(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", Fault("reset_stream", after_chunks=3))
    traces: list[Trace] = []
    with pytest.raises(StreamInterrupted):
        await ask(cascade(wire, on_trace=traces.append), way)

    assert [one.error is None for one in traces[0].attempts] == [True, False]


@pytest.mark.parametrize("way", WAYS)
async def test_when_the_budget_ends_the_best_draft_is_the_answer(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    traces: list[Trace] = []
    capped = cascade(wire, costs={"big": 0.5}, limits=Limits(budget=0.1), on_trace=traces.append)

    assert await ask(capped, way) == UNSURE.text
    assert wire.models == ["small"]
    assert traces[0].cost == pytest.approx(PAID["small"])


async def test_the_deadline_ends_a_step_that_hangs(wire: Wire) -> None:
    wire.server.script("small", Fault("hang"))
    aborted = wire.server.aborted
    with pytest.raises(LimitExceeded, match=r"the deadline of 0\.2 s passed"):
        await cascade(wire, limits=Limits(deadline=0.2)).ainvoke(ASK)

    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.aborted == aborted + 1)


# Cancellation


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
@pytest.mark.parametrize("hanging", ["small", "big"])
async def test_cancelling_leaves_nothing_running(wire: Wire, way: str, hanging: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script(hanging, Fault("hang"))
    aborted, runs = wire.server.aborted, Runs()
    task = asyncio.ensure_future(ask(cascade(wire), way, config={"callbacks": [runs]}))
    await asyncio.to_thread(wire.server.wait_until, lambda _: wire.models[-1:] == [hanging])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.aborted == aborted + 1)
    assert None not in [run["end"] for run in runs.of("chain")]
    left: list[Any] = [one.get_coro() for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    # LiteLLM's own worker runs for ever.
    assert [one for one in left if not one.__qualname__.startswith("LoggingWorker")] == []


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_reader_who_leaves_closes_the_connection(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", Reply(text=" ".join(map(str, range(400))), chunk_delay=0.05))
    traces: list[Trace] = []
    aborted = wire.server.aborted
    # Models, not chains: a sync chain that is closed early reads its model to the end, whoever runs it.
    steps = [Candidate(name, model=model(wire, name), **CHEAP) for name in ("small", "big")]
    chunks = getattr(CascadeRunnable(steps=steps, estimator=is_sure, on_trace=traces.append), way)("Why?")
    if way == "stream":
        first = next(chunks)
        chunks.close()
    else:
        first = await anext(chunks)
        await chunks.aclose()

    assert isinstance(first, AIMessageChunk)
    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.aborted == aborted + 1)
    assert [one.call.candidate.name for one in traces[0].attempts] == ["small", "big"]


async def test_a_slow_estimator_does_not_hold_up_the_event_loop(wire: Wire) -> None:
    wire.server.script("small", SURE)
    threads: list[int] = []

    def judge(question: Any, answer: Any) -> float:
        threads.append(threading.get_ident())
        return 1.0

    await cascade(wire, estimator=judge).ainvoke(ASK)

    assert threads and threads[0] != threading.get_ident()


# As a chain: runs, events, configs, types


@pytest.mark.parametrize("way", WAYS)
async def test_the_steps_are_child_runs_and_drafts_are_tagged(wire: Wire, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", SURE)
    runs = Runs()
    config = {"callbacks": [runs], "tags": ["mine"], "run_name": "answering", "metadata": {"team": "a"}}
    await ask(cascade(wire), way, config=config)
    root, *rest = runs.started.values()
    steps = [run for run in rest if run["parent"] == root["id"]]
    small, big = runs.of("model")

    assert (root["name"], root["end"]) == ("answering", "ok")
    assert [run["name"] for run in steps] == ["RunnableSequence", "RunnableSequence"]
    assert {"mine", "cascade:step:small", "nostream"} <= set(small["tags"])
    assert {"mine", "cascade:step:big"} <= set(big["tags"]) and "nostream" not in big["tags"]
    assert small["metadata"]["team"] == "a"
    assert runs.models == [("small", "ok"), ("big", "ok")]


@pytest.mark.parametrize("way", WAYS)
async def test_a_model_that_the_estimator_asks_is_a_child_run(wire: Wire, way: str) -> None:
    wire.server.script("small", SURE)
    wire.server.script("judge", Reply(text="1.0"))
    judge = model(wire, "judge")
    runs = Runs()
    await ask(cascade(wire, estimator=lambda *_: float(judge.invoke("Right?").text)), way, config={"callbacks": [runs]})
    root, *_ = runs.started.values()

    assert {run["parent"] for run in runs.of("model") if run["metadata"]["ls_model_name"] == "judge"} == {root["id"]}


async def test_events_come_once(wire: Wire) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", SURE)
    events = [event async for event in cascade(wire).astream_events(ASK, version="v2")]
    own = [event for event in events if event["name"] == "CascadeRunnable"]
    kinds = [event["event"] for event in own]

    assert (kinds.count("on_chain_start"), kinds.count("on_chain_end")) == (1, 1)
    assert "".join(event["data"]["chunk"] for event in own if event["event"] == "on_chain_stream") == SURE.text
    assert own[-1]["data"]["output"] == SURE.text
    shown = [e for e in events if e["event"] == "on_chat_model_stream" and "nostream" not in e["tags"]]
    assert "".join(event["data"]["chunk"].text for event in shown) == SURE.text


async def test_in_a_graph_only_the_answer_is_shown(wire: Wire) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", SURE)
    inner = cascade(wire)

    async def node(state: MessagesState) -> Any:
        return {"messages": [AIMessage(await inner.ainvoke(ASK))]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    shown = [one async for one, _ in graph.astream({"messages": []}, stream_mode="messages")]

    assert "".join(one.text for one in shown if isinstance(one, AIMessageChunk)) == SURE.text


def test_a_step_that_asks_a_human_pauses_the_graph() -> None:
    class State(TypedDict):
        said: str

    steps = [Candidate("human", model=lambda _: interrupt("May I?")), Candidate("other", model=lambda _: "no")]
    inner = CascadeRunnable(steps=steps)
    builder = StateGraph(State).add_node("node", lambda state: {"said": inner.invoke("x")}).add_edge(START, "node")
    graph = builder.compile(checkpointer=MemorySaver())
    paused = graph.invoke({"said": ""}, {"configurable": {"thread_id": "1"}})

    assert paused["__interrupt__"][0].value == "May I?"


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_a_batch_has_a_config_for_each_input(wire: Wire, way: str) -> None:
    wire.server.script("small", SURE, repeat=True)
    runs = [Runs(), Runs()]
    configs = [{"callbacks": [one], "tags": [f"item-{index}"]} for index, one in enumerate(runs)]
    made = getattr(cascade(wire), way)([ASK, ASK], configs)

    assert (await made if way == "abatch" else made) == [SURE.text] * 2
    for index, one in enumerate(runs):
        assert len(one.of("model")) == 1
        assert f"item-{index}" in one.of("model")[0]["tags"]


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_a_failure_in_a_batch_spares_the_others(way: str) -> None:
    def picky(word: str) -> str:
        if word == "bad":
            raise ValueError(word)
        return word

    picked = CascadeRunnable(steps=[Candidate("picky", model=picky)])
    made = getattr(picked, way)(["good", "bad"], return_exceptions=True)
    first, second = await made if way == "abatch" else made

    assert first == "good"
    assert isinstance(second, AllCandidatesFailed)


def test_it_is_a_link_of_a_chain(wire: Wire) -> None:
    wire.server.script("small", SURE, repeat=True)
    link = (lambda question: {"question": question}) | cascade(wire).with_config(tags=["x"]) | str.upper

    assert link.invoke("Why?") == SURE.text.upper()
    assert "".join(link.stream("Why?")) == SURE.text.upper()


def test_what_the_caller_binds_and_configures_reaches_the_steps(wire: Wire) -> None:
    wire.server.script("small", SURE, repeat=True)
    small = model(wire, "small").configurable_fields(temperature=ConfigurableField(id="heat"))
    asked = CascadeRunnable(steps=[Candidate("small", model=small, **CHEAP)])
    asked.bind(stop=["x"]).with_config(configurable={"heat": 0.25}).invoke("Why?")

    assert (wire.last["stop"], wire.last["temperature"]) == (["x"], 0.25)
    assert [spec.id for spec in asked.config_specs] == ["heat"]


def test_types_and_schemas_are_those_of_the_steps(wire: Wire) -> None:
    first, last = chain(wire, "small"), chain(wire, "big")
    both = cascade(wire)

    assert both.get_input_jsonschema() == first.get_input_jsonschema()
    assert both.get_output_jsonschema() == last.get_output_jsonschema()
    assert both.OutputType is last.OutputType is str
    assert both.InputType == first.InputType


# What is told when it is built


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": []}, "candidates is empty"),
        ({"steps": [Candidate("a", model=7)]}, "'a': model must be a runnable but got int"),
        ({"estimator": 0.5}, "must be an estimator or a plain function"),
        ({"estimator": SelfConsistency()}, r"needs \['samples'\], which steps don't give"),
        ({"accept": {"c": 0.5}}, r"accept names \['c'\]"),
        ({"costs": {"c": 0.5}}, r"costs names \['c'\]"),
        ({"costs": {"a": -1}}, "costs must be finite and at least 0"),
        ({"accept": 2}, r"Cascade.accept must be in \[0, 1\]"),
        ({"accept_above": 1}, "'accept_above' is no option of CascadeRunnable"),
    ],
)
def test_a_wrong_option_is_told_at_once(options: Any, message: str) -> None:
    steps = [Candidate("a", model=Own(), **CHEAP), Candidate("b", model=Own(), **DEAR)]
    with pytest.raises(ConfigurationError, match=message):
        CascadeRunnable(**{"steps": steps, **options})


def test_a_changed_option_counts() -> None:
    steps = [Candidate("draft", model=lambda _: "draft"), Candidate("last", model=lambda _: "last")]
    changed = CascadeRunnable(steps=steps, estimator=lambda *_: 0.5)
    changed.accept = 0.4

    assert changed.invoke("x") == "draft"


def test_an_async_estimator_function_is_refused() -> None:
    async def judge(question: Any, answer: Any) -> float:
        return 1.0

    with pytest.raises(ConfigurationError, match="plain function"):
        CascadeRunnable(steps=[Candidate("a", model=Own())], estimator=judge)
