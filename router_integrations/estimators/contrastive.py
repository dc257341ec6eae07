"""Queries drawn towards the candidates that answer them, and towards queries like them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.numerics import (
    adam,
    cross_entropy,
    deviations,
    grades,
    logistic_regression,
    require_at_least,
    sigmoid,
)
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array, Parameters

    Indices = NDArray[np.intp]

# Good and bad examples of a query, other queries that it is pushed away from, and the grade from which a candidate is
# no bad example: the values of the paper.
_TOP, _STRANGERS, _BAD = 3, 3, 0.5
# Size of Adam's first step.
_RATE = 0.02
# The shortest that a vector is taken to be.
_TINY = 1e-6


class DualContrastive(Learned):
    """Estimates quality by the cosine between the mapped query and the candidate's own vector, both learnt.

    Two losses shape the space. Sample to candidate: a query is drawn to its three best candidates and away from its
    three worst (never more than half of those graded). Sample to sample: it is drawn to one of its own cluster
    (k-means) and away from three others. One logistic curve for all candidates then turns cosines into quality, so that
    the nearest candidate stays the best.

    WHEN: pre-generation. WHAT: query. HOW: supervised (contrastive learning). The standard deviation is that of the
    candidate's residuals. `fit` takes O(steps · queries · dimensions · (encoder dimensions + candidates)) and draws at
    random; `estimate` O(dimensions · (encoder dimensions + candidates)).

    RouterDC (arXiv 2409.19886), with a linear map over a fixed encoder in place of a fine-tuned language model.

    Args:
        dimensions: Length of the small vectors, at least 1.
        clusters: Clusters of the queries, at least 1; with one, the second loss is left out.
        temperature: Divides the cosines, at least 0.05.
        steps: Steps of gradient descent, at least 1.
        seed: Seed of the start, of the clusters and of the draws.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = DualContrastive(clusters=2).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.argmax(axis=1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        *,
        dimensions: int = 64,
        clusters: int = 5,
        temperature: float = 0.5,
        steps: int = 300,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1, "DualContrastive.dimensions", dimensions)
        require_at_least(1, "DualContrastive.clusters", clusters)
        require_at_least(0.05, "DualContrastive.temperature", temperature)
        require_at_least(1, "DualContrastive.steps", steps)
        self.dimensions = dimensions
        self.clusters = clusters
        self.temperature = temperature
        self.steps = steps
        self.seed = seed

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        vectors = data.vectors
        quality, graded = grades(data.table, vectors.dtype)
        rng = np.random.default_rng(self.seed)
        good, bad = _examples(quality, graded, rng)
        labels = _cluster(vectors, self.clusters, self.seed)

        def slopes(at: Parameters) -> Parameters:
            to_candidates = _candidate_loss(at, vectors, (good, bad), self.temperature)[1]
            to_queries = _query_loss(at["map"], vectors, _draw(labels, rng), self.temperature)[1]
            return {"map": to_candidates["map"] + to_queries, "candidates": to_candidates["candidates"]}

        shapes = {"map": (vectors.shape[1], self.dimensions), "candidates": (quality.shape[1], self.dimensions)}
        start = {name: rng.normal(0, 1, shape).astype(vectors.dtype) for name, shape in shapes.items()}
        at = adam(slopes, start, steps=self.steps, rate=_RATE)
        cosines = _unit(vectors @ at["map"])[0] @ _unit(at["candidates"])[0].T
        curve = _curve(cosines, quality, graded)
        std = deviations(sigmoid(curve[0] * cosines + curve[1]), quality, graded)
        state = {"map": at["map"], "candidates": _unit(at["candidates"])[0], "curve": curve, "std": std}
        return data.table.names, {name: value.astype(np.float32) for name, value in state.items()}

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        quality, graded = grades(table)
        queries = _unit(vectors @ state["map"])[0].astype(float)
        steepness, offset = state["curve"].astype(float)

        def slopes(at: Parameters) -> Parameters:
            keys, sizes = _unit(at["candidates"])
            slope = cross_entropy(steepness * queries @ keys.T + offset, quality, graded)[1]
            return {"candidates": _through(steepness * slope.T @ queries, keys, sizes)}

        # From the mean of the others towards what they answer well.
        start = state["candidates"].mean(axis=0) + (quality - graded / 2).T @ queries
        at = adam(slopes, {"candidates": _unit(start)[0]}, steps=self.steps, rate=_RATE)
        keys = _unit(at["candidates"])[0]
        std = deviations(sigmoid(steepness * queries @ keys.T + offset), quality, graded)
        more = {"candidates": keys, "std": std}
        joined = {name: np.concatenate([state[name], value]).astype(np.float32) for name, value in more.items()}
        return {**state, **joined}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        cosines = (_unit(vectors @ state["map"])[0] @ state["candidates"].T).astype(float)
        slope, offset = state["curve"]
        quality: Floats = sigmoid(slope * cosines + offset).astype(float)
        return quality, np.tile(state["std"].astype(float), (len(vectors), 1))


def _examples(quality: Array, graded: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return 1 for each good and for each bad example, else 0; ties fall by chance, not by name."""
    import numpy as np

    order = np.lexsort((rng.random(quality.shape), -quality, -graded), axis=1)
    rank = np.argsort(order, axis=1)
    count = graded.sum(axis=1, keepdims=True)
    good = (rank < np.minimum(_TOP, np.ceil(count / 2))) & (quality > 0)
    bad = (rank >= count - np.minimum(_TOP, count // 2)) & (rank < count) & (quality <= _BAD)
    return good.astype(quality.dtype), bad.astype(quality.dtype)


def _cluster(vectors: Array, clusters: int, seed: int) -> Indices:
    import numpy as np
    from sklearn.cluster import KMeans

    distinct = len(np.unique(vectors, axis=0))
    model = KMeans(min(clusters, distinct), n_init=1, random_state=seed)
    return np.asarray(model.fit_predict(vectors), dtype=np.intp)


def _draw(labels: Indices, rng: np.random.Generator) -> Indices:
    """Draw one query of the own cluster and three of others for each query; none where there is one cluster only."""
    import numpy as np

    sizes = np.bincount(labels)
    own, others = sizes[labels], len(labels) - sizes[labels]
    if not others.all():
        return np.zeros((0, 1 + _STRANGERS), dtype=np.intp)
    order = np.argsort(labels, kind="stable")
    first = (np.cumsum(sizes) - sizes)[labels]
    friends = first + (rng.random(len(labels)) * own).astype(np.intp)
    strangers = (first + own)[:, None] + (rng.random((len(labels), _STRANGERS)) * others[:, None]).astype(np.intp)
    drawn: Indices = order[np.column_stack([friends, strangers % len(labels)])]
    return drawn


def _candidate_loss(
    at: Parameters, vectors: Array, examples: tuple[Array, Array], temperature: float
) -> tuple[float, Parameters]:
    """Return the mean loss of a query with its candidates, and the gradient by the map and by the candidates."""
    import numpy as np

    good, bad = examples
    queries, lengths = _unit(vectors @ at["map"])
    keys, sizes = _unit(at["candidates"])
    logits = queries @ keys.T / temperature
    weights = np.exp(logits - 1 / temperature)
    against = (weights * bad).sum(axis=1, keepdims=True)
    right = weights / (weights + against)
    count = len(vectors)
    loss = -float((np.log(right) * good).sum()) / count
    missed = (1 - right) * good
    # What each good example lacks is shared among the bad ones by their weight.
    blame = (good / (weights + against)).sum(axis=1, keepdims=True) * weights * bad
    slope = (blame - missed) / (count * temperature)
    by_query = _through(slope @ keys, queries, lengths)
    return loss, {"map": vectors.T @ by_query, "candidates": _through(slope.T @ queries, keys, sizes)}


def _query_loss(mapping: Array, vectors: Array, drawn: Indices, temperature: float) -> tuple[float, Array]:
    """Return the mean loss of a query with the queries `drawn` for it, the first its friend, and the gradient."""
    import numpy as np
    from scipy.sparse import csr_matrix

    if not len(drawn):
        return 0.0, np.zeros_like(mapping)
    queries, lengths = _unit(vectors @ mapping)
    logits = np.einsum("nk,nhk->nh", queries, queries[drawn]) / temperature
    share = np.exp(logits - 1 / temperature)
    share /= share.sum(axis=1, keepdims=True)
    loss = -float(np.log(share[:, 0]).mean())
    slope = share / (len(drawn) * temperature)
    slope[:, 0] -= 1 / (len(drawn) * temperature)
    starts = np.arange(0, drawn.size + 1, drawn.shape[1])
    pairs = csr_matrix((slope.ravel(), drawn.ravel(), starts), shape=(len(drawn), len(drawn)))
    # Each pair moves both of its queries.
    by_query = pairs @ queries + pairs.T @ queries
    return loss, vectors.T @ _through(by_query, queries, lengths)


def _unit(rows: Array) -> tuple[Array, Array]:
    """Return the rows at length 1, and their lengths; zeros stay zeros."""
    import numpy as np

    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
    return rows / lengths, lengths


def _through(slope: Array, units: Array, lengths: Array) -> Array:
    """Return the gradient by the rows, from that by the rows at length 1."""
    result: Array = (slope - units * (slope * units).sum(axis=1, keepdims=True)) / lengths
    return result


def _curve(cosines: Array, quality: Array, graded: Array) -> Array:
    """Return slope and offset of the logistic curve from cosines to quality."""
    import numpy as np

    near, right, known = (values.astype(float).reshape(-1, 1) for values in (cosines, quality, graded))
    slope, offset = logistic_regression(near, right, known, alpha=1.0)
    # A nearer candidate must not come out worse, however little was learnt.
    return np.array([max(slope.item(), 0.0), offset.item()])
