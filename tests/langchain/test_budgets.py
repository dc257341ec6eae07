"""Budgets that the requests of a conversation share, over the wire."""

import copy
from pathlib import Path
from typing import Any

import pytest
from doubles import HARD, Wire, ask
from langgraph.graph import START, MessagesState, StateGraph

from router_integrations import Candidate, Fixed, Ledger, Limits
from router_integrations.errors import LimitExceeded
from router_integrations.langchain import CascadeRunnable, RouterChatModel
from router_integrations.strategies import Cascade
from router_integrations.testing.replies import Fault, Reply

WAYS = ["invoke", "ainvoke", "stream", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}


def config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


@pytest.mark.parametrize("way", WAYS)
async def test_a_conversation_has_one_budget(wire: Wire, way: str) -> None:
    wire.server.script("small", *[Reply(text="yes", usage=USAGE)] * 3)
    model = wire.router(strategy=Fixed(name="small"), limits=Limits(conversation_budget=1.5 * PAID["small"]))
    for _ in range(2):
        await ask(model, way, config("one"))
    with pytest.raises(LimitExceeded, match="over the conversation's budget"):
        await ask(model, way, config("one"))

    assert (await ask(model, way, config("two"))).text == "yes"
    assert wire.models == ["small"] * 3
    assert model.ledger.spent("one") == pytest.approx(2 * PAID["small"])


def test_routers_may_share_what_conversations_have_cost(wire: Wire) -> None:
    model = wire.router(limits=Limits(conversation_budget=1.0))

    assert copy.deepcopy(model).ledger is model.ledger
    assert wire.router(ledger=model.ledger).ledger is model.ledger


def test_a_saved_router_keeps_the_budget_and_not_what_was_spent(tmp_path: Path) -> None:
    model = RouterChatModel(candidates=["openai/gpt-4o-mini"], limits=Limits(conversation_budget=2.0))
    model.ledger.record("one", 1.0)
    model.save(tmp_path / "router")
    loaded = RouterChatModel.load(tmp_path / "router")

    assert loaded.limits == Limits(conversation_budget=2.0)
    assert loaded.ledger.spent("one") == 0.0


def test_a_cascade_of_runnables_has_it_too() -> None:
    cascade = CascadeRunnable(
        steps=[Candidate("only", model=lambda _: "yes")], costs={"only": 0.6}, limits=Limits(conversation_budget=1.0)
    )
    assert cascade.invoke("x", config("one")) == "yes"
    with pytest.raises(LimitExceeded, match="conversation's budget"):
        cascade.invoke("x", config("one"))
    assert cascade.invoke("x", config("two")) == "yes"


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_failed_request_has_paid_counts(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="a draft", usage=USAGE))
    wire.server.script("big", Fault("status", status=500))
    abstains = Cascade(order=("small", "big"), accept=1.0, abstain={"small": 0.99})
    model = wire.router(strategy=abstains, limits=Limits(conversation_budget=1.0))
    with pytest.raises(Exception, match="too unsure to go on"):
        await ask(model, way, config("one"))

    assert model.ledger.spent("one") == pytest.approx(PAID["small"])


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_is_left_counts(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="word " * 50, chunk_delay=0.02))
    model = wire.router(strategy=Fixed(name="small"), limits=Limits(conversation_budget=1.0))
    if way == "stream":
        chunks = model.stream(HARD, config("one"))
        next(chunks)
        chunks.close()
    else:
        achunks = model.astream(HARD, config("one"))
        await anext(achunks)
        await achunks.aclose()

    assert model.ledger.spent("one") > 0


def test_in_a_graph_the_thread_is_the_conversation(wire: Wire) -> None:
    wire.server.script("small", Reply(text="yes", usage=USAGE), repeat=True)
    model = wire.router(strategy=Fixed(name="small"), limits=Limits(conversation_budget=1.5 * PAID["small"]))
    graph = StateGraph(MessagesState).add_node("node", lambda state: {"messages": [model.invoke(state["messages"])]})
    app = graph.add_edge(START, "node").compile()
    for _ in range(2):
        app.invoke({"messages": [("user", "hi")]}, config("one"))
    with pytest.raises(LimitExceeded, match="over the conversation's budget"):
        app.invoke({"messages": [("user", "hi")]}, config("one"))
    app.invoke({"messages": [("user", "hi")]}, config("two"))


def test_a_decision_ahead_sees_what_is_left(wire: Wire) -> None:
    ledger = Ledger()
    model = wire.router(limits=Limits(conversation_budget=1.0), ledger=ledger)
    before = model.explain(HARD, config("one"))
    ledger.record("one", 1.0 - before.estimates["big"].cost / 2)

    assert (before.candidate, model.explain(HARD, config("one")).candidate) == ("big", "small")
