"""Query difficulty against candidate strength, without training and without a download."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import markers
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Attempt, Estimate, Request

_ARITHMETIC = re.compile(r"\d\s*[-+*/^×÷=]\s*[-(]?\s*[\dx-z]")
_SYMBOL = re.compile(r"[∫∑√∂∇≤≥≠∀∃∈±∞]|\\[a-z]{3}")
_ITEM = re.compile(r"\n[ \t]*(?:[-*•]|\d{1,2}[.)、])(?=\s)")
_CODE = ("```", "=>", "->", "::", "</", "{\n", ";\n", "}\n", "):", ") {", "();", "==")
_QUESTIONS = "?？؟"
_BLANKS = str.maketrans(dict.fromkeys(".,;:!?()[]{}<>\"'’`*/\\|=+~@#$%^&?？؟،。、！：；「」《》", " "))
# Characters at either end of the query that are searched for markers.
_WINDOW = 2000
# Weight of each feature; features are in [0, 1]. Set by hand so that each one moves a plain question by what a
# reader would say; not fitted to any data.
_WEIGHTS = {
    "length": 1.6,
    "reasoning": 1.9,
    "maths": 1.7,
    "code": 1.5,
    "constraints": 1.3,
    "script": 0.25,
    "tools": 0.5,
    "schema": 0.2,
    "turns": 0.5,
}
_BIAS = -1.45
# Chosen so that a candidate whose strength equals the difficulty is expected to answer with quality 0.7.
_SLOPE = 6.0
_EVEN = math.log(0.7 / 0.3)
_STD = 0.2
# The price tier of a model that costs nothing, in USD per million tokens.
_FREE = 0.1


class Difficulty:
    """Estimates quality from how hard the query looks and how strong the candidate is.

    WHEN: pre-generation. WHAT: query and model metadata (price). HOW: heuristic. `estimate` takes O(characters +
    candidates); there is no `fit`.

    Quality is ``sigmoid(6·(strength - difficulty) + logit(0.7))``: a candidate as strong as the query is hard is
    expected to reach 0.7. Difficulty is a logistic sum of features that anyone can check with `features`: length,
    reasoning, maths and code markers, constraints, script, tools, schema, turns. Strength is the candidate's own
    `strength`, or comes from its price: 0.35 at 0.1 USD per million tokens or for nothing, 0.2 more for each factor of
    ten.

    Markers are looked for in the first and last 2,000 characters of a query; length counts all of it.

    It knows what a query looks like, not what it means: a short riddle looks easy, and a long text to copy looks hard.
    Markers cover some twenty languages, other ones rest on length, numbers and code alone. On benchmark questions it is
    barely better than chance within one set and worse than chance across sets (tests/benchmarks/difficulty.py): it is
    meant for mixed traffic, until you train a router on records of your own.

    The features follow the difficulty-aware routers of the survey arXiv 2603.04445, section 2.

    Args:
        unknown: Strength of a candidate with neither a strength nor prices, in [0, 1]; `None` refuses it. Where answers
            decide and this is a detail, 0.5 is used.

    >>> easy, hard = Request(text="What is the capital of France?"), Request(text="Prove that sqrt(2) is irrational.")
    >>> Difficulty().difficulty(easy) < Difficulty().difficulty(hard)
    True
    """

    def __init__(self, *, unknown: float | None = None) -> None:
        if unknown is not None and not 0 <= unknown <= 1:
            raise ConfigurationError(f"Difficulty.unknown must be in [0, 1] but got {unknown!r}; 0.5 is halfway")
        self.unknown = unknown

    def features(self, request: Request) -> dict[str, float]:
        """Return the features of the query by name, each in [0, 1].

        >>> Difficulty().features(Request(text="Hi"))["reasoning"]
        0.0
        """
        text = request.text
        sample = text if len(text) <= 2 * _WINDOW else f"{text[:_WINDOW]}\n{text[-_WINDOW:]}"
        words = markers.WORDS.intersection(sample.lower().translate(_BLANKS).split())
        spaced = text.isascii()

        def hits(known: frozenset[str], parts: tuple[str, ...]) -> int:
            return len(words & known) + (0 if spaced else sum(part in sample for part in parts))

        symbols = 0 if spaced and "\\" not in sample else len(_SYMBOL.findall(sample))
        formulas = min(len(_ARITHMETIC.findall(sample)) + symbols, 6)
        # One character is found some forty times faster than two.
        codes = min(sum(sample.count(mark) for mark in _CODE if mark[0] in sample), 6)
        items = min(len(_ITEM.findall(f"\n{sample}")), 6) + max(sum(map(sample.count, _QUESTIONS)) - 1, 0)
        return {
            "length": min(math.log2(1 + estimate_tokens(text) / 16) / 7, 1.0),
            "reasoning": _share(hits(markers.REASONING, markers.REASONING_PARTS), 2),
            "maths": _share(hits(markers.MATHS, markers.MATHS_PARTS) + formulas, 3),
            "code": _share(hits(markers.CODE, markers.CODE_PARTS) + codes, 4),
            "constraints": _share(hits(markers.CONSTRAINTS, markers.CONSTRAINT_PARTS) + items, 5),
            "script": 0.0 if spaced else _foreign(sample),
            "tools": _share(len(request.tools), 8),
            "schema": float(request.schema is not None),
            "turns": _share(request.turns - 1, 10),
        }

    def difficulty(self, request: Request) -> float:
        """Return how hard the query looks, in [0, 1].

        >>> round(Difficulty().difficulty(Request(text="Hi")), 2)
        0.19
        """
        features = self.features(request)
        return _sigmoid(_BIAS + sum(_WEIGHTS[name] * value for name, value in features.items()))

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order.

        Raises:
            ConfigurationError: A candidate has neither a strength nor a price, and `unknown` is `None`.
        """
        difficulty = self.difficulty(request)
        # Harder questions get longer answers; all candidates are priced for the same length.
        output_tokens = min(150 + 600 * difficulty, request.max_output_tokens or math.inf)
        return [
            Estimate(
                quality=_sigmoid(_SLOPE * (self._strength(candidate) - difficulty) + _EVEN),
                std=_STD,
                cost=candidate.expected_cost(request, output_tokens),
                latency=candidate.latency,
            )
            for candidate in candidates
        ]

    def _strength(self, candidate: Candidate) -> float:
        known = candidate.strength is not None or None not in (candidate.input_price, candidate.output_price)
        return self.unknown if self.unknown is not None and not known else strength(candidate)


def strength(candidate: Candidate) -> float:
    """Return how capable a candidate is taken to be, in [0, 1]: its own word, or its price tier.

    Raises:
        ConfigurationError: It has neither.

    >>> strength(Candidate("mine", model=object(), strength=0.8))
    0.8
    >>> round(strength(Candidate("openai/gpt-4o-mini")), 2)
    0.43
    """
    if candidate.strength is not None:
        return candidate.strength
    if candidate.input_price is None or candidate.output_price is None:
        raise ConfigurationError(
            f"{candidate.name!r} has neither a strength nor prices, so nobody can say what it is good for; "
            "give strength= in [0, 1], or input_price= and output_price= in USD per token"
        )
    # Three tokens read for one written is the usual blend.
    per_million = (3 * candidate.input_price + candidate.output_price) / 4 * 1e6
    # A model that costs nothing runs on the user's own machine, so it is small, not worthless.
    return min(max(0.55 + 0.2 * math.log10(per_million or _FREE), 0.0), 1.0)


def _share(count: int, full: int) -> float:
    return min(count / full, 1.0)


def _foreign(text: str) -> float:
    """Return the share of characters that are not ASCII."""
    return 1.0 - len(text.encode("ascii", "ignore")) / len(text)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
