"""A strategy at each setting of its knob, over the queries of a table: what settings are chosen from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from router_integrations.errors import ConfigurationError
from router_integrations.evaluation.bulk import Forecast
from router_integrations.evaluation.replay import Replay, at_once
from router_integrations.learning import Table
from router_integrations.strategies import Best
from router_integrations.types import Utility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Knob = Literal["enough", "per_usd"]
# Settings tried at most; where the choices change more often, the changes are thinned out by quantiles.
_SETTINGS = 1000
# Prices computed at most, to take those settings from.
_PRICES = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A `Best`, and which number of its utility is chosen.

    >>> Turn(best=Best(), knob="enough")(0.9).utility.enough
    0.9

    Raises:
        ConfigurationError: The strategy is a subclass with ways of its own, or there is no such number.
    """

    best: Best
    knob: Knob

    def __post_init__(self) -> None:
        if type(self.best) is not Best:
            raise ConfigurationError(
                f"calibrate knows no knob of {type(self.best).__name__}; pass a function from a setting to the strategy"
            )
        if self.knob not in ("enough", "per_usd"):
            raise ConfigurationError(f"knob must be 'enough' or 'per_usd' for Best but got {self.knob!r}")

    def utility(self, value: float) -> Utility:
        """Return the utility with the number set."""
        changed = {"enough": value} if self.knob == "enough" else {"per_usd": value}
        return replace(self.best.utility or Utility(), **changed)

    def __call__(self, value: float) -> Best:
        """Return the strategy with the number set."""
        return Best(estimator=self.best.estimator, utility=self.utility(value))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trials:
    """What a strategy does with the queries of a table at each setting of a knob.

    Args:
        names: The candidates.
        knobs: The settings, from the least careful of quality to the most.
        quality: Grades of the candidates, queries by candidates; NaN is unknown.
        run: Returns what the strategy does at one setting.
    """

    names: tuple[str, ...]
    knobs: Sequence[float]
    quality: Floats
    run: Callable[[float], Replay]

    def grades_of(self, name: str) -> Floats:
        """Return the grades of the candidate called `name` on every query.

        Raises:
            ConfigurationError: There is no such candidate, or a query without its grade.
        """
        if name not in self.names:
            raise ConfigurationError(f"of={name!r} is none of the candidates {list(self.names)}; name one of them")
        grades: Floats = self.quality[:, self.names.index(name)]
        if missing := int(np.isnan(grades).sum()):
            raise ConfigurationError(f"{missing} queries have no grade of {name!r}; leave them out of the table")
        return grades


def best_trials(turn: Turn, expected: Forecast, table: Table, *, fixed: bool) -> Trials:
    """Return the trials of a `Best` with what its estimator expects; no setting costs another prediction.

    Args:
        turn: The strategy and which number of its utility is turned.
        expected: What the estimator expects of the queries.
        table: Their grades and costs, with the candidates' columns.
        fixed: Whether the settings are a grid that does not depend on the queries.

    Raises:
        ConfigurationError: There is no such grid of prices.
    """
    if not fixed:
        knobs = (_levels if turn.knob == "enough" else _prices)(turn.utility(1.0), expected)
    elif turn.knob == "enough":
        knobs = np.linspace(0.0, 1.0, _SETTINGS + 1)
    else:
        raise ConfigurationError(f"ErrorRate chooses a threshold, knob='enough', but got {turn.knob!r}")
    return Trials(
        names=table.names,
        knobs=[float(value) for value in knobs],
        quality=table.quality,
        run=lambda value: at_once(turn.utility(value), expected, table),
    )


def _levels(utility: Utility, expected: Forecast) -> Floats:
    """The thresholds between which choices change, rising: a candidate is good enough up to what is expected of it."""
    levels = (expected.quality + utility.optimism * expected.std)[expected.allowed]
    return np.unique(np.concatenate([[0.0], _thinned(np.clip(levels, 0.0, 1.0)), [1.0]]))


def _prices(utility: Utility, expected: Forecast) -> Floats:
    """Prices between those at which a query changes its candidate, falling to 0."""
    worth = np.minimum(expected.quality + utility.optimism * expected.std, utility.enough)
    if utility.per_second:
        worth = worth - utility.per_second * expected.latency
    worth = np.where(expected.allowed, worth, np.nan)
    step = max(1, worth.size * worth.shape[1] // _PRICES)
    first, second = np.triu_indices(worth.shape[1], k=1)
    gained, paid = ((each[::step, first] - each[::step, second]).ravel() for each in (worth, expected.cost))
    known = np.isfinite(gained) & np.isfinite(paid) & (gained * paid > 0)
    turns = _thinned(gained[known] / paid[known])
    if not turns.size:
        return np.zeros(1)
    between = (turns[1:] + turns[:-1]) / 2
    return np.concatenate([[0.0, turns[0] / 2], between, [2 * turns[-1]]])[::-1]


def _thinned(values: Floats) -> Floats:
    distinct = np.unique(values)
    if len(distinct) <= _SETTINGS:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, _SETTINGS), method="nearest"))
