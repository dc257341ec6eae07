"""An obedient stand-in model: it does what the request's options ask, the same way each time."""

from __future__ import annotations

import functools
import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

from router_integrations.testing.replies import Body, Reply, ToolCall

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_QUOTED = re.compile(r"""(?<!\w)'([^']+)'(?!\w)|"([^"]+)\"""")
_NAME_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+")
_GENERIC_NAME_PARTS = {"tool", "function"}
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "user@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_BOUNDS = {
    "minimum": operator.ge,
    "exclusiveMinimum": operator.gt,
    "maximum": operator.le,
    "exclusiveMaximum": operator.lt,
}
_DEEP = 4  # a schema that refers to itself is cut off at this depth


def obey(body: Body) -> Reply:
    """Answers as the request's tools, response format, stop sequences and token limit ask.

    >>> obey({"messages": [{"role": "user", "content": "hi"}]}).text
    'Here is a short answer to: hi'
    """
    text = _user_text(body)
    function = _chosen_function(body, text)
    if function is not None:
        arguments = _filled(function.get("parameters") or {"type": "object"}, text)
        return Reply(tool_calls=(ToolCall(name=function["name"], arguments=arguments),))
    return _limited(_answer(body, text), body)


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, its text parts joined by spaces."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("type") == "text")


def _user_text(body: Body) -> str:
    return next((text_of(message) for message in reversed(body["messages"]) if message["role"] == "user"), "")


def _called_since_user(body: Body) -> set[str]:
    names: set[str] = set()
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            break
        names |= {call["function"]["name"] for call in message.get("tool_calls") or ()}
    return names


def _chosen_function(body: Body, text: str) -> Mapping[str, Any] | None:
    functions: dict[str, Mapping[str, Any]] = {
        tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()
    }
    choice = body.get("tool_choice") or "auto"
    if not functions or choice == "none":
        return None
    if isinstance(choice, Mapping):
        return functions.get(choice["function"]["name"])
    if choice == "auto":
        wanted = _mentioned(list(functions), text) if body["messages"][-1]["role"] == "user" else []
        return functions[wanted[0]] if wanted else None
    # A forced call goes to each function once, then to the last, so that agent loops that end by a call end.
    fresh = [name for name in functions if name not in _called_since_user(body)]
    return functions[(_mentioned(fresh, text) or fresh or list(functions)[-1:])[0]]


def _mentioned(names: Sequence[str], text: str) -> list[str]:
    lowered = text.lower()
    if exact := [name for name in names if name.lower() in lowered]:
        return sorted(exact, key=len, reverse=True)
    words = set(_WORD.findall(lowered))
    if alike := [name for name in names if _telling_parts(name) & words]:
        return alike
    return list(names) if words & {"tool", "tools"} else []


def _telling_parts(name: str) -> set[str]:
    parts = {part.lower() for part in _NAME_PART.findall(name)}
    return {part for part in parts if len(part) >= 4 or not part.isascii()} - _GENERIC_NAME_PARTS


def _answer(body: Body, text: str) -> str:
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return json.dumps(_filled(form["json_schema"]["schema"], text), ensure_ascii=False)
    if form.get("type") == "json_object":
        keys = [word for word in _quoted(text) if word.isidentifier()] or ["answer"]
        return json.dumps(dict.fromkeys(keys, _start(text)), ensure_ascii=False)
    last = body["messages"][-1]
    if last["role"] == "tool":
        return f"The tool returned: {_start(text_of(last))}"
    return f"Here is a short answer to: {_start(text)}"


def _limited(text: str, body: Body) -> Reply:
    stops = body.get("stop") or ()
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    reply = Reply(text=text)
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or math.inf
    if len(reply.tokens) <= limit:
        return reply
    return Reply(text="".join(reply.tokens[: int(limit)]), finish_reason="length")


def _start(text: str) -> str:
    return " ".join(text.split()[:12])


def _quoted(text: str) -> list[str]:
    return [single or double for single, double in _QUOTED.findall(text)]


def _filled(schema: Mapping[str, Any], text: str) -> Any:
    return _Filler(schema, text).fill(schema)


class _Filler:
    """Fills a JSON schema with the numbers and quoted words of a text, then with its first words."""

    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._text = text
        self._numbers = iter(_NUMBER.findall(text))
        self._quotes = iter(_quoted(text))

    def fill(self, schema: Any, depth: int = 0) -> Any:
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            said = [option for option in schema["enum"] if str(option).lower() in self._text.lower()]
            return (said or schema["enum"])[0]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((option for option in kind if option != "null"), "null")
        return self._value(kind, schema, depth)

    def _value(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "object":
            fields = schema.get("properties", {})
            return {name: self.fill(fields.get(name), depth + 1) for name in schema.get("required", ())}
        if kind == "array":
            return self._array(schema, depth)
        if kind in {"integer", "number"}:
            value = _within(float(next(self._numbers, 1)), schema)
            return int(value) if kind == "integer" else value
        return self._string(schema) if kind == "string" else {"boolean": True, "null": None}[kind]

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = [self.fill(item, depth + 1) for item in schema.get("prefixItems", ())]
        size = schema.get("minItems", 0 if first or depth >= _DEEP else 1)
        return first + [self.fill(schema.get("items", {}), depth + 1) for _ in range(size - len(first))]

    def _string(self, schema: Mapping[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = next(self._quotes, "") or _start(self._text) or "text"
        return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), "x")

    def _resolved(self, schema: Any, depth: int) -> Mapping[str, Any]:
        if not isinstance(schema, Mapping):
            return {}
        if "$ref" in schema:
            steps = schema["$ref"].split("/")[1:]
            return self._resolved(functools.reduce(operator.getitem, steps, self._root), depth)
        if "allOf" in schema:
            parts = [self._resolved(part, depth) for part in schema["allOf"]]
            return functools.reduce(operator.or_, map(dict, parts), dict(schema))
        if options := schema.get("anyOf") or schema.get("oneOf"):
            resolved = (option for option in options if (option.get("type") == "null") == (depth >= _DEEP))
            return self._resolved(next(resolved, options[0]), depth)
        return schema


def _within(value: float, schema: Mapping[str, Any]) -> float:
    if all(inside(value, schema[name]) for name, inside in _BOUNDS.items() if name in schema):
        return value
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        return float(high) - 1
    return float(low) + 1 if high is None else (float(low) + float(high)) / 2
