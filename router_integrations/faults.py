"""Which kind of failure an exception is, whichever SDK raised it; told by types, codes and statuses.

LiteLLM and the SDKs below it wrap one exception in another, and the outer ones know less: a reset connection leaves
LiteLLM as status 500. So the whole chain is read, and the surest word in it counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from router_integrations.errors import Family, ProviderError, RouterError

# How sure one exception of a chain is; the surest wins, among equals the outermost.
_GUESS, _UNREADABLE, _TRANSPORT, _SURE = range(4)
# Only their names count: a user's own NotFoundError says nothing about a model.
_PACKAGES = re.compile(
    r"(aiohttp|anthropic|botocore|google|groq|h11|httpcore2?|httpx2?|json|langchain_core|litellm|mistralai|openai|"
    r"requests|socket|ssl|urllib3)\b"
)
_SURE_NAMES: Mapping[str, Family] = {
    "APITimeoutError": "timeout",
    "ConnectTimeoutError": "timeout",
    "ReadTimeoutError": "timeout",
    "ServerTimeoutError": "timeout",
    "Timeout": "timeout",
    "TimeoutException": "timeout",
    "ModelTimeoutError": "timeout",
    "APIResponseValidationError": "malformed",
    "ChunkedEncodingError": "malformed",
    "ClientPayloadError": "malformed",
    "ContentTypeError": "malformed",
    "DecodingError": "malformed",
    "JSONDecodeError": "malformed",
    # The body broke off; the other libraries' class of this name is any breach of the protocol.
    "h11.RemoteProtocolError": "malformed",
    "AuthenticationError": "authentication",
    "ModelAuthenticationError": "authentication",
    "PermissionDeniedError": "permission",
    "ModelPermissionDeniedError": "permission",
    "LiteLLMUnknownProvider": "not_found",
    "NotFoundError": "not_found",
    "ModelNotFoundError": "not_found",
    "RateLimitError": "rate_limit",
    "ModelRateLimitError": "rate_limit",
    "ContextOverflowError": "context_overflow",
    "ContextWindowExceededError": "context_overflow",
    "ContentPolicyViolationError": "content_policy",
    "ModelRefusalError": "content_policy",
}
_TRANSPORT_NAMES = frozenset(
    {
        "APIConnectionError",
        "ClientConnectionError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "ModelConnectionError",
        "SSLError",
        "TransportError",
        "gaierror",
    }
)
_GUESS_NAMES: Mapping[str, Family] = {
    "APIError": "server",
    "ModelAPIError": "server",
    "ModelInvalidRequestError": "bad_request",
}
_BUILTINS: Mapping[type, tuple[Family, int]] = {
    TimeoutError: ("timeout", _SURE),
    ConnectionError: ("connection", _TRANSPORT),
    # LiteLLM raises while it handles one of these when a stream ends without a finish reason.
    StopIteration: ("malformed", _SURE),
    StopAsyncIteration: ("malformed", _SURE),
}
_STATUSES: Mapping[int, Family] = {
    401: "authentication",
    402: "permission",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "server",
    413: "context_overflow",
    425: "server",
    429: "rate_limit",
}
_CODES: Mapping[str, Family] = {
    "api_error": "server",
    "context_length_exceeded": "context_overflow",
    "exceed_context_size_error": "context_overflow",
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "invalid_api_key": "authentication",
    "model_not_found": "not_found",
    "overloaded_error": "server",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "server_error": "server",
    "ThrottlingException": "rate_limit",
}
# Most providers have no code for it, so these phrases are the one thing told by text.
_OVERFLOW = re.compile(
    r"context[ _](length|window|size|limit)|maximum (context|number of tokens)|too many tokens|reduce the length|"
    r"(prompt|input|request) (is )?too (long|large)|too large for model|token(s| count) exceed",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"\b(?:bearer|basic)\s+[\w.~+/=-]{16,}|\b(?:sk|pk|rk|gsk|xai|hf)[-_][\w*.-]{6,}|\bAIza[\w-]{6,}"
    r"|(?<=://)[^/\s@]+:[^/\s@]+(?=@)|(?<=key=)[^&\s'\"]+|(?<=token=)[^&\s'\"]+",
    re.IGNORECASE,
)
_SECRET_NAMES = re.compile("key|token|secret|password|credential|authorization", re.IGNORECASE)
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class _Verdict:
    link: BaseException
    family: Family
    rank: int


def fault(error: BaseException, *, secrets: Iterable[str] = ()) -> ProviderError | None:
    """Return what `error` means as a failure of one call; `None` when it is no failure of a provider.

    Args:
        error: What a call raised: by LiteLLM, a provider's SDK, an HTTP library or LangChain.
        secrets: Texts that must not be in the message.

    >>> fault(ConnectionResetError("reset by peer")).family
    'connection'
    >>> fault(KeyError("mine")) is None
    True
    """
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, StopIteration | StopAsyncIteration):
        return None
    links = list(_links(error))
    verdicts = [verdict for link in links if (verdict := _verdict(link))]
    if not verdicts:
        return None
    best = max(verdicts, key=lambda verdict: verdict.rank)
    answered = next((link for link in links if _headers(link)), None)
    own_status = None if _package(best.link) == "litellm" else _status(best.link)
    status = own_status if answered is None else _status(answered)
    return ProviderError(
        _message(links, best, status, secrets),
        family=best.family,
        status_code=status,
        retry_after=None if answered is None else _retry_after(_headers(answered)),
    )


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without `secrets` and without anything that looks like a key.

    >>> mask("Incorrect API key provided: sk-abc123def, see hunter2", ["hunter2"])
    'Incorrect API key provided: ***, see ***'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _SECRET.sub("***", text)


def secrets_in(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of call parameters whose names say that they are secret.

    >>> list(secrets_in({"api_key": "k", "temperature": 1, "extra_headers": {"X-Auth-Token": "t", "X-Team": "a"}}))
    ['k', 't']
    """
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from secrets_in(value)
        elif isinstance(value, str) and value and _SECRET_NAMES.search(name):
            yield value


def _links(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what it was raised from or during."""
    seen: set[int] = set()
    link: BaseException | None = error
    known = False
    while link is not None and id(link) not in seen and not isinstance(link, RouterError):
        seen.add(id(link))
        yield link
        original = getattr(link, "original_exception", None)
        if isinstance(original, BaseException):
            yield original
        # Whatever else was being handled is no part of it, unless an SDK raised during it.
        known = known or _verdict(link) is not None
        link = link.__cause__ or (link.__context__ if known else None)


def _verdict(link: BaseException) -> _Verdict | None:
    named = _by_name(link)
    if named is not None and named.rank == _SURE:
        return named
    if coded := next((_CODES[code] for code in _codes(link) if code in _CODES), None):
        return _Verdict(link, coded, _SURE)
    status = _status(link)
    if status is not None and _headers(link):
        return _Verdict(link, _by_status(status, link), _SURE)
    if status is None or (named is not None and named.rank == _TRANSPORT):
        return named
    # LiteLLM has no status for a reply that it cannot read, and says 500.
    if status == 500 and type(link).__module__.startswith("litellm.llms.openai"):
        return _Verdict(link, "malformed", _UNREADABLE)
    return _Verdict(link, _by_status(status, link), _GUESS)


def _by_name(link: BaseException) -> _Verdict | None:
    for kind in type(link).__mro__:
        if kind in _BUILTINS:
            return _Verdict(link, *_BUILTINS[kind])
        name = kind.__name__
        if not (package := _PACKAGES.match(kind.__module__)):
            continue
        if sure := _SURE_NAMES.get(name) or _SURE_NAMES.get(f"{package[0]}.{name}"):
            return _Verdict(link, sure, _SURE)
        if name in _TRANSPORT_NAMES:
            return _Verdict(link, "connection", _TRANSPORT)
        if name in _GUESS_NAMES:
            return _Verdict(link, _GUESS_NAMES[name], _GUESS)
    return None


def _by_status(status: int, link: BaseException) -> Family:
    family = _STATUSES.get(status, "server" if status >= 500 else "bad_request")
    return "context_overflow" if family == "bad_request" and _OVERFLOW.search(str(link)) else family


def _status(link: BaseException) -> int | None:
    response = getattr(link, "response", None)
    shown = [getattr(link, name, None) for name in ("status_code", "status", "code", "http_status")]
    shown.append(getattr(response, "status_code", None))
    if isinstance(response, Mapping):
        shown.append(_dig(response, "ResponseMetadata", "HTTPStatusCode"))
    return next((value for value in shown if isinstance(value, int) and 400 <= value <= 599), None)


def _headers(link: BaseException) -> Mapping[str, Any]:
    """Return the headers of the response; none when the SDK made the response up."""
    response = getattr(link, "response", None)
    aws = _dig(response, "ResponseMetadata", "HTTPHeaders")
    for headers in (getattr(response, "headers", None), getattr(link, "litellm_response_headers", None), aws):
        if headers:
            return {str(name).lower(): value for name, value in headers.items()}
    return {}


def _codes(link: BaseException) -> Iterator[str]:
    body = getattr(link, "body", None)
    inner = _dig(body, "error") or body
    found = (getattr(link, "code", None), _dig(inner, "code"), _dig(inner, "type"))
    aws = _dig(getattr(link, "response", None), "Error", "Code")
    yield from (code for code in (*found, aws) if isinstance(code, str))


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _retry_after(headers: Mapping[str, Any]) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError, TypeError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        moment = parsedate_to_datetime(str(headers["retry-after"]))
    except (KeyError, ValueError):
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _message(links: list[BaseException], best: _Verdict, status: int | None, secrets: Iterable[str]) -> str:
    bodies = (getattr(link, "body", None) for link in links)
    said = (_dig(_dig(body, "error") or body, "message") for body in bodies)
    source = best.link if str(best.link) else links[0]
    text = next((one for one in said if isinstance(one, str) and one), str(source))
    label = type(source).__name__ if status is None else f"HTTP {status}"
    return mask(f"{label}: {' '.join(text.split())}", secrets)[:_LONGEST_MESSAGE]


def _package(link: BaseException) -> str:
    return type(link).__module__.partition(".")[0]
