"""What is wrong with an answer on its face: code, JSON and tool calls that do not hold, answers cut off or refused."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.types import Attempt, Estimator, Request

_FENCE = re.compile(r"^[ \t]*+`{3,}+[ \t]*+([\w+#.-]*+)[^\n]*+\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
# Code Llama's own fence.
_TAGGED = re.compile(r"\[PYTHON\](.*?)(?:\[/PYTHON\]|\Z)", re.DOTALL)
_ALIASES = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript", "c++": "cpp", "rs": "rust"}
# A backslash with what follows it. Python warns, on the whole process's stderr, of those that mean nothing.
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_KNOWN_ESCAPES = frozenset("\n\\'\"abfnrtvxuUN01234567")
_CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "refusal", "recitation", "blocklist", "prohibited_content", "spii"})
_REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am)\s+(?:very\s+|so\s+)?sorry\b|sorry,|i apologi[sz]e\b|as an ai\b"
    r"|i\s+(?:can'?t|cannot|can not|am unable to|am not able to|won'?t|do not know|don'?t know)\b"
    r"|(?:i'm)\s+(?:unable|not able)\b|unfortunately,? i (?:can|am)\b)"
)
# Characters at the start of an answer where a refusal stands.
_OPENING = 200


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
        prior: Estimates the candidates without an answer; `Difficulty()` by default.

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
        text = answers[-1].text
        blocks = fences(text)
        # A session at Python's prompt shows how the code is used.
        named = {language for language, _ in blocks}
        wanted = self.language if self.language in named else ""
        own = [code for language, code in blocks if language == wanted and not code.lstrip().startswith(">>>")]
        if blocks and not own:
            return None
        return float(all(self._parses(code) for code in own or [text]))

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
        prior: Estimates the candidates without an answer; `Difficulty()` by default.

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
        answer = answers[-1]
        try:
            value = answer.tool_calls[0]["args"] if answer.tool_calls else _json(answer.text)
        except (ValueError, RecursionError):
            return 0.0
        # OpenAI's form wraps the schema.
        inner = request.schema.get("schema")
        return _fits(value, inner if isinstance(inner, Mapping) and "name" in request.schema else request.schema)


class ToolCallValidity(AnswerEstimator):
    """Estimates an answer that calls tools: 1 when each call names a bound tool and fits its parameters, else 0.

    WHEN: post-generation. WHAT: the answer, the request's tools. HOW: heuristic, a validator. An answer without a call
    tells nothing, nor does a request without tools. `estimate` takes O(tools + arguments).

    Args:
        prior: Estimates the candidates without an answer; `Difficulty()` by default.

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
        functions = [tool.get("function", tool) for tool in request.tools]
        known = {function.get("name"): function.get("parameters") or {} for function in functions}
        if any(call["name"] not in known for call in calls):
            return 0.0
        found = [_fits(call["args"], known[call["name"]]) for call in calls]
        return min((one for one in found if one is not None), default=1.0)


class Completeness(AnswerEstimator):
    """Estimates an answer: 0 when it is empty, cut off, filtered, a refusal, too short or too long; else 1.

    WHEN: post-generation. WHAT: the answer and why it ended. HOW: heuristic. A refusal, or an answer
    that does not know, is known by its opening words, in English, or by the provider's word for it. `estimate` takes
    O(characters).

    Args:
        shortest: Least characters of a text, at least 0.
        longest: Most characters; `None` is no limit.
        prior: Estimates the candidates without an answer; `Difficulty()` by default.

    Raises:
        ConfigurationError: The limits contradict each other.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> replies = [Attempt(call=Call(candidate=small), text=text) for text in ("Paris", "I'm sorry, but I can't.", "")]
    >>> [Completeness().confidence(Request(text="Capital?"), small, [reply]) for reply in replies]
    [1.0, 0.0, 0.0]
    """

    def __init__(self, *, shortest: int = 1, longest: int | None = None, prior: Estimator | None = None) -> None:
        if shortest < 0 or (longest is not None and longest < shortest):
            raise ConfigurationError(
                f"Completeness needs 0 <= shortest <= longest but got {shortest!r} and {longest!r} characters"
            )
        super().__init__(prior=prior)
        self.shortest = shortest
        self.longest = longest

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        answer = answers[-1]
        if (answer.finish_reason or "").lower() in _CUT_OFF | _FILTERED:
            return 0.0
        if answer.tool_calls:
            return 1.0
        length = len(answer.text.strip())
        fits = self.shortest <= length and (self.longest is None or length <= self.longest)
        return float(fits and not is_refusal(answer.text))


def fences(text: str) -> list[tuple[str, str]]:
    r"""Return the fenced blocks of a text, each with the language it names, empty for none; a last one may be open.

    >>> fences("So:\n```py\nx = 1\n```")
    [('python', 'x = 1\n')]
    """
    if "```" not in text:
        return [("python", match[1]) for match in _TAGGED.finditer(text)]
    found = ((match[1].lower(), match[2]) for match in _FENCE.finditer(text))
    return [(_ALIASES.get(language, language), code) for language, code in found]


def parses_as_python(code: str) -> bool:
    """Return whether there is code and the running Python can parse it.

    >>> parses_as_python("x = 1"), parses_as_python("x ="), parses_as_python("")
    (True, False, False)
    """
    quiet = _ESCAPE.sub(lambda found: found[0] if found[1] in _KNOWN_ESCAPES else "\\" + found[0], code)
    try:
        return bool(ast.parse(quiet).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def is_refusal(text: str) -> bool:
    """Return whether an answer opens as a refusal does, in English.

    >>> is_refusal("Sorry, I can't help with that."), is_refusal("Sorry is a word.")
    (True, False)
    """
    opening = text.strip()[:_OPENING].casefold().replace("\u2019", "'")
    return _REFUSAL.search(opening) is not None


def _json(text: str) -> Any:
    blocks = fences(text)
    return json.loads(blocks[0][1] if len(blocks) == 1 else text)


def _fits(value: Any, schema: Any) -> float | None:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        # An empty registry, because the default one fetches references.
        return float(kind(schema, registry=Registry()).is_valid(value))
    except (SchemaError, Unresolvable):
        return None


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
