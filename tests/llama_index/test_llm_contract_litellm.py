"""The contract of LLMs over LlamaIndex's own LiteLLM class (0.8.0), to show what it catches: each gap is a waiver."""

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import litellm
import pytest
from llama_index.llms.litellm import LiteLLM

from router_integrations import providers
from router_integrations.testing.llama_index import FunctionCallingLLMContract, waived
from router_integrations.testing.server import ScriptedServer

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of streams that nobody closes

Contract = FunctionCallingLLMContract
_acompletion = litellm.acompletion
NO_BLOCK = "a block of this kind raises 'Unsupported content block type'"
NO_USAGE = "no usage is asked for in a stream; asked for by hand, the chunk that holds it raises IndexError"
NOT_FORCED = "the `tool_choice=None` of LlamaIndex's programs undoes `tool_required=True`, so that the model may chat"


async def _tidy(*args: Any, **options: Any) -> Any:
    """LiteLLM keeps its clients of an event loop open when the loop ends; the warnings would fail other tests."""
    await providers.load()
    return await _acompletion(*args, **options)


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """The streams that nobody closed warn when they are collected: here, and not in other tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class TestStockLiteLLM(Contract):
    # A name that LiteLLM knows, so that the class believes that it can call tools.
    model = "gpt-4o-mini"

    @pytest.fixture
    def llm(self, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(litellm, "acompletion", _tidy)
        return LiteLLM(model=f"openai/{self.model}", api_base=server.base_url, api_key=self.secret)

    test_shows_no_secret = waived(
        Contract.test_shows_no_secret, reason="the key is kept in additional_kwargs, a field like any other"
    )
    test_whole_answer_tells_its_tokens = waived(
        Contract.test_whole_answer_tells_its_tokens, reason="additional_kwargs are always empty"
    )
    test_stream_tells_its_tokens_at_the_end = waived(Contract.test_stream_tells_its_tokens_at_the_end, reason=NO_USAGE)
    test_raw_at_the_end_of_a_stream_holds_its_usage = waived(
        Contract.test_raw_at_the_end_of_a_stream_holds_its_usage, reason=NO_USAGE
    )
    test_a_stream_with_tools_tells_its_tokens = waived(
        Contract.test_a_stream_with_tools_tells_its_tokens, reason=NO_USAGE
    )
    test_tokens_of_all_ways_add_up = waived(Contract.test_tokens_of_all_ways_add_up, reason=NO_USAGE)
    test_closing_a_stream_closes_its_connection = waived(
        Contract.test_closing_a_stream_closes_its_connection, reason="nobody closes LiteLLM's stream"
    )
    test_takes_tool_calls_in_the_history = waived(Contract.test_takes_tool_calls_in_the_history, reason=NO_BLOCK)
    test_takes_tool_calls_whose_arguments_are_a_text = waived(
        Contract.test_takes_tool_calls_whose_arguments_are_a_text, reason=NO_BLOCK
    )
    test_a_tool_loop_goes_on = waived(Contract.test_a_tool_loop_goes_on, reason=NO_BLOCK)
    test_takes_thinking_in_the_history = waived(Contract.test_takes_thinking_in_the_history, reason=NO_BLOCK)
    test_takes_a_cache_point = waived(Contract.test_takes_a_cache_point, reason=NO_BLOCK)
    test_tool_calls_are_blocks = waived(
        Contract.test_tool_calls_are_blocks, reason="calls are only in the message's additional_kwargs"
    )
    test_leaves_the_history_as_it_is = waived(
        Contract.test_leaves_the_history_as_it_is, reason="the question is appended to the caller's list"
    )
    test_no_choice_leaves_a_required_tool_required = waived(
        Contract.test_no_choice_leaves_a_required_tool_required, reason=NOT_FORCED
    )
    test_predicts_an_object = waived(Contract.test_predicts_an_object, reason=NOT_FORCED)
    test_makes_a_structured_llm = waived(Contract.test_makes_a_structured_llm, reason=NOT_FORCED)
