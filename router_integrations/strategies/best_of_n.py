"""The strategy that asks for several answers at once and returns the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.strategies.votes import Read, answers_among, expected, in_tool_loop, left_over, winner
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Stop

Reward = Callable[[Request, Attempt], float] | None


class BestOfN:
    """Asks one candidate for `n` answers at once and returns the most common one, or the one with the highest reward.

    Of equals the earliest wins. All answers are paid for. A call that fails has no vote; when all fail, the next
    candidates are asked. When a budget does not pay for `n`, fewer are asked for. Nothing is shown before the vote; a
    single call is streamed. In a tool loop the candidate that began it goes on, once. The candidate must not be
    deterministic (temperature above 0), and `Limits.max_calls` (32) must allow ``n * top`` calls.

    WHEN: post-generation. WHAT: several answers. HOW: a vote, or the user's reward. `decide` takes O(candidates)
    before, with an estimator or a budget one estimate, and O(n) readings of an answer or rewards after.

    Self-consistency is arXiv 2203.11171. With `top=2` and an estimator that ranks the candidates by the clusters of
    queries they answer well, it is the vote of Avengers (arXiv 2505.19797).

    Args:
        n: Answers of each candidate, at least 1.
        order: Whom to ask: names, in order (others only when all of these fail), or an estimator, by the quality it
            expects; `None` is the order of the request.
        top: How many of those are asked at once, at least 1.
        read: Takes the answer out of a text, in one form (the last number, say), or nothing if it has none, which then
            has no vote; `normalized` of `estimators.consistency` by default.
        reward: How good an answer is, any finite number; `None` votes.

    Raises:
        ConfigurationError: A number is below 1, or a name stands twice in the order.

    >>> pool = (Candidate("small", model=object(), strength=0.5),)
    >>> strategy, request = BestOfN(n=3), Request(text="What is 2 + 2?", candidates=pool)
    >>> calls = strategy.decide(request)
    >>> replies = [Attempt(call=call, text=text) for call, text in zip(calls, ("5", "4", "4."), strict=True)]
    >>> stop = strategy.decide(request, replies)
    >>> stop.attempt.text, stop.reason
    ('4', '2 of 3 answers say so')
    """

    def __init__(
        self,
        *,
        n: int = 5,
        order: Sequence[str] | Estimator | None = None,
        top: int = 1,
        read: Read = None,
        reward: Reward = None,
    ) -> None:
        for option, number in (("n", n), ("top", top)):
            if number < 1:
                raise ConfigurationError(f"BestOfN.{option} must be at least 1 but got {number!r}; 1 asks once")
        if isinstance(order, str) or (isinstance(order, Sequence) and (not order or len({*order}) < len(order))):
            raise ConfigurationError(f"BestOfN.order must name candidates in a list, each once, but got {order!r}")
        self.n = n
        self.order = order
        self.top = top
        self.read = read
        self.reward = reward

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        """Return the calls to make at once, or the end with the winner."""
        if loop := in_tool_loop(request):
            return loop
        if answers := answers_among(attempts):
            return self._pick(request, answers)
        estimates = expected(request, attempts, self.order if isinstance(self.order, Estimator) else None)
        asked = self._ranked(request, estimates)[: self.top]
        times = self._times(asked, estimates, left_over(request, attempts))
        single = times * len(asked) == 1
        why = "asked once" if single else f"one of {times * len(asked)} answers"
        calls = [
            Call(candidate=one, final=single, reason=why, estimates=estimates) for one in asked for _ in range(times)
        ]
        return calls[0] if single else calls

    def _pick(self, request: Request, answers: Sequence[Attempt]) -> Stop:
        if self.reward is not None:
            rewards = [self.reward(request, one) for one in answers]
            known = [-math.inf if math.isnan(one) else one for one in rewards]
            best = max(known)
            return Stop(attempt=answers[known.index(best)], reason=f"highest reward of {len(answers)}, {best:g}")
        attempt, votes = winner(answers, self.read)
        if attempt is None:
            return Stop(attempt=answers[0], reason=f"none of {len(answers)} answers says anything, this is the first")
        reason = f"{votes} of {len(answers)} answers say so"
        return Stop(attempt=attempt, reason=reason, confidence=votes / len(answers))

    def _ranked(self, request: Request, estimates: Mapping[str, Estimate]) -> list[Candidate]:
        if self.order is None:
            return list(request.candidates)
        if isinstance(self.order, Estimator):
            return sorted(request.candidates, key=lambda one: -estimates[one.name].quality)
        places = {name: place for place, name in enumerate(self.order)}
        named = sorted((one for one in request.candidates if one.name in places), key=lambda one: places[one.name])
        return named or list(request.candidates)

    def _times(self, asked: Sequence[Candidate], estimates: Mapping[str, Estimate], left: float | None) -> int:
        """Return how often each is asked: `n` times, or as often as the budget allows, but once."""
        each = 0.0 if left is None else sum(estimates[one.name].cost or 0.0 for one in asked)
        return min(self.n, max(int(left / each), 1)) if left and each else self.n
