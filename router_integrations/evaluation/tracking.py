"""An evaluation in MLflow."""

from __future__ import annotations

import contextlib
import re

try:
    import mlflow
except ImportError as error:
    raise ImportError('logging to MLflow needs it: pip install "router_integrations[mlflow]"') from error

from router_integrations.evaluation.page import render
from router_integrations.evaluation.report import Evaluation, Result


def log(evaluation: Evaluation) -> None:
    """Log metrics, parameters, figures and the page of `evaluation` to the active run, or to a run of its own."""
    with contextlib.nullcontext() if mlflow.active_run() else mlflow.start_run():
        mlflow.log_params(
            {
                "queries": evaluation.queries,
                "candidates": ", ".join(point.name for point in evaluation.singles),
                "best_single": evaluation.best,
                "baseline": evaluation.baseline,
            }
        )
        for result in evaluation.results:
            mlflow.log_metrics({f"{_key(result.name)}.{name}": value for name, value in _metrics(result).items()})
        mlflow.log_metrics({"oracle.quality": evaluation.oracle.quality, "random.quality": evaluation.random.quality})
        for name, figure in evaluation.figures().items():
            mlflow.log_figure(figure, f"{name}.png")
        mlflow.log_text(render(evaluation), "report.html")
        mlflow.log_text(evaluation.to_markdown(), "report.md")


def _metrics(result: Result) -> dict[str, float]:
    intervals = {
        "quality": result.quality,
        "cost": result.cost,
        "quality_above_best_single": result.difference,
        "quality_above_baseline": result.to_baseline,
        "saved": result.saved,
    }
    known = {name: interval for name, interval in intervals.items() if interval is not None}
    ends = {
        f"{name}{end}": value for name, one in known.items() for end, value in (("_low", one.low), ("_high", one.high))
    }
    shares = {f"share.{_key(name)}": value for name, value in result.shares.items()}
    calibration = {} if result.calibration is None else {"ece": result.calibration.ece}
    return {name: interval.value for name, interval in known.items()} | ends | shares | calibration


def _key(name: str) -> str:
    """MLflow takes letters, digits and some signs."""
    return re.sub(r"[^\w\-. /]", "_", name)
