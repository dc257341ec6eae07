"""Tools, agents and objects through the router."""

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.program.function_program import FunctionCallingProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from llama_index.core.workflow import JsonSerializer
from pydantic import BaseModel

from router_integrations import Candidate, Fixed
from router_integrations.errors import AllCandidatesFailed, NoEligibleCandidate
from router_integrations.llama_index import RouterLLM
from router_integrations.testing.llama_index.asking import ToolWay, every_tool_way, streamed_tool_ways
from router_integrations.testing.replies import Reply, ToolCall
from tests.llama_index.llms import Line, Own, Words, router_over, trace_of
from tests.wired import CHEAP, EASY, HARD

CALL = ToolCallBlock(tool_call_id="call_1", tool_name="weather", tool_kwargs={"city": "Oslo"})
PROMPT = PromptTemplate("Who is '{name}'?")


class Person(BaseModel):
    """A person."""

    name: str


class Trip(BaseModel):
    """A trip."""

    stops: list[str]
    days: int


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


# LlamaIndex looks at every attribute of its agents, the deprecated ones of pydantic included.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
TOOLS = [FunctionTool.from_defaults(weather)]
ASKED = "How is the weather in 'Oslo'?"
WAYS = ["structured_predict", "astructured_predict", "stream_structured_predict", "astream_structured_predict"]


async def last_of(way: ToolWay, llm: Any, *args: Any, **options: Any) -> Any:
    return (await asyncio.to_thread(way.ask, llm, *args, **options))[-1]


async def predict(llm: Any, way: str, **options: Any) -> Any:
    """Return the object that one way of asking for it ends with."""
    made = getattr(llm, way)(Person, PROMPT, name="Ada", **options)
    if way == "structured_predict":
        return made
    if way == "stream_structured_predict":
        return list(made)[-1]
    made = await made
    return made if way == "astructured_predict" else [one async for one in made][-1]


# Tools


@every_tool_way
async def test_row_55_tools_go_to_those_that_call_them(line: Line, way: ToolWay):
    last = await last_of(way, line.router(small={"tools": False}), TOOLS, ASKED)
    assert trace_of(last)["rejected"] == {"small": "no tools"}
    assert line.models == ["big"]


@every_tool_way
async def test_nobody_that_calls_tools_is_an_error(way: ToolWay):
    with pytest.raises(NoEligibleCandidate, match="'small': no tools"):
        await last_of(way, router_over(Own(calls=False), Words()), TOOLS, ASKED)


@every_tool_way
async def test_row_54_an_own_llm_gets_the_tools_in_its_own_way(way: ToolWay):
    own = Own(replies=[[CALL]])
    router = router_over(own, Own())
    history = [ChatMessage(content="Hi"), ChatMessage(role="assistant", content="Hello")]
    last = await last_of(way, router, TOOLS, ASKED, chat_history=history, tool_required=True)
    assert [call.tool_kwargs for call in router.get_tool_calls_from_response(last)] == [{"city": "Oslo"}]
    assert (
        own.settings == [{"tools": ["weather"], "tool_required": True, "verbose": False}]
        or own.settings[0]["tool_required"]
    )
    assert [message.content for message in own.asked[0]] == ["Hi", "Hello", ASKED]
    assert len(history) == 2


@streamed_tool_ways
async def test_chunks_that_an_own_llm_cannot_read_yet_have_no_calls(way: ToolWay):
    router = router_over(Own(replies=["one two"]), Own())
    for chunk in await asyncio.to_thread(way.ask, router, TOOLS, ASKED):
        assert router.get_tool_calls_from_response(chunk, error_on_no_tool_call=False) == []


def test_calls_in_an_own_llms_form_are_read_by_it():
    class Theirs(Own):
        def get_tool_calls_from_response(self, response: Any, **kwargs: Any) -> Any:
            return ["theirs"]

    router = router_over(Theirs(), Own())
    assert router.get_tool_calls_from_response(router.chat([ChatMessage(content=EASY)])) == ["theirs"]
    with pytest.raises(ValueError, match="calls no tool"):
        router.get_tool_calls_from_response(router.chat([ChatMessage(content=HARD)]))


@every_tool_way
async def test_row_67_in_a_tool_loop_the_model_that_began_it_goes_on(line: Line, way: ToolWay):
    router = line.router()
    began = await last_of(way, router, TOOLS, ASKED, model="big")
    (call,) = router.get_tool_calls_from_response(began)
    result = ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id})
    turns = [ChatMessage(content=ASKED), began.message, result]
    last = await last_of(way, router, TOOLS, chat_history=turns)
    assert trace_of(last)["candidate"] == "big"
    # A new question is decided afresh.
    after = await last_of(way, router, TOOLS, "Thanks", chat_history=[*turns, last.message])
    assert trace_of(after)["candidate"] == "small"


async def test_what_began_a_tool_loop_is_known_after_the_context_was_stored():
    began = router_over(Own(replies=[[CALL]]), Own()).chat([ChatMessage(content=ASKED)]).message
    stored = JsonSerializer().serialize(began)
    again = JsonSerializer().deserialize(stored)
    result = ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": "call_1"})
    router = router_over(Own(), Own(), strategy=Fixed(name="big"))
    assert router.explain([ChatMessage(content=ASKED), again, result]).candidate == "small"


def test_thinking_goes_back_to_its_issuer_only():
    thought = [ThinkingBlock(content="Hm.", additional_information={"signature": "x"}), TextBlock(text="Hello")]
    small, big = Own(replies=[thought]), Own(label="own-big")
    router = router_over(small, big)
    said = router.chat([ChatMessage(content=EASY)]).message
    turns = [ChatMessage(content=EASY), said]
    router.chat([*turns, ChatMessage(content="Bye")])
    router.chat([*turns, ChatMessage(content=HARD)])
    assert [type(block) for block in small.asked[-1][1].blocks] == [ThinkingBlock, TextBlock]
    assert [type(block) for block in big.asked[-1][1].blocks] == [TextBlock]
    assert len(said.blocks) == 2


# Agents


async def test_a_model_that_is_better_suited_to_the_second_step_is_not_asked(line: Line):
    class Alternating(Fixed):
        def decide(self, request: Any, attempts: Any = ()) -> Any:
            loop = any(message.role == "tool" for message in request.native)
            wanted = "small" if loop and len(request.candidates) > 1 else request.candidates[-1].name
            return Fixed(name=wanted).decide(request, attempts)

    agent = FunctionAgent(tools=TOOLS, llm=line.router(strategy=Alternating(name="big")))
    answer = await agent.run(ASKED)
    assert str(answer) == "The tool returned: It is sunny in Oslo."
    assert line.models == ["big", "big"]


# Objects


@pytest.mark.parametrize("way", WAYS)
async def test_an_object_comes_from_whoever_answers(line: Line, way: str):
    assert await predict(line.router(), way) == Person(name="Ada")


@pytest.mark.parametrize("way", WAYS[2:])
@pytest.mark.parametrize("before", ["", "Sure: "])
async def test_an_object_is_shown_as_it_grows(line: Line, way: str, before: str):
    line.server.script("small", Reply(text=before + '{"stops": ["Oslo", "Rome"], "days": 3}'))
    able = {"tools": False, "schema": not before}
    made = getattr(line.router(small=able, big=able), way)(Trip, PromptTemplate("Where to?"))
    shown = list(made) if way == WAYS[2] else [one async for one in await made]
    assert [one.stops for one in shown][:2] == [["Oslo"], ["Oslo", "Rome"]]
    assert shown[-1] == Trip(stops=["Oslo", "Rome"], days=3)


@pytest.mark.parametrize("way", WAYS[:2])
async def test_an_answer_that_breaks_the_class_is_a_failure_and_the_next_answers(line: Line, way: str):
    line.server.script("small", Reply(tool_calls=(ToolCall(name="Person", arguments={"age": 3}),)))
    traces: list[Any] = []
    assert await predict(line.router(on_trace=traces.append), way) == Person(name="Ada")
    attempts = traces[0].as_dict()["attempts"]
    assert [(one["candidate"], (one["error"] or {}).get("family")) for one in attempts] == [
        ("small", "schema"),
        ("big", None),
    ]
    assert attempts[0]["cost"] > 0


@pytest.mark.parametrize("way", WAYS[:2])
async def test_when_every_answer_breaks_the_class_the_error_says_so(line: Line, way: str):
    for model in ("small", "big"):
        line.server.script(model, Reply(text="I would rather not."))
    with pytest.raises(AllCandidatesFailed, match="the answer breaks the schema") as caught:
        await predict(line.router(), way)
    # As LlamaIndex's own programs raise it.
    assert isinstance(caught.value, ValueError)
    assert [one.call.candidate.name for one in caught.value.trace.attempts] == ["small", "big"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("able", "marks"),
    [
        ({"tools": True, "schema": True}, {"tools", "tool_choice"}),
        ({"tools": False, "schema": True}, {"response_format"}),
        ({"tools": False, "schema": False}, set()),
    ],
    ids=["tool", "schema", "words"],
)
async def test_each_candidate_is_held_to_the_class_in_its_own_way(line: Line, way: str, able: Any, marks: set[str]):
    if not marks:
        line.server.script("small", Reply(text='Sure: {"name": "Ada"}'))
    assert await predict(line.router(small=able, big=able), way) == Person(name="Ada")
    assert {"tools", "tool_choice", "response_format"} & set(line.last) == marks
    assert ("JSON schema" in str(line.last["messages"])) is not marks or marks


async def test_one_that_can_be_held_to_a_class_goes_before_one_that_cannot(line: Line):
    traces: list[Any] = []
    router = line.router(small={"tools": False, "schema": False}, on_trace=traces.append)
    assert await predict(router, "structured_predict") == Person(name="Ada")
    assert traces[0].rejected == {"small": "no structured"}


@pytest.mark.parametrize("way", WAYS)
async def test_a_program_mode_of_words_is_obeyed(line: Line, way: str):
    line.server.script("small", Reply(text='{"name": "Ada"}'))
    router = line.router(pydantic_program_mode=PydanticProgramMode.LLM)
    assert await predict(router, way) == Person(name="Ada")
    assert "tools" not in line.last and line.models == ["small"]


@pytest.mark.parametrize("way", WAYS)
async def test_own_llms_give_objects_too(way: str):
    made = ToolCallBlock(tool_call_id="1", tool_name="Person", tool_kwargs={"name": "Ada"})
    assert await predict(router_over(Own(replies=[[made]]), Own()), way) == Person(name="Ada")
    spoken = RouterLLM(candidates=[Candidate("words", model=Words(text='{"name": "Ada"}'), **CHEAP)])
    assert await predict(spoken, way) == Person(name="Ada")


def test_settings_of_the_call_go_with_it(line: Line):
    line.router().structured_predict(Person, PROMPT, name="Ada", llm_kwargs={"temperature": 0.5, "model": "big"})
    assert (line.models, line.last["temperature"]) == (["big"], 0.5)


def test_llamaindexs_own_programs_run(line: Line):
    program = FunctionCallingProgram.from_defaults(Person, prompt=PROMPT, llm=line.router())
    assert program(name="Ada") == Person(name="Ada")


def test_the_object_of_a_structured_llm_is_its_raw_answer(line: Line):
    structured = line.router().as_structured_llm(Person)
    assert structured.chat([ChatMessage(content="Who is 'Ada'?")]).raw == Person(name="Ada")
    assert structured.complete("Who is 'Ada'?").raw == Person(name="Ada")
