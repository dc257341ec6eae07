"""An evaluation in a store of MLflow's own, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router_integrations import Best, Candidate, Fixed
from router_integrations.estimators import Neighbors
from router_integrations.evaluation import Evaluation, evaluate
from router_integrations.learning import Record, Table


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    return mlflow


@pytest.fixture(scope="module")
def found() -> Evaluation:
    pool = [Candidate("small", model=object()), Candidate("a:b@c", model=object())]
    records = [
        Record(text=f"query {number}", candidate=one.name, quality=float(number % 2), cost=1.0 + index, output_tokens=5)
        for number in range(20)
        for index, one in enumerate(pool)
    ]
    strategies = {"kNN": Best(estimator=Neighbors(k=3).fit(records)), "always a:b@c": Fixed(name="a:b@c")}
    return evaluate(strategies, Table.of(records), pool)


def _artifacts(mlflow: Any, run: str) -> set[str]:
    return {one.path for one in mlflow.MlflowClient().list_artifacts(run)}


def test_a_run_of_its_own_holds_metrics_parameters_figures_and_the_page(found: Evaluation, mlflow: Any) -> None:
    found.log_to_mlflow()

    [run] = mlflow.search_runs(output_format="list")
    metrics = run.data.metrics
    assert metrics["kNN.quality"] == pytest.approx(found.results[0].quality.value)
    assert metrics["kNN.quality_low"] == pytest.approx(found.results[0].quality.low)
    assert metrics["kNN.ece"] == pytest.approx(found.results[0].calibration.ece)  # type: ignore[union-attr]
    assert metrics["always a_b_c.share.a_b_c"] == 1.0
    assert run.data.params["best_single"] == "small"
    assert run.info.status == "FINISHED"
    assert _artifacts(mlflow, run.info.run_id) == {
        *("report.html", "report.md", "quality_cost.png", "shares.png", "calibration.png")
    }


def test_a_run_that_is_active_is_used_and_left_open(found: Evaluation, mlflow: Any) -> None:
    with mlflow.start_run() as run:
        found.log_to_mlflow()
        assert mlflow.active_run().info.run_id == run.info.run_id

    assert "report.html" in _artifacts(mlflow, run.info.run_id)
    assert len(mlflow.search_runs(output_format="list")) == 1
