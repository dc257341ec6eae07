"""How figures are written, the same in every form of the report."""

from __future__ import annotations

from router_integrations.evaluation.bootstrap import Interval
from router_integrations.evaluation.report import Calibration, Evaluation, Result

_UNKNOWN = "unknown"


def usd(value: float | None) -> str:
    """Return USD per 1,000 queries.

    >>> usd(0.0001234), usd(None)
    ('0.1234', 'unknown')
    """
    return _UNKNOWN if value is None or value != value else f"{value * 1000:,.4g}"


def grade(value: float | None) -> str:
    """Return a grade.

    >>> grade(0.51239)
    '0.512'
    """
    return _UNKNOWN if value is None or value != value else f"{value:.3f}"


def share(value: float) -> str:
    """Return a share.

    >>> share(0.1234)
    '12.3 %'
    """
    return f"{round(value * 100, 1) + 0.0:.1f} %"


def graded(interval: Interval) -> str:
    """Return a grade with its interval.

    >>> graded(Interval(value=0.5, low=0.4, high=0.6))
    '0.500 [0.400, 0.600]'
    """
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def differing(interval: Interval | None) -> str:
    """Return a difference with its interval, starred where 0 lies outside.

    >>> differing(Interval(value=0.1, low=0.05, high=0.2))
    '+0.100 [+0.050, +0.200] *'
    """
    if interval is None:
        return _UNKNOWN
    star = " *" if interval.excludes(0.0) else ""
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]{star}"


def costing(interval: Interval | None) -> str:
    """Return a cost per 1,000 queries with its interval.

    >>> costing(Interval(value=0.002, low=0.001, high=0.003))
    '2 [1, 3]'
    """
    return _UNKNOWN if interval is None else f"{usd(interval.value)} [{usd(interval.low)}, {usd(interval.high)}]"


def saving(interval: Interval | None) -> str:
    """Return a saved share with its interval.

    >>> saving(Interval(value=0.25, low=0.0, high=0.5))
    '25.0 % [0.0 %, 50.0 %]'
    """
    if interval is None:
        return _UNKNOWN
    return f"{share(interval.value)} [{share(interval.low)}, {share(interval.high)}]"


def strategies(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of the strategies and of what they are held against, its headings first."""
    extra = evaluation.baseline is not None
    names = ["", "quality", "USD per 1,000 queries", f"quality less {evaluation.best}"]
    names += [f"quality less {evaluation.baseline}"] if extra else []
    return [
        [*names, f"saved at the quality of {evaluation.best}"],
        *(_row(result, extra=extra) for result in evaluation.results),
        *([*_reference(name, quality, cost), *[""] * (2 + extra)] for name, quality, cost in _references(evaluation)),
    ]


def shares(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of the shares, its headings first."""
    names = [point.name for point in evaluation.singles]
    rows = [[one.name, *(share(one.shares[name]) for name in names)] for one in evaluation.results]
    return [["", *names], *rows]


def domains(result: Result, best: str) -> list[list[str]]:
    """Return the table of the domains of a strategy, its headings first."""
    rows = [
        [one.name or "(none)", f"{one.queries:,}", grade(one.quality), usd(one.cost), differing(one.difference)]
        for one in result.domains
    ]
    return [["domain", "queries", "quality", "USD per 1,000 queries", f"quality less {best}"], *rows]


def calibrations(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of the estimators' calibration, its headings first; empty where there is no estimator."""
    rows = [[one.name, *_calibration(one.calibration)] for one in evaluation.results if one.calibration is not None]
    return [["", "expected calibration error", "Brier score", "answers"], *rows] if rows else []


def _calibration(found: Calibration) -> list[str]:
    return [grade(found.ece), grade(found.brier), f"{sum(one.answers for one in found.bins):,}"]


def _row(result: Result, *, extra: bool) -> list[str]:
    cells = [result.name, graded(result.quality), costing(result.cost), differing(result.difference)]
    return [*cells, *([differing(result.to_baseline)] if extra else []), saving(result.saved)]


def _reference(name: str, quality: float, cost: float) -> list[str]:
    return [name, grade(quality), usd(cost)]


def _references(evaluation: Evaluation) -> list[tuple[str, float, float]]:
    titles = {evaluation.best: "best single", evaluation.cheapest: "cheapest"}
    if evaluation.best == evaluation.cheapest:
        titles[evaluation.best] = "best single and cheapest"
    named = {point.name: f"always {point.name}" for point in evaluation.singles}
    named |= {name: f"always {name} ({title})" for name, title in titles.items()}
    found = [(named[point.name], point.quality, point.cost) for point in evaluation.singles]
    others = [("random", evaluation.random), ("oracle", evaluation.oracle)]
    return [*found, *((name, point.quality, point.cost) for name, point in others)]
