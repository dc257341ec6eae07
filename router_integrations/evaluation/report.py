"""What an evaluation found, and the forms to show it in: a page, Markdown, figures, plain values, MLflow."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_integrations.evaluation.bootstrap import Interval
from router_integrations.evaluation.curves import Curve, Point
from router_integrations.evaluation.replay import Replay

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """How a strategy did on the queries of one domain.

    Args:
        name: The domain; empty text where the records name none.
        queries: How many there are.
        quality: Mean grade.
        cost: Mean USD a query; `None` is unknown.
        difference: Quality above that of the best single candidate; `None` where that one has no grade.
    """

    name: str
    queries: int
    quality: float
    cost: float | None
    difference: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers of which an estimator expected about the same quality.

    Args:
        expected: Mean expected quality.
        measured: Mean grade.
        answers: How many there are.
    """

    expected: float
    measured: float
    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far the quality that an estimator expects is from the grades, over all graded answers.

    Args:
        ece: Expected calibration error, over 15 bins of equal width.
        brier: Mean squared difference.
        bins: The bins that are not empty, by rising expectation.
    """

    ece: float
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misroute:
    """A query that another candidate would have answered better.

    Args:
        text: The prompt.
        domain: What it is about; empty text where unknown.
        chosen: Who answered; `None` where nobody did.
        quality: Grade of the answer.
        cost: USD paid; `None` is unknown.
        best: The candidate with the best grade; of equals the cheapest.
        best_quality: Its grade.
        best_cost: Its USD; `None` is unknown.
        expected: Quality that the estimator expected of `chosen`; `None` where it says nothing.
        best_expected: The same of `best`.

    >>> wrong = Misroute(text="2 ^ 70?", domain="", chosen="small", quality=0.25, cost=0.1, best="big",
    ...                  best_quality=1.0, best_cost=0.2, expected=None, best_expected=None)
    >>> wrong.regret
    0.75
    """

    text: str
    domain: str
    chosen: str | None
    quality: float
    cost: float | None
    best: str
    best_quality: float
    best_cost: float | None
    expected: float | None
    best_expected: float | None

    @property
    def regret(self) -> float:
        """The best grade less the one that was got."""
        return self.best_quality - self.quality


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Result:
    """How one strategy did.

    Args:
        name: What it is called.
        replay: What it did, query by query.
        quality: Mean grade.
        cost: Mean USD a query; `None` is unknown.
        difference: Quality above that of the best single candidate, on the same queries.
        to_baseline: Quality above that of the baseline, on the same queries; `None` without a baseline.
        saved: Share of the best single candidate's cost that the cheapest setting which reaches its quality saves; 0
            when none does, `None` when a cost is unknown. The setting is chosen on these very queries.
        shares: Share of the queries that each candidate answered, by name.
        domains: The domains, by name; empty where the records name none.
        curve: The strategy at other prices of quality; `None` where it has no such knob.
        calibration: Of its estimator; `None` where it has none.
        misroutes: The worst, by regret, then by cost.
    """

    name: str
    replay: Replay
    quality: Interval
    cost: Interval | None
    difference: Interval
    to_baseline: Interval | None
    saved: Interval | None
    shares: Mapping[str, float]
    domains: tuple[Domain, ...]
    curve: Curve | None
    calibration: Calibration | None
    misroutes: tuple[Misroute, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """Strategies on the same queries, and what to hold them against. Made by `evaluate` and `cross_evaluate`.

    All intervals hold 95 % and come from the bootstrap over queries.

    Args:
        queries: Number of queries.
        results: The strategies.
        singles: Each candidate used alone.
        best: Name of the best single candidate.
        cheapest: Name of the cheapest.
        baseline: Name of the candidate or strategy that the caller compares with; `None` is none.
        random: A candidate drawn at random for each query, in expectation.
        oracle: The cheapest of the best for each query, which no router reaches.
    """

    queries: int
    results: tuple[Result, ...]
    singles: tuple[Point, ...]
    best: str
    cheapest: str
    baseline: str | None
    random: Point
    oracle: Point

    def to_html(self, path: str | os.PathLike[str], *, title: str = "Router evaluation") -> None:
        """Write one page that needs nothing else: no script, no request, figures and styles inside.

        Args:
            path: The file, replaced if it is there.
            title: Heading of the page.

        Raises:
            ImportError: matplotlib or jinja2 is not installed.
        """
        from router_integrations.evaluation.page import render

        # A lone half of a character pair, which JSON can carry, has no UTF-8.
        Path(path).write_bytes(render(self, title=title).encode("utf-8", "replace"))

    def to_markdown(self) -> str:
        """Return the tables as Markdown, the prompts of the misroutes left out."""
        from router_integrations.evaluation.markdown import render

        return render(self)

    def figures(self) -> dict[str, Figure]:
        """Return the figures by name: `quality_cost`, `shares`, and `calibration` where an estimator is.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from router_integrations.evaluation.figures import figures

        return figures(self)

    def log_to_mlflow(self) -> None:
        """Log metrics, parameters, figures and the page to the active run of MLflow, or to a run of its own.

        Raises:
            ImportError: mlflow, matplotlib or jinja2 is not installed.
        """
        from router_integrations.evaluation.tracking import log

        log(self)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures in plain JSON values; unknown is `None`. Prompts are in the misroutes."""
        return {
            "queries": self.queries,
            "best": self.best,
            "cheapest": self.cheapest,
            "baseline": self.baseline,
            "singles": _plain(self.singles),
            "random": _plain(self.random),
            "oracle": _plain(self.oracle),
            "results": [_plain_result(one) for one in self.results],
        }


def _plain_result(result: Result) -> dict[str, Any]:
    left_out = ("replay", "curve")
    fields = {one.name: getattr(result, one.name) for one in dataclasses.fields(result) if one.name not in left_out}
    curve = result.curve
    settings = [] if curve is None else zip(curve.knobs, curve.cost, curve.quality, strict=True)
    points = [{"per_usd": knob, "cost": float(cost), "quality": float(grade)} for knob, cost, grade in settings]
    return {name: _plain(value) for name, value in fields.items()} | {"curve": [_plain(point) for point in points]}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
