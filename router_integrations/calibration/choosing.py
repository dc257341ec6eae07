"""Chooses the setting of a strategy on records that its estimator has not learnt from."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from router_integrations.calibration.targets import ErrorRate, QualityFloor, Target
from router_integrations.calibration.trials import Knob, Trials, Turn, best_trials
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Difficulty
from router_integrations.evaluation.bootstrap import Interval, bootstrap
from router_integrations.evaluation.bulk import Forecast
from router_integrations.evaluation.evaluating import forecast_table
from router_integrations.evaluation.replay import replay
from router_integrations.evaluation.tables import priced, subset
from router_integrations.learning import Learner, Record, Table
from router_integrations.strategies import Best
from router_integrations.types import Strategy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_integrations.testing.table import Outcome


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibrated:
    """A strategy at the setting chosen for it, and what it did with the queries it was chosen on.

    The intervals are 95 % ones over queries like these. The setting was chosen on the same queries, so expect a little
    less of new ones, and measure on a test table for a figure to report.

    Args:
        strategy: To give to a router.
        setting: The value of its knob.
        queries: How many it was chosen on.
        quality: Mean quality.
        cost: Mean USD a query; `None` where the cost of one is unknown.
        shares: Share of the queries that each candidate answered, by name.
    """

    strategy: Strategy
    setting: float
    queries: int
    quality: Interval
    cost: Interval | None
    shares: Mapping[str, Interval]


def calibrate(
    strategy: Best | Callable[[float], Strategy],
    table: Table,
    candidates: Sequence[Candidate | str],
    *,
    to: Target,
    knob: Knob | Sequence[float] = "enough",
    outcomes: Sequence[Mapping[str, Outcome | Sequence[Outcome]]] | None = None,
) -> Calibrated:
    """Return the strategy at the setting that reaches a target on the queries of a table.

    No query of the table may be one that the estimator has learnt from, the curves of a `CalibratedEstimator` included:
    there it knows the answer, every figure comes out too good, and `ErrorRate` guarantees nothing.
    `calibrate_by_folds` needs no second set of records. A `Best` predicts each query once, whatever
    the number of settings; any other strategy is replayed at each one.

    Args:
        strategy: A `Best`, or a function from a setting to a strategy.
        table: Held-out queries with grades and costs, as for `replay`.
        candidates: As for `replay`.
        to: `Budget`, `QualityFloor`, `StrongShare` or `ErrorRate`.
        knob: Which number of the utility of `Best` to choose: ``"enough"``, the threshold, or ``"per_usd"``, the price
            (give ``Utility(enough=1)`` for the linear trade-off). For a function, the settings to try, from the least
            careful of quality to the most.
        outcomes: As for `replay`; only for a function.

    Raises:
        ConfigurationError: No setting reaches the target, the table lacks something, or the knob does not fit.

    >>> from router_integrations import Request
    >>> from router_integrations.calibration import StrongShare
    >>> from router_integrations.estimators import Difficulty
    >>> pool = [Candidate("small", model=object(), strength=0.3, input_price=1e-7, output_price=4e-7),
    ...         Candidate("big", model=object(), strength=0.9, input_price=3e-6, output_price=1e-5)]
    >>> texts = ["What is the capital of France?", "Hi", "Who are you?", "Prove that pi is irrational, step by step."]
    >>> table = Table.of(Record(text=text, candidate=one.name, quality=1.0) for text in texts for one in pool)
    >>> found = calibrate(Best(estimator=Difficulty()), table, pool, to=StrongShare(share=0.25, of="big"))
    >>> found.shares["big"].value, found.strategy.decide(Request(text="Hello", candidates=tuple(pool))).candidate.name
    (0.25, 'small')
    """
    pool = as_candidates(candidates)
    table = priced(table, pool)
    if isinstance(strategy, Best):
        turn = Turn(best=strategy, knob=cast("Knob", knob))
        expected = forecast_table(strategy.estimator or Difficulty(), table, pool)
        return _chosen(best_trials(turn, expected, table, fixed=isinstance(to, ErrorRate)), turn, to)
    make = _function(strategy)
    trials = Trials(
        names=table.names,
        knobs=_settings(knob),
        quality=table.quality,
        run=lambda value: replay(make(value), table, pool, outcomes=outcomes),
    )
    return _chosen(trials, make, to)


def calibrate_by_folds(
    strategy: Best,
    records: Iterable[Record],
    candidates: Sequence[Candidate | str],
    *,
    to: Target,
    knob: Knob = "enough",
    folds: int = 5,
) -> Calibrated:
    """Return `strategy` with its estimator fitted on all records, and the setting chosen on the same ones.

    Each fold of the queries is predicted by an estimator that has learnt from the others only (cross-fitting). The
    estimator returned has learnt from a little more than those did; the guarantee of `ErrorRate` then holds about so.
    Queries without the grade of the candidate that the target compares with (`of`) are learnt from, and the setting is
    chosen on the others; how many they are is logged.

    Args:
        strategy: A `Best` over an estimator that learns; neither is changed.
        records: Graded attempts with their costs, and preferences, which all folds learn from but for their queries.
        candidates: As for `replay`.
        to: As for `calibrate`.
        knob: As for `calibrate`.
        folds: Parts of the queries, at least 2; more of them take longer and are closer to the estimator returned.

    Raises:
        ConfigurationError: The estimator learns nothing, there are fewer queries than folds, or as for `calibrate`.
    """
    given, pool, turn = tuple(records), as_candidates(candidates), Turn(best=strategy, knob=knob)
    learner = strategy.estimator
    if not isinstance(learner, Learner):
        raise ConfigurationError(
            f"calibrate_by_folds needs an estimator that learns but got {learner!r}; use calibrate"
        )
    queries = list(dict.fromkeys(record.query_id for record in given if record.over is None))
    table = priced(Table.of(given), pool)
    usable = _usable(table, to)
    if not 2 <= folds <= len(usable):
        raise ConfigurationError(
            f"folds must be in [2, {len(usable)}], the number of queries to choose on, but got {folds!r}"
        )
    order = np.random.default_rng(0).permutation(usable)
    parts = [np.sort(order[start::folds]) for start in range(folds)]
    expected = []
    for rows in parts:
        held = {queries[row] for row in rows}
        learnt = copy.copy(learner).fit(record for record in given if record.query_id not in held)
        expected.append(forecast_table(learnt, subset(table, rows=rows.tolist()), pool))
    asked = subset(table, rows=np.concatenate(parts).tolist())
    final = Best(estimator=copy.copy(learner).fit(given), utility=strategy.utility)
    return _chosen(
        best_trials(turn, _joined(expected), asked, fixed=isinstance(to, ErrorRate)), Turn(best=final, knob=knob), to
    )


def _usable(table: Table, to: Target) -> NDArray[np.intp]:
    """Return the rows of the queries that have the grade which the target compares with."""
    of = to.of if isinstance(to, QualityFloor | ErrorRate) else None
    if of is None or of not in table.names:
        return np.arange(len(table.texts))
    rows = np.flatnonzero(~np.isnan(table.quality[:, table.names.index(of)]))
    if missing := len(table.texts) - len(rows):
        _log.warning("queries without a grade of %r, left out of the choice: %d of %d", of, missing, len(table.texts))
    return rows


def _function(strategy: object) -> Callable[[float], Strategy]:
    if not callable(strategy):
        raise ConfigurationError(
            f"calibrate knows no knob of {strategy!r}; pass a function from a setting to the strategy"
        )
    return strategy


def _settings(knob: Knob | Sequence[float]) -> Sequence[float]:
    if isinstance(knob, str) or not len(knob):
        raise ConfigurationError(f"knob must be the settings to try for a function but got {knob!r}; for example [0.5]")
    return knob


def _chosen(trials: Trials, make: Callable[[float], Strategy], to: Target) -> Calibrated:
    setting = to.pick(trials)
    done = trials.run(setting)
    return Calibrated(
        strategy=make(setting),
        setting=setting,
        queries=len(done.quality),
        quality=_mean(done.quality),
        cost=None if np.isnan(done.cost).any() else _mean(done.cost),
        shares={name: _mean(done.chosen == column) for column, name in enumerate(done.names)},
    )


def _mean(values: NDArray[Any]) -> Interval:
    return bootstrap(lambda drawn: float(values[drawn].mean()), len(values))


def _joined(parts: Sequence[Forecast]) -> Forecast:
    return Forecast(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Forecast)}
    )
