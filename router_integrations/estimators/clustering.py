"""Quality of a candidate in the part of the query space that a query falls into."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Data, Learned
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

# Starts of k-means, of which the best is kept.
_STARTS = 10
# Distances of this many queries to the centres are held at once.
_BLOCK = 4096


class KMeansQuality(Learned):
    """Estimates quality as the mean grade in the cluster of the query, or in the nearest few of them.

    WHEN: pre-generation. WHAT: query. HOW: heuristic (unsupervised: k-means over the queries, grades are only counted).
    Grades count for the nearest cluster. A query reads its `nearest` clusters, weighted by a softmax over minus
    `sharpness` times the distance (half the squared Euclidean one, which is 1 - cosine between vectors of length 1).
    A candidate's own mean over all clusters counts as `shrinkage` more grades in each.

    With `nearest=1` it is the K-means router of UniRoute (arXiv 2502.08773). With `nearest` 3 or 4 and `sharpness=9` it
    reads clusters as Avengers-Pro (2508.12631) does, which weighs quality against cost with both rescaled within each
    cluster: with its weight w of quality, a dollar is worth ``(1 - w) / w · (best - worst mean) / (highest cost)`` of
    that cluster. `Utility(enough=1, per_usd=...)` here is the same trade at one price for all clusters.

    `fit` takes 10 runs of k-means, O(queries · clusters · dimensions) a round; `estimate` takes O(clusters ·
    (dimensions + candidates)).

    Args:
        clusters: Number of clusters, at least 1; fewer when the queries do not fill them.
        nearest: Clusters that a query reads, at least 1.
        sharpness: How much nearer clusters weigh more, finite and at least 0; 0 weighs all that are read the same.
        shrinkage: Grades that a candidate's overall mean counts for in each cluster, finite and at least 0.
        seed: Seed of k-means.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An argument is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = KMeansQuality(clusters=2, shrinkage=2).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round(2).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """

    def __init__(
        self,
        *,
        clusters: int = 32,
        nearest: int = 1,
        sharpness: float = 9.0,
        shrinkage: float = 5.0,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        owner = type(self).__name__
        for name, count in (("clusters", clusters), ("nearest", nearest)):
            if count < 1:
                raise ConfigurationError(f"{owner}.{name} must be at least 1 but got {count!r}")
        for name, value in (("sharpness", sharpness), ("shrinkage", shrinkage)):
            if not 0 <= value < float("inf"):
                raise ConfigurationError(f"{owner}.{name} must be finite and at least 0 but got {value!r}")
        self.clusters = clusters
        self.nearest = nearest
        self.sharpness = sharpness
        self.shrinkage = shrinkage
        self.seed = seed

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        sums, counts = tally(table.quality, assigned(vectors, state["centers"]), len(state["centers"]))
        return {
            **state,
            "sums": np.concatenate([state["sums"], sums], axis=1),
            "counts": np.concatenate([state["counts"], counts], axis=1),
        }

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        if not data.table.texts:
            raise ConfigurationError(
                f"{type(self).__name__}.fit got no graded attempt; give it some, or learn preferences with BradleyTerry"
            )
        centers = k_means(data.vectors, self.clusters, seed=self.seed)
        sums, counts = tally(data.table.quality, assigned(data.vectors, centers), len(centers))
        return data.table.names, {"centers": centers, "sums": sums, "counts": counts}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np
        from scipy.special import softmax

        means = cluster_means(state["sums"], state["counts"], self.shrinkage)
        distance = distances(vectors, state["centers"])
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.nearest]
        shares = np.zeros_like(distance)
        weights = softmax(-self.sharpness * np.take_along_axis(distance, nearest, axis=1), axis=1)
        np.put_along_axis(shares, nearest, weights, axis=1)
        quality, std = mixed(shares, means, state["counts"])
        return self._scores(shares, means, quality), std

    def _scores(self, shares: Floats, means: Floats, quality: Floats) -> Floats:
        """Return what each candidate is worth to each query, by default its `quality`."""
        return quality


class ClusterRank(KMeansQuality):
    """Estimates how good a candidate is by its place among the others in the nearest clusters of the query.

    It is worth 1 in a cluster where its mean grade is the best, 1/2 where it is the second best and so on; equals share
    the better place. Only the order of such scores means something: they are no grades, and one more candidate moves
    them, so that newcomers need a new `fit`.

    WHEN: pre-generation. WHAT: query. HOW: heuristic (unsupervised: k-means over the queries, grades are only ranked).
    The scores of Avengers (arXiv 2505.19797); the vote among the answers of the best two, which follows there, is not
    part of it. `fit` and `estimate` take what they take in `KMeansQuality`, and O(clusters · candidates · log
    candidates) more.

    Args:
        clusters: Number of clusters, at least 1; fewer when the queries do not fill them.
        nearest: Clusters that a query reads, at least 1.
        sharpness: How much nearer clusters weigh more, finite and at least 0; 0 weighs all that are read the same.
        seed: Seed of k-means.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An argument is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text="hi", candidate=name, quality=grade) for name, grade in [("small", 0.2), ("big", 0.3)]]
    >>> pool = [Candidate("small", model=object()), Candidate("big", model=object())]
    >>> ClusterRank(clusters=1).fit(records).predict(["hello"], pool)[0].tolist()
    [[0.5, 1.0]]
    """

    def __init__(
        self,
        *,
        clusters: int = 32,
        nearest: int = 3,
        sharpness: float = 6.0,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(
            clusters=clusters, nearest=nearest, sharpness=sharpness, shrinkage=0.0, seed=seed, encoder=encoder
        )

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        # One more candidate would move the places of all others.
        return Learned._onboard(self, state, vectors, table)

    def _scores(self, shares: Floats, means: Floats, quality: Floats) -> Floats:
        from scipy.stats import rankdata

        scores: Floats = shares @ (1 / rankdata(-means, "min", axis=1))
        return scores


def k_means(vectors: NDArray[np.float32], clusters: int, *, seed: int) -> NDArray[np.float32]:
    """Return the centres of the clusters that are not empty, at most `clusters` of them.

    >>> import numpy as np
    >>> sorted(k_means(np.array([[0.0], [0.2], [1.0]], dtype=np.float32), 2, seed=0).round(1).tolist())
    [[0.10000000149011612], [1.0]]
    """
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Alike queries leave clusters empty; those are dropped.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = KMeans(min(clusters, len(vectors)), n_init=_STARTS, random_state=seed).fit(vectors)
    centers: NDArray[np.float32] = means.cluster_centers_[np.unique(means.labels_)].astype(np.float32)
    return centers


def distances(vectors: NDArray[np.float32], centers: NDArray[np.float32]) -> Floats:
    """Return half the squared Euclidean distances, vectors by centres, up to what all centres share.

    >>> import numpy as np
    >>> distances(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)).tolist()
    [[-0.5, 0.5], [0.5, -0.5]]
    """
    distance: Floats = ((centers.astype(float) ** 2).sum(axis=1) / 2) - (vectors @ centers.T)
    return distance


def assigned(vectors: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the nearest centre of each vector.

    >>> import numpy as np
    >>> assigned(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)).tolist()
    [0, 1]
    """
    import numpy as np

    starts = range(0, len(vectors), _BLOCK)
    return np.concatenate([distances(vectors[start : start + _BLOCK], centers).argmin(axis=1) for start in starts])


def tally(values: Floats, cluster: NDArray[np.intp], clusters: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the sums and the counts of the known values, clusters by candidates.

    Args:
        values: Queries by candidates; NaN is unknown.
        cluster: The cluster of each query.
        clusters: How many clusters there are.

    >>> import numpy as np
    >>> [array.tolist() for array in tally(np.array([[0.5], [1.0], [np.nan]]), np.array([1, 1, 0]), 2)]
    [[[0.0], [1.5]], [[0.0], [2.0]]]
    """
    import numpy as np

    sums, counts = np.zeros((2, clusters, values.shape[1]), dtype=np.float32)
    known = ~np.isnan(values)
    np.add.at(sums, cluster, np.where(known, values, 0.0))
    np.add.at(counts, cluster, known)
    return sums, counts


def cluster_means(sums: NDArray[np.float32], counts: NDArray[np.float32], shrinkage: float) -> Floats:
    """Return the mean of each candidate in each cluster, its overall mean counted as `shrinkage` more values.

    >>> import numpy as np
    >>> cluster_means(np.array([[1.0], [0.0]]), np.array([[1.0], [3.0]]), 1.0).tolist()
    [[0.625], [0.0625]]
    """
    import numpy as np

    sums, counts = sums.astype(float), counts.astype(float)
    overall = sums.sum(axis=0) / counts.sum(axis=0)
    weight = counts + shrinkage
    means: Floats = np.divide(
        sums + shrinkage * overall, weight, out=np.tile(overall, (len(sums), 1)), where=weight > 0
    )
    return means


def mixed(shares: Floats, means: Floats, counts: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return quality and its standard deviation where each query reads clusters in the given shares.

    >>> import numpy as np
    >>> [array.tolist() for array in mixed(np.array([[0.5, 0.5]]), np.array([[1.0], [0.0]]), np.array([[0.0], [0.0]]))]
    [[[0.5]], [[0.5]]]
    """
    import numpy as np

    mean: Floats = shares @ means
    return mean, np.sqrt(np.maximum(mean * (1 - mean), 1e-4) / (shares @ counts + 1.0))
