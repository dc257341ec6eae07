from __future__ import annotations

import json
import subprocess
import sys

import pytest

import router_integrations

HEAVY = (
    "anyio", "fastembed", "httpx", "jinja2", "langchain_core", "langgraph", "litellm", "llama_index", "numpy", "openai",
    "pandas", "pydantic", "requests", "rich", "scipy", "sklearn", "tiktoken", "torch", "typer", "asyncio",
)  # fmt: skip
# The parts that a user of the core alone touches before the first call, and what they may not load.
CORE = ("candidates", "engine", "errors", "estimators", "health", "steps", "strategies", "tokens", "trace", "types")


def python(code: str) -> str:
    """Run `code` in an interpreter of its own; return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(statement: str) -> set[str]:
    """The top-level modules that `statement` loads, beyond those of a bare interpreter."""
    report = "print(json.dumps(sorted(set(sys.modules) - before)))"
    shown = python(f"import sys, json\nbefore = set(sys.modules)\n{statement}\n{report}")
    return {name.partition(".")[0] for name in json.loads(shown.splitlines()[-1])}


def test_the_package_loads_nothing_heavy() -> None:
    assert loaded("import router_integrations").isdisjoint(HEAVY)


def test_the_core_loads_nothing_heavy_until_it_calls() -> None:
    names = ", ".join(name for name in router_integrations.__all__ if name != "__version__")
    modules = "\n".join(f"import router_integrations.{name}" for name in CORE)

    assert loaded(f"from router_integrations import {names}\n{modules}").isdisjoint(set(HEAVY) - {"asyncio"})


def test_a_candidate_and_a_decision_need_neither_litellm_nor_numpy() -> None:
    code = """
from router_integrations import Best, Candidate, Request
pool = (Candidate("openai/gpt-4o-mini"), Candidate("openai/gpt-4o"))
assert Best().decide(Request(text="What is the capital of France?", candidates=pool)).candidate is pool[0]
"""
    assert loaded(code).isdisjoint(set(HEAVY) - {"asyncio"})


def test_the_encoder_loads_numpy_only_when_it_encodes() -> None:
    assert "numpy" not in loaded("from router_integrations import HashingEncoder; HashingEncoder()")
    assert "numpy" in loaded("from router_integrations import HashingEncoder; HashingEncoder().encode(['hi'])")


def test_cold_encoding_needs_no_scikit_learn() -> None:
    assert loaded("from router_integrations import HashingEncoder; HashingEncoder().encode(['hi'])").isdisjoint(
        {"sklearn", "scipy"}
    )


def test_an_import_prints_nothing() -> None:
    assert python("import router_integrations.engine, router_integrations.strategies") == ""


def test_every_public_name_is_there() -> None:
    for name in router_integrations.__all__:
        assert getattr(router_integrations, name) is not None
        assert name in dir(router_integrations)


@pytest.mark.parametrize("name", ["FusionEncoder", "Pacer", "Record", "Table"])
def test_what_a_user_of_records_needs_is_at_the_top(name: str) -> None:
    assert name in router_integrations.__all__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'router_integrations' has no attribute 'Nonsense'"):
        _ = router_integrations.Nonsense


@pytest.mark.parametrize(
    ("module", "absent", "extra"),
    [
        ("router_integrations.langchain", "langchain_core", "langchain"),
        ("router_integrations.llama_index", "llama_index", "llama-index"),
        ("router_integrations.testing.contracts", "hypothesis", "test"),
        ("router_integrations.testing.contracts", "pytest", "test"),
        ("router_integrations.testing.llama_index", "llama_index", "test"),
    ],
)
def test_an_absent_extra_says_how_to_install_it(module: str, absent: str, extra: str) -> None:
    code = f"""
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import router_integrations
try:
    import {module}
except ImportError as error:
    print(error)
"""
    assert f'pip install "router_integrations[{extra}]"' in python(code)
