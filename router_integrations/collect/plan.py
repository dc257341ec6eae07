"""How to ask, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from router_integrations.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far a collection has come; a unit is one sample of one candidate's answer to one prompt.

    Args:
        total: Units in all.
        done: Units with a record, those of earlier runs included.
        failed: Units that failed in this run; the next run tries them again.
        left: Units that were not begun, because the cap would not have held.
        spent: USD, earlier runs included, as far as prices are known.
        unpriced: Names of the candidates whose price is unknown.

    >>> Tally(total=4, done=3, failed=1).left
    0
    """

    total: int
    done: int = 0
    failed: int = 0
    left: int = 0
    spent: float = 0.0
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to ask.

    Args:
        samples: Answers of each candidate to each prompt, at least 1.
        concurrency: Units under way at once, at least 1.
        max_tokens: Longest answer of a LiteLLM candidate, in tokens; a candidate's own `params` win.
        on_progress: Called after each unit.

    Raises:
        ConfigurationError: A number is below 1.

    >>> Plan().concurrency
    8
    """

    samples: int = 1
    concurrency: int = 8
    max_tokens: int | None = None
    on_progress: Callable[[Tally], None] | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "concurrency", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"Plan.{name} must be at least 1 but got {value!r}")
