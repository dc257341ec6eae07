"""How far estimates are from what comes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_integrations.candidates import Candidate, as_candidates
from router_integrations.evaluation.evaluating import forecast_table
from router_integrations.evaluation.metrics import ece
from router_integrations.evaluation.tables import priced
from router_integrations.learning import Table
from router_integrations.types import Estimator


def calibration_errors(
    estimator: Estimator, table: Table, candidates: Sequence[Candidate | str], *, bins: int = 15
) -> dict[str, float]:
    """Return the expected calibration error of each candidate's estimates, by name; see `ece`.

    For a `CalibratedEstimator` compare with the same of its `uncalibrated`, on queries that neither has learnt from.

    Args:
        estimator: Predicts quality.
        table: Queries with grades, as for `replay`.
        candidates: Whose estimates.
        bins: Number of bins, at least 1.

    Raises:
        ConfigurationError: The table lacks a candidate, or has no grade of one.

    >>> from router_integrations.estimators import Neighbors
    >>> from router_integrations.learning import Record
    >>> sure = Neighbors(k=1).fit([Record(text="hi", candidate="m", quality=1.0)])
    >>> table = Table.of(Record(text=text, candidate="m", quality=float(text == "a")) for text in "abcd")
    >>> calibration_errors(sure, table, [Candidate("m", model=object())])
    {'m': 0.75}
    """
    pool = as_candidates(candidates)
    table = priced(table, pool)
    expected = forecast_table(estimator, table, pool).quality
    known = ~np.isnan(table.quality)
    return {
        name: ece(expected[known[:, column], column], table.quality[known[:, column], column], bins=bins)
        for column, name in enumerate(table.names)
    }
