"""Which candidates rest after failing: a circuit breaker, shared by all requests of a router."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.locking import Locked


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    trips: int = 0
    open_until: float = 0.0
    trial: bool = False


class Health(Locked):
    """Keeps failing candidates out of service for a while, then lets one trial call through (half-open).

    Safe to share between threads and event loops.

    Args:
        threshold: Failures in a row that open the circuit, at least 1.
        cooldown: Seconds of the first rest; each rest that follows a failed trial is twice as long.
        max_cooldown: Seconds of the longest rest.
        clock: Seconds that only ever grow; for tests.

    Raises:
        ConfigurationError: A parameter is out of range.

    >>> now = 0.0
    >>> health = Health(threshold=1, cooldown=10, clock=lambda: now)
    >>> health.record("big", ProviderError("down", family="server"))
    >>> health.cooling()
    frozenset({'big'})
    >>> now = 11.0
    >>> health.cooling()
    frozenset()
    """

    def __init__(
        self,
        *,
        threshold: int = 3,
        cooldown: float = 10.0,
        max_cooldown: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threshold = threshold
        self.cooldown = cooldown
        self.max_cooldown = max_cooldown
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}
        super().__init__()
        for name, least in (("threshold", 1), ("cooldown", 0), ("max_cooldown", 0)):
            value = getattr(self, name)
            if not value >= least:
                raise ConfigurationError(f"Health.{name} must be at least {least} but got {value!r}")

    def cooling(self) -> frozenset[str]:
        """Return the names of the candidates that rest now, or whose trial call is under way."""
        if not self._circuits:
            return frozenset()
        now = self._clock()
        with self._lock:
            return frozenset(
                name for name, circuit in self._circuits.items() if circuit.open_until > now or circuit.trial
            )

    def begin(self, name: str) -> None:
        """Note that `name` is being called; the first call after a rest is the trial."""
        if not self._circuits:
            return
        with self._lock:
            circuit = self._circuits.get(name)
            if circuit is not None and circuit.trips and circuit.open_until <= self._clock():
                circuit.trial = True

    def release(self, name: str) -> None:
        """Note that a call to `name` ended without a verdict: its consumer went away."""
        if not self._circuits:
            return
        with self._lock:
            if name in self._circuits:
                self._circuits[name].trial = False

    def record(self, name: str, error: ProviderError | None) -> None:
        """Note how a call to `name` ended; a success closes its circuit, and so does a fault of the request."""
        if error is None or error.cools == "never":
            if self._circuits:
                with self._lock:
                    self._circuits.pop(name, None)
            return
        with self._lock:
            circuit = self._circuits.setdefault(name, _Circuit())
            circuit.failures += 1
            now = self._clock()
            if circuit.open_until > now:
                # Sent before the rest began: only a longer wait asked for is news.
                circuit.open_until = max(circuit.open_until, now + min(error.retry_after or 0.0, self.max_cooldown))
                return
            if circuit.trial or error.cools == "at once" or circuit.failures >= self.threshold:
                circuit.open_until = now + self._rest(circuit, error)
                circuit.trips += 1
            circuit.trial = False

    def _rest(self, circuit: _Circuit, error: ProviderError) -> float:
        if error.retry_after is not None:
            return min(error.retry_after, self.max_cooldown)
        doublings = min(circuit.trips, 20)
        return min(self.cooldown * 2.0**doublings, self.max_cooldown)
