"""What an LLM tells the dispatcher and the callback manager, and how it fails."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.callbacks import EventPayload

from router_integrations.testing.llama_index.asking import (
    Heard,
    Way,
    every_way,
    listening,
    streamed_ways,
    text_of,
)
from router_integrations.testing.llama_index.subject import USAGE, Subject
from router_integrations.testing.replies import Fault, Reply
from router_integrations.testing.server import ScriptedServer


class EventTests(Subject):
    """One call is one start and one end, for the dispatcher and for the callback manager."""

    @every_way
    def test_a_call_is_told_once(self, llm: Any, way: Way) -> None:
        """Whatever methods call each other inside."""
        with listening(llm) as heard:
            way.ask(llm, "Hello")
        _check_once(heard)
        assert len(heard.ends) == 1, f"{len(heard.ends)} events say that the call ended well"
        assert not heard.failures, f"a call that went well told {heard.failures!r}"

    @every_way
    def test_the_end_tells_answer_and_tokens(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """Tracers show it."""
        server.script(self.model, Reply(text="Fine thanks", usage=USAGE))
        with listening(llm) as heard:
            way.ask(llm, "Hello")
        (payload,) = heard.legacy.ended.values()
        told = payload.get(EventPayload.RESPONSE) or payload.get(EventPayload.COMPLETION)
        assert text_of(heard.ends[-1].response) == text_of(told) == "Fine thanks"

    @streamed_ways
    def test_each_chunk_is_told_once(self, llm: Any, way: Way) -> None:
        """As many events in progress as chunks."""
        with listening(llm) as heard:
            chunks = way.ask(llm, "Hello")
        assert len(heard.pieces) == len(chunks)

    @streamed_ways
    def test_a_stream_left_early_is_told_once(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """It ends too, well or not."""
        server.script(self.model, Reply(text="word " * 50, chunk_delay=0.02))
        with listening(llm) as heard:
            way.leave(llm, "Hello")
        _check_once(heard)

    @every_way
    def test_a_failure_is_told_once(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """With the exception."""
        server.script(self.model, Fault("status", status=400, message="no such thing"), repeat=True)
        with listening(llm) as heard, pytest.raises(Exception, match="no such thing"):
            way.ask(llm, "Hello")
        _check_once(heard)
        assert EventPayload.EXCEPTION in next(iter(heard.legacy.ended.values()))
        assert heard.failures, "the dispatcher heard of no failure"
        assert not heard.ends, "a call that failed told that it ended well"

    @every_way
    def test_events_show_no_secret(self, llm: Any, way: Way) -> None:
        """They go to tracers."""
        with listening(llm) as heard:
            way.ask(llm, "Hello")
        shown = [event for event in heard.events if self.secret in repr(event)]
        assert not shown, f"{[type(event).__name__ for event in shown]} show the key"


class FailureTests(Subject):
    """What failed raises."""

    @every_way
    @pytest.mark.parametrize("status", [400, 401, 404])
    def test_a_refused_request_raises(self, llm: Any, server: ScriptedServer, way: Way, status: int) -> None:
        """An answer that tells of the error would be taken for the model's."""
        server.script(self.model, Fault("status", status=status, message="refused"), repeat=True)
        with pytest.raises(Exception, match="refused") as caught:
            way.ask(llm, "Hello")
        assert self.secret not in str(caught.value)

    @streamed_ways
    def test_a_stream_that_is_reset_raises(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """Half an answer is none."""
        self._breaks(llm, server, way, Fault("reset_stream", after_chunks=4))

    @streamed_ways
    def test_a_stream_with_an_error_in_it_raises(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """Half an answer is none."""
        self._breaks(llm, server, way, Fault("error_in_stream", after_chunks=4))

    @streamed_ways
    def test_a_stream_cut_short_raises(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """Half an answer is none, however quietly the connection ends."""
        self._breaks(llm, server, way, Fault("truncated_stream", after_chunks=4))

    def _breaks(self, llm: Any, server: ScriptedServer, way: Way, fault: Fault) -> None:
        server.script(self.model, fault, repeat=True)
        with listening(llm) as heard:
            with pytest.raises(Exception):  # noqa: B017 - each LLM has its own
                way.ask(llm, "Hello")
            _check_once(heard)
        assert not heard.ends, "a stream that broke told that it ended well"


def _check_once(heard: Heard) -> None:
    assert len(heard.starts) == 1, f"{len(heard.starts)} events say that a call started"
    assert len(heard.legacy.started) == 1, f"{len(heard.legacy.started)} LLM callbacks say that a call started"
    assert heard.legacy.ends == 1, f"{heard.legacy.ends} LLM callbacks say that it ended"
