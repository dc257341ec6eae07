"""What many calls, long answers and tools that are described again and again leave behind: nothing."""

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, TextBlock
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.tools import FunctionTool

from router_integrations.llama_index.convert import openai_tools
from tests.llama_index.llms import Own, router_over

CHUNKS = 2000


class Echo(Own):
    """Says what it was told; streams two thousand words."""

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._response([TextBlock(text=messages[-1].content)])

    def _pieces(self, blocks: list[Any]) -> Iterator[ChatResponse]:
        for count in range(1, CHUNKS + 1):
            yield self._response([TextBlock(text=" word" * count)], " word")


def test_calls_leave_nothing_behind() -> None:
    router = router_over(Echo(), Echo(label="big"))

    def objects(calls: int) -> int:
        for number in range(calls):
            router.chat([ChatMessage(str(number))])
        gc.collect()
        return len(gc.get_objects())

    objects(50)
    before = objects(1)

    assert objects(500) - before < 20


def test_a_long_stream_is_not_kept_once_for_each_of_its_chunks() -> None:
    router = router_over(Echo(), Echo(label="big"))
    tracemalloc.start()

    # The responses of this stream say five million characters between them.
    ends = {response.message.content[-5:] for response in router.stream_chat([ChatMessage("0")])}
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert ends == {" word"}
    assert most < 2_000_000


def test_a_tool_is_described_anew_for_each_who_asks() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    tool = FunctionTool.from_defaults(add)
    expected = tool.metadata.to_openai_tool()
    openai_tools([tool])[0]["function"]["parameters"].clear()

    assert openai_tools([tool]) == [expected]


def test_a_tool_whose_metadata_changes_is_described_as_it_is_now() -> None:
    tool = FunctionTool.from_defaults(lambda city: city, name="weather", description="Tells the weather.")
    openai_tools([tool])
    tool.metadata.description = "Tells the weather of a city."

    assert openai_tools([tool])[0]["function"]["description"] == "Tells the weather of a city."
