"""What a candidate is told of its own answer when it may improve it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from router_integrations.errors import ConfigurationError, StrategyError
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.estimators.syntax import SchemaValidity
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Attempt, Estimate, Estimator, Request, Revision

REFINE_PROMPT = (
    "Check your answer. Correct what is wrong in it, and add what is missing. Then give the whole answer again, in the "
    "form that was asked for, without a word about the check."
)

Feedback = str | Callable[[Request, Attempt, Estimate], str | None]
Refine = Feedback | Mapping[str, Feedback] | None

# Characters of an error's message.
_LONGEST = 300
# Where pydantic's messages stop to speak of the answer.
_LINK = " For further information"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refiner:
    """Says what a candidate is told of its answer, by the option `refine` of `Cascade`.

    A text is said after what the estimator finds wrong with the answer, or what breaks the schema. A function says all.

    Args:
        refine: The option.
        estimator: Knows what is wrong with an answer, if it is an `AnswerEstimator`.

    Raises:
        ConfigurationError: A feedback is neither a text nor a function.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.estimators import Completeness
    >>> from router_integrations.types import Call
    >>> draft = Attempt(call=Call(candidate=Candidate("small", model=object())), text="I cannot say.")
    >>> refiner = Refiner(refine="Try again.", estimator=Completeness())
    >>> refiner.revision(Request(text="Capital of Peru?"), draft, Estimate(quality=0.0)).feedback
    'The answer does not answer the question. Try again.'
    """

    refine: Refine
    estimator: Estimator

    def __post_init__(self) -> None:
        for one in self.refine.values() if isinstance(self.refine, Mapping) else (self.refine,):
            if not (one is None or callable(one) or (isinstance(one, str) and one.strip())):
                raise ConfigurationError(
                    f"Cascade.refine must be a text, or a function of request, answer and estimate that returns one, "
                    f"for all or by name, but got {one!r}; REFINE_PROMPT is usual"
                )

    def may(self, name: str) -> bool:
        """Return whether the candidate called `name` may improve an answer."""
        return self._of(name) is not None

    def revision(self, request: Request, draft: Attempt, estimate: Estimate) -> Revision | None:
        """Return what the candidate is asked to revise; `None` when nothing is to be said."""
        feedback = self._of(draft.call.candidate.name)
        if isinstance(feedback, str):
            said: str | None = " ".join(one for one in (self._wrong(request, draft), feedback) if one)
        else:
            said = feedback(request, draft, estimate) if feedback is not None else None
            if not isinstance(said, str | None):
                raise StrategyError(f"Cascade.refine must return a text or None but returned {said!r}")
        return Revision(draft=written(request, draft), feedback=said) if said else None

    def _of(self, name: str) -> Feedback | None:
        return self.refine.get(name) if isinstance(self.refine, Mapping) else self.refine

    def _wrong(self, request: Request, draft: Attempt) -> str | None:
        known = self.estimator.feedback(request, draft) if isinstance(self.estimator, AnswerEstimator) else None
        if known is not None or draft.error is None:
            return known
        return SchemaValidity().feedback(request, draft) or f"The answer breaks the schema: {_cause(draft.error)}."


def cost_again(revision: Revision, draft: Attempt) -> float | None:
    """Return the USD that a revision will cost: what the draft did, and reading it and the feedback.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object(), input_price=0.5, output_price=1.0)
    >>> cost_again(Revision(draft="1234", feedback="12345678"), Attempt(call=Call(candidate=small), cost=10.0))
    11.5
    """
    if draft.cost is None:
        return None
    price = draft.call.candidate.input_price or 0.0
    return draft.cost + price * (estimate_tokens(revision.draft) + estimate_tokens(revision.feedback))


def written(request: Request, draft: Attempt) -> str:
    """Return a draft as text, tool calls as JSON.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> call = {"name": "search", "args": {"q": "Lima"}, "id": "1"}
    >>> draft = Attempt(call=Call(candidate=Candidate("small", model=object())), tool_calls=(call,))
    >>> written(Request(text="Hi"), draft)
    '[{"name": "search", "arguments": {"q": "Lima"}}]'
    >>> written(Request(text="Hi", schema={"type": "object"}), draft)
    '{"q": "Lima"}'
    """
    if not draft.tool_calls:
        return draft.text if draft.text.strip() else "(no answer)"
    if request.schema is not None and not request.tools:
        return json.dumps(draft.tool_calls[0]["args"], ensure_ascii=False, default=str)
    calls = [{"name": call["name"], "arguments": call["args"]} for call in draft.tool_calls]
    said = json.dumps(calls, ensure_ascii=False, default=str)
    return f"{draft.text}\n{said}" if draft.text.strip() else said


def _cause(error: BaseException) -> str:
    """Return what first went wrong, in one line: what was raised for it later repeats the whole answer."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).partition(_LINK)[0][:_LONGEST].rstrip(".")
