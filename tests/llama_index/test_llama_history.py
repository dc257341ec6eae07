"""LlamaIndex histories on their way to another provider (pitfalls 27 to 38), and what no provider takes."""

import copy
import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import MockLLM

from router_integrations.candidates import Candidate
from router_integrations.errors import RequestError
from router_integrations.llama_index.answered import answered
from router_integrations.llama_index.convert import calls_of, to_openai
from router_integrations.llama_index.history import Target, check, issuer, needs_tools, refuses, translate

CLAUDE = Candidate("anthropic/claude-sonnet-4-5", name="claude")
GPT = Candidate("openai/gpt-4o", name="gpt")
MISTRAL = Candidate("mistral/mistral-large-latest", name="mistral")
GEMINI = Candidate("gemini/gemini-3-pro-preview", name="gemini")
DEEPSEEK = Candidate("deepseek/deepseek-reasoner", name="deepseek")
EVERYBODY = [CLAUDE, GPT, MISTRAL, GEMINI, DEEPSEEK]
TO = {candidate.name: Target.of(candidate) for candidate in EVERYBODY}

POINT = CachePoint(cache_control=CacheControl(type="ephemeral"))
MARK = {"cache_control": {"type": "ephemeral"}}
SIGNED_ID = "call_1__thought__c2ln"


def thought(**about: Any) -> ThinkingBlock:
    return ThinkingBlock(content="Secret thought.", additional_information={"signature": "c2ln", **about})


def by(candidate: Candidate | None, *blocks: Any, **kwargs: Any) -> ChatMessage:
    """An answer, noted as `candidate`'s."""
    message = ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=kwargs)
    return message if candidate is None else answered(ChatResponse(message=message), candidate).message


def text(said: str = "Hi") -> TextBlock:
    return TextBlock(text=said)


def call(id_: str | None = "call_1", name: str = "add", kwargs: Any = None) -> ToolCallBlock:
    return ToolCallBlock(tool_call_id=id_, tool_name=name, tool_kwargs={"a": 1} if kwargs is None else kwargs)


def result(id_: str = "call_1") -> ChatMessage:
    return ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": id_})


def ids(messages: list[ChatMessage]) -> list[str]:
    called = [one["id"] for message in messages if message.role == MessageRole.ASSISTANT for one in calls_of(message)]
    return called + [m.additional_kwargs["tool_call_id"] for m in messages if m.role == MessageRole.TOOL]


# Who made it, and whom it goes to


def test_an_answer_of_the_router_names_its_issuer() -> None:
    assert issuer(by(CLAUDE, text())) == ("claude", "anthropic", "anthropic/claude-sonnet-4-5")
    assert issuer(by(None, text())) is None


@pytest.mark.parametrize(
    ("class_name", "model", "provider"),
    [
        ("openai_llm", "gpt-4o", "openai"),
        ("openai_responses_llm", "gpt-5", "openai"),
        ("azure_openai_llm", "gpt-4o", "azure"),
        ("Anthropic_LLM", "claude-sonnet-4-5", "anthropic"),
        ("MistralAI_LLM", "mistral-large-latest", "mistral"),
        ("GenAI", "gemini-3-pro-preview", "gemini"),
        ("Bedrock_Converse_LLM", "anthropic.claude-sonnet-4-5", "bedrock"),
        ("Ollama_llm", "llama3", "ollama"),
        ("litellm_llm", "anthropic/claude-sonnet-4-5", "anthropic"),
    ],
)
def test_an_own_llm_is_known_by_its_class(class_name: str, model: str, provider: str) -> None:
    own = SimpleNamespace(class_name=lambda: class_name, model=model)

    target = Target.of(Candidate("own", model=own), own)

    assert (target.candidate, target.provider, target.model) == ("own", provider, model)


def test_an_own_llm_without_a_model_field_is_known_by_its_metadata() -> None:
    assert Target.of(Candidate("own", model=MockLLM())).model == "unknown"


def test_claude_that_thinks_by_hand_is_known() -> None:
    own = SimpleNamespace(class_name=lambda: "Anthropic_LLM", model="claude-x", thinking_dict={"type": "enabled"})

    assert Target.of(Candidate("own", model=own)).thinking


# What the target cannot read


@pytest.mark.parametrize("maker", [DEEPSEEK, GPT, None], ids=["deepseek", "gpt", "nobody"])
@pytest.mark.parametrize("target", ["claude", "mistral", "gemini"])
def test_rows_27_30_and_31_foreign_thinking_is_dropped_and_never_text(maker: Any, target: str) -> None:
    history = [ChatMessage("Hi"), by(maker, thought(), text("Hello"))]

    (_, answer) = translate(history, TO[target])

    assert answer.blocks == [text("Hello")]
    assert "Secret" not in str(to_openai([answer]))


@pytest.mark.parametrize("candidate", EVERYBODY, ids=lambda one: one.name)
def test_rows_28_and_33_what_the_target_issued_goes_back_as_it_is(candidate: Candidate) -> None:
    history = [
        ChatMessage("Hi"),
        by(candidate, thought(), call("any id at all!"), refusal="x"),
        result("any id at all!"),
    ]

    assert translate(history, TO[candidate.name]) is history


def test_row_29_another_claude_gets_no_thinking() -> None:
    opus = Candidate("anthropic/claude-opus-4-5", name="opus")

    assert translate([by(opus, thought(), text())], TO["claude"])[0].blocks == [text()]


def test_an_answer_of_which_nothing_is_left_is_dropped() -> None:
    history = [ChatMessage("Hi"), by(GPT, thought(), text("")), ChatMessage("Hm?")]

    assert translate(history, TO["claude"]) == [history[0], history[2]]


def test_an_answer_that_names_nobody_follows_the_one_before_it() -> None:
    named, unnamed = by(CLAUDE, text()), by(None, thought(), text())

    assert translate([named, unnamed], TO["claude"])[1] is unnamed
    assert translate([by(GPT, text()), unnamed], TO["claude"])[1].blocks == [text()]


def test_what_integrations_note_beside_an_answer_stays_with_its_issuer() -> None:
    notes = {"thought_signatures": [b"x"], "built_in_tool_calls": [1], "refusal": "no", "session_id": "s"}

    answer = translate([by(GPT, text(), **notes)], TO["gemini"])[0]

    assert answer.additional_kwargs == {"session_id": "s"}


def test_geminis_signatures_show_that_an_answer_is_geminis() -> None:
    raw = {"id": "call_1", "provider_specific_fields": {"thought_signature": "x"}}
    for signed in (
        by(None, thought(), call(SIGNED_ID)),
        by(None, thought(), call(), thought_signatures=[b"x"]),
        by(None, thought(), call(), tool_calls=[raw]),
    ):
        assert translate([signed], TO["gemini"])[0] is signed
        assert translate([signed], TO["claude"])[0].blocks[0] != thought()


# Calls and ids


@pytest.mark.parametrize("old", ["call_1", SIGNED_ID, "x" * 50])
def test_row_34_mistral_ids_are_nine_alphanumerics_in_call_and_result(old: str) -> None:
    translated = translate([by(GPT, call(old)), result(old)], TO["mistral"])

    one, other = ids(translated)
    assert one == other
    assert re.fullmatch("[A-Za-z0-9]{9}", one)


def test_ids_that_the_target_takes_stay() -> None:
    history = [by(MISTRAL, call("abcdefghi")), result("abcdefghi")]

    assert translate(history, TO["gpt"])[1] is history[1]
    assert ids(translate(history, TO["gpt"])) == ["abcdefghi", "abcdefghi"]


def test_calls_of_one_name_get_ids_of_their_own_and_their_results_in_order() -> None:
    """Ollama and Vertex name a call after its tool."""
    first, second = result("add"), ChatMessage(role="tool", content="4", additional_kwargs={"tool_call_id": "add"})
    history = [by(None, call(None), call(None, kwargs={"a": 2})), first, second]
    check(history)

    for target in TO.values():
        translated = translate(history, target)
        one, two, *results = ids(translated)
        assert one != two
        assert results == [one, two]
        assert [m.content for m in translated[1:]] == ["3", "4"]
        check(translated)


@pytest.mark.parametrize("kwargs", [{"a": 1}, '{"a": 1}'])
def test_foreign_arguments_are_objects(kwargs: Any) -> None:
    """Anthropic's integration sends what the block holds; OpenAI's keeps a text there."""
    (answer,) = translate([by(GPT, call("1", kwargs=kwargs))], TO["claude"])

    assert answer.blocks[0].tool_kwargs == {"a": 1}


@pytest.mark.parametrize(
    "raw",
    [
        {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        SimpleNamespace(id="1", function=SimpleNamespace(name="add", arguments='{"a": 1}')),
        {"id": "1", "name": "add", "input": {"a": 1}},
    ],
    ids=["dict", "object", "anthropic"],
)
@pytest.mark.parametrize("blocks", [[], [call("1")]], ids=["beside alone", "both"])
def test_calls_beside_the_blocks_become_blocks(raw: Any, blocks: list[Any]) -> None:
    """Gemini's and Ollama's integrations would send the copy as one more call."""
    (answer,) = translate([by(GPT, *blocks, tool_calls=[raw])], TO["claude"])

    assert answer.blocks == [call("1")]
    assert answer.additional_kwargs == {}


def test_a_call_that_could_not_be_parsed_is_still_an_object() -> None:
    (answer,) = translate([by(GPT, call("1", kwargs="a = 1"))], TO["claude"])

    assert answer.blocks[0].tool_kwargs == {"invalid": "a = 1"}


def test_an_old_function_call_stays() -> None:
    history = [by(GPT, function_call={"name": "add", "arguments": "{}"}), ChatMessage(role="function", content="3")]
    check(history)

    assert translate(history, TO["claude"])[0].additional_kwargs == history[0].additional_kwargs


# Cache points, citations, roles


@pytest.mark.parametrize(("target", "kept"), [("claude", True), ("gemini", True), ("gpt", False), ("mistral", False)])
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_rows_25_and_38_cache_points_reach_whoever_takes_them(target: str, kept: bool, role: str) -> None:
    message = ChatMessage(role=role, blocks=[text(), POINT], additional_kwargs=MARK)

    (translated,) = translate([message], TO[target])

    assert (POINT in translated.blocks) is kept
    assert ("cache_control" in translated.additional_kwargs) is kept
    if role != "assistant":
        assert (translated is message) is kept


def test_only_claude_reads_blocks_for_citations() -> None:
    citable = CitableBlock(title="Primes", source="euclid.txt", content="There is no last one.")
    citation = CitationBlock(cited_content="no last", source="euclid.txt", title="Primes", additional_location_info={})
    history = [ChatMessage(blocks=[citable]), by(CLAUDE, text(), citation)]

    assert translate(history, TO["claude"]) is history
    question, answer = translate(history, TO["gpt"])
    assert question.blocks == [text("Primes (euclid.txt):"), text("There is no last one.")]
    assert answer.blocks == [text()]


def test_pictures_and_whatever_else_pass_untouched() -> None:
    history = [ChatMessage(blocks=[text(), ImageBlock(url="https://example.org/a.png")])]

    assert all(translate(history, target) is history for target in TO.values())


@pytest.mark.parametrize("role", ["model", "chatbot"])
def test_a_foreign_answer_has_the_role_that_everybody_knows(role: str) -> None:
    answer = ChatMessage(role=role, content="Hi")

    assert translate([answer], TO["gpt"])[0].role == MessageRole.ASSISTANT


def test_only_openai_knows_developers() -> None:
    history = [ChatMessage(role="developer", content="Be short."), ChatMessage("Hi")]

    assert translate(history, TO["gpt"]) is history
    assert translate(history, TO["claude"])[0].role == MessageRole.SYSTEM


# Who can go on


LOOP = [ChatMessage("3?"), by(GPT, call()), result()]


def test_row_32_gemini_3_takes_over_no_open_tool_loop() -> None:
    assert (
        refuses(LOOP, TO["gemini"])
        == "the open tool loop was begun by another model and lacks this one's thought signature"
    )
    assert refuses([*LOOP, by(GPT, text()), ChatMessage("And 4?")], TO["gemini"]) == ""
    assert refuses([LOOP[0], by(GEMINI, call()), result()], TO["gemini"]) == ""


def test_row_28_claude_that_thinks_by_hand_takes_over_no_open_tool_loop() -> None:
    thinking = Candidate("anthropic/claude-sonnet-4-5", params={"thinking": {"type": "enabled"}})

    assert refuses(LOOP, Target.of(thinking)).endswith("lacks this one's thinking")
    assert refuses(LOOP, TO["claude"]) == ""


@pytest.mark.parametrize("messages", [LOOP, [by(None, call())], [by(None, tool_calls=[{"name": "a", "id": "1"}])]])
def test_row_37_who_has_no_tools_takes_no_tool_messages(messages: list[ChatMessage]) -> None:
    assert needs_tools(messages)
    assert refuses(messages, Target(tools=False)) == "no tools, but the history holds tool calls"
    assert refuses([ChatMessage("Hi"), by(GPT, text())], Target(tools=False)) == ""


# What nobody takes


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages is empty"),
        (["Hi"], r"messages\[0\] must be a ChatMessage but got 'Hi'"),
        ([result()], r"messages\[0\] is the result of the tool call 'call_1', but the answer before it makes no such"),
        ([by(GPT, call()), result("call_2")], r"messages\[1\] is the result of the tool call 'call_2'"),
        ([by(GPT, call()), ChatMessage("Hi")], r"\['call_1'\] have no result before messages\[1\]"),
        ([by(GPT, call(), call("call_2")), result()], r"\['call_2'\] have no result before messages\[2\]"),
        ([by(GPT, call()), result(), result()], r"messages\[2\] is the second result"),
        ([ChatMessage("Hi"), ChatMessage(role="tool", content="3")], r"messages\[1\] is a tool's result but names no"),
        (
            [ChatMessage("Hi", additional_kwargs={"name": "\ud800"})],
            r"messages\[0\]: the text holds the lone surrogate",
        ),
        ([ChatMessage(blocks=[call(kwargs={"a": ["\ud800"]})])], r"messages\[0\]: the text holds the lone surrogate"),
    ],
    ids=[
        "empty",
        "no message",
        "no call",
        "other call",
        "no result",
        "some results",
        "two results",
        "no id",
        "name",
        "call",
    ],
)
def test_row_35_what_no_provider_takes_is_refused(messages: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        check(messages)


def test_texts_that_were_set_later_are_read_too() -> None:
    message = ChatMessage("Hi")
    message.blocks[0].text = "\ud800"
    with pytest.raises(RequestError, match=r"messages\[0\]: the text holds the lone surrogate"):
        check([message])
    message.blocks = ["Hi"]  # type: ignore[list-item]
    with pytest.raises(RequestError, match=r"messages\[0\].blocks\[0\] must be a content block but got 'Hi'"):
        check([message])


@pytest.mark.parametrize(
    "messages",
    [
        [by(GPT, call())],
        [by(GPT, call("1", kwargs="a = 1")), ChatMessage("Hm?")],
        [by(GPT, call(), call("2")), result("2"), result(), by(GPT, text())],
        [by(None, tool_calls=[{"id": "1", "name": "add", "input": {}}]), result("1")],
        [ChatMessage("Hi"), ChatMessage(role="system", content="Be short."), ChatMessage()],
    ],
    ids=["a call at the end", "half a call", "results in any order", "calls beside the blocks", "anything else"],
)
def test_what_providers_take_passes(messages: list[ChatMessage]) -> None:
    check(messages)


# Laws


BLOCKS = st.sampled_from(
    [text(), text(""), thought(), thought(type="thinking"), ThinkingBlock(content="Secret thought."), POINT,
     CitableBlock(title="t", source="s", content="c"), ImageBlock(url="https://example.org/a.png")]
)  # fmt: skip
KWARGS = st.sampled_from([{}, {}, MARK, {"refusal": "x"}, {"thought_signatures": [b"x"]}, {"session_id": "s"}])
IDS = st.sampled_from(["call_1", "call_2", "abcdefghi", SIGNED_ID, "add", "y" * 70, None])


@st.composite
def turns(draw: st.DrawFn) -> list[ChatMessage]:
    """A question, an answer of somebody's that may call tools, and the results."""
    maker = draw(st.sampled_from([*EVERYBODY, None]))
    calls = [call(one, kwargs=draw(st.sampled_from([{"a": 1}, '{"a": 1}']))) for one in draw(st.lists(IDS, max_size=3))]
    kwargs = dict(draw(KWARGS))
    if calls and draw(st.booleans()):
        kwargs["tool_calls"] = [dict(one) for one in calls_of(ChatMessage(blocks=calls))]
    answer = by(maker, *draw(st.lists(BLOCKS, max_size=3)), *calls, **kwargs)
    role = draw(st.sampled_from(["user", "system", "developer"]))
    question = ChatMessage(role=role, blocks=draw(st.lists(BLOCKS, max_size=2)), additional_kwargs=draw(KWARGS))
    return [question, answer, *(result(one["id"]) for one in calls_of(answer))]


HISTORIES = st.lists(turns(), max_size=4).map(lambda several: [message for turn in several for message in turn])
TARGETS = st.sampled_from([*TO.values(), Target(), Target(provider="perplexity", model="sonar")])
law = settings(max_examples=150, deadline=None)


def plain(messages: list[ChatMessage]) -> list[Any]:
    return [message.model_dump() for message in messages]


@law
@given(HISTORIES, TARGETS)
def test_translating_twice_changes_nothing_more(messages: list[ChatMessage], target: Target) -> None:
    once = translate(messages, target)

    assert translate(once, target) is once


@law
@given(HISTORIES, TARGETS)
def test_translation_never_changes_the_callers_messages(messages: list[ChatMessage], target: Target) -> None:
    before = copy.deepcopy(plain(messages))

    translate(messages, target)

    assert plain(messages) == before


@law
@given(HISTORIES, TARGETS)
def test_a_history_that_was_legal_stays_legal(messages: list[ChatMessage], target: Target) -> None:
    if messages:
        check(messages)
    if translated := translate(messages, target):
        check(translated)


@law
@given(HISTORIES, st.sampled_from(EVERYBODY))
def test_no_thought_reaches_a_model_that_did_not_have_it(messages: list[ChatMessage], candidate: Candidate) -> None:
    foreign = [m for m in messages if (who := issuer(m)) is None or who.candidate != candidate.name]
    foreign = [m for m in foreign if not m.additional_kwargs.get("thought_signatures")]
    foreign = [m for m in foreign if not any(SIGNED_ID in (one["id"] or "") for one in calls_of(m))]
    answers = [m for m in foreign if m.role == MessageRole.ASSISTANT]

    assert "Secret" not in str(plain(translate(answers, TO[candidate.name])))


@law
@given(st.lists(turns(), min_size=1, max_size=4), TARGETS)
def test_row_73_the_start_of_a_longer_history_is_translated_alike(several: list[Any], target: Target) -> None:
    """Else each turn would lose the provider's prompt cache."""
    parts = [[message for turn in several[:end] for message in turn] for end in range(len(several) + 1)]

    for shorter, longer in pairwise(plain(translate(list(part), target)) for part in parts):
        assert longer[: len(shorter)] == shorter


@law
@given(HISTORIES, st.sampled_from(["claude", "gpt", "mistral"]))
def test_every_id_of_a_foreign_history_is_one_that_the_target_takes(messages: list[ChatMessage], target: str) -> None:
    legal = {"claude": "[A-Za-z0-9_-]{1,64}", "gpt": ".{1,40}", "mistral": "[A-Za-z0-9]{9}"}[target]
    foreign = [m for m in messages if (who := issuer(m)) is None or who.candidate != target]
    translated = translate([m for m in foreign if m.role == MessageRole.ASSISTANT], TO[target])

    for message in translated:
        own = ids([message])
        assert len(set(own)) == len(own)
        assert all(re.fullmatch(legal, one) and "__thought__" not in one for one in own)
