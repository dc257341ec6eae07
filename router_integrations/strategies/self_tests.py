"""Tests that a model writes for a programming task: asked for, read, and put in a program that counts who passes."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from router_integrations.estimators.syntax import code_in, parses_as_python, python_statements

_ASK = """\
Here is a programming task in Python. Do not solve it. Write {number} tests of a solution instead, each one line that \
begins with "assert", stands by itself, and calls what the task names. Cover usual cases and edge cases. Reply with \
these lines alone.

<task>
{task}
</task>

Tests:"""
# What a program writes, in a line of its own, for each test that passes.
_PASSED = "a self-generated test passed"
# As a module, so that what stands under `if __name__ == "__main__":` is not run, and dataclasses find where they are.
_PROGRAM = """\
import sys, types

solution = sys.modules["solution"] = types.ModuleType("solution")
exec({code!r}, solution.__dict__)
for test in {tests!r}:
    try:
        exec(test, dict(solution.__dict__))
    except (Exception, SystemExit):
        continue
    print("\\n{passed}", flush=True)
"""


def ask_for_tests(task: str, number: int) -> str:
    """Return what a model is asked for that shall write `number` tests of a task.

    >>> "Write 3 tests" in ask_for_tests("Write `half(x)`.", 3)
    True
    """
    return _ASK.format(number=number, task=task)


def read_tests(said: str, number: int) -> tuple[str, ...]:
    r"""Return the first tests of a model's reply, at most `number`: assertions that call something, each once.

    >>> read_tests("Sure:\n```python\nassert half(4) == 2\nassert True\n```", 5)
    ('assert half(4) == 2',)
    >>> read_tests("- `assert half(4) == 2`\n- `assert half(3) ==`", 5)
    ('assert half(4) == 2',)
    """
    found: dict[str, None] = {}
    for code in code_in(said.rpartition("</think>")[2]):
        lines = code.split("\n")
        if statements := python_statements(code):
            sources = ["\n".join(lines[one.lineno - 1 : one.end_lineno]) for one in statements if _tests(one)]
        else:
            stripped = [line.strip(" \t-*`") for line in lines]
            sources = [line for line in stripped if any(map(_tests, python_statements(line)))]
        found |= dict.fromkeys(sources)
    return tuple(found)[:number]


def solution_in(said: str) -> str:
    r"""Return the Python code of an answer; empty when it has none that parses.

    >>> solution_in("So:\n```python\ndef half(x):\n    return x / 2\n```"), solution_in("Divide it by two.")
    ('def half(x):\n    return x / 2\n', '')
    """
    code = "\n".join(code_in(said.rpartition("</think>")[2]))
    return code if parses_as_python(code) else ""


def program(solution: str, tests: Sequence[str]) -> str:
    """Return the Python program that runs the tests on a solution, one after another; `passes` reads what it prints.

    >>> program("def half(x): return x / 2", ["assert half(4) == 2"]).splitlines()[0]
    'import sys, types'
    """
    return _PROGRAM.format(code=solution, tests=list(tests), passed=_PASSED)


def passes(output: str) -> int:
    r"""Return how many tests have passed by what the program printed, cut short or not.

    >>> passes("hello\n\na self-generated test passed\n\na self-generated test passed\n")
    2
    """
    return output.splitlines().count(_PASSED)


def _tests(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assert) and any(isinstance(one, ast.Call) for one in ast.walk(statement.test))
