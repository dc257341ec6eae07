"""Failures of every library that a chat model may stand on, told apart by what they are."""

from __future__ import annotations

import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import botocore.exceptions
import httpx
import langchain_core.exceptions as langchain
import openai
import pytest
import requests

from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.faults import fault, mask

REQUEST = httpx.Request("POST", "https://example.com/v1/chat/completions")


def refused(kind: type[openai.APIStatusError], status: int, body: Any = None, **headers: str) -> openai.APIStatusError:
    """Return the error of OpenAI's SDK for an error status."""
    response = httpx.Response(status, request=REQUEST, headers={"server": "x", **headers})
    return kind("refused", response=response, body=body)


class CustomError(Exception):
    """What a user's own model might raise: a status and nothing else."""

    def __init__(self, status_code: int) -> None:
        super().__init__("custom")
        self.status_code = status_code


def http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    response.headers["Server"] = "x"
    return requests.HTTPError("failed", response=response)


def aws_error(code: str, status: int) -> Exception:
    return botocore.exceptions.ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Converse"
    )


@pytest.mark.parametrize(
    ("status", "family"),
    [
        (400, "bad_request"),
        (401, "authentication"),
        (402, "permission"),
        (403, "permission"),
        (404, "not_found"),
        (405, "bad_request"),
        (408, "timeout"),
        (409, "server"),
        (413, "context_overflow"),
        (422, "bad_request"),
        (425, "server"),
        (429, "rate_limit"),
        (500, "server"),
        (503, "server"),
        (529, "server"),
    ],
)
def test_a_status_has_one_meaning_in_every_library(status: int, family: str) -> None:
    raised = [refused(openai.APIStatusError, status), http_error(status), CustomError(status), aws_error("X", status)]

    found = [fault(error) for error in raised]

    assert [(error.family, error.status_code) for error in found if error] == [(family, status)] * 4


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (openai.APITimeoutError(request=REQUEST), "timeout"),
        (openai.APIConnectionError(request=REQUEST), "connection"),
        (httpx.ReadTimeout("slow"), "timeout"),
        (httpx.ConnectError("refused"), "connection"),
        (httpx.RemoteProtocolError("server disconnected"), "connection"),
        (httpx.DecodingError("not gzip"), "malformed"),
        (requests.ConnectionError("refused"), "connection"),
        (requests.ReadTimeout("slow"), "timeout"),
        (requests.exceptions.ChunkedEncodingError("cut"), "malformed"),
        (aiohttp.ServerDisconnectedError(), "connection"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (aiohttp.ClientPayloadError("cut"), "malformed"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), "connection"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), "timeout"),
        (aws_error("ThrottlingException", 400), "rate_limit"),
        (ConnectionResetError("reset"), "connection"),
        (socket.gaierror("no such host"), "connection"),
        (ssl.SSLError("bad certificate"), "connection"),
        (TimeoutError("slow"), "timeout"),
        (json.JSONDecodeError("cut", "{", 1), "malformed"),
        (langchain.ModelAuthenticationError("x"), "authentication"),
        (langchain.ModelPermissionDeniedError("x"), "permission"),
        (langchain.ModelInvalidRequestError("x"), "bad_request"),
        (langchain.ModelNotFoundError("x"), "not_found"),
        (langchain.ModelRateLimitError("x"), "rate_limit"),
        (langchain.ModelAPIError("x"), "server"),
        (langchain.ModelConnectionError("x"), "connection"),
        (langchain.ModelTimeoutError("x"), "timeout"),
        (langchain.ContextOverflowError("x"), "context_overflow"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_a_failure_without_a_status_is_told_by_its_type(error: Exception, family: str) -> None:
    found = fault(error)

    assert found is not None
    assert found.family == family


@pytest.mark.parametrize(
    ("body", "family"),
    [
        ({"code": "context_length_exceeded", "message": "no"}, "context_overflow"),
        ({"error": {"code": "context_length_exceeded"}}, "context_overflow"),
        ({"error": {"type": "exceed_context_size_error"}}, "context_overflow"),
        ({"code": "content_policy_violation"}, "content_policy"),
        ({"code": "content_filter"}, "content_policy"),
        ({"code": "model_not_found"}, "not_found"),
        ({"code": "invalid_api_key"}, "authentication"),
        ({"code": "something_else"}, "bad_request"),
        ("not even an object", "bad_request"),
    ],
)
def test_a_code_says_more_than_the_status(body: Any, family: str) -> None:
    found = fault(refused(openai.BadRequestError, 400, body))

    assert found is not None
    assert found.family == family


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Please reduce the length of the messages or completion.",
        "Input is too long for requested model.",
        "the request exceeds the available context size",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    ],
)
def test_an_overflow_without_a_code_is_told_by_its_phrase(message: str) -> None:
    response = httpx.Response(400, request=REQUEST, headers={"server": "x"})

    found = fault(openai.BadRequestError(message, response=response, body=None))

    assert found is not None
    assert found.family == "context_overflow"


def test_an_overflow_phrase_does_not_turn_a_busy_server_into_a_long_prompt() -> None:
    response = httpx.Response(429, request=REQUEST, headers={"server": "x"})

    found = fault(openai.RateLimitError("too many tokens per minute", response=response, body=None))

    assert found is not None
    assert found.family == "rate_limit"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    found = fault(refused(openai.RateLimitError, 429, None, **headers))

    assert found is not None
    assert found.retry_after == seconds


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(minutes=5), usegmt=True)

    waits = [fault(refused(openai.InternalServerError, 503, None, **{"retry-after": date})) for date in (later, past)]

    assert waits[0] is not None and waits[0].retry_after is not None and 200 < waits[0].retry_after <= 300
    assert waits[1] is not None and waits[1].retry_after == 0.0


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), ValueError("x"), OSError("disk"), StopIteration(), KeyboardInterrupt(), ConfigurationError("x")],
)
def test_what_is_no_failure_of_a_provider_is_left_alone(error: BaseException) -> None:
    assert fault(error) is None


def test_a_bug_is_no_provider_fault_because_a_request_failed_before_it() -> None:
    try:
        try:
            raise httpx.ConnectError("refused")
        except httpx.ConnectError:
            raise KeyError("a bug in the handler")  # noqa: B904
    except KeyError as error:
        assert fault(error) is None


def test_a_failure_wrapped_in_an_own_exception_is_found() -> None:
    error = RuntimeError("my model failed")
    error.__cause__ = httpx.ReadTimeout("slow")

    found = fault(error)

    assert found is not None
    assert found.family == "timeout"


def test_an_earlier_failure_does_not_colour_the_next_one() -> None:
    try:
        try:
            raise refused(openai.RateLimitError, 429)
        except openai.RateLimitError as earlier:
            raise fault(earlier) or earlier from earlier
    except ProviderError:
        try:
            raise openai.APIConnectionError(request=REQUEST)
        except openai.APIConnectionError as error:
            found = fault(error)

    assert found is not None
    assert (found.family, found.status_code) == ("connection", None)


def test_an_own_error_passes_through() -> None:
    error = ProviderError("busy", family="rate_limit")

    assert fault(error) is error


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abc123. Find yours at example.com",
        "Incorrect API key provided: sk-abc1****wxyz",
        "headers: Authorization: Bearer eyJhbGciOi.abc-123",
        "GET https://user:hunter2@example.com/v1",
        "POST https://example.com/v1?key=AIzaSyA-1234567890&alt=json",
        "key gsk_abcdef123456 is disabled",
    ],
)
def test_keys_are_masked(text: str) -> None:
    masked = mask(text)

    assert "***" in masked
    assert not any(secret in masked for secret in ("abc1", "eyJ", "hunter2", "1234567890", "abcdef"))


def test_ordinary_words_are_not_masked() -> None:
    text = "the risk-averse user of https://example.com:8080/v1 asks for a basic understanding of skeletons"

    assert mask(text) == text


def test_the_message_is_short_one_line_and_without_the_given_secrets() -> None:
    body = {"message": "the key hunter2-secret\nis wrong " + "x" * 1000}

    found = fault(refused(openai.AuthenticationError, 401, body), secrets=["hunter2-secret"])

    assert found is not None
    assert str(found).startswith("HTTP 401: the key *** is wrong xxx")
    assert len(str(found)) == 300
