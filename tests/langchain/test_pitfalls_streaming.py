"""Pitfalls 17 to 26: streaming, usage and traces. Every row has a test; none is out of reach."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from doubles import EASY, HARD, Own, Runs, Wire, router_over, trace_of, weather, whole
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import Field

from router_integrations.errors import AllCandidatesFailed, StreamInterrupted
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Fixed
from router_integrations.testing.replies import Fault, Reply, ToolCall

WORDS = "one two three four five six"
DOWN = Fault("status", status=503)


async def drain(source: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in source]


class Live(Own):
    """Notes how far its stream has got."""

    sent: list[str] = Field(default_factory=list)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in super()._stream(*args, **kwargs):
            self.sent.append(str(chunk.message.content))
            yield chunk


def test_row_17_stream_arrives_chunk_by_chunk(wire: Wire):
    wire.server.script("small", Reply(text=WORDS, chunk_delay=0.02))
    open_when_seen = []
    texts = []
    for chunk in wire.router().stream(EASY):
        open_when_seen.append(wire.server.open_streams)
        texts.append(chunk.content)
    assert [text for text in texts if text] == ["one", " two", " three", " four", " five", " six"]
    assert open_when_seen[0] == 1


async def test_row_17_astream_arrives_chunk_by_chunk(wire: Wire):
    wire.server.script("small", Reply(text=WORDS, chunk_delay=0.02))
    seen = [(chunk.content, wire.server.open_streams) async for chunk in wire.router().astream(EASY)]
    assert [text for text, _ in seen if text] == ["one", " two", " three", " four", " five", " six"]
    assert seen[0][1] == 1


def test_row_17_an_own_model_is_read_only_as_far_as_its_text_is_wanted():
    live = Live()
    stream = router_over(live, Own()).stream(EASY)
    assert next(stream).content == "one"
    assert live.sent == ["one"]
    assert next(stream).content == " two"
    assert live.sent == ["one", " two"]
    stream.close()


@pytest.mark.parametrize("kind", ["truncated_stream", "reset_stream", "error_in_stream"])
async def test_row_18_a_stream_that_breaks_is_a_typed_error_and_nobody_repeats_it(wire: Wire, kind: Any):
    router = wire.router(small={"max_retries": 2})
    for asynchronous in (False, True):
        wire.server.script("small", Fault(kind, after_chunks=4))
        seen: list[str] = []
        with pytest.raises(StreamInterrupted, match="broke after its first chunk") as caught:
            if asynchronous:
                async for chunk in router.astream(EASY):
                    seen.append(chunk.content)
            else:
                for chunk in router.stream(EASY):
                    seen.append(chunk.content)
        assert "".join(seen) == "Here is a"
        assert caught.value.trace.attempts[0].error is not None
    assert wire.models == ["small", "small"]


@pytest.mark.parametrize(
    "fault", [DOWN, Fault("reset"), Fault("empty_stream"), Fault("truncated_stream", after_chunks=1)]
)
async def test_row_18_before_the_first_chunk_another_candidate_is_asked(wire: Wire, fault: Fault):
    wire.server.script("small", fault, fault)
    wire.server.script("big", *[Reply(text=WORDS)] * 2)
    router = wire.router()
    for total in (whole(router.stream(EASY)), whole(await drain(router.astream(EASY)))):
        assert total.content == WORDS
        assert [attempt["candidate"] for attempt in trace_of(total)["attempts"]] == ["small", "big"]


async def test_row_19_streamed_tool_calls_merge(wire: Wire):
    calls = (
        ToolCall(name="weather", arguments={"city": "Oslo"}),
        ToolCall(name="weather", arguments={"city": "São Paulo"}),
    )
    wire.server.script("small", *[Reply(tool_calls=calls)] * 2)
    bound = wire.router().bind_tools([weather])
    for total in (whole(bound.stream(EASY)), whole(await drain(bound.astream(EASY)))):
        assert [(call["name"], call["args"]) for call in total.tool_calls] == [
            ("weather", {"city": "Oslo"}),
            ("weather", {"city": "São Paulo"}),
        ]
        assert len({call["id"] for call in total.tool_calls}) == 2
        assert total.response_metadata["finish_reason"] == "tool_calls"


def test_row_20_usage_is_asked_for_and_arrives_when_streaming(wire: Wire):
    wire.server.script("small", Reply(text=WORDS))
    total = whole(wire.router().stream("three words here"))
    assert wire.last["stream_options"] == {"include_usage": True}
    assert total.usage_metadata | {"input_tokens": 3, "output_tokens": 6, "total_tokens": 9} == total.usage_metadata
    assert trace_of(total)["attempts"][0]["usage_estimated"] is False


async def test_row_20_usage_that_nobody_reports_is_estimated_and_says_so(wire: Wire):
    router = wire.router()
    for call in ("stream", "astream", "invoke"):
        wire.server.script("small", Reply(text=WORDS, usage={}))
        if call == "astream":
            total = whole(await drain(router.astream(EASY)))
        else:
            total = whole(router.stream(EASY)) if call == "stream" else router.invoke(EASY)
        assert total.usage_metadata["output_tokens"] > 0
        attempt = trace_of(total)["attempts"][0]
        assert (attempt["usage_estimated"], attempt["output_tokens"]) == (True, total.usage_metadata["output_tokens"])


def test_row_21_the_real_model_is_named_on_exactly_one_chunk(wire: Wire):
    chunks = list(wire.router().stream(EASY))
    assert [chunk.response_metadata["model_name"] for chunk in chunks if "model_name" in chunk.response_metadata] == [
        "small"
    ]
    assert sum("router" in chunk.response_metadata for chunk in chunks) == 1
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1
    assert whole(chunks).response_metadata["model_name"] == "small"


async def test_row_22_after_a_failure_the_trace_names_the_model_that_answered(wire: Wire):
    for call in ("invoke", "ainvoke", "stream", "astream"):
        wire.server.script("small", DOWN)
        router, runs = wire.router(small={"name": "cheap"}, big={"name": "dear"}), Runs()
        answer = getattr(router, call)(EASY, {"callbacks": [runs]})
        answer = await (drain(answer) if call == "astream" else answer) if call.startswith("a") else answer
        answer = whole(answer) if call.endswith("stream") else answer
        assert [(run["kind"], run["end"]) for run in runs.started.values()] == [
            ("chain", "ok"),
            ("model", "error"),
            ("model", "ok"),
        ]
        assert runs.models == [("small", "error"), ("big", "ok")]
        root, *children = runs.started.values()
        assert {child["parent"] for child in children} == {root["id"]}
        assert answer.response_metadata["model_name"] == "big"


def test_row_23_provider_and_bare_model_are_told_apart(wire: Wire):
    candidate = wire.candidate("mistral/mistral-small-latest")
    runs = Runs()
    answer = RouterChatModel(candidates=[candidate]).invoke(EASY, {"callbacks": [runs]})
    (run,) = runs.of("model")
    assert (run["metadata"]["ls_provider"], run["metadata"]["ls_model_name"]) == ("mistral", "mistral-small-latest")
    assert answer.response_metadata["provider"] == "mistral"
    assert answer.response_metadata["model_name"] == "mistral-small-latest"


@pytest.mark.parametrize("over", ["wire", "own"])
async def test_row_24_usage_counts_once_and_under_the_model_that_answered(wire: Wire, over: str):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    for model in ("small", "big"):
        wire.server.script(model, Reply(text="one two", usage=usage), repeat=True)
    router = wire.router() if over == "wire" else router_over(Own(label="small"), Own(label="big"))
    with get_usage_metadata_callback() as seen:
        router.invoke(EASY)
        whole(router.stream(HARD))
        await router.ainvoke(EASY)
        whole(await drain(router.astream(HARD)))
    counts = {model: (one["input_tokens"], one["output_tokens"]) for model, one in seen.usage_metadata.items()}
    assert counts == {"small": (20, 10), "big": (20, 10)}


@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_row_24_langgraph_shows_the_text_once(wire: Wire, call: str):
    router = wire.router()

    def answer(state: MessagesState) -> dict[str, Any]:
        if call == "stream":
            return {"messages": [AIMessage(whole(router.stream(state["messages"])).content, id="fixed")]}
        return {"messages": [router.invoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").add_edge("answer", END).compile()
    wire.server.script("small", Reply(text=WORDS))
    shown = [
        message.content
        for message, _ in graph.stream({"messages": EASY}, stream_mode="messages")
        if isinstance(message, AIMessageChunk)
    ]
    assert "".join(shown) == WORDS


SETTINGS: dict[str, Any] = {
    "cache_control": {"type": "ephemeral"},
    "prompt_cache_key": "k",
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "betas": ["context-1m"],
}


def test_row_25_settings_of_another_provider_stay_behind_when_it_answers(wire: Wire):
    router = RouterChatModel(
        candidates=[wire.candidate("groq/llama"), wire.candidate("openai/gpt-x")], strategy=Fixed(name="llama")
    )
    wire.server.script("llama", DOWN)
    router.bind(**SETTINGS, seed=7).invoke(EASY)
    first, second = (request.body for request in wire.requests)
    assert not {*SETTINGS} & {*first}
    assert not {*SETTINGS} & {*second} - {"prompt_cache_key"}
    assert (second["prompt_cache_key"], first["seed"], second["seed"]) == ("k", 7, 7)


def test_row_25_an_own_model_gets_the_settings_of_its_provider_only():
    claude, gpt = Own(label="claude-sonnet-4-5", provider="anthropic"), Own(label="gpt-4o", provider="openai")
    router = router_over(claude, gpt)
    router.bind(**SETTINGS).invoke(EASY)
    router.bind(**SETTINGS).invoke(HARD)
    assert {*claude.settings[0]} & {*SETTINGS} == {"cache_control", "thinking", "betas"}
    assert {*gpt.settings[0]} & {*SETTINGS} == {"prompt_cache_key"}


TRANSPORT = [
    httpx.ReadError("lost"),
    httpx.ConnectError("refused"),
    httpx.RemoteProtocolError("server disconnected"),
    httpx.ReadTimeout("slow"),
    httpx.PoolTimeout("full"),
    ConnectionResetError("reset"),
]


@pytest.mark.parametrize("error", TRANSPORT, ids=lambda error: type(error).__name__)
async def test_row_26_transport_errors_of_an_own_model_pass_so_another_is_asked(error: Exception):
    def router() -> RouterChatModel:
        return router_over(Own(replies=[error]), Own(replies=[AIMessage(WORDS)]))

    answers = [
        router().invoke(EASY),
        await router().ainvoke(EASY),
        whole(router().stream(EASY)),
        whole(await drain(router().astream(EASY))),
    ]
    for answer in answers:
        assert answer.content == WORDS
        failure = trace_of(answer)["attempts"][0]["error"]
        assert failure["family"] in ("connection", "timeout", "malformed")


def test_row_26_a_transport_error_in_a_stream_is_typed_and_not_repeated():
    broken = AIMessage("one two", additional_kwargs={"fault": httpx.ReadError("lost")})
    big = Own()
    seen = []
    with pytest.raises(StreamInterrupted) as caught:
        for chunk in router_over(Own(replies=[broken]), big).stream(EASY):
            seen.append(chunk.content)
    assert (seen, big.asked) == (["one", " two"], [])
    assert caught.value.trace.attempts[0].error.family == "connection"


def test_a_bug_in_an_own_model_is_no_provider_fault_and_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        router_over(Own(replies=[ZeroDivisionError("bug")]), Own()).invoke(EASY)


def test_when_all_transports_fail_the_error_is_typed_and_carries_each_attempt():
    router = router_over(Own(replies=[httpx.ReadError("lost")]), Own(replies=[ConnectionRefusedError("refused")]))
    with pytest.raises(AllCandidatesFailed) as caught:
        router.invoke(EASY)
    assert [attempt.error.family for attempt in caught.value.trace.attempts] == ["connection", "connection"]
