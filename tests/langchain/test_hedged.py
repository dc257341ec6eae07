"""Hedged calls over the wire: the rival's answer is shown once, and the slow call's connection is closed."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from doubles import Runs, Wire, ask, trace_of

from router_integrations import Fixed
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Cascade, Hedged
from router_integrations.testing.replies import Fault, Reply
from router_integrations.testing.server import ScriptedServer

WAYS = ["invoke", "ainvoke", "stream", "astream"]
ASYNC = ["ainvoke", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
# Long after its rival, and soon enough for a thread that nobody can stop.
LATE = Reply(text="late", delay=2.0)
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}


@pytest.fixture(scope="module", autouse=True)
def _one_client(server: ScriptedServer) -> None:
    """Makes LiteLLM's client: threads that are the first to call make one each, and Python warns of those not kept."""
    router = Wire(server).router()
    router.invoke("hi")
    # What the first call loads would take as long as the tests wait.
    list(router.stream("hi"))


@pytest.fixture(autouse=True)
def _idle(server: ScriptedServer) -> Iterator[None]:
    """Waits until nothing runs any more: a sync call that was given up ends when its answer comes."""
    yield
    assert server.wait_until(lambda server: server.open_streams == 0)


def hedged(wire: Wire, *, rival: str | None = "big", after: float = 0.1, **options: Any) -> RouterChatModel:
    strategy = Hedged(strategy=Fixed(name="small"), after=after, rival=rival)
    return wire.router(strategy=strategy, timeout=20.0, **options)


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_hangs_is_answered_by_its_rival(wire: Wire, way: str) -> None:
    wire.server.script("small", LATE)
    wire.server.script("big", Reply(text="It is so.", usage=USAGE))
    runs = Runs()
    answer = await ask(hedged(wire), way, {"callbacks": [runs]})
    trace = trace_of(answer)

    assert answer.text == "It is so."
    assert [(one["candidate"], (one["error"] or {}).get("family")) for one in trace["attempts"]] == [
        ("small", "cancelled"),
        ("big", None),
    ]
    assert trace["cost"] == pytest.approx(PAID["big"])
    assert wire.models == ["small", "big"]


@pytest.mark.parametrize("way", ASYNC)
async def test_the_servers_connection_of_the_slow_call_is_closed(wire: Wire, way: str) -> None:
    before = wire.server.aborted
    wire.server.script("small", LATE)
    wire.server.script("big", Reply(text="It is so."))
    await ask(hedged(wire), way)

    assert wire.server.wait_until(lambda server: server.aborted == before + 1 and server.open_streams == 0)


async def test_a_sync_stream_that_begins_late_is_closed_at_its_first_chunk(wire: Wire) -> None:
    before = wire.server.aborted
    wire.server.script("small", Reply(text="word " * 500, delay=1.5, chunk_delay=0.05))
    wire.server.script("big", Reply(text="It is so."))

    assert (await ask(hedged(wire), "stream")).text == "It is so."
    assert wire.server.wait_until(lambda server: server.aborted == before + 1 and server.open_streams == 0)


async def test_a_sync_call_that_is_given_up_leaves_no_thread_for_good(wire: Wire) -> None:
    wire.server.script("small", Reply(text="late", delay=1.5))
    wire.server.script("big", Reply(text="It is so."))

    assert (await ask(hedged(wire), "invoke")).text == "It is so."
    for thread in threading.enumerate():
        if thread.name == "router-hedge":
            thread.join(timeout=10)
    assert not any(thread.name == "router-hedge" for thread in threading.enumerate())


@pytest.mark.parametrize("way", WAYS)
async def test_a_quick_answer_makes_one_call(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="At once.", usage=USAGE))
    answer = await ask(hedged(wire, after=20.0), way)

    assert answer.text == "At once."
    assert wire.models == ["small"]
    assert trace_of(answer)["cost"] == pytest.approx(PAID["small"])


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_candidate_is_asked_again_by_default(wire: Wire, way: str) -> None:
    wire.server.script("small", LATE, Reply(text="Again."))
    answer = await ask(hedged(wire, rival=None), way)

    assert answer.text == "Again."
    assert wire.models == ["small", "small"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_slow_draft_of_a_cascade_is_hedged(wire: Wire, way: str) -> None:
    sure = Reply(text="sure thing", logprobs=(-0.01, -0.01), usage=USAGE)
    wire.server.script("small", LATE, sure)
    cascade = Hedged(strategy=Cascade(order=("small", "big"), accept=0.7), after=0.1)
    model = wire.router(strategy=cascade, small={"params": {"logprobs": True}}, timeout=20.0)
    answer = await ask(model, way)

    assert answer.text == "sure thing"
    assert wire.models == ["small", "small"]
    assert trace_of(answer)["confidence"] == pytest.approx(0.99, abs=0.01)


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_that_has_begun_is_not_hedged(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="one two three four", chunk_delay=0.3))
    answer = await ask(hedged(wire, after=1.0 if way.endswith("stream") else 20.0), way)

    assert answer.text == "one two three four"
    assert wire.models == ["small"]


@pytest.mark.parametrize("way", ASYNC)
async def test_a_cancelled_request_closes_both_connections(wire: Wire, way: str) -> None:
    before = wire.server.aborted
    wire.server.script("small", Fault("hang"))
    wire.server.script("big", Fault("hang"))
    task = asyncio.create_task(ask(hedged(wire), way))
    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.open_streams == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(
        wire.server.wait_until, lambda server: server.aborted == before + 2 and server.open_streams == 0
    )
