"""Several looks at an answer put together, and the right ones for the kind of answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator, Need
from router_integrations.estimators.completeness import Completeness
from router_integrations.estimators.syntax import CodeSyntax, SchemaValidity, ToolCallValidity, fences
from router_integrations.estimators.uncertainty import TokenConfidence
from router_integrations.types import Attempt, Estimator, Request

Kind = Literal["text", "code", "tool_call", "structured"]


class Weakest(AnswerEstimator):
    """Estimates an answer by the least of several confidences; those that say nothing are left out.

    WHEN: post-generation. WHAT, HOW and cost: those of its parts. What must hold in each respect is only as good as its
    weakest one; code that parses and is likely (SynConfRoute) is ``Weakest(estimators=(CodeSyntax(),
    TokenConfidence()))``. The parts must speak of the same answer, the last one: `SelfConsistency` does not.

    Args:
        estimators: The parts, at least one.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: There is no part, or one does not look at answers.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> reply = Attempt(call=Call(candidate=small), text="print(1", logprobs=(0.0,))
    >>> Weakest(estimators=(CodeSyntax(), TokenConfidence())).confidence(Request(text="Print 1."), small, [reply])
    0.0
    """

    def __init__(self, *, estimators: Sequence[AnswerEstimator], prior: Estimator | None = None) -> None:
        if not estimators or not all(isinstance(one, AnswerEstimator) for one in estimators):
            raise ConfigurationError(
                f"Weakest.estimators must look at answers, as TokenConfidence() does, but are {estimators!r}"
            )
        super().__init__(prior=prior)
        self.estimators = estimators

    @property
    def needs(self) -> frozenset[Need]:
        """What the parts need."""
        return frozenset().union(*(one.needs for one in self.estimators))

    @property
    def uses(self) -> frozenset[Need]:
        """What the parts use."""
        return frozenset().union(*(one.uses for one in self.estimators))

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return what the parts find wrong."""
        found = (one.feedback(request, answer) for one in self.estimators)
        return " ".join(dict.fromkeys(one for one in found if one)) or None

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        candidate = answers[-1].call.candidate
        found = [one.confidence(request, candidate, attempts) for one in self.estimators]
        return min((value for value in found if value is not None), default=None)


_TEXT = Weakest(estimators=(Completeness(), TokenConfidence()))
_CODE = Weakest(estimators=(Completeness(), CodeSyntax(), TokenConfidence()))
_TOOL_CALL = Weakest(estimators=(ToolCallValidity(), TokenConfidence()))
_STRUCTURED = Weakest(estimators=(SchemaValidity(), TokenConfidence()))


class AnswerQuality(AnswerEstimator):
    """Estimates each answer by what suits its kind: text, code, a tool call, or structured output.

    WHEN: post-generation. WHAT, HOW and cost: those of the estimator for the kind. By default the confidence is the
    mean token probability, and 0 for text that is empty, cut off or a refusal, for code that does not parse, for calls
    of tools that are not bound or with wrong arguments, and for JSON that breaks the schema. Without log-probabilities
    whatever passes these checks counts as right. Code is an answer with a fenced block. The
    estimators must speak of the last answer: `SelfConsistency` does not.

    Args:
        text: For text; see above for the defaults.
        code: For code.
        tool_call: For tool calls.
        structured: For answers to a request with a schema.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small, query = Candidate("small", model=object()), Request(text="Age?", schema={"type": "integer"})
    >>> reply = Attempt(call=Call(candidate=small), text="forty-one", logprobs=(0.0,))
    >>> AnswerQuality().confidence(query, small, [reply]), AnswerQuality().confidence(Request(text="?"), small, [reply])
    (0.0, 1.0)
    """

    def __init__(
        self,
        *,
        text: AnswerEstimator | None = None,
        code: AnswerEstimator | None = None,
        tool_call: AnswerEstimator | None = None,
        structured: AnswerEstimator | None = None,
        prior: Estimator | None = None,
    ) -> None:
        super().__init__(prior=prior)
        self.text = text
        self.code = code
        self.tool_call = tool_call
        self.structured = structured

    @property
    def needs(self) -> frozenset[Need]:
        """What the estimators need that were given; the default ones do without log-probabilities, but worse."""
        given = (self.text, self.code, self.tool_call, self.structured)
        return frozenset().union(*(one.needs for one in given if one is not None))

    @property
    def uses(self) -> frozenset[Need]:
        """What the estimators of all kinds use."""
        return frozenset().union(*(one.uses for one in self._by_kind().values()))

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return what the estimator for the kind of answer finds wrong."""
        return self._by_kind()[answer_kind(request, answer)].feedback(request, answer)

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        estimator = self._by_kind()[answer_kind(request, answers[-1])]
        return estimator.confidence(request, answers[-1].call.candidate, attempts)

    def _by_kind(self) -> dict[Kind, AnswerEstimator]:
        return {
            "text": self.text or _TEXT,
            "code": self.code or _CODE,
            "tool_call": self.tool_call or _TOOL_CALL,
            "structured": self.structured or _STRUCTURED,
        }


def answer_kind(request: Request, answer: Attempt) -> Kind:
    r"""Return what kind of answer it is.

    A request with a schema wants structured output, even when a tool call carries it; with tools bound as well, a call
    of one is a tool call.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> call = Call(candidate=Candidate("small", model=object()))
    >>> [answer_kind(Request(text="Hi"), Attempt(call=call, text=text)) for text in ("Hello", "```\nx = 1\n```")]
    ['text', 'code']
    """
    if answer.tool_calls and (request.tools or request.schema is None):
        return "tool_call"
    if request.schema is not None:
        return "structured"
    return "code" if fences(answer.text) else "text"
