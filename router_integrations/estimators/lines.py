"""What estimators with one straight line per candidate share: their state, and how sure the lines are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array

    # Weights, intercepts, noise, and the number (or information) of the grades of each candidate.
    Lines = tuple[Array, Array, Array, Array]

# Squared error of one more grade that every candidate is taken to have: that of a coin.
COIN = 0.25


def state_of(vectors: Array, lines: Lines, alpha: float) -> State:
    """Return the arrays that `scores` reads.

    The graded queries of each candidate are taken to be spread as all queries are, so that one set of axes serves all.

    >>> import numpy as np
    >>> one = np.ones(1)
    >>> sorted(state_of(np.eye(2), (np.zeros((2, 1)), one, one, one), alpha=1.0))
    ['axes', 'information', 'intercept', 'noise', 'precision', 'weights']
    """
    import numpy as np

    weights, intercept, noise, information = lines
    spread, axes = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    precision = alpha + np.maximum(spread, 0.0)[:, None] * information
    state = {"weights": weights, "intercept": intercept, "axes": axes, "noise": noise}
    state |= {"information": information, "precision": precision}
    return {name: value.astype(np.float32) for name, value in state.items()}


def joined(state: State, lines: Lines, alpha: float) -> State:
    """Return `state` with more lines, whose queries are taken to be spread as those of the others.

    Args:
        state: What `state_of` returned.
        lines: Those of new candidates.
        alpha: As it was for `state_of`.

    >>> import numpy as np
    >>> one = np.ones(1)
    >>> state = state_of(np.eye(2), (np.zeros((2, 1)), one, one, 4 * one), alpha=1.0)
    >>> more = joined(state, (np.ones((2, 1)), one, one, 8 * one), alpha=1.0)
    >>> more["weights"].tolist(), more["precision"].tolist()
    ([[0.0, 1.0], [0.0, 1.0]], [[3.0, 5.0], [3.0, 5.0]])
    """
    import numpy as np

    weights, intercept, noise, information = lines
    surest = int(state["information"].argmax())
    spread = (state["precision"][:, surest].astype(float) - alpha) / state["information"][surest]
    precision = alpha + np.maximum(spread, 0.0)[:, None] * information
    more = {"weights": weights, "intercept": intercept, "noise": noise}
    more |= {"information": information, "precision": precision}
    grown = {name: np.concatenate([state[name], value], axis=-1) for name, value in more.items()}
    return {**state, **{name: value.astype(np.float32) for name, value in grown.items()}}


def scores(state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return the height of each line and its standard deviation, vectors by candidates.

    >>> import numpy as np
    >>> one = np.ones(1)
    >>> state = state_of(np.eye(2), (np.zeros((2, 1)), one / 2, one, 4 * one), alpha=2.0)
    >>> [array.tolist() for array in scores(state, np.eye(2, dtype=np.float32)[:1])]
    [[[0.5]], [[0.7071067690849304]]]
    """
    import numpy as np

    score: Floats = (vectors @ state["weights"] + state["intercept"]).astype(float)
    along = (vectors @ state["axes"]) ** 2 @ (1 / state["precision"])
    return score, np.sqrt(state["noise"] * (1 / state["information"] + along)).astype(float)


def ridge(vectors: Array, quality: Array, graded: Array, alpha: float) -> Lines:
    """Return the lines that ridge regression draws through the grades, missing ones left out.

    Args:
        vectors: Queries by dimensions.
        quality: Grades, queries by candidates, 0 where one is missing.
        graded: 1 where there is a grade, else 0.
        alpha: Weight of the squared weights beside the summed squared errors, above 0.

    >>> import numpy as np
    >>> weights, intercept, _, _ = ridge(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]), np.ones((2, 1)), 1e-9)
    >>> weights.round(3).tolist(), intercept.round(3).tolist()
    ([[1.0]], [0.0])
    """
    import numpy as np

    weights, intercept = np.zeros((vectors.shape[1], quality.shape[1])), np.zeros(quality.shape[1])
    patterns, pattern_of = np.unique(graded, axis=1, return_inverse=True)
    for index, pattern in enumerate(patterns.T):
        rows, columns = pattern > 0, pattern_of.ravel() == index
        at, of = vectors[rows], quality[np.ix_(rows, columns)]
        centre, mean = at.mean(axis=0), of.mean(axis=0)
        at = at - centre
        weights[:, columns] = np.linalg.solve(at.T @ at + alpha * np.eye(at.shape[1]), at.T @ (of - mean))
        intercept[columns] = mean - centre @ weights[:, columns]
    count = graded.sum(axis=0)
    errors = ((vectors @ weights + intercept - quality) ** 2 * graded).sum(axis=0)
    return weights, intercept, (errors + COIN) / (count + 1), count
