"""Pitfalls 39 to 53 and the measured row: prices, parameters, windows, faults and imports of LiteLLM.

Row 40's `base_model` is a setting of LiteLLM's own proxy; here a deployment's price is given on its `Candidate`. The
process-wide side of row 51 (the import, the price map, LiteLLM's globals) is in tests/test_providers.py.
"""

import builtins
import importlib.metadata
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from doubles import CHEAP, EASY, HARD, Own, Wire, add, router_over, trace_of, weather, whole
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from router_integrations import Candidate
from router_integrations.errors import AllCandidatesFailed, ConfigurationError, NoEligibleCandidate
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Fixed
from router_integrations.testing.replies import Fault, Reply

CALLS = ["invoke", "ainvoke", "stream", "astream"]
TOOL_TURN = [
    HumanMessage("Weather?"),
    AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}]),
    ToolMessage("sunny", tool_call_id="call_1"),
]


class Person(BaseModel):
    """A person."""

    name: str


async def answer(router: Any, call: str, input: Any = EASY, **kwargs: Any) -> Any:
    """Return what one way of calling answers; the chunks of a stream added up."""
    made = getattr(router, call)(input, **kwargs)
    if isinstance(made, AsyncIterator):
        return whole([chunk async for chunk in made])
    if call.startswith("a"):
        return await made
    return whole(made) if call == "stream" else made


def test_row_39_a_model_without_a_price_is_unknown_and_refused_before_any_call():
    assert Candidate("openai/unheard-of").input_price is None
    assert "input_price" in Candidate("openai/unheard-of").unknown
    with pytest.raises(ConfigurationError, match=r"the price of 'openai/unheard-of' is unknown.*input_price="):
        RouterChatModel(candidates=["openai/gpt-4o", "openai/unheard-of"])


@pytest.mark.parametrize("call", CALLS)
async def test_row_39_an_unknown_price_costs_none_and_never_0(call: str):
    router = RouterChatModel(candidates=[Candidate("mine", model=Own(), strength=0.5)])
    trace = trace_of(await answer(router, call))
    assert (trace["cost"], trace["attempts"][0]["cost"]) == (None, None)
    assert trace["attempts"][0]["output_tokens"] == 5


def test_row_39_a_free_model_costs_0():
    free = Candidate("mine", model=Own(), input_price=0, output_price=0)
    assert trace_of(RouterChatModel(candidates=[free]).invoke(EASY))["cost"] == 0


def test_row_40_the_price_is_that_of_the_model_asked_whatever_name_comes_back():
    renamed = AIMessage("Hi", response_metadata={"model_name": "gpt-4o-mini-2099-01-01"})
    own = Own(label="gpt-4o-mini", provider="openai", replies=[renamed])
    trace = trace_of(RouterChatModel(candidates=[Candidate("mine", model=own)]).invoke(EASY))
    assert trace["model"] == "gpt-4o-mini-2099-01-01"
    assert trace["cost"] == pytest.approx(10 * 0.15e-6 + 5 * 0.6e-6)


def test_row_40_the_users_own_price_comes_first(wire: Wire):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    wire.server.script("gpt-4o-mini", Reply(text="Hi", usage=usage))
    priced = wire.candidate("openai/gpt-4o-mini", input_price=1.0, output_price=2.0)
    assert trace_of(RouterChatModel(candidates=[priced]).invoke(EASY))["cost"] == 20.0


PLAIN = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
CACHED = {
    "OpenAI: among the prompt's": ({**PLAIN, "prompt_tokens_details": {"cached_tokens": 600}}, (400, 600, 0)),
    "Anthropic by LiteLLM": (
        {**PLAIN, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 300},
        (100, 600, 300),
    ),
    "beside the prompt's": (
        {**PLAIN, "prompt_tokens": 100, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 300},
        (100, 600, 300),
    ),
    "none": (PLAIN, (1000, 0, 0)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("usage", "billed"), CACHED.values(), ids=CACHED)
async def test_row_41_cached_tokens_are_billed_once_at_their_own_price(
    wire: Wire, usage: Any, billed: tuple[int, int, int], call: str
):
    wire.server.script("small", Reply(text="Hi", usage=usage))
    prices = {"input_price": 1.0, "output_price": 5.0, "cache_read_price": 0.1, "cache_write_price": 1.25}
    router = RouterChatModel(candidates=[wire.candidate("openai/small", **prices)])
    plain, read, write = billed
    assert trace_of(await answer(router, call))["cost"] == pytest.approx(plain + 0.1 * read + 1.25 * write + 5.0 * 10)


async def test_row_42_a_stream_costs_what_the_same_call_costs(wire: Wire):
    router = wire.router()
    costs = {trace_of(await answer(router, call, "three words here"))["cost"] for call in CALLS}
    assert len(costs) == 1
    assert costs.pop() > 0


def test_row_43_a_parameter_is_left_out_for_the_model_that_refuses_it_with_one_warning(
    wire: Wire, caplog: pytest.LogCaptureFixture
):
    refusing = wire.candidate("mistral/mistral-small-latest", name="row-43")
    taking = wire.candidate("openai/taking")
    router = RouterChatModel(candidates=[refusing, taking], strategy=Fixed(name="row-43"))
    with caplog.at_level(logging.WARNING, "router_integrations"):
        for _ in range(2):
            router.bind(frequency_penalty=0.5, seed=7).invoke(EASY)
    router.bind(frequency_penalty=0.5, seed=7).invoke(EASY, model="taking")
    first, second, third = (request.body for request in wire.requests)
    assert "frequency_penalty" not in first | second
    assert third["frequency_penalty"] == 0.5
    warnings = [record.getMessage() for record in caplog.records if "row-43" in record.getMessage()]
    assert warnings == ["'row-43' does not take frequency_penalty=0.5; it is left out"]


def test_row_44_tools_go_only_to_models_that_can_call_them(wire: Wire):
    router = RouterChatModel(
        candidates=[wire.candidate("perplexity/sonar", tools=None), wire.candidate("openai/able", input_price=1e-6)]
    )
    assert Candidate("perplexity/sonar").tools is False
    assert trace_of(router.bind_tools([weather]).invoke(EASY))["rejected"] == {"sonar": "no tools"}
    router.invoke(EASY)
    assert wire.models == ["able", "sonar"]


def test_row_44_the_user_can_overrule_the_table(wire: Wire):
    router = RouterChatModel(candidates=[wire.candidate("perplexity/sonar", tools=True)])
    router.bind_tools([weather]).invoke(EASY)
    assert [one["function"]["name"] for one in wire.last["tools"]] == ["weather"]


LONG = "word " * 400


@pytest.mark.parametrize("call", CALLS)
async def test_row_45_a_prompt_is_measured_before_the_call(wire: Wire, call: str):
    router = wire.router(small={"context_window": 100}, big={"context_window": 1000})
    trace = trace_of(await answer(router, call, LONG))
    assert wire.models == ["big"]
    assert trace["rejected"]["small"].startswith("context window 100 < ")
    with pytest.raises(NoEligibleCandidate, match=r"'small': context window 100 < .*; 'big': context window 1,000 < "):
        await answer(router, call, LONG * 3)
    assert wire.models == ["big"]


OVERFLOWS = [
    Fault("status", status=400, code="context_length_exceeded", message="too long"),
    Fault("status", status=400, message="This model's maximum context length is 8192 tokens."),
    Fault("status", status=400, message="prompt is too long: 9000 tokens > 8192 maximum"),
    Fault("status", status=413, message="Payload Too Large"),
]


@pytest.mark.parametrize("fault", OVERFLOWS, ids=lambda fault: fault.message)
@pytest.mark.parametrize("call", ["ainvoke", "stream"])
async def test_row_45_an_overflow_told_as_a_bad_request_is_one(wire: Wire, fault: Fault, call: str):
    wire.server.script("small", fault)
    router = wire.router(small={"context_window": 8192, "max_retries": 2}, big={"context_window": 128_000})
    first, second = trace_of(await answer(router, call))["attempts"]
    assert (first["error"]["family"], second["candidate"]) == ("context_overflow", "big")
    assert wire.models == ["small", "big"]


def test_row_46_after_an_overflow_only_larger_windows_are_asked(wire: Wire):
    wire.server.script("middle", OVERFLOWS[0])
    sizes = {"middle": 8000, "tiny": 4000, "same": 8000, "large": 100_000}
    pool = [wire.candidate(f"openai/{name}", context_window=window) for name, window in sizes.items()]
    router = RouterChatModel(candidates=pool, strategy=Fixed(name="middle"))
    router.invoke(EASY)
    assert wire.models == ["middle", "large"]


def test_row_46_when_no_larger_window_is_left_the_chain_ends_with_langchains_overflow_error(wire: Wire):
    wire.server.script("small", OVERFLOWS[0])
    router = wire.router(small={"context_window": 8000}, big={"context_window": 4000})
    with pytest.raises(ContextOverflowError) as caught:
        router.invoke(EASY)
    assert isinstance(caught.value, AllCandidatesFailed)
    assert wire.models == ["small"]


def test_row_47_the_window_is_what_a_model_can_read_not_what_it_can_write():
    candidate = Candidate("openai/gpt-4o")
    assert (candidate.context_window, candidate.max_output) == (128_000, 16_384)
    profile = RouterChatModel(candidates=["openai/gpt-4o", "openai/gpt-4.1"]).profile
    assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (128_000, 16_384)


@pytest.mark.parametrize("call", ["stream", "astream"])
async def test_row_48_a_stream_that_fails_at_once_is_asked_elsewhere_with_the_same_messages(wire: Wire, call: str):
    wire.server.script("small", Fault("error_in_stream", after_chunks=1))
    total = await answer(wire.router(), call)
    first, second = wire.requests
    assert (first.model, second.model) == ("small", "big")
    assert first.body["messages"] == second.body["messages"] == [{"role": "user", "content": EASY}]
    assert total.content.startswith("Here is a short answer")


async def test_row_49_only_concrete_models_are_asked_for(wire: Wire):
    router = wire.router(name="auto_router")
    for call in CALLS:
        await answer(router, call)
        await answer(router.bind_tools([weather]), call, HARD)
        await answer(router.with_structured_output(Person), call, "I am 'Ada'") if "stream" not in call else None
        await answer(router, call, model="big")
    router.batch([EASY, HARD])
    await router.abatch([EASY, HARD])
    router.generate([[HumanMessage(EASY)]])
    assert {*wire.models} == {"small", "big"}


@pytest.mark.parametrize("tools", [True, False])
async def test_row_50_every_way_of_calling_takes_tool_results(wire: Wire, tools: bool):
    router = wire.router()
    model = router.bind_tools([weather, add]) if tools else router
    answers = [await answer(model, call, TOOL_TURN) for call in CALLS]
    answers += model.batch([TOOL_TURN]) + await model.abatch([TOOL_TURN])
    answers += [model.generate([TOOL_TURN]).generations[0][0].message] if not tools else []
    answers += [(await model.agenerate([TOOL_TURN])).generations[0][0].message] if not tools else []
    assert {one.content for one in answers} == {"The tool returned: sunny"}
    for request in wire.requests:
        assert [message["role"] for message in request.body["messages"]] == ["user", "assistant", "tool"]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


def test_row_51_nothing_of_litellm_is_loaded_and_no_network_used_until_the_first_call():
    done = run_python(
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from router_integrations.langchain import RouterChatModel\n"
        "router = RouterChatModel(candidates=['openai/gpt-4o-mini', 'openai/gpt-4o'])\n"
        "router.bind_tools([]).explain('hi'); router.get_num_tokens('hi'); router.profile\n"
        "assert 'litellm' not in sys.modules\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_row_52_the_stolen_versions_are_excluded():
    (needed,) = (
        line for line in importlib.metadata.requires("router_integrations") or [] if line.startswith("litellm")
    )
    assert {"!=1.82.7", "!=1.82.8"} <= set(needed.removeprefix("litellm").split(","))


def test_row_52_own_models_work_without_litellm():
    done = run_python(
        "import sys; sys.modules['litellm'] = None\n"
        "from langchain_core.language_models import FakeListChatModel\n"
        "from router_integrations import Candidate\n"
        "from router_integrations.langchain import RouterChatModel\n"
        "own = Candidate('own', model=FakeListChatModel(responses=['Hello']), strength=0.5)\n"
        "print(RouterChatModel(candidates=[own]).invoke('hi').content)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello\n", "")


SOON = {"retry_after": 0.01}
FAULTS = {
    "timeout 408": (Fault("status", status=408, **SOON), 1),
    "rate limit 429": (Fault("status", status=429, **SOON), 3),
    "server 500": (Fault("status", status=500, **SOON), 3),
    "unavailable 503": (Fault("status", status=503, **SOON), 3),
    "connection": (Fault("reset"), 3),
    "bad request 400": (Fault("status", status=400), 1),
    "unauthorized 401": (Fault("status", status=401), 1),
    "forbidden 403": (Fault("status", status=403), 1),
    "not found 404": (Fault("status", status=404), 1),
}


@pytest.mark.parametrize(("fault", "calls"), FAULTS.values(), ids=FAULTS)
async def test_row_53_what_may_pass_is_tried_again_and_what_will_not_goes_to_another_model(
    wire: Wire, fault: Fault, calls: int
):
    wire.server.script("small", fault, repeat=True)
    reply = await wire.router(small={"max_retries": 2}).ainvoke(EASY)
    assert wire.models == ["small"] * calls + ["big"]
    assert trace_of(reply)["candidate"] == "big"


@pytest.mark.parametrize("call", CALLS)
async def test_row_53_a_hanging_model_is_given_up_after_its_timeout(wire: Wire, call: str):
    wire.server.script("small", Fault("hang"))
    reply = await answer(wire.router(small={"timeout": 0.15, "max_retries": 2}), call)
    assert [attempt["error"] and attempt["error"]["family"] for attempt in trace_of(reply)["attempts"]] == [
        "timeout",
        None,
    ]


@pytest.mark.parametrize("over", ["wire", "own"])
async def test_measured_nothing_of_ours_is_imported_on_the_hot_path(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, over: str
):
    router = wire.router() if over == "wire" else router_over(Own(), Own())
    bound = router.bind_tools([weather])
    for call in CALLS:
        await answer(bound, call)
    imported = []
    real = builtins.__import__

    def spy(name: str, globals: Any = None, *args: Any, **kwargs: Any) -> Any:
        if ((globals or {}).get("__name__") or "").startswith("router_integrations"):
            imported.append(name)
        return real(name, globals, *args, **kwargs)

    modules = {*sys.modules}
    monkeypatch.setattr(builtins, "__import__", spy)
    for call in CALLS:
        await answer(bound, call)
    monkeypatch.undo()
    assert imported == []
    assert {*sys.modules} == modules


def test_a_candidates_price_is_never_taken_from_the_one_that_failed(wire: Wire):
    wire.server.script("small", Fault("status", status=503))
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    wire.server.script("big", Reply(text="Hi", usage=usage))
    trace = trace_of(wire.router(small=CHEAP).invoke(EASY))
    assert trace["cost"] == pytest.approx(10 * 3e-6 + 5 * 1e-5)
    assert [attempt["cost"] for attempt in trace["attempts"]] == [None, trace["cost"]]
