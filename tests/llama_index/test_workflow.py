"""CascadeWorkflow on the scripted server: what the stream tells, what is paid, and how it goes on after a stop."""

import asyncio
import base64
import json
import math
from typing import Any

import pytest
from llama_index.core.base.llms.types import ThinkingBlock
from llama_index.core.base.response.schema import Response
from llama_index.core.instrumentation.dispatcher import instrument_tags
from llama_index.core.llms import ChatMessage, ImageBlock, MockLLM, TextBlock
from llama_index.core.workflow import Context, StopEvent

from router_integrations import Best, Candidate, Gate
from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    ConfigurationError,
    RequestError,
    StreamInterrupted,
)
from router_integrations.estimators import AnswerQuality, Groundedness, Weakest
from router_integrations.limits import Limits
from router_integrations.llama_index import CascadeWorkflow
from router_integrations.llama_index.workflow import AnswerEvent, DeltaEvent, DraftEvent, RungEvent
from router_integrations.strategies import BestOfN, Cascade, JudgedCascade, JudgedPolicies
from router_integrations.testing.replies import Fault, Reply
from router_integrations.trace import Trace
from tests.llama_index.corpus import ASK, PAID, RIGHT, USAGE, WRONG, Wire

DOWN = Fault("status", status=503)
SURE = Reply(text=RIGHT.text, usage=USAGE, logprobs=(-0.1,) * 6)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
SORRY = Reply(text="Sorry, I can't help with that.", usage=USAGE)


def workflow(wire: Wire, **options: Any) -> CascadeWorkflow:
    return CascadeWorkflow(rungs=[wire.candidate("small"), wire.candidate("big")], **options)


async def run(flow: CascadeWorkflow, **asked: Any) -> tuple[AnswerEvent, list[Any]]:
    """The answer, and all that the stream told."""
    handler = flow.run(**(asked or {"query": ASK}))
    told = [event async for event in handler.stream_events()]
    return await handler, told


def kinds(told: list[Any]) -> list[str]:
    return [type(event).__name__ for event in told]


def text(told: list[Any]) -> str:
    return "".join(event.delta for event in told if isinstance(event, DeltaEvent))


class Asked:
    """An async function as a rung, which keeps how often it was asked; `seconds` before it answers."""

    def __init__(self, text: str, *, seconds: float = 0.0) -> None:
        self.text = text
        self.seconds = seconds
        self.times = 0

    async def __call__(self, query: str) -> str:
        self.times += 1
        await asyncio.sleep(self.seconds)
        return self.text

    def named(self, name: str) -> Candidate:
        return Candidate(name, model=self, input_price=0.0, output_price=0.0)


async def stopped(flow: CascadeWorkflow, at: type, nth: int = 1) -> dict[str, Any]:
    """The saved context of a run that is stopped at its `nth` event of a kind."""
    handler = flow.run(query=ASK)
    seen = 0
    async for event in handler.stream_events():
        seen += isinstance(event, at)
        if seen == nth:
            break
    saved = json.loads(json.dumps(handler.ctx.to_dict()))
    await handler.cancel_run()
    return saved


async def resumed(flow: CascadeWorkflow, saved: dict[str, Any]) -> tuple[AnswerEvent, list[Any]]:
    handler = flow.run(ctx=Context.from_dict(flow, saved))
    told = [event async for event in handler.stream_events()]
    return await handler, told


# What the stream tells, and what is paid


async def test_drafts_are_told_and_the_answer_streams(wire: Wire) -> None:
    wire.server.script("small", SORRY)
    wire.server.script("big", RIGHT)
    traces: list[Trace] = []
    answer, told = await run(workflow(wire, on_trace=traces.append))
    draft, onward = told[1], told[2]

    assert kinds(told)[:4] == ["RungEvent", "DraftEvent", "RungEvent", "DeltaEvent"]
    assert (draft.candidate, draft.text, draft.accepted, draft.confidence) == ("small", SORRY.text, False, 0.0)
    assert draft.cost == pytest.approx(PAID["small"])
    assert (onward.candidates, onward.purpose) == (["big"], "answer")
    assert onward.reason == draft.reason == "'small' was not sure enough, 0.00 <= 0.70"
    assert text(told) == answer.text == str(answer) == RIGHT.text
    assert sum(isinstance(event, DeltaEvent) for event in told) > 3
    assert (answer.candidate, answer.cost) == ("big", pytest.approx(PAID["small"] + PAID["big"]))
    assert answer.router == traces[0].as_dict()
    assert len(traces) == 1
    assert [bool(request.body.get("stream")) for request in wire.requests] == [False, True]


async def test_an_accepted_draft_is_the_answer(wire: Wire) -> None:
    wire.server.script("small", SURE)
    answer, told = await run(workflow(wire))

    assert kinds(told) == ["RungEvent", "DraftEvent", "DeltaEvent", "AnswerEvent"]
    assert (told[1].accepted, told[1].confidence) == (True, pytest.approx(math.exp(-0.1)))
    assert text(told) == answer.text == RIGHT.text
    assert isinstance(answer.response, Response) and str(answer.response) == RIGHT.text
    assert wire.models == ["small"]


@pytest.mark.parametrize(("sure", "answerer"), [(-0.01, "small"), (-3.0, "big")])
async def test_a_gate_opens_or_cuts_off_as_soon_as_its_window_is_full(wire: Wire, sure: float, answerer: str) -> None:
    said = " ".join(f"w{number}" for number in range(40))
    wire.server.script("small", Reply(text=said, logprobs=(sure,) * 40, chunk_delay=0.01))
    traces: list[Trace] = []
    strategy = Cascade(order="given", gate=Gate(window=8))
    answer, told = await run(workflow(wire, strategy=strategy, on_trace=traces.append))
    draft = traces[0].attempts[0]
    assert answer.candidate == answerer and text(told) == answer.text
    if answerer == "small":
        assert draft.first_token is not None and draft.latency - draft.first_token > 0.05
    else:
        assert len(draft.text.split()) == 8


async def test_what_the_strategy_looks_at_is_asked_for_where_it_is_looked_at(wire: Wire) -> None:
    wire.server.script("small", Reply(text="Ada Moss", logprobs=(-3.0, -3.0)))
    wire.server.script("big", RIGHT)
    answer, told = await run(workflow(wire))

    assert (told[1].text, answer.text) == ("Ada Moss", RIGHT.text)
    assert told[1].confidence == pytest.approx(math.exp(-3))
    assert [request.body.get("logprobs") for request in wire.requests] == [True, None]


async def test_models_get_the_conversation_and_functions_its_last_human_turn(wire: Wire) -> None:
    seen: list[str] = []

    async def lookup(query: str) -> str:
        seen.append(query)
        return ""

    messages = [
        ChatMessage("Be brief.", role="system"),
        ChatMessage("Hi", role="user"),
        ChatMessage("Hello", role="assistant"),
        ChatMessage(ASK, role="user"),
    ]
    wire.server.script("big", RIGHT)
    flow = CascadeWorkflow(rungs=[Candidate("lookup", model=lookup), wire.candidate("big")])
    answer, _ = await run(flow, messages=messages)

    assert answer.text == RIGHT.text
    assert seen == [ASK]
    assert [one["content"] for one in wire.requests[0].body["messages"]] == ["Be brief.", "Hi", "Hello", ASK]


async def test_query_engines_are_rungs_and_their_sources_are_seen(wire: Wire) -> None:
    wire.server.script("small", WRONG)
    wire.server.script("big", RIGHT)
    strategy = Cascade(estimator=Weakest(estimators=(AnswerQuality(), Groundedness())), order="given", abstain=0.0)
    flow = CascadeWorkflow(rungs=[wire.rung("small"), wire.rung("big", streaming=True)], strategy=strategy)
    with pytest.raises(Abstained, match="'small' was too unsure"):
        await run(flow)
    wire.server.script("small", RIGHT)
    answer, _ = await run(flow)

    assert len(answer.sources) == len(answer.response.source_nodes) == 2
    assert answer.confidence == 1.0


@pytest.mark.parametrize(
    ("strategy", "models", "drafts"),
    [
        (Best(), ["small"], 0),
        (BestOfN(n=2), ["small", "small"], 2),
        (JudgedPolicies(policies={"small": "firms"}, judge="judge"), ["judge", "small"], 0),
        (JudgedCascade(judge="judge", votes=2, order="given"), ["small", "judge", "judge", "big"], 1),
    ],
    ids=["best", "best of n", "judged policies", "judged cascade"],
)
async def test_every_strategy_can_decide(wire: Wire, strategy: Any, models: list[str], drafts: int) -> None:
    wire.server.script("small", RIGHT, RIGHT)
    wire.server.script("big", RIGHT)
    wire.server.script("judge", Reply(text="small" if isinstance(strategy, JudgedPolicies) else "False"), repeat=True)
    answer, told = await run(workflow(wire, strategy=strategy, judges=[wire.candidate("judge")]))

    assert answer.text == text(told) == RIGHT.text
    assert wire.models == models
    assert [one["candidate"] for one in answer.router["attempts"]] == models
    assert kinds(told).count("DraftEvent") == drafts


# It goes on


@pytest.mark.parametrize(
    ("at", "nth", "times"),
    [
        (RungEvent, 1, (2, 1)),  # nothing had come back
        (DraftEvent, 1, (1, 1)),
        (RungEvent, 2, (1, 2)),
    ],
)
async def test_a_stopped_run_goes_on_after_the_last_answered_call(at: type, nth: int, times: tuple[int, int]) -> None:
    small, big = Asked(SORRY.text, seconds=0.05), Asked(RIGHT.text, seconds=0.05)
    saved = await stopped(CascadeWorkflow(rungs=[small.named("small"), big.named("big")]), at, nth)
    # In another process there is another object.
    flow = CascadeWorkflow(rungs=[small.named("small"), big.named("big")])
    answer, told = await resumed(flow, saved)

    assert (small.times, big.times) == times
    assert answer.text == text(told) == RIGHT.text
    assert [one["candidate"] for one in answer.router["attempts"]] == ["small", "big"]
    assert answer.router["estimates"].keys() == {"small", "big"}


async def test_what_was_paid_before_the_stop_is_counted_and_a_cut_stream_begins_anew(wire: Wire) -> None:
    wire.server.script("small", SORRY)
    wire.server.script("big", Reply(text=RIGHT.text, chunk_delay=0.05), RIGHT)
    saved = await stopped(workflow(wire), DeltaEvent, 2)
    answer, told = await resumed(workflow(wire), saved)

    assert wire.models == ["small", "big", "big"]
    assert answer.text == text(told) == RIGHT.text
    assert answer.cost == pytest.approx(PAID["small"] + PAID["big"])


async def test_an_accepted_draft_outlives_its_process(wire: Wire) -> None:
    wire.server.script("small", SURE)
    saved = await stopped(workflow(wire), DraftEvent)
    flow = workflow(wire)
    answer = await flow.run(ctx=Context.from_dict(flow, saved))

    assert wire.models == ["small"]
    assert (answer.text, answer.confidence) == (RIGHT.text, pytest.approx(math.exp(-0.1)))
    # The response itself was left behind.
    assert answer.response is None


async def test_votes_are_not_asked_for_twice() -> None:
    small, big, votes = Asked(SORRY.text), Asked(RIGHT.text, seconds=0.05), []
    options: dict[str, Any] = {
        "rungs": [small.named("small"), big.named("big")],
        "strategy": JudgedCascade(judge="judge", votes=3, order="given"),
        "judges": [Candidate("judge", model=lambda text: votes.append(text) or "False")],
    }
    saved = await stopped(CascadeWorkflow(**options), RungEvent, 3)
    answer, _ = await resumed(CascadeWorkflow(**options), saved)

    assert answer.text == RIGHT.text
    assert (small.times, len(votes)) == (1, 3)


async def test_a_saved_run_holds_no_secret(wire: Wire) -> None:
    wire.server.script("small", SORRY)
    wire.server.script("big", Reply(text=RIGHT.text, chunk_delay=0.05))

    assert "sk-test" not in json.dumps(await stopped(workflow(wire), DeltaEvent))


async def test_a_rung_that_is_gone_is_said() -> None:
    small, big = Asked(SORRY.text).named("small"), Asked(RIGHT.text, seconds=0.05).named("big")
    saved = await stopped(CascadeWorkflow(rungs=[small, big]), RungEvent, 2)
    with pytest.raises(ConfigurationError, match="'small' was asked before but is not among"):
        await resumed(CascadeWorkflow(rungs=[big]), saved)


async def test_the_deadline_counts_the_time_before_the_stop_and_not_the_pause() -> None:
    rungs = [Asked(SORRY.text, seconds=0.1).named("small"), Asked(RIGHT.text, seconds=0.05).named("big")]
    saved = await stopped(CascadeWorkflow(rungs=rungs), RungEvent, 2)
    seconds = json.loads(saved["state"]["state_data"]["_data"]["cascade"])["seconds"]
    await asyncio.sleep(0.2)
    on_time = CascadeWorkflow(rungs=rungs, limits=Limits(deadline=seconds + 20))
    late = CascadeWorkflow(rungs=rungs, limits=Limits(deadline=seconds))

    assert 0.1 <= seconds < 20
    assert (await resumed(on_time, saved))[0].text == RIGHT.text
    # No time is left, so the draft is the answer.
    assert (await resumed(late, saved))[0].text == SORRY.text


# What fails


async def test_a_rung_that_fails_is_followed_by_the_next(wire: Wire) -> None:
    wire.server.script("small", DOWN)
    wire.server.script("big", RIGHT)
    answer, told = await run(workflow(wire))

    assert answer.text == RIGHT.text
    assert (told[1].accepted, told[1].text) == (False, "")
    assert "scripted fault" in told[1].error
    assert told[2].reason == "'small' failed (server)"


async def test_when_all_fail_the_run_fails_with_the_trace(wire: Wire) -> None:
    for name in ("small", "big"):
        wire.server.script(name, DOWN)
    traces: list[Trace] = []
    handler = workflow(wire, on_trace=traces.append).run(query=ASK)
    with pytest.raises(AllCandidatesFailed) as caught:
        await handler

    assert caught.value.trace is traces[0]
    assert len(traces[0].attempts) == 2


async def test_a_stream_that_breaks_fails_the_run(wire: Wire) -> None:
    wire.server.script("small", SORRY)
    wire.server.script("big", Fault("reset_stream", after_chunks=3))
    with pytest.raises(StreamInterrupted):
        await workflow(wire).run(query=ASK)


async def test_the_deadline_ends_a_rung_that_hangs() -> None:
    async def hangs(query: str) -> str:
        await asyncio.sleep(30)
        return "late"

    flow = CascadeWorkflow(rungs=[Candidate("hangs", model=hangs)], limits=Limits(deadline=0.1))
    with pytest.raises(AllCandidatesFailed, match="no answer within"):
        await flow.run(query=ASK)


async def test_the_budget_leaves_the_draft(wire: Wire) -> None:
    wire.server.script("small", SORRY)
    answer, _ = await run(workflow(wire, limits=Limits(budget=2e-4)))

    assert (answer.candidate, answer.text) == ("small", SORRY.text)


async def test_the_budget_of_a_conversation_is_counted_over_its_runs_each_call_once(wire: Wire) -> None:
    wire.server.script("small", SORRY, repeat=True)
    wire.server.script("big", RIGHT, repeat=True)
    flow = workflow(wire, limits=Limits(conversation_budget=2.9e-3))
    answers = []
    for thread in ("a", "a", "b"):
        with instrument_tags({"thread_id": thread}):
            answers.append((await run(flow))[0].text)

    # For the second query of "a" only the cheap one can be paid.
    assert answers == [RIGHT.text, SORRY.text, RIGHT.text]
    assert flow.ledger.spent("b") == pytest.approx(PAID["small"] + PAID["big"])
    assert flow.ledger.spent("a") == pytest.approx(2 * PAID["small"] + PAID["big"])


async def test_runs_at_once_do_not_mix(wire: Wire) -> None:
    wire.server.script("small", SORRY, repeat=True)
    wire.server.script("big", RIGHT, repeat=True)
    flow = workflow(wire)
    answers = await asyncio.gather(*(flow.run(query=ASK) for _ in range(8)))

    assert [one.cost for one in answers] == pytest.approx([PAID["small"] + PAID["big"]] * 8)


async def test_a_cancelled_run_ends_the_connection(wire: Wire) -> None:
    wire.server.script("small", SORRY)
    wire.server.script("big", Reply(text="word " * 300, chunk_delay=0.01))
    before = wire.server.aborted
    await stopped(workflow(wire), DeltaEvent)
    for _ in range(500):
        if wire.server.aborted > before:
            break
        await asyncio.sleep(0.01)

    assert wire.server.aborted == before + 1


async def test_a_query_comes_after_the_conversation(wire: Wire) -> None:
    history = [ChatMessage("Hi", role="user"), ChatMessage("Hello", role="assistant")]
    await workflow(wire).run(messages=history, query=ASK)

    assert [one["content"] for one in wire.requests[0].body["messages"]] == ["Hi", "Hello", ASK]


async def test_who_cannot_read_an_image_is_not_asked(wire: Wire) -> None:
    wire.server.script("big", RIGHT)
    rungs = [wire.candidate("small", vision=False), wire.candidate("big", vision=True)]
    picture = ImageBlock(image=PNG, image_mimetype="image/png")
    answer = await CascadeWorkflow(rungs=rungs).run(
        messages=[ChatMessage(role="user", blocks=[TextBlock(text=ASK), picture])]
    )

    assert answer.router["rejected"] == {"small": "no vision"}
    parts = wire.requests[0].body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url"]


async def test_thinking_of_another_model_is_not_sent_on(wire: Wire) -> None:
    thought = ChatMessage(role="assistant", blocks=[ThinkingBlock(content="Hm."), TextBlock(text="Hello")])
    await workflow(wire).run(messages=[ChatMessage("Hi", role="user"), thought], query=ASK)

    assert "Hm." not in json.dumps(wire.requests[0].body)


@pytest.mark.parametrize("asked", [{"query": " "}, {"messages": [ChatMessage("Hi", role="assistant")]}, {}])
async def test_without_a_query_there_is_nothing_to_answer(asked: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="nothing to answer"):
        await CascadeWorkflow(rungs=[Candidate("mock", model=MockLLM())]).run(**asked)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rungs": []}, "empty"),
        (
            {"rungs": [Candidate("f", model=lambda query: query)]},
            "must be a LlamaIndex LLM, a query engine or an async",
        ),
        ({"judges": [Candidate("mock", model=MockLLM())]}, "two candidates are called 'mock'"),
        ({"judges": [Candidate("other", model=7)]}, "the model of a judge must be an LLM or a function"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_built(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        CascadeWorkflow(**{"rungs": [Candidate("mock", model=MockLLM())], **options})


async def test_the_answer_is_a_stop_event_that_is_json(wire: Wire) -> None:
    wire.server.script("small", RIGHT)
    answer, _ = await run(workflow(wire))

    assert isinstance(answer, StopEvent)
    assert "response" not in json.loads(answer.model_dump_json())
