"""Whether an answer says what its sources say, and how near the query those sources are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.types import Attempt, Estimator, Request

# A number with its separators, one sign of a script without spaces, or a word.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_FUNCTION_WORDS = """
    a an the this that these those it its they them their he she his her we you your i my our and or but nor so if then
    than as at by for from in into of off on onto out over to up with within without about after before between during
    is are was were be been being am do does did done has have had having will would can could may might shall should
    must not no yes there here which who whom whose what when where why how also very just only such some any all both
    each more most other s t th st nd rd re ve ll d m according based context provided information answer following
"""
_STOP = frozenset(_FUNCTION_WORDS.split())
_WRITTEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DIGITS = {name: str(number) for number, name in enumerate(_WRITTEN)}
# So much of a word tells it from others; its ending does not.
_PREFIX = 6


class Groundedness(AnswerEstimator):
    """Estimates an answer by how much of it is in the texts it was drawn from; without any it is worth nothing.

    Of each sentence those words count that the query does not already hold; a sentence with a number that no source
    has is not supported at all. Words are compared by their beginnings, so endings don't matter. It reads words, not
    meaning: an answer that turns what a source says into its opposite passes, as does one that is beside the point, and
    one in other words or in another language than the sources does not. Tool calls, and answers with nothing to check
    such as "Yes.", it leaves open.

    WHEN: post-generation. WHAT: query, answer, `Attempt.sources`. HOW: heuristic (the share of the answer's words that
    the sources hold). No training. `estimate` takes O(characters) of the answer and the sources.

    K-Precision of Adlakha et al. (arXiv 2307.16877), by sentence and without the words of the query.

    Args:
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small, query = Candidate("small", model=object()), Request(text="Who founded Brightwell?")
    >>> texts = ("Brightwell was founded by Ada Moss in 1987.",)
    >>> said = ["Brightwell was founded by Ada Moss.", "Ada Moss founded it in 1978.", "It was Tom Reed."]
    >>> replies = [Attempt(call=Call(candidate=small), text=text, sources=texts) for text in said]
    >>> [Groundedness().confidence(query, small, [reply]) for reply in replies]
    [1.0, 0.0, 0.0]
    """

    def __init__(self, *, prior: Estimator | None = None) -> None:
        super().__init__(prior=prior)

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        answer = answers[-1]
        if answer.tool_calls:
            return None
        if not any(text.strip() for text in answer.sources):
            return 0.0
        known = _known(answer.sources)
        given = _words(request.text)
        sentences = [words for one in _SENTENCE.split(answer.text) if (words := _words(one))]
        # What only repeats the query is checked too when there is nothing else.
        said = [words - given for words in sentences if words - given] or sentences
        total = sum(map(len, said))
        return sum(len(words) * support(words, known) for words in said) / total if total else None


class RetrievalScore(AnswerEstimator):
    """Estimates an answer by the score of the best text it was drawn from; without a score it says nothing.

    WHEN: post-generation. WHAT: `Attempt.source_scores`. HOW: a straight line from `low` to `high`. No training.
    Retrievers score in units of their own, so look at yours first: a cosine may never be below 0.6. Together with
    `Groundedness` as ``Weakest(estimators=(RetrievalScore(low=0.2, high=0.6), Groundedness()))``.

    Args:
        low: Score at or below which the confidence is 0.
        high: Score from which it is 1; above `low`.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: `high` is not above `low`, or one is not finite.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> reply = Attempt(call=Call(candidate=small), text="4", sources=("a", "b"), source_scores=(0.25, 0.5))
    >>> RetrievalScore(low=0.0, high=1.0).confidence(Request(text="2 + 2?"), small, [reply])
    0.5
    """

    def __init__(self, *, low: float = 0.0, high: float = 1.0, prior: Estimator | None = None) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigurationError(f"RetrievalScore needs finite low < high but got {low!r} and {high!r}")
        super().__init__(prior=prior)
        self.low = low
        self.high = high

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        best = max(answers[-1].source_scores, default=None)
        return None if best is None else (best - self.low) / (self.high - self.low)


def support(words: frozenset[str], known: frozenset[str]) -> float:
    """Return the share of `words` that is in `known`; 0 when a number among them is not.

    >>> support(frozenset({"ada", "1987"}), frozenset({"ada"})), support(frozenset({"ada", "tom"}), frozenset({"ada"}))
    (0.0, 0.5)
    """
    missing = words - known
    return 0.0 if any(word[0].isdigit() for word in missing) else 1 - len(missing) / len(words)


def _known(sources: Iterable[str]) -> frozenset[str]:
    words = frozenset().union(*map(_words, sources))
    return words | {_DIGITS[word] for word in _DIGITS if word in words}


def _words(text: str) -> frozenset[str]:
    """Return the words of a text that carry meaning, each as its beginning."""
    tokens = (token.casefold() for token in _TOKEN.findall(text))
    return frozenset(_short(token) for token in tokens if token not in _STOP)


def _short(token: str) -> str:
    if token[0].isdigit():
        return token.replace(",", "")
    return (token.removesuffix("s") if len(token) > 3 else token)[:_PREFIX]
