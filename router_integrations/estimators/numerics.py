"""Numerical parts that several estimators share: grades, gradient descent, uncertainty. All numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.learning import Table

    Array = NDArray[np.floating[Any]]
    Parameters = Mapping[str, Array]

# Decay of Adam's two running means, and what keeps it from dividing by zero: the values of its paper.
_MOMENTUM, _SCALING, _TINY = 0.9, 0.999, 1e-8


def grades(table: Table, dtype: Any = float) -> tuple[Array, Array]:
    """Return the grades with 0 where one is missing, and 1 where there is one; both queries by candidates.

    Raises:
        ConfigurationError: There is no grade.

    >>> from router_integrations.learning import Record, Table
    >>> table = Table.of([Record(text="a", candidate="x", quality=1.0), Record(text="b", candidate="y", quality=0.5)])
    >>> [array.tolist() for array in grades(table)]
    [[[1.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]
    """
    import numpy as np

    if not table.names:
        raise ConfigurationError("fit needs at least one graded attempt but got preferences only; grade some answers")
    return np.nan_to_num(table.quality, nan=0.0).astype(dtype), (~np.isnan(table.quality)).astype(dtype)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow.

    >>> import numpy as np
    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    import numpy as np

    result: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return result


def cross_entropy(logits: Array, quality: Array, graded: Array) -> tuple[float, Array]:
    """Return the mean logistic loss of the graded cells, and its gradient by `logits`.

    Args:
        logits: Queries by candidates.
        quality: Grades in [0, 1], 0 where one is missing.
        graded: 1 where there is a grade, else 0.

    >>> import numpy as np
    >>> loss, slope = cross_entropy(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
    >>> round(loss, 3), slope.tolist()
    (0.693, [[-0.5, 0.0]])
    """
    import numpy as np

    count = graded.sum()
    loss = float(((np.logaddexp(0, logits) - quality * logits) * graded).sum() / count)
    return loss, (sigmoid(logits) - quality) * graded / count


def logistic_regression(vectors: Array, quality: Array, graded: Array, alpha: float) -> tuple[Array, Array]:
    """Return weights and intercepts of one logistic regression on soft labels per candidate.

    Each candidate is taken to have one more grade, of 0.5, which keeps the intercepts finite.

    Args:
        vectors: Queries by dimensions.
        quality: Grades in [0, 1], queries by candidates, 0 where one is missing.
        graded: 1 where there is a grade, else 0.
        alpha: Weight of the squared weights beside the summed loss.

    >>> import numpy as np
    >>> one = np.ones((3, 1))
    >>> _, intercept = logistic_regression(0 * one, one, one, alpha=1.0)
    >>> sigmoid(intercept).round(3).tolist()
    [0.875]
    """
    import numpy as np

    usual = (quality.sum(axis=0) + 0.5) / (graded.sum(axis=0) + 1)
    start = np.vstack([np.zeros((vectors.shape[1], len(usual))), np.log(usual / (1 - usual))])
    return least_loss(logistic_loss, start, (vectors, quality, graded, alpha))


def least_loss(
    loss: Callable[..., tuple[float, Array]], start: Array, given: tuple[Array | float, ...]
) -> tuple[Array, Array]:
    """Return the weights and the intercepts at which a convex loss is least, by L-BFGS.

    Args:
        loss: Returns the loss and its gradient, from the flat weights with the intercepts below them and `given`.
        start: Where to begin, the weights with the intercepts below them.
        given: What else the loss reads.

    >>> import numpy as np
    >>> weights, intercept = least_loss(lambda at: (float(((at - 2) ** 2).sum()), 2 * (at - 2)), np.zeros((2, 1)), ())
    >>> weights.round(3).tolist(), intercept.round(3).tolist()
    ([[2.0]], [2.0])
    """
    import numpy as np
    from scipy.optimize import minimize

    found = minimize(loss, start.ravel(), args=given, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    weights, intercept = np.split(found.x.reshape(start.shape), [-1])
    return weights, intercept[0]


def logistic_loss(flat: Array, vectors: Array, quality: Array, graded: Array, alpha: float) -> tuple[float, Array]:
    """Return what `logistic_regression` makes small, and its gradient.

    Args:
        flat: Weights with the intercepts below them, row by row.
        vectors: Queries by dimensions.
        quality: Grades in [0, 1], queries by candidates, 0 where one is missing.
        graded: 1 where there is a grade, else 0.
        alpha: Weight of the squared weights beside the summed loss.

    >>> import numpy as np
    >>> loss, slope = logistic_loss(np.zeros(2), np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), 1.0)
    >>> round(loss, 3), slope.tolist()
    (1.386, [-0.5, -0.5])
    """
    import numpy as np

    weights, intercept = np.split(flat.reshape(-1, quality.shape[1]), [-1])
    logits = vectors @ weights + intercept
    loss = ((np.logaddexp(0, logits) - quality * logits) * graded).sum() + alpha / 2 * (weights**2).sum()
    loss += (np.logaddexp(0, intercept) - 0.5 * intercept).sum()
    slope = (sigmoid(logits) - quality) * graded
    slopes = [vectors.T @ slope + alpha * weights, slope.sum(axis=0, keepdims=True) + sigmoid(intercept) - 0.5]
    return float(loss), np.vstack(slopes).ravel()


def adam(gradient: Callable[[Parameters], Parameters], start: Parameters, *, steps: int, rate: float) -> Parameters:
    """Return the parameters after `steps` of Adam, whose rate falls to zero in a straight line.

    Adam is arXiv 1412.6980.

    Args:
        gradient: The gradient of the loss by each parameter, under the same names.
        start: Where to begin; left as it is.
        steps: At least 0.
        rate: Size of the first step, above 0.

    >>> import numpy as np
    >>> found = adam(lambda at: {"x": 2 * (at["x"] - 3)}, {"x": np.zeros(1)}, steps=200, rate=0.1)
    >>> found["x"].round(2).tolist()
    [3.0]
    """
    import numpy as np

    now = {name: value.copy() for name, value in start.items()}
    mean = {name: np.zeros_like(value) for name, value in start.items()}
    square = {name: np.zeros_like(value) for name, value in start.items()}
    for step in range(steps):
        slopes = gradient(now)
        size = rate * (1 - step / steps) * math.sqrt(1 - _SCALING ** (step + 1)) / (1 - _MOMENTUM ** (step + 1))
        for name, slope in slopes.items():
            mean[name] += (1 - _MOMENTUM) * (slope - mean[name])
            square[name] += (1 - _SCALING) * (slope**2 - square[name])
            now[name] = now[name] - size * mean[name] / (np.sqrt(square[name]) + _TINY)
    return now


def posterior_roots(features: Array, weights: Array, prior: float) -> Array:
    """Return, per candidate, a root of the covariance of its weights on `features` (Laplace's approximation).

    Args:
        features: Queries by features.
        weights: Information of each grade, queries by candidates: 0 where one is missing.
        prior: Precision of the weights before any grade, above 0.

    >>> import numpy as np
    >>> posterior_roots(np.ones((3, 1)), np.ones((3, 1)), prior=1.0).tolist()
    [[[0.5]]]
    """
    return covariance_roots(information(features, weights), prior)


def information(features: Array, weights: Array) -> Array:
    """Return what the grades tell of each candidate's weights: candidates by features by features.

    Args:
        features: Queries by features; by candidate, candidates by queries by features.
        weights: Information of each grade, queries by candidates: 0 where one is missing.

    >>> import numpy as np
    >>> information(np.ones((3, 1)), np.ones((3, 1))).tolist()
    [[[3.0]]]
    """
    import numpy as np

    each = np.broadcast_to(features, (weights.shape[1], *features.shape[-2:]))
    return np.array([(own * column[:, None]).T @ own for own, column in zip(each, weights.T, strict=True)])


def covariance_roots(told: Array, prior: float) -> Array:
    """Return, per candidate, a root of the inverse of `told` plus `prior` on the diagonal.

    >>> import numpy as np
    >>> covariance_roots(np.array([[[3.0]]]), prior=1.0).tolist()
    [[[0.5]]]
    """
    import numpy as np

    precisions = told + prior * np.eye(told.shape[-1])
    roots: Array = np.linalg.inv(np.linalg.cholesky(precisions)).transpose(0, 2, 1)
    return roots


def margins(features: Array, roots: Array) -> Array:
    """Return the standard deviation of the weighted sum of `features`, queries by candidates.

    >>> import numpy as np
    >>> margins(np.array([[2.0]]), np.array([[[0.5]]])).tolist()
    [[1.0]]
    """
    import numpy as np

    lengths: Array = np.linalg.norm(features @ roots, axis=2).T
    return lengths


def deviations(expected: Array, quality: Array, graded: Array) -> Array:
    """Return the standard deviation of each candidate's grades from those expected; one more is a coin's.

    >>> import numpy as np
    >>> deviations(np.full((3, 1), 0.5), np.array([[1.0], [0.0], [0.0]]), np.array([[1.0], [1.0], [0.0]])).tolist()
    [0.5]
    """
    import numpy as np

    errors = (expected - quality) ** 2 * graded
    result: Array = np.sqrt((errors.sum(axis=0) + 0.25) / (graded.sum(axis=0) + 1))
    return result


def require_at_least(least: float, name: str, value: float) -> None:
    """Refuse an option below its range.

    Raises:
        ConfigurationError: `value` is below `least`, or no number.

    >>> require_at_least(1, "MIRT.steps", 200)
    """
    if not value >= least:
        raise ConfigurationError(f"{name} must be at least {least!r} but got {value!r}")
