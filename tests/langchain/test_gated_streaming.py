"""A cascade with a gate behind RouterChatModel: what is shown, what is cut off, what is paid."""

import json
import math
import time
import urllib.request
from typing import Any

import pytest
from doubles import DEAR, HARD, Runs, Wire, trace_of, weather, whole
from langgraph.graph import END, START, MessagesState, StateGraph

from router_integrations import Candidate, Gate, Limits, live
from router_integrations.demo.server import LocalServer
from router_integrations.errors import AllCandidatesFailed
from router_integrations.estimators import TokenConfidence
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Cascade
from router_integrations.testing.replies import Fault, Reply, ToolCall

WAYS = ["stream", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
LONG = " ".join(["word"] * 40)
GOOD = Reply(text="By contradiction.", usage=USAGE)
SCHEMA = {
    "title": "Age",
    "type": "object",
    "properties": {"years": {"type": "integer"}, "months": {"type": "integer"}},
    "required": ["years", "months"],
}


def draft(*confidences: float, **fields: Any) -> Reply:
    """A long draft whose first tokens have these confidences, the others the last one."""
    padded = [*confidences, *[confidences[-1]] * (40 - len(confidences))]
    return Reply(text=LONG, logprobs=tuple(math.log(one) for one in padded), usage=USAGE, **fields)


def router(wire: Wire, **options: Any) -> RouterChatModel:
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    gate = Gate(window=4, above=0.7)
    return RouterChatModel(
        candidates=pool, strategy=Cascade(estimator=TokenConfidence(), order="given", gate=gate), **options
    )


async def chunks_of(model: Any, way: str, **options: Any) -> list[Any]:
    if way == "stream":
        return list(model.stream(HARD, **options))
    return [chunk async for chunk in model.astream(HARD, **options)]


@pytest.mark.parametrize("way", WAYS)
async def test_a_sure_draft_is_shown_while_it_comes(wire: Wire, way: str) -> None:
    wire.server.script("small", draft(0.9, chunk_delay=0.005))
    chunks = await chunks_of(router(wire), way)
    trace = trace_of(whole(chunks))

    assert whole(chunks).text == LONG
    assert len(chunks) > 30
    assert wire.models == ["small"]
    assert trace["reason"] == "'small' passed the gate"
    assert trace["attempts"][0]["output_tokens"] == 10
    assert 0 < trace["attempts"][0]["first_token"] < trace["attempts"][0]["latency"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_unsure_draft_is_cut_off_unseen_and_paid_to_there(wire: Wire, way: str) -> None:
    aborted = wire.server.aborted
    wire.server.script("small", draft(0.3, chunk_delay=0.02))
    wire.server.script("big", GOOD)
    runs = Runs()
    answer = whole(await chunks_of(router(wire), way, config={"callbacks": [runs]}))
    trace = trace_of(answer)
    small, big = trace["attempts"]

    assert answer.text == "By contradiction."
    assert wire.server.wait_until(lambda server: server.aborted == aborted + 1)
    assert small["error"]["family"] == "unsure"
    assert (small["output_tokens"], small["usage_estimated"], small["first_token"]) == (4, True, None)
    assert small["cost"] == pytest.approx(small["input_tokens"] * 1e-7 + 4 * 4e-7)
    assert big["cost"] == pytest.approx(50 * 3e-6 + 10 * 1e-5)
    assert trace["cost"] == pytest.approx(small["cost"] + big["cost"])
    assert big["first_token"] > 0
    assert runs.models == [("small", "error"), ("big", "ok")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("confidence", "text"), [(0.9, "It is 4."), (0.3, "By contradiction.")])
async def test_an_answer_shorter_than_the_window_is_judged_as_a_whole(
    wire: Wire, way: str, confidence: float, text: str
) -> None:
    wire.server.script("small", Reply(text="It is 4.", logprobs=(math.log(confidence),) * 3))
    wire.server.script("big", GOOD)

    assert whole(await chunks_of(router(wire), way)).text == text


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_that_breaks_while_it_is_held_is_never_seen(wire: Wire, way: str) -> None:
    wire.server.script("small", Fault("error_in_stream", after_chunks=3))
    wire.server.script("big", GOOD)
    answer = whole(await chunks_of(router(wire), way))

    assert answer.text == "By contradiction."
    assert trace_of(answer)["attempts"][0]["error"]["family"] == "server"


@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_draft_that_is_asked_again_is_paid_once_each_time(wire: Wire, way: str) -> None:
    gated = router(wire)
    small = wire.candidate("openai/small", params={"logprobs": True}, max_retries=1)
    gated.candidates = (small, gated.candidates[1])
    wire.server.script("small", Fault("error_in_stream", after_chunks=3), draft(0.9))
    trace = trace_of(whole(await chunks_of(gated, way)))

    assert [one["output_tokens"] for one in trace["attempts"]] == [2, 10]
    assert wire.models == ["small", "small"]


@pytest.mark.parametrize("way", WAYS)
async def test_with_nobody_else_to_ask_nobody_answered(wire: Wire, way: str) -> None:
    wire.server.script("small", draft(0.3))
    with pytest.raises(AllCandidatesFailed, match="cut off at the gate") as caught:
        await chunks_of(router(wire, limits=Limits(max_calls=1)), way)

    assert type(caught.value) is AllCandidatesFailed
    assert caught.value.trace is not None and caught.value.trace.cost is not None


def test_a_graph_shows_no_token_of_a_draft_and_the_answer_once(wire: Wire) -> None:
    wire.server.script("small", draft(0.3))
    wire.server.script("big", GOOD)
    model = router(wire)
    graph: Any = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [whole(model.stream(state["messages"]))]})
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    shown = [message.text for message, _ in graph.compile().stream({"messages": HARD}, stream_mode="messages")]

    assert "".join(shown) == "By contradiction."


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize(("start", "rest", "asked"), [(0.9, 0.1, ["small"]), (0.3, 1.0, ["small", "big"])])
async def test_invoke_buffers_and_decides_alike(wire: Wire, way: str, start: float, rest: float, asked: Any) -> None:
    wire.server.script("small", draft(start, start, start, start, rest))
    wire.server.script("big", GOOD)
    model = router(wire)
    answer = model.invoke(HARD) if way == "invoke" else await model.ainvoke(HARD)

    assert wire.models == asked
    assert all(not request.body.get("stream") for request in wire.requests)
    assert [one["error"] for one in trace_of(answer)["attempts"]] == [None] * len(asked)


@pytest.mark.parametrize("way", WAYS)
async def test_without_log_probabilities_the_draft_is_buffered(wire: Wire, way: str, caplog: Any) -> None:
    live._warn_of.cache_clear()
    wire.server.script("small", draft(0.1))
    wire.server.script("big", GOOD)
    gated = router(wire)
    gated.candidates = (wire.candidate("openai/small", params={"logprobs": False}), gated.candidates[1])
    await chunks_of(gated, way)

    assert ["params={'logprobs': True}" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("confidence", "asked"), [(0.9, ["small"]), (0.3, ["small", "big"])])
async def test_structured_output_has_the_gate_too(wire: Wire, way: str, confidence: float, asked: list[str]) -> None:
    text = '{"years": 41, "months": 3}'
    logprobs = (math.log(confidence),) * 4
    wire.server.script("small", Reply(text=text, logprobs=logprobs, chunk_delay=0.01))
    wire.server.script("big", Reply(text=text))
    objects = await chunks_of(router(wire).with_structured_output(SCHEMA, method="json_schema"), way)

    assert objects[-1] == {"years": 41, "months": 3}
    assert wire.models == asked


@pytest.mark.parametrize("way", WAYS)
async def test_a_tool_call_without_log_probabilities_is_judged_as_a_whole(wire: Wire, way: str, caplog: Any) -> None:
    wire.server.script("small", Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),)))
    gated = router(wire)
    gated.strategy = Cascade(order="given", gate=Gate(window=4))
    answer = whole(await chunks_of(gated.bind_tools([weather]), way))

    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("weather", {"city": "Oslo"})]
    assert wire.models == ["small"]
    assert not caplog.records


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("above", "accepted"), [(0.0, "draft"), (1.0, "last")])
async def test_on_a_real_model(local_server: LocalServer, way: str, above: float, accepted: str) -> None:
    params = {"api_base": local_server.base_url, "api_key": "none", "temperature": 0, "max_tokens": 24}
    pool = [
        Candidate("openai/smollm2-135m", name=name, params={**params, **extra}, strength=0.5, **DEAR)
        for name, extra in (("draft", {"logprobs": True}), ("last", {}))
    ]
    gate = Gate(window=8, above=above)
    model = RouterChatModel(candidates=pool, strategy=Cascade(order="given", gate=gate))
    answer = whole(await chunks_of(model, way))
    direct = RouterChatModel(candidates=pool[1:]).invoke(HARD)
    attempts = trace_of(answer)["attempts"]

    assert answer.text == direct.text
    assert trace_of(answer)["candidate"] == accepted
    assert attempts[-1]["first_token"] > 0
    if accepted == "last":
        assert attempts[0]["error"]["family"] == "unsure"
        assert 8 <= attempts[0]["output_tokens"] <= 12
        assert attempts[0]["cost"] > 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_real_server_stops_when_the_draft_is_cut_off(local_server: LocalServer, way: str) -> None:
    wire = {"api_base": local_server.base_url, "api_key": "none"}
    # It would go on for many times as long as the test waits.
    endless = {**wire, "logprobs": True, "max_tokens": 3900, "extra_body": {"ignore_eos": True}}
    pool = [
        Candidate("openai/smollm2-135m", name=name, params=params, strength=0.5, **DEAR)
        for name, params in (("draft", endless), ("last", {**wire, "max_tokens": 1}))
    ]
    model = RouterChatModel(candidates=pool, strategy=Cascade(order="given", gate=Gate(window=8, above=1.0)))
    trace = trace_of(whole(await chunks_of(model, way)))

    assert trace["attempts"][0]["error"]["family"] == "unsure"
    assert _falls_idle(local_server)


def _falls_idle(server: LocalServer, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{server.base_url.removesuffix('/v1')}/slots") as response:
            if not any(slot["is_processing"] for slot in json.load(response)):
                return True
        time.sleep(0.05)
    return False
