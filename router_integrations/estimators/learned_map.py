"""Soft clusters of the query space, learnt from the grades themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.estimators.clustering import cluster_means, k_means, mixed
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.numerics import adam, grades, require_at_least
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array, Parameters

# Size of Adam's first step.
_RATE = 0.05
# How sharply the map tells the centres of k-means apart before it learns.
_SHARPNESS = 10.0
# Expected grades keep this far from 0 and 1, where the logistic loss ends.
_EDGE = 1e-6


class LearnedMap(Learned):
    """Estimates quality as the mean grade over soft clusters, whose borders are learnt so that grades part well.

    A query belongs to cluster k by the share ``softmax(map·vector)_k``; a candidate is its mean grade in each cluster,
    where a grade counts by the share of its query. The map starts from the centres of k-means and follows the gradient
    of the logistic loss of the grades, through the shares and through the means.

    WHEN: pre-generation. WHAT: query. HOW: supervised (clusters learnt from grades). A newcomer is onboarded by
    counting its grades. `fit` takes O(steps · queries · clusters · (dimensions + candidates)) after k-means, `estimate`
    O(clusters · (dimensions + candidates)). The learned cluster map of UniRoute (arXiv 2502.08773), which counts the
    means on other queries than those the map learns from; here a candidate's own mean over all clusters counts as
    `shrinkage` more grades in each.

    Args:
        clusters: Number of clusters, at least 1.
        alpha: Weight of the squared map beside the mean loss of a grade, at least 0.
        steps: Steps of gradient descent, at least 0.
        shrinkage: Grades that a candidate's overall mean counts for in each cluster, above 0.
        seed: Seed of k-means.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = LearnedMap(clusters=2, shrinkage=2).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round(1).tolist()
    [[0.7, 0.3], [0.3, 0.7]]
    """

    def __init__(
        self,
        *,
        clusters: int = 16,
        alpha: float = 1e-5,
        steps: int = 50,
        shrinkage: float = 5.0,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1, "LearnedMap.clusters", clusters)
        require_at_least(0, "LearnedMap.alpha", alpha)
        require_at_least(0, "LearnedMap.steps", steps)
        require_at_least(1e-9, "LearnedMap.shrinkage", shrinkage)
        self.clusters = clusters
        self.alpha = alpha
        self.steps = steps
        self.shrinkage = shrinkage
        self.seed = seed

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        quality, graded = grades(data.table)
        vectors = data.vectors.astype(float)
        start = {"map": _SHARPNESS * k_means(data.vectors, self.clusters, seed=self.seed).T.astype(float)}
        at = adam(lambda at: self._loss(at, vectors, quality, graded)[1], start, steps=self.steps, rate=_RATE)
        state = {"map": at["map"].astype(np.float32)}
        sums, counts = _tally(_shares(state["map"], data.vectors), quality, graded)
        return data.table.names, {**state, "sums": sums, "counts": counts}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        means = cluster_means(state["sums"], state["counts"], self.shrinkage)
        return mixed(_shares(state["map"], vectors), means, state["counts"])

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        sums, counts = _tally(_shares(state["map"], vectors), *grades(table))
        return {
            **state,
            "sums": np.concatenate([state["sums"], sums], axis=1),
            "counts": np.concatenate([state["counts"], counts], axis=1),
        }

    def _loss(self, at: Parameters, vectors: Array, quality: Array, graded: Array) -> tuple[float, Parameters]:
        """Return the loss and its gradient by the map."""
        import numpy as np

        shares = _shares(at["map"], vectors)
        weight = shares.T @ graded + self.shrinkage
        means = (shares.T @ quality + self.shrinkage * quality.sum(axis=0) / graded.sum(axis=0)) / weight
        expected = np.clip(shares @ means, _EDGE, 1 - _EDGE)
        loss = -(graded * (quality * np.log(expected) + (1 - quality) * np.log1p(-expected))).sum() / graded.sum()
        slope = graded * (expected - quality) / (expected * (1 - expected)) / graded.sum()
        # By the shares that read the means, then by those that the grades are counted with.
        inner = shares.T @ slope / weight
        by_share = slope @ means.T + quality @ inner.T - graded @ (means * inner).T
        by_logit = shares * (by_share - (shares * by_share).sum(axis=1, keepdims=True))
        penalty = self.alpha / 2 * float((at["map"] ** 2).sum())
        return float(loss) + penalty, {"map": vectors.T @ by_logit + self.alpha * at["map"]}


def _shares(weights: Array, vectors: Array) -> Floats:
    """Return how much each query belongs to each cluster."""
    from scipy.special import softmax

    shares: Floats = softmax((vectors @ weights).astype(float), axis=1)
    return shares


def _tally(shares: Floats, quality: Array, graded: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the sums and the counts of the grades, clusters by candidates."""
    import numpy as np

    return (shares.T @ quality).astype(np.float32), (shares.T @ graded).astype(np.float32)
