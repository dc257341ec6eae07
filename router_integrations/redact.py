"""Settings without their secrets, for traces and cache keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from pydantic import SecretStr

_SECRET_WORDS = frozenset({"key", "token", "secret", "password", "credential", "credentials", "authorization", "auth"})
_WORD = re.compile(r"[a-z0-9]+")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def redact(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with a short digest in place of each secret, so that different keys still differ.

    >>> redact({"api_key": "sk-1", "temperature": 0})
    {'api_key': '**********c1232177', 'temperature': 0}
    """
    return {name: _redacted(name, value) for name, value in settings.items()}


def reveal(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with each `SecretStr` as the plain text that a provider needs."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in settings.items()
    }


def is_secret(name: str, value: Any) -> bool:
    """Return whether a setting is, or holds, something that nobody else may see.

    >>> is_secret("api_key", "sk-1"), is_secret("max_tokens", 5), is_secret("headers", {"Authorization": "Bearer x"})
    (True, False, True)
    """
    if isinstance(value, Mapping):
        return any(is_secret(key, item) for key, item in value.items())
    if isinstance(value, SecretStr):
        return True
    return value is not None and not _SECRET_WORDS.isdisjoint(_WORD.findall(name.lower()))


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact(value)
    if is_secret(name, value):
        return _digest(value.get_secret_value() if isinstance(value, SecretStr) else str(value))
    return _USER_INFO.sub("***", value) if isinstance(value, str) else value


def _digest(secret: str) -> str:
    return "**********" + blake2b(secret.encode(), digest_size=4).hexdigest()
