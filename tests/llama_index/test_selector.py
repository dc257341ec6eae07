"""RouterSelector under real router query engines: who is chosen, why, and what a judge may say."""

import asyncio
from typing import Any

import pytest
from llama_index.core.base.base_selector import SelectorResult
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.tools import QueryEngineTool, ToolMetadata

from router_integrations import Best, Candidate, Fixed, Record
from router_integrations.errors import ConfigurationError, RequestError
from router_integrations.estimators import Neighbors
from router_integrations.llama_index import RouterSelector
from router_integrations.strategies import BestOfN, Cascade, JudgedPolicies
from router_integrations.testing.replies import Fault, Reply
from router_integrations.trace import Trace
from router_integrations.types import Call, Request
from tests.llama_index.corpus import RIGHT, USAGE, Wire, query

WAYS = ["select", "aselect"]
BILLING = ToolMetadata(name="billing", description="invoices, payments, refunds")
SHIPPING = ToolMetadata(name="shipping", description="parcels, delivery, tracking numbers")
CHOICES = [BILLING, SHIPPING]
PARCEL = "Where is my parcel?"


async def select(selector: RouterSelector, way: str, choices: Any = CHOICES, asked: str = PARCEL) -> SelectorResult:
    found = getattr(selector, way)(choices, asked)
    return await found if way == "aselect" else found


def tools(wire: Wire) -> list[QueryEngineTool]:
    return [
        QueryEngineTool.from_defaults(wire.query_engine("small"), name="people", description="who founded what, staff"),
        QueryEngineTool.from_defaults(wire.query_engine("big"), name="money", description="prices, sales, invoices"),
    ]


@pytest.mark.parametrize("way", ["query", "aquery"])
async def test_a_router_query_engine_asks_the_engine_that_is_chosen(wire: Wire, way: str) -> None:
    wire.server.script("small", RIGHT)
    router = RouterQueryEngine(RouterSelector(), tools(wire), llm=wire.llm("summary"))
    response = await query(router, way)

    assert str(response) == RIGHT.text
    assert response.metadata["selector_result"].ind == 0
    assert wire.models == ["small"]


@pytest.mark.parametrize("way", WAYS)
async def test_by_default_the_nearest_description_is_chosen(way: str) -> None:
    found = await select(RouterSelector(), way)

    assert (found.ind, found.reason) == (1, "cheapest with expected quality 1.00 >= 0.70")
    assert (await select(RouterSelector(), way, asked="I want a refund of two payments")).ind == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("asked", "index"), [("hi", 0), ("Prove that there are infinitely many primes.", 1)])
async def test_a_strategy_decides_on_what_is_known_of_the_choices(way: str, asked: str, index: int) -> None:
    known = [
        # In another order than the tools: names count.
        Candidate("shipping", strength=0.9, input_price=1e-5, output_price=1e-5),
        Candidate("billing", strength=0.2, input_price=1e-7, output_price=1e-7),
    ]
    assert (await select(RouterSelector(candidates=known, strategy=Best()), way, asked=asked)).ind == index


@pytest.mark.parametrize("way", WAYS)
async def test_a_strategy_that_has_learnt_by_names_works_as_it_is(way: str) -> None:
    graded = [("invoice total", 1.0, 0.0), ("parcel late", 0.0, 1.0), ("refund", 1.0, 0.0), ("delivery van", 0.0, 1.0)]
    records = [
        Record(text=text, candidate=name, quality=quality)
        for text, *qualities in graded
        for name, quality in zip(("billing", "shipping"), qualities, strict=True)
    ]
    learnt = Best(estimator=Neighbors(k=1).fit(records))

    assert (await select(RouterSelector(strategy=learnt), way, asked="my parcel is late")).ind == 1
    assert (await select(RouterSelector(strategy=learnt), way, asked="the invoice total")).ind == 0


@pytest.mark.parametrize("names", [[None, None], ["query_engine_tool", "query_engine_tool"]])
def test_tools_without_names_of_their_own_are_numbered(names: list[str | None]) -> None:
    choices = [ToolMetadata(name=name, description=f"number {place}") for place, name in enumerate(names)]
    by_order = [Candidate("a", strength=0.1), Candidate("b", strength=0.9)]

    assert RouterSelector(strategy=Fixed(name="choice 2")).select(choices, "?").ind == 1
    assert RouterSelector(candidates=by_order, strategy=Fixed(name="b")).select(choices, "?").ind == 1
    assert RouterSelector().select(["about parcels", "about money"], PARCEL).ind == 0


def test_a_strategy_that_asks_several_selects_them() -> None:
    class Both:
        def decide(self, request: Request, attempts: Any = ()) -> list[Call]:
            return [Call(candidate=one, reason="both") for one in reversed(request.candidates)]

    assert RouterSelector(strategy=Both()).select(CHOICES, "?").inds == [1, 0]
    # Several answers of one candidate are one choice.
    assert RouterSelector(strategy=BestOfN(n=3)).select([BILLING], "?").inds == [0]


def test_a_cascade_selects_its_first_choice() -> None:
    known = [Candidate(one.name, strength=0.5) for one in CHOICES]

    assert RouterSelector(candidates=known, strategy=Cascade(order="given")).select(CHOICES, "?").ind == 0


# A judge


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("said", "index", "reason"),
    [
        ("shipping", 1, "falls under the policy 'shipping'"),
        ('{"choice": "Shipping", "reason": "a parcel"}', 1, "falls under the policy 'shipping'"),
        ("<think>billing?</think>\n**shipping**.", 1, "falls under the policy 'shipping'"),
        ("0", 0, "the judge 'small' named no policy, so 'billing' is asked"),
        ("none", 0, "the judge 'small' named no policy, so 'billing' is asked"),
        ("billing or shipping", 0, "the judge 'small' named no policy, so 'billing' is asked"),
        ("", 0, "the judge 'small' named no policy, so 'billing' is asked"),
        ('[{"choice": 7', 0, "the judge 'small' named no policy, so 'billing' is asked"),
    ],
)
async def test_pitfalls_60_and_61_what_a_judge_says_is_a_choice_or_the_default_with_a_reason(
    wire: Wire, way: str, said: str, index: int, reason: str
) -> None:
    wire.server.script("small", Reply(text=said, usage=USAGE))
    traces: list[Trace] = []
    selector = RouterSelector(judge=wire.candidate("small"), on_trace=traces.append)
    found = await select(selector, way)

    assert [(one.index, one.reason) for one in found.selections] == [(index, reason)]
    assert traces[0].cost == pytest.approx(50 * 1e-7 + 10 * 4e-7)
    assert [one.call.purpose for one in traces[0].attempts] == ["policy", "answer"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_judge_reads_the_descriptions_and_the_query(wire: Wire, way: str) -> None:
    await select(RouterSelector(judge=wire.llm("small")), way)
    (request,) = wire.requests
    asked = request.body["messages"][0]["content"]

    assert "- billing: invoices, payments, refunds" in asked
    assert PARCEL in asked


@pytest.mark.parametrize("way", WAYS)
async def test_a_judge_that_is_down_means_the_default(wire: Wire, way: str) -> None:
    wire.server.script("small", Fault("status", status=503))
    found = await select(RouterSelector(judge=wire.candidate("small"), default="shipping"), way)

    assert (found.ind, found.reason) == (1, "the judge 'small' failed (server), so 'shipping' is asked")


async def test_a_judge_that_hangs_is_left_at_its_timeout(wire: Wire) -> None:
    wire.server.script("small", Reply(text="billing", delay=5))
    found = await RouterSelector(judge=wire.candidate("small", timeout=0.2), default="shipping").aselect(CHOICES, "?")

    assert (found.ind, found.reason) == (1, "the judge 'small' failed (timeout), so 'shipping' is asked")


@pytest.mark.parametrize("way", WAYS)
async def test_a_judge_that_keeps_failing_rests(wire: Wire, way: str) -> None:
    wire.server.script("small", Fault("status", status=503), repeat=True)
    selector = RouterSelector(judge=wire.candidate("small"))
    reasons = [(await select(selector, way)).reason for _ in range(4)]

    assert len(wire.requests) == 3
    assert reasons[-1] == "the judge 'small' cannot be asked, so 'billing' is asked"


@pytest.mark.parametrize("way", WAYS)
async def test_a_strategy_may_ask_the_judge_by_its_name(wire: Wire, way: str) -> None:
    wire.server.script("small", Reply(text="things to send"))
    strategy = JudgedPolicies(
        policies={"things to send": "parcels"}, routes={"things to send": "shipping"}, judge="small", default="billing"
    )

    assert (await select(RouterSelector(strategy=strategy, judge=wire.candidate("small")), way)).ind == 1


async def test_selections_at_once_do_not_mix(wire: Wire) -> None:
    wire.server.script("small", Reply(text="shipping"), repeat=True)
    judged = RouterSelector(judge=wire.candidate("small"))
    found = await asyncio.gather(*(judged.aselect(CHOICES, PARCEL) for _ in range(8)))

    assert {one.ind for one in found} == {1}


# Around it


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"candidates": ["billing"]}, "candidates must be Candidates"),
        ({"candidates": [Candidate("typo")]}, r"candidates names \['typo'\], which are none of the choices"),
        ({"default": "billing"}, "default is for a judge"),
        ({"default": "typo", "judge": MockLLM()}, "default names 'typo', which is none of the choices"),
        ({"judge": "openai/unheard-of"}, "the price of 'openai/unheard-of' is unknown"),
        ({"strategy": Best()}, "neither a strength nor prices"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RouterSelector(**options).select(CHOICES, "?")


def test_without_choices_there_is_nothing_to_choose() -> None:
    with pytest.raises(RequestError, match="nothing to choose from"):
        RouterSelector().select([], "?")


def test_it_has_no_prompts_and_says_so(wire: Wire) -> None:
    selector = RouterSelector()
    router = RouterQueryEngine(selector, tools(wire), llm=wire.llm("summary"))
    router.update_prompts(router.get_prompts())

    assert selector.get_prompts() == {}
    with pytest.raises(ConfigurationError, match="no prompts to update"):
        router.update_prompts({"selector:prompt": PromptTemplate("")})


def test_the_judge_may_not_be_called_as_a_choice() -> None:
    with pytest.raises(ConfigurationError, match="'judge' is also the judge's name"):
        RouterSelector(judge=MockLLM()).select([ToolMetadata(name="judge", description="x"), BILLING], "?")
