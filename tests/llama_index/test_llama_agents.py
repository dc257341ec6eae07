"""LlamaIndex's agents over real HTTP: the router gives what the bare LLM gives, and keeps its model in a tool loop."""

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.memory import ChatMemoryBuffer
from pydantic import BaseModel

from router_integrations import Best, Candidate
from router_integrations.llama_index import RouterLLM
from router_integrations.strategies import Cascade
from router_integrations.testing.llama_index.blocks import PNG
from router_integrations.testing.replies import Fault, Reply, ToolCall
from router_integrations.testing.server import ScriptedServer
from tests.llama_index.beside import beside, candidate, routed

# LlamaIndex's agents look at every attribute of themselves, the deprecated ones of pydantic too.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]

QUESTION = "What is the weather in 'Oslo'?"
TWO_STEPS = (
    Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),)),
    Reply(tool_calls=(ToolCall(name="add", arguments={"a": 1, "b": 2}),)),
    Reply(text="It is sunny, and three."),
)
TWO_AT_ONCE = (
    Reply(
        tool_calls=(
            ToolCall(name="weather", arguments={"city": "Oslo"}),
            ToolCall(name="weather", arguments={"city": "Rome"}),
        )
    ),
    Reply(text="It is sunny in both."),
)
REACT = (
    Reply(text='Thought: I need a tool.\nAction: weather\nAction Input: {"city": "Oslo"}'),
    Reply(text="Thought: I can answer without using any more tools.\nAnswer: It is sunny in Oslo."),
)
HANDOFF = (
    Reply(tool_calls=(ToolCall(name="handoff", arguments={"to_agent": "writer", "reason": "it writes"}),)),
    Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),)),
    Reply(text="A poem about the sun in Oslo."),
)
each_streaming = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])


class Person(BaseModel):
    """A person."""

    name: str


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def run(agent: Any, message: Any = QUESTION) -> tuple[str, list[Any], str]:
    """Run an agent; return its answer, what its tools gave, and the deltas it streamed."""

    async def events() -> tuple[str, list[Any], str]:
        handler = agent.run(user_msg=message, memory=ChatMemoryBuffer.from_defaults(token_limit=8_000))
        seen = [event async for event in handler.stream_events()]
        results = [(event.tool_name, event.tool_output.content) for event in seen if isinstance(event, ToolCallResult)]
        deltas = "".join(event.delta for event in seen if isinstance(event, AgentStream))
        return str(await handler), results, deltas

    return asyncio.run(events())


def function_agent(llm: Any, **options: Any) -> FunctionAgent:
    return FunctionAgent(**{"name": "helper", "tools": [weather, add], "llm": llm, "system_prompt": "Help.", **options})


@each_streaming
def test_function_agent_takes_the_same_steps(server: ScriptedServer, streaming: bool) -> None:
    def use(llm: Any) -> Any:
        return run(function_agent(llm, streaming=streaming))

    answer, results, deltas = beside(server, use, *TWO_STEPS)
    assert answer == "It is sunny, and three."
    assert results == [("weather", "It is sunny in Oslo."), ("add", "3")]
    assert deltas == ("It is sunny, and three." if streaming else "")


@each_streaming
def test_function_agent_calls_tools_at_once_the_same(server: ScriptedServer, streaming: bool) -> None:
    def use(llm: Any) -> Any:
        answer, results, _ = run(function_agent(llm, streaming=streaming, allow_parallel_tool_calls=True))
        return answer, sorted(results)

    assert len(beside(server, use, *TWO_AT_ONCE)[1]) == 2


def test_function_agent_calls_the_tool_it_is_told_to_first(server: ScriptedServer) -> None:
    def use(llm: Any) -> Any:
        return run(function_agent(llm, initial_tool_choice="add"), "Hello, 1 and 2")[1]

    assert beside(server, use)[0][0] == "add"


@each_streaming
def test_react_agent_takes_the_same_steps(server: ScriptedServer, streaming: bool) -> None:
    def use(llm: Any) -> Any:
        return run(ReActAgent(name="helper", tools=[weather], llm=llm, streaming=streaming))

    answer, results, _ = beside(server, use, *REACT)
    assert answer == "It is sunny in Oslo."
    assert results == [("weather", "It is sunny in Oslo.")]


@each_streaming
def test_workflow_hands_over_the_same(server: ScriptedServer, streaming: bool) -> None:
    def use(llm: Any) -> Any:
        planner = function_agent(llm, name="planner", description="plans", streaming=streaming)
        writer = function_agent(llm, name="writer", description="writes", streaming=streaming)
        return run(AgentWorkflow(agents=[planner, writer], root_agent="planner"), "Write a poem about the weather.")

    answer, results, _ = beside(server, use, *HANDOFF)
    assert answer == "A poem about the sun in Oslo."
    assert [name for name, _ in results] == ["handoff", "weather"]


def test_workflow_takes_the_router_for_one_that_calls_functions(server: ScriptedServer) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([weather], llm=routed(server))
    assert [type(agent) for agent in workflow.agents.values()] == [FunctionAgent]


@each_streaming
def test_the_object_of_an_agent_is_the_same(server: ScriptedServer, streaming: bool) -> None:
    def use(llm: Any) -> Any:
        async def ask() -> Any:
            agent = function_agent(llm, streaming=streaming, output_cls=Person)
            memory = ChatMemoryBuffer.from_defaults(token_limit=8_000)
            output = await agent.run(user_msg="Who is 'Ada'?", memory=memory)
            return str(output), output.get_pydantic_model(Person)

        return asyncio.run(ask())

    assert isinstance(beside(server, use)[1], Person)


def test_a_picture_reaches_the_model_of_an_agent(server: ScriptedServer) -> None:
    message = ChatMessage(role="user", blocks=[TextBlock(text=QUESTION), ImageBlock(image=PNG)])

    def use(llm: Any) -> Any:
        return run(function_agent(llm), message)

    before = len(server.requests)
    beside(server, use)
    assert all("image_url" in str(request.body) for request in server.requests[before:])


def models(server: ScriptedServer, before: int) -> list[str]:
    return [request.model for request in server.requests[before:]]


def pool(server: ScriptedServer) -> list[Candidate]:
    return [candidate(server, "small"), candidate(server, "big", input_price=1e-5)]


PROOF = "Prove, step by step, that there are infinitely many primes; then compare the weather of 'Oslo' with it."


@each_streaming
@pytest.mark.parametrize(("message", "model"), [(QUESTION, "small"), (PROOF, "big")], ids=["easy", "hard"])
def test_a_tool_loop_stays_with_the_model_that_began_it(
    server: ScriptedServer, streaming: bool, message: str, model: str
) -> None:
    for name in ("small", "big"):
        server.script(name, *TWO_STEPS)
    before = len(server.requests)
    traces: list[Any] = []
    router = RouterLLM(candidates=pool(server), strategy=Best(), on_trace=traces.append)

    answer, results, _ = run(function_agent(router, streaming=streaming), message)

    assert answer == "It is sunny, and three."
    assert len(results) == 2
    assert models(server, before) == [model] * 3
    assert [trace.candidate for trace in traces] == [model] * 3


def test_a_tool_loop_of_a_cascade_goes_on_where_it_began(server: ScriptedServer) -> None:
    """The first model fails; the second begins the loop, and ends it."""
    server.script("small", Fault("status", status=404))
    server.script("big", *TWO_STEPS)
    before = len(server.requests)

    answer, _, _ = run(function_agent(RouterLLM(candidates=pool(server), strategy=Cascade())))

    assert answer == "It is sunny, and three."
    assert models(server, before) == ["small", "big", "big", "big"]


def test_agents_at_once_keep_their_own_models(server: ScriptedServer) -> None:
    for name in ("small", "big"):
        server.script(name)
    router = RouterLLM(candidates=pool(server), strategy=Best())
    cities = ["Oslo", "Rome", "Kyiv", "Lima", "Bern", "Riga"]

    async def all_at_once() -> list[Any]:
        agent = function_agent(router)
        return await asyncio.gather(
            *(
                agent.run(
                    user_msg=f"What is the weather in '{city}'?",
                    memory=ChatMemoryBuffer.from_defaults(token_limit=8_000),
                )
                for city in cities
            )
        )

    answers = [str(answer) for answer in asyncio.run(all_at_once())]
    assert answers == [f"The tool returned: It is sunny in {city}." for city in cities]
