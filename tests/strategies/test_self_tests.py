from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations.strategies.self_tests import passes, program, read_tests, solution_in

HALF = "def half(x):\n    return x / 2\n"


def executed(folder: Path, solution: str, *tests: str) -> int:
    """Run the program in an interpreter of its own; return how many tests pass."""
    command = [sys.executable, "-I", "-"]
    done = subprocess.run(
        command, input=program(solution, tests), capture_output=True, text=True, timeout=60, cwd=folder, check=False
    )
    return passes(done.stdout)


@pytest.mark.parametrize(
    ("solution", "tests", "passed"),
    [
        (HALF, ["assert half(4) == 2", "assert half(3) == 1.5"], 2),
        ("def half(x):\n    return x // 2", ["assert half(4) == 2", "assert half(3) == 1.5"], 1),
        (HALF, ["assert third(3) == 1", "assert half('x') == 1", "assert half(1) == .5"], 1),
        ("raise SystemExit(0)", ["assert half(4) == 2"], 0),
        ("def half(x):\n    import sys\n    sys.exit(0)", ["assert half(4) == 2", "assert len('a') == 1"], 1),
        (HALF + "print('a self-generated test passed?')", ["assert half(4) == 3"], 0),
        (HALF + 'if __name__ == "__main__":\n    print(half(int(input())))', ["assert half(4) == 2"], 1),
        (f"from __future__ import annotations\n{HALF}", ["assert half(4) == 2"], 1),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int",
            ["assert A(1).x == 1"],
            1,
        ),
        ("def half(x):\n    print('halved', end='')\n    return x / 2", ["assert half(4) == 2"], 1),
        ('def quote(x):\n    return f"""\'{x}\'"""', ["assert quote('\\n') == \"'\\n'\""], 1),
    ],
)
def test_the_program_counts_the_tests_that_pass(tmp_path: Path, solution: str, tests: list[str], passed: int) -> None:
    assert executed(tmp_path, solution, *tests) == passed


def test_what_had_passed_before_the_program_was_stopped_counts(tmp_path: Path) -> None:
    dies = "import os\ndef half(x):\n    if x == 3: os._exit(9)\n    return x / 2"

    assert executed(tmp_path, dies, "assert half(4) == 2", "assert half(3) == 1.5", "assert half(0) == 0") == 1


@pytest.mark.parametrize(
    ("said", "tests"),
    [
        ("assert half(4) == 2\nassert half(0) == 0", ["assert half(4) == 2", "assert half(0) == 0"]),
        ("Here:\n```python\nassert half(4) == 2\n```\nDone.", ["assert half(4) == 2"]),
        (
            "Here they are:\n- assert half(4) == 2\n* `assert half(0) == 0`",
            ["assert half(4) == 2", "assert half(0) == 0"],
        ),
        ("assert half(4) == (\n    2\n)", ["assert half(4) == (\n    2\n)"]),
        ("assert half(4) == 2\nassert half(4) == 2", ["assert half(4) == 2"]),
        ("assert True\nassert 1 == 1\nx = half(2)\nimport os", []),
        ("assert half(4 ==\nassert half(0) == 0", ["assert half(0) == 0"]),
        ('assert split(r"\\d") == 2', ['assert split(r"\\d") == 2']),
        ("<think>assert half(1) == 1</think>assert half(4) == 2", ["assert half(4) == 2"]),
        ("I cannot.", []),
        ("", []),
    ],
)
def test_tests_are_read_from_a_reply(said: str, tests: list[str]) -> None:
    assert list(read_tests(said, 5)) == tests


def test_no_more_tests_are_read_than_were_asked_for() -> None:
    said = "\n".join(f"assert half({number}) == {number / 2}" for number in range(9))

    assert len(read_tests(said, 4)) == 4


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (HALF, HALF),
        (f"So:\n```python\n{HALF}```\nUse it:\n```python\n>>> half(4)\n2.0\n```", HALF),
        (f"```py\n{HALF}```\n```python\nprint(half(4))\n```", f"{HALF}\nprint(half(4))\n"),
        ("```javascript\nx => x / 2\n```", ""),
        ("Divide it by two.", ""),
        ("", ""),
    ],
)
def test_the_solution_is_the_python_code_of_an_answer(said: str, code: str) -> None:
    assert solution_in(said) == code


@given(st.text(), st.lists(st.text(), max_size=3))
def test_any_text_makes_a_program_that_parses(solution: str, tests: list[str]) -> None:
    compile(program(solution, tests), "program", "exec")


@given(st.text(max_size=200))
def test_any_reply_can_be_read(said: str) -> None:
    assert all(test in said for test in read_tests(said, 5))
    solution_in(said)
