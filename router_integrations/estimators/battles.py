"""What estimators that learn from preferences share: battles as arrays, Bradley-Terry strengths, chances to win."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Data, Learned, columns_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

_ROUNDS = 200
_CLOSE = 1e-10


class Paired(Learned):
    """Base of the estimators that rate candidates by whom they beat; a subclass writes `_learn` and `_ratings`.

    Ratings are log-odds: one candidate is preferred over another with probability ``sigmoid(difference)``. Quality is
    the mean of that over the other learnt candidates, so it ranks as the ratings do; its standard deviation is that of
    a mean over the candidate's battles. The preferences among the records are the battles; when there is none, each
    two grades of one query are one, which the higher grade wins. The state holds `counts`, the battles of each
    candidate.
    """

    def win_probability(self, texts: Sequence[str], candidates: Sequence[Candidate]) -> Floats:
        """Return the chance that the answer of one is preferred over that of another, a tie being half a win.

        A candidate without records is rated as the mean of the others.

        Args:
            texts: The queries.
            candidates: Whom to compare.

        Returns:
            Texts by candidates by candidates; ``[t, i, j]`` is the chance that `i` beats `j`.

        Raises:
            ConfigurationError: Nothing was learnt yet.

        >>> from router_integrations.estimators.preference import BradleyTerry
        >>> from router_integrations.learning import Record
        >>> records = [Record(text="Hi", candidate="a", over="b", quality=won) for won in (1, 1, 1, 0)]
        >>> pool = [Candidate("a", model=object()), Candidate("b", model=object())]
        >>> BradleyTerry(ridge=1e-6).fit(records).win_probability(["Hello"], pool).round(2).tolist()
        [[[0.5, 0.75], [0.25, 0.5]]]
        """
        import numpy as np
        from scipy.special import expit

        fitted = self.fitted_
        if fitted is None:
            raise ConfigurationError(f"{type(self).__name__} has learnt nothing yet; call fit(records) first")
        known = self._ratings(fitted.state, np.asarray(fitted.encoder.encode(texts), dtype=np.float32))
        ratings = np.column_stack([known, known.mean(axis=1)])[:, columns_of(fitted, candidates)]
        chances: Floats = expit(ratings[:, :, None] - ratings[:, None, :])
        return chances

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np
        from scipy.special import expit

        ratings = self._ratings(state, vectors)
        others = ratings.shape[1] - 1
        if others:
            # Against itself a candidate has one half, which is no battle.
            sums = [expit(row[:, None] - row).sum(axis=1) - 0.5 for row in ratings]
            quality = np.reshape(sums, ratings.shape) / others
        else:
            quality = np.full(ratings.shape, 0.5)
        return quality, np.sqrt(np.maximum(quality * (1 - quality), 1e-4) / (state["counts"] + 1.0))

    def _ratings(self, state: State, vectors: NDArray[np.float32]) -> Floats:
        """Return log-odds ratings, vectors by learnt candidates."""
        raise NotImplementedError


def battles(data: Data) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the names, and the battles, one row each: query, left, right, grade of left.

    >>> import numpy as np
    >>> from router_integrations.encoders import HashingEncoder
    >>> from router_integrations.learning import Record, Table
    >>> table = Table.of([Record(text="Hi", candidate=name, quality=grade) for name, grade in [("a", 0.2), ("b", 0.9)]])
    >>> data = Data(vectors=np.ones((1, 8)), table=table, battles=(), encoder=HashingEncoder(dimensions=8))
    >>> battles(data)[1].tolist()
    [[0.0, 0.0, 1.0, 0.0]]
    """
    import numpy as np

    if not data.battles:
        return data.table.names, _from_grades(data.table.quality)
    names = sorted({name for record in data.battles for name in (record.candidate, record.over or "")})
    columns = {name: column for column, name in enumerate(names)}
    query = {text: row for row, text in enumerate(_texts(data))}
    rows = [
        (query[record.text], columns[record.candidate], columns[record.over or ""], record.quality)
        for record in data.battles
    ]
    return tuple(names), np.array(rows, dtype=np.float32)


def queries(data: Data) -> NDArray[np.float32]:
    """Return the vectors of the queries that the rows of `battles` name.

    >>> from router_integrations.encoders import HashingEncoder
    >>> from router_integrations.learning import Record, Table
    >>> encoder, table = HashingEncoder(dimensions=8), Table.of([])
    >>> records = tuple(Record(text="Hi", candidate="a", over=other, quality=1.0) for other in "bc")
    >>> queries(Data(vectors=encoder.encode([]), table=table, battles=records, encoder=encoder)).shape
    (1, 8)
    """
    import numpy as np

    return np.asarray(data.encoder.encode(_texts(data)), dtype=np.float32) if data.battles else data.vectors


def _texts(data: Data) -> list[str]:
    return list(dict.fromkeys(record.text for record in data.battles))


def _from_grades(quality: Floats) -> NDArray[np.float32]:
    import numpy as np

    found = [np.zeros((0, 4), dtype=np.float32)]
    for query, grades in enumerate(quality):
        graded = np.flatnonzero(~np.isnan(grades))
        left, right = (graded[side] for side in np.triu_indices(len(graded), 1))
        won = (np.sign(grades[left] - grades[right]) + 1) / 2
        found.append(np.column_stack([np.full(len(left), query), left, right, won]).astype(np.float32))
    return np.concatenate(found)


def tally(rows: NDArray[np.float32], candidates: int, weights: Floats | None = None) -> Floats:
    """Return how often each candidate beat each other one, ties counting half for both.

    Args:
        rows: The battles as `battles` returns them.
        candidates: How many candidates there are.
        weights: What each battle counts for; 1 by default.

    >>> import numpy as np
    >>> tally(np.array([[0, 0, 1, 1.0], [0, 0, 1, 0.5]], dtype=np.float32), 2).tolist()
    [[0.0, 1.5], [0.5, 0.0]]
    """
    import numpy as np

    left, right = rows[:, 1].astype(np.intp), rows[:, 2].astype(np.intp)
    grade = rows[:, 3].astype(float)
    weight = np.ones(len(rows)) if weights is None else weights
    at = np.concatenate([left * candidates + right, right * candidates + left])
    won = np.concatenate([weight * grade, weight * (1 - grade)])
    wins: Floats = np.bincount(at, won, candidates**2).astype(float).reshape(candidates, candidates)
    return wins


def appearances(rows: NDArray[np.float32], candidates: int) -> NDArray[np.float32]:
    """Return in how many battles each candidate was.

    >>> import numpy as np
    >>> appearances(np.array([[0, 0, 2, 1.0], [0, 0, 1, 0.5]], dtype=np.float32), 3).tolist()
    [2.0, 1.0, 1.0]
    """
    import numpy as np

    return np.bincount(rows[:, 1:3].astype(np.intp).ravel(), minlength=candidates).astype(np.float32)


def require_above_0(name: str, value: float) -> None:
    """Refuse an option that is not above 0, or not finite.

    Raises:
        ConfigurationError: `value` is out of range.

    >>> require_above_0("BradleyTerry.ridge", 1.0)
    """
    if not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} must be above 0 and finite but got {value!r}")


def bradley_terry(wins: Floats, *, ridge: float, start: Floats | None = None) -> Floats:
    """Return the strengths that make `wins` most likely, less ``ridge / 2`` times the sum of their squares.

    Damped Newton steps, which converge from any start because the logistic loss is self-concordant in the wide sense.
    O(candidates cubed) a step.

    Args:
        wins: ``[i, j]`` is how often `i` beat `j`.
        ridge: Penalty, above 0.
        start: Where to begin; at 0 by default.

    Returns:
        Log-odds whose mean is 0: `i` beats `j` with probability ``sigmoid(strength[i] - strength[j])``.

    >>> import numpy as np
    >>> (bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]), ridge=1e-6) * 2).round(3).tolist() # log 3 apart
    [1.099, -1.099]
    """
    import numpy as np
    from scipy.special import expit

    games = wins + wins.T
    strength = np.zeros(len(wins)) if start is None else start
    for _ in range(_ROUNDS):
        chance = expit(strength[:, None] - strength)
        curve = games * chance * (1 - chance)
        gradient = ridge * strength + (games * chance - wins).sum(axis=1)
        step = np.linalg.solve(np.diag(curve.sum(axis=1) + ridge) - curve, gradient)
        longest = 2 * np.abs(step).max(initial=0.0)
        if longest < _CLOSE:
            break
        strength = strength - step * (np.log1p(longest) / longest)
    return strength
