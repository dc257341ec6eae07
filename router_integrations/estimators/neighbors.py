"""Quality of a candidate on the most similar queries that were graded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Data, Learned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

# How many gradings the candidate's overall mean counts for, beside those of the neighbours.
_PRIOR = 1.0


class Neighbors(Learned):
    """Estimates quality as the mean grade on the `k` nearest graded queries.

    WHEN: pre-generation. WHAT: query. HOW: supervised (k nearest neighbours by cosine). A candidate's own mean over all
    records counts as one more neighbour, so sparse records do no harm; the standard deviation is that of the mean.
    `fit` stores the vectors; `estimate` takes O(records · dimensions).

    The kNN router of RouterBench (arXiv 2403.12031).

    Args:
        k: Neighbours, at least 1.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: `k` is below 1.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = Neighbors(k=2).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round(2).tolist()
    [[0.83, 0.17], [0.17, 0.83]]
    """

    def __init__(self, *, k: int = 40, encoder: Encoder | None = None) -> None:
        super().__init__(encoder=encoder)
        if k < 1:
            raise ConfigurationError(f"Neighbors.k must be at least 1 but got {k!r}")
        self.k = k

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        quality = data.table.quality
        mean = np.nanmean(quality, axis=0)
        return data.table.names, {
            "vectors": data.vectors,
            "quality": quality.astype(np.float32),
            "mean": mean.astype(np.float32),
        }

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        k = min(self.k, len(state["vectors"]))
        similarity = vectors @ state["vectors"].T
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        grades = state["quality"][nearest].astype(float)
        graded = ~np.isnan(grades)
        count = graded.sum(axis=1) + _PRIOR
        mean = (np.where(graded, grades, 0.0).sum(axis=1) + _PRIOR * state["mean"]) / count
        return mean, np.sqrt(np.maximum(mean * (1 - mean), 1e-4) / count)
