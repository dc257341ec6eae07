"""A cascade behind RouterChatModel, over the scripted server: what is shown, what is paid."""

import math
import threading
from typing import Any, ClassVar

import pytest
from doubles import DEAR, HARD, Own, Wire, ask, trace_of, weather, whole
from langchain_core.messages import AIMessage
from pydantic import BaseModel, field_validator

from router_integrations import Candidate, Limits
from router_integrations.errors import Abstained, AllCandidatesFailed
from router_integrations.estimators import TokenConfidence
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Cascade, Fixed
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


class Slow(BaseModel):
    """An object whose validation takes until it is told to end."""

    end: ClassVar[threading.Event] = threading.Event()

    city: str

    @field_validator("city")
    @classmethod
    def _wait(cls, city: str) -> str:
        cls.end.wait(30)
        return city


def router(wire: Wire, **options: Any) -> RouterChatModel:
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    return RouterChatModel(candidates=pool, strategy=Cascade(estimator=Lengths(), order="given", **options))


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
    assert trace["reason"] == "'small' was not sure enough, 0.20 <= 0.70"
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


async def test_a_reply_whose_parser_takes_too_long_is_paid_for(wire: Wire) -> None:
    wire.server.script("small", Reply(text='{"city": "Oslo"}', usage=USAGE))
    traces: list[Any] = []
    model = wire.router(
        small={"timeout": 1.5}, strategy=Fixed(name="small"), limits=Limits(max_calls=1), on_trace=traces.append
    )
    try:
        with pytest.raises(AllCandidatesFailed, match=r"no answer within 1\.5 s"):
            await model.with_structured_output(Slow, method="json_schema").ainvoke(HARD)
    finally:
        Slow.end.set()

    assert traces[0].attempts[0].cost == pytest.approx(PAID["small"])
    assert traces[0].cost == pytest.approx(PAID["small"])


@pytest.mark.parametrize("order", ["given", "price", ("quick", "slow")])
@pytest.mark.parametrize("limits", [Limits(), Limits(budget=0.01)], ids=["without limit", "budget"])
def test_own_models_need_neither_prices_nor_strengths(order: Any, limits: Limits) -> None:
    replies = {"quick": "I cannot help with that.", "slow": "By contradiction."}
    pool = [Candidate(name, model=Own(replies=[AIMessage(text)])) for name, text in replies.items()]
    answer = RouterChatModel(candidates=pool, strategy=Cascade(order=order), limits=limits).invoke(HARD)

    assert answer.text == "By contradiction."
    assert trace_of(answer)["cost"] is None


class City(BaseModel):
    city: str


@pytest.mark.parametrize(("said", "answered"), [("0.9", "small"), ("0.1", "big")], ids=["replayed", "streamed"])
async def test_a_streamed_object_with_its_raw_message_carries_the_trace_on_that(
    wire: Wire, said: str, answered: str
) -> None:
    wire.server.script("small", Reply(text='{"city": "Oslo"}', logprobs=(math.log(float(said)),) * 2), repeat=True)
    wire.server.script("big", Reply(text='{"city": "Oslo"}'), repeat=True)
    model = wire.router(strategy=Cascade(estimator=TokenConfidence(), order="given"))
    structured = model.with_structured_output(City, method="json_schema", include_raw=True)

    for streamed in (whole(structured.stream(HARD)), whole([one async for one in structured.astream(HARD)])):
        assert streamed["parsed"] == City(city="Oslo")
        assert streamed["raw"].text == '{"city": "Oslo"}'
        assert trace_of(streamed["raw"])["candidate"] == answered
