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

    With `nearest=1` it is the K-means router of UniRoute (arXiv 2502.08773), with `nearest` 3 or 4 and `sharpness` 6
    to 9 the assignment of Avengers (2505.19797) and Avengers-Pro (2508.12631), whose blend of quality and cost is
    `Utility(enough=1, per_usd=...)` here. `fit` takes 10 runs of k-means, O(queries · clusters · dimensions) a round;
    `estimate` takes O(clusters · (dimensions + candidates)).

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
        for name, count in (("clusters", clusters), ("nearest", nearest)):
            if count < 1:
                raise ConfigurationError(f"KMeansQuality.{name} must be at least 1 but got {count!r}")
        for name, value in (("sharpness", sharpness), ("shrinkage", shrinkage)):
            if not 0 <= value < float("inf"):
                raise ConfigurationError(f"KMeansQuality.{name} must be finite and at least 0 but got {value!r}")
        self.clusters = clusters
        self.nearest = nearest
        self.sharpness = sharpness
        self.shrinkage = shrinkage
        self.seed = seed

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        sums, counts = _tally(table, vectors, state["centers"])
        return {
            **state,
            "sums": np.concatenate([state["sums"], sums], axis=1),
            "counts": np.concatenate([state["counts"], counts], axis=1),
        }

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        table = data.table
        if not table.texts:
            raise ConfigurationError(
                "KMeansQuality.fit got no graded attempt; give it some, or learn preferences with BradleyTerry"
            )
        with warnings.catch_warnings():
            # Alike queries leave clusters empty; those are dropped.
            warnings.simplefilter("ignore", ConvergenceWarning)
            count = min(self.clusters, len(data.vectors))
            means = KMeans(count, n_init=_STARTS, random_state=self.seed).fit(data.vectors)
        centers = means.cluster_centers_[np.unique(means.labels_)].astype(np.float32)
        sums, counts = _tally(table, data.vectors, centers)
        return table.names, {"centers": centers, "sums": sums, "counts": counts}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np
        from scipy.special import softmax

        sums, counts = state["sums"].astype(float), state["counts"].astype(float)
        overall = sums.sum(axis=0) / counts.sum(axis=0)
        weight = counts + self.shrinkage
        quality = np.divide(
            sums + self.shrinkage * overall, weight, out=np.tile(overall, (len(sums), 1)), where=weight > 0
        )
        distance = _distances(vectors, state["centers"])
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.nearest]
        shares = softmax(-self.sharpness * np.take_along_axis(distance, nearest, axis=1), axis=1)
        mean = np.einsum("qp,qpm->qm", shares, quality[nearest])
        count = np.einsum("qp,qpm->qm", shares, counts[nearest]) + 1.0
        return mean, np.sqrt(np.maximum(mean * (1 - mean), 1e-4) / count)


def _distances(vectors: NDArray[np.float32], centers: NDArray[np.float32]) -> Floats:
    """Return half the squared Euclidean distances, vectors by centres, up to what all centres share."""
    distance: Floats = ((centers.astype(float) ** 2).sum(axis=1) / 2) - (vectors @ centers.T)
    return distance


def _tally(
    table: Table, vectors: NDArray[np.float32], centers: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the sums and the counts of the grades, clusters by candidates."""
    import numpy as np

    shape = (len(centers), len(table.names))
    sums, counts = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        cluster = _distances(vectors[block], centers).argmin(axis=1)
        known = ~np.isnan(table.quality[block])
        np.add.at(sums, cluster, np.where(known, table.quality[block], 0.0))
        np.add.at(counts, cluster, known)
    return sums, counts
