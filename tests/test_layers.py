"""The import direction of the design, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import router_integrations

ROOT = Path(router_integrations.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
# Whoever is in a layer imports from it and from those above it in this list.
LAYERS = [
    {"_version", "errors", "locking", "model_map", "reasons", "redact", "tokens", "trace", "types", "utility"},
    {
        "candidates",
        "calling",
        "encoders",
        "encoders_fusion",
        "engine",
        "estimators",
        "gating",
        "health",
        "hedging",
        "learning",
        "ledger",
        "limits",
        "live",
        "needs",
        "pacer",
        "records",
        "records_formats",
        "records_sources",
        "records_values",
        "resampling",
        "steps",
        "strategies",
    },
    {
        "calibration",
        "evaluation",
        "faults",
        "latency_regions",
        "parameters",
        "providers",
        "storage",
        "store",
        "testing",
    },
    {"adapters"},
    {"langchain", "llama_index"},
    {"cli", "collect", "demo"},
]
ADAPTERS = {"langchain", "llama_index"}
MAY_WAIT = {
    "adapters", "engine", "hedging", "live", "providers", "langchain", "llama_index", "testing", "cli", "collect",
    "demo",
}  # fmt: skip
# Files, network, clocks and chance have no place where decisions are made.
IMPURE = {
    "asyncio", "datetime", "glob", "http", "httpx", "io", "logging", "os", "pathlib", "random", "requests", "secrets",
    "shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
PURE = {"estimators", "strategies"}


def part(path: Path) -> str:
    """The name of a file's top-level part: ``langchain`` for ``langchain/host.py``."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs; what only a type checker reads is left out."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from run_time(other)
        else:
            yield from run_time(child)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules that a source imports at run time, wherever it does."""
    for node in run_time(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module="router_integrations", level=0, names=names):
                yield from (f"router_integrations.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.ImportFrom():
                yield "a relative import"
            case ast.Call(func=ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str(module)), *_]):
                yield module
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]):
                yield module


def layer(name: str) -> int:
    return next((number for number, names in enumerate(LAYERS) if name in names), -1)


def faults(name: str, source: str) -> list[str]:
    """Return what is wrong with the source of a part called `name`, in words."""
    tree = ast.parse(source)
    found = [] if layer(name) >= 0 else [f"{name} is in no layer"]
    found += [fault for module in imported(tree) if (fault := import_fault(name, module))]
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    if name not in MAY_WAIT and any(isinstance(node, waits) for node in ast.walk(tree)):
        found.append("waits")
    if name in PURE and any(isinstance(node, ast.Name) and node.id == "open" for node in ast.walk(tree)):
        found.append("opens a file")
    return found


def import_fault(name: str, module: str) -> str:
    top, _, rest = module.partition(".")
    target = rest.partition(".")[0]
    wrong = {
        "relative import": module == "a relative import",
        "names litellm": top == "litellm" and name != "providers",
        f"imports {top}": top in IMPURE and name in PURE,
        f"imports {target}": top == "router_integrations" and not 0 <= layer(target) <= layer(name),
        f"imports the other adapter, {target}": top == "router_integrations" and {target, name} == ADAPTERS,
    }
    return next((fault for fault, is_so in wrong.items() if is_so), "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    assert faults(part(path), path.read_text(encoding="utf-8")) == []


def test_the_top_imports_its_parts_only_when_asked() -> None:
    names = set(imported(ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))))

    assert {name for name in names if name.startswith("router_integrations")} == {"router_integrations._version"}


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("types", "from router_integrations.candidates import Candidate", "imports candidates"),
        ("engine", "def f():\n    from router_integrations import providers", "imports providers"),
        ("strategies", "import router_integrations.testing.table", "imports testing"),
        ("providers", "from router_integrations.langchain.host import Host", "imports langchain"),
        (
            "langchain",
            "from router_integrations.llama_index import RouterLLM",
            "imports the other adapter, llama_index",
        ),
        ("llama_index", "from router_integrations.cli import main", "imports cli"),
        ("engine", "from router_integrations import Candidate", "imports Candidate"),
        ("engine", "from . import types", "relative import"),
        ("langchain", "def f():\n    import litellm.utils", "names litellm"),
        ("tokens", "from importlib import import_module\nimport_module('litellm')", "names litellm"),
        ("tokens", "import importlib\nimportlib.import_module('litellm')", "names litellm"),
        ("steps", "async def f(): ...", "waits"),
        ("health", "async def f():\n    await g()", "waits"),
        ("estimators", "from time import monotonic", "imports time"),
        ("strategies", "import random", "imports random"),
        ("strategies", "import urllib.request", "imports urllib"),
        ("estimators", "open('weights')", "opens a file"),
        ("brand_new", "", "brand_new is in no layer"),
    ],
)
def test_a_wrong_import_is_caught(name: str, source: str, fault: str) -> None:
    assert fault in faults(name, source)


def test_what_only_a_type_checker_reads_is_free() -> None:
    source = "if TYPE_CHECKING:\n    from router_integrations.candidates import Candidate\nelse:\n    import json"

    assert faults("types", source) == []
