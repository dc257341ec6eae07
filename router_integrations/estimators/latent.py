"""Queries and candidates as vectors in one small space, where their product says who can answer what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.estimators.index import index, nearest
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.numerics import (
    adam,
    covariance_roots,
    cross_entropy,
    grades,
    information,
    margins,
    require_at_least,
    sigmoid,
)
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array, Parameters

# Size of Adam's first step.
_RATE = 0.05
# Deviation of the entries that a fit starts from.
_START = 0.1
# Learnt queries that warm a new one up.
_NEAREST = 16


class Latent(Learned):
    """What these share: quality is the sigmoid of a score of query and candidate, each a vector in a small space.

    The score is ``query · candidate - difficulty``, and a subclass says what a query is. A step of gradient descent
    sees all queries up to 8,192, beyond that as many at random. A newcomer's vector is fitted to its own grades with
    all else as it is; before any grade it is taken to be the mean of the others, give or take their usual length.
    """

    # Share of a query's vector that the nearest learnt ones take over; subclasses with that option set it.
    warm_up = 0.0
    # Queries that a step of gradient descent sees at most, and grades held at once.
    _batch = 8192
    _cells = 2**22

    def __init__(self, *, dimensions: int, alpha: float, steps: int, seed: int, encoder: Encoder | None) -> None:
        super().__init__(encoder=encoder)
        owner = type(self).__name__
        require_at_least(1, f"{owner}.dimensions", dimensions)
        require_at_least(1e-9, f"{owner}.alpha", alpha)
        require_at_least(1, f"{owner}.steps", steps)
        self.dimensions = dimensions
        self.alpha = alpha
        self.steps = steps
        self.seed = seed

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        vectors = data.vectors
        quality, graded = grades(data.table, vectors.dtype)
        rng = np.random.default_rng(self.seed)
        start = self._start(rng, vectors.shape[1], quality.shape[1])
        batch = max(min(self._batch, self._cells // quality.shape[1]), 1)

        def slopes(at: Parameters) -> Parameters:
            rows = rng.integers(len(vectors), size=batch) if batch < len(vectors) else slice(None)
            return self._loss(at, vectors[rows], quality[rows], graded[rows])[1]

        at = adam(slopes, start, steps=self.steps, rate=_RATE)
        # The penalty is per grade, its prior in all.
        roots = self._roots(at, vectors, graded, self.alpha * float(graded.sum()))
        state = {name: value.astype(np.float32) for name, value in {**at, "roots": roots}.items()}
        return data.table.names, {**state, **(remembered(vectors) if self.warm_up else {})}

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np
        from scipy.optimize import minimize

        quality, graded = grades(table)
        known = state["candidates"].astype(float)
        usual, prior = known.mean(axis=0), 1 / max(float((known**2).mean()), 1e-6)

        def loss(flat: Array) -> tuple[float, Array]:
            own = flat.reshape(-1, known.shape[1])
            logits, features = self._scores({**state, "candidates": own}, vectors)
            value, slope = cross_entropy(logits, quality, graded)
            along = (slope.T[:, None] @ features)[:, 0] * graded.sum() + prior * (own - usual)
            return value * graded.sum() + prior / 2 * float(((own - usual) ** 2).sum()), along.ravel()

        found = minimize(loss, np.tile(usual, quality.shape[1]), jac=True, method="L-BFGS-B").x
        own = found.reshape(-1, known.shape[1]).astype(np.float32)
        roots = self._roots({**state, "candidates": own}, vectors, graded, prior).astype(np.float32)
        more = {"candidates": own, "roots": roots}
        return {**state, **{name: np.concatenate([state[name], value]) for name, value in more.items()}}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        if self.warm_up:
            vectors = warmed(state, vectors, self.warm_up)
        quality = np.empty((len(vectors), len(state["candidates"])))
        std = np.empty_like(quality)
        for rows in self._blocks(quality.shape):
            logits, features = self._scores(state, vectors[rows])
            quality[rows] = sigmoid(logits)
            std[rows] = quality[rows] * (1 - quality[rows]) * margins(features, state["roots"])
        return quality, std

    def _roots(self, at: Parameters, vectors: Array, graded: Array, prior: float) -> Array:
        """Return what `margins` needs: Laplace's, of each candidate's vector given the rest."""
        import numpy as np

        told: Array = np.zeros(())
        for rows in self._blocks(graded.shape):
            logits, features = self._scores(at, vectors[rows])
            expected = sigmoid(logits)
            told = told + information(features, graded[rows] * expected * (1 - expected))
        return covariance_roots(told, prior)

    def _blocks(self, shape: tuple[int, ...]) -> Iterator[slice]:
        step = max(self._cells // (shape[1] * self.dimensions), 1)
        return (slice(start, start + step) for start in range(0, shape[0], step))

    def _start(self, rng: np.random.Generator, width: int, candidates: int) -> Parameters:
        import numpy as np

        shapes = {"candidates": (candidates, self.dimensions), **self._shapes(width)}
        return {name: rng.normal(0, _START, shape).astype(np.float32) for name, shape in shapes.items()}

    def _scores(self, at: Parameters, vectors: Array) -> tuple[Array, Array]:
        """Return the scores, queries by candidates, and their slopes by a candidate's vector.

        The slopes are queries by dimensions; where they depend on the candidate, candidates by queries by dimensions.
        """
        queries, difficulty = self._queries(at, vectors)
        return queries @ at["candidates"].T - difficulty, queries

    def _loss(self, at: Parameters, vectors: Array, quality: Array, graded: Array) -> tuple[float, Parameters]:
        """Return the loss and its gradient by each parameter."""
        queries, difficulty = self._queries(at, vectors)
        loss, slope = cross_entropy(queries @ at["candidates"].T - difficulty, quality, graded)
        slopes = {"candidates": slope.T @ queries, **self._slopes(at, vectors, slope)}
        penalty = self.alpha / 2 * sum(float((value**2).sum()) for value in at.values())
        return loss + penalty, {name: slopes[name] + self.alpha * value for name, value in at.items()}

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what turns a vector of `width` into a query."""
        raise NotImplementedError

    def _queries(self, at: Parameters, vectors: Array) -> tuple[Array, Array | float]:
        """Return the queries in the small space, and the difficulty of each."""
        raise NotImplementedError

    def _slopes(self, at: Parameters, vectors: Array, slope: Array) -> Parameters:
        """Return the gradient by what turns vectors into queries, from that by the logits."""
        raise NotImplementedError


class MatrixFactorization(Latent):
    """Estimates quality as ``sigmoid(candidate · (W·vector + c))``, all three learnt.

    WHEN: pre-generation. WHAT: query. HOW: supervised (logistic matrix factorisation with query features). The standard
    deviation is Laplace's, of the candidate's vector given the queries'. `fit` takes O(steps · queries · encoder
    dimensions · dimensions) and starts at random; `estimate` O(encoder dimensions · dimensions + candidates ·
    dimensions²).

    The text matrix factorisation of EmbedLLM (arXiv 2410.02223); its two-way output layer is part of the candidates'
    vectors here, and a penalty takes the place of its noise.

    Args:
        dimensions: Length of the small vectors, at least 1.
        alpha: Weight of the squared parameters beside the mean loss of a grade, above 0.
        steps: Steps of gradient descent, at least 1.
        seed: Seed of the start.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = MatrixFactorization(dimensions=2).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        *,
        dimensions: int = 32,
        alpha: float = 3e-4,
        steps: int = 200,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(dimensions=dimensions, alpha=alpha, steps=steps, seed=seed, encoder=encoder)

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        return {"map": (width, self.dimensions), "shift": (self.dimensions,)}

    def _queries(self, at: Parameters, vectors: Array) -> tuple[Array, Array | float]:
        return vectors @ at["map"] + at["shift"], 0.0

    def _slopes(self, at: Parameters, vectors: Array, slope: Array) -> Parameters:
        queries = slope @ at["candidates"]
        return {"map": vectors.T @ queries, "shift": queries.sum(axis=0)}


def remembered(vectors: NDArray[np.float32]) -> State:
    """Return the arrays that `warmed` needs.

    >>> import numpy as np
    >>> list(remembered(np.eye(2, dtype=np.float32)))
    ['learnt']
    """
    order, arrays = index(vectors)
    return {"learnt": vectors[order], **arrays}


def warmed(state: State, vectors: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return the vectors moved towards the mean of their 16 nearest learnt ones, `share` of the way.

    >>> import numpy as np
    >>> state = remembered(np.array([[0.0, 1.0]], dtype=np.float32))
    >>> warmed(state, np.array([[1.0, 0.0]], dtype=np.float32), 0.25).tolist()
    [[0.75, 0.25]]
    """
    import numpy as np

    near = nearest(state["learnt"], state, vectors, _NEAREST)
    step = 2**16
    means = [state["learnt"][near[at : at + step]].mean(axis=1) for at in range(0, len(vectors), step)]
    moved = (1 - share) * vectors + share * np.concatenate([vectors[:0], *means])
    return moved.astype(np.float32)
