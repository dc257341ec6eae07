"""The contract of LlamaIndex's LLMs catches what it is there to catch: each broken LLM fails the test that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms import MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError
from router_integrations.llama_index import LiteLLMModel
from router_integrations.testing.llama_index import FunctionCallingLLMContract, LLMContract, waived
from router_integrations.testing.llama_index.asking import Way
from router_integrations.testing.server import ScriptedServer

CHAT, ACHAT, STREAM, COMPLETE = map(Way, ("chat", "achat", "stream_chat", "complete"))


class Prints(LiteLLMModel):
    def _ask(self, messages: Any, given: Any) -> ChatResponse:
        print("asking")  # noqa: T201
        return super()._ask(messages, given)


class AsksTwice(LiteLLMModel):
    def _ask(self, messages: Any, given: Any) -> ChatResponse:
        super()._ask(messages, given)
        return super()._ask(messages, given)


class Blocks(LiteLLMModel):
    async def _aask(self, messages: Any, given: Any) -> ChatResponse:
        return self._ask(messages, given)


class AnswersWithTheError(LiteLLMModel):
    def _ask(self, messages: Any, given: Any) -> ChatResponse:
        try:
            return super()._ask(messages, given)
        except ProviderError as error:
            return ChatResponse(message=ChatMessage(role="assistant", content=str(error)))


class Shares(LiteLLMModel):
    last: Any = None

    async def _aask(self, messages: Any, given: Any) -> ChatResponse:
        self.last = messages
        await asyncio.sleep(0)
        return await super()._aask(self.last, given)


class ChangesMessages(LiteLLMModel):
    def _ask(self, messages: Any, given: Any) -> ChatResponse:
        messages[0].content = "Be very short."
        return super()._ask(messages, given)


class ForgetsSettings(LiteLLMModel):
    def _ask(self, messages: Any, given: Any) -> ChatResponse:
        return super()._ask(messages, {})


class StreamsAtTheEnd(LiteLLMModel):
    def _stream(self, messages: Any, given: Any) -> Any:
        yield from list(super()._stream(messages, given))


class StreamsWithoutDeltas(LiteLLMModel):
    def _stream(self, messages: Any, given: Any) -> Any:
        return (one.model_copy(update={"delta": None}) for one in super()._stream(messages, given))


class StreamsWithoutUsage(LiteLLMModel):
    def _stream(self, messages: Any, given: Any) -> Any:
        *chunks, _ = super()._stream(messages, given)
        yield from chunks


class TellsTwice(LiteLLMModel):
    @llm_completion_callback()
    def complete(self, prompt: str, formatted: Any = False, **kwargs: Any) -> Any:  # noqa: FBT002
        return CompletionResponse(text=self.chat([ChatMessage(content=prompt)], **kwargs).message.content or "")


class TellsNobody(LiteLLMModel):
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._ask(messages, kwargs)


class CountsNothing(LiteLLMModel):
    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._ask(messages, kwargs).model_copy(update={"additional_kwargs": {}, "raw": None})


class ShowsItsKey(LiteLLMModel):
    def to_payload(self) -> dict[str, Any]:
        return {**super().to_payload(), "params": dict(self.candidate.params)}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


CAUGHT: list[tuple[Any, str, dict[str, Any]]] = [
    (AsksTwice, "test_asks_once", {"way": CHAT}),
    (Blocks, "test_the_event_loop_goes_on", {"way": ACHAT}),
    (AnswersWithTheError, "test_a_refused_request_raises", {"way": CHAT, "status": 400}),
    (AnswersWithTheError, "test_a_failure_is_told_once", {"way": CHAT}),
    (Shares, "test_many_at_once_are_not_mixed_up", {"way": ACHAT}),
    (ChangesMessages, "test_leaves_the_messages_as_they_are", {"way": CHAT}),
    (ForgetsSettings, "test_sends_the_settings_of_a_call", {"way": CHAT}),
    (ForgetsSettings, "test_obeys_stop_sequences", {"way": CHAT}),
    (StreamsAtTheEnd, "test_a_stream_is_shown_as_it_comes", {"way": STREAM}),
    (StreamsWithoutDeltas, "test_stream_grows_by_its_deltas", {"way": STREAM}),
    (StreamsWithoutUsage, "test_stream_tells_its_tokens_at_the_end", {"way": STREAM}),
    (StreamsWithoutUsage, "test_raw_at_the_end_of_a_stream_holds_its_usage", {"way": STREAM}),
    (TellsTwice, "test_a_call_is_told_once", {"way": COMPLETE}),
    (TellsNobody, "test_a_call_is_told_once", {"way": CHAT}),
    (CountsNothing, "test_whole_answer_tells_its_tokens", {"way": CHAT}),
    (CountsNothing, "test_raw_of_a_whole_answer_holds_its_usage", {"way": CHAT}),
    (ShowsItsKey, "test_payload_shows_no_secret", {}),
    (ShowsItsKey, "test_events_show_no_secret", {"way": CHAT}),
]


def _check(server: ScriptedServer, cls: Any, name: str, arguments: dict[str, Any]) -> None:
    contract = FunctionCallingLLMContract()
    params = {"api_base": server.base_url, "api_key": contract.secret}
    llm = cls(candidate=Candidate(f"openai/{contract.model}", params=params, max_retries=0, tools=True))
    test = getattr(contract, name)
    wanted = {"llm": llm, "server": server, **arguments}
    test(**{one: wanted[one] for one in test.__code__.co_varnames[1 : test.__code__.co_argcount] if one in wanted})


@pytest.mark.parametrize(("cls", "name", "arguments"), CAUGHT)
def test_a_broken_llm_is_caught(server: ScriptedServer, cls: Any, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        _check(server, cls, name, arguments)


@pytest.mark.parametrize(("_", "name", "arguments"), CAUGHT)
def test_a_sound_llm_is_not(server: ScriptedServer, _: Any, name: str, arguments: dict[str, Any]) -> None:
    _check(server, LiteLLMModel, name, arguments)


def test_what_prints_is_caught(server: ScriptedServer, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError, match="asking"):
        _check(server, Prints, "test_prints_nothing", {"way": CHAT, "capfd": capfd})


def test_llamaindexs_mock_tells_a_call_twice() -> None:
    with pytest.raises(AssertionError, match="2 events say that a call started"):
        LLMContract().test_a_call_is_told_once(MockLLM(), CHAT)


def test_a_test_is_waived_aloud_and_left_as_it_is() -> None:
    class Lacking(LLMContract):
        test_answers = waived(LLMContract.test_answers, reason="says nothing")

    class Silent(LLMContract):
        test_answers = None  # type: ignore[assignment]

    Lacking().test_no_test_is_waived_in_silence()
    assert [mark.name for mark in Lacking.test_answers.pytestmark].count("xfail") == 1
    assert "xfail" not in [mark.name for mark in LLMContract.test_answers.pytestmark]
    with pytest.raises(AssertionError, match="test_answers is overridden"):
        Silent().test_no_test_is_waived_in_silence()
