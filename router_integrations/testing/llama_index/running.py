"""How an LLM behaves beside others: on an event loop, in threads, and when its caller goes away."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from router_integrations.testing.llama_index.asking import (
    Way,
    awaited_streams,
    awaited_ways,
    blocking_streams,
    streamed_ways,
    text_of,
    whole_ways,
)
from router_integrations.testing.llama_index.subject import Subject
from router_integrations.testing.replies import Reply
from router_integrations.testing.server import ScriptedServer

_MANY = 50


class RunningTests(Subject):
    """Nothing waits that need not, nothing is mixed up, and nothing goes on that nobody reads."""

    @awaited_ways
    def test_the_event_loop_goes_on(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """A clock beside the call ticks while the server takes its time."""
        server.script(self.model, Reply(text="Fine thanks", delay=0.4), repeat=True)

        async def beats() -> int:
            await way.aask(llm, "warm up")
            asked = asyncio.ensure_future(way.aask(llm, "Hello"))
            number = 0
            while not asked.done():
                await asyncio.sleep(0.01)
                number += 1
            await asked
            return number

        counted = asyncio.run(beats())
        assert counted >= 8, f"a clock of 10 ms ticked {counted} times in 400 ms: the call blocks the event loop"

    @awaited_ways
    def test_many_at_once_are_not_mixed_up(self, llm: Any, way: Way) -> None:
        """Each gets its own answer."""

        async def all_at_once() -> list[list[Any]]:
            return await asyncio.gather(*(way.aask(llm, f"number {number}") for number in range(_MANY)))

        answers = [text_of(responses[-1]) for responses in asyncio.run(all_at_once())]
        assert answers == [f"Here is a short answer to: number {number}" for number in range(_MANY)]

    def test_threads_are_not_mixed_up(self, llm: Any) -> None:
        """Each gets its own answer."""
        # The first call opens the client that all share.
        llm.complete("warm up")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: llm.complete(f"number {number}").text, range(_MANY)))
        assert answers == [f"Here is a short answer to: number {number}" for number in range(_MANY)]

    @streamed_ways
    def test_a_stream_is_shown_as_it_comes(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """The first words are there while the server still writes."""
        server.script(self.model, Reply(text="word " * 20, chunk_delay=0.05))
        writing = way.leave(llm, "Hello", lambda: server.open_streams)
        assert writing == 1, "the first words came when all were written"

    @blocking_streams
    def test_closing_a_stream_closes_its_connection(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """The provider need not write, nor the caller pay, what nobody reads."""
        self._closes(llm, server, way)

    @awaited_streams
    def test_closing_an_async_stream_closes_its_connection(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """The provider need not write, nor the caller pay, what nobody reads."""
        self._closes(llm, server, way)

    def _closes(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        server.script(self.model, Reply(text="word " * 200, chunk_delay=0.05))
        way.leave(llm, "Hello")
        gone = server.wait_until(lambda server: server.aborted == 1, timeout=5)
        assert gone, "the server still writes, 5 s after the stream was closed"

    @whole_ways
    def test_two_event_loops_after_each_other(self, llm: Any, way: Way) -> None:
        """`asyncio.run` twice is what scripts do; a synchronous call between them changes nothing."""
        for number in range(2):
            assert text_of(way.ask(llm, f"number {number}")[-1]).endswith(f"number {number}")

    @awaited_ways
    def test_a_cancelled_call_closes_its_connection(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """A timeout around a call ends it."""
        server.script(self.model, Reply(text="late", delay=30))

        async def give_up() -> None:
            asked = asyncio.ensure_future(way.aask(llm, "Hello"))
            await asyncio.to_thread(server.wait_until, lambda server: server.open_streams == 1)
            asked.cancel()
            await asyncio.wait([asked])
            assert asked.cancelled(), "the call went on"

        asyncio.run(give_up())
        assert server.wait_until(lambda server: server.aborted == 1, timeout=5), "the server still waits"
