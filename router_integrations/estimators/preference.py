"""Ratings of candidates from battles: which of two answers was preferred."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.battles import (
    Paired,
    appearances,
    battles,
    bradley_terry,
    queries,
    require_above_0,
    tally,
)
from router_integrations.estimators.learned import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

    Loss = Callable[[Floats], tuple[float, Floats]]

# Penalty of the strengths around which those of a query lie.
_PRIOR = 1.0
_STEPS = 200
# Length of the factors at the start.
_START = 0.1


class BradleyTerry(Paired):
    """Rates candidates by one strength each, whatever the query.

    WHEN: pre-generation. WHAT: model metadata (past preferences). HOW: supervised (maximum likelihood with a ridge,
    which is a normal prior of variance ``1 / ridge`` on the log-odds; ties are half a win each way). Unlike with Elo,
    the order of the battles does not matter. `fit` takes O(battles + candidates cubed), `estimate` O(candidates
    squared).

    Bradley and Terry, Biometrika 39 (1952); the leaderboard of Chatbot Arena (arXiv 2403.04132).

    Args:
        ridge: Penalty on the squared strengths, above 0.
        encoder: Turns queries into vectors, which are not read here.

    Raises:
        ConfigurationError: `ridge` is not above 0.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text="Hi", candidate="a", over="b", quality=won) for won in (1, 1, 0.5, 0.5)]
    >>> quality, _ = BradleyTerry(ridge=1e-6).fit(records).predict(["Hello"], [Candidate("a", model=object())])
    >>> quality.round(2).tolist()
    [[0.75]]
    """

    def __init__(self, *, ridge: float = 1.0, encoder: Encoder | None = None) -> None:
        super().__init__(encoder=encoder)
        require_above_0("BradleyTerry.ridge", ridge)
        self.ridge = ridge

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        names, rows = battles(data)
        ratings = bradley_terry(tally(rows, len(names)), ridge=self.ridge)
        return names, {"ratings": ratings.astype(np.float32), "counts": appearances(rows, len(names))}

    def _ratings(self, state: State, vectors: NDArray[np.float32]) -> Floats:
        import numpy as np

        return np.tile(state["ratings"].astype(float), (len(vectors), 1))


class SimilarityWeighted(Paired):
    """Rates candidates anew for each query, with battles on similar queries weighing up to ten times more.

    WHEN: pre-generation. WHAT: query. HOW: supervised (Bradley-Terry with weights ``10 · 10^(similarity / highest)``,
    scaled to a mean of 1, so that `ridge` means what it means in `BradleyTerry`). The ridge stands in for the tiers
    into which the paper groups the candidates. `fit` stores the vectors; `estimate` takes O(queries · dimensions +
    battles + candidates cubed).

    The SW ranking of RouteLLM (arXiv 2406.18665).

    Args:
        ridge: Penalty on the squared strengths, above 0.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: `ridge` is not above 0.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text="sum 1 2", candidate="maths", over="chat", quality=1),
    ...            Record(text="greet Ann", candidate="maths", over="chat", quality=0)]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = SimilarityWeighted().fit(records).predict(["sum 3 4", "greet Bob"], pool)
    >>> (quality[:, 0] > quality[:, 1]).tolist()
    [True, False]
    """

    def __init__(self, *, ridge: float = 1.0, encoder: Encoder | None = None) -> None:
        super().__init__(encoder=encoder)
        require_above_0("SimilarityWeighted.ridge", ridge)
        self.ridge = ridge

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        names, rows = battles(data)
        ratings = bradley_terry(tally(rows, len(names)), ridge=self.ridge)
        counts = appearances(rows, len(names))
        return names, {
            "vectors": queries(data),
            "battles": rows,
            "ratings": ratings.astype(np.float32),
            "counts": counts,
        }

    def _ratings(self, state: State, vectors: NDArray[np.float32]) -> Floats:
        import numpy as np

        rows, ratings = state["battles"], state["ratings"].astype(float)
        if not len(rows):
            return np.tile(ratings, (len(vectors), 1))
        query = rows[:, 0].astype(np.intp)
        found = np.empty((len(vectors), len(ratings)))
        for at, vector in enumerate(vectors):
            similarity = state["vectors"] @ vector
            highest = max(float(similarity.max()), 0.0) or 1.0
            weights = (10.0 ** (similarity.astype(float) / highest))[query]
            wins = tally(rows, len(ratings), weights / weights.mean())
            found[at] = bradley_terry(wins, ridge=self.ridge, start=ratings)
        return found


class PromptBradleyTerry(Paired):
    """Rates candidates by strengths that are linear in the query's vector.

    WHEN: pre-generation. WHAT: query. HOW: supervised (logistic loss on the battles, ties half a win each way, with a
    ridge around the strengths of `BradleyTerry`, so few battles say the same for every query). With `rank`, the slopes
    are a product of candidate vectors and a projection of the query, which is RouteLLM's matrix factorisation with a
    ridge in place of vectors of length 1. `fit` takes up to 200 steps of L-BFGS, O(queries · dimensions · candidates)
    each; `estimate` takes O(dimensions · candidates).

    After Prompt-to-Leaderboard (arXiv 2502.14855), on frozen vectors, and the MF router of RouteLLM (2406.18665).

    Args:
        ridge: Penalty on the squared slopes, above 0.
        rank: Dimensions of the candidate vectors, at least 1; `None` is no limit.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An argument is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text="sum 1 2", candidate="maths", over="chat", quality=1),
    ...            Record(text="greet Ann", candidate="maths", over="chat", quality=0)]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = PromptBradleyTerry().fit(records).predict(["sum 3 4", "greet Bob"], pool)
    >>> (quality[:, 0] > quality[:, 1]).tolist()
    [True, False]
    """

    def __init__(self, *, ridge: float = 10.0, rank: int | None = None, encoder: Encoder | None = None) -> None:
        super().__init__(encoder=encoder)
        require_above_0("PromptBradleyTerry.ridge", ridge)
        if rank is not None and rank < 1:
            raise ConfigurationError(f"PromptBradleyTerry.rank must be at least 1 but got {rank!r}; None is no limit")
        self.ridge = ridge
        self.rank = rank

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        names, rows = battles(data)
        vectors = queries(data)
        features = np.column_stack([vectors, np.ones(len(vectors))])
        center = bradley_terry(tally(rows, len(names)), ridge=_PRIOR)
        weights = self._slopes(
            lambda slopes: _logistic(slopes, center, features, rows), (len(names), features.shape[1])
        )
        weights[:, -1] += center
        return names, {"weights": weights.astype(np.float32), "counts": appearances(rows, len(names))}

    def _slopes(self, loss: Loss, shape: tuple[int, int]) -> Floats:
        """Return the slopes, candidates by features, that minimise the loss with its penalty."""
        import numpy as np

        if self.rank is None:
            return _minimum(lambda at: loss(at.reshape(shape)), np.zeros(shape), self.ridge).reshape(shape)
        rank = min(self.rank, *shape)
        split = shape[0] * rank

        def factored(at: Floats) -> tuple[float, Floats]:
            own, shared = at[:split].reshape(-1, rank), at[split:].reshape(rank, -1)
            value, slope = loss(own @ shared)
            return value, np.concatenate([(slope @ shared.T).ravel(), (own.T @ slope).ravel()])

        # Where the loss falls fastest; not at zero, where the factors would stay.
        left, _, right = np.linalg.svd(-loss(np.zeros(shape))[1], full_matrices=False)
        found = _minimum(factored, _START * np.concatenate([left[:, :rank].ravel(), right[:rank].ravel()]), self.ridge)
        slopes: Floats = found[:split].reshape(-1, rank) @ found[split:].reshape(rank, -1)
        return slopes

    def _ratings(self, state: State, vectors: NDArray[np.float32]) -> Floats:
        weights = state["weights"].astype(float)
        ratings: Floats = vectors @ weights[:, :-1].T + weights[:, -1]
        return ratings


def _logistic(slopes: Floats, center: Floats, features: Floats, rows: NDArray[np.float32]) -> tuple[float, Floats]:
    """Return the logistic loss of the battles and its gradient by `slopes`."""
    import numpy as np
    from scipy.special import expit

    query, left, right = rows[:, :3].astype(np.intp).T
    ratings = features @ slopes.T + center
    margin = ratings[query, left] - ratings[query, right]
    grade = rows[:, 3].astype(float)
    pull = np.zeros_like(ratings)
    np.add.at(pull, (query, left), expit(margin) - grade)
    np.add.at(pull, (query, right), grade - expit(margin))
    gradient: Floats = pull.T @ features
    return float((np.logaddexp(0, margin) - grade * margin).sum()), gradient


def _minimum(loss: Loss, start: Floats, ridge: float) -> Floats:
    """Return where the loss plus ``ridge / 2`` times the sum of squares is least, as one row."""
    from scipy.optimize import minimize

    def penalised(at: Floats) -> tuple[float, Floats]:
        value, slope = loss(at)
        return value + ridge / 2 * float(at @ at), slope.ravel() + ridge * at

    found: Floats = minimize(penalised, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    return found
