"""Elo ratings of candidates, which go on from battle to battle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.battles import Paired, appearances, battles, queries, require_above_0
from router_integrations.estimators.index import index, nearest
from router_integrations.estimators.learned import Data, Fitted
from router_integrations.learning import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

# Elo points that stand for odds of 10 to 1.
_SCALE = 400.0


class Eagle(Paired):
    """Rates candidates by Elo over all battles, blended with Elo over the battles on the nearest queries.

    WHEN: pre-generation, online. WHAT: query and feedback. HOW: heuristic (training-free). The rating is ``share`` of
    the global Elo and the rest of the local one, which goes on from the global one over the battles on the nearest
    queries, in the order in which they came. `fit` takes O(battles), `estimate` O(queries · dimensions); from 10,000
    queries on `fit` makes an index of them, by which `estimate` takes O(√queries · dimensions) and misses some.

    Eagle (arXiv 2409.15518).

    Args:
        share: Weight of the global rating, in [0, 1].
        neighbors: Queries whose battles are local, at least 1.
        k: Elo points that a surprise moves at most, above 0.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An argument is out of range.

    >>> from router_integrations.learning import Record
    >>> eagle = Eagle().fit([Record(text="Hi", candidate="a", over="b", quality=1)])
    >>> eagle.fitted_.state["ratings"].tolist()
    [16.0, -16.0]
    """

    def __init__(
        self, *, share: float = 0.5, neighbors: int = 20, k: float = 32.0, encoder: Encoder | None = None
    ) -> None:
        super().__init__(encoder=encoder)
        if not 0 <= share <= 1:
            raise ConfigurationError(f"Eagle.share must be in [0, 1] but got {share!r}; 0.5 is the paper's")
        if neighbors < 1:
            raise ConfigurationError(f"Eagle.neighbors must be at least 1 but got {neighbors!r}")
        require_above_0("Eagle.k", k)
        self.share = share
        self.neighbors = neighbors
        self.k = k

    def update(self, record: Record) -> Self:
        """Learn from one more battle, as `fit` with it at the end would, but the encoder stays; return the estimator.

        The ratings change in O(1). What is stored is copied and swapped whole, so whoever reads meanwhile sees all of
        the battle or nothing. One writer at a time.

        Args:
            record: A preference; its candidates may be new.

        Raises:
            ConfigurationError: The record is no preference.

        >>> eagle = Eagle().fit([Record(text="Hi", candidate="a", over="b", quality=1)])
        >>> eagle.update(Record(text="Hi", candidate="a", over="c", quality=0.5)).fitted_.names
        ('a', 'b', 'c')
        """
        import numpy as np

        fitted = self.fitted_
        if record.over is None:
            raise ConfigurationError("Eagle.update needs a preference; set over=, or call fit with the graded attempts")
        if fitted is None:
            return self.fit([record])
        fitted = _with_room(fitted, (record.candidate, record.over))
        state = fitted.state
        left, right = fitted.names.index(record.candidate), fitted.names.index(record.over)
        vector = np.asarray(fitted.encoder.encode([record.text]), dtype=np.float32)
        same = np.flatnonzero((state["vectors"] == vector).all(axis=1))
        query = same[0] if same.size else len(state["vectors"])
        battle = np.array([[query, left, right, record.quality]], dtype=np.float32)
        place = np.searchsorted(state["asked"], query, side="right")
        changed = {
            **state,
            "asked": np.insert(state["asked"], place, query),
            "places": np.insert(state["places"], place, len(state["battles"])),
            "vectors": state["vectors"] if same.size else np.concatenate([state["vectors"], vector]),
            "battles": np.concatenate([state["battles"], battle]),
            "ratings": _elo(state["ratings"], battle, self.k).astype(np.float32),
            "counts": state["counts"] + appearances(battle, len(fitted.names)),
        }
        self.fitted_ = replace(fitted, state=changed)
        return self

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        names, rows = battles(data)
        ratings = _elo(np.zeros(len(names), dtype=np.float32), rows, self.k)
        counts = appearances(rows, len(names))
        vectors = queries(data)
        order, arrays = index(vectors)
        rows[:, 0] = np.argsort(order)[rows[:, 0].astype(np.intp)]
        # Where the battles on each query stand, so that none is looked at in vain.
        places = np.argsort(rows[:, 0], kind="stable")
        return names, {
            "vectors": vectors[order],
            "battles": rows,
            "asked": rows[places, 0].astype(np.int32),
            "places": places.astype(np.int32),
            "ratings": ratings.astype(np.float32),
            "counts": counts,
            **arrays,
        }

    def _ratings(self, state: State, vectors: NDArray[np.float32]) -> Floats:
        import numpy as np

        ratings = state["ratings"]
        found = np.empty((len(vectors), len(ratings)))
        near = nearest(state["vectors"], state, vectors, self.neighbors)
        first, last = (np.searchsorted(state["asked"], near, side=side) for side in ("left", "right"))
        for at, spans in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            places = np.concatenate([state["places"][slice(*span)] for span in zip(*spans, strict=True)])
            local = _elo(ratings, state["battles"][np.sort(places)], self.k)
            found[at] = self.share * ratings + (1 - self.share) * local
        return found * (math.log(10) / _SCALE)


def _elo(ratings: Floats | NDArray[np.float32], rows: NDArray[np.float32], k: float) -> Floats:
    """Return what becomes of `ratings` over the battles `rows`."""
    import numpy as np

    now: list[float] = ratings.tolist()
    for left, right, grade in zip(rows[:, 1].astype(int), rows[:, 2].astype(int), rows[:, 3].tolist(), strict=True):
        step = k * (grade - 1 / (1 + 10 ** ((now[right] - now[left]) / _SCALE)))
        now[left] += step
        now[right] -= step
    changed: Floats = np.array(now)
    return changed


def _with_room(fitted: Fitted, names: Sequence[str]) -> Fitted:
    """Return `fitted` with the new ones among `names`, who start at the mean, that is 0."""
    import numpy as np

    new = tuple(name for name in names if name not in fitted.names)
    state = dict(fitted.state)
    for key in ("ratings", "counts"):
        state[key] = np.pad(state[key], (0, len(new)))
    tokens = np.pad(fitted.output_tokens, (0, len(new)), constant_values=np.nan)
    return replace(fitted, names=(*fitted.names, *new), output_tokens=tokens, state=state)
