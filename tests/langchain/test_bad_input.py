"""Bad input: a typed error that names the field, the value and the remedy, before any model is called."""

import asyncio
import threading
import time
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from router_integrations import Attempt, Call, Candidate, Stop
from router_integrations.errors import (
    Abstained,
    ConfigurationError,
    NoEligibleCandidate,
    RequestError,
    StrategyError,
)
from router_integrations.langchain import RouterChatModel
from router_integrations.tokens import count_tokens


class Counting(BaseChatModel):
    """Counts its calls."""

    calls: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.calls.append(str(messages[-1].content))
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ok"))])


@pytest.fixture
def model() -> Counting:
    return Counting()


def _router(model: Counting, **options: Any) -> RouterChatModel:
    return RouterChatModel(candidates=[Candidate("own", model=model, strength=0.5, **options)])


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        ([], ["candidates", "empty", "at least one"]),
        ("openai/gpt-4o", ["candidates", "list", "openai/gpt-4o"]),
        (None, ["candidates", "None"]),
        ([3], ["int", "Candidate"]),
        (["openai/gpt-4o", "openai/gpt-4o"], ["openai/gpt-4o", "name="]),
        (["openai/text-embedding-3-small"], ["openai/text-embedding-3-small", "embedding", "chat model"]),
        (["openai/no-such-model"], ["openai/no-such-model", "input_price="]),
        ([Candidate("x", model=object())], ["'x'", "chat model", "object"]),
        ([Candidate("x", model=Counting().with_retry())], ["'x'", "RunnableRetry", "max_retries="]),
    ],
)
def test_wrong_candidates(candidates: Any, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RouterChatModel(candidates=candidates)

    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_price": -1.0}, ["input_price", "-1.0"]),
        ({"output_price": float("nan")}, ["output_price", "nan"]),
        ({"context_window": 0}, ["context_window", "0"]),
        ({"strength": 1.5}, ["strength", "1.5"]),
        ({"max_retries": -1}, ["max_retries", "-1"]),
        ({"timeout": 0}, ["timeout", "0"]),
    ],
)
def test_wrong_candidate_field(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Candidate("m", model=object(), **options)

    assert [word for word in ["'m'", *words] if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 1}, ["temprature", "temperature"]),
        ({"strategy": "cheapest"}, ["strategy", "cheapest", "Best()"]),
        ({"context_turns": -1}, ["context_turns"]),
        ({"limits": {"deadline": 0}}, ["deadline", "0"]),
    ],
)
def test_wrong_option(model: Counting, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RouterChatModel(candidates=[Candidate("own", model=model, strength=0.5)], **options)

    assert [word for word in words if word not in str(caught.value)] == []


def test_one_key_is_not_sent_to_two_providers() -> None:
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        RouterChatModel(candidates=["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"], api_key="sk-secret")

    assert "sk-secret" not in str(caught.value)


def test_a_wrong_key_is_not_repeated_in_the_error(model: Counting) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RouterChatModel(candidates=[Candidate("own", model=model)], api_key=["sk-secret"])

    assert "sk-secret" not in str(caught.value)


CALL = {"name": "f", "args": {}, "id": "1"}
BAD_MESSAGES = [
    [],
    42,
    [{"role": "user"}],
    [{"role": "nobody", "content": "x"}],
    [ToolMessage("result", tool_call_id="1")],
    [HumanMessage("x"), AIMessage("", tool_calls=[CALL]), HumanMessage("y")],
    [HumanMessage("x"), AIMessage("", tool_calls=[CALL]), ToolMessage("a", tool_call_id="2")],
    [HumanMessage([{"text": "no type"}])],
    "lone \ud800 surrogate",
    [HumanMessage([{"type": "text", "text": "lone \udfff surrogate"}])],
]


@pytest.mark.parametrize("messages", BAD_MESSAGES, ids=repr)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "explain"])
def test_malformed_messages_never_reach_a_model(model: Counting, messages: Any, way: str) -> None:
    with pytest.raises(RequestError) as caught:
        _ask(_router(model), messages, way)

    assert model.calls == []
    assert len(str(caught.value)) > 20


def _ask(router: RouterChatModel, messages: Any, way: str) -> Any:
    async def drain() -> list[Any]:
        return [chunk async for chunk in router.astream(messages)]

    if way == "stream":
        return list(router.stream(messages))
    if way == "astream":
        return asyncio.run(drain())
    outcome = getattr(router, way)(messages)
    return asyncio.run(outcome) if way == "ainvoke" else outcome


@pytest.mark.parametrize(
    "prompt", ["word " * 3_000_000, "a" * 12_000_000, "天" * 3_000_000], ids=["words", "run", "cjk"]
)
def test_three_million_tokens_are_refused_quickly(model: Counting, prompt: str) -> None:
    started = time.perf_counter()

    with pytest.raises(NoEligibleCandidate) as caught:
        _router(model, context_window=1_000_000).invoke(prompt)

    assert "1,000,000" in str(caught.value)
    assert "'own'" in str(caught.value)
    assert model.calls == []
    assert time.perf_counter() - started < 10


def test_a_prompt_near_a_window_is_counted_off_the_event_loop(model: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    counted_in: list[str] = []

    def count(text: str, model_id: str) -> int:
        counted_in.append(threading.current_thread().name)
        return count_tokens(text, model_id)

    monkeypatch.setattr("router_integrations.adapters.describing.count_tokens", count)
    prompt = "The quick brown fox jumps over the lazy dog. " * 1000

    answer = asyncio.run(_router(model, context_window=11_000).ainvoke(prompt))

    assert counted_in
    assert threading.main_thread().name not in counted_in
    trace = answer.response_metadata["router"]
    assert (trace["input_tokens"], trace["input_tokens_estimated"]) == (10_005, False)


def test_no_candidate_reads_images(model: Counting) -> None:
    image = HumanMessage([{"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}])

    with pytest.raises(NoEligibleCandidate, match="'own': no vision"):
        _router(model, vision=False).invoke([image])


def test_unknown_model_override_names_the_candidates(model: Counting) -> None:
    with pytest.raises(ConfigurationError, match=r"'huge'.*\['own'\]"):
        _router(model).invoke("x", model="huge")


def test_neither_strength_nor_price() -> None:
    model = Counting()

    with pytest.raises(ConfigurationError, match="strength"):
        RouterChatModel(candidates=[Candidate("own", model=model)]).invoke("x")

    assert model.calls == []


class Odd:
    """A strategy that returns whatever it was given."""

    def __init__(self, move: Any) -> None:
        self.move = move

    def decide(self, request: Any, attempts: Any = ()) -> Any:
        return self.move


class Forever:
    def decide(self, request: Any, attempts: Any = ()) -> Any:
        return Call(candidate=request.candidates[0])


STRANGER = Candidate("stranger", model=object(), strength=0.5)


@pytest.mark.parametrize(
    "move",
    [None, [], "big", 3, [None], Call(candidate=STRANGER), Stop(attempt=Attempt(call=Call(candidate=STRANGER)))],
    ids=repr,
)
def test_strategy_that_returns_nonsense(model: Counting, move: Any) -> None:
    router = RouterChatModel(candidates=[Candidate("own", model=model, strength=0.5)], strategy=Odd(move))

    with pytest.raises(StrategyError, match="Odd"):
        router.invoke("x")

    assert model.calls == []


def test_strategy_that_abstains(model: Counting) -> None:
    router = RouterChatModel(
        candidates=[Candidate("own", model=model, strength=0.5)], strategy=Odd(Stop(reason="too risky"))
    )

    with pytest.raises(Abstained, match="too risky"):
        router.invoke("x")


def test_strategy_that_never_stops_is_stopped_and_its_calls_are_in_the_trace(model: Counting) -> None:
    router = RouterChatModel(
        candidates=[Candidate("own", model=model, strength=0.5)], strategy=Forever(), limits={"max_calls": 5}
    )

    with pytest.raises(StrategyError, match="5 calls") as caught:
        router.invoke("x")

    assert len(model.calls) == 5
    assert len(caught.value.trace.attempts) == 5


class Broken:
    def decide(self, request: Any, attempts: Any = ()) -> Any:
        if attempts:
            raise ZeroDivisionError("a bug")
        return Call(candidate=request.candidates[0])


def test_bug_in_a_strategy_keeps_what_was_paid(model: Counting) -> None:
    router = RouterChatModel(candidates=[Candidate("own", model=model, strength=0.5)], strategy=Broken())

    with pytest.raises(StrategyError, match="a bug") as caught:
        router.invoke("x")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert len(caught.value.trace.attempts) == 1
