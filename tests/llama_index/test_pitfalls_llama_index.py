"""Pitfalls 54 to 73: LlamaIndex, and routers themselves. Every row has a test here; `ELSEWHERE` names further ones.

Row 64's runnable demo with no network is the cookbook of this adapter. LlamaIndex keeps no cache of answers, so row 70
is about the answers that the router itself holds back.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import ToolMetadata

from router_integrations import Best, Fixed, Limits
from router_integrations.errors import ConfigurationError, NoEligibleCandidate, RouterError
from router_integrations.estimators import TokenConfidence
from router_integrations.llama_index import RouterLLM, RouterSelector
from router_integrations.strategies import BestOfN, Cascade, JudgedPolicies
from router_integrations.testing.llama_index.asking import WAYS, Way, every_tool_way, every_way, text_of, tokens_of
from router_integrations.testing.llama_index.tools import TOOLS, weather
from router_integrations.testing.replies import Fault, Reply, ToolCall
from tests.llama_index.llms import Line, Own, router_over, trace_of
from tests.wired import EASY, HARD

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    54: ["test_router_tools.py::test_row_54_an_own_llm_gets_the_tools_in_its_own_way"],
    55: [
        "test_router_tools.py::test_row_55_tools_go_to_those_that_call_them",
        "test_litellm_llm.py::test_row_55_it_calls_functions_unless_known_not_to",
    ],
    57: [
        "test_router_llm.py::test_row_57_metadata_holds_whoever_answers",
        "test_litellm_llm.py::test_row_57_limits_leave_room_for_a_prompt",
    ],
    58: ["test_router_llm.py::test_row_58_an_own_llm_that_cannot_stream_answers_in_one_piece"],
    59: ["test_router_llm.py::test_row_59_unreported_tokens_are_estimated"],
    60: ["test_selector.py::test_pitfalls_60_and_61_what_a_judge_says_is_a_choice_or_the_default_with_a_reason"],
    64: ["../test_cookbooks.py::test_llamaindex"],
    65: ["test_router_llm.py::test_row_65_a_thousand_at_once_share_nothing"],
    67: [
        "test_router_tools.py::test_row_67_in_a_tool_loop_the_model_that_began_it_goes_on",
        "test_llama_agents.py::test_a_tool_loop_stays_with_the_model_that_began_it",
    ],
    72: ["../test_parity.py::test_both_adapters_decide_alike"],
    73: ["test_llama_history.py::test_row_73_the_start_of_a_longer_history_is_translated_alike"],
}
QUESTION = "How is the weather in 'Oslo'?"
PROSE = "I would say: the second one, because it is about parcels."


def test_every_row_has_a_test_and_every_reference_leads_to_one() -> None:
    here = {int(number) for name in globals() for number in re.findall(r"^test_row_(\d+)_", name)}
    assert here >= set(range(54, 74))
    for place in (place for places in ELSEWHERE.values() for place in places):
        file, _, name = place.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / file).read_text(encoding="utf-8"), place


async def run(agent: Any, message: str) -> str:
    return str(await agent.run(user_msg=message, memory=ChatMemoryBuffer.from_defaults(token_limit=4_000)))


agents = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")


@every_tool_way
def test_row_54_every_way_with_tools_is_there_and_outlives_a_failure(line: Line, way: Any) -> None:
    line.server.script("small", Fault("status", status=503))
    router = line.router()
    (call,) = router.get_tool_calls_from_response(way.ask(router, TOOLS, QUESTION)[-1])

    assert isinstance(router, FunctionCallingLLM)
    assert (call.tool_name, call.tool_kwargs) == ("weather", {"city": "Oslo"})
    assert line.models == ["small", "big"]


@agents
async def test_row_55_agents_take_a_router_when_one_candidate_calls_functions(line: Line) -> None:
    router = line.router(small={"tools": False})
    workflow = AgentWorkflow.from_tools_or_functions([weather], llm=router)

    assert [type(agent) for agent in workflow.agents.values()] == [FunctionAgent]
    assert await run(workflow, QUESTION) == "The tool returned: It is sunny in Oslo."
    assert set(line.models) == {"big"}


@agents
def test_row_55_no_candidate_that_calls_functions_is_said_at_once(line: Line) -> None:
    router = line.router(small={"tools": False}, big={"tools": False})
    workflow = AgentWorkflow.from_tools_or_functions([weather], llm=router)

    assert [type(agent) for agent in workflow.agents.values()] == [ReActAgent]
    with pytest.raises(NoEligibleCandidate, match="tools"):
        router.chat_with_tools(TOOLS, QUESTION)
    assert line.models == []


@pytest.mark.parametrize(("tools", "asked"), [(True, "small"), (False, "big")])
def test_row_56_the_user_says_what_a_model_can(line: Line, tools: bool, asked: str) -> None:
    line.router(small={"tools": tools}).chat_with_tools(TOOLS, QUESTION)
    assert line.models == [asked]


def test_row_57_metadata_is_the_smallest_window_and_prints_nothing(
    line: Line, capfd: pytest.CaptureFixture[str]
) -> None:
    router = line.router(small={"context_window": 4_000}, big={"context_window": 9_000})

    assert router.metadata.context_window <= 4_000
    assert line.router(context_window=7_777).metadata.context_window == 7_777
    assert line.router().metadata.context_window > 2_048
    assert capfd.readouterr().out == ""


@agents
async def test_row_58_an_agent_that_streams_takes_a_model_that_cannot() -> None:
    router = router_over(Own(label="own", streams=False, replies=["It is sunny."]), Own(label="other"))
    agent = FunctionAgent(tools=[weather], llm=router, streaming=True)

    assert await run(agent, "hi") == "It is sunny."


@every_way
def test_row_59_streams_tell_their_tokens_as_whole_answers_do(line: Line, way: Way) -> None:
    usage = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 25}
    line.server.script("small", Reply(text="Hello there", usage=usage))
    counter = TokenCountingHandler(tokenizer=str.split)
    last = way.ask(line.router(callback_manager=CallbackManager([counter])), EASY)[-1]

    assert {name: last.additional_kwargs[name] for name in usage} == usage
    assert tokens_of(last) == (21, 4)
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (21, 4)


CHOICES = [
    ToolMetadata(name="billing", description="invoices, payments, refunds"),
    ToolMetadata(name="shipping", description="parcels, delivery, tracking numbers"),
]


@pytest.mark.parametrize("said", ["0", "3", "-1", '{"choice": 0}', "", "neither"])
def test_row_60_a_choice_out_of_range_is_the_default_with_a_reason(line: Line, said: str) -> None:
    line.server.script("judge", Reply(text=said))
    found = RouterSelector(judge=line.candidate("openai/judge"), default="billing").select(CHOICES, "Where is it?")

    assert found.ind == 0
    assert found.reason


@pytest.mark.parametrize("said", ["shipping", ' "shipping" ', '```json\n{"choice": "shipping"}\n```', "**shipping**."])
def test_row_61_what_a_judge_writes_around_its_choice_does_no_harm(line: Line, said: str) -> None:
    line.server.script("judge", Reply(text=said))
    found = RouterSelector(judge=line.candidate("openai/judge"), default="billing").select(CHOICES, "Where is it?")

    assert found.ind == 1


@pytest.mark.parametrize("said", ["{", '{"choice": ', "I cannot say"])
def test_row_61_a_judge_that_writes_junk_means_the_default_model(line: Line, said: str) -> None:
    line.server.script("judge", Reply(text=said))
    strategy = JudgedPolicies(policies={"small": "small talk", "big": "proofs"}, judge="judge", default="big")
    router = line.router(strategy=strategy, judges=[line.candidate("openai/judge")])

    trace = trace_of(router.complete(EASY))

    assert (trace["candidate"], line.models) == ("big", ["judge", "big"])
    assert trace["reason"]


def test_row_62_a_decision_needs_neither_key_nor_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    router = RouterLLM(candidates=["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"])

    assert router.explain(EASY).candidate == "openai/gpt-4o-mini"
    assert router.explain(HARD).candidate == "anthropic/claude-sonnet-4-5"


def test_row_63_a_cascade_has_as_many_rungs_as_there_are_models(line: Line) -> None:
    names = ["one", "two", "three", "four", "five"]
    pool = [
        line.candidate(f"openai/{name}", input_price=10.0**-number)
        for number, name in zip(range(9, 4, -1), names, strict=True)
    ]
    for name in names[:-1]:
        line.server.script(name, Reply(text="I guess", logprobs=(-3.0, -3.0)))
    router = RouterLLM(candidates=pool, strategy=Cascade(estimator=TokenConfidence(), order=names))

    assert trace_of(router.complete(EASY, logprobs=True))["candidate"] == "five"
    assert line.models == names


def test_row_64_the_cookbook_of_this_adapter_is_run() -> None:
    assert (ROOT / "cookbooks" / "05_llamaindex.ipynb").exists()
    assert "05_llamaindex" in (ROOT / "tests" / "test_cookbooks.py").read_text(encoding="utf-8")


async def test_row_65_requests_at_once_keep_their_own_decisions(line: Line) -> None:
    router = line.router()
    before = router.model_dump()
    asked = [EASY if number % 3 else HARD for number in range(30)]
    answers = await asyncio.gather(*(router.acomplete(text) for text in asked))

    assert [trace_of(one)["candidate"] for one in answers] == ["small" if text == EASY else "big" for text in asked]
    assert router.model_dump() == before


@every_tool_way
def test_row_66_calls_of_tools_come_with_their_usage(line: Line, way: Any) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 6, "total_tokens": 36}
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    line.server.script("small", Reply(tool_calls=(call,), usage=usage))
    last = way.ask(line.router(), TOOLS, QUESTION)[-1]

    assert tokens_of(last) == (30, 6)
    assert trace_of(last)["attempts"][0]["output_tokens"] == 6


def test_row_67_a_short_turn_after_a_hard_one_is_read_with_it(line: Line) -> None:
    history = [ChatMessage(content=HARD), ChatMessage(role="assistant", content="..."), ChatMessage(content="go on")]

    assert line.router().explain(history).candidate == "small"
    assert line.router(context_turns=1).explain(history).candidate == "big"


def test_row_68_an_unknown_option_is_an_error_that_names_the_right_one(line: Line) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'strategy'"):
        line.router(stategy=Best())
    with pytest.raises(TypeError, match="accpet"):
        Cascade(**{"accpet": 0.5})


@pytest.mark.parametrize("strategy", [Best(), BestOfN(n=9)], ids=["one by one", "at once"])
def test_row_69_no_request_makes_more_calls_than_it_may(line: Line, strategy: Any) -> None:
    for name in ("small", "big"):
        line.server.script(name, Fault("status", status=503), repeat=True)
    with pytest.raises(RouterError):
        line.router(strategy=strategy, limits=Limits(max_calls=2), small={"max_retries": 5}).complete(EASY)

    assert len(line.models) <= 2


@pytest.mark.parametrize("way", [way for way in WAYS if way.streamed], ids=str)
def test_row_70_an_answer_that_was_held_back_streams_too(line: Line, way: Way) -> None:
    line.server.script("small", Reply(text="It is Paris", logprobs=(-0.01, -0.01, -0.01)))
    router = line.router(strategy=Cascade(estimator=TokenConfidence()))
    chunks = way.ask(router, EASY, logprobs=True)

    assert "".join(chunk.delta or "" for chunk in chunks) == text_of(chunks[-1]) == "It is Paris"
    assert trace_of(chunks[-1])["candidate"] == "small"


def test_row_71_a_draft_that_calls_the_right_tool_is_accepted(line: Line) -> None:
    router = line.router(strategy=Cascade())
    response = router.chat_with_tools(TOOLS, QUESTION)

    assert trace_of(response)["candidate"] == "small"
    assert line.models == ["small"]


def test_row_71_a_draft_that_calls_a_tool_wrongly_is_not(line: Line) -> None:
    line.server.script("small", Reply(tool_calls=(ToolCall(name="weather", arguments={"town": 1}),)))
    response = line.router(strategy=Cascade()).chat_with_tools(TOOLS, QUESTION)

    assert trace_of(response)["candidate"] == "big"


def test_row_71_a_hard_system_prompt_does_not_make_an_easy_question_hard(line: Line) -> None:
    trace = line.router().explain([ChatMessage(role="system", content=HARD), ChatMessage(content=EASY)])
    assert trace.candidate == "small"


@pytest.mark.parametrize("text", [EASY, HARD, "你好", ""], ids=["easy", "hard", "chinese", "empty"])
def test_row_72_synchronous_and_asynchronous_calls_decide_alike(line: Line, text: str) -> None:
    router = line.router()
    told = [trace_of(way.ask(router, text or " ")[-1]) for way in WAYS]
    decided = [(one["candidate"], one["reason"], one["estimates"], one["cost"]) for one in told]

    assert decided == [decided[0]] * len(WAYS)


def test_row_73_the_cache_that_a_switch_would_lose_is_priced(line: Line) -> None:
    router = line.router(strategy=Best(), big={"cache_read_price": 3e-7})
    long = [ChatMessage(content="lamp " * 3_000)]
    said = router.chat(long, model="big").message
    unsigned = ChatMessage(role="assistant", blocks=[TextBlock(text=said.content or "")])
    kept, lost = (
        router.explain([*long, answer, ChatMessage(content=EASY)]).estimates["big"].cost for answer in (said, unsigned)
    )

    assert kept < lost / 2


def test_row_73_a_switch_back_and_forth_is_the_callers_choice_to_forbid(line: Line) -> None:
    fixed = line.router(strategy=Fixed(name="big"))
    for text in (EASY, HARD, EASY):
        fixed.complete(text)
    assert line.models == ["big"] * 3
