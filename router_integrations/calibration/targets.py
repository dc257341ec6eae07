"""What a setting is chosen for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from router_integrations.calibration.trials import Trials
from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Means that differ by less, relatively, differ by rounding.
_ROUNDING = 1e-9


class Target(Protocol):
    """What a setting is chosen for."""

    def pick(self, trials: Trials) -> float:
        """Return the setting, one of ``trials.knobs``.

        Raises:
            ConfigurationError: No setting will do.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The best mean quality that costs at most so much; of equals the cheapest.

    Args:
        usd: Mean USD a query, above 0.

    Raises:
        ConfigurationError: `usd` is not above 0.

    >>> Budget(usd=0.001).usd
    0.001
    """

    usd: float

    def __post_init__(self) -> None:
        if not (self.usd > 0 and math.isfinite(self.usd)):
            raise ConfigurationError(f"Budget.usd must be above 0 but got {self.usd!r}")

    def pick(self, trials: Trials) -> float:
        """Return the best setting within the budget."""
        cost, quality = _known_costs(trials)
        fits = cost <= self.usd * (1 + _ROUNDING)
        if not fits.any():
            raise ConfigurationError(
                f"no setting costs at most {self.usd!r} USD a query; the cheapest costs {cost.min():.3g}; "
                "raise Budget.usd or add a cheaper candidate"
            )
        return _first(trials, fits, -quality, cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFloor:
    """The cheapest mean quality that is at least so much of a candidate's; of equals the best.

    Args:
        share: Part of that candidate's mean quality, above 0; 0.95 is usual.
        of: Name of the candidate.

    Raises:
        ConfigurationError: `share` is not above 0.

    >>> QualityFloor(share=0.95, of="big").of
    'big'
    """

    share: float
    of: str

    def __post_init__(self) -> None:
        if not (self.share > 0 and math.isfinite(self.share)):
            raise ConfigurationError(f"QualityFloor.share must be above 0 but got {self.share!r}; 0.95 is usual")

    def pick(self, trials: Trials) -> float:
        """Return the cheapest setting that is good enough."""
        floor = self.share * float(trials.grades_of(self.of).mean())
        cost, quality = _known_costs(trials)
        fits = quality >= floor * (1 - _ROUNDING)
        if not fits.any():
            raise ConfigurationError(
                f"no setting has {self.share!r} of the quality of {self.of!r}, {floor:.3f}; the best has "
                f"{quality.max():.3f}; lower QualityFloor.share or use a better estimator"
            )
        return _first(trials, fits, cost, -quality)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongShare:
    """The largest share of queries for a candidate that is at most so much; of equals the best.

    With two candidates it is RouteLLM's rule: the threshold is a quantile of the scores.

    Args:
        share: Share of the queries, in [0, 1].
        of: Name of the candidate.

    Raises:
        ConfigurationError: `share` is out of range.

    >>> StrongShare(share=0.3, of="big").share
    0.3
    """

    share: float
    of: str

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigurationError(f"StrongShare.share must be in [0, 1] but got {self.share!r}")

    def pick(self, trials: Trials) -> float:
        """Return the setting that asks the candidate as often as it may."""
        if self.of not in trials.names:
            raise ConfigurationError(f"of={self.of!r} is none of the candidates {list(trials.names)}; name one of them")
        runs = [trials.run(knob) for knob in trials.knobs]
        shares = np.array([run.share(self.of) for run in runs])
        fits = shares <= self.share + _ROUNDING
        if not fits.any():
            raise ConfigurationError(
                f"every setting asks {self.of!r} for more than {self.share!r} of the queries; the least is "
                f"{shares.min():.3f}; raise StrongShare.share or add a candidate that is cheaper"
            )
        return _first(trials, fits, -shares, -np.array([run.mean_quality for run in runs]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """The least careful setting whose expected error on a new query is at most so much: conformal risk control.

    Error is ``1 - quality``, or what a candidate would have done better, ``max(its quality - quality, 0)``. On average
    over calibration tables and new queries drawn alike the error stays below `at_most`, whatever the estimator is
    worth: of `n` queries the sum of errors, plus one for the query to come, must be at most ``at_most · (n + 1)``. The
    proof wants an error that falls with care, so a query counts with its worst error at this or any more careful
    setting. With plain error that is strict: who is wrong at the most careful setting is wrong at all of them; `of` the
    strongest candidate it costs next to nothing.

    Angelopoulos et al., "Conformal Risk Control" (arXiv 2208.02814).

    Args:
        at_most: Expected error, in (0, 1).
        of: Name of the candidate that errors are counted against; none counts every error.

    Raises:
        ConfigurationError: `at_most` is out of range.

    >>> ErrorRate(at_most=0.1, of="big").at_most
    0.1
    """

    at_most: float
    of: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.at_most < 1:
            raise ConfigurationError(f"ErrorRate.at_most must be in (0, 1) but got {self.at_most!r}; 0.1 is usual")

    def pick(self, trials: Trials) -> float:
        """Return the last setting, going from the most careful down, that keeps the bound."""
        wanted = np.ones(len(trials.quality)) if self.of is None else trials.grades_of(self.of)
        worst = np.zeros(len(wanted))
        found: float | None = None
        for knob in reversed(trials.knobs):
            worst = np.maximum(worst, wanted - trials.run(knob).quality)
            bound = (float(worst.sum()) + 1.0) / (len(worst) + 1)
            if bound > self.at_most:
                break
            found = knob
        if found is None:
            raise ConfigurationError(
                f"no threshold keeps the expected error at most {self.at_most!r}: with {len(worst)} queries the most "
                f"careful one guarantees {bound:.3f}, and none can less than {1 / (len(worst) + 1):.3f}; raise "
                "ErrorRate.at_most, give more queries, or count errors against a candidate (of=)"
            )
        return found


def _known_costs(trials: Trials) -> tuple[Floats, Floats]:
    """Return mean cost and mean quality at each setting."""
    runs = [trials.run(knob) for knob in trials.knobs]
    cost = np.array([run.mean_cost for run in runs])
    if np.isnan(cost).any():
        raise ConfigurationError("a query's cost is unknown; give each record its cost, or each candidate its prices")
    return cost, np.array([run.mean_quality for run in runs])


def _first(trials: Trials, fits: NDArray[np.bool_], first: Floats, second: Floats) -> float:
    """Return the setting that fits with the least `first`, then the least `second`."""
    at = np.flatnonzero(fits)
    return trials.knobs[int(at[np.lexsort((second[at], first[at]))[0]])]
