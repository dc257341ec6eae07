"""The strategy that plans, after each answer, whom else it pays to ask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answer_quality import AnswerQuality
from router_integrations.estimators.answers import Need, refuse_unasked
from router_integrations.strategies.votes import answers_among
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Stop, Utility

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_SAMPLES = 128
# Beyond this many sets, which twelve candidates cannot reach, the least worthy are forgotten.
_WIDEST = 4096
_CENTRINGS = 8
# Gains below it are noise of rounding.
_NOTHING = 1e-9


class CascadeRouting:
    """Asks the cheapest of the best set of candidates, looks at the answer, and plans anew, until nobody is worth it.

    A set is worth the expected highest quality among its members less what it costs: ``E[min(max quality, enough)] -
    per_usd · sum of costs``, with the price of a `Pacer` (`Snapshot.price`) on top. The qualities are drawn from
    normal distributions around the estimates, cut to [0, 1]. `Estimate.std` is how far an estimate may still move when
    its candidate answers (`PrePost` learns it), so an answer that has been looked at has little or none. When no set
    with others is worth more than what has been answered, the answer of the highest quality is returned. With `order`
    it is the optimal cascade, which skips nobody.

    Of sets worth the same, the one expected to cost least is taken, asked from the cheapest up until an answer is good
    enough. So with the default utility, which has no price, a cheap candidate is asked first where it may well be good
    enough. Who fails is left out, and so are sets that cost more than what is left of the budget. In a tool loop the
    candidate that began it goes on, unchecked.

    WHEN: multi-stage. WHAT: query, answers and expected costs. HOW: argmax over sets, by 128 quasi-random draws.
    A candidate that adds less to a set than it costs is never tried with a larger one, which is exact for up to twelve
    candidates; of more, the 4,096 worthiest sets are followed. `decide` takes one estimate plus at most 128 times
    that many steps, about a millisecond with eleven candidates.

    Dekoninck et al., "A Unified Approach to Routing and Cascading for LLMs" (arXiv 2410.10347).

    Args:
        estimator: Predicts before a call and looks at the answer after it, as `PrePost` does, and every estimator of
            answers with its `prior`; ``AnswerQuality()`` by default.
        utility: What quality is worth; by default quality beyond 0.7 is worth nothing more. `optimism` moves each
            estimate before the draws.
        order: ``"any"``, or the names of the candidates in the order of a cascade (others only when all of these
            fail).
        max_depth: Answers to ask for at most, at least 1.
        seed: Seed of the draws.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.estimators import TokenConfidence
    >>> pool = (Candidate("small", model=object(), strength=0.5, input_price=1e-7, output_price=4e-7),
    ...         Candidate("big", model=object(), strength=0.9, input_price=3e-6, output_price=1e-5))
    >>> strategy = CascadeRouting(estimator=TokenConfidence(), utility=Utility(enough=1, per_usd=10))
    >>> request = Request(text="What is 2 + 2?", candidates=pool)
    >>> first = strategy.decide(request)
    >>> unsure, sure = (Attempt(call=first, text="4", logprobs=(one,)) for one in (-2.0, 0.0))
    >>> first.candidate.name, strategy.decide(request, [unsure]).candidate.name, strategy.decide(request, [sure]).reason
    ('small', 'big', "nobody else is worth asking; 'small' answered best, 1.00")
    """

    def __init__(
        self,
        *,
        estimator: Estimator | None = None,
        utility: Utility | None = None,
        order: Literal["any"] | Sequence[str] = "any",
        max_depth: int = 5,
        seed: int = 0,
    ) -> None:
        if isinstance(order, str) and order != "any":
            raise ConfigurationError(f"CascadeRouting.order must be 'any' or a list of names but got {order!r}")
        if not order or (order != "any" and len({*order}) < len(order)):
            raise ConfigurationError(f"CascadeRouting.order must name candidates, each once, but got {order!r}")
        if max_depth < 1:
            raise ConfigurationError(f"CascadeRouting.max_depth must be at least 1 but got {max_depth!r}; 5 is usual")
        self.estimator = estimator
        self.utility = utility
        self.order = order
        self.max_depth = max_depth
        self.seed = seed
        self._estimator: Estimator = estimator if estimator is not None else AnswerQuality()
        refuse_unasked("CascadeRouting", self._estimator)
        self._utility = utility if utility is not None else Utility()

    @property
    def uses(self) -> frozenset[Need]:
        """What answers should carry where they can."""
        uses: frozenset[Need] = getattr(self._estimator, "uses", frozenset())
        return uses

    def demands(self, candidates: Sequence[Candidate]) -> dict[str, frozenset[Need]]:
        """Return what the answers of each candidate must carry, by name; with one to ask nobody looks."""
        looks = min(self.max_depth, len(candidates)) > 1
        return {one.name: getattr(self._estimator, "needs", frozenset()) for one in candidates if looks}

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Stop:
        """Return a call to the cheapest of the best set, or the end with the best answer."""
        answers = answers_among(attempts)
        asked = {one.call.candidate.name: one.call.candidate for one in answers}
        known = {one.name: one for one in request.candidates} | asked
        found = self._estimator.estimate(request, tuple(known.values()), attempts)
        estimates = dict(zip(known, found, strict=True))
        locked = next((one for one in request.candidates if one.name == request.snapshot.locked), None)
        if locked is not None:
            return _call(request, locked, estimates, "it began the tool loop", final=True)
        left = self._left(request, asked) if len(asked) < self.max_depth else []
        plan = self._plan(request, estimates, asked, left, sum(one.cost or 0.0 for one in attempts))
        if answers and not plan:
            best = max(reversed(answers), key=lambda one: estimates[one.call.candidate.name].quality)
            name, quality = best.call.candidate.name, estimates[best.call.candidate.name].quality
            why = f"nobody else is worth asking; {name!r} answered best, {quality:.2f}"
            return Stop(attempt=best, reason=why, confidence=quality)
        in_order = self.order != "any"
        if not plan:
            # No cost is known where it counts, or nobody is within the budget, which the engine tells the caller.
            plan = left[:1] if in_order else [max(left, key=lambda one: estimates[one.name].quality)]
        chosen = plan[0] if in_order else min(plan, key=lambda one: _cost(estimates[one.name]))
        alone = not answers and (self.max_depth == 1 or len(left) == 1)
        names = " and ".join(repr(one.name) for one in plan)
        after = f" after {', '.join(repr(name) for name in asked)}" if asked else ""
        return _call(request, chosen, estimates, f"the best to ask{after}: {names}", final=alone)

    def _left(self, request: Request, asked: Mapping[str, Candidate]) -> list[Candidate]:
        """Return who can still be asked, in the order of the cascade if there is one."""
        left = {one.name: one for one in request.candidates if one.name not in asked}
        if self.order == "any":
            return list(left.values())
        # When all of the cascade are out of service, anybody else is better than nobody.
        named = [left[name] for name in self.order if name in left]
        return named or ([] if asked else list(left.values()))

    def _plan(
        self,
        request: Request,
        estimates: Mapping[str, Estimate],
        asked: Mapping[str, Candidate],
        left: Sequence[Candidate],
        spent: float,
    ) -> list[Candidate]:
        """Return whom to ask beside those who have answered; nobody when that is best."""
        import numpy as np

        price = self._utility.per_usd + request.snapshot.price
        utility = replace(self._utility, enough=1.0, per_usd=price, optimism=0.0)
        budget = request.snapshot.budget
        draws = self._draws(estimates)
        answered = np.array([draws[name] for name in asked])
        sets = _Sets(
            answered=answered.max(axis=0) if asked else np.full(_SAMPLES, -math.inf),
            qualities=[draws[one.name] for one in left],
            # What it takes off the utility, whatever the quality.
            prices=[-utility(replace(estimates[one.name], quality=0.0)) for one in left],
            costs=[_cost(estimates[one.name]) for one in left],
            enough=self._utility.enough,
            budget=math.inf if budget is None else budget - spent,
        )
        best = sets.best(self.max_depth - len(asked), prefixes=self.order != "any")
        return [left[place] for place in best]

    def _draws(self, estimates: Mapping[str, Estimate]) -> dict[str, Floats]:
        """Return the draws of what each candidate's quality is worth."""
        import numpy as np

        means = np.array([one.quality + self._utility.optimism * one.std for one in estimates.values()])
        stds = np.array([one.std for one in estimates.values()])
        return dict(zip(estimates, np.minimum(draw(means, stds, self.seed), self._utility.enough), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sets:
    """What there is to choose from: draws by candidate, and what asking each takes off the utility and the budget."""

    answered: Floats
    qualities: Sequence[Floats]
    prices: Sequence[float]
    costs: Sequence[float]
    enough: float
    budget: float

    def best(self, size: int, *, prefixes: bool) -> list[int]:
        """Return the places of the candidates of the worthiest set; none when that is the answered alone.

        Of equals the one expected to cost least. The worth of one more falls with the size of a set, so that a set in
        which a member is not worth its price need not be grown.
        """
        import numpy as np

        count = len(self.qualities)
        sets, highest = np.zeros((1, count), dtype=bool), self.answered[None]
        price, cost, expected, worth = np.zeros(1), np.zeros(1), np.zeros(1), np.array([self.answered.mean()])
        places = range(count) if prefixes else sorted(range(count), key=self.costs.__getitem__)
        for place in places:
            paid = 0.0 if math.isinf(self.costs[place]) else self.costs[place]
            grown = (sets.sum(axis=1) < size) & (cost + paid <= self.budget) & (self.budget > 0)
            if prefixes:
                grown &= sets[:, :place].all(axis=1)
            raised = np.maximum(highest[grown], self.qualities[place])
            prices = price[grown] + self.prices[place]
            value = raised.mean(axis=1) - prices
            asked = (highest[grown] < self.enough - _NOTHING).mean(axis=1)
            # Who takes nothing off may spare somebody dear.
            spares = (asked > 0) & (self.prices[place] <= 0)
            kept = (value > worth[grown] + _NOTHING) | prefixes | spares
            more = sets[grown][kept]
            more[:, place] = True
            expected = np.concatenate([expected, (expected[grown] + paid * asked)[kept]])
            sets, highest = np.concatenate([sets, more]), np.concatenate([highest, raised[kept]])
            price, worth = np.concatenate([price, prices[kept]]), np.concatenate([worth, value[kept]])
            cost = np.concatenate([cost, cost[grown][kept] + paid])
            if len(worth) > _WIDEST:
                first = np.argsort(-worth, kind="stable")[:_WIDEST]
                sets, highest, price, cost = (one[first] for one in (sets, highest, price, cost))
                expected, worth = expected[first], worth[first]
        unknown = sets @ np.isinf(self.costs) if count else np.zeros(1)
        equal = np.flatnonzero(worth >= worth.max() - _NOTHING)
        chosen = min(equal, key=lambda row: (unknown[row], expected[row], sets[row].sum()))
        return [int(place) for place in np.flatnonzero(sets[chosen])]


def draw(means: Floats, stds: Floats, seed: int) -> Floats:
    """Return 128 draws of each quality: normal, cut to [0, 1], and moved so that the mean stays, to within 0.003.

    Args:
        means: Expected qualities, the candidates in the last axis.
        stds: How far each may move, of the same shape.
        seed: Seed of the draws.

    >>> import numpy as np
    >>> drawn = draw(np.array([0.5, 0.9, 0.7]), np.array([0.1, 0.3, 0.0]), 0)
    >>> drawn.mean(axis=1).round(2).tolist(), float(drawn.max()), drawn[2].min() == drawn[2].max()
    ([0.5, 0.9, 0.7], 1.0, np.True_)
    """
    import numpy as np

    means = np.clip(means, 0.0, 1.0)
    # No quality with this mean can move further.
    stds = np.minimum(stds, np.sqrt(means * (1 - means)))
    if not stds.any():
        return np.repeat(means[..., None], _SAMPLES, axis=-1)
    moves = stds[..., None] * _normal(means.shape[-1], seed)
    centres = means
    for _ in range(_CENTRINGS):
        drawn = np.clip(centres[..., None] + moves, 0.0, 1.0)
        centres = centres + means - drawn.mean(axis=-1)
    return np.clip(centres[..., None] + moves, 0.0, 1.0)


@lru_cache(maxsize=64)
def _normal(count: int, seed: int) -> Floats:
    """Return a row of draws for each of `count` candidates, with mean 0 and standard deviation 1."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    draws = ndtri(qmc.Sobol(count, seed=seed).random(_SAMPLES)).T
    centred = draws - draws.mean(axis=1, keepdims=True)
    normal: Floats = centred / centred.std(axis=1, keepdims=True)
    normal.flags.writeable = False
    return normal


def _cost(estimate: Estimate) -> float:
    return math.inf if estimate.cost is None else estimate.cost


def _call(
    request: Request, candidate: Candidate, estimates: Mapping[str, Estimate], reason: str, *, final: bool
) -> Call:
    expected = {one.name: estimates[one.name] for one in request.candidates}
    return Call(candidate=candidate, final=final, reason=reason, estimates=expected)
