"""Estimates of another estimator turned into what really comes of them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.curves import draw_curve, read_curve, require_curve
from router_integrations.estimators.learned import Data, Fitted, Learned, encoded
from router_integrations.learning import Record, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.candidates import Candidate
    from router_integrations.estimators.learned import Floats, State

# With fewer held-out grades than this a candidate's estimates stay as they are.
_ENOUGH = 10
_CURVES = "calibration"


class CalibratedEstimator(Learned):
    """Learns, from grades that another estimator has not seen, how good its candidates really are at each estimate.

    WHEN: pre-generation. WHAT: what the other estimator reads. HOW: supervised: Platt's logistic curve on the log-odds
    of the estimate (two numbers a candidate, for a few dozen grades), or isotonic regression (a rising step-like curve,
    for hundreds). `fit` splits the queries by chance: one part teaches the other estimator, and the rest its curves; an
    encoder fitted on the records sees the texts of both parts, the grades it never sees. `calibrate` leaves an
    estimator that has learnt as it is, and learns the curves from grades that it must not have learnt from. Candidates
    with fewer than 10 held-out grades keep their estimates; the standard deviation is never changed. To choose a
    threshold take queries of neither part. `fit` costs what the other's does, and O(grades · log grades); `estimate`
    adds O(candidates · log knots).

    Platt, "Probabilistic outputs for support vector machines" (1999); isotonic regression for UCCI's cascades.

    Args:
        estimator: Whose estimates; the instance itself never learns.
        method: ``"platt"`` or ``"isotonic"``.
        held_out: Share of the queries that `fit` keeps for the curves, in (0, 1).
        seed: Seed of the split.

    Raises:
        ConfigurationError: An option is out of range, or the estimator learns nothing.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.estimators.neighbors import Neighbors
    >>> sure = Neighbors(k=1).fit([Record(text="hi", candidate="a", quality=1.0)])
    >>> seen = [Record(text=f"query {i}", candidate="a", quality=float(i % 4 == 0)) for i in range(40)]
    >>> calibrated = CalibratedEstimator(estimator=sure, method="isotonic").calibrate(seen)
    >>> pool = [Candidate("a", model=object())]
    >>> sure.predict(["query"], pool)[0].tolist(), calibrated.predict(["query"], pool)[0].tolist()
    ([[1.0]], [[0.25]])
    """

    def __init__(
        self,
        *,
        estimator: Learned,
        method: Literal["platt", "isotonic"] = "platt",
        held_out: float = 0.3,
        seed: int = 0,
    ) -> None:
        if not isinstance(estimator, Learned) or isinstance(estimator, CalibratedEstimator):
            raise ConfigurationError(
                f"CalibratedEstimator.estimator must be another one that learns but got {estimator!r}; "
                "for example Neighbors()"
            )
        require_curve("CalibratedEstimator", method, held_out)
        super().__init__(encoder=estimator.encoder)
        self.estimator = estimator
        self.method = method
        self.held_out = held_out
        self.seed = seed

    @property
    def uncalibrated(self) -> Learned:
        """The other estimator with what it has learnt here, its estimates as they were; to compare with."""
        fitted = self._require_fitted("uncalibrated")
        inner = copy.copy(self.estimator)
        inner.fitted_ = replace(fitted, state=_inner(fitted.state))
        return inner

    def calibrate(self, records: Iterable[Record]) -> Self:
        """Learn the curves of an estimator that has learnt already; return the calibrated one.

        Args:
            records: Graded attempts from which the estimator has not learnt; preferences are left out.

        Raises:
            ConfigurationError: The estimator has learnt nothing, or there is no graded attempt.
        """
        fitted = self.estimator._require_fitted("calibrate")
        table = Table.of(records)
        if not table.texts:
            raise ConfigurationError(
                "CalibratedEstimator.calibrate got no graded attempt; give it those of a few dozen queries"
            )
        vectors = encoded(fitted.encoder, table.texts, table.images)
        curves = self._curves(fitted.names, fitted.state, vectors, table)
        self.fitted_ = replace(fitted, state={**fitted.state, _CURVES: curves})
        return self

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        queries = np.array(list(dict.fromkeys(record.query_id for record in data.graded)), dtype=object)
        kept = round(len(queries) * self.held_out)
        held = np.random.default_rng(self.seed).permutation(len(queries)) < (kept if kept >= _ENOUGH else 0)
        hidden = set(queries[held])
        names, state = self.estimator._learn(_without(data, hidden, ~held))
        seen = Table.of(record for record in data.graded if record.query_id in hidden)
        return names, {**state, _CURVES: self._curves(names, state, data.vectors[held], seen)}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        quality, std = self.estimator._predict(_inner(state), vectors)
        quality = np.clip(quality, 0.0, 1.0)
        for column, curve in enumerate(state[_CURVES].astype(float)):
            if not np.isnan(curve[0, 0]):
                quality[:, column] = read_curve(self.method, curve, quality[:, column])
        return quality, std

    def _tokens(self, fitted: Fitted, vectors: NDArray[np.float32], candidates: Sequence[Candidate]) -> Floats:
        return self.estimator._tokens(fitted, vectors, candidates)

    def _lengths(self, state: State, learnt: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.estimator._lengths(state, learnt)

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        curves = state[_CURVES]
        unknown = np.full((len(table.names), *curves.shape[1:]), np.nan, dtype=np.float32)
        return {
            **self.estimator._onboard(_inner(state), vectors, table),
            _CURVES: np.concatenate([curves, unknown]),
        }

    def _curves(
        self, names: Sequence[str], state: State, vectors: NDArray[np.float32], table: Table
    ) -> NDArray[np.float32]:
        """Return a curve per candidate, two rows each; NaN where there are too few grades."""
        import numpy as np

        expected = np.clip(self.estimator._predict(state, vectors)[0], 0.0, 1.0) if table.texts else None
        drawn = []
        for column, name in enumerate(names):
            drawn.append(np.full((2, 1), np.nan))
            if expected is None or name not in table.names:
                continue
            grades = table.quality[:, table.names.index(name)]
            known = ~np.isnan(grades)
            if known.sum() >= _ENOUGH:
                drawn[-1] = draw_curve(self.method, expected[known, column].astype(float), grades[known])
        longest = max(curve.shape[1] for curve in drawn)
        # Repeated, the last knot changes nothing.
        return np.stack(
            [np.pad(curve, ((0, 0), (0, longest - curve.shape[1])), mode="edge") for curve in drawn]
        ).astype(np.float32)


def _inner(state: State) -> State:
    return {name: array for name, array in state.items() if name != _CURVES}


def _without(data: Data, hidden: Collection[str], rows: NDArray[np.bool_]) -> Data:
    """Return what there is to learn from when the queries `hidden` are left out; `rows` are the others."""
    graded = tuple(record for record in data.graded if record.query_id not in hidden)
    battles = tuple(record for record in data.battles if record.query_id not in hidden)
    return replace(data, vectors=data.vectors[rows], table=Table.of(graded), battles=battles, graded=graded)
