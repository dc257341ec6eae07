"""How answers and failures look on OpenAI's wire."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from router_integrations.testing.obedient import obey, text_of
from router_integrations.testing.replies import Body, Fault, Reply, ToolCall, words_of

_CREATED = 1_767_225_600  # fixed, so that the same request gets the same bytes
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True)
class Response:
    """What goes over the connection, ready to send.

    Args:
        pieces: The body; a piece is one chunk when `length` is `None`.
        length: The Content-Length in bytes; `None` sends the pieces chunked.
        status: HTTP status.
        content_type: The Content-Type header.
        headers: Further headers.
        ending: How the connection ends after the last piece; "complete" keeps it open.
        delay: Seconds before the first byte.
        chunk_delay: Seconds before each further piece.
    """

    pieces: Iterable[bytes]
    length: int | None = None
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Literal["complete", "close", "reset"] = "complete"
    delay: float = 0.0
    chunk_delay: float = 0.0


def answer(reply: Reply, body: Body, number: int) -> Response:
    """The response to request `number` that carries a reply."""
    if not body.get("stream"):
        return replace(whole(_completion(body, reply, number)), delay=reply.delay)
    pieces = itertools.chain(map(_event, _chunks(body, reply, number)), [_DONE])
    return replace(_stream(pieces), delay=reply.delay, chunk_delay=reply.chunk_delay)


def failure(fault: Fault, body: Body, number: int) -> Response:
    """The response of a fault that answers at all, so neither "reset" nor "hang"."""
    if fault.kind == "status":
        wait = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
        return replace(error(fault.status, fault.message, fault.code), headers=wait)
    if fault.kind == "wrong_content_type":
        return replace(_sized(b"<html><body>Welcome</body></html>"), content_type="text/html")
    fail = _streamed_failure if body.get("stream") else _whole_failure
    return fail(fault, body, number)


def error(status: int, message: str, code: str | None = None) -> Response:
    """An error object with its status."""
    return replace(whole(_error_object(status, message, code)), status=status)


def whole(value: Mapping[str, Any]) -> Response:
    """A JSON object in one piece."""
    return _sized(json.dumps(value).encode())


def _streamed_failure(fault: Fault, body: Body, number: int) -> Response:
    events = [_event(chunk) for chunk in _chunks(body, obey(body), number)]
    good = events[: fault.after_chunks]
    match fault.kind:
        case "empty_choices":
            hollow = {**_envelope(body, number, "chat.completion.chunk"), "choices": []}
            return _stream([_event(hollow), _DONE])
        case "truncated_json":
            return _stream([_cut(events[0]) + b"\n\n"])
        case "empty_stream":
            return _stream([_DONE])
        case "error_in_stream":
            return _stream([*good, _event(_error_object(500, fault.message, fault.code))])
    return replace(_stream(good), ending="reset" if fault.kind == "reset_stream" else "close")


def _whole_failure(fault: Fault, body: Body, number: int) -> Response:
    value = _completion(body, obey(body), number)
    payload = json.dumps(value).encode()
    match fault.kind:
        case "empty_choices":
            return whole({**value, "choices": []})
        case "truncated_json":
            return _sized(_cut(payload))
        case "empty_stream":
            return _sized(b"")
        case "error_in_stream":
            return whole(_error_object(500, fault.message, fault.code))
    ending: Literal["reset", "close"] = "reset" if fault.kind == "reset_stream" else "close"
    return Response(pieces=[_cut(payload)], length=len(payload), ending=ending)


def _stream(pieces: Iterable[bytes]) -> Response:
    return Response(pieces=pieces, content_type="text/event-stream")


def _sized(payload: bytes) -> Response:
    return Response(pieces=[payload], length=len(payload))


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _cut(payload: bytes) -> bytes:
    return payload[: len(payload) // 2]


def _error_object(status: int, message: str, code: str | None) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _completion(body: Body, reply: Reply, number: int) -> dict[str, Any]:
    content = None if reply.tool_calls and not reply.text else reply.text
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reply.reasoning_content is not None:
        message["reasoning_content"] = reply.reasoning_content
    if reply.tool_calls:
        message["tool_calls"] = [_wire_call(call, number, i) for i, call in enumerate(reply.tool_calls)]
    message.update(reply.message_fields)
    entries = _logprobs(body, reply)
    choice = {
        "message": message,
        "logprobs": {"content": entries, "refusal": None} if entries else None,
        "finish_reason": _finish_reason(reply),
    }
    choices = [{"index": index, **choice} for index in range(body.get("n") or 1)]
    usage = _usage(body, reply)
    counted = {"usage": usage} if usage else {}
    return {**_envelope(body, number, "chat.completion"), "choices": choices, **counted}


def _chunks(body: Body, reply: Reply, number: int) -> Iterator[dict[str, Any]]:
    head = _envelope(body, number, "chat.completion.chunk")
    deltas = [*_deltas(reply, number), {}]
    for index in range(body.get("n") or 1):
        entries = iter(_logprobs(body, reply))
        for delta in deltas:
            entry = next(entries, None) if delta.keys() == {"content"} else None
            choice = {
                "index": index,
                "delta": delta,
                "logprobs": {"content": [entry], "refusal": None} if entry else None,
                "finish_reason": None if delta else _finish_reason(reply),
            }
            yield {**head, "choices": [choice]}
    usage = _usage(body, reply)
    if usage and (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": usage}


def _deltas(reply: Reply, number: int) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "", **reply.message_fields}
    for token in words_of(reply.reasoning_content or ""):
        yield {"reasoning_content": token}
    for token in reply.tokens:
        yield {"content": token}
    for index, call in enumerate(reply.tool_calls):
        wire = _wire_call(call, number, index)
        arguments = wire["function"]["arguments"]
        wire["function"] = {**wire["function"], "arguments": ""}
        yield {"tool_calls": [{"index": index, **wire}]}
        size = max(1, math.ceil(len(arguments) / 3))
        for start in range(0, len(arguments), size):
            piece = {"arguments": arguments[start : start + size]}
            yield {"tool_calls": [{"index": index, "function": piece}]}


def _envelope(body: Body, number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": _CREATED, "model": body["model"]}


def _wire_call(call: ToolCall, number: int, index: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.json}
    return {"id": f"call_{number}_{index}", "type": "function", "function": function}


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _logprobs(body: Body, reply: Reply) -> list[dict[str, Any]]:
    if not body.get("logprobs"):
        return []
    width = body.get("top_logprobs") or 0
    values = reply.logprobs or tuple(-(1 + zlib.crc32(_bytes(token)) % 200) / 100 for token in reply.tokens)
    entries = []
    for token, value in zip(reply.tokens, values, strict=True):
        others = [_entry(f"{token}~{rank}", value - rank) for rank in range(1, width)]
        top = [_entry(token, value), *others] if width else []
        entries.append({**_entry(token, value), "top_logprobs": top})
    return entries


def _entry(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(_bytes(token))}


def _bytes(token: str) -> bytes:
    return token.encode(errors="replace")


def _usage(body: Body, reply: Reply) -> Mapping[str, Any]:
    if reply.usage is not None:
        return reply.usage
    said = [reply.text, reply.reasoning_content or "", *(call.json for call in reply.tool_calls)]
    prompt = sum(len(text_of(message).split()) for message in body["messages"])
    answer = sum(len(text.split()) for text in said) * (body.get("n") or 1)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
