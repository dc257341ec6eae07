"""What the strategies that vote share: who says what, whom the most agree with, and what is left of the budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from router_integrations.estimators.answers import UNPRIMED, said
from router_integrations.estimators.consistency import normalized
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request

Read = Callable[[str], str] | None
# Who has a vote: each answer, or each candidate for what most of its answers say.
Voters = Literal["answers", "candidates"]


def winner(answers: Sequence[Attempt], read: Read = None) -> tuple[Attempt | None, int]:
    """Return the first answer that says what most of `answers` say, and how many do; of equals the earliest.

    Args:
        answers: Who votes; those in which `read` finds nothing do not.
        read: Takes the answer out of a text, in one form; `normalized` by default.

    >>> from router_integrations.candidates import Candidate
    >>> call = Call(candidate=Candidate("small", model=object()))
    >>> first, votes = winner([Attempt(call=call, text=text) for text in ("5", "4", "It says: 4", "", "4.")])
    >>> first.text, votes
    ('4', 2)
    >>> winner([])
    (None, 0)
    """
    texts = [said(answer, read or normalized) for answer in answers]
    votes = Counter(text for text in texts if text)
    if not votes:
        return None, 0
    text, count = votes.most_common(1)[0]
    return answers[texts.index(text)], count


def level_votes(
    answers: Sequence[Attempt], level: Mapping[str, int], *, voters: Voters = "answers", read: Read = None
) -> tuple[Attempt | None, int]:
    """Return the answer that a level agrees on most, and how many of its votes it has; of equals the earliest.

    Args:
        answers: Among them those of the level.
        level: How many answers of each candidate, by name.
        voters: As in `AgreementCascade`.
        read: As in `winner`.

    >>> from router_integrations.candidates import Candidate
    >>> small, other = (Call(candidate=Candidate(name, model=object())) for name in ("small", "other"))
    >>> answers = [Attempt(call=call, text=text) for call, text in ((small, "5"), (small, "5"), (other, "4"))]
    >>> [level_votes(answers, {"small": 2, "other": 1}, voters=who)[1] for who in ("answers", "candidates")]
    [2, 1]
    """
    own = [one for one in answers if one.call.candidate.name in level]
    if voters == "candidates":
        each = (winner([one for one in own if one.call.candidate.name == name], read) for name in level)
        own = [one for one, _ in each if one is not None]
    return winner(own, read)


def votes_of(level: Mapping[str, int], voters: Voters) -> int:
    """Return how many votes a level has.

    >>> votes_of({"small": 2, "other": 1}, "answers"), votes_of({"small": 2, "other": 1}, "candidates")
    (3, 2)
    """
    return sum(level.values()) if voters == "answers" else len(level)


def answers_among(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the replies that are answers, without failures and verdicts.

    >>> from router_integrations.candidates import Candidate
    >>> call = Call(candidate=Candidate("small", model=object()), purpose="judge")
    >>> answers_among([Attempt(call=call)])
    []
    """
    return [one for one in attempts if is_answer(one)]


def is_answer(attempt: Attempt) -> bool:
    """Return whether an attempt is an answer, no failure and no verdict.

    >>> from router_integrations.candidates import Candidate
    >>> is_answer(Attempt(call=Call(candidate=Candidate("small", model=object()), purpose="judge")))
    False
    """
    return attempt.error is None and attempt.call.purpose == "answer"


def in_tool_loop(request: Request) -> Call | None:
    """Return the call to the candidate that began the tool loop, if it can go on; nobody votes there.

    >>> in_tool_loop(Request(text="Hi")) is None
    True
    """
    locked = request.snapshot.locked
    began = next((one for one in request.candidates if one.name == locked), None)
    return None if began is None else Call(candidate=began, final=True, reason="it began the tool loop")


def left_over(request: Request, attempts: Sequence[Attempt]) -> float | None:
    """Return the USD of the budget that `attempts` have left; `None` without a budget.

    >>> left_over(Request(text="Hi"), ()) is None
    True
    """
    budget = request.snapshot.budget
    return None if budget is None else budget - sum(one.cost or 0.0 for one in attempts)


def expected(request: Request, attempts: Sequence[Attempt], estimator: Estimator | None) -> dict[str, Estimate]:
    """Return what is expected of each candidate, by name.

    Without an estimator there is nothing to know but what fits a budget; without a budget nothing at all.

    >>> expected(Request(text="Hi"), (), None)
    {}
    """
    if estimator is None and request.snapshot.budget is None:
        return {}
    found = (estimator or UNPRIMED).estimate(request, request.candidates, attempts)
    return {one.name: its for one, its in zip(request.candidates, found, strict=True)}
