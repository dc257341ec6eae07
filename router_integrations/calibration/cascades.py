"""The thresholds of a cascade chosen together: what errors, calls and abstaining cost on average is made least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.errors import ConfigurationError
from router_integrations.strategies import Cascade
from router_integrations.types import Estimator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_FEWEST_QUERIES = 30
# Degree of the curve of what going on will cost over the confidence.
_DEGREE = 3
# Accepts nothing, and abstains from nothing: beyond every confidence.
_NEVER_ACCEPTS, _NEVER_ABSTAINS = 2.0, -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeThresholds:
    """The thresholds of a chain of candidates.

    Args:
        names: The candidates in the order they are asked.
        accept: Confidence above which the answer is returned, by name.
        abstain: Confidence at or below which the request ends without an answer, by name; who never abstains is
            left out.

    >>> found = CascadeThresholds(names=("small", "big"), accept={"small": 0.8, "big": 0.3}, abstain={"big": 0.3})
    >>> found.cascade().order
    ('small', 'big')
    """

    names: tuple[str, ...]
    accept: Mapping[str, float]
    abstain: Mapping[str, float]

    def cascade(self, estimator: Estimator | None = None) -> Cascade:
        """Return the strategy; `estimator` must give the confidences that the thresholds were chosen on."""
        return Cascade(estimator=estimator, order=self.names, accept=self.accept, abstain=self.abstain)


def tune_cascade(
    names: Sequence[str],
    correct: ArrayLike,
    cost: ArrayLike,
    *,
    per_usd: float,
    per_abstention: float,
    early: bool = True,
) -> CascadeThresholds:
    """Return the thresholds with the least expected ``P(wrong answer) + per_usd·cost + per_abstention·P(no answer)``.

    Rational tuning without a model of the confidences (arXiv 2501.09345, 2502.09054). Backwards from the last
    candidate, which abstains where a wrong answer would cost more; what going on is worth to each earlier one is a
    cubic curve over its confidence, and the two thresholds are the best pair among all places between two queries.
    Expected errors are ``1 - correct``, not the grades, which are noisier; so calibrate first.

    Args:
        names: The candidates in the order they are asked, two or more.
        correct: Probability that each one's answer is right, queries by candidates, as `CorrectnessCurve` or
            `CalibratedConfidence` say; every candidate must have answered every query. At least 30 queries.
        cost: USD of one call to each candidate, on average.
        per_usd: What one USD is worth in wrong answers, at least 0 (1/USD).
        per_abstention: What no answer is worth in wrong answers, in [0, 1]: 1 never abstains.
        early: Whether the earlier candidates may abstain, too.

    Raises:
        ConfigurationError: An argument is out of range or does not fit.

    >>> sure = np.linspace(0.5, 1.0, 41)
    >>> found = tune_cascade(["small", "big"], np.stack([sure, 0 * sure + 0.95], axis=1), [0.0, 0.001],
    ...                      per_usd=100.0, per_abstention=0.2)
    >>> {name: round(value, 2) for name, value in found.accept.items()}, sorted(found.abstain)
    ({'small': 0.84, 'big': 0.8}, ['big'])
    """
    if not (per_usd >= 0 and 0 <= per_abstention <= 1):
        raise ConfigurationError(
            f"tune_cascade needs per_usd >= 0 and per_abstention in [0, 1] but got {per_usd!r} and {per_abstention!r}"
        )
    expected, price = np.asarray(correct, dtype=float), np.asarray(cost, dtype=float)
    if len({*names}) < max(len(names), 2):
        raise ConfigurationError(f"tune_cascade needs two candidates or more, each once, but got {list(names)}")
    if expected.ndim != 2 or expected.shape[1] != len(names) or price.shape != (len(names),):
        raise ConfigurationError(
            f"tune_cascade needs a column of `correct` and a cost for each of {len(names)} candidates but got "
            f"{expected.shape} and {price.shape}"
        )
    if len(expected) < _FEWEST_QUERIES or not ((expected >= 0) & (expected <= 1)).all():
        raise ConfigurationError(
            f"tune_cascade needs `correct` in [0, 1] for at least {_FEWEST_QUERIES} queries but got {len(expected)}; "
            "grade more answers, and leave out queries that a candidate has not answered"
        )
    accept, abstain = threshold_paths(expected, price, np.array([per_usd]), np.array([per_abstention]), early=early)
    held_back = {name: float(value) for name, value in zip(names, abstain[0], strict=True) if value >= 0}
    taken = {name: float(value) for name, value in zip(names, np.clip(accept[0], 0, 1), strict=True)}
    return CascadeThresholds(names=tuple(names), accept=taken, abstain=held_back)


def threshold_paths(
    expected: Floats, price: Floats, per_usd: Floats, per_abstention: Floats, *, early: bool = True
) -> tuple[Floats, Floats]:
    """Return the thresholds to accept and to abstain at many prices at once, prices by candidates.

    Args:
        expected: As `correct` of `tune_cascade`.
        price: As `cost` there.
        per_usd: As there, one for each pair of prices.
        per_abstention: As there, one for each pair.
        early: As there. A threshold beyond [0, 1] never accepts, or never abstains.

    >>> expected = np.stack([np.linspace(0.0, 1.0, 41), np.ones(41)], axis=1)
    >>> accept, abstain = threshold_paths(expected, np.array([0.0, 1.0]), np.array([0.1, 0.5]), np.array([0.9, 0.2]))
    >>> accept[:, 0].round(2).tolist(), abstain[:, 0].round(2).tolist()
    ([0.89, 0.79], [-1.0, 0.79])
    """
    rungs = expected.shape[1]
    accept, abstain = np.empty((2, len(per_usd), rungs))
    accept[:, -1] = abstain[:, -1] = np.where(per_abstention < 1, 1 - per_abstention, _NEVER_ABSTAINS)
    loss = np.minimum(1 - expected[:, -1:], per_abstention)
    for rung in reversed(range(rungs - 1)):
        sure = expected[:, rung]
        next_call = per_usd * price[rung + 1]
        going_on = next_call + _smooth(sure, loss)
        accept[:, rung], abstain[:, rung] = _cuts(sure, going_on, per_abstention, early=early)
        taken, left = sure[:, None] > accept[:, rung], sure[:, None] <= abstain[:, rung]
        loss = np.where(taken, 1 - sure[:, None], np.where(left, per_abstention, next_call + loss))
    return accept, abstain


def _smooth(sure: Floats, loss: Floats) -> Floats:
    """Return the mean loss at each confidence, by a polynomial."""
    basis = np.vander(sure - sure.mean(), _DEGREE + 1)
    smooth: Floats = basis @ (np.linalg.pinv(basis) @ loss)
    return smooth


def _cuts(sure: Floats, going_on: Floats, per_abstention: Floats, *, early: bool) -> tuple[Floats, Floats]:
    """Return, for each column of prices, the two thresholds with the least summed loss."""
    order = np.argsort(sure, kind="stable")
    ordered = sure[order]
    places = np.concatenate([[_NEVER_ABSTAINS], (ordered[1:] + ordered[:-1]) / 2, [_NEVER_ACCEPTS]])
    count = np.arange(len(sure) + 1)[:, None]
    on = np.vstack([np.zeros_like(per_abstention), np.cumsum(going_on[order], axis=0)])
    wrong = np.concatenate([[0.0], np.cumsum(1 - ordered)])[:, None]
    # Abstaining below place i and going on from there to place j costs below[i] + above[j], with i <= j.
    below, above = per_abstention * count - on, on - wrong
    if not early:
        below = below[:1]
    least = np.minimum.accumulate(below, axis=0)
    taken = (above + least).argmin(axis=0)
    reached = np.maximum.accumulate(np.where(below == least, count[: len(below)], 0), axis=0)
    left = np.take_along_axis(np.broadcast_to(reached, above.shape), taken[None], axis=0)[0]
    return places[taken], np.where(left > 0, places[left], _NEVER_ABSTAINS)
