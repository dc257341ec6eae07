"""What a scripted model is told and keeps: replies, faults and recorded requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, get_args

from router_integrations.errors import ConfigurationError

Body = Mapping[str, Any]
FaultKind = Literal[
    "status",
    "reset",
    "hang",
    "empty_choices",
    "truncated_json",
    "truncated_stream",
    "reset_stream",
    "error_in_stream",
    "wrong_content_type",
    "empty_stream",
]

_TOKEN = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One function call of a scripted reply.

    Args:
        name: The function's name.
        arguments: Its arguments; a string is sent as it is, so that bad JSON can be scripted.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)

    @property
    def json(self) -> str:
        """The arguments as they go over the wire."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer of a scripted model, sent whole or streamed as the request asks.

    Args:
        text: The answer; its tokens are its words, each with the space before it.
        tool_calls: Functions the model calls.
        finish_reason: `None` means "tool_calls" when there are calls, else "stop".
        usage: Sent as it is; `None` means counted in words, an empty mapping means no usage at all.
        logprobs: One natural logarithm (<= 0) per token, sent when the request asks for them; `None` means
            made up, always the same for the same token.
        reasoning_content: The reasoning text that some providers send beside the answer.
        message_fields: Further fields of the message (of the first delta when streamed).
        delay: Seconds before the first byte, >= 0.
        chunk_delay: Seconds before each further chunk of a stream, >= 0.

    Raises:
        ConfigurationError: `logprobs` has another length than the text has tokens.

    >>> Reply(text="Oslo is cold").tokens
    ['Oslo', ' is', ' cold']
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    logprobs: tuple[float, ...] | None = None
    reasoning_content: str | None = None
    message_fields: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    chunk_delay: float = 0.0

    def __post_init__(self) -> None:
        """Checks that each token has its log-probability."""
        if self.logprobs is not None and len(self.logprobs) != len(self.tokens):
            raise ConfigurationError(
                f"logprobs must hold one number per token of {self.tokens!r}; "
                f"got {self.logprobs!r}; add or drop numbers"
            )

    @property
    def tokens(self) -> list[str]:
        """The words of the text, which joined give the text back."""
        return words_of(self.text)


@dataclass(frozen=True)
class Fault:
    """One failure of a scripted model.

    The stream faults work on a request that does not stream too: its body is cut in half ("truncated_stream",
    "reset_stream"), empty ("empty_stream") or an error object ("error_in_stream").

    Args:
        kind: "status" answers with an error status; "reset" resets the connection before the first byte;
            "hang" sends nothing until the client gives up; "empty_choices" answers with no choice;
            "truncated_json" sends half of a JSON object; "wrong_content_type" a page of HTML;
            "truncated_stream" and "reset_stream" close or reset the connection after `after_chunks` chunks;
            "error_in_stream" then sends an error object; "empty_stream" sends only `[DONE]`.
        status: HTTP status of "status", 400 to 599.
        message: The error's message.
        code: The error's code, such as "context_length_exceeded".
        retry_after: Seconds for the Retry-After header of "status"; `None` leaves it out.
        after_chunks: Good chunks before a stream fails, >= 0; the first one carries only the role.

    Raises:
        ConfigurationError: The kind is unknown.
    """

    kind: FaultKind
    _: KW_ONLY
    status: int = 500
    message: str = "scripted fault"
    code: str | None = None
    retry_after: float | None = None
    after_chunks: int = 3

    def __post_init__(self) -> None:
        """Checks the kind here: the server's threads have nobody to tell."""
        if self.kind not in get_args(FaultKind):
            kinds = ", ".join(get_args(FaultKind))
            raise ConfigurationError(f"kind must be one of {kinds}; got {self.kind!r}")


Step = Reply | Fault


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One chat request as it arrived.

    Args:
        model: The model asked for.
        body: The parsed JSON body.
        headers: The HTTP headers, names in lower case.
        path: The request path.
    """

    model: str
    body: Body
    headers: Mapping[str, str]
    path: str


def words_of(text: str) -> list[str]:
    """The words of a text, each with the space before it; joined they give the text back."""
    return _TOKEN.findall(text)
