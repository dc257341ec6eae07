"""How many must agree before an answer is accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import answers_of, graded_answers
from router_integrations.learning import Record
from router_integrations.strategies.votes import Read, Voters, level_votes, votes_of
from router_integrations.types import Attempt


def agreement_threshold(
    records: Iterable[Record],
    level: Mapping[str, int],
    *,
    error: float,
    voters: Voters = "answers",
    read: Read = None,
) -> float:
    """Return the least share of votes at which at most `error` of all queries get a wrong answer that is accepted.

    It is `accept` of `AgreementCascade` for this level. On these queries the cascade then is wrong at most `error` more
    often than its later levels alone would be. That is a plain estimate, for which a hundred queries will do; for a
    bound that holds for new queries see `calibrate` with `ErrorRate`. A later level needs records of the queries that
    get there. Takes O(answers · log answers).

    Agreement-based cascading (arXiv 2407.02348).

    Args:
        records: Graded answers of the level's candidates, one for each sample.
        level: How many answers of each candidate, by name, as in `AgreementCascade`; of more records the first.
        error: What may be wrong and accepted, as a share of all queries, in [0, 1).
        voters: As in `AgreementCascade`.
        read: As in `AgreementCascade`.

    Raises:
        ConfigurationError: `error` is out of range, there are no records, or even full agreement is wrong too often.

    >>> said = {"2 + 2?": ("4", "4", "4"), "3 * 3?": ("9", "9", "8"), "7 * 8?": ("54", "56", "54")}
    >>> records = [Record(text=text, candidate="small", quality=float(answer in ("4", "9", "56")), answer=answer)
    ...            for text, answers in said.items() for answer in answers]
    >>> round(agreement_threshold(records, {"small": 3}, error=0.0), 2)
    1.0
    >>> round(agreement_threshold(records, {"small": 3}, error=0.4), 2)
    0.67
    """
    if not 0 <= error < 1:
        raise ConfigurationError(f"agreement_threshold needs error in [0, 1) but got {error!r}; 0.05 is usual")

    def agreed(attempts: Sequence[Attempt]) -> tuple[Attempt | None, int]:
        candidates = {one.call.candidate.name: one.call.candidate for one in attempts}
        first = [
            one
            for name, number in level.items()
            if name in candidates
            for one in answers_of(candidates[name], attempts)[:number]
        ]
        return level_votes(first, level, voters=voters, read=read)

    def about(_: Candidate, attempts: Sequence[Attempt]) -> Attempt:
        return agreed(attempts)[0] or attempts[0]

    own = graded_answers((one for one in records if one.candidate in level), about)
    queries = [next(each) for _, each in groupby(own, lambda one: id(one.request))]
    if not queries:
        raise ConfigurationError(f"the records hold no graded answer of {[*level]}; they need quality= and answer=")
    share = np.array([agreed(one.attempts)[1] for one in queries]) / votes_of(level, voters)
    wrong = 1 - np.array([one.quality for one in queries])
    for tried in np.unique(share[share > 0]):
        if wrong[share >= tried].sum() <= error * len(queries):
            return float(tried)
    raise ConfigurationError(
        f"more than {error!r} of the queries get a wrong answer even from those who agree most; raise error, or ask "
        "candidates that differ more"
    )
