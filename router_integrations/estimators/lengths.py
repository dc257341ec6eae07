"""How long a candidate's answers are, learnt from the records: half of what a call costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Squared coefficients beside the squared errors in units of a candidate's own spread.
_RIDGE = 10.0
# With fewer answers than this the mean is all there is to learn.
_ENOUGH = 50


def learn_lengths(table: Table, names: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `expected_lengths` needs to tell the tokens of each candidate's answers; NaN where no record tells.

    A ridge regression per candidate from the query's vector to the tokens, the cost head of CARROT (arXiv 2502.03261).
    Candidates with fewer than 50 answers of known length keep their mean. O(queries · dimensions²) per candidate.

    Args:
        table: The graded attempts.
        names: The candidates to learn, in order; those without a column in `table` are unknown.
        vectors: The queries of `table` encoded.

    Returns:
        One row per candidate: mean, lowest, highest, and a coefficient per dimension (tokens).

    >>> import numpy as np
    >>> from router_integrations.learning import Record
    >>> table = Table.of([Record(text="hi", candidate="a", quality=1.0, output_tokens=20)])
    >>> learn_lengths(table, ["a", "b"], np.ones((1, 2), dtype=np.float32)).tolist()
    [[20.0, 20.0, 20.0, 0.0, 0.0], [nan, nan, nan, 0.0, 0.0]]
    """
    import numpy as np

    learnt = np.zeros((len(names), 3 + vectors.shape[1]), dtype=np.float32)
    learnt[:, :3] = np.nan
    for row, name in enumerate(names):
        if name not in table.names:
            continue
        tokens = table.output_tokens[:, table.names.index(name)]
        known = ~np.isnan(tokens)
        if known.any():
            learnt[row] = _line(vectors[known], tokens[known])
    return learnt


def _line(vectors: NDArray[np.float32], tokens: Floats) -> Floats:
    import numpy as np

    line = np.zeros(3 + vectors.shape[1])
    line[:3] = tokens.mean(), tokens.min(), tokens.max()
    if len(tokens) >= _ENOUGH and tokens.min() < tokens.max():
        at = vectors.astype(float)
        centre = at.mean(axis=0)
        at = at - centre
        line[3:] = np.linalg.solve(at.T @ at + _RIDGE * np.eye(at.shape[1]), at.T @ (tokens - line[0]))
        line[0] -= centre @ line[3:]
    return line


def expected_lengths(learnt: NDArray[np.float32], vectors: NDArray[np.float32]) -> Floats:
    """Return the expected tokens of the answers, queries by candidates, within what was seen; NaN is unknown.

    >>> import numpy as np
    >>> expected_lengths(np.array([[10, 5, 30, 8]], dtype=np.float32), np.array([[1.0], [9.0]], dtype=np.float32))
    array([[18.],
           [30.]])
    """
    import numpy as np

    tokens: Floats = np.clip(vectors @ learnt[:, 3:].T + learnt[:, 0], learnt[:, 1], learnt[:, 2]).astype(float)
    return tokens
