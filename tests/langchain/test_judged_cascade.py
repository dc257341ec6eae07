"""A judged cascade behind RouterChatModel: what is shown, what judges read, what is paid."""

from typing import Any

import pytest
from doubles import CHEAP, DEAR, HARD, Own, Runs, Wire, ask, trace_of, weather, whole
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from router_integrations import Candidate
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import JudgedCascade
from router_integrations.testing.replies import Fault, Reply, ToolCall

WAYS = ["invoke", "ainvoke", "stream", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}


def router(wire: Wire, **options: Any) -> RouterChatModel:
    strategy = JudgedCascade(**{"order": "given", "votes": 3, **options})
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    return RouterChatModel(candidates=pool, strategy=strategy)


def judging(wire: Wire, answer: str, *verdicts: str) -> None:
    wire.server.script("small", *(Reply(text=text, usage=USAGE) for text in (answer, *verdicts)))


@pytest.mark.parametrize("way", WAYS)
async def test_an_approved_answer_is_shown_and_its_verdicts_are_paid(wire: Wire, way: str) -> None:
    judging(wire, "By contradiction.", "True", "True", "False")
    answer = await ask(router(wire), way)
    trace = trace_of(answer)

    assert answer.text == "By contradiction."
    assert [one["purpose"] for one in trace["attempts"]] == ["answer", "judge", "judge", "judge"]
    assert trace["cost"] == pytest.approx(4 * PAID["small"])
    assert trace["reason"] == "'small' was kept at 0.67 by 3 votes"
    assert not any(request.body.get("stream") for request in wire.requests)


@pytest.mark.parametrize("way", WAYS)
async def test_a_rejected_answer_is_not_shown(wire: Wire, way: str) -> None:
    judging(wire, "By luck.", "False", "False", "True")
    wire.server.script("big", Reply(text="By contradiction.", usage=USAGE))
    answer = await ask(router(wire), way)
    trace = trace_of(answer)

    assert answer.text == "By contradiction."
    assert wire.models == ["small"] * 4 + ["big"]
    assert trace["cost"] == pytest.approx(4 * PAID["small"] + PAID["big"])
    assert bool(wire.requests[-1].body.get("stream")) is way.endswith("stream")


@pytest.mark.parametrize("way", WAYS)
async def test_when_no_verdict_comes_the_next_candidate_answers(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="By luck."), *[Fault("status", status=500)] * 3)
    wire.server.script("big", Reply(text="By contradiction."))
    answer = await ask(router(wire), way)

    assert answer.text == "By contradiction."
    assert wire.models == ["small"] * 4 + ["big"]
    assert trace_of(answer)["reason"] == "'small' could not be judged"


def test_judges_see_neither_tools_nor_settings_nor_conversation(wire: Wire) -> None:
    judging(wire, "Sun.", "True", "True", "True")
    bound = router(wire).bind_tools([weather])
    bound.invoke([("system", "Be kind."), ("user", "Hello"), ("ai", "Hi"), ("user", "Weather in Oslo?")], stop=["QED"])
    answered, *judged = wire.requests

    assert "tools" in answered.body and answered.body["stop"] == ["QED"]
    assert len(judged) == 3
    for request in judged:
        assert {"tools", "stop", "tool_choice"}.isdisjoint(request.body)
        (message,) = request.body["messages"]
        assert message["role"] == "user"
        assert "Weather in Oslo?" in message["content"] and "Sun." in message["content"]
        assert "Be kind." not in message["content"]


class City(BaseModel):
    """A city."""

    name: str


def test_a_judged_structured_answer_is_parsed(wire: Wire) -> None:
    judging(wire, '{"name": "Oslo"}', "True", "True", "True")
    found = router(wire).with_structured_output(City, method="json_schema").invoke("The capital of Norway?")
    answered, *judged = wire.requests

    assert found == City(name="Oslo")
    assert "response_format" in answered.body
    assert len(judged) == 3 and not any("response_format" in request.body for request in judged)


def test_a_tool_loop_is_not_judged_again(wire: Wire) -> None:
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    judge = [Reply(text="True")] * 3
    wire.server.script("small", Reply(tool_calls=(call,)), *judge, Reply(text="Sun"))
    bound = router(wire).bind_tools([weather])
    called = bound.invoke("Weather in Oslo?")
    result = {"role": "tool", "content": "sunny", "tool_call_id": called.tool_calls[0]["id"]}
    answer = bound.invoke([{"role": "user", "content": "Weather in Oslo?"}, called, result])

    assert answer.text == "Sun"
    assert wire.models == ["small"] * 5


def test_the_verdicts_are_hidden_runs_of_their_own() -> None:
    small = Own(label="small", replies=[AIMessage("By luck."), *[AIMessage("False")] * 3])
    big = Own(label="big", replies=[AIMessage("By contradiction.")])
    pool = [Candidate(one.label, model=one, **CHEAP) for one in (small, big)]
    runs = Runs()
    model = RouterChatModel(candidates=pool, strategy=JudgedCascade(order="given", votes=3))
    shown = whole(list(model.stream(HARD, {"callbacks": [runs]})))
    draft, *verdicts, answer = runs.of("model")

    assert shown.text == "By contradiction."
    assert len(verdicts) == 3
    assert all("nostream" in run["tags"] for run in (draft, *verdicts)) and "nostream" not in answer["tags"]
    assert len({run["parent"] for run in (draft, *verdicts, answer)}) == 1
