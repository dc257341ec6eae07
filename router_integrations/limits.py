"""How far one request may go."""

from __future__ import annotations

from dataclasses import dataclass

from router_integrations.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far one request may go.

    Args:
        max_calls: Calls at most, retries included; at least 1.
        deadline: Seconds for the whole request; `None` is no limit.
        budget: USD for the whole request; `None` is no limit.

    Raises:
        ConfigurationError: A limit is not above 0.

    >>> Limits(deadline=30).max_calls
    32
    """

    max_calls: int = 32
    deadline: float | None = None
    budget: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_calls", "deadline", "budget"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"Limits.{name} must be above 0 but got {value!r}; leave it out for none")
