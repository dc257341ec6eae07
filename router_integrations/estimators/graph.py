"""Queries and candidates as nodes of a graph, whose edges are the grades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.numerics import adam, cross_entropy, deviations, grades, require_at_least, sigmoid
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array, Parameters

    # What candidates are described by, and what surrounds each: the mean of its queries, weighted by their grades.
    Nodes = tuple[Array, Array]

# Size of Adam's first step, and deviation of the entries that a fit starts from.
_RATE, _START = 0.05, 0.1
# Share of the queries whose grades a step hides and predicts, and how many those are at most.
_HIDDEN, _BATCH = 0.3, 8192
# Numbers held at once.
_CELLS = 2**22


class GraphRouter(Learned):
    """Estimates quality by a logistic curve on how the query's node meets the candidate's.

    The query's node is ``W·vector``. The candidate's gathers its graded queries, ``W·mean(grade · vector)``, and adds a
    linear map of its mean grade and price. The curve reads their product and their distance by dimension, and the price
    (logarithm of the mean USD of a call, where records tell). Each step of `fit` hides the grades of some queries and
    learns to predict them from the rest. A newcomer's node is made of its own grades, nothing is fitted anew.

    WHEN: pre-generation. WHAT: query. HOW: supervised (inductive graph network of one layer). The standard deviation is
    that of the candidate's residuals. `fit` takes O(steps · queries · dimensions · (encoder dimensions + candidates))
    and draws at random; `estimate` O(dimensions · (encoder dimensions + candidates)).

    GraphRouter (arXiv 2410.03834), with one linear layer in place of its two, no nodes for tasks, and what was observed
    of the candidates in place of descriptions.

    Args:
        dimensions: Length of the nodes, at least 1.
        alpha: Weight of the squared parameters beside the mean loss of a grade, above 0.
        steps: Steps of gradient descent, at least 1.
        seed: Seed of the start and of the draws.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=f"{text} {name}", candidate=who, quality=float((text == "sum") == (who == "maths")))
    ...            for text in ("sum", "greet") for name in "abcdef" for who in ("maths", "chat")]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = GraphRouter().fit(records).predict(["sum x", "greet x"], pool)
    >>> quality.argmax(axis=1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        *,
        dimensions: int = 32,
        alpha: float = 1e-4,
        steps: int = 200,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1, "GraphRouter.dimensions", dimensions)
        require_at_least(1e-9, "GraphRouter.alpha", alpha)
        require_at_least(1, "GraphRouter.steps", steps)
        self.dimensions = dimensions
        self.alpha = alpha
        self.steps = steps
        self.seed = seed

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        vectors, table = data.vectors, data.table
        quality, graded = grades(table, vectors.dtype)
        rng = np.random.default_rng(self.seed)
        scale = _scale(table)
        price = _prices(table, scale).astype(vectors.dtype)
        sums, counts, totals = quality.T @ vectors, graded.sum(axis=0), quality.sum(axis=0)
        most = _CELLS // (len(price) * self.dimensions)
        batch = max(min(_BATCH, most, round(_HIDDEN * len(vectors))), 1)

        def slopes(at: Parameters) -> Parameters:
            rows = rng.choice(len(vectors), batch, replace=False, shuffle=False)
            seen, right, known = vectors[rows], quality[rows], graded[rows]
            left = counts - known.sum(axis=0)
            nodes = _nodes(sums - right.T @ seen, totals - right.sum(axis=0), left, price)
            return _loss(at, nodes, (seen, right, known), self.alpha)[1]

        size = self.dimensions
        shapes: dict[str, tuple[int, ...]] = {"map": (vectors.shape[1], size), "own": (3, size)}
        shapes |= {"product": (size,), "distance": (size,), "price": (1,), "usual": (1,)}
        start = {name: rng.normal(0, _START, shape).astype(vectors.dtype) for name, shape in shapes.items()}
        state = {**adam(slopes, start, steps=self.steps, rate=_RATE), "scale": scale}
        state |= self._placed(state, vectors, table)
        return table.names, {name: value.astype(np.float32) for name, value in state.items()}

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        placed = self._placed(state, vectors, table)
        return {**state, **{name: np.concatenate([state[name], value]) for name, value in placed.items()}}

    def _placed(self, at: Parameters, vectors: NDArray[np.float32], table: Table) -> State:
        """Return the candidates' nodes, prices and deviations."""
        import numpy as np

        quality, graded = grades(table, vectors.dtype)
        price = _prices(table, at["scale"])
        around, described = _nodes(quality.T @ vectors, quality.sum(axis=0), graded.sum(axis=0), price)
        placed: dict[str, Array] = {"candidates": described @ at["own"] + around @ at["map"], "prices": price}
        expected = self._quality({**at, **placed}, vectors)
        placed["std"] = deviations(expected, quality, graded)
        return {name: value.astype(np.float32) for name, value in placed.items()}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        return self._quality(state, vectors), np.tile(state["std"].astype(float), (len(vectors), 1))

    def _quality(self, at: Parameters, vectors: Array) -> Floats:
        import numpy as np

        candidates, prices = at["candidates"], at["prices"]
        quality = np.empty((len(vectors), len(candidates)))
        for rows in _blocks(len(vectors), candidates.size):
            quality[rows] = sigmoid(_scores(at, vectors[rows] @ at["map"], candidates, prices))
        return quality


def _blocks(number: int, each: int) -> Iterator[slice]:
    step = max(_CELLS // each, 1)
    return (slice(start, start + step) for start in range(0, number, step))


def _scores(at: Parameters, queries: Array, candidates: Array, prices: Array) -> Array:
    import numpy as np

    apart = np.abs(queries[:, None] - candidates) @ at["distance"]
    scores: Array = (queries * at["product"]) @ candidates.T + apart + prices * at["price"] + at["usual"]
    return scores


def _nodes(sums: Array, totals: Array, counts: Array, price: Array) -> Nodes:
    """Return what surrounds the candidates and what describes them; without a grade that is nothing, and a coin."""
    import numpy as np

    around = sums / np.maximum(counts, 1)[:, None]
    usual = np.where(counts > 0, totals / np.maximum(counts, 1), 0.5)
    return around, np.column_stack([usual, np.ones_like(usual), price]).astype(sums.dtype)


def _loss(at: Parameters, nodes: Nodes, given: tuple[Array, Array, Array], alpha: float) -> tuple[float, Parameters]:
    """Return the loss of the grades `given` (vectors, quality, graded), and its gradient by each parameter."""
    import numpy as np

    around, described = nodes
    vectors, quality, graded = given
    queries, candidates, price = vectors @ at["map"], described @ at["own"] + around @ at["map"], described[:, 2]
    apart = queries[:, None] - candidates
    loss, slope = cross_entropy(_scores(at, queries, candidates, price), quality, graded)
    pull = slope[:, :, None] * np.sign(apart) * at["distance"]
    by_query = slope @ candidates * at["product"] + pull.sum(axis=1)
    by_candidate = slope.T @ queries * at["product"] - pull.sum(axis=0)
    slopes = {
        "map": vectors.T @ by_query + around.T @ by_candidate,
        "own": described.T @ by_candidate,
        "product": ((slope @ candidates) * queries).sum(axis=0),
        "distance": np.tensordot(slope, np.abs(apart), axes=2),
        "price": np.array([(slope @ price).sum()], dtype=vectors.dtype),
        "usual": np.array([slope.sum()], dtype=vectors.dtype),
    }
    penalty = alpha / 2 * sum(float((value**2).sum()) for value in at.values())
    return loss + penalty, {name: slopes[name] + alpha * value for name, value in at.items()}


def _logarithms(table: Table) -> Floats:
    """Return the logarithm of each candidate's mean USD; NaN where no record tells, or it was free."""
    import numpy as np

    known = table.cost > 0
    totals = np.where(known, table.cost, 0.0).sum(axis=0)
    means = np.divide(totals, known.sum(axis=0), out=np.full(len(totals), np.nan), where=totals > 0)
    logarithms: Floats = np.log(means)
    return logarithms


def _scale(table: Table) -> NDArray[np.float32]:
    """Return the mean and the deviation of the logarithms."""
    import numpy as np

    known = _logarithms(table)
    known = known[~np.isnan(known)]
    spread = known.std() if known.size else 0.0
    return np.array([known.mean() if known.size else 0.0, spread or 1.0], dtype=np.float32)


def _prices(table: Table, scale: Array) -> Floats:
    """Return the logarithms on one scale; 0 where no record tells."""
    import numpy as np

    prices: Floats = np.nan_to_num((_logarithms(table) - scale[0]) / scale[1])
    return prices
