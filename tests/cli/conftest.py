"""Records of a small task, and commands run as a user runs them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from router_integrations import cli

Run = Callable[..., str]
IDS = ("--candidate", "small=openai/gpt-4o-mini", "--candidate", "big=openai/gpt-4o")


def rows(count: int = 150) -> list[dict[str, Any]]:
    """Sums, which both candidates get right, and proofs, which only the big one does."""
    made = []
    for number in range(count):
        hard = number % 3 == 0
        text = f"prove theorem {number} step by step" if hard else f"sum {number} and {number + 1}"
        for name, quality, cost in (("small", float(not hard), 0.001), ("big", 1.0, 0.004)):
            row = {"text": text, "candidate": name, "quality": quality, "cost": cost, "domain": text.split()[0]}
            made.append({**row, "input_tokens": 10, "output_tokens": 20})
    return made


def write_rows(path: Path, given: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "records.jsonl", rows())


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command, checks how it ends, and returns what it prints, both streams; an error of ours is its message."""

    def run(*arguments: object, code: int = 0) -> str:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, [str(one) for one in arguments])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result.output if code != 1 else f"{type(result.exception).__name__}: {result.exception}"

    return run


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    where = tmp_path_factory.mktemp("trained")
    path = write_rows(where / "records.jsonl", rows())
    settings = ("--set", "k=5", "--out", where / "router", "--held", where / "held.jsonl")
    run("train", path, "--estimator", "Neighbors", *settings, *IDS)
    return where


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A router that has learnt, for the test to change, and the records held out from it."""
    shutil.copytree(_trained / "router", tmp_path / "router")
    return tmp_path / "router", _trained / "held.jsonl"
