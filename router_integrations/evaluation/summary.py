"""What the replays of strategies amount to: intervals, domains, calibration, misroutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from router_integrations.evaluation.bootstrap import Interval, bootstrap, paired_bootstrap
from router_integrations.evaluation.curves import Curve, best_single, cheapest, oracle, singles, uniform
from router_integrations.evaluation.metrics import brier, ece, quality_neutral_cost
from router_integrations.evaluation.replay import Replay
from router_integrations.evaluation.report import Bin, Calibration, Domain, Evaluation, Misroute, Result
from router_integrations.learning import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BINS = 15
_WORST = 20


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run:
    """What a strategy did with the queries of a table.

    Args:
        replay: At its own setting.
        curve: At others; `None` where it has no knob.
        expected: Quality that its estimator expects, queries by candidates; `None` without an estimator.
    """

    replay: Replay
    curve: Curve | None
    expected: Floats | None

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the parts as one, their queries one after the other."""
        curves = [part.curve for part in parts if part.curve is not None]
        swept = [_joined(same) for same in zip(*(curve.replays for curve in curves), strict=True)]
        expected = [part.expected for part in parts if part.expected is not None]
        return cls(
            replay=_joined([part.replay for part in parts]),
            curve=Curve(knobs=curves[0].knobs, replays=tuple(swept)) if curves else None,
            expected=np.concatenate(expected) if expected else None,
        )


def summarise(runs: Mapping[str, Run], table: Table, *, baseline: str | None) -> Evaluation:
    """Return the evaluation of the runs of strategies over `table`, whose costs are filled up."""
    best = best_single(table).name
    to_baseline = None if baseline is None else _grades(baseline, runs, table)
    return Evaluation(
        queries=len(table.texts),
        results=tuple(_result(name, run, table, best, to_baseline) for name, run in runs.items()),
        singles=singles(table),
        best=best,
        cheapest=cheapest(table).name,
        baseline=baseline,
        random=uniform(table),
        oracle=oracle(table),
    )


def _joined(replays: Sequence[Replay]) -> Replay:
    return Replay(
        names=replays[0].names,
        chosen=np.concatenate([one.chosen for one in replays]),
        quality=np.concatenate([one.quality for one in replays]),
        cost=np.concatenate([one.cost for one in replays]),
        attempts=np.concatenate([one.attempts for one in replays]),
    )


def _grades(name: str, runs: Mapping[str, Run], table: Table) -> Floats:
    """The grades of a strategy or of a candidate; the strategy goes first where both have the name."""
    return runs[name].replay.quality if name in runs else table.quality[:, table.names.index(name)]


def _result(name: str, run: Run, table: Table, best: str, to_baseline: Floats | None) -> Result:
    done = run.replay
    column = table.names.index(best)
    known = ~np.isnan(table.quality[:, column])
    return Result(
        name=name,
        replay=done,
        quality=_mean(done.quality),
        cost=None if np.isnan(done.cost).any() else _mean(done.cost),
        difference=paired_bootstrap(done.quality[known], table.quality[known, column]),
        to_baseline=None if to_baseline is None else _difference(done.quality, to_baseline),
        saved=_saved(run, table, column),
        shares={one: done.share(one) for one in done.names},
        domains=_domains(done, table, column),
        curve=run.curve,
        calibration=None if run.expected is None else _calibration(run.expected, table),
        misroutes=_misroutes(run, table),
    )


def _mean(values: Floats) -> Interval:
    return bootstrap(lambda drawn: float(values[drawn].mean()), len(values))


def _difference(ours: Floats, theirs: Floats) -> Interval | None:
    known = ~np.isnan(theirs)
    return paired_bootstrap(ours[known], theirs[known]) if known.any() else None


def _saved(run: Run, table: Table, column: int) -> Interval | None:
    known = ~np.isnan(table.quality[:, column])
    settings = [run.replay, *(run.curve.replays if run.curve is not None else ())]
    cost = np.array([one.cost[known] for one in settings])
    quality = np.array([one.quality[known] for one in settings])
    target, reference = table.quality[known, column], table.cost[known, column]
    if np.isnan(cost).any() or np.isnan(reference).any() or not reference.sum() > 0:
        return None

    def share(drawn: NDArray[np.intp]) -> float:
        weight = np.bincount(drawn, minlength=len(target)) / len(drawn)
        # Sums in another order differ in their last bits.
        goal, paid = float(weight @ target) - 1e-12, float(weight @ reference)
        return 1.0 - quality_neutral_cost(cost @ weight, quality @ weight, target=goal, reference=paid)

    return bootstrap(share, len(target))


def _domains(done: Replay, table: Table, column: int) -> tuple[Domain, ...]:
    of = np.array(table.domains)
    names = sorted(set(table.domains))
    if names == [""]:
        return ()
    rows = [np.flatnonzero(of == name) for name in names]
    return tuple(
        Domain(
            name=name,
            queries=len(here),
            quality=float(done.quality[here].mean()),
            cost=_or_none(done.cost[here].mean()),
            difference=_difference(done.quality[here], table.quality[here, column]),
        )
        for name, here in zip(names, rows, strict=True)
    )


def _calibration(expected: Floats, table: Table) -> Calibration:
    known = ~np.isnan(table.quality)
    confidence, grades = expected[known], table.quality[known]
    where = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    members = [where == number for number in range(_BINS)]
    return Calibration(
        ece=ece(confidence, grades, bins=_BINS),
        brier=brier(confidence, grades),
        bins=tuple(
            Bin(expected=float(confidence[here].mean()), measured=float(grades[here].mean()), answers=int(here.sum()))
            for here in members
            if here.any()
        ),
    )


def _misroutes(run: Run, table: Table) -> tuple[Misroute, ...]:
    done = run.replay
    grade = np.where(np.isnan(table.quality), -np.inf, table.quality)
    regret = grade.max(axis=1) - done.quality
    paid = np.where(np.isnan(done.cost), np.inf, done.cost)
    order = np.lexsort((-paid, -regret))[:_WORST]
    return tuple(_misroute(run, table, int(row)) for row in order if regret[row] > 0)


def _misroute(run: Run, table: Table, row: int) -> Misroute:
    done, grades = run.replay, table.quality[row]
    cost = np.where(np.isnan(table.cost[row]), np.inf, table.cost[row])
    best = int(np.lexsort((cost, -np.where(np.isnan(grades), -np.inf, grades)))[0])
    chosen = int(done.chosen[row])
    expected = None if run.expected is None else run.expected[row]
    return Misroute(
        text=table.texts[row],
        domain=table.domains[row],
        chosen=None if chosen < 0 else table.names[chosen],
        quality=float(done.quality[row]),
        cost=_or_none(done.cost[row]),
        best=table.names[best],
        best_quality=float(grades[best]),
        best_cost=_or_none(table.cost[row, best]),
        expected=None if expected is None or chosen < 0 else float(expected[chosen]),
        best_expected=None if expected is None else float(expected[best]),
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
