"""CascadeQueryEngine over real query engines on the scripted server: what is shown, paid, traced and left running."""

import asyncio
import json
import time
from typing import Any

import pytest
from llama_index.core import Document, PromptTemplate, Response, VectorStoreIndex
from llama_index.core.base.response.schema import AsyncStreamingResponse, PydanticResponse, StreamingResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.tools import QueryEngineTool
from llama_index_instrumentation.dispatcher import instrument_tags
from pydantic import BaseModel, Field

from router_integrations import Candidate
from router_integrations.errors import (
    Abstained,
    AllCandidatesFailed,
    ConfigurationError,
    LimitExceeded,
    StrategyError,
    StreamInterrupted,
)
from router_integrations.estimators import SelfConsistency, TokenConfidence
from router_integrations.limits import Limits
from router_integrations.llama_index import CascadeQueryEngine, RouterLLM
from router_integrations.testing.replies import Fault, Reply
from router_integrations.trace import Trace
from tests.llama_index.corpus import (
    ASK,
    CHEAP,
    PAID,
    RIGHT,
    TEXTS,
    USAGE,
    WRONG,
    Chats,
    Drops,
    Hashed,
    Tells,
    Wire,
    query,
    read,
)

WAYS = ["query", "aquery"]
DOWN = Fault("status", status=503)


class Own(CustomQueryEngine):
    """A user's own query engine: returns or raises what it holds."""

    answer: Any

    def custom_query(self, query_str: str) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def cascade(wire: Wire, *, streaming: bool = False, **options: Any) -> CascadeQueryEngine:
    engines = [wire.rung(name, streaming=streaming) for name in ("small", "big")]
    return CascadeQueryEngine(engines=engines, **options)


def own(*answers: Any, **options: Any) -> CascadeQueryEngine:
    engines = [Candidate(f"own-{place}", model=Own(answer=answer)) for place, answer in enumerate(answers)]
    return CascadeQueryEngine(engines=engines, **options)


# What is shown, and what is paid


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_its_sources_do_not_hold_is_paid_and_not_shown(
    wire: Wire, way: str, streaming: bool
) -> None:
    wire.server.script("small", WRONG)
    wire.server.script("big", RIGHT)
    traces: list[Trace] = []
    response = await query(cascade(wire, streaming=streaming, on_trace=traces.append), way)
    text, pieces = await read(response)
    (trace,) = traces

    assert text == RIGHT.text
    # The last engine streams for real.
    assert len(pieces) == (len(RIGHT.tokens) + 1 if streaming else 1)
    assert [(one.call.candidate.name, one.model, one.text) for one in trace.attempts] == [
        ("small", "small", WRONG.text),
        ("big", "big", RIGHT.text),
    ]
    assert [one.cost for one in trace.attempts] == pytest.approx([PAID["small"], PAID["big"]])
    assert trace.reason == "'small' was not sure enough, 0.00 <= 0.70"
    assert response.metadata["router"] == trace.as_dict()
    assert wire.models == ["small", "big"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_its_sources_hold_is_returned_as_it_came(wire: Wire, way: str) -> None:
    wire.server.script("small", RIGHT)
    response = await query(cascade(wire), way)

    assert type(response) is Response
    assert str(response) == RIGHT.text
    assert [one.node.get_content() for one in response.source_nodes] == [*TEXTS[:2]]
    assert len(response.metadata) == 3  # the two nodes' and the router's
    assert wire.models == ["small"]


@pytest.mark.parametrize(("way", "kind"), [("query", StreamingResponse), ("aquery", AsyncStreamingResponse)])
async def test_an_accepted_draft_that_streamed_streams_again(wire: Wire, way: str, kind: type) -> None:
    wire.server.script("small", RIGHT)
    response = await query(cascade(wire, streaming=True), way)

    assert type(response) is kind
    # The trace is there when the stream has ended.
    assert response.metadata["router"] == {}
    text, pieces = await read(response)
    assert (text, len(pieces) > 3) == (RIGHT.text, True)
    assert response.metadata["router"]["confidence"] == 1.0
    assert [one.node.get_content() for one in response.source_nodes] == [*TEXTS[:2]]
    assert wire.models == ["small"]


async def test_estimators_see_the_sources_and_their_scores(wire: Wire) -> None:
    wire.server.script("small", RIGHT)
    traces: list[Trace] = []
    cascade(wire, on_trace=traces.append).query(ASK)
    (attempt,) = traces[0].attempts

    assert attempt.sources == TEXTS[:2]
    assert len(attempt.source_scores) == 2
    assert attempt.source_scores[0] > attempt.source_scores[1] > 0


@pytest.mark.parametrize("way", WAYS)
async def test_an_empty_response_is_no_answer(wire: Wire, way: str) -> None:
    wire.server.script("big", RIGHT)
    nothing = wire.query_engine("small")
    nothing._node_postprocessors = [Drops()]
    engines = [Candidate("small", model=nothing), wire.rung("big")]
    seen: list[Trace] = []
    response = await query(CascadeQueryEngine(engines=engines, estimator=TokenConfidence(), on_trace=seen.append), way)
    by_default = await query(CascadeQueryEngine(engines=engines, on_trace=seen.append), way)

    assert [one.text for one in seen[1].attempts] == ["", str(by_default)]
    assert seen[1].reason == "'small' was not sure enough, 0.00 <= 0.70"
    # An estimator of the user's own sees no text either.
    assert seen[0].attempts[0].text == "" and str(response) == "Empty Response"


async def test_every_model_inside_an_engine_is_counted_once_under_its_own_name(wire: Wire) -> None:
    items = [{"sub_question": asked, "tool_name": "docs"} for asked in ("Who?", "Where?")]
    asks = f"```json\n{json.dumps({'items': items})}\n```"
    wire.server.script("planner", Reply(text=asks, usage=USAGE))
    wire.server.script("small", RIGHT, repeat=True)
    tool = QueryEngineTool.from_defaults(wire.query_engine("small"), name="docs", description="the handbook")
    planner = LLMQuestionGenerator.from_defaults(llm=wire.llm("planner"))
    synthesizer = wire.query_engine("writer")._response_synthesizer
    wire.server.script("writer", RIGHT)
    engine = SubQuestionQueryEngine(planner, synthesizer, [tool], verbose=False, use_async=False)
    cascade = CascadeQueryEngine(engines=[Candidate("all", model=engine, input_price=1e-6, output_price=1e-6)])
    told = cascade.query(ASK).metadata["router"]

    assert wire.models == ["planner", "small", "small", "writer"]
    assert told["attempts"][0]["model"] == "planner, small, writer"
    assert (told["attempts"][0]["input_tokens"], told["attempts"][0]["output_tokens"]) == (200, 40)
    assert told["cost"] == pytest.approx(240e-6)


@pytest.mark.parametrize("way", WAYS)
async def test_models_that_were_given_prices_are_counted_at_theirs(wire: Wire, way: str) -> None:
    wire.server.script("small", DOWN)
    wire.server.script("big", RIGHT)
    router = RouterLLM(candidates=[wire.candidate("small"), wire.candidate("big")])
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=Hashed())
    engine = CascadeQueryEngine(engines=[Candidate("routed", model=index.as_query_engine(llm=router))])
    told = (await query(engine, way)).metadata["router"]

    assert (told["attempts"][0]["model"], told["cost"]) == ("big", pytest.approx(PAID["big"]))


def test_a_model_that_asks_another_is_not_counted_beside_it() -> None:
    told = CascadeQueryEngine(engines=[Candidate("chat", model=Chats(llm=Tells()))]).query(ASK).metadata["router"]

    assert (told["attempts"][0]["model"], told["attempts"][0]["input_tokens"]) == ("tells", 50)


# What fails


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_an_engine_that_fails_is_followed_by_the_next(wire: Wire, way: str, streaming: bool) -> None:
    wire.server.script("small", DOWN)
    wire.server.script("big", RIGHT)
    response = await query(cascade(wire, streaming=streaming), way)

    assert (await read(response))[0] == RIGHT.text
    assert [one["error"] and one["error"]["family"] for one in response.metadata["router"]["attempts"]] == [
        "server",
        None,
    ]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_when_the_last_engine_is_down_the_draft_is_the_answer(wire: Wire, way: str, streaming: bool) -> None:
    wire.server.script("small", WRONG)
    wire.server.script("big", DOWN)
    response = await query(cascade(wire, streaming=streaming), way)

    assert (await read(response))[0] == WRONG.text
    assert response.metadata["router"]["candidate"] == "small"


@pytest.mark.parametrize("way", WAYS)
async def test_when_all_fail_the_error_says_what_each_did(wire: Wire, way: str) -> None:
    for name in ("small", "big"):
        wire.server.script(name, DOWN)
    traces: list[Trace] = []
    with pytest.raises(AllCandidatesFailed, match=r"'small': .*; 'big': ") as caught:
        await query(cascade(wire, on_trace=traces.append), way)

    assert caught.value.trace is traces[0]
    assert [one.error.family for one in traces[0].attempts if one.error] == ["server", "server"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_that_breaks_is_said_to_the_reader(wire: Wire, way: str) -> None:
    wire.server.script("small", WRONG)
    wire.server.script("big", Fault("reset_stream", after_chunks=3))
    traces: list[Trace] = []
    response = await query(cascade(wire, streaming=True, on_trace=traces.append), way)
    with pytest.raises(StreamInterrupted, match="the stream of 'big' broke"):
        await read(response)

    assert response.metadata["router"] == traces[0].as_dict()
    assert [one.cost is None for one in traces[0].attempts] == [False, True]


@pytest.mark.parametrize("way", WAYS)
async def test_a_reader_who_leaves_ends_the_connection(wire: Wire, way: str) -> None:
    wire.server.script("small", WRONG)
    wire.server.script("big", Reply(text="word " * 200, chunk_delay=0.01))
    traces: list[Trace] = []
    before = wire.server.aborted
    response = await query(cascade(wire, streaming=True, on_trace=traces.append), way)
    if way == "query":
        next(response.response_gen)
        response.response_gen.close()
    else:
        await anext(response.response_gen)
        await response.response_gen.aclose()
    until = time.monotonic() + 5
    while wire.server.aborted == before and time.monotonic() < until:
        await asyncio.sleep(0.01)

    assert wire.server.aborted == before + 1
    assert traces[0].reason == "the caller left before the end"


@pytest.mark.parametrize("way", WAYS)
async def test_abstaining_says_what_it_cost(wire: Wire, way: str) -> None:
    wire.server.script("small", WRONG)
    with pytest.raises(Abstained, match="'small' was too unsure") as caught:
        await query(cascade(wire, abstain=0.1), way)

    assert wire.models == ["small"]
    assert caught.value.trace is not None and caught.value.trace.cost == pytest.approx(PAID["small"])


@pytest.mark.parametrize("way", WAYS)
async def test_the_budget_ends_it(wire: Wire, way: str) -> None:
    wire.server.script("small", WRONG)
    response = await query(cascade(wire, limits=Limits(budget=2e-4)), way)

    assert str(response) == WRONG.text
    assert wire.models == ["small"]


async def test_an_engine_that_hangs_is_left_at_its_timeout(wire: Wire) -> None:
    wire.server.script("small", Reply(text="late", delay=5))
    wire.server.script("big", RIGHT)
    engines = [Candidate("small", model=wire.query_engine("small"), timeout=0.2), wire.rung("big")]
    response = await CascadeQueryEngine(engines=engines).aquery(ASK)

    assert str(response) == RIGHT.text
    assert response.metadata["router"]["attempts"][0]["error"]["family"] == "timeout"


async def test_what_an_engine_had_used_when_it_was_cut_short_is_paid(wire: Wire) -> None:
    class Dawdles(CustomQueryEngine):
        llm: Any

        def custom_query(self, query_str: str) -> str:
            raise NotImplementedError

        async def acustom_query(self, query_str: str) -> str:
            await self.llm.acomplete(query_str)
            await asyncio.sleep(30)
            return "late"

    wire.server.script("small", WRONG)
    await wire.llm("small").acomplete("warm up, so that the time is the sleep's")
    wire.server.script("small", WRONG)
    wire.server.script("big", RIGHT)
    dawdles = Candidate("small", model=Dawdles(llm=wire.llm("small")), timeout=1.0, **CHEAP)
    told = (await CascadeQueryEngine(engines=[dawdles, wire.rung("big")]).aquery(ASK)).metadata["router"]

    assert told["attempts"][0]["error"]["family"] == "timeout"
    assert told["cost"] == pytest.approx(PAID["small"] + PAID["big"])


def test_the_deadline_comes_before_any_answer() -> None:
    with pytest.raises(LimitExceeded, match="deadline"):
        own(Response("late"), limits=Limits(deadline=1e-9)).query(ASK)


@pytest.mark.parametrize("way", WAYS)
async def test_the_budget_of_a_conversation_is_counted_over_its_queries(wire: Wire, way: str) -> None:
    wire.server.script("small", WRONG, repeat=True)
    wire.server.script("big", RIGHT, repeat=True)
    engine = cascade(wire, limits=Limits(conversation_budget=2.9e-3))
    answers = []
    for thread in ("a", "a", "b"):
        with instrument_tags({"thread_id": thread}):
            answers.append(str(await query(engine, way)))

    # For the second query of "a" only the cheap engine can be paid.
    assert answers == [RIGHT.text, WRONG.text, RIGHT.text]


@pytest.mark.parametrize("way", WAYS)
async def test_a_resting_engine_is_passed_over(wire: Wire, way: str) -> None:
    wire.server.script("small", *[DOWN] * 3, repeat=True)
    wire.server.script("big", RIGHT, repeat=True)
    engine = cascade(wire)
    for _ in range(4):
        await query(engine, way)

    assert wire.models.count("small") == 3


# The user's own function, and other engines


@pytest.mark.parametrize("way", WAYS)
async def test_a_function_judges_the_whole_response(wire: Wire, way: str) -> None:
    seen: list[Any] = []

    def judge(bundle: Any, response: Any) -> float:
        seen.append((bundle.query_str, type(response), str(response), len(response.source_nodes)))
        return 0.9

    wire.server.script("small", WRONG)
    response = await query(cascade(wire, streaming=True, estimator=judge), way)

    assert (await read(response))[0] == WRONG.text
    assert seen == [(ASK, Response, WRONG.text, 2)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("judge", "says"), [(lambda *_: 1 / 0, "ZeroDivisionError"), (lambda *_: 7, "returned 7")])
async def test_a_function_that_fails_is_a_strategy_error_with_the_trace(way: str, judge: Any, says: str) -> None:
    with pytest.raises(StrategyError, match=says) as caught:
        await query(own(Response("a"), Response("b"), estimator=judge), way)

    assert caught.value.trace is not None and len(caught.value.trace.attempts) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_an_object_is_an_answer(way: str) -> None:
    class City(BaseModel):
        name: str

    response = await query(own(PydanticResponse(City(name="Leeds")), Response("x"), estimator=lambda *_: 1.0), way)

    assert response.response == City(name="Leeds")
    assert response.metadata["router"]["candidate"] == "own-0"


@pytest.mark.parametrize("way", WAYS)
async def test_whatever_an_engine_raises_is_a_failure(way: str) -> None:
    response = await query(own(KeyError("index"), Response("fine")), way)

    assert str(response) == "fine"
    error = response.metadata["router"]["attempts"][0]["error"]
    assert (error["family"], error["message"]) == ("bad_request", "KeyError: 'index'")


def test_a_response_that_sits_in_a_cache_is_not_changed() -> None:
    kept = Response("fine", metadata={"a": 1})
    answered = own(kept).query(ASK)

    assert answered.metadata is not None and answered.metadata["router"]["candidate"] == "own-0"
    assert kept.metadata == {"a": 1}


def test_measured_costs_count_where_nothing_is_known() -> None:
    told = own(Response(""), Response("b"), costs={"own-0": 0.25, "own-1": 0.5}).query(ASK).metadata["router"]

    assert told["cost"] == 0.75


# LlamaIndex around it


async def test_it_is_a_tool_and_a_rung_of_another_cascade(wire: Wire) -> None:
    wire.server.script("small", WRONG, WRONG)
    wire.server.script("big", RIGHT, RIGHT)
    inner = cascade(wire)
    tool = QueryEngineTool.from_defaults(inner, name="handbook", description="about the firm")
    outer = CascadeQueryEngine(engines=[Candidate("inner", model=inner, input_price=1.0, output_price=1.0)])

    assert tool.call(input=ASK).content == RIGHT.text
    told = (await outer.aquery(ASK)).metadata["router"]
    # All that the inner one has paid for, drafts included, at the price of the rung.
    assert (told["attempts"][0]["model"], told["cost"]) == ("small, big", 120.0)


async def test_an_agents_tool_reads_a_stream_though_in_a_loop_of_its_own(wire: Wire) -> None:
    slowly = Reply(text=RIGHT.text, usage=USAGE, chunk_delay=0.02)
    wire.server.script("small", WRONG)
    wire.server.script("big", slowly, repeat=True)
    engine = cascade(wire, streaming=True)
    output = await QueryEngineTool.from_defaults(engine, name="handbook", description="Facts.").acall("Who?")

    assert (output.content, output.is_error) == (RIGHT.text, False)
    assert output.raw_output.metadata["router"]["candidate"] == "big"


@pytest.mark.parametrize("way", WAYS)
async def test_callbacks_see_one_query_around_those_of_the_engines(wire: Wire, way: str) -> None:
    wire.server.script("small", WRONG)
    wire.server.script("big", RIGHT)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([debug])
    await query(cascade(wire, callback_manager=manager), way)
    pairs = debug.get_event_pairs(CBEventType.QUERY)

    assert len(pairs) == 1
    assert str(pairs[0][1].payload["response"]) == RIGHT.text


async def test_tokens_are_those_of_the_engines_alone(wire: Wire) -> None:
    wire.server.script("small", WRONG, repeat=True)
    wire.server.script("big", RIGHT, repeat=True)
    counts = []
    for with_cascade in (False, True):
        counter = TokenCountingHandler(verbose=False)
        manager = CallbackManager([counter])
        rungs = [wire.rung(name) for name in ("small", "big")]
        for one in rungs:
            one.model._response_synthesizer._llm.callback_manager = manager
        if with_cascade:
            CascadeQueryEngine(engines=rungs, callback_manager=manager).query(ASK)
        else:
            for one in rungs:
                one.model.query(ASK)
        counts.append((counter.prompt_llm_token_count, counter.completion_llm_token_count))

    assert counts[0] == counts[1] == (100, 20)


class _Listens(BaseEventHandler):
    names: list[str] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "listens"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.names.append(event.class_name())


async def test_events_tell_of_the_models_once_and_of_the_trace_at_the_end(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    listens, root = _Listens(), get_dispatcher()
    monkeypatch.setattr(root, "event_handlers", [*root.event_handlers, listens])
    wire.server.script("small", WRONG)
    wire.server.script("big", RIGHT)
    engine = cascade(wire)
    listens.names.clear()
    await engine.aquery(ASK)

    assert listens.names.count("LLMChatStartEvent") == listens.names.count("LLMChatEndEvent") == 2
    assert listens.names.count("RouterEvent") == 1
    assert [listens.names[0], listens.names[-1]] == ["QueryStartEvent", "QueryEndEvent"]


def test_the_prompts_of_its_engines_can_be_read_and_set(wire: Wire) -> None:
    wire.server.script("small", RIGHT)
    engine = cascade(wire)
    name = "small:response_synthesizer:text_qa_template"
    assert "{context_str}" in engine.get_prompts()[name].get_template()
    engine.update_prompts({name: PromptTemplate("Texts: {context_str} Question: {query_str}")})
    engine.query(ASK)

    assert wire.requests[0].body["messages"][-1]["content"].startswith("Texts: Brightwell")
    with pytest.raises(ConfigurationError, match="none of the engines"):
        engine.update_prompts({"text_qa_template": PromptTemplate("")})


async def test_queries_at_once_do_not_mix(wire: Wire) -> None:
    wire.server.script("small", WRONG, repeat=True)
    wire.server.script("big", RIGHT, repeat=True)
    engine = cascade(wire)
    responses = await asyncio.gather(*(engine.aquery(ASK) for _ in range(8)))

    assert [one.metadata["router"]["cost"] for one in responses] == pytest.approx([PAID["small"] + PAID["big"]] * 8)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engines": []}, "empty"),
        ({"engines": ["openai/gpt-4o-mini"]}, "must be a LlamaIndex query engine but got NoneType"),
        ({"engines": [Candidate("a", model=MockLLM())]}, "must be a LlamaIndex query engine but got MockLLM"),
        ({"estimator": 0.5}, "must be an estimator or a plain function"),
        ({"estimator": SelfConsistency()}, r"needs \['samples'\]"),
        ({"accept": 1.5}, "accept must be in"),
        ({"accept": {"none": 0.5}}, r"accept names \['none'\]"),
        ({"costs": {"a": -1}}, "costs must be finite"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_built(options: dict[str, Any], says: str) -> None:
    engines = [Candidate("a", model=Own(answer=Response("x")))]
    with pytest.raises(ConfigurationError, match=says):
        CascadeQueryEngine(**{"engines": engines, **options})
