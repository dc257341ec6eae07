"""Policies of a judged cascade: whether an answer with so much confidence is kept or a larger candidate asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal, Self

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

# The confidence, and the grades of the small and of the large candidate's answer, each in [0, 1].
Case = tuple[float, float, float]

# Rewards that AutoMix tries for an answer that needs the large candidate, and what asking it costs beside them.
_REWARDS, _PRICE = 5000, 100.0
# A grade from which an answer is right.
_RIGHT = 0.5


class EscalationPolicy:
    """Base of the policies: which levels of confidence are escalated; a subclass writes `_proposals`.

    Confidence is rounded to one of ``steps + 1`` levels. Before `fit` up to half is escalated. `fit` keeps the proposal
    with the most quality gained per cost added, which is the one with the highest ΔIBC (`evaluation.ibc_lift`); when
    nothing gains, nothing is escalated. `escalates` takes O(1).

    Aggarwal et al., "AutoMix" (arXiv 2310.12963).

    Args:
        steps: Levels told apart, less one; the number of verdicts, when confidence is a share of them. At least 1.

    Attributes:
        escalates_: Whether each level is escalated, from 0 up; `None` before `fit`.

    Raises:
        ConfigurationError: `steps` is below 1.

    >>> Thresholds().escalates(0.5), Thresholds().escalates(0.625)
    (True, False)
    """

    escalates_: tuple[bool, ...] | None = None

    def __init__(self, *, steps: int = 8) -> None:
        if steps < 1:
            raise ConfigurationError(f"{type(self).__name__}.steps must be at least 1 but got {steps!r}; 8 is usual")
        self.steps = steps

    def escalates(self, confidence: float) -> bool:
        """Return whether an answer with this confidence, in [0, 1], is passed over for the next candidate's."""
        if self.escalates_ is None:
            return confidence <= 0.5
        return self.escalates_[int(confidence * self.steps + 0.5)]

    def fit(self, cases: Iterable[Case], *, escalation: float = 50.0, verification: float = 1.0) -> Self:
        """Forget what was known and learn which levels to escalate; return the policy.

        Args:
            cases: One for each query: confidence in the small candidate's answer, its grade, the large one's grade.
            escalation: Cost of the large candidate's answer, above 0, in any unit.
            verification: Cost of the verdicts on one answer, at least 0, in the same unit.

        Raises:
            ConfigurationError: There is no case, or a number is out of range.
        """
        import numpy as np

        if not (escalation > 0 and verification >= 0):
            raise ConfigurationError(
                f"{type(self).__name__}.fit needs escalation > 0 and verification >= 0 but got {escalation!r} and "
                f"{verification!r}"
            )
        confidence, small, large = _columns(cases)
        level = (confidence * self.steps + 0.5).astype(int)
        asked = np.bincount(level, minlength=self.steps + 1)
        gained = np.bincount(level, weights=large - small, minlength=self.steps + 1)
        proposed = self._proposals(level, small, large)
        # Nobody escalated comes first, so that it wins where nothing gains.
        proposed = np.vstack([np.zeros(self.steps + 1, dtype=bool), proposed])
        added = proposed @ asked * escalation + len(level) * verification
        slope = np.divide(proposed @ gained, added, out=np.zeros(len(added)), where=added > 0)
        self.escalates_ = tuple(proposed[int(slope.argmax())].tolist())
        return self

    def _proposals(self, level: NDArray[np.intp], small: Floats, large: Floats) -> Bools:
        """Return the sets of levels to choose from, sets by levels, given the level and the grades of each query."""
        raise NotImplementedError


class Thresholds(EscalationPolicy):
    """Escalates between thresholds: AutoMix's Threshold, DoubleThreshold and TripleThreshold.

    One threshold escalates up to it. Two escalate between them: below the first no candidate would do better. Three
    escalate up to the first and between the others. `fit` tries all, O(levels^(count + 1)).

    Args:
        count: Number of thresholds.
        steps: Levels told apart, less one, at least 1.

    Raises:
        ConfigurationError: There are no such thresholds.

    >>> hopeless, needy, good = (0.0, 0.0, 0.0), (0.5, 0.0, 1.0), (1.0, 1.0, 1.0)
    >>> policy = Thresholds(count=2, steps=2).fit([hopeless, needy, good])
    >>> [policy.escalates(confidence) for confidence in (0.0, 0.5, 1.0)]
    [False, True, False]
    """

    def __init__(self, *, count: Literal[1, 2, 3] = 1, steps: int = 8) -> None:
        super().__init__(steps=steps)
        if count not in (1, 2, 3):
            raise ConfigurationError(f"Thresholds.count must be 1, 2 or 3 but got {count!r}")
        self.count = count

    def _proposals(self, level: NDArray[np.intp], small: Floats, large: Floats) -> Bools:
        import numpy as np

        edges = np.array(list(combinations(range(self.steps + 2), self.count)))
        # Every edge passed turns escalating on or off, and beyond the last one it is off.
        left = (edges[:, :, None] > np.arange(self.steps + 1)).sum(axis=1)
        found: Bools = left % 2 == 1
        return found


class POMDP(EscalationPolicy):
    """Escalates where the belief says that the query needs the large candidate: AutoMix's POMDP.

    A query is needy (the large candidate's answer is better), else good (the small one's is right, graded 0.5 or more),
    else hopeless. The belief in these, given the level of confidence, is the share of each among the training queries
    times P(level | category). The action with the higher expected reward is taken: of keeping, ``-r, 0, -r - 1`` for
    the three; of escalating, ``-100, -100, -r - 100``. `fit` tries r = 0 … 4999, O(r · levels).

    Args:
        steps: Levels told apart, less one, at least 1.

    >>> hopeless, needy, good = (0.0, 0.0, 0.0), (0.5, 0.0, 1.0), (1.0, 1.0, 1.0)
    >>> POMDP(steps=2).fit([hopeless, needy, good]).escalates_
    (False, True, False)
    """

    def _proposals(self, level: NDArray[np.intp], small: Floats, large: Floats) -> Bools:
        import numpy as np

        category = np.where(large > small, 0, np.where(small >= _RIGHT, 1, 2))
        counts = np.bincount(3 * level + category, minlength=3 * (self.steps + 1)).reshape(-1, 3)
        prior = counts.sum(axis=0) / len(level)
        likelihood = counts / np.maximum(counts.sum(axis=0), 1)
        joint = prior * likelihood
        seen = joint.sum(axis=1, keepdims=True)
        # A level never seen tells nothing.
        belief = np.divide(joint, seen, out=np.tile(prior, (len(joint), 1)), where=seen > 0)
        reward = np.arange(_REWARDS)[:, None]
        needy, _, hopeless = belief.T
        keeping = -reward * needy - (reward + 1) * hopeless
        escalating = -_PRICE - reward * hopeless
        found: Bools = np.unique(escalating > keeping, axis=0)
        return found


class GreedyPOMDP(EscalationPolicy):
    """Escalates the levels where the large candidate gains most: AutoMix's GreedyPOMDP.

    Mean gains of the levels are smoothed by a Gaussian; levels are added from the highest gain down, and `fit` tries
    each number of them, O(levels²).

    Args:
        sigma: Standard deviation of the Gaussian, in levels, above 0.
        steps: Levels told apart, less one, at least 1.

    Raises:
        ConfigurationError: `sigma` is not above 0.

    >>> cases = [(level / 8, level / 8, 0.5) for level in range(9)]
    >>> GreedyPOMDP().fit(cases, verification=100.0).escalates_
    (True, True, True, True, False, False, False, False, False)
    """

    def __init__(self, *, sigma: float = 2.0, steps: int = 8) -> None:
        super().__init__(steps=steps)
        if not sigma > 0:
            raise ConfigurationError(f"GreedyPOMDP.sigma must be above 0 but got {sigma!r}; 2 is usual")
        self.sigma = sigma

    def _proposals(self, level: NDArray[np.intp], small: Floats, large: Floats) -> Bools:
        import numpy as np
        from scipy.ndimage import gaussian_filter1d

        counts = np.bincount(level, minlength=self.steps + 1)
        gained = np.bincount(level, weights=large - small, minlength=self.steps + 1) / np.maximum(counts, 1)
        order = np.argsort(-gaussian_filter1d(gained, self.sigma), kind="stable")
        # The place of each level in that order, against the number of levels taken.
        found: Bools = np.argsort(order) < np.arange(1, len(order) + 1)[:, None]
        return found


class PolicyUnion(EscalationPolicy):
    """Takes what the best of several policies proposes: AutoMix's union, by ΔIBC on the training queries.

    Args:
        policies: All with the same `steps`; as the paper, one and two thresholds and both POMDPs of 8 steps by default.

    Raises:
        ConfigurationError: There is none, or they differ in their steps.

    >>> hopeless, needy, good = (0.0, 0.0, 0.0), (0.5, 0.0, 1.0), (1.0, 1.0, 1.0)
    >>> policy = PolicyUnion().fit([hopeless, needy, good])
    >>> [policy.escalates(confidence) for confidence in (0.0, 0.5, 1.0)]
    [False, True, False]
    """

    def __init__(self, *, policies: Sequence[EscalationPolicy] | None = None) -> None:
        self.policies = policies
        self._policies = (
            (POMDP(), GreedyPOMDP(), Thresholds(count=2), Thresholds()) if policies is None else tuple(policies)
        )
        steps = {policy.steps for policy in self._policies}
        if len(steps) != 1:
            raise ConfigurationError(f"PolicyUnion.policies must be some of the same steps but have {sorted(steps)}")
        super().__init__(steps=steps.pop())

    def _proposals(self, level: NDArray[np.intp], small: Floats, large: Floats) -> Bools:
        import numpy as np

        return np.vstack([policy._proposals(level, small, large) for policy in self._policies])


def _columns(cases: Iterable[Case]) -> tuple[Floats, Floats, Floats]:
    import numpy as np

    table = np.array(list(cases), dtype=float)
    if table.ndim != 2 or table.shape[1] != 3 or not ((table >= 0) & (table <= 1)).all():
        raise ConfigurationError(
            "cases must be one or more triples of confidence, small candidate's and large one's grade, each in [0, 1], "
            f"but are of shape {table.shape}" + (f" from {table.min()} to {table.max()}" if table.size else "")
        )
    return table[:, 0], table[:, 1], table[:, 2]
