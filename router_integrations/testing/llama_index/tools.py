"""Tools and structured output."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from router_integrations.testing.llama_index.asking import (
    ToolWay,
    every_tool_way,
    listening,
    streamed_tool_ways,
    tokens_of,
    whole_tool_ways,
)
from router_integrations.testing.llama_index.blocks import tool_turns
from router_integrations.testing.llama_index.subject import USAGE, Subject
from router_integrations.testing.replies import Reply, ToolCall
from router_integrations.testing.server import ScriptedServer

_QUESTION = "How is the weather in 'Oslo'?"
_CALL = ToolCall(name="weather", arguments={"city": "Oslo"})
_BAD = ToolCall(name="weather", arguments='{"city": "Os')
_PROMPT = PromptTemplate("Who is '{name}'?")
# LlamaIndex's streams do not require the tool, so the model must want to call it.
_WILLING = PromptTemplate("Which person is '{name}'?")


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


def now() -> str:
    """Tell the time."""
    return "noon"


TOOLS = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(now)]


class Person(BaseModel):
    """A person."""

    name: str


class ToolTests(Subject):
    """What agents need."""

    def test_is_a_function_calling_llm(self, llm: Any) -> None:
        """`FunctionAgent` asks for both."""
        assert isinstance(llm, FunctionCallingLLM)
        assert llm.metadata.is_function_calling_model, "metadata says that it cannot call functions"

    @every_tool_way
    @pytest.mark.parametrize("message", [_QUESTION, ChatMessage(content=_QUESTION)], ids=["str", "message"])
    def test_calls_a_tool(self, llm: Any, way: ToolWay, message: Any) -> None:
        """The one that is asked for, with its arguments."""
        last = way.ask(llm, TOOLS, message)[-1]
        (call,) = llm.get_tool_calls_from_response(last)
        assert (call.tool_name, call.tool_kwargs) == ("weather", {"city": "Oslo"})
        assert call.tool_id

    @every_tool_way
    def test_tool_calls_are_blocks(self, llm: Any, way: ToolWay) -> None:
        """Memories keep blocks, and agents send them back."""
        last = way.ask(llm, TOOLS, _QUESTION)[-1]
        blocks = [block for block in last.message.blocks if isinstance(block, ToolCallBlock)]
        assert [block.tool_name for block in blocks] == ["weather"], "the message holds no ToolCallBlock"

    @streamed_tool_ways
    def test_every_chunk_can_be_asked_for_tool_calls(self, llm: Any, way: ToolWay) -> None:
        """`FunctionAgent` does so while half of the arguments are still to come."""
        for chunk in way.ask(llm, TOOLS, _QUESTION):
            calls = llm.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)
            assert {call.tool_name for call in calls} <= {"weather"}

    @every_tool_way
    def test_arguments_that_are_no_json_do_not_raise(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """The agent tells the model; a crash would end the run."""
        server.script(self.model, Reply(tool_calls=(_BAD,)))
        last = way.ask(llm, TOOLS, _QUESTION)[-1]
        assert [call.tool_name for call in llm.get_tool_calls_from_response(last)] == ["weather"]

    @every_tool_way
    def test_no_tool_call_raises_only_when_told_to(self, llm: Any, way: ToolWay) -> None:
        """Agents say no."""
        last = way.ask(llm, TOOLS, "Hello")[-1]
        assert llm.get_tool_calls_from_response(last, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match="tool"):
            llm.get_tool_calls_from_response(last)

    @every_tool_way
    def test_leaves_the_history_as_it_is(self, llm: Any, way: ToolWay) -> None:
        """It is the caller's memory."""
        history = [ChatMessage(content="Hi"), ChatMessage(role="assistant", content="Hello")]
        way.ask(llm, TOOLS, _QUESTION, chat_history=history)
        assert [message.content for message in history] == ["Hi", "Hello"], "the call changed chat_history"

    @every_tool_way
    def test_required_tools_are_asked_for_so(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """And only then."""
        way.ask(llm, TOOLS[:1], "Hello", tool_required=True)
        way.ask(llm, TOOLS[:1], "Hello")
        required, free = (request.body.get("tool_choice", "auto") for request in server.requests)
        assert (required, free) == ("required", "auto")

    @every_tool_way
    def test_no_choice_leaves_a_required_tool_required(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """LlamaIndex's programs say `tool_choice=None` beside `tool_required=True`."""
        way.ask(llm, TOOLS[:1], "Hello", tool_required=True, tool_choice=None)
        assert server.requests[-1].body.get("tool_choice") == "required"

    @every_tool_way
    def test_a_chosen_tool_is_asked_for(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """In the form of OpenAI's API."""
        choice = {"type": "function", "function": {"name": "now"}}
        last = way.ask(llm, TOOLS, _QUESTION, tool_choice=choice)[-1]
        assert server.requests[-1].body["tool_choice"] == choice
        assert [call.tool_name for call in llm.get_tool_calls_from_response(last)] == ["now"]

    @every_tool_way
    def test_parallel_calls_are_asked_for(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """Or not."""
        for allowed in (False, True):
            way.ask(llm, TOOLS, _QUESTION, allow_parallel_tool_calls=allowed)
            assert server.requests[-1].body.get("parallel_tool_calls", True) is allowed

    @whole_tool_ways
    def test_a_second_call_is_dropped_unless_allowed(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """Some providers ignore the setting."""
        for allowed, number in ((False, 1), (True, 2)):
            server.script(self.model, Reply(tool_calls=(_CALL, _CALL)))
            last = way.ask(llm, TOOLS, _QUESTION, allow_parallel_tool_calls=allowed)[-1]
            assert len(llm.get_tool_calls_from_response(last)) == number

    @every_tool_way
    def test_a_tool_loop_goes_on(self, llm: Any, way: ToolWay) -> None:
        """The answer after the result of a tool is a text."""
        last = way.ask(llm, TOOLS, chat_history=tool_turns({"city": "Oslo"}))[-1]
        assert last.message.content == "The tool returned: It is sunny in Oslo."

    @every_tool_way
    def test_a_reply_goes_back_as_it_came(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """What an agent does: the message with the call, then the result with its id."""
        said = way.ask(llm, TOOLS, _QUESTION)[-1]
        (call,) = llm.get_tool_calls_from_response(said)
        result = ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id})
        last = way.ask(llm, TOOLS, chat_history=[ChatMessage(content=_QUESTION), said.message, result])[-1]
        wire, answer = server.requests[-1].body["messages"][1:3]
        assert [one["id"] for one in wire["tool_calls"]] == [answer["tool_call_id"]]
        assert last.message.content == "The tool returned: sunny"

    @every_tool_way
    def test_a_call_with_tools_is_told_once(self, llm: Any, way: ToolWay) -> None:
        """Of the two methods that call each other, one tells."""
        with listening(llm) as heard:
            way.ask(llm, TOOLS, _QUESTION)
        assert (len(heard.starts), len(heard.ends), heard.legacy.ends) == (1, 1, 1)

    @whole_tool_ways
    def test_a_call_with_tools_tells_its_tokens(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """As any other."""
        server.script(self.model, Reply(tool_calls=(_CALL,), usage=USAGE))
        assert tokens_of(way.ask(llm, TOOLS, _QUESTION)[-1]) == (11, 7)

    @streamed_tool_ways
    def test_a_stream_with_tools_tells_its_tokens(self, llm: Any, server: ScriptedServer, way: ToolWay) -> None:
        """As any other."""
        server.script(self.model, Reply(tool_calls=(_CALL,), usage=USAGE))
        assert tokens_of(way.ask(llm, TOOLS, _QUESTION)[-1]) == (11, 7)

    def test_predicts_and_calls(self, llm: Any) -> None:
        """The tool itself runs, in both ways."""
        assert str(llm.predict_and_call(TOOLS, _QUESTION)) == "It is sunny in Oslo."
        assert str(asyncio.run(llm.apredict_and_call(TOOLS, _QUESTION))) == "It is sunny in Oslo."


class StructuredTests(Subject):
    """Objects instead of texts."""

    def test_predicts_an_object(self, llm: Any) -> None:
        """Of the class that is asked for, in both ways."""
        assert llm.structured_predict(Person, _PROMPT, name="Ada") == Person(name="Ada")
        assert asyncio.run(llm.astructured_predict(Person, _PROMPT, name="Ada")) == Person(name="Ada")

    def test_streams_an_object(self, llm: Any) -> None:
        """The last one is whole."""
        assert _last(list(llm.stream_structured_predict(Person, _WILLING, name="Ada"))) == "Ada"

    def test_streams_an_object_asynchronously(self, llm: Any) -> None:
        """The last one is whole."""

        async def collect() -> list[Any]:
            return [one async for one in await llm.astream_structured_predict(Person, _WILLING, name="Ada")]

        assert _last(asyncio.run(collect())) == "Ada"

    def test_makes_a_structured_llm(self, llm: Any) -> None:
        """Whose answers hold the object, in both ways."""
        structured = llm.as_structured_llm(Person)
        messages = [ChatMessage(content="Who is 'Ada'?")]
        assert structured.chat(messages).raw == Person(name="Ada")
        assert asyncio.run(structured.achat(messages)).raw == Person(name="Ada")

    @pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # LlamaIndex calls it
    def test_streams_of_a_structured_llm(self, llm: Any) -> None:
        """The last one is whole."""
        chunks = llm.as_structured_llm(Person).stream_chat([ChatMessage(content="Which person is 'Ada'?")])
        assert _last([chunk.raw for chunk in chunks]) == "Ada"


def _last(objects: list[Any]) -> str:
    shown = objects[-1]
    if isinstance(shown, list):
        shown = shown[-1]
    return str(shown.name)
