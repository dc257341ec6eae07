"""Queries and candidates as vectors in one small space, where their product says who can answer what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.numerics import (
    adam,
    cross_entropy,
    grades,
    margins,
    posterior_roots,
    require_at_least,
    sigmoid,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array, Parameters

# Size of Adam's first step.
_RATE = 0.05
# Deviation of the entries that a fit starts from.
_START = 0.1


class _Latent(Learned):
    """What both share: quality is ``sigmoid(query · candidate - difficulty)``; a subclass says what a query is."""

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
        shapes = {"candidates": (quality.shape[1], self.dimensions), **self._shapes(vectors.shape[1])}
        start = {name: rng.normal(0, _START, shape).astype(vectors.dtype) for name, shape in shapes.items()}
        at = adam(lambda at: self._loss(at, vectors, quality, graded)[1], start, steps=self.steps, rate=_RATE)
        queries, difficulty = self._queries(at, vectors)
        expected = sigmoid(queries @ at["candidates"].T - difficulty)
        # The penalty is per grade, its prior in all.
        roots = posterior_roots(queries, graded * expected * (1 - expected), self.alpha * float(graded.sum()))
        return data.table.names, {name: value.astype(np.float32) for name, value in {**at, "roots": roots}.items()}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        queries, difficulty = self._queries(state, vectors)
        quality = sigmoid(queries @ state["candidates"].T - difficulty).astype(float)
        return quality, quality * (1 - quality) * margins(queries, state["roots"])

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


class MatrixFactorization(_Latent):
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


class MIRT(_Latent):
    """Estimates quality as ``sigmoid(discrimination · ability - difficulty)``: item response theory.

    The abilities belong to the candidate; discrimination ``softplus(A·vector)`` and difficulty ``b·vector`` to the
    query, which is what an exam's item is in this theory.

    WHEN: pre-generation. WHAT: query. HOW: supervised (multidimensional item response theory). The standard deviation
    is Laplace's, of the abilities given the queries. `fit` takes O(steps · queries · encoder dimensions · dimensions)
    and starts at random; `estimate` O(encoder dimensions · dimensions + candidates · dimensions²).

    The MIRT router of IRT-Router (arXiv 2506.01048), with abilities learnt freely instead of from descriptions of the
    candidates.

    Args:
        dimensions: Number of abilities, at least 1.
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
    >>> quality, _ = MIRT(dimensions=4).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        *,
        dimensions: int = 25,
        alpha: float = 1e-4,
        steps: int = 200,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(dimensions=dimensions, alpha=alpha, steps=steps, seed=seed, encoder=encoder)

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        return {"discrimination": (width, self.dimensions), "difficulty": (width, 1)}

    def _queries(self, at: Parameters, vectors: Array) -> tuple[Array, Array | float]:
        import numpy as np

        return np.logaddexp(0, vectors @ at["discrimination"]), vectors @ at["difficulty"]

    def _slopes(self, at: Parameters, vectors: Array, slope: Array) -> Parameters:
        inner = (slope @ at["candidates"]) * sigmoid(vectors @ at["discrimination"])
        return {"discrimination": vectors.T @ inner, "difficulty": -vectors.T @ slope.sum(axis=1, keepdims=True)}
