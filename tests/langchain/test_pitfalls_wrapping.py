"""Pitfalls 1 to 16: wrapping, tools and structured output. Every row has a test; none is out of reach.

Row 4 is row 1 in the other language, so one test stands for fallbacks in both directions. Row 8's sequence is
LangChain's own class: a router in one has no `bind_tools`, and its error is LangChain's.
"""

import typing
from typing import Any

import pytest
from doubles import ABLE, BOTH, EASY, HARD, Own, Wire, add, router_over, trace_of, weather
from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField, Runnable
from langchain_core.tools import tool
from pydantic import BaseModel

from router_integrations import Candidate
from router_integrations.errors import ConfigurationError, NoEligibleCandidate
from router_integrations.langchain import RouterChatModel
from router_integrations.testing.replies import Fault, Reply, ToolCall


class Person(BaseModel):
    """A person."""

    name: str


DOWN = Fault("status", status=503)
ANY_PERSON = {"type": "json_schema", "json_schema": {"name": "Person", "schema": Person.model_json_schema()}}


def names(body: Any) -> list[str]:
    return [one["function"]["name"] for one in body["tools"]]


def called(message: AIMessage) -> list[Any]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


def test_row_1_a_router_is_a_chat_model_with_bind_tools_even_under_fallbacks(wire: Wire):
    router = wire.router()
    assert isinstance(router, BaseChatModel)
    wire.server.script("small", DOWN)
    wire.server.script("big", DOWN)
    bound = router.with_fallbacks([wire.router()]).bind_tools([weather])
    assert called(bound.invoke("What is the weather in 'Oslo'?")) == [("weather", {"city": "Oslo"})]
    assert [names(request.body) for request in wire.requests] == [["weather"]] * 3


@pytest.mark.parametrize("name", ["bind_tools", "with_structured_output"])
def test_row_2_binding_methods_say_at_run_time_that_they_return_a_runnable(name: str):
    hints = typing.get_type_hints(getattr(RouterChatModel, name))
    assert issubclass(typing.get_origin(hints["return"]), Runnable)


@pytest.mark.parametrize("include_raw", [False, True])
def test_row_3_structured_output_reaches_router_and_fallback(wire: Wire, include_raw: bool):
    for model in BOTH:
        wire.server.script(model, DOWN)
    model = wire.router().with_fallbacks([wire.router()])
    answer = model.with_structured_output(Person, include_raw=include_raw).invoke("I am 'Ada'")
    assert (answer["parsed"] if include_raw else answer) == Person(name="Ada")
    assert [request.body["response_format"]["json_schema"]["name"] for request in wire.requests] == ["Person"] * 3


def test_row_4_a_router_can_be_the_fallback_of_a_plain_model_and_gets_its_tools(wire: Wire):
    plain = Own(replies=[ConnectionError("down")])
    bound = plain.with_fallbacks([wire.router()]).bind_tools([weather])
    assert called(bound.invoke("What is the weather in 'Oslo'?")) == [("weather", {"city": "Oslo"})]
    assert len(plain.asked) == 1


@pytest.mark.parametrize("size", ["small", "big"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda router: router.with_config(tags=["late"]),
        lambda router: router.bind(seed=7),
        lambda router: router.with_retry(stop_after_attempt=2),
        lambda router: router.with_retry().bind(seed=7).with_config(run_name="late"),
    ],
    ids=["with_config", "bind", "with_retry", "all"],
)
def test_row_5_tools_bound_late_work_and_nothing_bound_before_is_lost(wire: Wire, wrap: Any, size: str):
    wrapped = wrap(wire.router())
    wrapped.bind_tools([weather]).invoke(BOTH[size])
    assert wire.models == [size]
    assert names(wire.last) == ["weather"]
    assert wire.last.get("seed") == (7 if "seed" in repr(wrapped) else None)


def test_row_6_create_agent_takes_a_router_with_middleware(wire: Wire):
    agent = create_agent(wire.router(), [weather], middleware=[ModelCallLimitMiddleware(run_limit=5)])
    answer = agent.invoke({"messages": "What is the weather in 'Oslo'?"})["messages"][-1]
    assert "sunny in Oslo" in answer.content


@pytest.mark.parametrize("size", ["small", "big"])
def test_row_7_a_configured_field_survives_tools_bound_after_it(wire: Wire, size: str):
    configurable = wire.router(temperature=0.1).configurable_fields(temperature=ConfigurableField(id="heat"))
    bound = configurable.bind_tools([weather])
    bound.with_config(configurable={"heat": 0.9}).invoke(BOTH[size])
    bound.invoke(BOTH[size], {"configurable": {"heat": 0.5}})
    bound.invoke(BOTH[size])
    assert [request.body["temperature"] for request in wire.requests] == [0.9, 0.5, 0.1]
    assert {tuple(names(request.body)) for request in wire.requests} == {("weather",)}


@pytest.mark.parametrize("late", [False, True], ids=["model", "factory"])
def test_row_7_every_alternative_gets_the_tools(wire: Wire, late: bool):
    other = Own()
    alternatives = wire.router().configurable_alternatives(
        ConfigurableField(id="which"), default_key="router", other=(lambda: other) if late else other
    )
    bound = alternatives.bind_tools([weather])
    bound.with_config(configurable={"which": "other"}).invoke(EASY)
    assert other.bound == [{"tools": [weather]}]
    bound.with_config(configurable={"which": "router"}).invoke(EASY)
    assert names(wire.last) == ["weather"]


def test_row_8_binding_tools_after_a_schema_names_the_right_order(wire: Wire):
    structured = wire.router().with_structured_output(Person)
    with pytest.raises(TypeError, match=r"router\.bind_tools\(tools, response_format=schema\)"):
        structured.bind_tools([weather])
    with pytest.raises(TypeError, match=r"router\.bind_tools\(tools, response_format=schema\)"):
        structured.with_retry().bind(seed=7).bind_tools([weather])
    with pytest.raises(TypeError, match="bound already"):
        structured.with_structured_output(Person)
    with pytest.raises(AttributeError, match="no attribute 'bind_tools'"):
        (wire.router() | StrOutputParser()).bind_tools([weather])


def test_row_8_the_order_that_the_error_names_works(wire: Wire):
    wire.router().bind_tools([weather], response_format=ANY_PERSON).invoke(EASY)
    assert (names(wire.last), wire.last["response_format"]["type"]) == (["weather"], "json_schema")


def test_row_9_tools_with_a_schema_need_a_candidate_that_can_do_both(wire: Wire):
    router = wire.router(small={"schema": False})
    both = router.bind_tools([weather], response_format=ANY_PERSON)
    assert trace_of(both.invoke(EASY))["rejected"] == {"small": "no schema"}
    router.bind_tools([weather]).invoke(EASY)
    assert wire.models == ["big", "small"]


@pytest.mark.parametrize(("able", "forms"), [(True, "json_schema"), (False, None)])
def test_row_10_the_profile_says_what_every_candidate_can_so_agents_choose_a_strategy_by_it(
    wire: Wire, able: bool, forms: Any
):
    router = wire.router(big={"schema": able, "context_window": 5000}, small={"context_window": 9000})
    assert router.profile == {
        "max_input_tokens": 5000,
        "tool_calling": True,
        "tool_choice": True,
        "structured_output": able,
    }
    agent = create_agent(router, [], response_format=Person)
    assert agent.invoke({"messages": "I am 'Ada'"})["structured_response"] == Person(name="Ada")
    assert (wire.requests[0].body.get("response_format") or {}).get("type") == forms
    assert wire.requests[0].body.get("tool_choice") == (None if able else "required")


@pytest.mark.parametrize(
    "choice", ["any", "auto", "none", "required", "weather", True, {"type": "tool", "name": "weather"}]
)
def test_row_11_an_own_model_gets_the_tool_choice_untouched(choice: Any):
    small, big = Own(), Own()
    bound = router_over(small, big).bind_tools([weather], tool_choice=choice, parallel_tool_calls=False)
    bound.invoke(EASY)
    bound.invoke(HARD)
    expected = {"tools": [weather], "tool_choice": choice, "parallel_tool_calls": False}
    assert (small.bound, big.bound) == ([expected], [expected])


def test_row_11_no_choice_stays_no_choice():
    small = Own()
    router_over(small, Own()).bind_tools([weather], tool_choice=None).invoke(EASY)
    assert small.bound == [{"tools": [weather]}]


def test_row_12_structured_output_works_when_one_candidate_can(wire: Wire):
    router = wire.router(small={"schema": False, "tools": False})
    assert router.with_structured_output(Person).invoke("I am 'Ada'") == Person(name="Ada")
    assert wire.models == ["big"]


def test_row_12_structured_output_fails_only_when_no_candidate_can(wire: Wire):
    router = wire.router(small={"schema": False, "tools": False}, big={"schema": False, "tools": False})
    with pytest.raises(NoEligibleCandidate, match=r"'small': no structured; 'big': no structured"):
        router.with_structured_output(Person).invoke(EASY)
    assert wire.models == []


BROKEN = {
    "no JSON": Reply(text="I am Ada"),
    "another schema": Reply(text='{"age": 3}'),
    "nothing": Reply(text="", finish_reason="stop"),
    "half of it": Reply(text='{"name": "A', finish_reason="length"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_row_13_an_answer_that_breaks_the_schema_is_a_failure_and_the_next_model_is_asked(
    wire: Wire, broken: Reply
):
    structured = wire.router(small={"max_retries": 2}).with_structured_output(Person, include_raw=True)
    for answer in (lambda: structured.invoke("I am 'Ada'"), None):
        wire.server.script("small", broken)
        result = answer() if answer else await structured.ainvoke("I am 'Ada'")
        assert result["parsed"] == Person(name="Ada")
        first, second = trace_of(result["raw"])["attempts"]
        assert (first["candidate"], first["error"]["family"], second["error"]) == ("small", "schema", None)
        assert first["output_tokens"] is not None
    assert wire.models == ["small", "big"] * 2


def test_row_13_a_wrong_tool_call_is_one_too(wire: Wire):
    wire.server.script("small", Reply(tool_calls=(ToolCall(name="Person", arguments={"age": 3}),)))
    structured = wire.router().with_structured_output(Person, method="function_calling")
    assert structured.invoke("I am 'Ada'") == Person(name="Ada")
    assert wire.models == ["small", "big"]


CHOICES = {
    "any": "required",
    "required": "required",
    "auto": "auto",
    "none": "none",
    "add": {"type": "function", "function": {"name": "add"}},
}


@pytest.mark.parametrize("choice", [*CHOICES, {"type": "function", "function": {"name": "add"}}], ids=str)
@pytest.mark.parametrize("size", ["small", "big"])
def test_row_14_every_form_of_tool_choice_reaches_either_candidate(wire: Wire, choice: Any, size: str):
    wire.router().bind_tools([weather, add], tool_choice=choice).invoke(BOTH[size])
    assert wire.models == [size]
    assert wire.last["tool_choice"] == (CHOICES[choice] if isinstance(choice, str) else choice)


def test_row_14_nested_arguments_arrive_as_a_dict(wire: Wire):
    nested = {"city": {"name": "Oslo", "tags": ["cold", "north"]}, "unit": "°C"}
    wire.server.script("small", Reply(tool_calls=(ToolCall(name="weather", arguments=nested),)))
    assert called(wire.router().bind_tools([weather]).invoke(EASY)) == [("weather", nested)]


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode", None])
def test_row_15_method_strict_and_include_raw_reach_the_candidate(wire: Wire, method: Any, strict: bool | None):
    given = {name: value for name, value in {"method": method, "strict": strict}.items() if value is not None}
    wire.server.script("small", *[Reply(text='{"name": "Ada"}')] * (method == "json_mode"))
    answer = wire.router().with_structured_output(Person, include_raw=True, **given).invoke("I am 'Ada'")
    assert answer["parsed"] == Person(name="Ada")
    assert answer["parsing_error"] is None
    form = wire.last.get("response_format") or {}
    if method == "function_calling":
        assert wire.last["tools"][0]["function"].get("strict") == strict
        assert wire.last["tool_choice"] == {"type": "function", "function": {"name": "Person"}}
    elif method == "json_mode":
        assert form == {"type": "json_object"}
    else:
        assert form["json_schema"].get("strict") == strict


def test_row_15_an_unknown_method_is_refused_before_any_call(wire: Wire):
    with pytest.raises(ConfigurationError, match=r"method must be one of .* but got 'yaml'"):
        wire.router().with_structured_output(Person, method="yaml")


def test_row_16_a_capability_that_the_table_denies_can_be_given(wire: Wire):
    assert Candidate("perplexity/sonar").schema is False
    router = RouterChatModel(candidates=[wire.candidate("perplexity/sonar", schema=True)])
    assert router.with_structured_output(Person).invoke("I am 'Ada'") == Person(name="Ada")
    assert wire.last["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("name", ["tools", "schema", "tool_choice"])
def test_row_16_a_capability_taken_away_counts_too(name: str):
    candidate = Candidate("openai/gpt-4o", **{name: False})
    assert getattr(Candidate("openai/gpt-4o"), name) is True
    assert getattr(candidate, name) is False
    assert RouterChatModel(candidates=[candidate, "openai/gpt-4o-mini"]).profile[PROFILE_WORDS[name]] is False


PROFILE_WORDS = {"tools": "tool_calling", "schema": "structured_output", "tool_choice": "tool_choice"}


def test_tools_are_kept_in_any_form_that_a_candidate_takes(wire: Wire):
    @tool
    def search(query: str) -> str:
        """Search."""
        return query

    plain = {"type": "function", "function": {"name": "noop", "parameters": {"type": "object", "properties": {}}}}
    wire.router().bind_tools([search, weather, Person, plain]).invoke(EASY)
    assert names(wire.last) == ["search", "weather", "Person", "noop"]


def test_a_history_with_tool_results_needs_no_tools_bound(wire: Wire):
    history = [
        HumanMessage("Weather?"),
        AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}]),
        ToolMessage("sunny", tool_call_id="call_1"),
    ]
    assert wire.router(big=ABLE).invoke(history).content == "The tool returned: sunny"
