"""What the user wants beside quality, as weights, and as flags in the prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.types import Attempt, Estimate, Estimator, Request

_FLAG = re.compile(r"\[flag:([^\[\]]{0,100})\][ \t]*", re.IGNORECASE)


class Constrained:
    """Weighs quality against what else a candidate costs: its size, its age, anything between 0 and 1.

    WHEN: pre-generation. WHAT: query and candidate metadata. HOW: heuristic on top of another estimator. The estimate's
    quality becomes ``(quality + Σ weight·(1 - cost)) / (1 + Σ weight)``, the weighted mean of quality and of how well
    each wish is met. It orders candidates as ``quality - Σ weight·cost`` does, and stays in [0, 1], so that every
    strategy honours it; `Utility.enough` is then about this mean. Without a weight nothing changes. A candidate whose
    cost is not given counts as costing 1. `estimate` takes that of the estimator plus O(characters + candidates).

    A user may write ``[Flag: smallest model]`` anywhere in the query. A phrase that `flags` knows (upper or lower case)
    sets weights for this request, the last flag winning; the estimator does not see it, the model that answers does. A
    phrase that `flags` does not know is plain text. Who can write the query can set those flags and no others.

    The constraints of Tryage (arXiv 2308.11601).

    Args:
        estimator: Predicts quality, cost and latency; `Difficulty()` by default.
        costs: For each constraint, its cost in [0, 1] of each candidate by name; 0 is best.
        weights: What each constraint weighs where quality weighs 1, finite and at least 0; 0 where it is left out.
        flags: For each phrase, the weights that it sets.

    Raises:
        ConfigurationError: A number is out of range, or a weight is for a constraint without costs.

    >>> pool = [Candidate("small", model=object(), strength=0.3), Candidate("large", model=object(), strength=0.9)]
    >>> constrained = Constrained(costs={"size": {"small": 0.1, "large": 1.0}}, flags={"smallest model": {"size": 2.0}})
    >>> for text in ("Prove Fermat's theorem", "[Flag: smallest model] Prove Fermat's theorem"):
    ...     small, large = constrained.estimate(Request(text=text), pool)
    ...     print(small.quality < large.quality)
    True
    False
    """

    def __init__(
        self,
        *,
        estimator: Estimator | None = None,
        costs: Mapping[str, Mapping[str, float]] | None = None,
        weights: Mapping[str, float] | None = None,
        flags: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.estimator = estimator
        self.costs = costs
        self.weights = weights
        self.flags = flags
        self._estimator: Estimator = Difficulty() if estimator is None else estimator
        self._costs = costs or {}
        self._flags = {phrase.strip().casefold(): sets for phrase, sets in (flags or {}).items()}
        for name, by_candidate in self._costs.items():
            for candidate, cost in by_candidate.items():
                if not 0 <= cost <= 1:
                    raise ConfigurationError(
                        f"Constrained.costs must be in [0, 1] but {name!r} of {candidate!r} is {cost!r}; "
                        "divide by the largest"
                    )
        for given in (weights or {}, *self._flags.values()):
            self._check(given)

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        weights = dict(self.weights or {})

        def read(flag: re.Match[str]) -> str:
            sets = self._flags.get(flag[1].strip().casefold())
            weights.update(sets or {})
            return flag[0] if sets is None else ""

        bare = replace(request, text=_FLAG.sub(read, request.text)) if self._flags else request
        estimates = self._estimator.estimate(bare, candidates, attempts)
        whole = 1 + sum(weights.values())
        return [
            # Rounding may reach just beyond 1.
            replace(one, quality=min((one.quality + self._met(candidate, weights)) / whole, 1.0), std=one.std / whole)
            for candidate, one in zip(candidates, estimates, strict=True)
        ]

    def _met(self, candidate: Candidate, weights: Mapping[str, float]) -> float:
        return sum(weight * (1 - self._costs[name].get(candidate.name, 1.0)) for name, weight in weights.items())

    def _check(self, weights: Mapping[str, float]) -> None:
        for name, weight in weights.items():
            if name not in self._costs:
                raise ConfigurationError(f"Constrained has a weight for {name!r} but no costs; it has {[*self._costs]}")
            if not (weight >= 0 and math.isfinite(weight)):
                raise ConfigurationError(
                    f"Constrained needs weights that are finite and at least 0 but {name!r} has {weight!r}"
                )
