"""The README keeps its word: its code runs, its commands are there, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router_integrations.cli import app
from router_integrations.testing.replies import Reply
from router_integrations.testing.server import ScriptedServer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def test_code_runs_and_routes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        names: dict[str, object] = {}
        for block in BLOCKS:
            exec(block, names)

        assert [request.model for request in server.requests] == ["gpt-4o-mini", "gpt-4o-mini"]
    answer, candidate, cost, same = capsys.readouterr().out.splitlines()
    assert answer.startswith("Here is a short answer")
    assert candidate == "openai/gpt-4o-mini"
    assert re.fullmatch(r"openai/gpt-4o-mini [1-9]\d*", same)
    assert 0 < float(cost) < 0.001
    assert names["trace"].candidate == "openai/gpt-4o"  # type: ignore[attr-defined]


def test_the_first_example_has_ten_lines_at_most() -> None:
    assert len(BLOCKS[0].splitlines()) <= 10


def test_two_commands_are_enough() -> None:
    commands = re.findall(r"```bash\n(.*?)```", README, flags=re.S)

    assert [command.count("\n") for command in commands] == [1, 1]
    assert commands[0].rstrip().endswith("router-integrations demo")
    assert commands[1].rstrip().endswith("-m pytest")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_a_link_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|cookbooks|router_integrations)/[^`]+)`", README))))
def test_a_named_file_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_shell_commands_work_one_after_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (block,) = re.findall(r"```text\n(router-integrations .*?)```", README, flags=re.S)
    monkeypatch.chdir(tmp_path)
    rows = [f"What is {left} + {right}?,{left + right}" for left in range(2, 12) for right in range(3, 6)]
    (tmp_path / "prompts.csv").write_text("\n".join(["prompt,answer", *rows]), encoding="utf-8")
    with ScriptedServer() as server:
        server.script("gpt-4o", Reply(text="The answer is 9"), repeat=True)
        monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        for command in block.splitlines():
            done = CliRunner().invoke(app, shlex.split(command)[1:])
            assert done.exit_code == 0, f"{command}: {done.output}"

    assert (tmp_path / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!")
