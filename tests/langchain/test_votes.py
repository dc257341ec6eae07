"""Strategies that vote, behind RouterChatModel and over the scripted server: what is shown, what is paid."""

import re
from typing import Any

import pytest
from doubles import DEAR, Runs, Wire, ask, trace_of, weather

from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import AgreementCascade, BestOfN
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.testing.server import ScriptedServer

WAYS = ["invoke", "ainvoke", "stream", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}


@pytest.fixture(scope="module", autouse=True)
def _one_client(server: ScriptedServer) -> None:
    """Makes LiteLLM's client: threads that are the first to call make one each, and Python warns of those not kept."""
    Wire(server).router().invoke("hi")


def number(text: str) -> str:
    found = re.findall(r"\d+", text)
    return found[-1] if found else ""


def cascade(**options: Any) -> AgreementCascade:
    return AgreementCascade(levels=[{"small": 3}, {"big": 1}], read=number, **options)


def says(*texts: str) -> list[Reply]:
    return [Reply(text=text, usage=USAGE) for text in texts]


@pytest.mark.parametrize("way", WAYS)
async def test_only_the_winner_of_the_samples_is_shown_and_all_are_paid(wire: Wire, way: str) -> None:
    wire.server.script("small", *says("so 4", "so 5", "so 4"))
    answer = await ask(wire.router(strategy=BestOfN(n=3, read=number)), way)
    trace = trace_of(answer)

    assert answer.text == "so 4"
    assert wire.models == ["small"] * 3
    assert trace["cost"] == pytest.approx(3 * PAID["small"])
    assert trace["reason"] == "2 of 3 answers say so"


@pytest.mark.parametrize("way", WAYS)
async def test_the_reward_picks_among_the_samples(wire: Wire, way: str) -> None:
    wire.server.script("small", *says("short", "the longest of all", "not so short"))
    answer = await ask(wire.router(strategy=BestOfN(n=3, reward=lambda request, one: len(one.text))), way)

    assert answer.text == "the longest of all"


@pytest.mark.parametrize("way", WAYS)
async def test_an_agreed_answer_is_shown_alone(wire: Wire, way: str) -> None:
    wire.server.script("small", *says("so 4", "so 5", "so 4"))
    answer = await ask(wire.router(strategy=cascade(accept=0.6)), way)

    assert answer.text == "so 4"
    assert wire.models == ["small"] * 3
    assert trace_of(answer)["cost"] == pytest.approx(3 * PAID["small"])


@pytest.mark.parametrize("way", WAYS)
async def test_without_agreement_the_next_level_is_shown_and_every_attempt_paid(wire: Wire, way: str) -> None:
    wire.server.script("small", *says("so 4", "so 5", "so 6"))
    wire.server.script("big", *says("it is 7"))
    runs = Runs()
    answer = await ask(wire.router(strategy=cascade()), way, {"callbacks": [runs]})
    trace = trace_of(answer)

    assert answer.text == "it is 7"
    assert [attempt["candidate"] for attempt in trace["attempts"]] == ["small"] * 3 + ["big"]
    assert trace["cost"] == pytest.approx(3 * PAID["small"] + PAID["big"])
    assert runs.models == [("small", "ok")] * 3 + [("big", "ok")]
    # Only what nobody will vote on is streamed.
    assert [bool(request.body.get("stream")) for request in wire.requests] == [False] * 3 + [way.endswith("stream")]


@pytest.mark.parametrize("way", WAYS)
async def test_a_level_that_is_down_is_followed_by_the_next(wire: Wire, way: str) -> None:
    wire.server.script("small", Fault("status", status=500), repeat=True)
    wire.server.script("big", *says("it is 7"))

    assert (await ask(wire.router(strategy=cascade()), way)).text == "it is 7"
    assert wire.models == ["small"] * 3 + ["big"]


@pytest.mark.parametrize("way", WAYS)
async def test_when_the_last_level_is_down_the_best_vote_is_shown(wire: Wire, way: str) -> None:
    wire.server.script("small", *says("so 4", "so 5", "so 4"))
    wire.server.script("big", Fault("status", status=500))

    assert (await ask(wire.router(strategy=cascade()), way)).text == "so 4"


def test_a_tool_loop_goes_on_alone_with_the_winner_of_its_beginning(wire: Wire) -> None:
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    wire.server.script("small", *[Reply(tool_calls=(call,))] * 3, Reply(text="Sun"))
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    bound = RouterChatModel(candidates=pool, strategy=cascade()).bind_tools([weather])
    called = bound.invoke("Weather in Oslo?")
    result = {"role": "tool", "content": "sunny", "tool_call_id": called.tool_calls[0]["id"]}
    answer = bound.invoke([{"role": "user", "content": "Weather in Oslo?"}, called, result])

    assert answer.text == "Sun"
    assert wire.models == ["small"] * 4
