"""Pre-generation routing, verification and escalation in one strategy, behind RouterChatModel."""

from typing import Any

import pytest
from doubles import BOTH, DEAR, EASY, HARD, Wire, trace_of, whole

from router_integrations.errors import Abstained
from router_integrations.estimators import PrePost, TokenConfidence
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.langchain import RouterChatModel
from router_integrations.limits import Limits
from router_integrations.strategies import Best, Cascade, CascadeRouting, MultiStage
from router_integrations.testing.replies import Fault, Reply
from router_integrations.types import Utility

USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}
WAYS = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])


def said(text: str, sure: float) -> Reply:
    return Reply(text=text, usage=USAGE, logprobs=(sure,) * len(text.split()))


SURE, UNSURE = said("It is so.", -0.01), said("It may be.", -2.0)
CHECKED = {
    "cascade": MultiStage(router=Best(), cascade=Cascade(estimator=TokenConfidence(), order=("small", "big"))),
    "cascade routing": CascadeRouting(
        estimator=PrePost(before=Difficulty(), after=TokenConfidence()), utility=Utility(enough=1, per_usd=50)
    ),
}
STRATEGIES = pytest.mark.parametrize("strategy", CHECKED.values(), ids=CHECKED)


def router(wire: Wire, strategy: Any, **options: Any) -> RouterChatModel:
    pool = [
        wire.candidate("openai/small", strength=0.4),
        wire.candidate("openai/big", strength=0.9, **DEAR),
    ]
    return RouterChatModel(candidates=pool, strategy=strategy, **options)


async def ask(model: RouterChatModel, way: str, text: str) -> Any:
    match way:
        case "invoke":
            return model.invoke(text)
        case "ainvoke":
            return await model.ainvoke(text)
        case "stream":
            return whole(model.stream(text))
    return whole([chunk async for chunk in model.astream(text)])


@WAYS
@STRATEGIES
async def test_a_hard_query_goes_to_the_strong_model_at_once(wire: Wire, strategy: Any, way: str) -> None:
    wire.server.script("big", SURE)
    trace = trace_of(await ask(router(wire, strategy), way, HARD))

    assert wire.models == ["big"]
    assert trace["candidate"] == "big" and trace["cost"] == pytest.approx(PAID["big"])


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_the_strong_model_streams_when_it_is_the_last_of_the_cascade(wire: Wire, way: str) -> None:
    wire.server.script("big", SURE)
    answer = await ask(router(wire, CHECKED["cascade"]), way, HARD)

    assert wire.requests[0].body["stream"] is True
    assert trace_of(answer)["attempts"][0]["first_token"] is not None


@WAYS
@STRATEGIES
async def test_an_easy_query_is_answered_cheaply_when_the_answer_holds(wire: Wire, strategy: Any, way: str) -> None:
    wire.server.script("small", SURE)
    answer = await ask(router(wire, strategy), way, EASY)

    assert answer.text == "It is so."
    assert wire.models == ["small"]
    assert trace_of(answer)["cost"] == pytest.approx(PAID["small"])


@WAYS
@STRATEGIES
async def test_an_easy_query_is_escalated_when_the_answer_does_not_hold(wire: Wire, strategy: Any, way: str) -> None:
    wire.server.script("small", UNSURE)
    wire.server.script("big", SURE)
    answer = await ask(router(wire, strategy), way, EASY)
    trace = trace_of(answer)

    assert answer.text == "It is so."
    assert [one["candidate"] for one in trace["attempts"]] == ["small", "big"]
    assert trace["cost"] == pytest.approx(PAID["small"] + PAID["big"])


def test_nobody_answers_when_the_cascade_abstains(wire: Wire) -> None:
    cascade = Cascade(estimator=TokenConfidence(), order=("small", "big"), abstain={"big": 0.5})
    wire.server.script("big", UNSURE)

    with pytest.raises(Abstained, match="'big' was too unsure to go on") as caught:
        router(wire, MultiStage(router=Best(), cascade=cascade)).invoke(HARD)
    assert caught.value.trace is not None
    assert caught.value.trace.cost == pytest.approx(PAID["big"])


@STRATEGIES
def test_a_budget_keeps_the_best_answer_so_far(wire: Wire, strategy: Any) -> None:
    wire.server.script("small", UNSURE)
    answer = router(wire, strategy, limits=Limits(budget=1e-3)).invoke(EASY)

    assert answer.text == "It may be."
    assert wire.models == ["small"]


@STRATEGIES
def test_when_the_strong_model_is_down_the_cheap_one_answers(wire: Wire, strategy: Any) -> None:
    wire.server.script("big", Fault("status", status=404))
    wire.server.script("small", SURE)

    assert trace_of(router(wire, strategy).invoke(HARD))["candidate"] == "small"
    assert wire.models == ["big", "small"]


def test_the_trace_shows_what_was_expected_before_the_first_answer(wire: Wire) -> None:
    model = router(wire, CHECKED["cascade"])
    plain = router(wire, Best())

    for text in BOTH.values():
        staged, alone = model.explain(text), plain.explain(text)
        assert staged.candidate == alone.candidate
        assert staged.estimates == alone.estimates
        assert staged.reason == alone.reason


def test_a_price_decides_in_each_stage(wire: Wire) -> None:
    free = CascadeRouting(
        estimator=PrePost(before=Difficulty(), after=TokenConfidence()), utility=Utility(enough=1, per_usd=1e6)
    )
    wire.server.script("small", UNSURE)

    assert trace_of(router(wire, free).invoke(HARD))["candidate"] == "small"
    assert wire.models == ["small"]
