"""A model of the pool that reads policies before another answers, over the scripted server and own chat models."""

from typing import Any

import pytest
from doubles import CHEAP, DEAR, HARD, Own, Runs, Wire, add, ask, trace_of, weather
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from router_integrations import Candidate
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import JudgedPolicies
from router_integrations.testing.replies import Fault, Reply, ToolCall

WRITTEN = {"small": "small talk", "big": "proofs"}
STRATEGY = JudgedPolicies(policies=WRITTEN, judge="judge", default="small")


def router(wire: Wire, **judge: Any) -> RouterChatModel:
    """A router whose judge takes neither tools nor schemas."""
    unable = {"tools": False, "tool_choice": False, "schema": False, **judge}
    pool = [
        wire.candidate("openai/small"),
        wire.candidate("openai/big", **DEAR),
        wire.candidate("openai/judge", **unable),
    ]
    return RouterChatModel(candidates=pool, strategy=STRATEGY)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_the_judge_reads_the_policies_and_the_chosen_one_the_conversation(wire: Wire, way: str) -> None:
    wire.server.script("judge", Reply(text="big"))
    wire.server.script("big", Reply(text="By contradiction."))
    answer = await ask(router(wire), way)
    judged, answered = wire.requests

    assert answer.text == "By contradiction."
    assert (judged.model, answered.model) == ("judge", "big")
    assert [message["role"] for message in judged.body["messages"]] == ["user"]
    assert "- big: proofs" in judged.body["messages"][0]["content"]
    assert answered.body["messages"][-1]["content"] == HARD
    assert bool(judged.body.get("stream")) is False
    assert bool(answered.body.get("stream")) is way.endswith("stream")


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_the_trace_counts_what_the_judge_cost(wire: Wire, way: str) -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51}
    wire.server.script("judge", Reply(text="big", usage=usage))
    trace = trace_of(await ask(router(wire), way))
    judged, answered = trace["attempts"]

    assert (judged["candidate"], judged["purpose"], judged["input_tokens"]) == ("judge", "policy", 50)
    assert judged["cost"] == pytest.approx(50 * 1e-7 + 4e-7)
    assert trace["cost"] == pytest.approx(judged["cost"] + answered["cost"])
    assert trace["reason"] == "falls under the policy 'big'"


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_when_the_judge_is_down_the_default_answers(wire: Wire, way: str) -> None:
    wire.server.script("judge", Fault("status", status=500))
    answer = await ask(router(wire), way)
    trace = trace_of(answer)

    assert wire.models == ["judge", "small"]
    assert trace["candidate"] == "small"
    assert trace["attempts"][0]["error"]
    assert trace["reason"].startswith("the judge 'judge' failed")


def test_a_judge_that_takes_no_tools_judges_a_request_with_tools(wire: Wire) -> None:
    wire.server.script("judge", Reply(text="big"))
    wire.server.script("big", Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),)))
    answer = router(wire).bind_tools([weather, add]).invoke("Weather in Oslo?")
    judged, answered = wire.requests

    assert answer.tool_calls[0]["args"] == {"city": "Oslo"}
    assert "tools" not in judged.body
    assert [tool["function"]["name"] for tool in answered.body["tools"]] == ["weather", "add"]


class City(BaseModel):
    """A city."""

    name: str


def test_the_judge_is_not_bound_to_the_callers_schema(wire: Wire) -> None:
    wire.server.script("judge", Reply(text="big"))
    wire.server.script("big", Reply(text='{"name": "Oslo"}'))
    found = router(wire).with_structured_output(City, method="json_schema").invoke("The capital of Norway?")
    judged, answered = wire.requests

    assert found == City(name="Oslo")
    assert "response_format" not in judged.body
    assert "response_format" in answered.body


def test_the_callers_settings_are_for_the_answer(wire: Wire) -> None:
    wire.server.script("judge", Reply(text="big"))
    router(wire).invoke("Prove it.", stop=["QED"], max_tokens=7)
    judged, answered = wire.requests

    assert answered.body["stop"] == ["QED"]
    assert answered.body["max_tokens"] == 7
    assert {"stop", "max_tokens"}.isdisjoint(judged.body)


def test_the_judge_of_a_tool_loop_is_not_asked_again(wire: Wire) -> None:
    wire.server.script("judge", Reply(text="big"))
    wire.server.script(
        "big", Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),)), Reply(text="Sun")
    )
    bound = router(wire).bind_tools([weather])
    called = bound.invoke("Weather in Oslo?")
    result = {"role": "tool", "content": "sunny", "tool_call_id": called.tool_calls[0]["id"]}
    bound.invoke([{"role": "user", "content": "Weather in Oslo?"}, called, result])

    assert wire.models == ["judge", "big", "big"]


def test_a_caller_who_names_a_model_gets_it_without_a_judge(wire: Wire) -> None:
    router(wire).invoke("Prove it.", model="big")

    assert wire.models == ["big"]


def test_the_verdict_is_a_hidden_run_of_its_own() -> None:
    small, big, judge = (Own(label=name, replies=[AIMessage(name)]) for name in ("small", "big", "judge"))
    judge.replies = [AIMessage("big")]
    pool = [Candidate(name, model=model, **CHEAP) for name, model in (("small", small), ("big", big), ("judge", judge))]
    runs = Runs()
    list(RouterChatModel(candidates=pool, strategy=STRATEGY).stream(HARD, {"callbacks": [runs]}))
    verdict, answer = runs.of("model")

    assert runs.models == [("judge", "ok"), ("big", "ok")]
    assert verdict["parent"] == answer["parent"] is not None
    assert "nostream" in verdict["tags"] and "nostream" not in answer["tags"]


def test_the_tokens_of_a_silent_judge_are_those_of_its_prompt() -> None:
    silent = Own(label="judge", replies=[AIMessage("big")], reports_usage=False)
    pool = [Candidate(name, model=Own(label=name), **CHEAP) for name in ("small", "big")]
    model = RouterChatModel(candidates=[*pool, Candidate("judge", model=silent, **CHEAP)], strategy=STRATEGY)
    judged = trace_of(model.invoke("hi"))["attempts"][0]

    assert judged["usage_estimated"] is True
    assert judged["input_tokens"] == (len(silent.asked[0][0].text) + 3) // 4 > 50
