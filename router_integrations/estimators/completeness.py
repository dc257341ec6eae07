"""Whether there is an answer at all: not empty, cut off, filtered or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.types import Attempt, Estimator, Request

_CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "refusal", "recitation", "blocklist", "prohibited_content", "spii"})
_REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am)\s+(?:very\s+|so\s+)?sorry\b|sorry,|i apologi[sz]e\b|as an ai\b"
    r"|i\s+(?:can'?t|cannot|can not|am unable to|am not able to|won'?t|do not know|don'?t know)\b"
    r"|(?:i'm)\s+(?:unable|not able)\b|unfortunately,? i (?:can|am)\b)"
)
# Characters at the start of an answer where a refusal stands.
_OPENING = 200


class Completeness(AnswerEstimator):
    """Estimates an answer: 0 when it is empty, cut off, filtered, a refusal, too short or too long; else 1.

    WHEN: post-generation. WHAT: the answer and why it ended. HOW: heuristic. A refusal, or an answer
    that does not know, is known by its opening words, in English, or by the provider's word for it. `estimate` takes
    O(characters).

    Args:
        shortest: Least characters of a text, at least 0.
        longest: Most characters; `None` is no limit.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

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

    def feedback(self, request: Request, answer: Attempt) -> str | None:
        """Return what is missing."""
        finish, length = (answer.finish_reason or "").lower(), len(answer.text.strip())
        if finish in _FILTERED:
            return "The answer was stopped by a content filter."
        if finish in _CUT_OFF:
            return "The answer was cut off because it is too long; answer in fewer words."
        if answer.tool_calls:
            return None
        if not length:
            return "The answer is empty."
        if length < self.shortest:
            return f"The answer has {length} characters, but must have {self.shortest} at least."
        if self.longest is not None and length > self.longest:
            return f"The answer has {length} characters, but may have {self.longest} at most."
        return "The answer does not answer the question." if is_refusal(answer.text) else None


def is_refusal(text: str) -> bool:
    """Return whether an answer opens as a refusal does, in English.

    >>> is_refusal("Sorry, I can't help with that."), is_refusal("Sorry is a word.")
    (True, False)
    """
    opening = text.strip()[:_OPENING].casefold().replace("\u2019", "'")
    return _REFUSAL.search(opening) is not None
