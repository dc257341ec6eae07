"""What each user thinks of each candidate, on top of what all of them think."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Learned
from router_integrations.estimators.neighbors import Neighbors
from router_integrations.estimators.numerics import require_at_least
from router_integrations.learning import Record
from router_integrations.types import Attempt, Estimate, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats


class PerUser:
    """Adds to a shared estimate how much better or worse the user of the request grades each candidate.

    The shared estimator learns from everybody's records. A user's offset on a candidate is the mean of the user's
    grades less the shared estimates, shrunk towards 0 as `ridge` further grades of offset 0 would. `Record.user_id`
    says whose grade it is, `Request.user_id` whose request; users without grades, and requests without a user, get the
    shared estimate. Preferences teach the shared estimator only.

    WHEN: pre-generation. WHAT: query, the user's past grades. HOW: supervised (ridge regression of the residuals on
    user and candidate). `fit` takes that of the shared estimator and one prediction of all records; `estimate` that of
    the shared estimator.

    Stands in for the graph network of GMTRouter, which needs a GPU to train.

    Args:
        estimator: What learns from everybody; `Neighbors()` by default. It is copied, not changed.
        ridge: Grades that an offset of 0 counts for, above 0.

    Attributes:
        learnt_: The shared estimator, the users, and their offsets, users by candidates; `None` before `fit`.

    Raises:
        ConfigurationError: `ridge` is not above 0.

    >>> from router_integrations.candidates import Candidate
    >>> records = [Record(text=f"{user} {text}", candidate="a", quality=grade, user_id=user)
    ...            for user, grade in [("ann", 1.0), ("bob", 0.0)] for text in "xyz"]
    >>> mine = PerUser(estimator=Neighbors(k=40), ridge=3).fit(records)
    >>> pool = [Candidate("a", model=object())]
    >>> [round(mine.estimate(Request(text="x", user_id=user), pool)[0].quality, 2) for user in ("ann", "bob", None)]
    [0.75, 0.25, 0.5]
    """

    learnt_: tuple[Learned, tuple[str, ...], NDArray[np.float32]] | None = None

    def __init__(self, *, estimator: Learned | None = None, ridge: float = 5.0) -> None:
        require_at_least(1e-9, "PerUser.ridge", ridge)
        self.estimator = estimator
        self.ridge = ridge

    def fit(self, records: Iterable[Record]) -> Self:
        """Forget what was known and learn from `records`; return the estimator.

        Raises:
            ConfigurationError: There is nothing to learn from.
        """
        import numpy as np

        given = tuple(records)
        shared = self._copy().fit(given)
        names = shared.fitted_.names if shared.fitted_ is not None else ()
        known = [one for one in given if one.over is None and one.user_id is not None and one.candidate in names]
        users = tuple(sorted({one.user_id for one in known if one.user_id is not None}))
        at = {user: row for row, user in enumerate(users)}
        offsets, counts = np.zeros((len(users), len(names))), np.full((len(users), len(names)), self.ridge)
        for record, expected in zip(known, _expected(shared, known), strict=True):
            cell = at[record.user_id or ""], names.index(record.candidate)
            offsets[cell] += record.quality - expected
            counts[cell] += 1
        self.learnt_ = (shared, users, (offsets / counts).astype(np.float32))
        return self

    def predict(
        self,
        texts: Sequence[str],
        candidates: Sequence[Candidate],
        images: Sequence[Sequence[str]] = (),
        users: Sequence[str | None] = (),
    ) -> tuple[Floats, Floats]:
        """Return expected quality and its standard deviation, each texts by candidates.

        Args:
            texts: The queries.
            candidates: Whom to estimate.
            images: The images of each query; none by default.
            users: Who asks each query; nobody known by default.

        Raises:
            ConfigurationError: Nothing was learnt yet.
        """
        import numpy as np

        if self.learnt_ is None:
            raise ConfigurationError("PerUser has learnt nothing yet; call fit(records) before predict")
        quality, std = self.learnt_[0].predict(texts, candidates, images)
        if not users:
            return quality, std
        offsets = np.reshape([self._offsets(user, candidates) for user in users], quality.shape)
        return np.clip(quality + offsets, 0.0, 1.0), std

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        shared = self._copy() if self.learnt_ is None else self.learnt_[0]
        estimates = shared.estimate(request, candidates, attempts)
        return [
            replace(one, quality=min(max(one.quality + offset, 0.0), 1.0))
            for one, offset in zip(estimates, self._offsets(request.user_id, candidates), strict=True)
        ]

    def _copy(self) -> Learned:
        """Return the shared estimator as it was given, before it learns anything."""
        return Neighbors() if self.estimator is None else copy.copy(self.estimator)

    def _offsets(self, user: str | None, candidates: Sequence[Candidate]) -> list[float]:
        if self.learnt_ is None or user not in self.learnt_[1] or self.learnt_[0].fitted_ is None:
            return [0.0] * len(candidates)
        own = dict(zip(self.learnt_[0].fitted_.names, self.learnt_[2][self.learnt_[1].index(user)], strict=True))
        return [float(own.get(candidate.name, 0.0)) for candidate in candidates]


def _expected(shared: Learned, records: Sequence[Record]) -> list[float]:
    """Return the shared estimate of each graded attempt."""
    if not records:
        return []
    places = {name: column for column, name in enumerate(sorted({record.candidate for record in records}))}
    # Only the names of candidates are read.
    pool = [Candidate(name, model=shared) for name in places]
    quality, _ = shared.predict([one.text for one in records], pool, [one.images for one in records])
    return [float(row[places[record.candidate]]) for row, record in zip(quality, records, strict=True)]
