"""Cascade routing behind RouterChatModel, over the scripted server."""

from typing import Any

from doubles import DEAR, HARD, Wire, trace_of

from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import CascadeRouting
from router_integrations.testing.replies import Fault, Reply
from router_integrations.types import Estimate, Request, Utility

USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}


class Lengths:
    """Takes the length of an answer for its quality: ten words are perfect."""

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> list[Estimate]:
        said = {one.call.candidate.name: one.text for one in attempts if one.error is None}
        before = {"small": Estimate(quality=0.6, std=0.4, cost=1e-5), "big": Estimate(quality=0.8, cost=1e-3)}
        return [
            Estimate(quality=min(len(said[one.name].split()) / 10, 1.0)) if one.name in said else before[one.name]
            for one in candidates
        ]


def router(wire: Wire) -> RouterChatModel:
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    return RouterChatModel(
        candidates=pool, strategy=CascadeRouting(estimator=Lengths(), utility=Utility(enough=1, per_usd=100))
    )


async def test_a_poor_draft_is_replaced_and_each_attempt_is_paid(wire: Wire) -> None:
    wire.server.script("small", Reply(text="Not sure.", usage=USAGE))
    wire.server.script("big", Reply(text="By contradiction, with all six steps.", usage=USAGE))
    answer = await router(wire).ainvoke(HARD)
    trace = trace_of(answer)

    assert answer.text == "By contradiction, with all six steps."
    assert [attempt["candidate"] for attempt in trace["attempts"]] == ["small", "big"]
    assert trace["attempts"][1]["cost"] > trace["attempts"][0]["cost"] > 0


def test_a_good_draft_is_the_answer(wire: Wire) -> None:
    text = "one two three four five six seven eight nine"
    wire.server.script("small", Reply(text=text, usage=USAGE))

    assert router(wire).invoke(HARD).text == text
    assert wire.models == ["small"]


def test_a_draft_that_was_better_than_what_came_after_it_is_returned(wire: Wire) -> None:
    wire.server.script("small", Reply(text="one two three four", usage=USAGE))
    wire.server.script("big", Reply(text="No.", usage=USAGE))

    assert router(wire).invoke(HARD).text == "one two three four"
    assert wire.models == ["small", "big"]


def test_when_the_second_is_down_the_draft_is_the_answer(wire: Wire) -> None:
    wire.server.script("small", Reply(text="Not sure.", usage=USAGE))
    wire.server.script("big", Fault("status", status=500))

    assert router(wire).invoke(HARD).text == "Not sure."
