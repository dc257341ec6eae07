"""From a table and named strategies to an `Evaluation`, on held-out queries or across folds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.candidates import Candidate, as_candidates
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Difficulty
from router_integrations.evaluation.bulk import CHUNK, Forecast, forecast
from router_integrations.evaluation.curves import Curve, prices, singles
from router_integrations.evaluation.replay import at_once, replay, request_of
from router_integrations.evaluation.report import Evaluation
from router_integrations.evaluation.summary import Run, summarise
from router_integrations.evaluation.tables import priced, subset
from router_integrations.learning import Learner, Record, Table
from router_integrations.strategies import Best
from router_integrations.types import Estimator, Strategy, Utility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_integrations.testing.table import Outcome

    Floats = NDArray[np.float64]
    Rows = Sequence[Mapping[str, Outcome | Sequence[Outcome]]]
    Progress = Callable[[int, int], None]

# Steps of the progress that large tables are cut into.
_STEPS = 20
# Prices of quality that a `Best` is swept over.
_SETTINGS = 41


def evaluate(
    strategies: Mapping[str, Strategy],
    table: Table,
    candidates: Sequence[Candidate | str],
    *,
    baseline: str | None = None,
    outcomes: Rows | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Return how good and how dear each strategy is on the queries of `table`, which none of them has learnt from.

    A `Best` is also swept over its price of quality. Where the best single candidate lacks grades, it is compared on
    the queries on which it has some.

    Args:
        strategies: By the names to show.
        table: As for `replay`.
        candidates: As for `replay`.
        baseline: A candidate or one of the strategies to compare with, beside the best single candidate.
        outcomes: As for `replay`.
        progress: Called with the steps done and the steps in all.

    Raises:
        ConfigurationError: There is no strategy, or nobody is called as `baseline` says; else as for `replay`.

    >>> from router_integrations import Fixed
    >>> rows = [("2 + 2?", "small", 1.0, 1.0), ("2 + 2?", "big", 1.0, 4.0), ("2 ^ 70?", "small", 0.0, 1.0),
    ...         ("2 ^ 70?", "big", 1.0, 4.0)]
    >>> table = Table.of(Record(text=text, candidate=name, quality=grade, cost=usd) for text, name, grade, usd in rows)
    >>> pool = [Candidate("small", model=object()), Candidate("big", model=object())]
    >>> found = evaluate({"always small": Fixed()}, table, pool)
    >>> found.best, found.results[0].quality.value, found.results[0].misroutes[0].text
    ('big', 0.5, '2 ^ 70?')
    """
    pool = as_candidates(candidates)
    _check(strategies, pool, baseline)
    table = priced(table, pool)
    knobs = _knobs(table)
    size = max(CHUNK, math.ceil(len(table.texts) / _STEPS))
    starts = range(0, len(table.texts), size)
    runs: dict[str, list[Run]] = {name: [] for name in strategies}
    for step, (start, name) in enumerate((start, name) for start in starts for name in strategies):
        rows = range(start, min(start + size, len(table.texts)))
        part = None if outcomes is None else outcomes[rows.start : rows.stop]
        runs[name].append(_run(strategies[name], knobs, subset(table, rows=rows), pool, part))
        if progress is not None:
            progress(step + 1, len(starts) * len(strategies))
    return summarise({name: Run.joined(parts) for name, parts in runs.items()}, table, baseline=baseline)


def cross_evaluate(
    strategies: Mapping[str, Strategy],
    records: Iterable[Record],
    candidates: Sequence[Candidate | str],
    *,
    baseline: str | None = None,
    folds: int = 5,
    progress: Progress | None = None,
) -> Evaluation:
    """Return how each strategy does on queries held out from its estimator, every query once.

    The queries are cut into folds by their text, so that equal prompts stand on one side. Each strategy's `estimator`
    is fitted anew on all records but those of a fold, and decides the queries of the fold; one that does not learn is
    taken as it is. Afterwards an estimator knows all records but those of the last fold.

    Args:
        strategies: By the names to show.
        records: What to learn from and to test on; preferences are only learnt from.
        candidates: As for `replay`.
        baseline: As for `evaluate`.
        folds: Number of folds, at least 2.
        progress: Called with the steps done and the steps in all.

    Raises:
        ConfigurationError: There are fewer than two folds or no query in one of them; else as for `evaluate`.

    >>> from router_integrations.estimators import Neighbors
    >>> records = [Record(text=f"query {n}", candidate=name, quality=grade, cost=usd, output_tokens=10)
    ...            for n in range(20) for name, grade, usd in [("small", 0.5, 1.0), ("big", 1.0, 2.0)]]
    >>> pool = [Candidate(name, model=object(), input_price=0.0, output_price=usd / 10)
    ...         for name, usd in [("small", 1.0), ("big", 2.0)]]
    >>> found = cross_evaluate({"kNN": Best(estimator=Neighbors(k=3))}, records, pool, folds=2)
    >>> found.queries, found.results[0].quality.value
    (20, 1.0)
    """
    pool, given = as_candidates(candidates), list(records)
    _check(strategies, pool, baseline)
    table = priced(with_grades(Table.of(given), pool), pool)
    fold_of = np.array([_fold(text, folds) for text in table.texts])
    rows = [np.flatnonzero(fold_of == fold) for fold in range(folds)]
    if folds < 2 or not all(part.size for part in rows):
        raise ConfigurationError(
            f"folds must be at least 2 and leave queries for each, but got {folds!r} for {len(table.texts)} queries"
        )
    knobs = _knobs(table)
    runs: dict[str, list[Run]] = {name: [] for name in strategies}
    for step, (fold, name) in enumerate((fold, name) for fold in range(folds) for name in strategies):
        learner = getattr(strategies[name], "estimator", None)
        if isinstance(learner, Learner):
            learner.fit(record for record in given if _fold(record.text, folds) != fold)
        runs[name].append(_run(strategies[name], knobs, subset(table, rows=rows[fold].tolist()), pool, None))
        if progress is not None:
            progress(step + 1, folds * len(strategies))
    joined = {name: Run.joined(parts) for name, parts in runs.items()}
    return summarise(joined, subset(table, rows=np.concatenate(rows).tolist()), baseline=baseline)


def with_grades(table: Table, candidates: Sequence[Candidate]) -> Table:
    """Return the candidates' columns of a table, and the queries on which at least one of them has a grade.

    Raises:
        ConfigurationError: The table lacks a candidate, or there is no such query.

    >>> table = Table.of([Record(text="a", candidate="m", quality=1.0), Record(text="b", candidate="n", quality=1.0)])
    >>> with_grades(table, [Candidate("n", model=object())]).texts
    ('b',)
    """
    table = subset(table, names=[candidate.name for candidate in candidates])
    rows = np.flatnonzero(~np.isnan(table.quality).all(axis=1))
    if not rows.size:
        raise ConfigurationError(f"there is no query with a grade of one of {list(table.names)}; give graded attempts")
    return subset(table, rows=rows.tolist())


def forecast_table(estimator: Estimator, table: Table, candidates: Sequence[Candidate]) -> Forecast:
    """Return what `estimator` expects of the queries of `table`, which has the candidates' columns.

    >>> table = Table.of([Record(text="hi", candidate="m", quality=1.0)])
    >>> forecast_table(Difficulty(), table, [Candidate("m", model=object(), strength=0.5)]).allowed.tolist()
    [[True]]
    """
    requests = [request_of(table, row, candidates) for row in range(len(table.texts))]
    return forecast(estimator, requests, candidates)


def _check(named: Mapping[str, object], pool: Sequence[Candidate], baseline: str | None) -> None:
    if not named:
        raise ConfigurationError("there is nothing to evaluate; give at least one by name")
    known = [*(candidate.name for candidate in pool), *named]
    if baseline is not None and baseline not in known:
        raise ConfigurationError(f"baseline must be one of {known} but got {baseline!r}")


def _fold(text: str, folds: int) -> int:
    normal = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(normal, digest_size=8).digest()) % max(folds, 1)


def _knobs(table: Table) -> list[float]:
    """The prices to sweep over; none where all cost the same."""
    costs = {point.cost for point in singles(table) if not np.isnan(point.cost)}
    return prices(table, points=_SETTINGS) if len(costs) > 1 else []


def _run(
    strategy: Strategy, knobs: Sequence[float], table: Table, candidates: Sequence[Candidate], outcomes: Rows | None
) -> Run:
    done = replay(strategy, table, candidates, outcomes=outcomes)
    estimator = _estimator(strategy)
    if estimator is None:
        return Run(replay=done, curve=None, expected=None)
    expected = forecast_table(estimator, table, candidates)
    curve = None
    if knobs and type(strategy) is Best and outcomes is None:
        own = strategy.utility or Utility()
        settings = [Utility(enough=1, per_usd=price, optimism=own.optimism) for price in knobs]
        curve = Curve(knobs=tuple(knobs), replays=tuple(at_once(one, expected, table) for one in settings))
    return Run(replay=done, curve=curve, expected=expected.quality)


def _estimator(strategy: Strategy) -> Estimator | None:
    estimator = getattr(strategy, "estimator", None)
    if estimator is None and type(strategy) is Best:
        return Difficulty()
    return estimator if isinstance(estimator, Estimator) else None
