"""Whatever is bound, in whatever order, is replayed on the candidate that answers; seen on the wire of both."""

import itertools
from typing import Any

import pytest
from doubles import BOTH, EASY, HARD, Own, Runs, Wire, router_over, trace_of, weather, whole
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import BaseModel
from typing_extensions import TypedDict

from router_integrations.errors import AllCandidatesFailed
from router_integrations.langchain import RouterChatModel
from router_integrations.testing.replies import Fault, Reply

DOWN = Fault("status", status=503)


class Person(BaseModel):
    """A person."""

    name: str


class PersonDict(TypedDict):
    """A person."""

    name: str


SCHEMAS: dict[str, Any] = {"pydantic": Person, "typed dict": PersonDict, "JSON schema": Person.model_json_schema()}
HEAT = ConfigurableField(id="heat")

# Each wrapper, the settings that it adds on the wire, and the config that brings them about.
WRAPPERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bind": (lambda model: model.bind(seed=7), {"seed": 7}),
    "with_config": (lambda model: model.with_config(tags=["tagged"]), {}),
    "with_retry": (lambda model: model.with_retry(stop_after_attempt=2), {}),
    "with_fallbacks": (lambda model: model.with_fallbacks([model]), {}),
    "with_types": (lambda model: model.with_types(input_type=str), {}),
    "with_listeners": (lambda model: model.with_listeners(on_end=lambda run: None), {}),
}
BINDINGS: dict[str, Any] = {
    "tools": lambda model: model.bind_tools([weather], tool_choice="any"),
    "schema": lambda model: model.with_structured_output(Person, method="json_schema", strict=True),
}


def assert_bound(body: Any, binding: str) -> None:
    if binding == "tools":
        assert [one["function"]["name"] for one in body["tools"]] == ["weather"]
        assert body["tool_choice"] == "required"
    else:
        assert body["response_format"]["json_schema"]["name"] == "Person"
        assert body["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("order", [*itertools.permutations(WRAPPERS, 2)], ids="-".join)
def test_two_wrappers_and_a_binding_in_any_order(wire: Wire, order: tuple[str, str], binding: str):
    expected = {name: value for step in order for name, value in WRAPPERS[step][1].items()}
    for position in range(3):
        steps = [WRAPPERS[step][0] for step in order]
        steps.insert(position, BINDINGS[binding])
        model: Any = wire.router()
        for step in steps:
            model = step(model)
        size = ("small", "big")[position % 2]
        model.invoke(f"{BOTH[size]} I am in 'Oslo'.")
        assert wire.last["model"] == size
        assert_bound(wire.last, binding)
        assert {name: wire.last.get(name) for name in expected} == expected


ORDERS = [*itertools.permutations(["config", "binding", "bind"])]


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_configured_field_with_a_binding_in_any_order(wire: Wire, order: tuple[str, ...], binding: str):
    steps = {
        "config": lambda model: model.with_config(configurable={"heat": 0.9}),
        "binding": BINDINGS[binding],
        "bind": lambda model: model.bind(seed=7),
    }
    model: Any = wire.router(temperature=0.1).configurable_fields(temperature=HEAT)
    for step in order:
        model = steps[step](model)
    for size, query in BOTH.items():
        model.invoke(query)
        assert (wire.last["model"], wire.last["temperature"], wire.last["seed"]) == (size, 0.9, 7)
        assert_bound(wire.last, binding)


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_an_alternative_with_a_binding_in_any_order(wire: Wire, order: tuple[str, ...], binding: str):
    other = RouterChatModel(candidates=[wire.candidate("openai/other")])
    for chosen, asked in {"other": "other", "router": "small"}.items():
        steps = {
            "config": lambda model, key=chosen: model.with_config(configurable={"which": key}),
            "binding": BINDINGS[binding],
            "bind": lambda model: model.bind(seed=7),
        }
        model: Any = wire.router().configurable_alternatives(
            ConfigurableField(id="which"), default_key="router", other=other
        )
        for step in order:
            model = steps[step](model)
        model.invoke(EASY)
        assert (wire.last["model"], wire.last["seed"]) == (asked, 7)
        assert_bound(wire.last, binding)


def test_an_alternative_that_is_no_router_gets_what_is_bound_in_its_own_way(wire: Wire):
    own = Own(replies=[AIMessage("", tool_calls=[{"name": "Person", "args": {"name": "Ada"}, "id": "1"}])])
    model: Any = wire.router().configurable_alternatives(ConfigurableField(id="which"), own=lambda: own).bind(seed=7)
    config = {"configurable": {"which": "own"}}
    assert model.with_structured_output(Person).invoke(EASY, config) == Person(name="Ada")
    model.bind_tools([weather]).invoke(EASY, config)
    assert [one["tools"] for one in own.bound] == [[Person], [weather]]
    assert [one["seed"] for one in own.settings] == [7, 7]
    assert not any("router_binding" in one for one in own.settings)


def test_fields_of_a_bound_router_cannot_be_configured_any_more_and_the_error_says_so(wire: Wire):
    with pytest.raises(ValueError, match="Configuration key temperature not found"):
        wire.router().bind_tools([weather]).configurable_fields(temperature=HEAT)


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("strict", [None, False, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_structured_output_reaches_either_candidate_whatever_its_options(
    wire: Wire, method: str, strict: bool | None, include_raw: bool
):
    given = {} if strict is None else {"strict": strict}
    structured = wire.router().with_structured_output(Person, method=method, include_raw=include_raw, **given)
    for size, query in BOTH.items():
        if method == "json_mode":
            wire.server.script(size, *[Reply(text='{"name": "Ada"}')] * 2)
        for answer in (structured.invoke(f"{query} 'Ada'"), await structured.ainvoke(f"{query} 'Ada'")):
            assert (answer["parsed"] if include_raw else answer) == Person(name="Ada")
            assert not include_raw or trace_of(answer["raw"])["candidate"] == size
            assert wire.last["model"] == size
        form = wire.last.get("response_format")
        if method == "function_calling":
            function = wire.last["tools"][0]["function"]
            assert (form, function["name"], function.get("strict")) == (None, "Person", strict)
        elif method == "json_schema":
            assert (form["json_schema"]["name"], form["json_schema"].get("strict")) == ("Person", strict)
        else:
            assert (form, "tools" in wire.last) == ({"type": "json_object"}, False)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_structured_output_takes_every_kind_of_schema_whole_and_streamed(wire: Wire, schema: Any, method: str):
    structured = wire.router().with_structured_output(schema, method=method)
    expected: Any = Person(name="Ada") if schema is Person else {"name": "Ada"}
    assert structured.invoke("I am 'Ada'") == expected
    *_, last = structured.stream("I am 'Ada'")
    assert last == expected


def test_a_raw_structured_stream_adds_up_to_the_whole(wire: Wire):
    structured = wire.router().with_structured_output(Person, include_raw=True)
    answer = whole(structured.stream("I am 'Ada'"))
    assert (answer["parsed"], answer["parsing_error"]) == (Person(name="Ada"), None)
    assert answer["raw"].content == '{"name": "Ada"}'


@pytest.mark.parametrize("size", BOTH)
def test_the_settings_of_the_call_win_over_those_that_are_bound(wire: Wire, size: str):
    bound = wire.router(temperature=0.1).bind(temperature=0.2, seed=7).bind_tools([weather])
    bound.invoke(BOTH[size], temperature=0.3)
    assert (wire.last["model"], wire.last["temperature"], wire.last["seed"]) == (size, 0.3, 7)


def test_what_is_bound_last_counts_as_in_langchain(wire: Wire):
    twice = wire.router().bind_tools([weather]).bind_tools([Person])
    twice.invoke(EASY)
    assert [one["function"]["name"] for one in wire.last["tools"]] == ["Person"]
    wire.router().bind_tools([weather]).with_structured_output(Person).invoke(EASY)
    assert ("tools" in wire.last, wire.last["response_format"]["type"]) == (False, "json_schema")


def test_retries_make_the_whole_request_again_with_all_that_is_bound(wire: Wire):
    for model in BOTH:
        wire.server.script(model, DOWN)
    retried = wire.router().with_retry(stop_after_attempt=2, wait_exponential_jitter=False).bind_tools([weather])
    assert isinstance(retried.invoke(EASY), AIMessage)
    assert wire.models == ["small", "big", "small"]
    assert all(request.body["tools"] for request in wire.requests)


def test_retries_can_be_limited_to_our_errors(wire: Wire):
    for model in BOTH:
        wire.server.script(model, DOWN, DOWN)
    never = wire.router().with_retry(retry_if_exception_type=(ZeroDivisionError,), stop_after_attempt=3)
    with pytest.raises(AllCandidatesFailed):
        never.bind(seed=7).invoke(EASY)
    assert wire.models == ["small", "big"]


def test_a_late_binding_is_traced_as_one_router_run(wire: Wire):
    runs = Runs()
    model = wire.router().bind(seed=7).with_config(tags=["tagged"], callbacks=[runs]).bind_tools([weather])
    model.invoke(EASY)
    assert [run["kind"] for run in runs.started.values()] == ["chain", "model"]
    assert all("tagged" in run["tags"] for run in runs.started.values())


def test_explain_counts_in_what_is_bound(wire: Wire):
    router = wire.router(small={"tools": False, "schema": False})
    assert router.explain(EASY).candidate == "small"
    assert router.bind_tools([weather]).explain(EASY).candidate == "big"
    assert router.bind(seed=7).with_retry().bind_tools([weather]).explain(EASY).rejected == {"small": "no tools"}
    assert router.with_structured_output(Person).explain(EASY).candidate == "big"
    assert router.bind(model="small").explain(HARD).candidate == "small"
    assert wire.models == []


def test_a_binding_follows_the_router_it_was_made_on(wire: Wire):
    router = wire.router(temperature=0.1)
    bound, structured = router.bind_tools([weather]), router.with_structured_output(Person)
    for heat in (0.1, 0.9):
        router.temperature = heat
        bound.invoke(EASY)
        structured.invoke(EASY)
    assert [request.body["temperature"] for request in wire.requests] == [0.1, 0.1, 0.9, 0.9]


def test_a_binding_is_converted_once_for_each_model():
    small, big = Own(), Own()
    bound = router_over(small, big).bind_tools([weather])
    for _ in range(3):
        bound.invoke(EASY)
        bound.invoke(HARD)
    assert (len(small.bound), len(big.bound)) == (1, 1)


@pytest.mark.parametrize("wrapper", WRAPPERS)
async def test_every_wrapper_streams_and_batches(wire: Wire, wrapper: str):
    model = WRAPPERS[wrapper][0](wire.router()).bind_tools([weather], tool_choice="none")
    assert whole(model.stream(EASY)).content == f"Here is a short answer to: {EASY}"
    assert whole([chunk async for chunk in model.astream(EASY)]).content == f"Here is a short answer to: {EASY}"
    answers = [*model.batch([EASY, HARD]), *await model.abatch([EASY, HARD])]
    assert [trace_of(answer)["candidate"] for answer in answers] == ["small", "big"] * 2


def test_wrappers_are_serialised_as_langchains_own(wire: Wire):
    router = RouterChatModel(candidates=["openai/gpt-4o-mini", "openai/gpt-4o"])
    form = dumpd(router.bind(seed=7).with_config(tags=["tagged"]))
    assert form["id"] == ["langchain", "schema", "runnable", "RunnableBinding"]
    assert [dumpd(wrapped)["id"][-1] for wrapped in (router.with_retry(), router.with_fallbacks([router]))] == [
        "RunnableRetry",
        "RunnableWithFallbacks",
    ]


def test_a_sequence_keeps_what_was_bound_before_it(wire: Wire):
    chain = RunnableLambda(str.strip) | wire.router().bind(seed=7).bind_tools([weather])
    chain.invoke(f" {EASY} ")
    assert (wire.last["seed"], wire.last["messages"][0]["content"], len(wire.last["tools"])) == (7, EASY, 1)
