"""What a USD is worth right now, so that a stream of requests costs what it may: a price that follows the spending."""

from __future__ import annotations

import math

from router_integrations.errors import ConfigurationError
from router_integrations.locking import Locked

# Part of ``1 / budget_per_request`` by which a request of twice the budget raises the price, when no rate is given.
_USUAL_STEP = 0.05


class Pacer(Locked):
    """Holds the mean cost of a request near a budget: after each request the price moves by how far off it was.

    The price, in quality per USD, becomes ``max(0, price + rate · (cost - budget_per_request))``: the online dual
    price of PORT and the pacer of ParetoBandit (arXiv 2604.00136). It reaches strategies as `Snapshot.price`, and
    `Best` adds it to its utility's `per_usd`; give `Best` ``Utility(enough=1)`` to let the price alone trade quality
    for cost. Over `n` requests the mean cost exceeds the budget by at most ``(last price - first price) / (rate · n)``.

    A request counts when it has ended, whether answered, failed or left, with all that was paid for it; one of unknown
    cost does not count. Safe to share between threads, event loops and routers. A router saves the options only: the
    loaded one begins with `price` again.

    Args:
        budget_per_request: USD that a request may cost on average, above 0.
        rate: How fast the price follows, above 0 (1/USD²); by default ``0.05 / budget_per_request²``, with which a
            request of twice the budget raises the price by ``0.05 / budget_per_request``.
        price: What it begins with, at least 0 (1/USD); `calibration.dual_price` learns one from records.

    Raises:
        ConfigurationError: An option is out of range.

    >>> pacer = Pacer(budget_per_request=0.25, rate=8.0)
    >>> pacer.record(0.75)
    >>> pacer.current()
    4.0
    >>> pacer.record(0.0)
    >>> pacer.current()
    2.0
    """

    def __init__(self, *, budget_per_request: float, rate: float | None = None, price: float = 0.0) -> None:
        for name, value in (("budget_per_request", budget_per_request), ("rate", rate)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigurationError(f"Pacer.{name} must be finite and above 0 but got {value!r}")
        if not (price >= 0 and math.isfinite(price)):
            raise ConfigurationError(
                f"Pacer.price must be finite and at least 0 but got {price!r}; 0 is the usual start"
            )
        self.budget_per_request = budget_per_request
        self.rate = rate
        self.price = price
        self._step = _USUAL_STEP / budget_per_request**2 if rate is None else rate
        self._current = price
        super().__init__()

    def current(self) -> float:
        """Return what one USD is worth now, in quality (1/USD)."""
        return self._current

    def record(self, cost: float | None) -> None:
        """Note that a request has ended.

        Args:
            cost: USD of all its attempts; `None` is unknown and changes nothing.
        """
        if cost is None:
            return
        with self._lock:
            self._current = max(0.0, self._current + self._step * (cost - self.budget_per_request))
