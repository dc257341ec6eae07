"""Tools, tool choices and output schemas in OpenAI's form."""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Literal, cast, get_args

from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from router_integrations.errors import RequestError

Method = Literal["json_schema", "function_calling", "json_mode"]
METHODS: tuple[Method, ...] = get_args(Method)
Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool
# What OpenAI does not allow in a schema's name.
_BAD_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


def openai_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Return the tools in OpenAI's form; a provider's own built-in tool stays as it is, and so do cache marks."""
    return [_openai_tool(tool, strict=strict) for tool in tools]


def _openai_tool(tool: Tool, *, strict: bool | None) -> dict[str, Any]:
    if isinstance(tool, dict) and _is_built_in(tool):
        return tool
    converted = convert_to_openai_tool(tool, strict=strict)
    if isinstance(tool, dict) and "cache_control" in tool:
        return {**converted, "cache_control": tool["cache_control"]}
    return converted


def _is_built_in(tool: dict[str, Any]) -> bool:
    if tool.get("type") in ("function", "object", "custom"):
        return False
    return "type" in tool or not {"name", "title", "function", "toolSpec"} & tool.keys()


def response_format(schema: Any, method: Method, *, strict: bool | None = None) -> dict[str, Any]:
    """Return OpenAI's `response_format` for a schema."""
    if method == "json_mode":
        return {"type": "json_object"}
    if isinstance(schema, dict) and "json_schema" in schema:
        return schema
    described = convert_to_json_schema(schema, strict=strict)
    name = _BAD_NAME.sub("_", str(described.get("title") or "answer"))[:64]
    form: dict[str, Any] = {"name": name, "schema": described}
    if strict is not None:
        form["strict"] = strict
    return {"type": "json_schema", "json_schema": form}


def parser_for(schema: Any, method: Method) -> BaseOutputParser[Any]:
    """Return what turns an answer into an instance of `schema`, or a dict when it is no class of pydantic's."""
    is_pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
    if method != "function_calling":
        return PydanticOutputParser(pydantic_object=schema) if is_pydantic else JsonOutputParser()
    if is_pydantic:
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=tool_name(schema), first_tool_only=True)


def tool_name(schema: Any) -> str:
    """Return what a schema is called as a tool."""
    return str(convert_to_openai_tool(schema)["function"]["name"])


def with_parser(model: Runnable[Any, Any], parser: BaseOutputParser[Any], *, include_raw: bool) -> Runnable[Any, Any]:
    """Return `model` followed by `parser`; with `include_raw` both results, and the error instead of raising it."""
    if not include_raw:
        return model | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")


def check_method(method: Any) -> Method:
    """Return `method` if it is one.

    Raises:
        RequestError: It is not.
    """
    if method not in METHODS:
        raise RequestError(f"method must be one of {list(METHODS)} but got {method!r}")
    return cast("Method", method)
