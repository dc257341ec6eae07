"""Tests of the translation of histories between models, row by row of the pitfalls."""

import copy
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
)

from router_integrations.adapters import call_ids
from router_integrations.candidates import Candidate
from router_integrations.errors import RequestError
from router_integrations.langchain import issuers
from router_integrations.langchain.history import (
    Target,
    check,
    issuer,
    needs_tools,
    refuses,
    strip_settings,
    translate,
)

CLAUDE = Target(candidate="claude", provider="anthropic", model="anthropic/claude-sonnet-4-5", tools=True)
OPUS = Target(candidate="opus", provider="anthropic", model="anthropic/claude-opus-4-5", tools=True)
GPT = Target(candidate="gpt", provider="openai", model="openai/gpt-4o", tools=True)
MISTRAL = Target(candidate="mistral", provider="mistral", model="mistral/mistral-large-latest", tools=True)
DEEPSEEK = Target(candidate="deepseek", provider="deepseek", model="deepseek/deepseek-v4-pro", tools=True)
GEMINI = Target(candidate="gemini", provider="gemini", model="gemini/gemini-3-pro-preview", tools=True)
BEDROCK = Target(candidate="nova", provider="bedrock", model="amazon.nova-pro-v1:0", tools=True)
TARGETS = (CLAUDE, OPUS, GPT, MISTRAL, DEEPSEEK, GEMINI, BEDROCK, Target(provider="perplexity", model="sonar"))

THOUGHT = {"type": "thinking", "thinking": "Secret thought.", "signature": "c2ln"}
TEXT = {"type": "text", "text": "Four."}
MARK = {"cache_control": {"type": "ephemeral"}}
NINE = re.compile("[A-Za-z0-9]{9}")


def by(target: Target, *, candidate: bool = True) -> dict[str, Any]:
    """Return the metadata that an answer of `target` carries, with our trace on it or with the provider's stamp."""
    stamp = {"model_provider": target.provider, "model_name": target.model.rpartition("/")[2]}
    return {**stamp, "router": {"candidate": target.candidate, "model": None}} if candidate else stamp


def call(call_id: str | None, name: str = "add") -> dict[str, Any]:
    return {"name": name, "args": {"a": 2}, "id": call_id, "type": "tool_call"}


def loop(call_id: str, metadata: dict[str, Any] | None = None, **kwargs: Any) -> list[BaseMessage]:
    """Return an open tool loop."""
    answer = AIMessage("", tool_calls=[call(call_id)], response_metadata=metadata or {}, **kwargs)
    return [HumanMessage("2 + 2?"), answer, ToolMessage("4", tool_call_id=call_id)]


def told(messages: list[BaseMessage]) -> str:
    return repr(messages)


# Who issued a message


def test_issuer_is_read_from_our_trace_before_the_stamp():
    message = AIMessage(
        "", response_metadata={"router": {"candidate": "small", "model": "gpt-4o-mini"}, "model_name": "other"}
    )
    assert issuer(message) == ("small", "", "gpt-4o-mini")


def test_issuer_of_a_message_without_metadata_is_unknown():
    assert issuer(AIMessage("Hi")) is None
    assert issuer(AIMessage("Hi", response_metadata={"finish_reason": "stop"})) is None


@pytest.mark.parametrize(
    ("provider", "model", "same"),
    [
        ("anthropic", "claude-sonnet-4-5", True),
        ("anthropic", "claude-sonnet-4-5-20250929", True),
        ("anthropic", "claude-sonnet-4-20250514", False),
        ("anthropic", "claude-opus-4-5", False),
        ("bedrock_converse", "claude-sonnet-4-5", False),
        ("anthropic", "", False),
    ],
)
def test_stamped_issuer_is_the_target_when_provider_and_model_agree(provider: str, model: str, *, same: bool):
    message = AIMessage([THOUGHT, TEXT], response_metadata={"model_provider": provider, "model_name": model})
    assert (translate([message], CLAUDE)[0] is message) is same


@pytest.mark.parametrize(
    ("asked", "stamped"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
    ],
)
def test_a_date_that_only_one_id_has_does_not_count(asked: str, stamped: str):
    message = AIMessage([THOUGHT, TEXT], response_metadata={"model_provider": "anthropic", "model_name": stamped})
    assert translate([message], Target(provider="anthropic", model=asked))[0] is message


def test_azure_stamps_openai_but_a_traced_openai_candidate_is_another():
    azure = Target(candidate="azure/gpt-5", provider="azure", model="azure/gpt-5")
    content: Any = [{"type": "reasoning", "id": "rs_1"}, TEXT]
    stamped = AIMessage(content, response_metadata={"model_provider": "openai", "model_name": "gpt-5-2025-08-07"})
    traced = AIMessage(content, response_metadata={"router": {"candidate": "openai/gpt-5", "model": "gpt-5"}})
    assert translate([stamped], azure)[0] is stamped
    assert translate([traced], azure)[0].content == [TEXT]


def test_two_dated_snapshots_are_two_models():
    target = Target(provider="openai", model="gpt-4o-2024-08-06")
    message = AIMessage(
        [{"type": "reasoning", "id": "rs_1"}, TEXT],
        response_metadata={"model_provider": "openai", "model_name": "gpt-4o-2024-11-20"},
    )
    assert translate([message], target)[0].content == [TEXT]


def test_another_candidate_over_the_same_model_is_the_issuer_too():
    high = AIMessage([THOUGHT, TEXT], response_metadata={"router": {"candidate": "high", "model": "claude-sonnet-4-5"}})
    assert translate([high], CLAUDE)[0] is high


def test_unknown_issuer_is_foreign_at_first():
    assert translate([AIMessage([THOUGHT, TEXT])], CLAUDE)[0].content == [TEXT]


def test_unknown_issuer_is_that_of_the_answer_before_it():
    unknown = AIMessage([THOUGHT, TEXT])
    messages = [AIMessage("Hi", response_metadata=by(CLAUDE)), HumanMessage("2 + 2?"), unknown]
    assert translate(messages, CLAUDE) is messages
    assert translate(messages, OPUS)[2].content == [TEXT]


def test_target_of_a_litellm_id_and_of_an_own_model():
    class Own(FakeListChatModel):
        def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
            return {"ls_provider": "mistral", "ls_model_name": "mistral-large-latest"}

    own = Own(responses=["x"])
    assert Target.of(Candidate("vertex_ai/claude-sonnet-4-5@20250929")).provider == "vertex_ai"
    assert Target.of(Candidate("openrouter/anthropic/claude-x")).provider == "openrouter"
    assert Target.of(Candidate("mine", model=own)) == Target.of(Candidate("mine", model=own), own)
    assert Target.of(Candidate("mine", model=own)).provider == "mistral"
    assert Target.of(Candidate("mine", model=own)).model == "mistral-large-latest"
    assert Target.of(Candidate("openai/gpt-4o"), own).provider == "openai"


def test_target_of_an_object_that_tells_nothing_is_known_by_its_id():
    assert Target.of(Candidate("mine", model=object())) == Target(candidate="mine", model="mine")


# Rows


def test_row_25_cache_marks_are_stripped_for_providers_that_know_none():
    messages: list[BaseMessage] = [
        SystemMessage([{"type": "text", "text": "Be brief.", **MARK}]),
        HumanMessage([{"type": "text", "text": "2 + 2?", "extras": MARK}, {"cachePoint": {"type": "default"}}]),
        HumanMessage("And 3 + 3?", additional_kwargs=MARK),
        AIMessage([{**TEXT, **MARK}], tool_calls=[call("1")], response_metadata=by(CLAUDE)),
        ToolMessage([{"type": "text", "text": "4", **MARK}], tool_call_id="1"),
        HumanMessage([{"type": "tool_result", "tool_use_id": "9", "content": [{**TEXT, **MARK}], **MARK}]),
    ]
    told_gpt = told(translate(messages, GPT))
    assert "cache_control" not in told_gpt
    assert "cachePoint" not in told_gpt
    assert "Be brief." in told_gpt and "2 + 2?" in told_gpt
    assert told(translate(messages, CLAUDE)).count("cache_control") == told(messages).count("cache_control")
    assert "cachePoint" not in told(translate(messages, CLAUDE))


def test_row_25_cache_points_stay_for_bedrock():
    messages: list[BaseMessage] = [HumanMessage([TEXT, {"cachePoint": {"type": "default"}}])]
    assert translate(messages, BEDROCK) is messages


def test_row_25_settings_of_other_providers_are_stripped():
    settings = {
        "temperature": 0,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "betas": ["x"],
        "cache_control": {"type": "ephemeral"},
        "prompt_cache_key": "k",
        "safety_settings": {},
        "extra_headers": {"Anthropic-Beta": "x", "x-trace": "1"},
        "extra_body": {"prompt_cache_key": "k", "top_k": 3},
        "tools": [{"type": "function", "function": {"name": "f", **MARK}, **MARK}, {"cachePoint": {"type": "default"}}],
    }
    before = copy.deepcopy(settings)
    assert strip_settings(settings, GPT) == {
        "temperature": 0,
        "prompt_cache_key": "k",
        "extra_headers": {"x-trace": "1"},
        "extra_body": {"prompt_cache_key": "k", "top_k": 3},
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    claude = strip_settings(settings, CLAUDE)
    assert {"thinking", "betas", "cache_control"} <= claude.keys()
    assert not {"prompt_cache_key", "safety_settings"} & claude.keys()
    assert claude["extra_headers"] is settings["extra_headers"]
    assert claude["extra_body"] == {"top_k": 3}
    assert settings == before


@pytest.mark.parametrize("target", [GPT, Target(model="anything")])
def test_row_25_settings_without_anything_to_strip_come_back_as_they_are(target: Target):
    settings = {
        "temperature": 0,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "extra_headers": {"x": "1"},
    }
    assert strip_settings(settings, target) is settings


def test_row_25_an_unknown_provider_keeps_every_setting():
    settings = {"thinking": {"type": "enabled"}, "cache_control": {}}
    assert strip_settings(settings, Target(model="mine")) is settings


@pytest.mark.parametrize(
    "reasoning",
    [
        THOUGHT,
        {"type": "redacted_thinking", "data": "x"},
        {"type": "reasoning", "reasoning": "Secret thought."},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "reasoning_content", "reasoning_content": {"text": "Secret thought.", "signature": "x"}},
    ],
    ids=["thinking", "redacted", "v1", "responses", "converse"],
)
@pytest.mark.parametrize("target", [t for t in TARGETS if t is not DEEPSEEK], ids=lambda target: target.provider)
def test_rows_27_and_31_reasoning_of_another_model_is_dropped(reasoning: dict[str, Any], target: Target):
    messages = [HumanMessage("2 + 2?"), AIMessage([reasoning, TEXT], response_metadata=by(DEEPSEEK))]
    assert translate(messages, target)[1].content == [TEXT]


@pytest.mark.parametrize(
    "name",
    ["thinking_blocks", "thinking", "reasoning_content", "reasoning", "reasoning_items", "provider_specific_fields"],
)
def test_row_27_reasoning_beside_the_content_is_dropped(name: str):
    message = AIMessage("Four.", additional_kwargs={name: [THOUGHT], "refusal": None}, response_metadata=by(DEEPSEEK))
    assert translate([message], CLAUDE)[0].additional_kwargs == {"refusal": None}
    assert translate([message], DEEPSEEK)[0] is message


@pytest.mark.parametrize("candidate", [True, False], ids=["trace", "stamp"])
def test_row_28_the_issuer_gets_its_signed_blocks_back_in_a_tool_loop(*, candidate: bool):
    first = AIMessage(
        [THOUGHT, {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2}}],
        tool_calls=[call("toolu_1")],
        response_metadata=by(CLAUDE, candidate=candidate),
    )
    messages = [HumanMessage("2 + 2?"), first, ToolMessage("4", tool_call_id="toolu_1")]
    assert translate(messages, CLAUDE) is messages
    assert translate(messages, CLAUDE)[1] is first


def test_row_28_claude_with_manual_thinking_cannot_go_on_with_another_models_tool_loop():
    target = Target.of(Candidate("anthropic/claude-sonnet-4-5", params={"thinking": {"type": "enabled"}}))
    adaptive = Target.of(Candidate("anthropic/claude-sonnet-4-5", params={"thinking": {"type": "adaptive"}}))
    assert "thinking" in refuses(loop("1", by(GPT)), target)
    assert refuses([*loop("1", by(GPT)), AIMessage("4"), HumanMessage("And 3 + 3?")], target) == ""
    assert refuses(loop("1", by(target)), target) == ""
    assert refuses(loop("1", by(GPT)), adaptive) == ""


def test_row_29_another_claude_does_not_get_the_blocks():
    messages = [AIMessage([THOUGHT, TEXT], response_metadata=by(CLAUDE))]
    assert translate(messages, OPUS)[0].content == [TEXT]


@pytest.mark.parametrize("target", [t for t in TARGETS if t is not CLAUDE], ids=lambda target: target.model)
def test_row_30_reasoning_is_never_turned_into_text(target: Target):
    messages = [
        AIMessage([THOUGHT, TEXT], additional_kwargs={"thinking_blocks": [THOUGHT]}, response_metadata=by(CLAUDE))
    ]
    assert "Secret thought." not in told(translate(messages, target))


def test_row_30_an_answer_of_reasoning_alone_is_left_out():
    messages = [HumanMessage("2 + 2?"), AIMessage([THOUGHT], response_metadata=by(CLAUDE)), HumanMessage("Well?")]
    assert translate(messages, GPT) == [messages[0], messages[2]]


@pytest.mark.parametrize("content", ["", []])
def test_row_30_an_answer_that_was_empty_stays(content: Any):
    messages = [
        HumanMessage("Hi"),
        AIMessage(content, additional_kwargs={"refusal": None}, response_metadata=by(CLAUDE)),
    ]
    assert translate(messages, GPT) is messages


def test_row_30_tool_calls_outlive_their_reasoning():
    first = AIMessage([THOUGHT], tool_calls=[call("1")], response_metadata=by(CLAUDE))
    translated = translate([first, ToolMessage("4", tool_call_id="1")], GPT)
    assert translated[0].content == ""
    assert [one["tool_call_id"] for one in convert_to_openai_messages(translated) if one["role"] == "tool"] == ["1"]


def test_row_31_a_candidate_that_does_not_reason_gets_none_of_its_models_reasoning():
    target = Target(candidate="plain", provider="mistral", model="mistral/mistral-medium-latest", reasoning=False)
    message = AIMessage([THOUGHT, TEXT], response_metadata={"router": {"candidate": "high", "model": "mistral-medium"}})
    assert translate([message], target)[0].content == [TEXT]


def test_row_32_gemini_3_refuses_the_open_tool_loop_of_another_model():
    assert "thought signature" in refuses(loop("1", by(GPT)), GEMINI)
    assert "thought signature" in refuses(loop("1"), GEMINI)
    assert "thought signature" in refuses([*loop("1", by(GPT)), *loop("2", by(GEMINI))[1:]], GEMINI)
    older = Target(provider="gemini", model="gemini/gemini-2.5-pro")
    assert "thought signature" in refuses(
        loop("1", by(older), additional_kwargs={issuers.SIGNATURES: {"1": "x"}}), GEMINI
    )
    assert refuses(loop("1", by(GPT)), older) == ""


def test_row_32_gemini_3_takes_its_own_loop_and_closed_ones():
    signed = {issuers.SIGNATURES: {"1": "c2ln"}}
    assert refuses(loop("1", by(GEMINI), additional_kwargs=signed), GEMINI) == ""
    assert refuses(loop("1", additional_kwargs=signed), GEMINI) == ""
    assert refuses([*loop("1", by(GPT)), AIMessage("4"), HumanMessage("And 3 + 3?")], GEMINI) == ""
    assert refuses([HumanMessage("2 + 2?")], GEMINI) == ""


def test_row_32_a_tool_result_in_a_human_message_keeps_the_loop_open():
    result = HumanMessage([{"type": "tool_result", "tool_use_id": "1", "content": "4"}])
    assert refuses([*loop("1", by(GPT))[:2], result], GEMINI) != ""


@pytest.mark.parametrize("model", ["gemini-3.5-flash", "models/gemini-flash-latest", "databricks-gemini-3-1-pro"])
def test_row_32_holds_for_every_gemini_from_3_on(model: str):
    assert refuses(loop("1", by(GPT)), Target(provider="gemini", model=model)) != ""


def test_row_32_thought_signatures_go_to_nobody_else():
    raw = {
        "id": "1",
        "type": "function",
        "function": {"name": "add", "arguments": "{}", "provider_specific_fields": {"thought_signature": "c2ln"}},
        "provider_specific_fields": {"thought_signature": "c2ln"},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    first = AIMessage(
        [{**TEXT, "extras": {"signature": "c2ln", "index": 0}}],
        tool_calls=[call("1")],
        additional_kwargs={issuers.SIGNATURES: {"1": "c2ln"}, "function_call": {"name": "add"}, "tool_calls": [raw]},
        response_metadata=by(GEMINI),
    )
    translated = translate([first, ToolMessage("4", tool_call_id="1")], GPT)
    assert "c2ln" not in told(translated)
    assert "function_call" not in translated[0].additional_kwargs
    assert translated[0].content == [{**TEXT, "extras": {"index": 0}}]


@pytest.mark.parametrize("target", [GPT, CLAUDE, MISTRAL, DEEPSEEK, Target(provider="gemini", model="gemini-2.5-pro")])
def test_row_32_a_signature_that_litellm_packed_into_the_id_goes_to_nobody_else(target: Target):
    messages = loop("call_1__thought__c2ln", by(GEMINI))
    assert "c2ln" not in told(translate(messages, target))
    assert translate(messages, GEMINI) is messages


def test_row_33_deepseek_gets_its_reasoning_content_back_and_nobody_else_does():
    messages = loop("call_1", by(DEEPSEEK), additional_kwargs={"reasoning_content": "Secret thought."})
    assert translate(messages, DEEPSEEK) is messages
    assert "Secret thought." not in told(translate(messages, GPT))


def test_row_33_additional_kwargs_of_the_same_model_are_untouched():
    kwargs = {"reasoning_content": "x", "provider_specific_fields": {"a": 1}, "unheard_of": {"b": [1]}}
    messages = [AIMessage("Hi", additional_kwargs=kwargs, response_metadata=by(DEEPSEEK, candidate=False))]
    assert translate(messages, DEEPSEEK)[0].additional_kwargs is messages[0].additional_kwargs


def test_row_34_mistral_ids_are_nine_alphanumerics_in_call_and_result():
    first = AIMessage(
        [{"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}, {"type": "tool_call", **call("toolu_1")}],
        tool_calls=[call("toolu_1"), call("toolu_2")],
        invalid_tool_calls=[{"name": "add", "args": "{", "id": "toolu_3", "error": None, "type": "invalid_tool_call"}],
        additional_kwargs={"tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "add"}}]},
        response_metadata=by(CLAUDE),
    )
    results = [ToolMessage("4", tool_call_id=f"toolu_{n}") for n in (2, 1, 3)]
    translated = translate([first, *results], MISTRAL)
    answer: Any = translated[0]
    ids = [one["id"] for one in answer.tool_calls]
    assert all(NINE.fullmatch(one) for one in ids) and len(set(ids)) == 2
    assert [block["id"] for block in answer.content] == [ids[0], ids[0]]
    assert answer.additional_kwargs["tool_calls"][0]["id"] == ids[0]
    invalid = answer.invalid_tool_calls[0]["id"]
    assert [message.tool_call_id for message in translated[1:]] == [ids[1], ids[0], invalid]
    assert translate([first, *results], MISTRAL) == translated
    check(translated)


def test_row_34_result_blocks_in_messages_are_renamed_too():
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "4"}
    first = AIMessage("", tool_calls=[call("toolu_1")], response_metadata=by(CLAUDE))
    for message in (HumanMessage([result]), ToolMessage([result], tool_call_id="toolu_1")):
        answer, answered = translate([first, message], MISTRAL)
        assert answered.content[0]["tool_use_id"] == answer.tool_calls[0]["id"]


def test_row_34_chunks_and_responses_items_are_renamed_too():
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": "{}"}
    chunk = {"name": "add", "args": "{}", "id": "call_1", "index": 0, "type": "tool_call_chunk"}
    first = AIMessageChunk([item], tool_call_chunks=[chunk], response_metadata=by(GPT))
    answer: Any = translate([first], MISTRAL)[0]
    new = answer.tool_calls[0]["id"]
    assert NINE.fullmatch(new)
    assert answer.tool_call_chunks[0]["id"] == new
    assert answer.content[0]["call_id"] == new


def test_row_34_ids_that_fit_stay():
    messages = loop("AbCd12345", by(GPT))
    assert translate(messages, MISTRAL) is messages


def test_row_34_an_id_used_by_two_models_is_renamed_for_the_foreign_one_only():
    messages = [*loop("x-1", by(GPT)), *loop("x-1", by(MISTRAL))]
    translated: Any = translate(messages, MISTRAL)
    assert NINE.fullmatch(translated[1].tool_calls[0]["id"])
    assert translated[2].tool_call_id == translated[1].tool_calls[0]["id"]
    assert translated[4] is messages[4] and translated[5] is messages[5]


def test_row_34_renamed_ids_never_meet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(call_ids, "_nine", lambda old: iter(["aaaaaaaaa", "bbbbbbbbb", "ccccccccc"]))
    messages = [*loop("aaaaaaaaa", by(GPT)), *loop("call-1", by(GPT)), *loop("call-2", by(GPT))]
    translated: Any = translate(messages, MISTRAL)
    assert [translated[i].tool_calls[0]["id"] for i in (1, 4, 7)] == ["aaaaaaaaa", "bbbbbbbbb", "ccccccccc"]


@pytest.mark.parametrize(
    ("target", "old", "fits"),
    [
        (CLAUDE, "functions.add:0", False),
        (CLAUDE, "call_a-b_C1", True),
        (Target(provider="vertex_ai", model="claude-sonnet-4-5@20250929"), "a.b", False),
        (Target(provider="vllm", model="mistralai/Mistral-7B-Instruct-v0.3"), "call_1", False),
        (BEDROCK, "a" * 65, False),
        (BEDROCK, "a" * 64, True),
        (GPT, "a" * 41, False),
        (GPT, "a.b:" * 10, True),
        (DEEPSEEK, "functions.add:0", True),
        (Target(model="unknown"), "a b" * 99, True),
    ],
)
def test_row_34_ids_are_renamed_only_where_the_provider_refuses_them(target: Target, old: str, *, fits: bool):
    messages = loop(old, by(Target(candidate="kimi", provider="moonshot", model="kimi-k2")))
    translated: Any = translate(messages, target)
    assert (translated is messages) is fits
    assert translated[1].tool_calls[0]["id"] == translated[2].tool_call_id


def malformed() -> list[tuple[list[Any], str]]:
    broken = HumanMessage("x")
    broken.content = None  # type: ignore[assignment]
    typeless = HumanMessage([{"text": "hi"}])
    number = HumanMessage("x")
    number.content = [TEXT, 5]  # type: ignore[list-item]
    answer = AIMessage("", tool_calls=[call("1")])
    result = ToolMessage("4", tool_call_id="1")
    both = AIMessage("", tool_calls=[call("1"), call("2")])
    return [
        ([], "messages is empty"),
        ([HumanMessage("Hi"), result], r"messages\[1\] is the result of the tool call '1'"),
        ([answer, ToolMessage("4", tool_call_id="2")], r"messages\[1\] is the result of the tool call '2'"),
        ([answer, result, HumanMessage("Hi"), result], r"messages\[3\] is the result"),
        ([answer, HumanMessage("Hi")], r"\['1'\] have no result before messages\[1\]"),
        ([answer, SystemMessage("Hi"), result], r"\['1'\] have no result before messages\[1\]"),
        ([answer, AIMessage("Hi")], r"\['1'\] have no result before messages\[1\]"),
        ([both, result, HumanMessage("Hi")], r"\['2'\] have no result before messages\[2\]"),
        ([both, result], r"\['2'\] have no result before messages\[2\]"),
        ([answer, result, result], r"messages\[2\] is the second result of the tool call '1'"),
        ([broken], r"messages\[0\]\.content must be a string or a list of blocks but got None"),
        ([typeless], r"messages\[0\]\.content\[0\] must be .* got \{'text': 'hi'\}"),
        ([number], r"messages\[0\]\.content\[1\] must be .* got 5"),
        ([HumanMessage([{"type": None}])], r"messages\[0\]\.content\[0\]"),
        ([RemoveMessage(id="1")], r"messages\[0\] must be a message to a model"),
        ([("human", "Hi")], r"messages\[0\] must be a message to a model but got \('human', 'Hi'\)"),
        ([ChatMessage("Hi", role="critic")], r"messages\[0\] has the role 'critic'"),
    ]


@pytest.mark.parametrize(("messages", "error"), malformed())
def test_row_35_malformed_histories_are_refused_with_index_and_value(messages: list[Any], error: str):
    with pytest.raises(RequestError, match=error):
        check(messages)


BAD = "a\ud800"


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage(BAD),
        HumanMessage([{"type": "text", "text": BAD}]),
        HumanMessage([BAD]),
        HumanMessage("x", name=BAD),
        SystemMessage([{"type": "document", "source": {"data": ["é", BAD]}}]),
        AIMessage("", additional_kwargs={"reasoning_content": BAD}),
        AIMessage("", tool_calls=[{"name": "f", "args": {"a": [{"b": BAD}]}, "id": "1"}]),
        AIMessage("", tool_calls=[{"name": "f", "args": {BAD: 1}, "id": "1"}]),
        AIMessage("", invalid_tool_calls=[{"name": "f", "args": BAD, "id": "1", "error": None}]),
    ],
)
def test_row_35_lone_surrogates_are_refused_wherever_they_are(message: BaseMessage):
    with pytest.raises(RequestError, match=r"messages\[1\]: the text holds the lone surrogate"):
        check([HumanMessage("Hi, мир 🙂"), message])


@pytest.mark.parametrize(
    "messages",
    [
        [HumanMessage("Hi"), AIMessage("The answer is")],
        [HumanMessage("Hi"), AIMessage("", tool_calls=[call("1")])],
        [AIMessage("", tool_calls=[call("1"), call("2")]), *(ToolMessage("4", tool_call_id=n) for n in "21")],
        [AIMessage("", tool_calls=[call("1")]), ToolMessage([{"type": "image", "url": "x"}], tool_call_id="1")],
        [*loop("1"), *loop("1")],
        [HumanMessage("Hi"), HumanMessage("Hi"), AIMessage("Hi"), AIMessage("Hi"), SystemMessage("Hi")],
        [HumanMessage(""), AIMessage([]), ChatMessage("Hi", role="developer"), AIMessageChunk("Hi")],
        [AIMessage([{"type": "server_tool_use", "id": "s1"}, {"type": "web_search_tool_result", "tool_use_id": "s1"}])],
        [AIMessage("", tool_calls=[call("1")]), HumanMessage([{"type": "tool_result", "tool_use_id": "1"}, TEXT])],
        [AIMessage([{"type": "tool_use", "id": "1"}]), ToolMessage("4", tool_call_id="1")],
        [AIMessage([{"type": "computer_call", "call_id": "1"}]), ToolMessage("4", tool_call_id="1")],
        [AIMessage("", invalid_tool_calls=[{"name": "f", "args": "", "id": "1", "error": ""}]), HumanMessage("Hi")],
        [AIMessage("", tool_calls=[call(None)]), HumanMessage("Hi")],
        [AIMessage("", tool_calls=[call(""), call("")]), *(ToolMessage("4", tool_call_id="") for _ in "12")],
        [HumanMessage([TEXT, {"cachePoint": {"type": "default"}}, "Hi"])],
    ],
)
def test_row_35_what_some_provider_takes_is_let_through(messages: list[BaseMessage]):
    check(messages)


def test_row_36_history_with_tool_calls_needs_tools():
    assert needs_tools(loop("1"))
    assert needs_tools([ToolMessage("4", tool_call_id="1")])
    assert needs_tools([AIMessage([{"type": "tool_use", "id": "1"}])])
    assert needs_tools([AIMessage("", tool_calls=[call(None)])])
    assert not needs_tools([HumanMessage("Hi"), AIMessage([TEXT])])


def test_row_37_models_without_tools_refuse_histories_with_tool_messages():
    closed = [*loop("1"), AIMessage("4"), HumanMessage("And 3 + 3?")]
    assert refuses(closed, Target(provider="x", model="y", tools=False)) == "no tools, but the history holds tool calls"
    assert refuses(closed, Target(provider="perplexity", model="sonar")) != ""
    assert refuses(closed, Target(provider="x", model="y")) == ""
    assert refuses([HumanMessage("Hi")], Target(provider="x", model="y", tools=False)) == ""


def test_row_38_blocks_pass_unchanged_for_the_same_provider():
    messages = [
        SystemMessage([{"type": "text", "text": "Be brief.", **MARK}]),
        HumanMessage([{"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}}]),
        AIMessage(
            [
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {**TEXT, "citations": [{"type": "char_location"}]},
            ],
            response_metadata=by(CLAUDE),
        ),
    ]
    assert translate(messages, CLAUDE) is messages
    assert translate(messages, OPUS) is messages
    assert [block["type"] for block in translate(messages, GPT)[2].content] == ["text"]


def test_row_38_item_ids_go_with_the_reasoning_they_belong_to():
    answer = AIMessage(
        [{"type": "reasoning", "id": "rs_1"}, {**TEXT, "id": "msg_1"}],
        response_metadata={"model_provider": "openai", "model_name": "o4-mini"},
        additional_kwargs={"__openai_function_call_ids__": {"call_1": "fc_1"}},
    )
    translated = translate([answer], GPT)[0]
    assert translated.content == [TEXT]
    assert translated.additional_kwargs == {}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.model)
def test_row_50_tool_messages_are_taken_on_every_path(target: Target):
    messages = [*loop("call_1", by(GPT)), AIMessage("Four.", response_metadata=by(CLAUDE)), HumanMessage("Thanks.")]
    check(messages)
    check(translate(messages, target))
    assert isinstance(refuses(messages, target), str)


# Properties

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

IDS = st.sampled_from(["call_1", "toolu_2", "AbCd12345", "functions.f:0", "x" * 70, "c__thought__c2ln", "é"])
BLOCKS = st.sampled_from(
    [
        TEXT,
        {**TEXT, **MARK, "id": "msg_1"},
        {**TEXT, "extras": {"signature": "x"}},
        THOUGHT,
        {"type": "reasoning", "reasoning": "Secret thought."},
        {"type": "server_tool_use", "id": "s"},
        {"type": "image", "url": "x"},
        {"cachePoint": {"type": "default"}},
        "Hi",
    ]
)
CONTENT = st.one_of(st.sampled_from(["", "Four."]), st.lists(BLOCKS, max_size=3))
KWARGS = st.sampled_from([{}, {}, {"reasoning_content": "Secret thought."}, MARK, {issuers.SIGNATURES: {"1": "x"}}])
STAMPS = st.sampled_from([{}, *map(by, TARGETS), *(by(target, candidate=False) for target in TARGETS)])


@st.composite
def turns(draw: st.DrawFn, stamps: st.SearchStrategy[dict[str, Any]] = STAMPS) -> list[BaseMessage]:
    """Draw a question, perhaps a step with tools, and an answer."""
    ids = draw(st.lists(IDS, max_size=2, unique=True))
    stamp = draw(stamps)
    messages: list[BaseMessage] = [HumanMessage(copy.deepcopy(draw(CONTENT)), additional_kwargs=dict(draw(KWARGS)))]
    if ids:
        content: Any = copy.deepcopy(draw(CONTENT))
        if isinstance(content, list) and draw(st.booleans()):
            content += [{"type": "tool_use", "id": one, "name": "add", "input": {}} for one in ids]
        calls = [call(one) for one in ids]
        kwargs = dict(draw(KWARGS))
        messages.append(AIMessage(content, tool_calls=calls, additional_kwargs=kwargs, response_metadata=stamp))
        messages += [ToolMessage(copy.deepcopy(draw(CONTENT)), tool_call_id=one) for one in ids]
    messages.append(AIMessage(copy.deepcopy(draw(CONTENT)), response_metadata=stamp))
    return messages


CONVERSATIONS = st.lists(turns(), min_size=1, max_size=4).map(lambda parts: [m for part in parts for m in part])
ANY_TARGET = st.sampled_from(TARGETS)


@unhurried
@given(CONVERSATIONS, ANY_TARGET)
def test_translation_never_changes_the_callers_messages(messages: list[BaseMessage], target: Target):
    before = copy.deepcopy(messages)
    translate(messages, target)
    assert messages == before


@unhurried
@given(CONVERSATIONS, ANY_TARGET)
def test_translating_twice_changes_nothing_more(messages: list[BaseMessage], target: Target):
    once = translate(messages, target)
    assert translate(once, target) is once


@unhurried
@given(CONVERSATIONS, ANY_TARGET)
def test_ids_stay_paired_and_distinct(messages: list[BaseMessage], target: Target):
    check(messages)
    translated = translate(messages, target)
    check(translated)
    assert sum(len(set(issuers.call_ids(m))) for m in translated if isinstance(m, AIMessage)) == sum(
        len(set(issuers.call_ids(m))) for m in messages if isinstance(m, AIMessage)
    )


@unhurried
@given(CONVERSATIONS, ANY_TARGET)
def test_row_73_the_start_of_a_longer_history_is_translated_alike(messages: list[BaseMessage], target: Target):
    whole = translate(messages, target)
    for end in range(len(messages)):
        start = translate(messages[:end], target)
        assert whole[: len(start)] == start


@unhurried
@given(st.lists(turns(st.sampled_from([by(CLAUDE), by(CLAUDE, candidate=False)])), min_size=1, max_size=3))
def test_same_issuer_conversations_come_back_identical(parts: list[list[BaseMessage]]):
    messages = [m for part in parts for m in part if "cachePoint" not in repr(m)]
    assert translate(messages, CLAUDE) is messages


@unhurried
@given(CONVERSATIONS, ANY_TARGET)
def test_no_thought_reaches_a_model_that_did_not_have_it(messages: list[BaseMessage], target: Target):
    own = (by(target), by(target, candidate=False), {})
    foreign = [m for m in messages if not isinstance(m, AIMessage) or m.response_metadata not in own]
    answers = [m for m in translate(foreign, target) if isinstance(m, AIMessage)]
    assert "Secret thought." not in told(answers)
