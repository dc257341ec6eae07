"""The strategy that asks several candidates, or one several times, and goes on to the next level when they disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.reasons import compared
from router_integrations.strategies.votes import (
    Read,
    Voters,
    answers_among,
    expected,
    in_tool_loop,
    left_over,
    level_votes,
    votes_of,
)
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class _Poll:
    """What a level that was asked came to: its answer, if any, with how many of its votes."""

    place: int
    answer: Attempt | None
    votes: int
    of: int
    threshold: float | None

    @property
    def share(self) -> float:
        return self.votes / self.of

    @property
    def reason(self) -> str:
        said = f"{self.votes} of {self.of} votes agree"
        if self.threshold is None:
            return f"the last level: {said}"
        sign = ">=" if self.share >= self.threshold else "<"
        return f"{said}, {compared(self.share, sign, self.threshold)}"


class AgreementCascade:
    """Asks all of a level at once; when enough say the same that is the answer, else the next level is asked.

    A vote that is missing counts against agreement: of a candidate that fails or cannot take the request, or of an
    answer in which `read` finds nothing. A level that cannot reach its threshold without the missing ones is passed
    over. Of equals the earliest answer wins. The answer of the last level is returned however many agree, and streamed
    when one call makes the level. When the last level has no answer, or no level that is left fits the budget, the
    answer with the most agreement so far is returned. Candidates of no level are asked when all others fail. In a tool
    loop the candidate that began it goes on, alone. `Limits.max_calls` (32) must allow for all levels.

    WHEN: multi-stage. WHAT: several answers. HOW: a vote with thresholds. All calls of a level are paid for, and take
    as long as the slowest. `decide` takes O(answers) readings and, with a budget, one estimate.

    Agreement-based cascading (arXiv 2407.02348): several models a level, one vote each. Mixture of thoughts (arXiv
    2310.03094): the first level holds candidates that are one cheap model with different prompts or ways to
    answer (steps in words, a program), each with several samples; its "verify" is ``voters="candidates", accept=1``.

    Args:
        levels: How many answers of each candidate, by name, level by level; a name stands in one level only, and each
            level but the last must have several votes.
        accept: Least share of a level's votes, in (0, 1], for all levels or one for each but the last;
            `calibration.agreement_threshold` chooses it.
        voters: Who has a vote: each of the answers, or each of the candidates, for what most of its answers say.
        read: Takes the answer out of a text, in one form (the last number, the letter of an option), or nothing if it
            has none; `normalized` of `estimators.consistency` by default.
        estimator: What a call will cost, for a budget; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: There is no level, a level has too few votes, a name stands twice, or a threshold is out of
            range.

    >>> pool = tuple(Candidate(name, model=object(), strength=0.5) for name in ("small", "other", "big"))
    >>> cascade = AgreementCascade(levels=[{"small": 1, "other": 1}, {"big": 1}])
    >>> request = Request(text="What is 2 + 2?", candidates=pool)
    >>> calls = cascade.decide(request)
    >>> agree, differ = ([Attempt(call=one, text=text) for one, text in zip(calls, said)] for said in ("44", "45"))
    >>> cascade.decide(request, agree).reason
    '2 of 2 votes agree, 1.00 >= 0.70'
    >>> cascade.decide(request, differ).candidate.name
    'big'
    """

    def __init__(
        self,
        *,
        levels: Sequence[Mapping[str, int]],
        accept: float | Sequence[float] = 0.7,
        voters: Voters = "answers",
        read: Read = None,
        estimator: Estimator | None = None,
    ) -> None:
        if voters not in ("answers", "candidates"):
            raise ConfigurationError(f"AgreementCascade.voters must be 'answers' or 'candidates' but got {voters!r}")
        _check_levels(levels, voters)
        _check_thresholds(accept, len(levels))
        self.levels = levels
        self.accept = accept
        self.voters = voters
        self.read = read
        self.estimator = estimator

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        """Return the calls of the next level, or the end with the answer that most agree on."""
        if loop := in_tool_loop(request):
            return loop
        polls = list(self._polls(attempts))
        if polls and (answer := polls[-1].answer):
            poll = polls[-1]
            if poll.threshold is None or poll.share >= poll.threshold:
                return Stop(attempt=answer, reason=poll.reason, confidence=poll.share)
        estimates = expected(request, attempts, self.estimator)
        if calls := self._next(request, attempts, polls, estimates):
            return calls[0] if len(calls) == 1 else calls
        if answers := answers_among(attempts):
            return _best(polls, answers)
        return _anybody(request, attempts, estimates)

    def _polls(self, attempts: Sequence[Attempt]) -> Iterator[_Poll]:
        """Yield what came of each level that was asked, in order."""
        asked = {one.call.candidate.name for one in attempts if one.call.purpose == "answer"}
        answers = answers_among(attempts)
        for place, level in enumerate(self.levels):
            if asked.isdisjoint(level):
                continue
            answer, votes = level_votes(answers, level, voters=self.voters, read=self.read)
            yield _Poll(
                place=place,
                answer=answer,
                votes=votes,
                of=votes_of(level, self.voters),
                threshold=self._threshold(place),
            )

    def _next(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        polls: Sequence[_Poll],
        estimates: Mapping[str, Estimate],
    ) -> list[Call]:
        """Return the calls of the first level after those asked that can be decided and paid."""
        left = left_over(request, attempts)
        why = polls[-1].reason if polls else "the first level"
        for place in range(polls[-1].place + 1 if polls else 0, len(self.levels)):
            level, threshold = self.levels[place], self._threshold(place)
            able = {one.name: one for one in request.candidates if one.name in level}
            at_most = votes_of({name: level[name] for name in able}, self.voters) / votes_of(level, self.voters)
            if not able or (threshold is not None and at_most < threshold):
                continue
            asked = [able[name] for name in level if name in able for _ in range(level[name])]
            if _affordable(asked, estimates, left):
                final = threshold is None and len(asked) == 1
                return [Call(candidate=one, final=final, reason=why, estimates=estimates) for one in asked]
        return []

    def _threshold(self, place: int) -> float | None:
        """Return the least share at a level; `None` for the last one."""
        if place == len(self.levels) - 1:
            return None
        return self.accept[place] if isinstance(self.accept, Sequence) else self.accept


def _best(polls: Sequence[_Poll], answers: Sequence[Attempt]) -> Stop:
    """Return the end with the answer that had the most agreement."""
    # Of equals the later one, which was dearer.
    best = max((one for one in reversed(polls) if one.answer is not None), key=lambda one: one.share, default=None)
    if best is None:
        return Stop(attempt=answers[-1], reason="no answer says anything, this is the last")
    reason = f"nobody else can be asked; the best answer so far, {best.votes} of {best.of} votes"
    return Stop(attempt=best.answer, reason=reason, confidence=best.share)


def _anybody(request: Request, attempts: Sequence[Attempt], estimates: Mapping[str, Estimate]) -> Call:
    """Return a call to the first who was not asked, of those that fit the budget if any does."""
    asked = {one.call.candidate.name for one in attempts}
    rest = [one for one in request.candidates if one.name not in asked] or request.candidates
    left = left_over(request, attempts)
    fits = [one for one in rest if _affordable([one], estimates, left)]
    return Call(candidate=(fits or rest)[0], final=True, reason="no level can be asked", estimates=estimates)


def _affordable(asked: Sequence[Candidate], estimates: Mapping[str, Estimate], left: float | None) -> bool:
    return left is None or 0 < left >= sum(estimates[one.name].cost or 0.0 for one in asked)


def _check_levels(levels: Sequence[Mapping[str, int]], voters: Voters) -> None:
    if not levels or not all(isinstance(level, Mapping) and level for level in levels):
        raise ConfigurationError(
            f'AgreementCascade.levels must map names to numbers of answers, as in [{{"small": 5}}, {{"big": 1}}], '
            f"but is {levels!r}"
        )
    for place, level in enumerate(levels):
        if any(number < 1 for number in level.values()):
            raise ConfigurationError(f"AgreementCascade.levels must ask for at least 1 answer each but has {level!r}")
        if place < len(levels) - 1 and votes_of(level, voters) < 2:
            raise ConfigurationError(f"a level before the last needs 2 votes at least to agree but has {level!r}")
    names = [name for level in levels for name in level]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"AgreementCascade.levels has {twice} in several levels; give the second Candidate another name"
        )


def _check_thresholds(accept: float | Sequence[float], levels: int) -> None:
    thresholds = accept if isinstance(accept, Sequence) else [accept]
    if isinstance(accept, Sequence) and len(accept) != levels - 1:
        raise ConfigurationError(
            f"AgreementCascade.accept must be one number or {levels - 1}, one for each level but the last, "
            f"but got {accept!r}"
        )
    for value in thresholds:
        if not 0 < value <= 1:
            raise ConfigurationError(f"AgreementCascade.accept must be in (0, 1] but got {value!r}; 0.7 is usual")
