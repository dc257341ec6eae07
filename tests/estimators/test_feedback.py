from __future__ import annotations

from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.estimators import (
    AnswerQuality,
    CodeSyntax,
    Completeness,
    SchemaValidity,
    TokenConfidence,
    ToolCallValidity,
    Weakest,
)
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.types import Attempt, Call, Request

SMALL = Candidate("small", model=object())
SCHEMA = {"type": "object", "properties": {"years": {"type": "integer"}}, "required": ["years"]}
TOOLS = (
    {"type": "function", "function": {"name": "search", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "noop"}},
)


def feedback(estimator: AnswerEstimator, text: str = "", request: Request | None = None, **fields: Any) -> str | None:
    answer = Attempt(call=Call(candidate=SMALL), text=text, **fields)
    asked = request or Request(text="Q?")
    found = estimator.feedback(asked, answer)
    # What is found wrong is what makes the confidence nothing.
    assert (found is None) == (estimator.confidence(asked, SMALL, [answer]) != 0.0)
    return found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "```python\nx = 1\nprint(x\n```",
            "The Python code does not parse: '(' was never closed in line 2, `print(x`.",
        ),
        ("```\nx = 1\n```", None),
        ("```bash\nls (\n```", None),
        ("```python\n```", "The Python code does not parse: there is none."),
        ("x = \x00", "The Python code does not parse"),
    ],
)
def test_code_that_does_not_parse(text: str, said: str | None) -> None:
    found = feedback(CodeSyntax(), text)

    assert found == said or (said is not None and found is not None and found.startswith(said))


def test_code_of_another_language() -> None:
    assert feedback(CodeSyntax(language="javascript"), "```js\nlet = (\n```") == "The Javascript code does not parse."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"years": 41}', None),
        ("{}", "The answer breaks the schema: 'years' is a required property."),
        ('{"years": "old"}', "The answer breaks the schema: at years: 'old' is not of type 'integer'."),
        ("old", "The answer is no JSON: Expecting value: line 1 column 1 (char 0)."),
    ],
)
def test_json_that_breaks_the_schema(text: str, said: str | None) -> None:
    for schema in (SCHEMA, {"name": "age", "schema": SCHEMA}):
        assert feedback(SchemaValidity(), text, Request(text="Age?", schema=schema)) == said


def test_a_value_is_quoted_only_so_far() -> None:
    found = feedback(SchemaValidity(), f'{{"years": "{"x" * 9000}"}}', Request(text="Age?", schema=SCHEMA))

    assert found is not None and len(found) < 300


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("search", {"years": 1}, None),
        ("noop", {}, None),
        ("find", {}, "There is no tool 'find', only 'search', 'noop'."),
        ("search", {}, "The arguments of 'search' are wrong: 'years' is a required property."),
    ],
)
def test_a_call_that_does_not_fit_its_tool(name: str, args: Any, said: str | None) -> None:
    call = {"name": name, "args": args, "id": "1"}

    assert feedback(ToolCallValidity(), "", Request(text="Q?", tools=TOOLS), tool_calls=(call,)) == said


@pytest.mark.parametrize(
    ("text", "finish", "said"),
    [
        ("Lima.", "stop", None),
        (" ", "stop", "The answer is empty."),
        ("I cannot say.", "stop", "The answer does not answer the question."),
        ("Lima is", "length", "The answer was cut off because it is too long; answer in fewer words."),
        ("Lima", "content_filter", "The answer was stopped by a content filter."),
        ("No", "stop", "The answer has 2 characters, but must have 3 at least."),
        ("x" * 41, "stop", "The answer has 41 characters, but may have 40 at most."),
    ],
)
def test_an_answer_that_is_none(text: str, finish: str, said: str | None) -> None:
    assert feedback(Completeness(shortest=3, longest=40), text, finish_reason=finish) == said


def test_several_looks_say_each_thing_once() -> None:
    both = Weakest(estimators=(Completeness(), Completeness(longest=3), CodeSyntax()))

    assert feedback(both, "```py\n(\n```", finish_reason="length") == (
        "The answer was cut off because it is too long; answer in fewer words. "
        "The Python code does not parse: '(' was never closed in line 1, `(`."
    )


def test_the_kind_of_answer_decides_what_is_said() -> None:
    assert feedback(AnswerQuality(), "old", Request(text="Age?", schema=SCHEMA)) is not None
    assert feedback(AnswerQuality(), "old", Request(text="Age?")) is None
    assert TokenConfidence().feedback(Request(text="Q?"), Attempt(call=Call(candidate=SMALL))) is None
