from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations.errors import ConfigurationError
from router_integrations.estimators import CodeSyntax, Completeness, SchemaValidity, ToolCallValidity
from router_integrations.estimators.completeness import is_refusal
from router_integrations.estimators.syntax import fences, parses_as_python
from router_integrations.types import Request
from tests.estimators.answered import QUERY, SMALL, reply

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}
SEARCH = {"type": "function", "function": {"name": "search", "parameters": PERSON}}


def code(text: str, **options) -> float | None:
    return CodeSyntax(**options).confidence(QUERY, SMALL, [reply(text)])


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("def f(x):\n    return x", 1.0),
        ("def f(x:\n    return x", 0.0),
        ("Here:\n```python\nx = 1\n```\nDone.", 1.0),
        ("Here:\n```py\nx = 1\n```\nand\n```py\ny = \n```", 0.0),
        ("Here:\n```py\nx = 1\n```\nIt prints:\n```\nan error\n```", 1.0),
        ("Here:\n```\nx = \n```", 0.0),
        ("Here:\n```py\nx = 1\n```\nUse it:\n```py\n>>> x\n1\n```", 1.0),
        ("```py\n>>> x\n1\n```", None),
        ("[PYTHON]\nx = 1\n[/PYTHON]\n[TESTS]\nnone\n[/TESTS]", 1.0),
        ("[PYTHON]\nx = ", 0.0),
        ("Run `x`:\n```bash\nls -l |\n```\n```python\nx = 1\n```", 1.0),
        ("```bash\nls\n```", None),
        ("```python\nx = 1", 1.0),
        ("```python\n```", 0.0),
        ("Just words, no code.", 0.0),
        ("", 0.0),
        ("x = '\0'", 0.0),
    ],
)
def test_python_in_an_answer_is_parsed(text, valid) -> None:
    assert code(text) == valid


def test_an_escape_without_meaning_is_no_fault_and_warns_nobody() -> None:
    assert parses_as_python("import re\nre.match('\\d+', x)")
    assert parses_as_python("r'\\d\\\\'")
    assert parses_as_python("x = 1 + \\\n  2")
    assert not parses_as_python("x = \\d")


@pytest.mark.parametrize("text", ["(" * 50_000, "-" * 100_000 + "1", "[" * 90 + "]" * 90, "x = [" * 1000])
def test_deep_nesting_is_survived(text) -> None:
    assert parses_as_python(text) in (True, False)


@given(st.text(max_size=100))
def test_any_text_is_judged_as_python_judges_it(text) -> None:
    assert code(f"```python\n{text}\n```") in (0.0, 1.0)


def test_what_python_parses_is_valid() -> None:
    with open(__file__, encoding="utf-8") as file:
        assert parses_as_python(file.read())


def test_another_language_is_parsed_by_tree_sitter() -> None:
    assert code("```js\nconst f = (x) => x;\n```", language="javascript") == 1.0
    assert code("```js\nconst f = (x) => ;\n```", language="javascript") == 0.0
    assert code("```js\n```", language="javascript") == 0.0
    assert code("```python\nx = 1\n```", language="javascript") is None


def test_a_language_without_a_grammar_says_what_to_install(monkeypatch) -> None:
    with pytest.raises(ConfigurationError, match="pip install tree-sitter tree-sitter-cobol"):
        CodeSyntax(language="cobol")
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    with pytest.raises(ConfigurationError, match="pip install tree-sitter"):
        CodeSyntax(language="javascript")


def test_a_name_that_is_no_language_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="name such as"):
        CodeSyntax(language="../x")


def test_fences_are_found_with_their_language() -> None:
    text = "a\n```JS title\n1\n```\n  ```\n2\n  ```\n````c++\n3\n````"

    assert fences(text) == [("javascript", "1\n"), ("", "2\n"), ("cpp", "3\n")]


def structured(text: str, schema=PERSON, **fields) -> float | None:
    return SchemaValidity().confidence(Request(text="Who?", schema=schema), SMALL, [reply(text, **fields)])


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"age": 3}', 1.0),
        ('```json\n{"age": 3}\n```', 1.0),
        ('{"age": "3"}', 0.0),
        ('{"age": 3, "name": "x"}', 0.0),
        ("{}", 0.0),
        ("He is 3.", 0.0),
        ("[" * 100_000, 0.0),
        ("", 0.0),
    ],
)
def test_an_answer_is_held_to_the_schema(text, valid) -> None:
    assert structured(text) == valid


def test_openai_s_wrapping_of_a_schema_is_taken_off() -> None:
    wrapped = {"name": "person", "strict": True, "schema": PERSON}

    assert structured('{"age": 3}', wrapped) == 1.0
    assert structured('{"age": "3"}', wrapped) == 0.0


def test_a_structured_answer_may_come_as_a_tool_call() -> None:
    assert structured("", tool_calls=({"name": "Person", "args": {"age": 3}, "id": "1"},)) == 1.0
    assert structured("", tool_calls=({"name": "Person", "args": {}, "id": "1"},)) == 0.0


@pytest.mark.parametrize("schema", [None, {"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/schema"}])
def test_without_a_schema_that_can_be_used_nothing_is_said(schema) -> None:
    assert structured("3", schema) is None


def test_a_reference_is_never_fetched(monkeypatch) -> None:
    fetched = []
    monkeypatch.setattr("urllib.request.urlopen", fetched.append)

    assert structured("3", {"$ref": "http://127.0.0.1:9/schema"}) is None
    assert fetched == []


@pytest.mark.parametrize(
    ("names_and_arguments", "valid"),
    [
        ([("search", {"age": 3})], 1.0),
        ([("search", {"age": "3"})], 0.0),
        ([("search", {"age": 3}), ("search", {})], 0.0),
        ([("find", {"age": 3})], 0.0),
        ([], None),
    ],
)
def test_tool_calls_are_held_to_the_bound_tools(names_and_arguments, valid) -> None:
    calls = tuple({"name": name, "args": arguments, "id": "1"} for name, arguments in names_and_arguments)
    validity = ToolCallValidity()

    assert validity.confidence(Request(text="Hi", tools=(SEARCH,)), SMALL, [reply(tool_calls=calls)]) == valid
    assert validity.confidence(Request(text="Hi"), SMALL, [reply(tool_calls=calls)]) is None


@pytest.mark.parametrize(
    ("text", "fields", "complete"),
    [
        ("4", {}, 1.0),
        ("4", {"finish_reason": "stop"}, 1.0),
        ("4", {"finish_reason": "length"}, 0.0),
        ("4", {"finish_reason": "MAX_TOKENS"}, 0.0),
        ("4", {"finish_reason": "content_filter"}, 0.0),
        (" \n ", {}, 0.0),
        ("", {"tool_calls": ({"name": "f", "args": {}, "id": "1"},)}, 1.0),
        ("I'm sorry, but I can't help with that.", {}, 0.0),
        ("I\u2019m unable to answer.", {}, 0.0),
        ("I don't know.", {}, 0.0),
        ("As an AI language model, I have no opinions.", {}, 0.0),
        ("The song is called I Can't Go For That.", {}, 1.0),
    ],
)
def test_answers_that_are_none_are_known(text, fields, complete) -> None:
    assert Completeness().confidence(QUERY, SMALL, [reply(text, **fields)]) == complete


def test_lengths_are_limited() -> None:
    found = [Completeness(shortest=2, longest=3).confidence(QUERY, SMALL, [reply("x" * n)]) for n in range(1, 5)]

    assert found == [0.0, 1.0, 1.0, 0.0]
    assert Completeness(shortest=0).confidence(QUERY, SMALL, [reply("")]) == 1.0


@pytest.mark.parametrize("options", [{"shortest": -1}, {"shortest": 5, "longest": 4}])
def test_limits_that_contradict_each_other_are_refused(options) -> None:
    with pytest.raises(ConfigurationError, match="shortest"):
        Completeness(**options)


def test_a_long_answer_is_no_refusal_for_a_word_in_it() -> None:
    assert not is_refusal("The film ends when he says: I'm sorry. " + "x" * 1000)
