"""Whether live confidences still look like those that thresholds were chosen on."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.trace import Trace
from router_integrations.types import Request

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far live confidences are from those of the calibration.

    Args:
        statistic: Largest distance between the two distribution functions (Kolmogorov-Smirnov), in [0, 1].
        p_value: Probability of so large a distance if nothing has changed.
        outside: Share of the live confidences below the least or above the greatest of the calibration.

    >>> Drift(statistic=0.4, p_value=0.001, outside=0.25).outside
    0.25
    """

    statistic: float
    p_value: float
    outside: float


def drift(reference: ArrayLike, live: ArrayLike) -> Drift:
    """Return how far `live` confidences are from those of the calibration, by the two-sample test.

    Args:
        reference: Confidences of the calibration, at least one.
        live: Confidences since, at least one.

    Raises:
        ConfigurationError: One of them is empty or not finite.

    >>> found = drift([0.5, 0.6, 0.7, 0.8, 0.9], [0.1, 0.2, 0.3, 0.5, 0.6])
    >>> round(found.statistic, 1), round(found.p_value, 3), found.outside
    (0.6, 0.357, 0.6)
    """
    from scipy.stats import ks_2samp

    old, new = _finite("reference", reference), _finite("live", live)
    # Not "auto", which warns and switches by itself where the exact one overflows.
    method = "exact" if len(old) * len(new) <= 10_000 else "asymp"
    test = ks_2samp(old, new, method=method)
    outside = ((new < old.min()) | (new > old.max())).mean()
    return Drift(statistic=float(test.statistic), p_value=float(test.pvalue), outside=float(outside))


class DriftMonitor:
    """Logs a warning when a candidate's live confidences no longer look like those of the calibration; for `on_trace`.

    Each candidate's confidences are gathered until a window is full, compared with `reference`, and gathered anew. The
    k-th comparison may take ``6 / (π·k)²`` of `false_alarm`, which sums to all of it, shared evenly by the candidates.
    So that is the probability that a warning is ever logged while nothing changes. A candidate is warned of once. Safe
    to share between threads.

    Args:
        reference: Confidences of the calibration, by name of the candidate; of one further down a cascade those on
            queries that get there.
        estimator: The one that gave them. It sees the attempts of the trace, and not the query.
        window: Answers of a candidate that are compared at once, at least 10.
        false_alarm: Probability of any false warning, in (0, 1).

    Raises:
        ConfigurationError: An option is out of range, or a candidate has no confidences.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.estimators import TokenConfidence
    >>> from router_integrations.types import Attempt, Call
    >>> monitor = DriftMonitor(reference={"small": np.linspace(0.6, 1.0, 50)}, estimator=TokenConfidence(), window=20)
    >>> unsure = Attempt(call=Call(candidate=Candidate("small", model=object())), logprobs=(-2.0,))
    >>> for _ in range(20):
    ...     monitor(Trace(attempts=(unsure,)))
    >>> monitor.drifted["small"].outside
    1.0
    """

    def __init__(
        self,
        *,
        reference: Mapping[str, ArrayLike],
        estimator: AnswerEstimator,
        window: int = 100,
        false_alarm: float = 0.01,
    ) -> None:
        if not reference:
            raise ConfigurationError("DriftMonitor.reference must have the confidences of a candidate but is empty")
        if not window >= 10:
            raise ConfigurationError(f"DriftMonitor.window must be at least 10 but got {window!r}; 100 is usual")
        if not 0 < false_alarm < 1:
            raise ConfigurationError(
                f"DriftMonitor.false_alarm must be in (0, 1) but got {false_alarm!r}; 0.01 is usual"
            )
        self.reference = {name: _finite(f"reference[{name!r}]", values) for name, values in reference.items()}
        self.estimator = estimator
        self.window = window
        self.false_alarm = false_alarm
        self._live: dict[str, deque[float]] = {name: deque() for name in reference}
        self._comparisons = dict.fromkeys(reference, 0)
        self._drifted: dict[str, Drift] = {}
        self._lock = threading.Lock()

    @property
    def drifted(self) -> Mapping[str, Drift]:
        """What was warned of, by name of the candidate."""
        with self._lock:
            return dict(self._drifted)

    def __call__(self, trace: Trace) -> None:
        """Take in the answers of a request."""
        candidates = {one.call.candidate.name: one.call.candidate for one in trace.attempts}
        for name in candidates.keys() & self.reference.keys():
            sure = self.estimator.confidence(Request(text=""), candidates[name], trace.attempts)
            if sure is not None and (full := self._gathered(name, sure)):
                self._compare(name, *full)

    def _gathered(self, name: str, sure: float) -> tuple[list[float], int] | None:
        """Return the full window and its number, once it is full."""
        with self._lock:
            live = self._live[name]
            live.append(sure)
            if len(live) < self.window:
                return None
            full = list(live)
            live.clear()
            self._comparisons[name] += 1
            return full, self._comparisons[name]

    def _compare(self, name: str, live: list[float], number: int) -> None:
        found = drift(self.reference[name], live)
        if found.p_value > 6 / (np.pi * number) ** 2 * self.false_alarm / len(self.reference):
            return
        with self._lock:
            if name in self._drifted:
                return
            self._drifted[name] = found
        _log.warning(
            "the confidences of %r have left the calibrated range: Kolmogorov-Smirnov distance %.2f over the last %d "
            "answers, %.0f %% outside of what was seen (p = %.2g); thresholds may no longer hold, calibrate again",
            name,
            found.statistic,
            self.window,
            100 * found.outside,
            found.p_value,
        )


def _finite(name: str, values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ConfigurationError(f"{name} must be a list of finite confidences, at least one, but got {values!r:.80}")
    return found
