"""A cascade behind RouterChatModel, over the scripted server: what is shown, what is paid."""

from typing import Any

import pytest
from doubles import DEAR, HARD, Wire, trace_of, weather, whole

from router_integrations.errors import Abstained
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Cascade
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.types import Attempt, Estimate, Request

WAYS = ["invoke", "ainvoke", "stream", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}


class Lengths:
    """Takes the length of an answer for its quality: ten words are perfect."""

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> list[Estimate]:
        said: dict[str, Attempt] = {one.call.candidate.name: one for one in attempts if one.error is None}
        return [
            Estimate(quality=min(len(said[one.name].text.split()) / 10, 1.0) if one.name in said else 0.5)
            for one in candidates
        ]


def router(wire: Wire, **options: Any) -> RouterChatModel:
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    return RouterChatModel(candidates=pool, strategy=Cascade(estimator=Lengths(), order="given", **options))


async def ask(model: Any, way: str) -> Any:
    match way:
        case "invoke":
            return model.invoke(HARD)
        case "ainvoke":
            return await model.ainvoke(HARD)
        case "stream":
            return whole(model.stream(HARD))
    return whole([chunk async for chunk in model.astream(HARD)])


@pytest.mark.parametrize("way", WAYS)
async def test_only_the_accepted_answer_is_shown_and_each_attempt_is_paid(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="Not sure.", usage=USAGE))
    wire.server.script("big", Reply(text="By contradiction.", usage=USAGE))
    answer = await ask(router(wire), way)
    trace = trace_of(answer)

    assert answer.text == "By contradiction."
    assert [attempt["candidate"] for attempt in trace["attempts"]] == ["small", "big"]
    assert [attempt["cost"] for attempt in trace["attempts"]] == pytest.approx([PAID["small"], PAID["big"]])
    assert trace["cost"] == pytest.approx(PAID["small"] + PAID["big"])
    assert trace["reason"] == "'small' was not sure enough, 0.20 <= 0.7"
    # Only the last rung is streamed: what may be thrown away is buffered.
    assert [bool(request.body.get("stream")) for request in wire.requests] == [False, way.endswith("stream")]


@pytest.mark.parametrize("way", WAYS)
async def test_a_good_draft_is_the_answer(wire: Wire, way: str) -> None:
    text = "one two three four five six seven eight nine"
    wire.server.script("small", Reply(text=text, usage=USAGE))
    answer = await ask(router(wire), way)

    assert answer.text == text
    assert wire.models == ["small"]
    assert trace_of(answer)["cost"] == pytest.approx(PAID["small"])


@pytest.mark.parametrize("way", WAYS)
async def test_abstaining_shows_nothing_and_says_what_it_cost(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="No.", usage=USAGE))
    with pytest.raises(Abstained, match="'small' was too unsure to go on") as caught:
        await ask(router(wire, abstain={"small": 0.1}), way)

    assert wire.models == ["small"]
    assert caught.value.trace is not None and caught.value.trace.cost == pytest.approx(PAID["small"])


@pytest.mark.parametrize("way", WAYS)
async def test_when_the_last_rung_is_down_the_draft_is_the_answer(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="Not sure.", usage=USAGE))
    wire.server.script("big", Fault("status", status=500))
    answer = await ask(router(wire), way)

    assert answer.text == "Not sure."
    assert wire.models == ["small", "big"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_draft_that_fails_is_followed_by_the_next_rung(wire: Wire, way: str) -> None:
    wire.server.script("small", Fault("status", status=500))
    wire.server.script("big", Reply(text="By contradiction.", usage=USAGE))

    assert (await ask(router(wire), way)).text == "By contradiction."


def test_a_tool_loop_stays_with_the_rung_that_began_it(wire: Wire) -> None:
    wire.server.script("small", Reply(text="Not sure."))
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    wire.server.script("big", Reply(tool_calls=(call,)), Reply(text="Sun"))
    bound = router(wire).bind_tools([weather])
    called = bound.invoke("Weather in Oslo?")
    result = {"role": "tool", "content": "sunny", "tool_call_id": called.tool_calls[0]["id"]}
    answer = bound.invoke([{"role": "user", "content": "Weather in Oslo?"}, called, result])

    assert answer.text == "Sun"
    assert wire.models == ["small", "big", "big"]
