"""LlamaIndex's own components over real HTTP: the router gives what the bare LLM gives, for as many tokens."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector, PydanticSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from router_integrations.testing.llama_index.blocks import PNG
from router_integrations.testing.replies import Reply, ToolCall
from router_integrations.testing.server import ScriptedServer
from tests.llama_index.beside import beside, routed
from tests.llama_index.corpus import ASK, TEXTS, Hashed

Use = Callable[[Any], Any]


class Person(BaseModel):
    """A person."""

    name: str


def index() -> VectorStoreIndex:
    return VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=Hashed())


def memory() -> ChatMemoryBuffer:
    return ChatMemoryBuffer.from_defaults(token_limit=4_000)


def run(coroutine: Callable[[], Any]) -> Any:
    return asyncio.run(coroutine())


async def in_pieces(source: Any) -> list[str]:
    return [piece async for piece in source]


ENGINES: dict[str, Use] = {
    "simple": lambda llm: SimpleChatEngine.from_defaults(llm=llm, system_prompt="Be short.", memory=memory()),
    "context": lambda llm: ContextChatEngine.from_defaults(retriever=index().as_retriever(), llm=llm, memory=memory()),
    "condense": lambda llm: CondenseQuestionChatEngine.from_defaults(
        query_engine=index().as_query_engine(llm=llm), llm=llm, memory=memory()
    ),
    "condense_context": lambda llm: CondensePlusContextChatEngine.from_defaults(
        retriever=index().as_retriever(), llm=llm, memory=memory()
    ),
}


@pytest.mark.parametrize("name", ENGINES)
def test_chat_engines_talk_the_same(server: ScriptedServer, name: str) -> None:
    def talk(llm: Any) -> list[str]:
        engine = ENGINES[name](llm)
        return [engine.chat(ASK).response, engine.chat("And where?").response, *map(str, engine.chat_history)]

    assert len(beside(server, talk)) == 6


@pytest.mark.parametrize("name", ENGINES)
def test_chat_engines_talk_the_same_asynchronously(server: ScriptedServer, name: str) -> None:
    def talk(llm: Any) -> list[str]:
        async def both() -> list[str]:
            engine = ENGINES[name](llm)
            return [(await engine.achat(ASK)).response, (await engine.achat("And where?")).response]

        return run(both)

    beside(server, talk)


@pytest.mark.parametrize("name", ENGINES)
def test_chat_engines_stream_the_same(server: ScriptedServer, name: str) -> None:
    def talk(llm: Any) -> list[str]:
        engine = ENGINES[name](llm)
        return [*engine.stream_chat(ASK).response_gen, *engine.stream_chat("And where?").response_gen]

    assert len(beside(server, talk)) > 6


@pytest.mark.parametrize("name", ENGINES)
def test_chat_engines_stream_the_same_asynchronously(server: ScriptedServer, name: str) -> None:
    def talk(llm: Any) -> list[str]:
        async def pieces() -> list[str]:
            engine = ENGINES[name](llm)
            first = await in_pieces((await engine.astream_chat(ASK)).async_response_gen())
            return first + await in_pieces((await engine.astream_chat("And where?")).async_response_gen())

        return run(pieces)

    assert len(beside(server, talk)) > 6


MODES = [
    mode.value
    for mode in (
        ResponseMode.REFINE,
        ResponseMode.COMPACT,
        ResponseMode.SIMPLE_SUMMARIZE,
        ResponseMode.TREE_SUMMARIZE,
        ResponseMode.ACCUMULATE,
        ResponseMode.COMPACT_ACCUMULATE,
        ResponseMode.GENERATION,
    )
]


@pytest.mark.parametrize("mode", MODES)
def test_query_engines_answer_the_same_in_every_mode(server: ScriptedServer, mode: str) -> None:
    def ask(llm: Any) -> list[str]:
        engine = index().as_query_engine(llm=llm, response_mode=mode, similarity_top_k=3)
        return [engine.query(ASK).response, run(lambda: engine.aquery(ASK)).response]

    first, second = beside(server, ask)
    assert first == second


@pytest.mark.parametrize("mode", ["refine", "compact", "simple_summarize", "tree_summarize"])
def test_query_engines_stream_the_same(server: ScriptedServer, mode: str) -> None:
    def ask(llm: Any) -> list[str]:
        return list(index().as_query_engine(llm=llm, response_mode=mode, streaming=True).query(ASK).response_gen)

    assert len(beside(server, ask)) > 3


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
def test_long_texts_are_cut_to_the_window_the_same(server: ScriptedServer, mode: str) -> None:
    nodes = [NodeWithScore(node=TextNode(text=f"{'lamp ' * 6_000}{number}"), score=1.0) for number in range(3)]

    def ask(llm: Any) -> str:
        return str(get_response_synthesizer(llm=llm, response_mode=ResponseMode(mode)).synthesize(ASK, nodes))

    beside(server, ask)


def test_a_synthesizer_with_a_class_gives_the_same_object(server: ScriptedServer) -> None:
    def ask(llm: Any) -> Any:
        engine = index().as_query_engine(llm=llm, output_cls=Person, response_mode="compact")
        return engine.query("Which person is 'Ada'?").response

    assert beside(server, ask) == Person(name="Ada")


def tools(llm: Any) -> list[QueryEngineTool]:
    summary = SummaryIndex.from_documents([Document(text=text) for text in TEXTS]).as_query_engine(llm=llm)
    return [
        QueryEngineTool.from_defaults(index().as_query_engine(llm=llm), name="facts", description="Single facts."),
        QueryEngineTool.from_defaults(summary, name="summary", description="The whole."),
    ]


SUB_QUESTIONS = """```json
{"items": [{"sub_question": "Who founded it?", "tool_name": "facts"},
           {"sub_question": "What is it?", "tool_name": "summary"}]}
```"""


@pytest.mark.parametrize("use_async", [False, True])
def test_sub_questions_are_asked_the_same(server: ScriptedServer, use_async: bool) -> None:
    def ask(llm: Any) -> Any:
        engine = SubQuestionQueryEngine.from_defaults(
            query_engine_tools=tools(llm),
            llm=llm,
            question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
            response_synthesizer=get_response_synthesizer(llm=llm, callback_manager=llm.callback_manager),
            verbose=False,
            use_async=use_async,
        )
        response = engine.query("Who founded Brightwell, and what is it?")
        return str(response), len(response.source_nodes)

    assert beside(server, ask, Reply(text=SUB_QUESTIONS))[1] >= 4


SELECTORS: dict[str, tuple[Any, Reply | None]] = {
    "single": (LLMSingleSelector, Reply(text='[{"choice": 2, "reason": "the whole is asked for"}]')),
    "multi": (
        LLMMultiSelector,
        Reply(text='[{"choice": 1, "reason": "a fact"}, {"choice": 2, "reason": "the whole"}]'),
    ),
    "pydantic": (
        PydanticSingleSelector,
        Reply(tool_calls=(ToolCall(name="SingleSelection", arguments={"index": 2, "reason": "the whole"}),)),
    ),
}


@pytest.mark.parametrize("name", SELECTORS)
def test_router_query_engines_choose_the_same(server: ScriptedServer, name: str) -> None:
    selector, said = SELECTORS[name]

    def ask(llm: Any) -> Any:
        engine = RouterQueryEngine.from_defaults(
            query_engine_tools=tools(llm),
            llm=llm,
            selector=selector.from_defaults(llm=llm),
            summarizer=None,
        )
        response = engine.query("What is it all about?")
        return str(response), str(response.metadata["selector_result"])

    beside(server, ask, said)


def programs(llm: Any) -> list[Any]:
    prompt = "Which person is '{name}'?"
    return [
        FunctionCallingProgram.from_defaults(output_cls=Person, prompt_template_str=prompt, llm=llm),
        LLMTextCompletionProgram.from_defaults(
            output_parser=PydanticOutputParser(output_cls=Person), prompt_template_str=prompt, llm=llm
        ),
    ]


@pytest.mark.parametrize("number", [0, 1], ids=["functions", "text"])
def test_programs_make_the_same_objects(server: ScriptedServer, number: int) -> None:
    said = [Reply(text='{"name": "Ada"}')] * 2 if number else []

    def make(llm: Any) -> list[Person]:
        program = programs(llm)[number]
        return [program(name="Ada"), run(lambda: program.acall(name="Ada"))]

    assert beside(server, make, *said) == [Person(name="Ada")] * 2


def test_structured_predictions_are_the_same(server: ScriptedServer) -> None:
    def make(llm: Any) -> list[Any]:
        structured = llm.as_structured_llm(Person)
        return [structured.complete("Who is 'Ada'?").raw, run(lambda: structured.acomplete("Who is 'Ada'?")).raw]

    assert beside(server, make) == [Person(name="Ada")] * 2


def test_a_picture_arrives_the_same(server: ScriptedServer) -> None:
    def ask(llm: Any) -> str:
        message = ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), ImageBlock(image=PNG)])
        return str(llm.chat([message]))

    beside(server, ask)


def test_answers_of_a_query_engine_tell_the_route(server: ScriptedServer) -> None:
    traces: list[Any] = []
    router = routed(server, on_trace=traces.append)
    index().as_query_engine(llm=router).query(ASK)
    assert [trace.candidate for trace in traces] == ["big"]
