"""What quality is worth, against money and time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from router_integrations.types import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Utility:
    """What quality is worth: ``min(quality + optimism·std, enough) - per_usd·cost - per_second·latency``.

    With the defaults every candidate whose expected quality reaches `enough` is worth the same, so the cheapest of
    them wins; when none reaches it, the best one does. `enough=1` with `per_usd` above 0 is the linear trade-off;
    `optimism` above 0 is UCB, below 0 risk aversion.

    Args:
        enough: Quality beyond which more is worth nothing, in [0, 1].
        per_usd: What one USD is worth in quality, at least 0 (1/USD).
        per_second: What one second is worth in quality, at least 0 (1/s).
        optimism: Weight of the standard deviation, any sign.

    Raises:
        ConfigurationError: A parameter is out of range.

    >>> from router_integrations.types import Estimate
    >>> Utility(enough=0.7)(Estimate(quality=0.9)), Utility(enough=1, per_usd=10)(Estimate(quality=0.9, cost=0.01))
    (0.7, 0.8)
    """

    enough: float = 0.7
    per_usd: float = 0.0
    per_second: float = 0.0
    optimism: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.enough <= 1:
            raise ConfigurationError(f"Utility.enough must be in [0, 1] but got {self.enough!r}; 0.7 is the default")
        for name in ("per_usd", "per_second"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigurationError(
                    f"Utility.{name} must be finite and at least 0 but got {value!r}; use 0 to ignore it"
                )
        if not math.isfinite(self.optimism):
            raise ConfigurationError(f"Utility.optimism must be finite but got {self.optimism!r}; use 0 to ignore it")

    def __call__(self, estimate: Estimate) -> float:
        """Return the worth of `estimate`; an unknown cost or latency that matters is worth minus infinity."""
        worth = min(estimate.quality + self.optimism * estimate.std, self.enough)
        for weight, amount in ((self.per_usd, estimate.cost), (self.per_second, estimate.latency)):
            if weight:
                worth -= math.inf if amount is None else weight * amount
        return worth
