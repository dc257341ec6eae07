"""What an LLM is, and what it answers: the same in each of the eight ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, LLMMetadata, MessageRole
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import LLM
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from router_integrations.testing.llama_index.asking import (
    Way,
    chat_ways,
    every_way,
    streamed_ways,
    text_of,
    tokens_of,
    whole_ways,
)
from router_integrations.testing.llama_index.subject import UNICODE, USAGE, Subject
from router_integrations.testing.replies import Reply
from router_integrations.testing.server import ScriptedServer


class IdentityTests(Subject):
    """What LlamaIndex asks of every LLM, and that nothing shows a secret."""

    def test_is_an_llm(self, llm: Any) -> None:
        """The check that LlamaIndex's own integrations make."""
        assert BaseLLM.__name__ in [base.__name__ for base in type(llm).__mro__]

    def test_has_a_class_name_of_its_own(self, llm: Any) -> None:
        """It is the type in the dictionary form."""
        inherited = {base.class_name() for base in (LLM, FunctionCallingLLM, CustomLLM)}
        assert llm.class_name() not in inherited, "class_name() is a base class's"

    def test_dictionary_form_comes_back(self, llm: Any) -> None:
        """Through JSON, to an equal LLM without its secrets."""
        form = json.loads(json.dumps(llm.to_dict()))
        again = type(llm).from_dict(form)
        assert form["class_name"] == llm.class_name()
        assert again.metadata == llm.metadata, "from_dict(to_dict()) has other metadata"

    @pytest.mark.parametrize("shown", ["to_dict", "to_json", "__repr__", "__str__"])
    def test_shows_no_secret(self, llm: Any, shown: str) -> None:
        """Dictionaries are stored, and representations logged."""
        assert self.secret not in str(getattr(llm, shown)()), f"{shown}() shows the key"

    def test_payload_shows_no_secret(self, llm: Any) -> None:
        """It is traced."""
        assert self.secret not in str(llm.to_payload()), "to_payload() shows the key"

    def test_metadata_is_whole(self, llm: Any) -> None:
        """Prompt helpers and agents compute with it."""
        metadata = llm.metadata
        assert isinstance(metadata, LLMMetadata)
        assert metadata.context_window > 0, f"context_window is {metadata.context_window!r}"
        assert metadata.num_output == -1 or metadata.num_output > 0, f"num_output is {metadata.num_output!r}"
        assert metadata.model_name, "model_name is empty"
        assert metadata.is_chat_model
        assert isinstance(llm, FunctionCallingLLM) or not metadata.is_function_calling_model

    @every_way
    def test_prints_nothing(self, llm: Any, way: Way, capfd: pytest.CaptureFixture[str]) -> None:
        """A library logs."""
        _ = llm.metadata
        way.ask(llm, "Hello")
        shown = capfd.readouterr()
        assert shown.out == "", f"printed {shown.out[:200]!r}"


class AnswerTests(Subject):
    """What is asked arrives, and what is answered comes back."""

    @every_way
    def test_answers(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """Every sign of the answer, in any script."""
        server.script(self.model, Reply(text=UNICODE), repeat=True)
        last = way.ask(llm, "Hello")[-1]
        assert text_of(last) == UNICODE
        assert not hasattr(last, "message") or last.message.role == MessageRole.ASSISTANT

    @every_way
    def test_asks_once(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """One request, for the model it was made with, with the words as they are."""
        way.ask(llm, UNICODE)
        request = server.requests[-1]
        assert len(server.requests) == 1, f"{len(server.requests)} requests for one call"
        assert request.model == self.model
        assert request.headers["authorization"] == f"Bearer {self.secret}"
        assert request.body["messages"][-1]["content"] in (UNICODE, [{"type": "text", "text": UNICODE}])

    @chat_ways
    def test_sends_the_whole_conversation(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """All turns, with their roles, in order."""
        turns = [("system", "Be short."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
        way.ask(llm, [ChatMessage(role=role, content=text) for role, text in turns])
        sent = server.requests[-1].body["messages"]
        assert [(message["role"], _flat(message["content"])) for message in sent] == turns

    @chat_ways
    def test_leaves_the_messages_as_they_are(self, llm: Any, way: Way) -> None:
        """They are the caller's memory."""
        messages = [ChatMessage(role="system", content="Be short."), ChatMessage(content="Hi")]
        before = [message.model_dump() for message in messages]
        way.ask(llm, messages)
        assert [message.model_dump() for message in messages] == before, "the call changed its messages"

    @every_way
    def test_sends_the_settings_of_a_call(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """Temperature, limit and seed, as keyword arguments."""
        way.ask(llm, "Hello", temperature=0.25, max_tokens=40, seed=7)
        body = server.requests[-1].body
        assert (body.get("temperature"), body.get("seed")) == (0.25, 7)
        assert body.get("max_tokens", body.get("max_completion_tokens")) == 40

    @every_way
    def test_obeys_stop_sequences(self, llm: Any, way: Way) -> None:
        """The server cuts the answer where it is told to."""
        assert text_of(way.ask(llm, "Hello", stop=[" answer"])[-1]) == "Here is a short"

    @streamed_ways
    def test_stream_grows_by_its_deltas(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """Each chunk holds the text so far, and what it adds to it."""
        server.script(self.model, Reply(text=UNICODE), repeat=True)
        chunks = way.ask(llm, "Hello")
        text = ""
        for chunk in chunks:
            text += chunk.delta or ""
            assert text_of(chunk) == text, "a chunk's text is not the deltas so far"
        assert text == UNICODE

    @streamed_ways
    def test_stream_comes_in_pieces(self, llm: Any, way: Way) -> None:
        """Each word of the server's is shown as a chunk."""
        chunks = [chunk for chunk in way.ask(llm, "Hello") if chunk.delta]
        assert [chunk.delta for chunk in chunks] == ["Here", " is", " a", " short", " answer", " to:", " Hello"]


class UsageTests(Subject):
    """Tokens are told where LlamaIndex looks for them."""

    @whole_ways
    def test_whole_answer_tells_its_tokens(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """In `additional_kwargs`, where LlamaIndex's own integrations put them."""
        server.script(self.model, Reply(text="Fine", usage=USAGE))
        _check_told(way.ask(llm, "Hello")[-1])

    @streamed_ways
    def test_stream_tells_its_tokens_at_the_end(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """In the `additional_kwargs` of the last chunk."""
        server.script(self.model, Reply(text="Fine thanks", usage=USAGE))
        _check_told(way.ask(llm, "Hello")[-1])

    @whole_ways
    def test_raw_of_a_whole_answer_holds_its_usage(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """`TokenCountingHandler` reads it there."""
        server.script(self.model, Reply(text="Fine", usage=USAGE))
        assert tokens_of(way.ask(llm, "Hello")[-1]) == (11, 7)

    @streamed_ways
    def test_raw_at_the_end_of_a_stream_holds_its_usage(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """`TokenCountingHandler` reads it there."""
        server.script(self.model, Reply(text="Fine thanks", usage=USAGE))
        assert tokens_of(way.ask(llm, "Hello")[-1]) == (11, 7)

    def test_tokens_of_all_ways_add_up(self, llm: Any, server: ScriptedServer) -> None:
        """What a `TokenCountingHandler` counts is what the server reported."""
        server.script(self.model, Reply(text="Fine thanks", usage=USAGE), repeat=True)
        counter = TokenCountingHandler(tokenizer=str.split)
        llm.callback_manager = CallbackManager([counter])
        for way in every_way.args[1]:
            way.ask(llm, "Hello")
        assert counter.prompt_llm_token_count == 8 * 11
        assert counter.completion_llm_token_count == 8 * 7

    @every_way
    def test_absent_usage_is_not_zero_tokens(self, llm: Any, server: ScriptedServer, way: Way) -> None:
        """A provider that reports none makes no answer fail, and no count 0."""
        server.script(self.model, Reply(text="Fine thanks", usage={}))
        last = way.ask(llm, "Hello")[-1]
        assert text_of(last) == "Fine thanks"
        assert last.additional_kwargs.get("total_tokens", 1) > 0, "0 tokens are told where none are known"


def _check_told(response: Any) -> None:
    told = {name: response.additional_kwargs.get(name) for name in USAGE}
    assert told == USAGE, f"additional_kwargs tell {told!r}; the server reported {USAGE!r}"


def _flat(content: Any) -> str:
    """The text of a message on the wire, in either of its forms."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
