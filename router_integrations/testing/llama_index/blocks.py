"""The blocks of a message: all kinds that LlamaIndex has are taken, and media arrive."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from router_integrations.testing.llama_index.asking import Way, chat_ways, text_of
from router_integrations.testing.llama_index.subject import Subject
from router_integrations.testing.server import ScriptedServer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WAV = (
    b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00@\x1f\x00\x00\x01\x00\x08\x00"
    b"data\x00\x00\x00\x00"
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
IMAGE_URL = "https://example.com/cat.png"


class BlockTests(Subject):
    """Conversations hold what other models and LlamaIndex's own agents put there."""

    @chat_ways
    @pytest.mark.parametrize(
        ("block", "payload"),
        [(ImageBlock(image=PNG), PNG), (AudioBlock(audio=WAV, format="wav"), WAV)],
        ids=["image", "audio"],
    )
    def test_media_arrive(self, llm: Any, server: ScriptedServer, way: Way, block: Any, payload: bytes) -> None:
        """With the text beside them."""
        self._arrive(llm, server, way, block, base64.b64encode(payload).decode())

    @chat_ways
    def test_a_document_arrives(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """With the text beside it."""
        block = DocumentBlock(data=PDF, title="paper.pdf", document_mimetype="application/pdf")
        self._arrive(llm, server, way, block, base64.b64encode(PDF).decode())

    @chat_ways
    def test_the_address_of_an_image_arrives(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """The provider fetches it, not we."""
        self._arrive(llm, server, way, ImageBlock(url=IMAGE_URL), IMAGE_URL)

    def _arrive(self, llm: Any, server: ScriptedServer, way: Way, block: Any, payload: str) -> None:
        message = ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), block])
        before = message.model_dump()
        way.ask(llm, [message])
        sent = json.dumps(server.requests[-1].body["messages"])
        assert payload in sent, f"no {type(block).__name__} on the wire: {sent[:300]}"
        assert "What is this?" in sent
        assert message.model_dump() == before, "the call changed its message"

    @chat_ways
    def test_takes_tool_calls_in_the_history(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """They go out as calls and results that belong together."""
        way.ask(llm, tool_turns({"city": "Oslo"}))
        call, result = server.requests[-1].body["messages"][1:3]
        (wire,) = call["tool_calls"]
        assert (wire["id"], wire["function"]["name"]) == (result["tool_call_id"], "weather")
        assert json.loads(wire["function"]["arguments"]) == {"city": "Oslo"}

    @chat_ways
    def test_takes_tool_calls_whose_arguments_are_a_text(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """A block may hold the JSON as the model wrote it."""
        way.ask(llm, tool_turns('{"city": "Oslo"}'))
        (wire,) = server.requests[-1].body["messages"][1]["tool_calls"]
        assert json.loads(wire["function"]["arguments"]) == {"city": "Oslo"}

    @chat_ways
    def test_takes_thinking_in_the_history(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """It is never sent as the assistant's words."""
        thought = ThinkingBlock(content="I wonder", additional_information={"signature": "c2ln"})
        said = ChatMessage(role="assistant", blocks=[thought, TextBlock(text="Hello")])
        responses = way.ask(llm, [ChatMessage(content="Hi"), said, ChatMessage(content="Bye")])
        assert text_of(responses[-1]) == "Here is a short answer to: Bye"
        assert "I wonder" not in str(server.requests[-1].body["messages"][1]["content"])

    @chat_ways
    def test_takes_a_cache_point(self, llm: Any, way: Way) -> None:
        """Whether the provider caches or not."""
        point = CachePoint(cache_control=CacheControl(type="ephemeral"))
        message = ChatMessage(role="user", blocks=[TextBlock(text="Hi"), point])
        assert text_of(way.ask(llm, [message])[-1]) == "Here is a short answer to: Hi"


def tool_turns(arguments: dict[str, Any] | str) -> list[ChatMessage]:
    """Return a conversation in which a tool has been called, and has answered."""
    call = ToolCallBlock(tool_call_id="call_1", tool_name="weather", tool_kwargs=arguments)
    return [
        ChatMessage(content="How is the weather in 'Oslo'?"),
        ChatMessage(role="assistant", blocks=[call]),
        ChatMessage(role="tool", content="It is sunny in Oslo.", additional_kwargs={"tool_call_id": "call_1"}),
    ]
