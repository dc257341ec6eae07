"""Every error this library raises.

::

    RouterError
    ├── ConfigurationError       a candidate, strategy or option is wrong (also a ValueError)
    ├── RequestError             the request is malformed (also a ValueError)
    │   └── NoEligibleCandidate  no candidate can take the request
    ├── StrategyError            a strategy returned nonsense or never stopped
    ├── LimitExceeded            the deadline or the spending cap ended the request
    ├── Abstained                the strategy chose to give no answer
    ├── AllCandidatesFailed      every candidate that was asked failed
    ├── StreamInterrupted        a stream broke after its first chunk
    ├── StorageError             a router cannot be saved, or a folder not loaded; its `problem` says why
    └── ProviderError            one call failed; its `family` says how

The demo adds `WeightsError` and `LocalServerError`, in `router_integrations.demo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from router_integrations.trace import Trace

Family = Literal[
    "timeout",
    "connection",
    "rate_limit",
    "server",
    "malformed",
    "authentication",
    "permission",
    "not_found",
    "bad_request",
    "context_overflow",
    "content_policy",
    "schema",
    "unsure",
    "cancelled",
]
FAMILIES: tuple[Family, ...] = get_args(Family)

Problem = Literal["missing", "foreign", "newer", "truncated", "tampered", "incomplete", "unsupported", "occupied"]

_RETRYABLE = frozenset({"timeout", "connection", "rate_limit", "server", "malformed"})
# A wrong key or a model that does not exist will not mend itself between two requests.
_COOLS_AT_ONCE = frozenset({"rate_limit", "authentication", "permission", "not_found"})


class RouterError(Exception):
    """Base of every error of this library; `trace` holds what was asked and paid until then."""

    trace: Trace | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Options are keyword-only, which the default would lose; workers of a cluster send errors back this way.
        return _remade, (type(self), self.args, dict(vars(self)))


class ConfigurationError(RouterError, ValueError):
    """A candidate, a strategy or an option is wrong; nothing has been called."""


class RequestError(RouterError, ValueError):
    """The request is malformed; nothing has been called."""


class NoEligibleCandidate(RequestError):
    """No candidate can take the request; the message names what each one lacks."""


class StrategyError(RouterError):
    """A strategy returned something else than calls or a stop, or never stopped."""


class LimitExceeded(RouterError):
    """The deadline or the spending cap ended the request before there was an answer."""


class Abstained(RouterError):
    """The strategy chose to give no answer."""


class AllCandidatesFailed(RouterError):
    """Every candidate that was asked failed; `__cause__` is the last failure."""


class StreamInterrupted(RouterError):
    """A stream broke after its first chunk; what was shown is not repeated by another candidate."""


class StorageError(RouterError):
    """A router cannot be saved, or a folder cannot be loaded; nothing was changed.

    Args:
        message: What is wrong, and what to do.
        problem: The folder is ``"missing"``; ``"foreign"``: not one of ours; ``"newer"``: saved by a later version;
            ``"truncated"``: cut short; ``"tampered"``: changed since; ``"incomplete"``: an own model or encoder must be
            passed; ``"unsupported"``: no folder can hold this; ``"occupied"``: something else is there.

    >>> StorageError("no such folder", problem="missing").problem
    'missing'
    """

    def __init__(self, message: str, *, problem: Problem) -> None:
        super().__init__(message)
        self.problem: Problem = problem


class ProviderError(RouterError):
    """One call to a candidate failed.

    Args:
        message: What happened, without secrets.
        family: The kind of failure, which decides what happens next.
        status_code: HTTP status; `None` when there was no response.
        retry_after: Seconds that the provider asks to wait; `None` when it does not say.

    >>> ProviderError("busy", family="rate_limit", status_code=429).retryable
    True
    """

    def __init__(
        self,
        message: str,
        *,
        family: Family,
        status_code: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.family: Family = family
        self.status_code = status_code
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed when it is made again."""
        return self.family in _RETRYABLE

    @property
    def cools(self) -> Literal["at once", "when repeated", "never"]:
        """Whether this failure takes the candidate out of service for a while."""
        if self.family in _COOLS_AT_ONCE:
            return "at once"
        return "when repeated" if self.retryable else "never"

    def summary(self) -> dict[str, Any]:
        """Return the failure in plain JSON values, for the trace."""
        return {"family": self.family, "status_code": self.status_code, "message": str(self)[:300]}


def _remade(kind: type[RouterError], args: tuple[Any, ...], attributes: dict[str, Any]) -> RouterError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error
