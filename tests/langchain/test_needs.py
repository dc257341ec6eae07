"""What a strategy looks at: asked for on the wire, or told to the user when the router is built."""

import logging
import math
from typing import Any

import pytest
from doubles import CHEAP, DEAR, HARD, Own, Wire, trace_of
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from router_integrations import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Completeness, TokenConfidence
from router_integrations.langchain import CascadeRunnable, RouterChatModel
from router_integrations.langchain.giving import gives
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.strategies import Cascade, JudgedCascade
from router_integrations.testing.replies import Reply


class Telling(Own):
    """An own model with the setting that OpenAI's has."""

    logprobs: bool | None = None


def unsure(text: str = "Hm.") -> Reply:
    return Reply(text=text, logprobs=(math.log(0.3),))


def router(*pool: Candidate, **options: Any) -> RouterChatModel:
    strategy = Cascade(**{"estimator": TokenConfidence(), "order": "given", **options})
    return RouterChatModel(candidates=list(pool), strategy=strategy)


@pytest.mark.parametrize("options", [{}, {"estimator": None}], ids=["needs them", "uses them"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_they_are_asked_for_but_not_of_the_last_candidate(wire: Wire, way: str, options: Any) -> None:
    wire.server.script("small", unsure())
    model = router(wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR), **options)
    _ = model.invoke(HARD) if way == "invoke" else list(model.stream(HARD))

    assert wire.models == ["small", "big"]
    assert wire.requests[0].body["logprobs"] is True
    assert "logprobs" not in wire.last


@pytest.mark.parametrize(("asked", "shown"), [({}, False), ({"logprobs": True}, True)])
def test_only_who_asked_for_them_gets_them_in_the_message(wire: Wire, asked: Any, shown: bool) -> None:
    wire.server.script("small", Reply(text="Yes.", logprobs=(0.0,)))
    answer = router(wire.candidate("openai/small"), wire.candidate("openai/big")).invoke(HARD, **asked)

    assert wire.models == ["small"]
    assert trace_of(answer)["reason"] == "'small' was sure enough, 1.00 > 0.70"
    assert ("logprobs" in answer.response_metadata) is shown


def test_what_the_caller_says_wins(wire: Wire) -> None:
    model = router(wire.candidate("openai/small"), wire.candidate("openai/big"), estimator=None)
    model.invoke(HARD, logprobs=False)

    assert wire.requests[0].body["logprobs"] is False


def test_tools_and_schemas_go_with_them(wire: Wire) -> None:
    wire.server.script("small", Reply(text='{"years": 41}', logprobs=(0.0, 0.0)))
    schema = {"title": "Age", "type": "object", "properties": {"years": {"type": "integer"}}}
    model = router(wire.candidate("openai/small"), wire.candidate("openai/big"))

    assert model.with_structured_output(schema, method="json_schema").invoke("Age?") == {"years": 41}
    assert wire.last["logprobs"] is True


def test_another_strategy_set_later_asks_for_its_own(wire: Wire) -> None:
    model = wire.router(strategy=Cascade(order="given"))
    model.invoke(HARD)
    assert wire.requests[0].body["logprobs"] is True

    model.strategy = Cascade(estimator=Completeness(), order="given", accept=0.0)
    model.invoke(HARD)
    assert "logprobs" not in wire.last


def test_who_cannot_give_them_is_refused_when_the_router_is_built(wire: Wire) -> None:
    claude = Candidate("anthropic/claude-haiku-4-5")
    with pytest.raises(ConfigurationError, match=r"'anthropic/claude-haiku-4-5' does not give; use another candidate"):
        router(claude, wire.candidate("openai/big"))
    router(wire.candidate("openai/small"), claude)


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        (Cascade(estimator=TokenConfidence(), order="given"), "'anthropic/claude-haiku-4-5' does not give"),
        (JudgedCascade(judge="nobody"), r"asks \['nobody'\] to judge"),
        (Cascade, "must have a decide method"),
    ],
    ids=["needs", "judges", "class"],
)
def test_a_strategy_set_later_is_checked_too(strategy: Any, says: str) -> None:
    model = RouterChatModel(candidates=["anthropic/claude-haiku-4-5", "openai/gpt-4o"])
    before = model.strategy

    with pytest.raises(ConfigurationError, match=says):
        model.strategy = strategy
    assert model.strategy is before


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (Telling(logprobs=True), True),
        (Telling(), False),
        (Own(), None),
        (Own(provider="anthropic"), False),
        (Telling(provider="anthropic", logprobs=True), False),
        (Telling().bind(logprobs=True), True),
        (Telling().bind(stop=["x"]), False),
        (RunnableLambda(str) | Telling(logprobs=True) | RunnableLambda(str), True),
        (RunnableLambda(str), None),
        (LiteLLMChatModel(candidate=Candidate("openai/gpt-4o")), True),
        (LiteLLMChatModel(candidate=Candidate("mistral/mistral-tiny")), False),
    ],
)
def test_own_models_tell_by_their_settings(model: Any, known: bool | None) -> None:
    assert gives(Candidate("own", model=model), "logprobs") is known


def test_an_own_model_is_refused_warned_of_or_let_pass(caplog: pytest.LogCaptureFixture) -> None:
    last = Candidate("last", model=Own(), **DEAR)
    with pytest.raises(ConfigurationError, match="'own' does not give; set logprobs on it if it can"):
        router(Candidate("own", model=Telling(), **CHEAP), last)
    router(Candidate("own", model=Telling(logprobs=True), **CHEAP), last)
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        router(Candidate("own", model=Own(), **CHEAP), last)
    assert "nobody knows whether 'own' gives them; ask its model for them" in caplog.text


def test_own_models_are_called_as_they_are() -> None:
    own = Telling(logprobs=True, replies=[AIMessage("Hi")])
    router(Candidate("own", model=own, **CHEAP), Candidate("last", model=Own(), **DEAR)).invoke("Hi")

    assert "logprobs" not in own.settings[0]


def test_steps_of_a_runnable_are_asked_and_checked_too(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    wire.server.script("small", unsure())
    steps = [wire.candidate("openai/small"), wire.candidate("openai/big")]
    traces: list[Any] = []
    CascadeRunnable(steps=steps, estimator=TokenConfidence(), on_trace=traces.append).invoke("Hi")

    assert wire.models == ["small", "big"]
    assert wire.requests[0].body["logprobs"] is True
    assert "logprobs" not in wire.last
    assert traces[0].attempts[0].logprobs == pytest.approx((math.log(0.3),))
    with pytest.raises(ConfigurationError, match="does not give"):
        CascadeRunnable(steps=[Candidate("anthropic/claude-haiku-4-5"), *steps], estimator=TokenConfidence())
    with pytest.raises(ConfigurationError, match="does not give"):
        costs = {"small": 0.1}
        CascadeRunnable(steps=["mistral/mistral-tiny", *steps], estimator=TokenConfidence(), costs=costs)
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        chain = Candidate("chain", model=RunnableLambda(str))
        CascadeRunnable(steps=[chain, *steps], estimator=TokenConfidence())
    assert "nobody knows whether 'chain' gives them" in caplog.text


def test_without_looking_nothing_is_asked_for(wire: Wire) -> None:
    trace = trace_of(wire.router().invoke("Hi"))

    assert trace["candidate"] == "small"
    assert "logprobs" not in wire.last
