"""Our provider errors, as LangChain's: middleware and retries that look for `ModelRateLimitError` find it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from router_integrations.errors import Family, ProviderError

# LangChain's class for each family of failures; it has none for an answer that breaks the schema, or is cut off.
MODEL_ERRORS: Mapping[Family, type[ModelError]] = {
    "timeout": ModelTimeoutError,
    "connection": ModelConnectionError,
    "rate_limit": ModelRateLimitError,
    "server": ModelAPIError,
    "malformed": ModelAPIError,
    "authentication": ModelAuthenticationError,
    "permission": ModelPermissionDeniedError,
    "not_found": ModelNotFoundError,
    "bad_request": ModelInvalidRequestError,
    "content_policy": ModelInvalidRequestError,
    "context_overflow": ContextOverflowError,
}


@lru_cache(maxsize=len(MODEL_ERRORS))
def _twin_class(family: Family) -> type[ProviderError]:
    theirs = MODEL_ERRORS[family]
    name = f"Provider{theirs.__name__.removeprefix('Model')}"
    return type(name, (ProviderError, theirs), {"__module__": __name__, "__doc__": theirs.__doc__})


def as_langchain_error(error: ProviderError) -> ProviderError:
    """Return `error` as an instance of LangChain's class for its family too, with all that it carries.

    A family that LangChain has no class for stays as it is.

    >>> busy = as_langchain_error(ProviderError("busy", family="rate_limit", retry_after=2.0))
    >>> isinstance(busy, ModelRateLimitError), busy.retry_after
    (True, 2.0)
    """
    if error.family not in MODEL_ERRORS or isinstance(error, ModelError):
        return error
    twin = _twin_class(error.family)(
        str(error), family=error.family, status_code=error.status_code, retry_after=error.retry_after
    )
    twin.trace = error.trace
    twin.__cause__ = error.__cause__
    return twin.with_traceback(error.__traceback__)


@contextmanager
def langchain_errors() -> Iterator[None]:
    """Raise every `ProviderError` of the block as LangChain's too."""
    try:
        yield
    except ProviderError as error:
        twin = as_langchain_error(error)
        raise twin from twin.__cause__
