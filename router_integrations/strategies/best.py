"""The strategy that picks before generation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from router_integrations.estimators.difficulty import Difficulty
from router_integrations.reasons import compared
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Utility


class Best:
    """Asks the candidate with the highest utility; of equals the cheapest, then the first in the user's order.

    WHEN: pre-generation. WHAT: what the estimator reads (by default the query and the candidates' prices). HOW: argmax
    of `utility` over the estimator's estimates. With the default utility: the cheapest candidate that is expected to
    answer well, else the one expected to answer best. The price of a `Pacer` (`Snapshot.price`) counts on top of the
    utility's `per_usd`. `decide` takes one estimate plus O(candidates).

    Args:
        estimator: Predicts quality and cost; `Difficulty()` by default.
        utility: What quality is worth; by default quality beyond 0.7 is worth nothing more.

    >>> from router_integrations.candidates import Candidate
    >>> pool = (Candidate("small", model=object(), strength=0.3, input_price=1e-7, output_price=4e-7),
    ...         Candidate("big", model=object(), strength=0.9, input_price=3e-6, output_price=1e-5))
    >>> Best().decide(Request(text="What is the capital of France?", candidates=pool)).candidate.name
    'small'
    """

    def __init__(self, *, estimator: Estimator | None = None, utility: Utility | None = None) -> None:
        self.estimator = estimator
        self.utility = utility
        self._estimator: Estimator = estimator if estimator is not None else Difficulty()
        self._utility = utility if utility is not None else Utility()

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call:
        """Return a final call to the best of the candidates that are left."""
        estimates = self._estimator.estimate(request, request.candidates, attempts)
        pairs = list(zip(request.candidates, estimates, strict=True))
        affordable = [pair for pair in pairs if self._affordable(pair[1], request)]
        utility = _at_price(self._utility, request.snapshot.price)
        candidate, estimate = max(affordable or pairs, key=lambda pair: _rank(utility, pair[1]))
        return Call(
            candidate=candidate,
            final=True,
            reason=_reason(utility, estimate, attempts),
            estimates={one.name: its for one, its in pairs},
        )

    def _affordable(self, estimate: Estimate, request: Request) -> bool:
        budget = request.snapshot.budget
        return budget is None or estimate.cost is None or estimate.cost <= budget


def _at_price(utility: Utility, price: float) -> Utility:
    return replace(utility, per_usd=utility.per_usd + price) if price else utility


def _rank(utility: Utility, estimate: Estimate) -> tuple[float, float, float]:
    cost = math.inf if estimate.cost is None else estimate.cost
    return (utility(estimate), -cost, estimate.quality)


def _reason(utility: Utility, estimate: Estimate, attempts: Sequence[Attempt]) -> str:
    after = f" after {attempts[-1].call.candidate.name!r} failed" if attempts else ""
    if estimate.quality >= utility.enough and not utility.per_usd:
        return f"cheapest with expected quality {compared(estimate.quality, '>=', utility.enough)}{after}"
    return f"highest utility, expected quality {estimate.quality:.2f}{after}"
