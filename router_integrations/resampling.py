"""Records of a candidate that gives the best of several answers, made from single answers of one model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.learning import Record
from router_integrations.types import Usage

if TYPE_CHECKING:
    import numpy as np

    Sample = tuple[Record, str]


def best_of_n(
    samples: Iterable[tuple[Record, str]],
    *,
    n: int,
    candidate: Candidate,
    reward: Callable[[str, str], float] | None = None,
    resamples: int = 10,
    seed: int = 0,
) -> list[Record]:
    """Return records of `candidate`, which asks a model `n` times and gives the best of its answers.

    Of the answers to each query `n` different ones are drawn, the best is chosen, and its grade is the record's: once
    for each way to draw them, or `resamples` times if there are more ways. A query with fewer than `n` answers is left
    out. Such a record has read the prompt once and written all `n` answers, and took as long as the slowest one.

    BEST-Route (arXiv 2506.22716) chooses among such candidates: learn them with `Matching`, which takes the draws for
    samples. The candidate is declared as any other, with the prices of the model and a `model` of your own that draws,
    chooses, and reports the tokens of all answers; since its records count them all, so does its expected cost.

    Args:
        samples: The graded attempts of one model, several a query, each with the text of its answer.
        n: Answers to choose from, at least 1.
        candidate: Whose records to make, such as ``Candidate("small x3", model=...)``; its prices give the cost.
        reward: How good an answer looks, from the query and the answer; by default the answer given most often wins,
            the one drawn first of several such (self-consistency).
        resamples: Draws per query at most, at least 1.
        seed: Seed of the draws.

    Raises:
        ConfigurationError: `n` or `resamples` is below 1, or the samples are not those of one model.

    >>> texts = ["four", "five", "four"]
    >>> samples = [(Record(text="2+2?", candidate="small", quality=float(text == "four")), text) for text in texts]
    >>> thrice = Candidate("small x3", model=object())
    >>> [(record.candidate, record.quality) for record in best_of_n(samples, n=3, candidate=thrice)]
    [('small x3', 1.0)]
    """
    import numpy as np

    for name, value in (("n", n), ("resamples", resamples)):
        if value < 1:
            raise ConfigurationError(f"best_of_n needs {name} of at least 1 but got {value!r}")
    queries: dict[str, list[Sample]] = {}
    for record, answer in samples:
        queries.setdefault(record.query_id, []).append((record, answer))
    names = sorted({record.candidate for drawn in queries.values() for record, _ in drawn})
    if len(names) > 1:
        raise ConfigurationError(f"best_of_n takes the answers of one model but got those of {names}; call it for each")
    rng = np.random.default_rng(seed)
    return [
        _best(drawn, candidate, reward)
        for answers in queries.values()
        if len(answers) >= n
        for drawn in _draws(answers, n, resamples, rng)
    ]


def _draws(answers: Sequence[Sample], n: int, resamples: int, rng: np.random.Generator) -> Iterator[Sequence[Sample]]:
    if math.comb(len(answers), n) <= resamples:
        yield from combinations(answers, n)
        return
    for _ in range(resamples):
        yield [answers[place] for place in rng.choice(len(answers), n, replace=False)]


def _best(drawn: Sequence[Sample], candidate: Candidate, reward: Callable[[str, str], float] | None) -> Record:
    counts = Counter(answer.strip() for _, answer in drawn)
    scores = [counts[answer.strip()] if reward is None else reward(one.text, answer) for one, answer in drawn]
    chosen = drawn[scores.index(max(scores))][0]
    written = [one.output_tokens for one, _ in drawn if one.output_tokens is not None]
    output_tokens = sum(written) if len(written) == len(drawn) else None
    cost = None
    if output_tokens is not None and chosen.input_tokens is not None:
        cost = candidate.cost(Usage(input_tokens=chosen.input_tokens, output_tokens=output_tokens))
    waited = [one.latency for one, _ in drawn if one.latency is not None]
    return replace(
        chosen,
        candidate=candidate.name,
        cost=cost,
        latency=max(waited) if len(waited) == len(drawn) else None,
        output_tokens=output_tokens,
    )
