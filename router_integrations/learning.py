"""What estimators learn from: graded attempts and preferences, and the table that they make up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from router_integrations.errors import ConfigurationError
from router_integrations.types import Estimator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.candidates import Candidate

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One graded attempt; with `over`, one preference between two candidates.

    Args:
        text: The query.
        candidate: Name of the candidate that answered.
        quality: Grade in [0, 1]; with `over`, 1 when `candidate` was preferred, 0 when `over` was, 0.5 for a tie.
        over: Name of the other candidate of a preference.
        cost: USD of the attempt; `None` is unknown.
        latency: Seconds of the attempt; `None` is unknown.
        input_tokens: Tokens of the prompt; `None` is unknown.
        output_tokens: Tokens of the answer; `None` is unknown.
        query_id: Ties together the attempts at one query; the text by default.
        domain: What the query is about, or the data set it comes from.
        split: ``"train"``, ``"test"`` or the like, where the source says so.
        user_id: Whose grade it is.
        images: Images of the query, each a URL or a data URI.
        answer: The text of the answer; `None` is unknown.
        logprobs: Log-probability of each token of the answer, or their mean alone; empty is unknown.

    Raises:
        ConfigurationError: The quality is out of range, or a candidate is preferred over itself.

    >>> Record(text="2+2?", candidate="small", quality=1.0).query_id
    '2+2?'
    """

    text: str
    candidate: str
    quality: float
    over: str | None = None
    cost: float | None = None
    latency: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    query_id: str = ""
    domain: str | None = None
    split: str | None = None
    user_id: str | None = None
    images: tuple[str, ...] = ()
    answer: str | None = None
    logprobs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.quality, int | float) and 0 <= self.quality <= 1):
            raise ConfigurationError(f"Record.quality must be in [0, 1] but got {self.quality!r}; rescale the grades")
        if self.over == self.candidate:
            raise ConfigurationError(f"Record.over must be another candidate than {self.candidate!r}")
        if not self.query_id:
            object.__setattr__(self, "query_id", self.text)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Table:
    """Graded attempts as arrays: one row a query, one column a candidate; what is missing is NaN.

    Args:
        texts: The queries.
        names: The candidates.
        quality: Mean grade, queries by candidates, each in [0, 1].
        cost: Mean USD, queries by candidates.
        latency: Mean seconds, queries by candidates.
        output_tokens: Mean tokens of the answers, queries by candidates.
        domains: What each query is about; empty text where unknown.
        images: Images of each query, URLs or data URIs.
        user_ids: Whose grades those of each query are; `None` where unknown or several users'. Empty is all unknown.
        input_tokens: Mean tokens of each prompt; `None` where unknown. Empty is all unknown.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]
    quality: Floats
    cost: Floats
    latency: Floats
    output_tokens: Floats
    domains: tuple[str, ...]
    images: tuple[tuple[str, ...], ...]
    user_ids: tuple[str | None, ...] = ()
    input_tokens: tuple[int | None, ...] = ()

    @classmethod
    def of(cls, records: Iterable[Record]) -> Table:
        """Return the table of the graded attempts among `records`; preferences have no place in it.

        >>> records = [Record(text="a", candidate="x", quality=1.0), Record(text="b", candidate="y", quality=0.0)]
        >>> Table.of(records).quality.tolist()
        [[1.0, nan], [nan, 0.0]]
        """
        graded = [record for record in records if record.over is None]
        rows = {query: index for index, query in enumerate(dict.fromkeys(record.query_id for record in graded))}
        columns = {name: index for index, name in enumerate(sorted({record.candidate for record in graded}))}
        where = [(rows[record.query_id], columns[record.candidate]) for record in graded]
        first = {record.query_id: record for record in reversed(graded)}
        users: dict[str, set[str | None]] = {query: set() for query in rows}
        sizes: dict[str, list[int]] = {query: [] for query in rows}
        for record in graded:
            users[record.query_id].add(record.user_id)
            sizes[record.query_id] += [] if record.input_tokens is None else [record.input_tokens]
        shape = (len(rows), len(columns))
        return cls(
            texts=tuple(first[query].text for query in rows),
            names=tuple(columns),
            quality=_means(where, [record.quality for record in graded], shape),
            cost=_means(where, [record.cost for record in graded], shape),
            latency=_means(where, [record.latency for record in graded], shape),
            output_tokens=_means(where, [record.output_tokens for record in graded], shape),
            domains=tuple(first[query].domain or "" for query in rows),
            images=tuple(first[query].images for query in rows),
            user_ids=tuple(next(iter(users[query])) if len(users[query]) == 1 else None for query in rows),
            input_tokens=tuple(round(sum(counts) / len(counts)) if counts else None for counts in sizes.values()),
        )


def _means(where: Sequence[tuple[int, int]], values: Sequence[float | None], shape: tuple[int, int]) -> Floats:
    import numpy as np

    sums, counts = np.zeros(shape), np.zeros(shape)
    known = [(at, value) for at, value in zip(where, values, strict=True) if value is not None]
    if known:
        at = tuple(np.array([at for at, _ in known]).T)
        np.add.at(sums, at, np.array([value for _, value in known], dtype=float))
        np.add.at(counts, at, 1.0)
    means: Floats = np.divide(sums, counts, out=np.full(shape, math.nan), where=counts > 0)
    return means


@runtime_checkable
class Learner(Estimator, Protocol):
    """An estimator that learns. Fitted state ends in an underscore and is swapped whole."""

    def fit(self, records: Iterable[Record]) -> Self:
        """Forget what was known and learn from `records`."""
        ...

    def predict(self, texts: Sequence[str], candidates: Sequence[Candidate]) -> Any:
        """Return expected quality and its standard deviation, each texts by candidates."""
        ...
