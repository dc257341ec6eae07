"""Quality and latency of a candidate in the cluster that a query falls into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder
from router_integrations.estimators.clustering import KMeansQuality, assigned, cluster_means, tally
from router_integrations.estimators.learned import Data, encoded
from router_integrations.learning import Table
from router_integrations.types import Attempt, Estimate, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClusterStatistics:
    """What is known of each candidate in each cluster.

    Args:
        names: The candidates.
        quality: Mean grade, clusters by candidates, in [0, 1].
        latency: Mean latency, clusters by candidates, in any one unit; NaN is unknown.
        queries: Number of queries in each cluster.

    >>> import numpy as np
    >>> ClusterStatistics(names=("m",), quality=np.ones((2, 1)), latency=np.ones((2, 1)), queries=np.ones(2)).names
    ('m',)
    """

    names: tuple[str, ...]
    quality: Floats
    latency: Floats
    queries: Floats


class ClusterLatency(KMeansQuality):
    """Estimates quality and latency as a candidate's means in the cluster of the query.

    WHEN: pre-generation. WHAT: query. HOW: heuristic (unsupervised: k-means over the queries; grades and latencies are
    only averaged). Latencies are those of the records; a candidate without any keeps the latency it was declared with.
    Records whose latency is seconds per output token give the paper's time per output token in place of seconds to
    the end. The clusters of CRE-Router's first stage (arXiv 2606.27457): `statistics` leads to the finitely many
    policies of `latency_regions.regions`, `strategies.LatencyTradeoff` acts on one. `fit` and `estimate` take what they
    take in `KMeansQuality`, and `estimate` encodes the query twice.

    Args:
        clusters: Number of clusters, at least 1; fewer when the queries do not fill them.
        shrinkage: Values that a candidate's overall mean counts for in each cluster, finite and at least 0; 0 is the
            paper's plain mean.
        seed: Seed of k-means.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An argument is out of range.

    >>> from router_integrations.learning import Record
    >>> records = [Record(text="hi", candidate=name, quality=grade, latency=seconds)
    ...            for name, grade, seconds in [("small", 0.5, 1.0), ("big", 1.0, 4.0)]]
    >>> known = ClusterLatency(clusters=1).fit(records).statistics()
    >>> known.names, known.quality.tolist(), known.latency.tolist(), known.queries.tolist()
    (('big', 'small'), [[1.0, 0.5]], [[4.0, 1.0]], [1.0])
    """

    def __init__(
        self, *, clusters: int = 8, shrinkage: float = 5.0, seed: int = 0, encoder: Encoder | None = None
    ) -> None:
        super().__init__(clusters=clusters, shrinkage=shrinkage, seed=seed, encoder=encoder)

    def statistics(self) -> ClusterStatistics:
        """Return what was learnt of each candidate in each cluster.

        Raises:
            ConfigurationError: Nothing was learnt yet.
        """
        fitted = self._require_fitted("statistics")
        return ClusterStatistics(
            names=fitted.names,
            quality=cluster_means(fitted.state["sums"], fitted.state["counts"], self.shrinkage),
            latency=self._latency(fitted.state),
            queries=fitted.state["queries"].astype(float),
        )

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order, with the latency of the query's cluster."""
        import numpy as np

        fitted, estimates = self.fitted_, super().estimate(request, candidates, attempts)
        if fitted is None:
            return estimates
        vectors = encoded(fitted.encoder, [request.text], [request.images])
        here = self._latency(fitted.state)[assigned(vectors, fitted.state["centers"])[0]]
        known = {name: float(value) for name, value in zip(fitted.names, here, strict=True) if not np.isnan(value)}
        return [
            replace(estimate, latency=known.get(candidate.name, estimate.latency))
            for candidate, estimate in zip(candidates, estimates, strict=True)
        ]

    def _latency(self, state: State) -> Floats:
        import numpy as np

        with np.errstate(invalid="ignore"):
            return cluster_means(state["seconds"], state["timed"], self.shrinkage)

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        names, state = super()._learn(data)
        cluster = assigned(data.vectors, state["centers"])
        seconds, timed = tally(data.table.latency, cluster, len(state["centers"]))
        queries = np.bincount(cluster, minlength=len(seconds)).astype(np.float32)
        return names, {**state, "seconds": seconds, "timed": timed, "queries": queries}

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        cluster = assigned(vectors, state["centers"])
        seconds, timed = tally(table.latency, cluster, len(state["centers"]))
        return {
            **super()._onboard(state, vectors, table),
            "seconds": np.concatenate([state["seconds"], seconds], axis=1),
            "timed": np.concatenate([state["timed"], timed], axis=1),
        }
