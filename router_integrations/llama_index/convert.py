"""LlamaIndex's messages and tools in OpenAI's form, and what any LLM's response tells about the attempt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CitationBlock,
    MessageRole,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import BaseTool, ToolMetadata
from pydantic import BaseModel

from router_integrations.adapters.outgoing import speaker
from router_integrations.adapters.replies import FINISH_KEYS, MODEL_KEYS, logprobs_of, parse_arguments, top_logprobs_of
from router_integrations.candidates import Candidate
from router_integrations.llama_index.blocks import content_of, is_plain
from router_integrations.llama_index.usage import first_choice, plain, usage_of

_ROLES = {MessageRole.CHATBOT: "assistant", MessageRole.MODEL: "assistant"}


def to_openai(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return the messages in OpenAI's form.

    Thinking leaves the content and goes back beside it, where the provider that signed it looks for it; cache points
    become marks; whatever else LlamaIndex or this library notes on a message stays here.

    Args:
        messages: The conversation. Files that blocks name are read; see `blocks.reads_files`.

    Raises:
        RequestError: A block is empty or unknown, or its file cannot be read.

    >>> to_openai([ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_call_id="1", tool_name="now")])])
    [{'role': 'assistant', 'content': None, 'tool_calls': [{'id': '1', 'type': 'function', 'function': \
{'name': 'now', 'arguments': '{}'}}]}]
    """
    return [_convert(message) for message in messages]


def _convert(message: ChatMessage) -> dict[str, Any]:
    extra = message.additional_kwargs
    role = _ROLES.get(message.role, message.role.value)
    answers = role == "assistant"
    # What an answer cites is not what it says.
    said = [block for block in message.blocks if not (answers and isinstance(block, CitationBlock))]
    converted: dict[str, Any] = {"role": role, "content": content_of(said)}
    if extra.get("cache_control") and converted["content"]:
        converted["content"] = _marked(converted["content"], extra["cache_control"])
    if extra.get("name"):
        converted["name"] = speaker(extra["name"])
    if role == "tool":
        converted["tool_call_id"] = extra.get("tool_call_id") or ""
    return {**converted, **_beside(message)} if answers else converted


def _marked(content: str | list[dict[str, Any]], mark: Any) -> list[dict[str, Any]]:
    *others, last = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [*others, {**last, "cache_control": mark}]


def _beside(message: ChatMessage) -> dict[str, Any]:
    """Return what an answer has beside its content: calls, thinking, and the signatures of either."""
    extra = message.additional_kwargs
    fields = _thoughts([block for block in message.blocks if isinstance(block, ThinkingBlock)])
    if calls := list(calls_of(message)):
        fields["tool_calls"] = [_openai_call(call) for call in calls]
        if not message.content:
            fields["content"] = None
    elif extra.get("function_call"):
        fields["function_call"] = plain(extra["function_call"])
    specific = extra.get("provider_specific_fields")
    # Gemini signs answers without a tool call here.
    if isinstance(specific, dict) and specific.get("thought_signatures"):
        fields["provider_specific_fields"] = {"thought_signatures": specific["thought_signatures"]}
    return fields


def _thoughts(blocks: Sequence[ThinkingBlock]) -> dict[str, Any]:
    """Return thinking in the fields that LiteLLM reads, each piece as it came."""
    signed, items, loose = [], [], ""
    for block in blocks:
        about = block.additional_information
        if about.get("type") == "reasoning" and "id" in about:
            items.append(about)
        elif about.get("type") in ("thinking", "redacted_thinking") or about.get("signature"):
            thought = {} if block.content is None else {"thinking": block.content}
            signed.append({"type": "thinking", **thought, **about})
        else:
            loose += block.content or ""
    loose = loose or "".join(one.get("thinking") or "" for one in signed)
    fields = {"reasoning_content": loose, "thinking_blocks": signed, "reasoning_items": items}
    return {name: value for name, value in fields.items() if value}


def calls_of(message: ChatMessage) -> Iterator[dict[str, Any]]:
    """Yield the tool calls of a message, which older integrations keep beside its blocks, in OpenAI's form.

    >>> list(calls_of(ChatMessage(blocks=[ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs={"a": 1})])))
    [{'id': '1', 'type': 'function', 'function': {'name': 'add', 'arguments': '{"a": 1}'}}]
    """
    if is_plain(message):
        return
    raw = [plain(call) for call in message.additional_kwargs.get("tool_calls") or ()]
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if not blocks:
        yield from map(_legacy, raw)
    signed = {call.get("id"): call for call in raw if call.get("provider_specific_fields")}
    for block in blocks:
        given = block.tool_kwargs
        arguments = given if isinstance(given, str) else _json(given)
        # Without an id LlamaIndex's agents name the tool in the result.
        id_ = block.tool_call_id or block.tool_name
        function = {"name": block.tool_name, "arguments": arguments}
        yield {**signed.get(id_, {}), "id": id_, "type": "function", "function": function}


def _legacy(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call as integrations kept it beside the blocks: OpenAI's, Anthropic's, Bedrock's or Gemini's form."""
    inner = plain(call.get("function")) or call
    name = inner.get("name") or ""
    arguments = next((inner[key] for key in ("arguments", "input", "args") if inner.get(key)), "")
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else _json(arguments)}
    signed = {key: call[key] for key in ("provider_specific_fields",) if call.get(key)}
    id_ = call.get("id") or call.get("toolUseId") or name
    return {"id": id_, "type": "function", "function": function, **signed}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def arguments_object(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call as the object that providers want, also when the model wrote none.

    >>> arguments_object('{"a": 1}'), arguments_object("a = 1")
    ({'a': 1}, {'invalid': 'a = 1'})
    """
    parsed = parse_arguments(arguments)[0]
    return {"invalid": arguments} if parsed is None else parsed


def _openai_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call with arguments that are a JSON object: providers refuse the whole history for any other."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if parse_arguments(arguments)[0] is None or not arguments:
        arguments = _json(arguments_object(arguments))
    return {**call, "function": {"name": name, "arguments": arguments}}


def openai_tools(tools: Sequence[BaseTool | dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tools in OpenAI's form; what has that form, or is a provider's own built-in tool, stays as it is."""
    return [tool if isinstance(tool, dict) else _openai_tool(tool.metadata) for tool in tools]


def _openai_tool(told: ToolMetadata) -> dict[str, Any]:
    if type(told) is not ToolMetadata:
        return told.to_openai_tool(skip_length_check=True)
    # A copy of their own for all who ask: what providers' clients get, they change.
    form: dict[str, Any] = json.loads(_written(told.name, told.description, told.fn_schema))
    return form


@lru_cache(maxsize=1024)
def _written(name: str | None, description: str, fn_schema: type[BaseModel] | None) -> str:
    """Return a tool's form as JSON; pydantic takes a millisecond for each schema, and agents ask again and again."""
    told = ToolMetadata(description=description, name=name, fn_schema=fn_schema)
    return _json(told.to_openai_tool(skip_length_check=True))


def attempt_fields(response: ChatResponse, candidate: Candidate) -> dict[str, Any]:
    """Return what `response`, from whichever LLM, tells for an `Attempt`.

    The price is that of the candidate that was asked, whatever name the provider gives itself; unknown is `None`.

    >>> raw = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    >>> response = ChatResponse(message=ChatMessage("Hi", role="assistant"), raw=raw)
    >>> fields = attempt_fields(response, Candidate("openai/gpt-4o-mini"))
    >>> fields["text"], round(fields["cost"], 8)
    ('Hi', 4.5e-06)
    """
    raw = plain(response.raw)
    about = {**response.message.additional_kwargs, **response.additional_kwargs, **raw, **first_choice(raw)}
    usage = usage_of(response)
    cost = None if usage is None else candidate.cost(usage)
    if candidate.input_price is None and isinstance(inner := response.additional_kwargs.get("router"), Mapping):
        # A router among the candidates says itself what it has paid.
        cost = inner.get("cost")
    logprobs = about.get("logprobs") or about.get("logprobs_result") or _as_openai(response)
    return {
        "text": response.message.content or "",
        "tool_calls": tuple(_parsed_calls(response.message)),
        "logprobs": logprobs_of(logprobs),
        "top_logprobs": top_logprobs_of(logprobs),
        "finish_reason": next((_word(about[key]) for key in FINISH_KEYS if about.get(key)), None),
        "model": next((str(about[key]) for key in (*MODEL_KEYS, "model_version") if about.get(key)), None),
        "usage": usage,
        "cost": cost,
    }


def _parsed_calls(message: ChatMessage) -> Iterator[dict[str, Any]]:
    for call in calls_of(message):
        arguments = parse_arguments(call["function"]["arguments"])[0]
        if arguments is not None:
            yield {"name": call["function"]["name"], "args": arguments, "id": call["id"]}


def _as_openai(response: ChatResponse) -> dict[str, Any] | None:
    """Return LlamaIndex's own log-probabilities, which hold the likeliest tokens at each place, in OpenAI's form."""
    if not response.logprobs:
        return None
    places = [[{"logprob": one.logprob} for one in place] for place in response.logprobs if place]
    return {"content": [{**place[0], "top_logprobs": place if len(place) > 1 else ()} for place in places]}


def _word(reason: Any) -> str:
    """Return a finish reason, which is an enum with Gemini."""
    return str(getattr(reason, "name", reason))
