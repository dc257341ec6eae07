"""Tools on their way to an LLM, and the calls of them in its responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools import BaseTool

from router_integrations.adapters.outgoing import openai_tool_choice
from router_integrations.llama_index.convert import calls_of, openai_tools


def with_message(history: Sequence[ChatMessage] | None, message: str | ChatMessage | None) -> list[ChatMessage]:
    """Return the conversation with one more message of the user's; `history` is not changed.

    >>> [str(message) for message in with_message([ChatMessage("Hi")], "Who are you?")]
    ['user: Hi', 'user: Who are you?']
    """
    if isinstance(message, str):
        message = ChatMessage(role=MessageRole.USER, content=message)
    return [*(history or ()), *(() if message is None else (message,))]


def tool_arguments(
    tools: Sequence[BaseTool | dict[str, Any]], given: dict[str, Any], *, parallel: bool, required: bool
) -> dict[str, Any]:
    """Return the parameters of a call with tools, in OpenAI's form.

    Args:
        tools: The tools; none at all leaves the call as it is.
        given: The caller's further parameters; a `tool_choice` among them says more than `required`.
        parallel: Whether the answer may hold several calls.
        required: Whether it must hold one.

    Raises:
        RequestError: `tool_choice` names none of the tools.
    """
    choice = given.get("tool_choice")
    arguments = {name: value for name, value in given.items() if name != "tool_choice"}
    if not tools:
        return arguments
    formatted = arguments["tools"] = openai_tools(tools)
    if choice is None and required:
        choice = "required"
    if (chosen := openai_tool_choice(choice, formatted)) is not None:
        arguments["tool_choice"] = chosen
    if not parallel:
        arguments["parallel_tool_calls"] = False
    return arguments


def selections(response: ChatResponse, *, required: bool) -> list[ToolSelection]:
    """Return the tool calls of a response; of one that is still being streamed, as far as they have come.

    Args:
        response: The response.
        required: Whether none is an error.

    Raises:
        ValueError: There is none.
    """
    calls = [call for call in calls_of(response.message) if call["function"]["name"]]
    if required and not calls:
        raise ValueError(
            f"the response calls no tool but says {response.message.content!r}; "
            "give tool_required=True, or error_on_no_tool_call=False"
        )
    return [
        ToolSelection(
            tool_id=call["id"],
            tool_name=call["function"]["name"],
            tool_kwargs=_arguments(call["function"]["arguments"]),
        )
        for call in calls
    ]


def _arguments(text: str) -> dict[str, Any]:
    try:
        given: Any = parse_partial_json(text)
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}
