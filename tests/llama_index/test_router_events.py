"""What traces, callbacks and counters see of the router: the models that are asked, once each, inside its span."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

from router_integrations import Fixed
from router_integrations.errors import AllCandidatesFailed
from router_integrations.llama_index import RouterEvent
from router_integrations.strategies import JudgedCascade
from router_integrations.testing.llama_index.asking import Way, listening
from router_integrations.testing.replies import Fault, Reply
from tests.llama_index.llms import Line, Own, answer, every_way, router_over, streamed_ways, trace_of
from tests.wired import EASY, HARD


class Events(BaseEventHandler):
    """Keeps the events of models and routers."""

    heard: list[Any] = []  # noqa: RUF012 - pydantic copies it

    def handle(self, event: Any, **_: Any) -> None:
        if isinstance(event, LLMChatStartEvent | LLMChatEndEvent | RouterEvent):
            self.heard.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]


@pytest.fixture
def events() -> Iterator[Events]:
    handler = Events()
    root = get_dispatcher()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    handler = SimpleSpanHandler()
    root = get_dispatcher()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


def answers(line: Line) -> None:
    line.server.script("small", *(Reply(text=text) for text in ("By luck.", "False", "False", "False")))


@every_way
async def test_the_model_that_answers_tells_once_inside_the_routers_span(
    line: Line, way: Way, events: Events, spans: SimpleSpanHandler
):
    await answer(line.router(), way, EASY)
    (start,), (told,) = events.of(LLMChatStartEvent), events.of(RouterEvent)
    assert len(events.of(LLMChatEndEvent)) == 1
    assert start.model_dict["candidate"] == "small"
    parents = {span.id_: span.parent_id for span in spans.completed_spans}
    assert parents[start.span_id] == told.span_id
    assert told.span_id.startswith(f"RouterLLM.{way.method}")
    assert parents[told.span_id] is None
    assert told.trace["candidate"] == "small" and told.class_name() == "RouterEvent"


@every_way
async def test_a_failure_tells_the_trace_too(line: Line, way: Way, events: Events):
    for model in ("small", "big"):
        line.server.script(model, Fault("status", status=400))
    with pytest.raises(AllCandidatesFailed):
        await answer(line.router(), way, EASY)
    (told,) = events.of(RouterEvent)
    assert told.trace["candidate"] == "small"
    assert [one["error"]["family"] for one in told.trace["attempts"]] == ["bad_request", "bad_request"]


@every_way
async def test_drafts_and_judges_tell_once_each(line: Line, way: Way, events: Events):
    answers(line)
    router = line.router(strategy=JudgedCascade(order="given", votes=3))
    await answer(router, way, HARD)
    assert [event.model_dict["candidate"] for event in events.of(LLMChatStartEvent)] == ["small"] * 4 + ["big"]
    assert len(events.of(RouterEvent)) == 1


@every_way
async def test_counted_tokens_are_those_of_all_models_asked(line: Line, way: Way):
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    line.server.script("small", *(Reply(text=text, usage=usage) for text in ("By luck.", "False", "False", "False")))
    line.server.script("big", Reply(text="By contradiction.", usage=usage))
    counter = TokenCountingHandler(tokenizer=str.split)
    router = line.router(strategy=JudgedCascade(order="given", votes=3), callback_manager=CallbackManager([counter]))
    last = await answer(router, way, HARD)
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (5 * 11, 5 * 7)
    # The answer tells its own.
    assert last.additional_kwargs["total_tokens"] == 18
    assert sum(one["input_tokens"] for one in trace_of(last)["attempts"]) == 5 * 11


@every_way
async def test_own_llms_tell_the_routers_handlers_and_stay_as_they_are(way: Way):
    own = Own()
    before = own.callback_manager
    router = router_over(own, Own())
    with listening(router) as heard:
        await answer(router, way, EASY)
    assert len(heard.legacy.started) == heard.legacy.ends == 1
    assert own.callback_manager is before and not before.handlers
    assert len(own.asked) == 1


async def test_an_own_llm_with_handlers_of_its_own_tells_these():
    its, routers = LlamaDebugHandler(print_trace_on_end=False), LlamaDebugHandler(print_trace_on_end=False)
    own = Own(callback_manager=CallbackManager([its]))
    router = router_over(own, Own(), callback_manager=CallbackManager([routers]))
    await router.achat([ChatMessage(content=EASY)])
    assert len(its.get_event_pairs(CBEventType.LLM)) == 1
    assert not routers.get_event_pairs(CBEventType.LLM)


@streamed_ways
async def test_what_the_reader_does_between_two_chunks_is_outside(line: Line, way: Way, spans: SimpleSpanHandler):
    dispatcher = get_dispatcher("tests")

    @dispatcher.span
    def reading() -> None: ...

    router = line.router()

    def read() -> None:
        for _ in getattr(router, way.method)([ChatMessage(content=EASY)] if "chat" in way.method else EASY):
            reading()

    async def aread() -> None:
        async for _ in await getattr(router, way.method)([ChatMessage(content=EASY)] if "chat" in way.method else EASY):
            reading()

    await (aread() if way.awaited else asyncio.to_thread(read))
    between = [span for span in spans.completed_spans if "reading" in span.id_]
    assert between and all(span.parent_id is None for span in between)


async def test_on_trace_hears_of_each_request_once():
    traces: list[Any] = []
    router = router_over(Own(), Own(), strategy=Fixed(name="big"), on_trace=traces.append)
    await router.achat([ChatMessage(content=EASY)])
    list(router.stream_chat([ChatMessage(content=EASY)]))
    assert [trace.candidate for trace in traces] == ["big", "big"]
