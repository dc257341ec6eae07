"""When a draft that streams may be shown: its first tokens are sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.uncertainty import mean_probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Lets an answer through by the confidence in its first tokens, which is that of `TokenConfidence`.

    Args:
        window: How many tokens are looked at, and held back until then; at least 1.
        above: Confidence that they must exceed, in [0, 1].

    Raises:
        ConfigurationError: An option is out of range.

    >>> gate = Gate(window=2, above=0.7)
    >>> gate.opens([-0.1]), gate.opens([-0.1, -0.2, -9.0]), gate.opens([-0.1, -2.0])
    (None, True, False)
    """

    window: int = 20
    above: float = 0.7

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigurationError(f"Gate.window must be at least 1 token but got {self.window!r}; 20 is usual")
        if not 0 <= self.above <= 1:
            raise ConfigurationError(f"Gate.above must be in [0, 1] but got {self.above!r}; 0.7 is usual")

    def opens(self, logprobs: Sequence[float]) -> bool | None:
        """Return whether an answer with these log-probabilities passes; `None` while they do not fill the window."""
        sure = self.confidence(logprobs)
        return None if sure is None else sure > self.above

    def confidence(self, logprobs: Sequence[float]) -> float | None:
        """Return the confidence in the first tokens, in [0, 1]; `None` while they do not fill the window."""
        return mean_probability(logprobs[: self.window]) if len(logprobs) >= self.window else None
