"""Every fault of a provider, met by each way of calling: an answer or a typed error, nothing lost, nothing twice."""

import asyncio
import time
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from router_integrations import Candidate, Fixed, Limits
from router_integrations.errors import AllCandidatesFailed, LimitExceeded, RouterError, StreamInterrupted
from router_integrations.llama_index import RouterLLM
from router_integrations.testing.llama_index.asking import ToolWay, Way, tokens_of
from router_integrations.testing.llama_index.tools import TOOLS
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.testing.server import ScriptedServer
from tests.provider_faults import BEFORE_THE_ANSWER, MID_STREAM, ONLY_STREAMED, ONLY_WHOLE

Ask = Way | ToolWay
WHOLE = [Way("chat"), Way("achat"), Way("complete"), ToolWay(Way("chat"))]
STREAMED = [Way("stream_chat"), Way("astream_chat"), ToolWay(Way("astream_chat"))]
every_way = pytest.mark.parametrize("ask", [*WHOLE, *STREAMED], ids=str)
whole = pytest.mark.parametrize("ask", WHOLE, ids=str)
streamed = pytest.mark.parametrize("ask", STREAMED, ids=str)


def _last(ask: Ask, router: RouterLLM, prompt: str) -> Any:
    responses = ask.ask(router, TOOLS, prompt) if isinstance(ask, ToolWay) else ask.ask(router, prompt)
    return responses[-1]


def _text(response: Any) -> Any:
    return response.message.content if hasattr(response, "message") else response.text


def _router(server: ScriptedServer, **options: Any) -> RouterLLM:
    params = {"api_base": server.base_url, "api_key": "sk-test"}
    candidates = [
        Candidate("openai/cheap", name="cheap", params=params, input_price=1e-6, output_price=2e-6, tools=True),
        Candidate("openai/strong", name="strong", params=params, input_price=1e-5, output_price=2e-5, tools=True),
    ]
    return RouterLLM(**{"candidates": candidates, "strategy": Fixed(name="cheap"), **options})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between two tries are real but short."""
    monkeypatch.setattr("router_integrations.calling._BACKOFF", 0.001)


def _fails_over(server: ScriptedServer, ask: Ask, fault: Fault, family: str, tries: int) -> None:
    server.script("cheap", fault, repeat=True)
    server.script("strong")
    before = len(server.requests)
    counter = TokenCountingHandler()
    router = _router(server, callback_manager=CallbackManager([counter]))

    answer = _last(ask, router, "Hello")

    trace = answer.additional_kwargs["router"]
    attempts = trace["attempts"]
    assert [attempt["candidate"] for attempt in attempts] == ["cheap"] * tries + ["strong"]
    assert {attempt["error"]["family"] for attempt in attempts[:-1]} == {family}
    assert [request.model for request in server.requests[before:]] == ["cheap"] * tries + ["strong"]
    assert trace["candidate"] == "strong"
    assert _text(answer) == "Here is a short answer to: Hello"
    prompt, completion = tokens_of(answer)
    assert (prompt, completion) == (attempts[-1]["input_tokens"], attempts[-1]["output_tokens"])
    assert answer.additional_kwargs["total_tokens"] == prompt + completion
    assert trace["cost"] == pytest.approx(prompt * 1e-5 + completion * 2e-5)
    assert counter.llm_token_counts[-1].total_token_count == prompt + completion


@every_way
@pytest.mark.parametrize(("fault", "family", "tries"), BEFORE_THE_ANSWER, ids=repr)
def test_fault_before_the_answer_fails_over(
    server: ScriptedServer, ask: Ask, fault: Fault, family: str, tries: int
) -> None:
    _fails_over(server, ask, fault, family, tries)


@whole
@pytest.mark.parametrize(("fault", "family", "tries"), ONLY_WHOLE, ids=repr)
def test_broken_reply_fails_over(server: ScriptedServer, ask: Ask, fault: Fault, family: str, tries: int) -> None:
    _fails_over(server, ask, fault, family, tries)


@streamed
@pytest.mark.parametrize(("fault", "family", "tries"), ONLY_STREAMED, ids=repr)
def test_empty_stream_fails_over(server: ScriptedServer, ask: Ask, fault: Fault, family: str, tries: int) -> None:
    _fails_over(server, ask, fault, family, tries)


@every_way
@pytest.mark.parametrize(("fault", "family", "tries"), BEFORE_THE_ANSWER, ids=repr)
def test_fault_of_every_candidate_is_a_typed_error_with_its_trace(
    server: ScriptedServer, ask: Ask, fault: Fault, family: str, tries: int
) -> None:
    server.script("cheap", fault, repeat=True)
    server.script("strong", fault, repeat=True)

    with pytest.raises(AllCandidatesFailed) as caught:
        _last(ask, _router(server, max_retries=0), "Hello")

    assert caught.value.__cause__.family == family
    trace = caught.value.trace.as_dict()
    assert [attempt["candidate"] for attempt in trace["attempts"]] == ["cheap", "strong"]
    assert trace["cost"] == 0
    assert "sk-test" not in f"{caught.value} {trace}"


@every_way
def test_hang_ends_with_the_timeout_and_fails_over(server: ScriptedServer, ask: Ask) -> None:
    server.script("cheap", Fault("hang"), repeat=True)
    server.script("strong")

    answer = _last(ask, _router(server, timeout=0.3), "Hello")

    attempts = answer.additional_kwargs["router"]["attempts"]
    assert [attempt["candidate"] for attempt in attempts] == ["cheap", "strong"]
    assert attempts[0]["error"]["family"] == "timeout"
    assert attempts[0]["latency"] < 5


@every_way
def test_deadline_ends_a_request_that_only_hangs(server: ScriptedServer, ask: Ask) -> None:
    server.script("cheap", Fault("hang"), repeat=True)
    server.script("strong", Fault("hang"), repeat=True)

    with pytest.raises((LimitExceeded, AllCandidatesFailed)) as caught:
        _last(ask, _router(server, limits=Limits(deadline=0.5)), "Hello")

    assert caught.value.trace.attempts[0].error.family == "timeout"


@streamed
@pytest.mark.parametrize("fault", MID_STREAM, ids=repr)
def test_fault_after_the_first_chunk_is_an_error_not_a_second_text(
    server: ScriptedServer, ask: Ask, fault: Fault
) -> None:
    server.script("cheap", fault, repeat=True)
    server.script("strong")
    before = len(server.requests)

    with pytest.raises(StreamInterrupted) as caught:
        _last(ask, _router(server), "Hello there")

    assert [request.model for request in server.requests[before:]] == ["cheap"]
    (attempt,) = caught.value.trace.attempts
    assert attempt.error is not None
    assert attempt.usage is not None
    assert attempt.cost > 0


@whole
@pytest.mark.parametrize("fault", MID_STREAM, ids=repr)
def test_broken_body_of_a_whole_reply_fails_over(server: ScriptedServer, ask: Ask, fault: Fault) -> None:
    server.script("cheap", fault, repeat=True)
    server.script("strong")

    answer = _last(ask, _router(server, max_retries=0), "Hello")

    assert _text(answer) == "Here is a short answer to: Hello"
    assert answer.additional_kwargs["router"]["attempts"][0]["error"] is not None


def test_rate_limited_candidate_rests_and_comes_back_with_one_trial(server: ScriptedServer) -> None:
    server.script("cheap", Fault("status", status=429, retry_after=0.4))
    server.script("strong")
    router = _router(server, max_retries=0)

    first = router.complete("one")
    second = router.complete("two")
    time.sleep(0.5)
    third = router.complete("three")

    asked = [[a["candidate"] for a in m.additional_kwargs["router"]["attempts"]] for m in (first, second, third)]
    assert asked == [["cheap", "strong"], ["strong"], ["cheap"]]


def test_hundred_requests_under_random_faults_lose_nothing(server: ScriptedServer) -> None:
    """Usage adds up: what the handler counted is what the traces and the server tell."""
    faults = [Fault("status", status=500), Reply(text="fine"), Fault("reset"), Reply(text="fine")]
    server.script("cheap", *faults * 40)
    server.script("strong", *[Reply(text="strong")] * 200)
    before = len(server.requests)
    traces: list[Any] = []
    router = _router(server, max_retries=0, on_trace=traces.append)

    async def ask_all() -> list[Any]:
        return await asyncio.gather(
            *(router.acomplete(f"number {number}") for number in range(100)), return_exceptions=True
        )

    outcomes = asyncio.run(ask_all())

    answers = [one for one in outcomes if not isinstance(one, BaseException)]
    errors = [one for one in outcomes if isinstance(one, BaseException)]
    assert all(isinstance(error, RouterError) for error in errors)
    assert len(traces) == 100
    assert len(answers) >= 90
    asked = sum(len(trace.attempts) for trace in traces)
    assert asked == len(server.requests) - before
    told = [answer.additional_kwargs["router"] for answer in answers]
    assert sum(one["cost"] for one in told) == pytest.approx(sum(trace.cost for trace in traces if trace.answer))


@pytest.mark.parametrize("awaited", [False, True], ids=["stream", "async stream"])
def test_an_object_that_does_not_begin_fails_over(server: ScriptedServer, awaited: bool) -> None:
    server.script("cheap", Reply(text="I would rather chat"))
    server.script("strong")

    objects = _objects(_router(server, max_retries=0), awaited=awaited)

    assert [one.name for one in objects] == ["Ada"] * len(objects)


@pytest.mark.parametrize("awaited", [False, True], ids=["stream", "async stream"])
def test_an_object_that_breaks_its_class_in_the_end_is_an_error(server: ScriptedServer, awaited: bool) -> None:
    half = ToolCall(name="Named", arguments={"name": "Ada"})
    server.script("cheap", Reply(tool_calls=(half,)), repeat=True)
    server.script("strong")

    with pytest.raises(StreamInterrupted) as caught:
        _objects(_router(server), awaited=awaited)

    assert caught.value.trace.attempts[0].error.family == "schema"
    assert caught.value.trace.cost > 0


class Named(BaseModel):
    """A person."""

    name: str
    age: int


def _objects(router: RouterLLM, *, awaited: bool) -> list[Any]:
    prompt = PromptTemplate("Who is 'Ada', of 36 years?")

    async def collect() -> list[Any]:
        return [one async for one in await router.astream_structured_predict(Named, prompt)]

    return asyncio.run(collect()) if awaited else list(router.stream_structured_predict(Named, prompt))
