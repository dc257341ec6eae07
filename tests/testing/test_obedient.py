from __future__ import annotations

import datetime
import enum
import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from router_integrations.testing.obedient import obey
from router_integrations.testing.replies import Reply


def function(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}


def ask(text: str, *more: dict[str, Any], **options: Any) -> Reply:
    return obey({"model": "m", "messages": [{"role": "user", "content": text}, *more], **options})


def called(reply: Reply) -> list[str]:
    return [call.name for call in reply.tool_calls]


def called_before(*names: str) -> list[dict[str, Any]]:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    results = [{"role": "tool", "tool_call_id": name, "content": "sunny"} for name in names]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


TOOLS = [function("magic_function"), function("get_weather")]


@pytest.mark.parametrize(
    ("text", "choice", "expected"),
    [
        ("Hello!", "required", ["magic_function"]),
        ("Hello!", "any", ["magic_function"]),
        ("How is the weather?", "required", ["get_weather"]),
        ("Hello!", {"type": "function", "function": {"name": "get_weather"}}, ["get_weather"]),
        ("Use get_weather", "none", []),
        ("Hello!", "auto", []),
        ("Hello!", None, []),
        ("Is the weather good?", None, ["get_weather"]),
        ("Call magic_function(3)", "auto", ["magic_function"]),
        ("Please use a tool", "auto", ["magic_function"]),
    ],
)
def test_tool_choice_decides_which_tool_is_called(text: str, choice: Any, expected: list[str]) -> None:
    assert called(ask(text, tools=TOOLS, tool_choice=choice)) == expected


def test_no_tools_means_no_call() -> None:
    assert called(ask("Use the tool", tools=[])) == []


def test_the_longest_tool_name_in_the_text_wins() -> None:
    tools = [function("magic"), function("magic_no_args")]
    assert called(ask("magic_no_args() please", tools=tools)) == ["magic_no_args"]


def test_camel_case_and_other_scripts_are_recognised() -> None:
    assert called(ask("What is the weather?", tools=[function("fetchWeatherNow")])) == ["fetchWeatherNow"]
    assert called(ask("天気 は どう", tools=[function("天気")])) == ["天気"]


def test_after_the_tool_result_the_answer_is_text_that_quotes_it() -> None:
    reply = ask("How is the weather?", *called_before("get_weather"), tools=TOOLS)
    assert (called(reply), reply.text) == ([], "The tool returned: sunny")


def test_a_new_user_turn_may_call_again() -> None:
    again = {"role": "user", "content": "And the weather tomorrow?"}
    assert called(ask("How is the weather?", *called_before("get_weather"), again, tools=TOOLS)) == ["get_weather"]


def test_forced_calls_move_on_to_the_last_tool_so_that_loops_end() -> None:
    tools = [*TOOLS, function("Final")]
    first = ask("How is the weather?", tools=tools, tool_choice="required")
    second = ask("How is the weather?", *called_before("get_weather"), tools=tools, tool_choice="required")
    names = ["get_weather", "magic_function", "Final"]
    last = ask("How is the weather?", *called_before(*names), tools=tools, tool_choice="required")
    assert [*called(first), *called(second), *called(last)] == ["get_weather", "magic_function", "Final"]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str
    size: int


class Order(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    count: int
    price: float
    urgent: bool
    kind: Literal["small", "large"]
    parts: list[Part]
    pair: tuple[int, str]
    maybe: int | None
    nothing: None
    labels: dict[str, str]
    probability: Annotated[float, Field(gt=0, lt=1)]
    few: Annotated[int, Field(ge=5)]
    below: Annotated[int, Field(lt=-3)]
    code: Annotated[str, Field(min_length=40, max_length=40)]
    three: Annotated[list[int], Field(min_length=3)]
    anything: Any
    optional: str = "left out"


def arguments(model: type[BaseModel], text: str) -> Any:
    reply = ask(text, tools=[function("order", model.model_json_schema())], tool_choice="required")
    return reply.tool_calls[0].arguments


def test_arguments_have_the_types_and_bounds_of_the_schema() -> None:
    order = Order.model_validate_json(json.dumps(arguments(Order, "Order 3 large parts at 2.5 each")))
    assert (order.count, order.price, order.kind, order.optional) == (3, 2.5, "large", "left out")


def test_formats_and_enums_are_filled() -> None:
    class Event(BaseModel):
        day: datetime.date
        at: datetime.datetime
        colour: Colour

    event = Event.model_validate(arguments(Event, "Paint it blue"))
    assert (event.day, event.colour) == (datetime.date(2026, 1, 1), Colour.BLUE)


@pytest.mark.parametrize("wrapper", ["allOf", "anyOf", "oneOf"])
def test_references_inside_combinations_are_followed(wrapper: str) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {wrapper: [{"$ref": "#/definitions/N"}]}},
        "required": ["n"],
        "definitions": {"N": {"type": ["null", "integer"]}},
    }
    reply = ask("Take 7", tools=[function("f", schema)], tool_choice="required")
    assert reply.tool_calls[0].arguments == {"n": 7}


class Tree(BaseModel):
    children: list[Tree]
    parent: Tree | None


def test_a_schema_that_contains_itself_ends() -> None:
    Tree.model_validate(arguments(Tree, "Grow"))


def test_quoted_words_fill_strings_in_any_script() -> None:
    class Customer(BaseModel):
        name: str
        description: str

    filled = arguments(Customer, "Create a customer named '你好啊集团' that isn't known")
    assert filled["name"] == "你好啊集团"
    assert "customer" in filled["description"]


def test_json_schema_response_is_filled_from_the_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "Part", "schema": Part.model_json_schema()}}
    assert Part.model_validate_json(ask("Make 'bolt' of size 4", response_format=form).text) == Part(
        name="bolt", size=4
    )


def test_json_object_takes_its_keys_from_the_quoted_words() -> None:
    form = {"type": "json_object"}
    asked = json.loads(ask("A joke with 'setup' and 'punchline' keys", response_format=form).text)
    assert list(asked) == ["setup", "punchline"]
    assert json.loads(ask("A joke", response_format=form).text) == {"answer": "A joke"}


@pytest.mark.parametrize("stop", ["answer", ["never said", "answer"]])
def test_stop_cuts_the_text(stop: Any) -> None:
    reply = ask("hi", stop=stop)
    assert (reply.text, reply.finish_reason) == ("Here is a short ", None)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_cuts_the_text_and_says_so(name: str) -> None:
    reply = ask("hi", **{name: 2})
    assert (reply.text, reply.finish_reason) == ("Here is", "length")


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    reply = ask("hi", max_tokens=7)
    assert (reply.text, reply.finish_reason) == ("Here is a short answer to: hi", None)


def test_the_text_parts_of_a_message_are_read_and_its_images_passed_over() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert obey({"messages": [{"role": "user", "content": parts}]}).text == "Here is a short answer to: look"
