"""The strategy that trades quality for latency on a scale of each query's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from router_integrations.errors import ConfigurationError
from router_integrations.types import Attempt, Call, Estimator, Request, Utility


class LatencyTradeoff:
    """Asks the candidate with the highest ``quality - weight · latency``, latency rescaled to [0, 1] for each query.

    0 is the fastest and 1 the slowest of the candidates that no other beats in both; the others are left out, and so
    are those of unknown latency as long as one is known. `Utility(per_second=...)` is the same trade at one price of a
    second for all queries.

    WHEN: pre-generation. WHAT: what the estimator reads. HOW: argmax. The routing rule of CRE-Router's first stage
    (arXiv 2606.27457) over a `ClusterLatency`; `latency_regions` chooses the weight for a latency budget. `decide`
    takes one estimate plus O(candidates · log candidates).

    Args:
        estimator: Predicts quality and latency.
        weight: Quality given up to go from the slowest to the fastest candidate, finite and at least 0.

    Raises:
        ConfigurationError: The weight is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.estimators import Difficulty
    >>> pool = (Candidate("small", model=object(), strength=0.3, latency=1.0, input_price=0.0, output_price=0.0),
    ...         Candidate("big", model=object(), strength=0.9, latency=9.0, input_price=0.0, output_price=0.0))
    >>> hard = Request(text="Prove that there are infinitely many primes.", candidates=pool)
    >>> [LatencyTradeoff(estimator=Difficulty(), weight=weight).decide(hard).candidate.name for weight in (0.0, 1.0)]
    ['big', 'small']
    """

    def __init__(self, *, estimator: Estimator, weight: float = 0.0) -> None:
        if not 0 <= weight < math.inf:
            raise ConfigurationError(f"LatencyTradeoff.weight must be finite and at least 0 but got {weight!r}")
        self.estimator = estimator
        self.weight = weight

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call:
        """Return a final call to the best of the candidates that are left."""
        estimates = self.estimator.estimate(request, request.candidates, attempts)
        budget = request.snapshot.budget
        affordable = [
            place for place, one in enumerate(estimates) if budget is None or one.cost is None or one.cost <= budget
        ]
        left = affordable or range(len(estimates))
        # The price of a pacer counts here as it does in Best.
        utility = Utility(enough=1.0, per_usd=request.snapshot.price)
        place = self._choice({place: (utility(estimates[place]), estimates[place].latency) for place in left})
        after = f" after {attempts[-1].call.candidate.name!r} failed" if attempts else ""
        return Call(
            candidate=request.candidates[place],
            final=True,
            reason=f"best trade of quality {estimates[place].quality:.2f} against latency{after}",
            estimates={one.name: its for one, its in zip(request.candidates, estimates, strict=True)},
        )

    def _choice(self, left: Mapping[int, tuple[float, float | None]]) -> int:
        # A price makes the worth of unknown costs minus infinity; among such the order of the candidates decides.
        timed = {
            place: (worth, latency)
            for place, (worth, latency) in left.items()
            if latency is not None and worth > -math.inf
        }
        return best_trade(rescaled(timed), self.weight) if timed else max(left, key=lambda place: left[place][0])


def rescaled(points: Mapping[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Return the points that none beats in quality and latency, fastest first, with latency rescaled to [0, 1].

    Args:
        points: Quality and latency of each. Of equals the first is kept.

    >>> rescaled({0: (0.9, 5.0), 1: (0.5, 1.0), 2: (0.4, 2.0), 3: (0.8, 3.0)})
    {1: (0.5, 0.0), 3: (0.8, 0.5), 0: (0.9, 1.0)}
    """
    front: dict[int, tuple[float, float]] = {}
    best = -math.inf
    for place in sorted(points, key=lambda place: (points[place][1], -points[place][0])):
        if points[place][0] > best:
            front[place] = points[place]
            best = points[place][0]
    latencies = [latency for _, latency in front.values()]
    low, span = latencies[0], latencies[-1] - latencies[0]
    return {place: (quality, (latency - low) / span if span else 0.0) for place, (quality, latency) in front.items()}


def best_trade(points: Mapping[int, tuple[float, float]], weight: float) -> int:
    """Return the point with the highest quality less `weight` times latency; of equals the first.

    >>> best_trade({1: (0.5, 0.0), 0: (0.9, 1.0)}, 0.3), best_trade({1: (0.5, 0.0), 0: (0.9, 1.0)}, 0.5)
    (0, 1)
    """
    return max(points, key=lambda place: points[place][0] - weight * points[place][1])
