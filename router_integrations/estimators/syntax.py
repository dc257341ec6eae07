"""What is wrong with an answer on its face: code, JSON and tool calls that do not hold."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Sequence
from typing import Any

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.estimators.schemas import fits, inner_schema, misfit
from router_integrations.types import Attempt, Estimator, Request

_FENCE = re.compile(r"^[ \t]*+`{3,}+[ \t]*+([\w+#.-]*+)[^\n]*+\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
# Code Llama's own fence.
_TAGGED = re.compile(r"\[PYTHON\](.*?)(?:\[/PYTHON\]|\Z)", re.DOTALL)
_ALIASES = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript", "c++": "cpp", "rs": "rust"}
# A backslash with what follows it. Python warns, on the whole process's stderr, of those that mean nothing.
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_KNOWN_ESCAPES = frozenset("\n\\'\"abfnrtvxuUN01234567")
# Characters of a line of code in words about it.
_QUOTED = 80


class CodeSyntax(AnswerEstimator):
    """Estimates code in an answer: 1 when all of it parses, 0 when some does not.

    WHEN: post-generation. WHAT: the answer. HOW: heuristic, a parser. The fenced blocks in this language are parsed, if
    none names it those that name none, and without any fence the whole answer. Sessions at Python's prompt are left
    out. When all fences name other languages nothing is said.
    Python is parsed by the running version's `ast`, another language by tree-sitter: install `tree-sitter` and
    `tree-sitter-LANGUAGE`. `estimate` takes O(characters). Nothing is run.

    SynConfRoute takes what parses and is likely: put this and `TokenConfidence` in a `Weakest`.

    Args:
        language: ``"python"``, or the name that tree-sitter's grammar has.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: There is no parser for the language.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> replies = [Attempt(call=Call(candidate=small), text=text) for text in ("print(1)", "print(1")]
    >>> [CodeSyntax().confidence(Request(text="Print 1."), small, [reply]) for reply in replies]
    [1.0, 0.0]
    """

    def __init__(self, *, language: str = "python", prior: Estimator | None = None) -> None:
        if language != "python":
            _grammar(language)
        super().__init__(prior=prior)
        self.language = language

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        own = code_in(answers[-1].text, self.language)
        return float(all(self._parses(code) for code in own)) if own else None

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return where the code does not parse; of another language than Python only that it does not."""
        broken = next((code for code in code_in(answer.text, self.language) if not self._parses(code)), None)
        if broken is None:
            return None
        why = python_fault(broken) if self.language == "python" else None
        return f"The {self.language.capitalize()} code does not parse{f': {why}' if why else ''}."

    def _parses(self, code: str) -> bool:
        if self.language == "python":
            return parses_as_python(code)
        from tree_sitter import Language, Parser

        tree = Parser(Language(_grammar(self.language).language())).parse(code.encode("utf-8", "replace"))
        return bool(code.strip()) and not tree.root_node.has_error


class SchemaValidity(AnswerEstimator):
    """Estimates a structured answer: 1 when it is JSON that fits the schema of the request, 0 when it does not.

    WHEN: post-generation. WHAT: the answer, the request's schema. HOW: heuristic, a validator. The answer is the text,
    without a fence around it, or the arguments of the tool call that carries it. Without a schema, or with one that is
    no valid schema itself, nothing is said. References outside the schema are not fetched. `estimate` takes O(schema +
    answer).

    Args:
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small, query = Candidate("small", model=object()), Request(text="Age?", schema={"type": "integer"})
    >>> replies = [Attempt(call=Call(candidate=small), text=text) for text in ("41", '"old"')]
    >>> [SchemaValidity().confidence(query, small, [reply]) for reply in replies]
    [1.0, 0.0]
    """

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        if request.schema is None:
            return None
        try:
            value = _value(answers[-1])
        except (ValueError, RecursionError):
            return 0.0
        found = fits(value, inner_schema(request.schema))
        return None if found is None else float(found)

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return what is no JSON, or breaks the schema."""
        if request.schema is None:
            return None
        try:
            value = _value(answer)
        except (ValueError, RecursionError) as error:
            return f"The answer is no JSON: {error}."
        wrong = misfit(value, inner_schema(request.schema))
        return wrong and f"The answer breaks the schema: {wrong}."


class ToolCallValidity(AnswerEstimator):
    """Estimates an answer that calls tools: 1 when each call names a bound tool and fits its parameters, else 0.

    WHEN: post-generation. WHAT: the answer, the request's tools. HOW: heuristic, a validator. An answer without a call
    tells nothing, nor does a request without tools. `estimate` takes O(tools + arguments).

    Args:
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small, tool = Candidate("small", model=object()), {"type": "function", "function": {"name": "search"}}
    >>> calls = [{"name": name, "args": {}, "id": "1"} for name in ("search", "find")]
    >>> replies = [Attempt(call=Call(candidate=small), tool_calls=(call,)) for call in calls]
    >>> [ToolCallValidity().confidence(Request(text="Hi", tools=(tool,)), small, [reply]) for reply in replies]
    [1.0, 0.0]
    """

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        calls = answers[-1].tool_calls
        if not calls or not request.tools:
            return None
        known = _parameters(request)
        if any(call["name"] not in known for call in calls):
            return 0.0
        return float(all(fits(call["args"], known[call["name"]]) is not False for call in calls))

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return which call is wrong, and how."""
        known = _parameters(request)
        for call in answer.tool_calls if known else ():
            name = call["name"]
            if name not in known:
                return f"There is no tool {name!r}, only {', '.join(map(repr, known))}."
            if wrong := misfit(call["args"], known[name]):
                return f"The arguments of {name!r} are wrong: {wrong}."
        return None


def fences(text: str) -> list[tuple[str, str]]:
    r"""Return the fenced blocks of a text, each with the language it names, empty for none; a last one may be open.

    >>> fences("So:\n```py\nx = 1\n```")
    [('python', 'x = 1\n')]
    """
    if "```" not in text:
        return [("python", match[1]) for match in _TAGGED.finditer(text)]
    found = ((match[1].lower(), match[2]) for match in _FENCE.finditer(text))
    return [(_ALIASES.get(language, language), code) for language, code in found]


def code_in(text: str, language: str = "python") -> list[str]:
    r"""Return the code of an answer: its fenced blocks in this language, else those that name none, else all of it.

    Sessions at Python's prompt, which show how the code is used, are left out. When all fences name other languages
    there is none.

    >>> code_in("So:\n```py\nx = 1\n```\nRun it:\n```sh\npython x.py\n```"), code_in("x = 1")
    (['x = 1\n'], ['x = 1'])
    """
    blocks = fences(text)
    wanted = language if language in {named for named, _ in blocks} else ""
    own = [code for named, code in blocks if named == wanted and not code.lstrip().startswith(">>>")]
    return own if blocks else [text]


def parses_as_python(code: str) -> bool:
    """Return whether there is code and the running Python can parse it.

    >>> parses_as_python("x = 1"), parses_as_python("x ="), parses_as_python("")
    (True, False, False)
    """
    return bool(python_statements(code))


def python_statements(code: str) -> list[ast.stmt]:
    r"""Return the statements of Python code, at the lines where they are; none when it does not parse.

    >>> [one.lineno for one in python_statements("x = 1\n\ny = 2")], python_statements("x =")
    ([1, 3], [])
    """
    try:
        return ast.parse(_without_odd_escapes(code)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def python_fault(code: str) -> str | None:
    r"""Return in words why Python code does not parse; `None` when it does, or no reason is given.

    >>> python_fault("x = 1\nprint(x")
    "'(' was never closed in line 2, `print(x`"
    """
    try:
        ast.parse(_without_odd_escapes(code))
    except SyntaxError as error:
        return f"{error.msg} in line {error.lineno}, `{(error.text or '').strip()[:_QUOTED]}`"
    except (ValueError, RecursionError, MemoryError):
        return None
    return None if code.strip() else "there is none"


def _without_odd_escapes(code: str) -> str:
    return _ESCAPE.sub(lambda found: found[0] if found[1] in _KNOWN_ESCAPES else "\\" + found[0], code)


def _value(answer: Attempt) -> Any:
    """Return the JSON value of a structured answer."""
    if answer.tool_calls:
        return answer.tool_calls[0]["args"]
    blocks = fences(answer.text)
    return json.loads(blocks[0][1] if len(blocks) == 1 else answer.text)


def _parameters(request: Request) -> dict[Any, Any]:
    """Return the schema of each bound tool's arguments, by name."""
    functions = [tool.get("function", tool) for tool in request.tools]
    return {function.get("name"): function.get("parameters") or {} for function in functions}


def _grammar(language: str) -> Any:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", language):
        raise ConfigurationError(f"CodeSyntax.language must be a name such as 'javascript' but got {language!r}")
    try:
        importlib.import_module("tree_sitter")
        return importlib.import_module(f"tree_sitter_{language}")
    except ImportError as error:
        raise ConfigurationError(
            f"CodeSyntax.language {language!r} needs its grammar: pip install tree-sitter tree-sitter-{language}"
        ) from error
