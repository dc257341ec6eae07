"""Quality of a candidate on the most similar queries that were graded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.index import index, nearest
from router_integrations.estimators.learned import Data, Learned
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

# How many gradings the candidate's overall mean counts for, beside those of the neighbours.
_PRIOR = 1.0
# Grades of neighbours held at once.
_BLOCK = 2**22


class Neighbors(Learned):
    """Estimates quality as the mean grade on the `k` nearest graded queries.

    WHEN: pre-generation. WHAT: query. HOW: supervised (k nearest neighbours by cosine). A candidate's own mean over all
    records counts as one more neighbour, so sparse records do no harm; the standard deviation is that of the mean.
    `fit` stores the vectors, and from 10,000 queries on an index of them; `estimate` takes O(queries · dimensions), by
    the index O(√queries · dimensions), where some of the nearest are missed. A newcomer that is onboarded has its
    neighbours among its own queries.

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
        return data.table.names, _stored(data.vectors, data.table)

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        # Newcomers have neighbours of their own, so that those of the others stay as they are.
        return {**state, **_stored(vectors, table, f"_{len(_groups(state))}")}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        parts = [self._group(state, group, vectors) for group in _groups(state)]
        quality, std = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return quality, std

    def _group(self, state: State, group: str, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        stored, quality, usual = (state[name + group] for name in ("vectors", "quality", "mean"))
        names = ("centers", "offsets", "axes", "short")
        arrays = {name: state[name + group] for name in names if name + group in state}
        near = nearest(stored, arrays, vectors, self.k)
        mean, count = np.empty((len(vectors), len(usual))), np.empty((len(vectors), len(usual)))
        step = max(_BLOCK // (near.shape[1] * len(usual)), 1)
        for start in range(0, len(vectors), step):
            rows = slice(start, start + step)
            grades = quality[near[rows]].astype(float)
            graded = ~np.isnan(grades)
            count[rows] = graded.sum(axis=1) + _PRIOR
            mean[rows] = (np.where(graded, grades, 0.0).sum(axis=1) + _PRIOR * usual) / count[rows]
        return mean, np.sqrt(np.maximum(mean * (1 - mean), 1e-4) / count)


def _stored(vectors: NDArray[np.float32], table: Table, group: str = "") -> State:
    import numpy as np

    order, arrays = index(vectors)
    usual = np.nanmean(table.quality, axis=0).astype(np.float32)
    quality = table.quality[order].astype(np.float32)
    stored = {"vectors": vectors[order], "quality": quality, "mean": usual, **arrays}
    return {name + group: value for name, value in stored.items()}


def _groups(state: State) -> list[str]:
    """Return what the names of the arrays end in, for those learnt at first and those onboarded after."""
    return ["", *(f"_{number}" for number in range(1, sum(name.startswith("vectors") for name in state)))]
