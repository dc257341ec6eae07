"""How likely an answer is right, learnt from few graded answers: a logistic curve on its log-probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.numerics import logistic_regression, sigmoid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# Of log-probabilities nearer to 0 than this the probability differs from 1 by as much.
_SURE = -1e-5


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CorrectnessCurve:
    """The probability that an answer is right, given the mean log-probability of its tokens and further evidence.

    Zellinger and Thomson, "Rational tuning of LLM cascades" (arXiv 2501.09345): the logistic curve is drawn on
    ``-ln(1 - p)``, which keeps apart the answers whose probability `p` is close to 1, or on that and ``ln p`` for `p`
    below 1/2. Without a penalty and further evidence it is theirs.

    Args:
        two_sided: Whether low probabilities are kept apart too: for open questions, not for multiple choice.
        span: The least and the greatest finite value on the curve's axis; what is infinite counts as these.
        centre: Mean of each column: the confidence, then the evidence.
        scale: Standard deviation of each.
        weights: Weight of each, in these units.
        intercept: Log-odds at the centre.

    >>> sure, unsure = [-0.01] * 20, [-0.5] * 20
    >>> curve = CorrectnessCurve.fitted(sure + unsure, [1.0] * 18 + [0.0] * 2 + [1.0] * 10 + [0.0] * 10)
    >>> curve([-0.01, -0.5]).round(2).tolist()
    [0.89, 0.49]
    """

    two_sided: bool
    span: tuple[float, float]
    centre: Floats
    scale: Floats
    weights: Floats
    intercept: float

    @classmethod
    def fitted(
        cls,
        logprobs: ArrayLike,
        quality: ArrayLike,
        *,
        evidence: ArrayLike | None = None,
        two_sided: bool = False,
        penalty: float = 0.0,
    ) -> CorrectnessCurve:
        """Return the curve of one candidate's graded answers.

        Args:
            logprobs: Mean token log-probability of each answer, at most 0.
            quality: Grade of each, in [0, 1].
            evidence: Further columns, answers by columns, such as the logarithm of the answer's length.
            two_sided: As above.
            penalty: Weight of the squared weights, at least 0, beside the summed loss.

        Raises:
            ConfigurationError: There are no answers, or not as many grades.

        >>> curve = CorrectnessCurve.fitted([-0.1, -1.0], [1.0, 0.0], penalty=1.0)
        >>> curve([-0.1])[0] > 0.5 > curve([-1.0])[0]
        np.True_
        """
        values, grades = np.asarray(logprobs, dtype=float), np.asarray(quality, dtype=float)
        if values.shape != grades.shape or values.ndim != 1 or not len(values):
            raise ConfigurationError(
                f"CorrectnessCurve needs a grade for each answer but got {values.shape} answers and {grades.shape}"
            )
        axis = _stretched(values, two_sided=two_sided)
        finite = axis[np.isfinite(axis)]
        span = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        columns = _columns(np.clip(axis, *span), evidence)
        centre, scale = columns.mean(axis=0), columns.std(axis=0)
        # What never changes says nothing.
        scale[scale < 1e-9] = np.inf
        every = np.ones((len(grades), 1))
        weights, intercept = logistic_regression((columns - centre) / scale, grades[:, None], every, penalty)
        return cls(
            two_sided=two_sided,
            span=span,
            centre=centre,
            scale=scale,
            weights=weights[:, 0].astype(float),
            intercept=float(intercept[0]),
        )

    def __call__(self, logprobs: ArrayLike, evidence: ArrayLike | None = None) -> Floats:
        """Return the probability that each answer is right; the columns of `evidence` are those of `fitted`."""
        axis = _stretched(np.asarray(logprobs, dtype=float), two_sided=self.two_sided)
        # Only what is infinite is cut: the curve goes on beyond what was seen.
        axis = np.where(np.isinf(axis), np.clip(axis, *self.span), axis)
        columns = (_columns(axis, evidence) - self.centre) / self.scale
        quality: Floats = sigmoid(columns @ self.weights + self.intercept).astype(float)
        return quality


def _columns(axis: Floats, evidence: ArrayLike | None) -> Floats:
    more = np.empty((len(axis), 0)) if evidence is None else np.asarray(evidence, dtype=float).reshape(len(axis), -1)
    columns: Floats = np.column_stack([axis, more])
    return columns


def _stretched(logprobs: Floats, *, two_sided: bool) -> Floats:
    with np.errstate(divide="ignore"):
        wrong = np.where(logprobs > _SURE, np.log(-np.minimum(logprobs, 0.0)), np.log1p(-np.exp(logprobs)))
    if not two_sided:
        return -wrong
    stretched: Floats = np.where(logprobs >= np.log(0.5), -np.log(2) - wrong, np.log(2) + logprobs)
    return stretched
