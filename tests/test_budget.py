"""The house limits on size, parameters, comments and docstrings, read from the source."""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import router_integrations

ROOT = Path(router_integrations.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Methods of the adapters that have a host's own signature, which is not ours to shorten.
HOST_SIGNATURES = {
    "langchain.generate": "BaseChatModel.generate",
    "langchain.agenerate": "BaseChatModel.agenerate",
}
# Public names of the core without a runnable example, and why.
NO_EXAMPLE = {
    "engine.run": "needs a host; the doctest of testing.table.TableHost runs it",
    "engine.arun": "needs an event loop",
    "engine.stream": "needs a host",
    "engine.astream": "needs an event loop",
    "estimators.learned.Data": "made by Learned, never by a user",
    "estimators.learned.Fitted": "made by Learned, never by a user",
    "estimators.latent.Latent": "a base; the doctests of its subclasses run it",
    "estimators.learned_answers.LearnedAnswer": "a base; the doctests of its subclasses run it",
    "estimators.learned.Learned": "a base; the doctests of its subclasses run it",
    "steps.Run": "needs somebody to make its calls; the doctest of testing.table.TableHost does",
}
CORE = [
    *(ROOT / f"{name}.py" for name in
      ("candidates", "encoders", "engine", "errors", "health", "model_map", "steps", "tokens", "trace", "types")),
    *sorted((ROOT / "strategies").glob("*.py")),
    *sorted((ROOT / "estimators").glob("*.py")),
]  # fmt: skip


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Lines of a function's body, the docstring not counted."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: Function) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def public(tree: ast.Module) -> Iterator[tuple[str, Function | ast.ClassDef, bool]]:
    """Yield the dotted name of each public class, function and method, and whether it is a method."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node, False
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, True


def is_accessor(node: ast.AST) -> bool:
    """Whether `node` is the setter of a property, or one of the signatures of an overload."""
    marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", ())]
    return any(mark.endswith((".setter", "overload")) for mark in marks)


def needs_example(node: Function | ast.ClassDef) -> bool:
    """Protocols have no behaviour to show, and exceptions none of their own."""
    bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    return not any(base == "Protocol" or base.endswith(("Error", "Exception")) for base in bases)


def comments_and_code(source: str) -> tuple[int, int]:
    """Count comments, and lines that hold code; docstrings are neither."""
    skipped = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    comments, code = 0, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments += 1
        elif token.type not in skipped:
            code.update(range(token.start[0], token.end[0] + 1))
    return comments, len(code - docstrings)


each_file = pytest.mark.parametrize("path", FILES, ids=name_of)


@each_file
def test_a_file_has_at_most_300_lines(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert lines <= 300


@each_file
def test_a_function_body_has_at_most_40_lines(path: Path) -> None:
    assert {function.name: lines for function in functions(parse(path)) if (lines := body_lines(function)) > 40} == {}


@each_file
def test_a_function_has_at_most_6_parameters(path: Path) -> None:
    ours = [one for one in functions(parse(path)) if f"{name_of(path).split('.')[0]}.{one.name}" not in HOST_SIGNATURES]

    assert {function.name: parameters(function) for function in ours if parameters(function) > 6} == {}


@each_file
def test_everything_public_has_a_docstring(path: Path) -> None:
    tree = parse(path)
    bare = [name for name, node, _ in public(tree) if not ast.get_docstring(node) and not is_accessor(node)]

    assert bare == []
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_every_public_class_and_function_of_the_core_has_an_example(path: Path) -> None:
    without = {
        f"{name_of(path)}.{name}"
        for name, node, is_method in public(parse(path))
        if not is_method and needs_example(node) and ">>>" not in _docstrings(node)
    }

    assert without - set(NO_EXAMPLE) == set()


def test_no_exemption_has_outlived_its_reason() -> None:
    examples = {f"{name_of(path)}.{name}": node for path in CORE for name, node, _ in public(parse(path))}
    long = {
        f"{name_of(path).split('.')[0]}.{one.name}"
        for path in FILES
        for one in functions(parse(path))
        if parameters(one) > 6
    }

    assert [name for name in NO_EXAMPLE if name not in examples or ">>>" in _docstrings(examples[name])] == []
    assert set(HOST_SIGNATURES) <= long


def _docstrings(node: Function | ast.ClassDef) -> str:
    """The docstring of a function; of a class, those of its methods too."""
    inner = [one for one in node.body if isinstance(one, Function)] if isinstance(node, ast.ClassDef) else []
    return "".join(ast.get_docstring(one) or "" for one in (node, *inner))


def test_functions_are_short_and_the_tail_is_thin() -> None:
    lengths = sorted(body_lines(function) for path in FILES for function in functions(parse(path)))

    assert statistics.median(lengths) <= 6
    assert lengths[len(lengths) * 9 // 10] <= 20


def test_there_are_few_comments() -> None:
    counts = [comments_and_code(path.read_text(encoding="utf-8")) for path in FILES]
    comments, code = (sum(column) for column in zip(*counts, strict=True))

    assert comments / code <= 0.08


def test_the_measures_measure() -> None:
    source = '''
class Shown:
    """What it is."""

    def method(self, a, *, b):
        """Two

        lines."""
        # why
        return (
            a + b
        )  # trailing

    def _hidden(self): ...

def bare(): ...
'''
    tree = ast.parse(source)
    method, hidden, bare = sorted(functions(tree), key=lambda function: function.lineno)

    assert [body_lines(one) for one in (method, hidden, bare)] == [3, 1, 1]
    assert [parameters(one) for one in (method, hidden, bare)] == [2, 0, 0]
    assert [name for name, _, _ in public(tree)] == ["Shown", "Shown.method", "bare"]
    assert comments_and_code(source) == (2, 7)
