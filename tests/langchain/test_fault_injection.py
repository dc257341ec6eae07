"""Every fault of a provider, met by each way of calling: an answer or a typed error, nothing lost, nothing twice."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from chat_model_standard import sum_of
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.exceptions import ModelError, ModelRateLimitError
from langchain_core.messages import AIMessage

from router_integrations import Candidate, Fixed, Limits, Trace
from router_integrations.errors import AllCandidatesFailed, LimitExceeded, RouterError, StreamInterrupted
from router_integrations.langchain import RouterChatModel
from router_integrations.testing.replies import Fault, Reply
from router_integrations.testing.server import ScriptedServer
from tests.provider_faults import BEFORE_THE_ANSWER, MID_STREAM, ONLY_STREAMED, ONLY_WHOLE


def _stream(router: Any, prompt: str) -> Any:
    return sum_of(router.stream(prompt))


def _ainvoke(router: Any, prompt: str) -> Any:
    return asyncio.run(router.ainvoke(prompt))


def _astream(router: Any, prompt: str) -> Any:
    async def collect() -> Any:
        return sum_of([chunk async for chunk in router.astream(prompt)])

    return asyncio.run(collect())


def _invoke(router: Any, prompt: str) -> Any:
    return router.invoke(prompt)


Ask = Callable[[Any, str], AIMessage]
every_way = pytest.mark.parametrize("ask", [_invoke, _ainvoke, _stream, _astream])
streamed = pytest.mark.parametrize("ask", [_stream, _astream])
whole = pytest.mark.parametrize("ask", [_invoke, _ainvoke])


def _router(server: ScriptedServer, **options: Any) -> RouterChatModel:
    params = {"api_base": server.base_url, "api_key": "sk-test"}
    candidates = [
        Candidate("openai/cheap", name="cheap", params=params, input_price=1e-6, output_price=2e-6),
        Candidate("openai/strong", name="strong", params=params, input_price=1e-5, output_price=2e-5),
    ]
    return RouterChatModel(**{"candidates": candidates, "strategy": Fixed(name="cheap"), **options})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between two tries are real but short."""
    monkeypatch.setattr("router_integrations.calling._BACKOFF", 0.001)


def _fails_over(server: ScriptedServer, ask: Ask, fault: Fault, family: str, tries: int) -> None:
    server.script("cheap", fault, repeat=True)
    server.script("strong")
    before = len(server.requests)
    ledger = UsageMetadataCallbackHandler()
    router = _router(server, callbacks=[ledger])

    answer = ask(router, "Hello")

    trace = answer.response_metadata["router"]
    attempts = trace["attempts"]
    assert [attempt["candidate"] for attempt in attempts] == ["cheap"] * tries + ["strong"]
    assert {attempt["error"]["family"] for attempt in attempts[:-1]} == {family}
    assert [request.model for request in server.requests[before:]] == ["cheap"] * tries + ["strong"]
    assert trace["candidate"] == "strong"
    assert answer.text == "Here is a short answer to: Hello"
    assert ledger.usage_metadata["strong"]["total_tokens"] == answer.usage_metadata["total_tokens"]
    assert list(ledger.usage_metadata) == ["strong"]
    assert trace["cost"] == pytest.approx(attempts[-1]["input_tokens"] * 1e-5 + attempts[-1]["output_tokens"] * 2e-5)


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
        ask(_router(server, max_retries=0), "Hello")

    assert isinstance(caught.value, ModelError)
    assert caught.value.__cause__.family == family
    trace = caught.value.trace.as_dict()
    assert [attempt["candidate"] for attempt in trace["attempts"]] == ["cheap", "strong"]
    assert trace["cost"] == 0
    assert "sk-test" not in f"{caught.value} {trace}"


@every_way
def test_one_candidate_waits_as_long_as_the_provider_asks(server: ScriptedServer, ask: Ask) -> None:
    server.script("only", Fault("status", status=429, retry_after=1), Reply(text="at last"))
    only = Candidate(
        "openai/only", params={"api_base": server.base_url, "api_key": "k"}, input_price=1e-6, output_price=1e-6
    )
    started = time.monotonic()

    answer = ask(RouterChatModel(candidates=[only]), "Hello")

    assert answer.text == "at last"
    assert time.monotonic() - started >= 1


@every_way
def test_hang_ends_with_the_timeout_and_fails_over(server: ScriptedServer, ask: Ask) -> None:
    server.script("cheap", Fault("hang"), repeat=True)
    server.script("strong")

    answer = ask(_router(server, timeout=0.3), "Hello")

    attempts = answer.response_metadata["router"]["attempts"]
    assert [attempt["candidate"] for attempt in attempts] == ["cheap", "strong"]
    assert attempts[0]["error"]["family"] == "timeout"
    assert attempts[0]["latency"] < 5


@every_way
def test_deadline_ends_a_request_that_only_hangs(server: ScriptedServer, ask: Ask) -> None:
    server.script("cheap", Fault("hang"), repeat=True)
    server.script("strong", Fault("hang"), repeat=True)

    with pytest.raises((LimitExceeded, AllCandidatesFailed)) as caught:
        ask(_router(server, limits=Limits(deadline=0.5)), "Hello")

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
        ask(_router(server), "Hello there")

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

    answer = ask(_router(server, max_retries=0), "Hello")

    assert answer.text == "Here is a short answer to: Hello"
    assert answer.response_metadata["router"]["attempts"][0]["error"] is not None


def test_rate_limited_candidate_rests_and_comes_back_with_one_trial(server: ScriptedServer) -> None:
    server.script("cheap", Fault("status", status=429, retry_after=0.4))
    server.script("strong")
    router = _router(server, max_retries=0)

    first = router.invoke("one")
    second = router.invoke("two")
    time.sleep(0.5)
    third = router.invoke("three")

    asked = [[a["candidate"] for a in m.response_metadata["router"]["attempts"]] for m in (first, second, third)]
    assert asked == [["cheap", "strong"], ["strong"], ["cheap"]]


def test_retries_can_be_seen_by_langchain_middleware(server: ScriptedServer) -> None:
    server.script("cheap", Fault("status", status=429), repeat=True)
    server.script("strong", Fault("status", status=429), repeat=True)

    with pytest.raises(ModelRateLimitError):
        _router(server, max_retries=0).invoke("Hello")


def test_hundred_requests_under_random_faults_lose_nothing(server: ScriptedServer) -> None:
    """Usage adds up: what the callback counted is what the traces and the server tell."""
    faults = [Fault("status", status=500), Reply(text="fine"), Fault("reset"), Reply(text="fine")]
    server.script("cheap", *faults * 40)
    server.script("strong", *[Reply(text="strong")] * 200)
    ledger = UsageMetadataCallbackHandler()
    router = _router(server, max_retries=0, callbacks=[ledger])

    async def ask(number: int) -> Any:
        return await router.ainvoke(f"number {number}")

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*map(ask, range(100)), return_exceptions=True)

    outcomes = asyncio.run(ask_all())

    assert all(isinstance(outcome, AIMessage | RouterError) for outcome in outcomes)
    answers = [outcome for outcome in outcomes if isinstance(outcome, AIMessage)]
    assert len(answers) == 100
    counted = sum(usage["total_tokens"] for usage in ledger.usage_metadata.values())
    assert counted == sum(answer.usage_metadata["total_tokens"] for answer in answers)


def test_a_stream_that_is_left_early_is_paid_for_and_told(server: ScriptedServer) -> None:
    server.script("cheap")
    traces: list[Trace] = []
    router = _router(server, on_trace=traces.append)

    stream = router.stream("Hello")
    next(stream)
    stream.close()

    async def leave() -> None:
        chunks = router.astream("Hello")
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(leave())

    assert [trace.reason for trace in traces] == ["the caller left before the end"] * 2
    assert all(trace.cost > 0 and trace.attempts[0].usage.estimated for trace in traces)
