"""``evaluate`` and ``compare``: what they print, and what they write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import IDS, Run, rows, write_rows


def test_evaluate_prints_a_table_and_writes_the_page(trained: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    output = run("evaluate", *trained, "--html", tmp_path / "report.html", "--baseline", "small")

    assert "quality less small" in output
    assert "always big (best single)" in output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Router router" in page


def test_evaluate_as_json(trained: tuple[Path, Path], run: Run) -> None:
    found = json.loads(run("evaluate", *trained, "--json"))

    [result] = found["results"]
    assert (found["queries"], found["best"], result["name"]) == (19, "big", "router")
    assert result["quality"]["value"] == 1.0
    assert result["cost"]["value"] == pytest.approx(0.001 * result["shares"]["small"] + 0.004 * result["shares"]["big"])


def test_evaluate_leaves_out_candidates_without_grades(trained: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    path = write_rows(tmp_path / "small.jsonl", [row for row in rows(12) if row["candidate"] == "small"])

    output = run("evaluate", trained[0], path)

    assert "left out, for want of a graded record: big" in output
    assert "always small (best single and cheapest)" in output


def test_evaluate_wants_records_of_the_candidates(trained: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    path = write_rows(tmp_path / "other.jsonl", [{"text": "a", "candidate": "other", "quality": 1.0}])

    assert "has no grade of ['small', 'big']; it has ['other']" in run("evaluate", trained[0], path, code=1)


def test_evaluate_logs_to_mlflow(trained: tuple[Path, Path], tmp_path: Path) -> None:
    store = (tmp_path / "runs").as_uri()
    env = {"MLFLOW_TRACKING_URI": store, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "router_integrations.cli", "evaluate", *map(str, trained), "--mlflow"]

    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=120)

    assert done.returncode == 0, done.stderr
    assert [path.read_text().split()[1] for path in (tmp_path / "runs").rglob("metrics/router.quality")] == ["1.0"]


def test_compare_shows_all_on_the_same_queries(records: Path, run: Run) -> None:
    output = run(
        *("compare", records, "--estimator", "Neighbors", "--estimator", "KMeansQuality"),
        *("--set", "Neighbors.k=3", "--folds", 3, "--json", *IDS),
    )

    found = json.loads(output)
    assert found["queries"] == 150
    assert [result["name"] for result in found["results"]] == ["Neighbors", "KMeansQuality", "Difficulty"]
    assert found["baseline"] == "Difficulty"
    assert found["results"][0]["quality"]["value"] == 1.0
    assert found["results"][2]["to_baseline"]["value"] == 0.0


def test_compare_prints_a_table_and_writes_the_page(records: Path, tmp_path: Path, run: Run) -> None:
    output = run(
        *("compare", records, "--estimator", "Neighbors", "--folds", 2, "--html", tmp_path / "report.html", *IDS)
    )

    assert "quality less Difficulty" in output
    assert "Estimators compared" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_compare_refuses_settings_of_others(records: Path, run: Run) -> None:
    output = run("compare", records, "--estimator", "Neighbors", "--set", "Linear.alpha=3", code=2)

    assert "'Linear' is none of the estimators Neighbors" in output


@pytest.mark.parametrize("command", ["train", "calibrate", "evaluate", "compare"])
def test_help_is_plain(command: str, run: Run) -> None:
    output = run(command, "--help")

    assert "RECORDS" in output
    assert "None" not in output


def test_errors_are_one_line(tmp_path: Path, records: Path) -> None:
    def last(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "router_integrations.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"}, timeout=120)
        return done.returncode, done.stderr

    code, told = last("evaluate", tmp_path / "absent", records)

    assert (code, told.count("\n")) == (1, 1)
    assert told.startswith("StorageError: there is no folder")


@pytest.mark.parametrize("colour", [{}, {"FORCE_COLOR": "1"}])
def test_no_bar_is_drawn_where_there_is_no_terminal(trained: tuple[Path, Path], colour: dict[str, str]) -> None:
    command = [sys.executable, "-m", "router_integrations.cli", "evaluate", *map(str, trained)]

    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **colour}, timeout=120)

    assert (done.returncode, done.stderr) == (0, "")
    assert ("\x1b[" in done.stdout) == bool(colour)
