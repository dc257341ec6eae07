"""What traces, callbacks, caches and copies see of a router: as of a plain chat model, plus one chain run above it."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from doubles import EASY, HARD, Own, Runs, Wire, router_over, trace_of, weather, whole
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, SecretStr

from router_integrations import Candidate
from router_integrations.errors import (
    AllCandidatesFailed,
    NoEligibleCandidate,
    ProviderError,
    RequestError,
    StreamInterrupted,
)
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Fixed
from router_integrations.testing.replies import Fault, Reply
from router_integrations.trace import Trace

CALLS = ["invoke", "ainvoke", "stream", "astream"]
DOWN = Fault("status", status=503)
WORDS = ["one", " two", " three"]
# To LangChain, v3 streams and loading are beta.
beta = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


async def answer(router: Any, call: str, input: Any = EASY, config: Any = None, **kwargs: Any) -> Any:
    """Return what one way of calling answers; the chunks of a stream added up."""
    made = getattr(router, call)(input, config, **kwargs)
    if isinstance(made, AsyncIterator):
        return whole([chunk async for chunk in made])
    if call.startswith("a"):
        return await made
    return whole(made) if call == "stream" else made


def router(**options: Any) -> RouterChatModel:
    return router_over(Own(label="own-small"), Own(label="own-big"), **options)


# The run tree


@pytest.mark.parametrize("call", CALLS)
async def test_the_router_is_a_chain_run_and_the_model_that_answers_its_child(call: str):
    runs = Runs()
    await answer(router(), call, EASY, {"callbacks": [runs]})
    chain, model = runs.started.values()
    assert (chain["kind"], chain["parent"], chain["name"], chain["end"]) == ("chain", None, "RouterChatModel", "ok")
    assert (model["kind"], model["parent"], model["end"]) == ("model", chain["id"], "ok")
    assert runs.models == [("own-small", "ok")]
    assert trace_of(chain["output"])["candidate"] == "small"
    assert [token for token in runs.tokens if token] == (WORDS if call.endswith("stream") else [])


@pytest.mark.parametrize("call", CALLS)
async def test_failed_attempts_are_error_runs_below_the_router(call: str):
    runs = Runs()
    failing = router_over(Own(replies=[ConnectionError("down")]), Own(replies=[ConnectionError("down")]))
    with pytest.raises(AllCandidatesFailed):
        await answer(failing, call, EASY, {"callbacks": [runs]})
    chain, *models = runs.started.values()
    assert isinstance(chain["error"], AllCandidatesFailed)
    assert [(run["parent"], run["end"]) for run in models] == [(chain["id"], "error")] * 2


async def test_inside_a_chain_the_router_hangs_below_the_step_that_called_it():
    runs = Runs()
    inner = router()
    step = RunnableLambda(lambda query: inner.invoke(query), afunc=inner.ainvoke).with_config(run_name="step")
    for result in (step.invoke(EASY, {"callbacks": [runs]}), await step.ainvoke(EASY, {"callbacks": [runs]})):
        assert result.content == "one two three"
    outer, chain, model, *_ = runs.started.values()
    assert (outer["name"], chain["parent"], model["parent"]) == ("step", outer["id"], chain["id"])


def test_a_structured_answer_is_still_one_router_run_and_one_model_run(wire: Wire):
    class Person(BaseModel):
        name: str

    runs = Runs()
    wire.router().with_structured_output(Person).invoke("I am 'Ada'", {"callbacks": [runs]})
    assert [run["name"] for run in runs.of("chain")][:1] == ["RouterChatModel"]
    assert len(runs.of("model")) == 1


# What a call, a binding and the constructor bring


@pytest.mark.parametrize("call", CALLS)
async def test_callbacks_tags_metadata_name_and_id_reach_the_runs(call: str):
    mine, bound, given = Runs(), Runs(), Runs()
    made = router(callbacks=[mine], tags=["mine"], metadata={"who": "mine", "mine": 1})
    configured = made.with_config(callbacks=[bound], tags=["bound"], metadata={"who": "bound", "bound": 2})
    run_id = uuid4()
    config = {
        "callbacks": [given],
        "tags": ["given"],
        "metadata": {"who": "given"},
        "run_name": "ask",
        "run_id": run_id,
    }
    await answer(configured, call, EASY, config)
    assert [*mine.started] == [*bound.started] == [*given.started]
    chain, model = given.started.values()
    assert (chain["id"], chain["name"]) == (run_id, "ask")
    assert model["id"] != run_id
    assert model["name"] != "ask"
    for run in (chain, model):
        assert {"mine", "bound", "given"} <= {*run["tags"]}
        assert (run["metadata"]["who"], run["metadata"]["mine"], run["metadata"]["bound"]) == ("given", 1, 2)


def test_a_handler_that_is_given_twice_is_told_once():
    runs = Runs()
    seen: list[str] = []

    class Counting(BaseCallbackHandler):
        def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
            seen.append("chain")

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            seen.append("model")

    handler = Counting()
    router(callbacks=[handler, runs]).invoke(EASY, {"callbacks": [handler]})
    assert seen == ["chain", "model"]


async def test_sync_and_async_handlers_are_both_told():
    seen: list[str] = []

    class Async(AsyncCallbackHandler):
        async def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
            seen.append("async chain")

        async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            seen.append("async model")

        async def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
            seen.append(token)

    runs = Runs()
    assert [chunk async for chunk in router().astream(EASY, {"callbacks": [Async(), runs]})]
    assert [one for one in seen if one] == ["async chain", "async model", *WORDS]
    assert [token for token in runs.tokens if token] == WORDS


def test_a_handler_without_chat_models_gets_the_prompt_once_as_text():
    prompts: list[list[str]] = []

    class Old(BaseCallbackHandler):
        def on_llm_start(self, serialized: Any, texts: list[str], **kwargs: Any) -> None:
            prompts.append(texts)

    router().invoke(EASY, {"callbacks": [Old()]})
    assert prompts == [[f"Human: {EASY}"]]


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
async def test_generate_gives_each_prompt_a_run_and_the_first_the_callers_id(call: str):
    runs, run_id = Runs(), uuid4()
    prompts = [[HumanMessage(EASY)], [HumanMessage(HARD)]]
    if call == "invoke":
        result = router().generate(prompts, callbacks=[runs], run_id=run_id, tags=["given"], run_name="ask")
    else:
        result = await router().agenerate(prompts, callbacks=[runs], run_id=run_id, tags=["given"], run_name="ask")
    chains = runs.of("chain")
    assert [run.run_id for run in result.run or []] == [chain["id"] for chain in chains]
    assert (chains[0]["id"], {chain["name"] for chain in chains}) == (run_id, {"ask"})
    assert [trace_of(one.message)["candidate"] for (one,) in result.generations] == ["small", "big"]


# Event streams


async def test_events_name_the_runs_and_stream_each_token_once():
    events = [event async for event in router().astream_events(EASY, version="v2")]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[1], kinds[-1]) == ("on_chain_start", "on_chat_model_start", "on_chain_end")
    assert {event["name"] for event in events} == {"RouterChatModel", "Own"}
    streamed = [event for event in events if event["event"] == "on_chat_model_stream"]
    assert [text for event in streamed if (text := event["data"]["chunk"].content)] == WORDS
    root = events[0]["run_id"]
    assert all(event["parent_ids"] == ([root] if event["name"] == "Own" else []) for event in events)
    assert trace_of(events[-1]["data"]["output"])["candidate"] == "small"


async def test_events_of_a_chain_show_one_chat_model(wire: Wire):
    chain = RunnableLambda(lambda query: query) | wire.router()
    wire.server.script("small", DOWN)
    wire.server.script("big", Reply(text="one two three"))
    events = [event async for event in chain.astream_events(EASY, version="v2")]
    texts = [event["data"]["chunk"].content for event in events if event["event"] == "on_chat_model_stream"]
    assert [text for text in texts if text] == WORDS
    ended = [event for event in events if event["event"] == "on_chat_model_end"]
    assert [event["metadata"]["ls_model_name"] for event in ended] == ["big"]
    assert len(ended[0]["parent_ids"]) == 2


@beta
async def test_v3_streams_give_text_usage_and_trace():
    runs = Runs()
    stream: Any = router().stream_events(EASY, {"callbacks": [runs]}, version="v3")
    assert [*stream.text] == WORDS
    astream: Any = await router().bind(seed=7).astream_events(EASY, version="v3")
    assert [piece async for piece in astream.text] == WORDS
    for message in (stream.output, await astream.output):
        assert (message.text, message.usage_metadata["total_tokens"]) == ("one two three", 15)
        assert trace_of(message)["candidate"] == "small"
    assert [run["kind"] for run in runs.started.values()] == ["chain", "model"]


@beta
async def test_v3_streams_raise_what_the_router_raises():
    failing = router_over(Own(replies=[ConnectionError("down")]), Own(replies=[ConnectionError("down")]))
    with pytest.raises(AllCandidatesFailed):
        [*failing.stream_events(EASY, version="v3").text]
    with pytest.raises(AllCandidatesFailed):
        [piece async for piece in (await failing.astream_events(EASY, version="v3")).text]


@beta
def test_v3_streams_tool_calls(wire: Wire):
    stream: Any = wire.router().bind_tools([weather]).stream_events("What is the weather in 'Oslo'?", version="v3")
    assert [call["args"] for call in stream.output.tool_calls] == [{"city": "Oslo"}]


# Caches


@pytest.fixture
def cache() -> Iterator[InMemoryCache]:
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


def twins(wire: Wire, **options: Any) -> RouterChatModel:
    """Return a router over one model with two settings."""
    pool = [
        wire.candidate("openai/small", name="cold", params={"temperature": 0.0}),
        wire.candidate("openai/small", name="warm", params={"temperature": 0.9}),
    ]
    return RouterChatModel(candidates=pool, **options)


@pytest.mark.parametrize("how", ["global", "own"])
async def test_candidates_share_no_cache_entry_and_a_hit_costs_nothing(wire: Wire, cache: InMemoryCache, how: str):
    if how == "own":
        set_llm_cache(None)
    cached = twins(wire, cache=cache if how == "own" else None)
    misses = [cached.invoke(EASY, model=name) for name in ("cold", "warm")]
    assert [request.body["temperature"] for request in wire.requests] == [0.0, 0.9]
    hits = [cached.invoke(EASY, model="cold"), await cached.ainvoke(EASY, model="warm")]
    assert len(wire.requests) == 2
    for miss, hit in zip(misses, hits, strict=True):
        assert (hit.content, trace_of(miss)["cost"] > 0, trace_of(hit)["cost"]) == (miss.content, True, 0)
    stored = [one.message for (one,) in cache._cache.values()]
    assert not any("router" in message.response_metadata for message in stored)
    assert len(stored) == 2


def test_a_hit_is_told_from_a_hit_of_another_key(wire: Wire, cache: InMemoryCache):
    for key in ("sk-one", "sk-two"):
        RouterChatModel(candidates=[wire.candidate("openai/small", params={"api_key": key})]).invoke(EASY)
    assert len(wire.requests) == 2
    assert not any("sk-" in str(entry) for entry in cache._cache)


def test_a_hit_of_a_model_that_reports_no_usage_costs_nothing_either(cache: InMemoryCache):
    silent = router_over(Own(label="silent", reports_usage=False), Own())
    first, second = silent.invoke(EASY), silent.invoke(EASY)
    assert (trace_of(first)["attempts"][0]["usage_estimated"], trace_of(first)["cost"] > 0) == (True, True)
    assert trace_of(second)["cost"] == 0


def test_a_cached_answer_is_not_changed_by_who_gets_it(cache: InMemoryCache):
    cached = router()
    first = cached.invoke(EASY)
    first.response_metadata["router"]["reason"] = "changed"
    first.response_metadata["more"] = 1
    second = cached.invoke(EASY)
    assert second.response_metadata["router"]["reason"] != "changed"
    assert "more" not in second.response_metadata


# Rate limits, counts, settings


class Limiter(BaseRateLimiter):
    def __init__(self) -> None:
        self.acquired = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.acquired += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.acquired += 1
        return True


@pytest.mark.parametrize("call", CALLS)
async def test_the_rate_limiter_is_asked_once_for_each_model_call(call: str):
    limiter = Limiter()
    await answer(router(rate_limiter=limiter), call)
    assert limiter.acquired == 1
    await answer(router_over(Own(replies=[ConnectionError("down")]), Own(), rate_limiter=limiter), call)
    assert limiter.acquired == 3


def test_tokens_are_counted_offline():
    counting = RouterChatModel(candidates=["openai/gpt-4o-mini", "openai/gpt-4o"])
    assert counting.get_num_tokens("hello world") == 2
    assert len(counting.get_token_ids("hello world")) == 2
    bare = counting.get_num_tokens_from_messages([HumanMessage("hello world")])
    assert 2 < bare < 10
    assert counting.get_num_tokens_from_messages([HumanMessage("hello world")], tools=[weather]) > bare + 10
    mine = RouterChatModel(candidates=["openai/gpt-4o-mini"], custom_get_token_ids=lambda text: [1, 2, 3])
    assert mine.get_num_tokens("hello") == 3


@pytest.mark.parametrize("call", CALLS)
async def test_stop_of_the_constructor_the_binding_and_the_call(wire: Wire, call: str):
    stopping = wire.router(stop=["short"])
    assert (await answer(stopping, call)).content == "Here is a "
    assert (await answer(stopping.bind(stop=["answer"]), call)).content == "Here is a short "
    assert (await answer(stopping.bind(stop=["answer"]), call, stop=["is"])).content == "Here "
    assert [request.body["stop"] for request in wire.requests] == [["short"], ["answer"], ["is"]]


@pytest.mark.parametrize("call", CALLS)
async def test_an_own_model_gets_stop_and_settings(call: str):
    small = Own()
    await answer(router_over(small, Own()), call, stop=["."], seed=7)
    assert small.settings == [{"stop": ["."], "seed": 7}]


def test_several_choices_are_asked_for_and_paid_once(wire: Wire):
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    wire.server.script("small", Reply(text="Hi", usage=usage))
    reply = wire.router().invoke(EASY, n=2)
    assert (wire.last["n"], reply.content, reply.usage_metadata["total_tokens"]) == (2, "Hi", 20)
    assert trace_of(reply)["cost"] == pytest.approx(10 * 1e-7 + 10 * 4e-7)


# Shape, copies, serialised form


def test_schemas_and_graph_are_those_of_a_chat_model():
    plain, routed = Own(), router()
    for schema in ("get_input_jsonschema", "get_output_jsonschema"):
        expected, got = getattr(plain, schema)(), getattr(routed, schema)()
        assert {**got, "title": ""} == {**expected, "title": ""}
    assert [node.name for node in routed.get_graph().nodes.values()] == [
        "RouterChatModelInput",
        "RouterChatModel",
        "RouterChatModelOutput",
    ]
    assert (routed | RunnableLambda(str)).get_graph().draw_mermaid()


def copies() -> dict[str, Callable[[RouterChatModel], RouterChatModel]]:
    return {
        "model_copy": lambda made: made.model_copy(),
        "copy.copy": copy.copy,
        "deep model_copy": lambda made: made.model_copy(deep=True),
        "copy.deepcopy": copy.deepcopy,
    }


@pytest.mark.parametrize("way", copies())
def test_copies_answer_alike_and_go_their_own_way(wire: Wire, way: str):
    original = wire.router(temperature=0.1)
    original.invoke(EASY)
    copied = copies()[way](original)
    assert trace_of(copied.invoke(HARD))["candidate"] == "big"
    copied.temperature = 0.9
    copied.invoke(EASY)
    original.invoke(EASY)
    assert [request.body["temperature"] for request in wire.requests] == [0.1, 0.1, 0.9, 0.1]


def test_a_copy_with_changes_uses_them(wire: Wire):
    original = wire.router(temperature=0.1)
    original.invoke(EASY)
    original.model_copy(update={"temperature": 0.9, "strategy": Fixed(name="big")}).invoke(EASY)
    assert (wire.last["model"], wire.last["temperature"]) == ("big", 0.9)


def test_routers_are_equal_when_their_fields_are(wire: Wire):
    original = wire.router()
    assert original == original.model_copy()
    assert original != original.model_copy(update={"temperature": 0.9})
    original.invoke(EASY)
    assert original == original.model_copy()


SECRETS = ["sk-candidate", "sk-router", "tok-header", "sk-test"]


@pytest.fixture
def keeper(wire: Wire) -> RouterChatModel:
    """A router with a secret in every place that takes one."""
    params = {"api_key": "sk-candidate", "extra_headers": {"Authorization": "Bearer tok-header"}}
    pool = [wire.candidate("openai/small", params=params), Candidate("openai/gpt-4o")]
    return RouterChatModel(candidates=pool, api_key=SecretStr("sk-router"))


def assert_no_secret(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


def test_no_secret_in_what_is_shown_stored_or_traced(wire: Wire, keeper: RouterChatModel):
    seen: list[str] = []

    class Everything(BaseCallbackHandler):
        def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
            seen.append(repr((args, kwargs)))

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            seen.append(repr((args, kwargs)))

    reply = keeper.invoke(EASY, {"callbacks": [Everything()]})
    assert wire.requests[-1].headers["authorization"] == "Bearer tok-header"
    shown = [repr(keeper), str(keeper), dumps(keeper), repr(keeper._identifying_params), repr(reply), dumps(reply)]
    shown += [
        repr(keeper.bind(seed=7)),
        dumps(keeper.bind(seed=7)),
        repr(keeper.get_graph().to_json(with_schemas=True)),
    ]
    assert len(seen) == 2
    assert_no_secret("\n".join(shown + seen))


def test_no_secret_in_errors(wire: Wire, keeper: RouterChatModel):
    wire.server.script("small", Fault("status", status=401, message="Incorrect API key: sk-candidate"))
    with pytest.raises(AllCandidatesFailed) as caught:
        keeper.invoke(EASY, model="small")
    assert_no_secret(str(caught.value) + repr(caught.value.trace))


def load_router(text: str) -> Any:
    return loads(text, allowed_objects=[RouterChatModel], valid_namespaces=["router_integrations"])


@beta
def test_a_router_survives_dumps_and_loads(wire: Wire):
    pool = [
        wire.candidate("openai/small", params={"temperature": 0.3}, context_window=5000),
        Candidate("openai/gpt-4o", name="gpt", strength=0.9),
    ]
    original = RouterChatModel(candidates=pool, temperature=0.5, stop=["."], context_turns=2)
    again = load_router(dumps(original))
    assert type(again) is RouterChatModel
    assert dumps(again) == dumps(original)
    assert again.candidates[0].params["temperature"] == 0.3
    assert "api_key" not in again.candidates[0].params
    assert (again.temperature, again.stop, again.context_turns) == (0.5, ["."], 2)
    assert again.explain(HARD).estimates == original.explain(HARD).estimates


@beta
def test_what_no_file_may_bring_in_is_said_to_be_missing():
    form = dumpd(RouterChatModel(candidates=["openai/gpt-4o"], strategy=Fixed()))
    assert form["kwargs"]["strategy"]["type"] == "not_implemented"
    with pytest.raises(NotImplementedError):
        load(form, allowed_objects=[RouterChatModel], valid_namespaces=["router_integrations"])


# Errors


ERRORS: dict[str, tuple[Fault, type[ModelError], bool]] = {
    "429": (Fault("status", status=429), ModelRateLimitError, True),
    "401": (Fault("status", status=401), ModelAuthenticationError, False),
    "403": (Fault("status", status=403), ModelPermissionDeniedError, False),
    "404": (Fault("status", status=404), ModelNotFoundError, False),
    "400": (Fault("status", status=400), ModelInvalidRequestError, False),
    "503": (Fault("status", status=503), ModelAPIError, True),
    "reset": (Fault("reset"), ModelConnectionError, True),
    "overflow": (Fault("status", status=400, code="context_length_exceeded"), ContextOverflowError, False),
    "hang": (Fault("hang"), ModelTimeoutError, True),
}


@pytest.mark.parametrize("call", ["invoke", "astream"])
@pytest.mark.parametrize(("fault", "theirs", "retryable"), ERRORS.values(), ids=ERRORS)
async def test_errors_are_langchains_too(
    wire: Wire, fault: Fault, theirs: type[ModelError], retryable: bool, call: str
):
    wire.server.script("small", fault)
    alone = RouterChatModel(candidates=[wire.candidate("openai/small", timeout=0.15)])
    with pytest.raises(theirs) as caught:
        await answer(alone, call)
    assert isinstance(caught.value, AllCandidatesFailed)
    assert caught.value.is_retryable is retryable
    assert isinstance(caught.value.__cause__, ProviderError)


# The hook


@pytest.mark.parametrize("call", CALLS)
async def test_on_trace_is_called_once_for_each_request_the_failed_ones_too(call: str):
    traces: list[Trace] = []
    await answer(router(on_trace=traces.append), call)
    assert [trace.candidate for trace in traces] == ["small"]
    failing = router_over(
        Own(replies=[ConnectionError("down")]), Own(replies=[ConnectionError("down")]), on_trace=traces.append
    )
    with pytest.raises(AllCandidatesFailed) as caught:
        await answer(failing, call)
    assert traces[1:] == [caught.value.trace]
    assert len(traces[1].attempts) == 2


async def test_on_trace_sees_broken_streams_fallbacks_and_batches():
    traces: list[Trace] = []
    broken = AIMessage("one two", additional_kwargs={"fault": ConnectionError("down")})
    for call in ("stream", "astream"):
        with pytest.raises(StreamInterrupted):
            await answer(router_over(Own(replies=[broken]), Own(), on_trace=traces.append), call)
    assert [[attempt.error is None for attempt in trace.attempts] for trace in traces] == [[False], [False]]
    traces.clear()
    watched = router(on_trace=traces.append)
    watched.batch([EASY, HARD])
    await watched.abatch([EASY, HARD])
    assert sorted(trace.candidate or "" for trace in traces) == ["big", "big", "small", "small"]


def test_a_request_that_is_refused_has_no_trace():
    traces: list[Trace] = []
    blind = Candidate("blind", model=Own(), vision=False, strength=0.5)
    refusing = RouterChatModel(candidates=[blind], on_trace=traces.append)
    with pytest.raises(NoEligibleCandidate):
        refusing.invoke([HumanMessage([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}])])
    with pytest.raises(RequestError):
        refusing.invoke([])
    assert traces == []


# Abandoned streams


async def test_leaving_a_stream_closes_its_connection_and_its_runs(wire: Wire):
    endless = Reply(text="word " * 200, chunk_delay=0.02)
    for call in ("stream", "astream"):
        wire.server.script("small", endless)
        before, runs = wire.server.aborted, Runs()
        made: Any = getattr(wire.router(), call)(EASY, {"callbacks": [runs]})
        if call == "stream":
            for _ in made:
                break
            del made, _
        else:
            async for _ in made:
                break
            await made.aclose()
        closed = await asyncio.to_thread(
            wire.server.wait_until,
            lambda server, before=before: server.aborted == before + 1 and not server.open_streams,
        )
        assert closed
        # LangChain takes it for the end of a sync chain run, and for an error of every other run.
        assert [run["end"] for run in runs.started.values()] == ["ok" if call == "stream" else "error", "error"]


async def test_cancelling_a_call_closes_its_connection_and_its_run(wire: Wire):
    await wire.router().ainvoke(EASY)  # whose import of litellm may take longer than the wait below
    wire.server.script("small", Fault("hang"))
    before, runs = wire.server.aborted, Runs()
    # The thread that wrote the first answer may not have counted it as done yet.
    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.open_streams == 0)
    task = asyncio.create_task(wire.router().ainvoke(EASY, {"callbacks": [runs]}))
    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.open_streams == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.aborted == before + 1)
    # The model's own run LangChain leaves open, as it does for a plain chat model.
    assert next(iter(runs.started.values()))["end"] == "error"


# Many at once


class Echo(Own):
    """Says what it was asked, a little later."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        time.sleep(0.001)
        return self._said(messages)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(0.001)
        return self._said(messages)

    def _said(self, messages: list[BaseMessage]) -> ChatResult:
        usage: Any = {"input_tokens": len(messages[-1].text), "output_tokens": 1, "total_tokens": 0}
        message = AIMessage(messages[-1].text, usage_metadata=usage, response_metadata={"model_name": self.label})
        return ChatResult(generations=[ChatGeneration(message=message)])


def queries(count: int) -> list[str]:
    return [f"{HARD if index % 3 == 0 else EASY} number {index}" for index in range(count)]


def assert_each_its_own(asked: list[str], answers: list[AIMessage], traces: list[Trace]) -> None:
    assert [reply.content for reply in answers] == asked
    for query, reply in zip(asked, answers, strict=True):
        trace = trace_of(reply)
        assert trace["candidate"] == ("big" if HARD in query else "small")
        (attempt,) = trace["attempts"]
        assert attempt["input_tokens"] == len(query)
    assert sorted(trace.attempts[0].text for trace in traces) == sorted(asked)


async def test_two_hundred_calls_at_once_get_their_own_traces():
    traces: list[Trace] = []
    shared = router_over(Echo(label="own-small"), Echo(label="own-big"), on_trace=traces.append)
    runs = [Runs() for _ in range(200)]
    asked = queries(200)
    answers = await asyncio.gather(
        *(shared.ainvoke(query, {"callbacks": [run]}) for query, run in zip(asked, runs, strict=True))
    )
    assert_each_its_own(asked, answers, traces)
    assert {len(run.started) for run in runs} == {2}


def test_fifty_threads_get_their_own_traces():
    traces: list[Trace] = []
    shared = router_over(Echo(label="own-small"), Echo(label="own-big"), on_trace=traces.append)
    asked = queries(200)
    with ThreadPoolExecutor(50) as pool:
        answers = [*pool.map(shared.invoke, asked)]
    assert_each_its_own(asked, answers, traces)


def test_a_call_leaves_nothing_on_the_router():
    shared = router()
    shared.invoke(EASY)
    before = {name: id(value) for name, value in vars(shared).items()}
    shared.invoke(HARD)
    list(shared.stream(EASY))
    assert {name: id(value) for name, value in vars(shared).items()} == before


def test_run_ids_are_uuids():
    runs = Runs()
    router().invoke(EASY, {"callbacks": [runs]})
    assert all(isinstance(one, UUID) for one in runs.started)


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
async def test_a_streaming_router_shows_tokens_to_handlers_even_when_it_is_invoked(wire: Wire, call: str):
    runs = Runs()
    wire.server.script("small", Reply(text="one two three"))
    reply = await answer(wire.router(streaming=True), call, EASY, {"callbacks": [runs]})
    assert ([token for token in runs.tokens if token], reply.content) == (WORDS, "one two three")
    assert wire.last["stream"] is True


@pytest.mark.parametrize("call", ["stream", "astream"])
async def test_disabled_streaming_makes_one_whole_request(wire: Wire, call: str):
    off = wire.router(disable_streaming=True)
    assert (await answer(off, call)).content.startswith("Here is")
    for_tools = wire.router(disable_streaming="tool_calling")
    await answer(for_tools.bind_tools([weather]), call)
    await answer(for_tools, call)
    assert [request.body.get("stream", False) for request in wire.requests] == [False, False, True]


def test_callbacks_may_be_a_manager_too():
    runs = Runs()
    manager = CallbackManager(handlers=[])
    manager.add_handler(runs)
    router(callbacks=manager).invoke(EASY)
    assert [run["kind"] for run in runs.started.values()] == ["chain", "model"]
