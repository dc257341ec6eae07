"""How likely a candidate's answer is to be as good as that of a reference candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.numerics import grades, require_at_least
from router_integrations.estimators.regression import Linear
from router_integrations.learning import Record, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

# Differences between grades count as equal within this.
_TINY = 1e-9
# Margins that are tried, from 0 to 1.
_MARGINS = 101
# Log odds that are certainty.
_CERTAIN = 40.0


class Matching(Learned):
    """Estimates the probability that a candidate's answer is no worse than the reference's, give or take `margin`.

    WHEN: pre-generation. WHAT: query. HOW: supervised (one logistic regression per candidate on soft labels). A label
    is ``P(grade >= reference's grade - margin)`` on one query, over all pairs of the grades that the two have there:
    several records of a candidate on one query are its samples. Queries that the reference has no grade for teach
    nothing. `quality` is this probability; the reference matches itself with 1, so that ``Utility(enough=p)`` asks
    the cheapest candidate that matches with probability `p` or more, else the reference. `fit` takes one regression per
    candidate; `estimate` O(dimensions² + candidates · dimensions).

    HybridLLM (arXiv 2404.14618) is this with two candidates: its labels are ``labels="deterministic"``, the default,
    and ``margin=None``. BEST-Route (2506.22716) is this with candidates that give the best of several answers, whose
    records `router_integrations.resampling.best_of_n` makes; its threshold t is ``Utility(enough=(1 + t) / 2)``.

    Args:
        reference: Name of the candidate to be matched; by default the best one on the records, where few grades count
            for less.
        labels: ``"probabilistic"`` compares all pairs of samples, ``"deterministic"`` the mean grades.
        margin: How much worse still matches, in [0, 1]; `None` takes, for each candidate, the one that tells the
            queries apart best (the largest mean difference between the labels of two queries).
        alpha: Weight of the squared coefficients beside the summed loss of the labels, above 0.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(name == "large" or "sum" not in text))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["small", "large"]]
    >>> pool = [Candidate("small", model=object()), Candidate("large", model=object())]
    >>> quality, _ = Matching(alpha=0.1).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round(1).tolist()
    [[0.4, 1.0], [0.7, 1.0]]
    """

    def __init__(
        self,
        *,
        reference: str | None = None,
        labels: Literal["deterministic", "probabilistic"] = "probabilistic",
        margin: float | None = 0.0,
        alpha: float = 1.0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        if labels not in ("deterministic", "probabilistic"):
            raise ConfigurationError(f"Matching.labels must be 'deterministic' or 'probabilistic' but got {labels!r}")
        if margin is not None and not 0 <= margin <= 1:
            raise ConfigurationError(f"Matching.margin must be in [0, 1], or None to choose it, but got {margin!r}")
        require_at_least(1e-9, "Matching.alpha", alpha)
        self.reference = reference
        self.labels = labels
        self.margin = margin
        self.alpha = alpha

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        table = data.table
        reference = self._reference_column(table)
        samples = dict(zip(table.names, table.quality.T[:, :, None], strict=True))
        if self.labels == "probabilistic":
            samples = _samples(data.graded)
        labels = [self._matches(_gaps(samples[name], samples[table.names[reference]])) for name in table.names]
        labels[reference] = np.full(len(table.texts), np.nan)
        names, state = self._line()._learn(replace(data, table=replace(table, quality=np.column_stack(labels))))
        intercept = state["intercept"].copy()
        intercept[reference] = _CERTAIN
        return names, {**state, "intercept": intercept}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        return self._line()._predict(state, vectors)

    def _line(self) -> Linear:
        return Linear(alpha=self.alpha, link="logistic")

    def _reference_column(self, table: Table) -> int:
        if self.reference is None:
            return _strongest(table)
        if self.reference not in table.names:
            raise ConfigurationError(
                f"Matching.reference is {self.reference!r}, which no record grades; name one of {list(table.names)}"
            )
        return table.names.index(self.reference)

    def _matches(self, gaps: Floats) -> Floats:
        import numpy as np

        if self.margin is not None:
            return match_shares(gaps, self.margin)
        known = gaps[~np.isnan(gaps).all(axis=1)]
        margins = np.linspace(0, 1, _MARGINS)
        return match_shares(gaps, margins[np.argmax([_spread(match_shares(known, margin)) for margin in margins])])


def match_shares(gaps: Floats, margin: float) -> Floats:
    """Return the share of the known gaps of each row that are at most `margin`; NaN when none is known.

    Args:
        gaps: By how much the reference was better, queries by pairs of samples; NaN is no pair.
        margin: How much worse still matches.

    >>> import numpy as np
    >>> match_shares(np.array([[0.0, 0.5], [0.2, np.nan], [np.nan, np.nan]]), margin=0.2).tolist()
    [0.5, 1.0, nan]
    """
    import numpy as np

    matched, pairs = (gaps <= margin + _TINY).sum(axis=1), (~np.isnan(gaps)).sum(axis=1)
    shares: Floats = np.divide(matched, pairs, out=np.full(len(gaps), np.nan), where=pairs > 0)
    return shares


def _spread(labels: Floats) -> float:
    """Return the mean difference between the labels of two queries."""
    import numpy as np

    count = len(labels)
    weights = 2 * np.arange(count) - count + 1
    # Rounded, so that of margins that tell queries apart equally well the smallest is taken.
    return round(2 * float(weights @ np.sort(labels)) / max(count, 1) ** 2, 9)


def _gaps(grades: Floats, reference: Floats) -> Floats:
    """Return by how much each sample of the reference was better than each of the candidate, queries by pairs."""
    return (reference[:, :, None] - grades[:, None, :]).reshape(len(grades), -1)


def _samples(graded: Iterable[Record]) -> dict[str, Floats]:
    """Return the grades of each candidate, queries by samples; NaN where one has fewer samples."""
    import numpy as np

    rows: dict[str, int] = {}
    found: dict[str, dict[int, list[float]]] = {}
    for record in graded:
        row = rows.setdefault(record.query_id, len(rows))
        found.setdefault(record.candidate, {}).setdefault(row, []).append(record.quality)
    samples = {name: np.full((len(rows), max(map(len, lists.values()))), np.nan) for name, lists in found.items()}
    for name, lists in found.items():
        for row, given in lists.items():
            samples[name][row, : len(given)] = given
    return samples


def _strongest(table: Table) -> int:
    """Return the column whose mean grade, less its standard error, is highest."""
    import numpy as np

    quality, graded = grades(table)
    count = graded.sum(axis=0) + 2
    # One right and one wrong answer more, as in the rule of succession.
    mean = (quality.sum(axis=0) + 1) / count
    return int(np.argmax(mean - np.sqrt(mean * (1 - mean) / (count + 1))))
