"""``router-integrations collect``, run as a user runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from router_integrations import cli
from router_integrations.collect import Prompt
from router_integrations.records import read
from router_integrations.testing.replies import Fault, Reply
from router_integrations.testing.server import ScriptedServer


def half(prompt: Prompt, answer: str) -> float:
    return 0.5


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        for model in ("small", "large"):
            usage = {"prompt_tokens": 10, "completion_tokens": 10}
            server.script(model, Reply(text="It is 4.", usage=usage), repeat=True)
        server.script("judge", Reply(text="Grade: 9", usage={}), repeat=True)
        yield server


@pytest.fixture
def arguments(server: ScriptedServer, tmp_path: Path) -> list[str]:
    params = {"api_base": server.base_url, "api_key": "sk-hidden"}
    known = {"params": params, "input_price": 1e-6, "output_price": 1e-6, "max_output": 100, "max_retries": 0}
    for name in ("small", "large", "judge"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"id": f"openai/{name}", "name": name, **known}]))
    (tmp_path / "prompts.csv").write_text("prompt,answer\n2+2?,4\n3+3?,6\n")
    pool = [f"--candidate={tmp_path / name}.json" for name in ("small", "large")]
    return ["collect", str(tmp_path / "prompts.csv"), *pool, f"--out={tmp_path / 'records.jsonl'}"]


def run(arguments: list[str], code: int = 0) -> Any:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, arguments)
    assert result.exit_code == code, result.output
    return result


def test_records_are_written_and_the_spending_is_told(arguments: list[str], tmp_path: Path) -> None:
    result = run([*arguments, "--grader=number"])

    assert result.stdout == "4 of 4 done, 0 failed; 0.000080 USD\n"
    assert sorted((one.text, one.candidate, one.quality) for one in read(tmp_path / "records.jsonl", strict=True)) == [
        ("2+2?", "large", 1.0), ("2+2?", "small", 1.0), ("3+3?", "large", 0.0), ("3+3?", "small", 0.0),
    ]  # fmt: skip
    assert "sk-hidden" not in (tmp_path / "records.jsonl").read_text()


@pytest.mark.parametrize(("grader", "quality"), [("judge:{}/judge.json", 0.9), ("tests.test_cli_gather:half", 0.5)])
def test_a_judge_or_one_s_own_function_grades(
    grader: str, quality: float, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent.parent)])
    run([*arguments, f"--grader={grader.format(tmp_path)}", "--samples=2", "--max-tokens=20", "--concurrency=2"])

    assert [record.quality for record in read(tmp_path / "records.jsonl", strict=True)] == [quality] * 8


def test_a_run_that_is_not_done_ends_with_1_and_the_next_one_goes_on(
    arguments: list[str], server: ScriptedServer
) -> None:
    reply = Reply(text="It is 4.", usage={"prompt_tokens": 10, "completion_tokens": 10})
    server.script("small", Fault("status", status=500), reply, repeat=True)
    first = run([*arguments, "--grader=number"], code=1)
    tight = run([*arguments, "--grader=number", "--budget=0.00007"], code=1)
    last = run([*arguments, "--grader=number", "--budget=1"])

    assert first.stdout == "3 of 4 done, 1 failed; 0.000060 USD\n"
    assert tight.stdout == "3 of 4 done, 0 failed, 1 left for the budget; 0.000060 USD\n"
    assert last.stdout == "4 of 4 done, 0 failed; 0.000080 USD\n"
    assert len(server.requests) == 5


@pytest.mark.parametrize("text", ['{"id": "small"}', "not json"])
def test_a_file_of_candidates_that_is_none_is_told(text: str, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(text)
    result = run([*arguments, "--grader=number"], code=1)

    assert "small.json" in str(result.exception)
