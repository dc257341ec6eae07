"""Secrets stay out of traces and cache keys, yet different ones differ."""

from typing import Any

import pytest
from pydantic import SecretStr

from router_integrations.redact import is_secret, redact, reveal

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": SECRET},
        {"anything": SecretStr(SECRET)},
        {"aws_secret_access_key": SECRET},
        {"aws_session_token": SECRET},
        {"vertex_credentials": SECRET},
        {"extra_headers": {"X-Api-Key": SECRET, "Accept": "json"}},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"api_base": f"https://me:{SECRET}@host/v1"},
    ],
)
def test_secrets_do_not_show(settings: dict[str, Any]) -> None:
    assert "hunter2" not in repr(redact(settings))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "author", "monkey", "api_base", "seed"])
def test_other_settings_do(name: str) -> None:
    assert not is_secret(name, "x")
    assert redact({name: "x"}) == {name: "x"}


def test_different_secrets_differ_and_equal_ones_do_not() -> None:
    assert redact({"api_key": "a"}) == redact({"api_key": SecretStr("a")}) != redact({"api_key": "b"})


def test_an_absent_secret_shows_as_absent() -> None:
    assert redact({"api_key": None}) == {"api_key": None}


def test_providers_get_the_plain_text() -> None:
    assert reveal({"api_key": SecretStr(SECRET), "n": 1}) == {"api_key": SECRET, "n": 1}
