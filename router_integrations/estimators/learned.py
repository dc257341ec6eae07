"""What estimators that learn from graded attempts share: encoding, cold start, unknown candidates, costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder, HashingEncoder, MultimodalEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.estimators.lengths import expected_lengths, learn_lengths
from router_integrations.learning import Record, Table
from router_integrations.types import Attempt, Estimate, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    State = Mapping[str, NDArray[np.float32]]

# Quality of a candidate that nobody has graded is that of the others, give or take this.
_UNKNOWN_STD = 0.3
# Tokens of an answer when no record tells.
_USUAL_OUTPUT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What there is to learn from.

    Args:
        vectors: The graded queries encoded, one row each.
        table: Their grades.
        battles: The preferences.
        encoder: The fitted encoder, for the texts of the preferences.
        graded: The graded attempts one by one, for what the table leaves out.
    """

    vectors: NDArray[np.float32]
    table: Table
    battles: tuple[Record, ...]
    encoder: Encoder
    graded: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was learnt; swapped whole, so that a reader never sees half of it.

    Args:
        names: The candidates with a column in what `state` predicts.
        output_tokens: Mean tokens of each one's answers; NaN where no record tells.
        encoder: Turns queries into what `state` was learnt on.
        state: The estimator's own arrays.
        lengths: What tells the tokens of an answer to a query (`learn_lengths`); `None` knows the means only.
    """

    names: tuple[str, ...]
    output_tokens: Floats
    encoder: Encoder
    state: State
    lengths: NDArray[np.float32] | None = None


class Learned:
    """Base of the estimators that learn; a subclass writes `_learn` and `_predict`, and its state is arrays only.

    Before any record it estimates as `Difficulty` does. A candidate without records is expected to do as well as the
    others on average, with a wide margin. The length of each candidate's answer is learnt beside its quality, so that
    expected cost follows the query; prompt tokens are known.

    Args:
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default. One that also has
            `encode_multimodal` is given the images.

    Attributes:
        fitted_: What was learnt; `None` before `fit`.
    """

    fitted_: Fitted | None = None

    def __init__(self, *, encoder: Encoder | None = None) -> None:
        self.encoder = encoder

    def fit(self, records: Iterable[Record]) -> Self:
        """Forget what was known and learn from `records`; return the estimator.

        Raises:
            ConfigurationError: There is nothing to learn from.
        """
        given = tuple(records)
        battles = tuple(record for record in given if record.over is not None)
        graded = tuple(record for record in given if record.over is None)
        table = Table.of(graded)
        texts = [*table.texts, *dict.fromkeys(record.text for record in battles)]
        if not texts:
            raise ConfigurationError(f"{type(self).__name__}.fit got no records; give it at least one graded attempt")
        encoder = HashingEncoder().fit(texts) if self.encoder is None else self.encoder
        vectors = encoded(encoder, table.texts, table.images)
        data = Data(vectors=vectors, table=table, battles=battles, encoder=encoder, graded=graded)
        names, state = self._learn(data)
        lengths = self._lengths(state, learn_lengths(table, names, vectors))
        means = _mean_tokens(table, names)
        self.fitted_ = Fitted(names=names, output_tokens=means, encoder=encoder, state=state, lengths=lengths)
        return self

    def onboard(self, records: Iterable[Record]) -> Self:
        """Learn candidates added later from a small set of graded answers, the rest as it was; return the estimator.

        A few dozen grades spread over what is asked are enough to begin with. Grades of a candidate known before are
        refused: `fit` learns those.

        Args:
            records: Graded attempts of new candidates; preferences are left out.

        Raises:
            ConfigurationError: Nothing was learnt yet, there is no graded attempt, a candidate is known already, or
                this estimator has to learn all candidates together.
        """
        import numpy as np

        fitted = self._require_fitted("onboard")
        table = Table.of(records)
        owner = type(self).__name__
        if not table.texts:
            raise ConfigurationError(f"{owner}.onboard got no graded attempt; give it some of each new candidate")
        if known := [name for name in table.names if name in fitted.names]:
            raise ConfigurationError(
                f"{owner}.onboard got grades of {known}, which it knows; call fit with all records"
            )
        vectors = encoded(fitted.encoder, table.texts, table.images)
        state = self._onboard(fitted.state, vectors, table)
        lengths = learn_lengths(table, table.names, vectors)
        self.fitted_ = replace(
            fitted,
            names=(*fitted.names, *table.names),
            output_tokens=np.concatenate([fitted.output_tokens, _mean_tokens(table, table.names)]),
            state=state,
            lengths=None if fitted.lengths is None else np.concatenate([fitted.lengths, lengths]),
        )
        return self

    def predict(
        self, texts: Sequence[str], candidates: Sequence[Candidate], images: Sequence[Sequence[str]] = ()
    ) -> tuple[Floats, Floats]:
        """Return expected quality and its standard deviation, each texts by candidates.

        Args:
            texts: The queries.
            candidates: Whom to estimate.
            images: The images of each query; none by default.

        Raises:
            ConfigurationError: Nothing was learnt yet.
        """
        fitted = self._require_fitted("predict")
        return self._expected(fitted, encoded(fitted.encoder, texts, images), candidates)

    def predict_with_tokens(
        self, texts: Sequence[str], candidates: Sequence[Candidate], images: Sequence[Sequence[str]] = ()
    ) -> tuple[Floats, Floats, Floats]:
        """Return what `predict` does, and the expected tokens of the answers. Arguments and errors as there."""
        fitted = self._require_fitted("predict")
        vectors = encoded(fitted.encoder, texts, images)
        return *self._expected(fitted, vectors, candidates), self._tokens(fitted, vectors, candidates)

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        if self.fitted_ is None:
            return Difficulty().estimate(request, candidates, attempts)
        quality, std, tokens = self.predict_with_tokens([request.text], candidates, [request.images])
        limit = request.max_output_tokens or float("inf")
        return [
            Estimate(
                quality=float(mean),
                std=float(margin),
                cost=candidate.expected_cost(request, min(float(length), limit)),
                latency=candidate.latency,
            )
            for candidate, mean, margin, length in zip(candidates, quality[0], std[0], tokens[0], strict=True)
        ]

    def _require_fitted(self, verb: str) -> Fitted:
        if self.fitted_ is None:
            raise ConfigurationError(f"{type(self).__name__} has learnt nothing yet; call fit(records) before {verb}")
        return self.fitted_

    def _expected(
        self, fitted: Fitted, vectors: NDArray[np.float32], candidates: Sequence[Candidate]
    ) -> tuple[Floats, Floats]:
        import numpy as np

        known, spread = self._predict(fitted.state, vectors)
        columns = columns_of(fitted, candidates)
        # The last column stands for whoever has no records.
        quality = np.column_stack([known, known.mean(axis=1)])[:, columns]
        std = np.column_stack([spread, np.full(len(vectors), _UNKNOWN_STD)])[:, columns]
        return np.clip(quality, 0.0, 1.0), std

    def _tokens(self, fitted: Fitted, vectors: NDArray[np.float32], candidates: Sequence[Candidate]) -> Floats:
        import numpy as np

        if fitted.lengths is None:
            known = np.tile(fitted.output_tokens, (len(vectors), 1))
        else:
            known = expected_lengths(fitted.lengths, vectors)
        tokens = np.column_stack([known, np.full(len(vectors), np.nan)])[:, columns_of(fitted, candidates)]
        return np.where(np.isnan(tokens), _USUAL_OUTPUT, tokens)

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        """Return the names of the candidates learnt about, and the arrays that `_predict` needs."""
        raise NotImplementedError

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Return quality and standard deviation, vectors by learnt candidates."""
        raise NotImplementedError

    def _lengths(self, state: State, learnt: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what `learn_lengths` learnt in `fit`, filled up for candidates without records."""
        return learnt

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        """Return `state` with the candidates of `table` added after those it knows; `vectors` are its queries."""
        raise ConfigurationError(
            f"{type(self).__name__} learns all candidates together; call fit with the records of old and new ones"
        )


def encoded(encoder: Encoder, texts: Sequence[str], images: Sequence[Sequence[str]] = ()) -> NDArray[np.float32]:
    """Return the vectors of queries, one row each; an encoder that cannot see is given the texts only.

    >>> encoded(HashingEncoder(dimensions=8), ["one", "two"]).shape
    (2, 8)
    """
    import numpy as np

    if isinstance(encoder, MultimodalEncoder):
        vectors = encoder.encode_multimodal(texts, images or [()] * len(texts))
    else:
        vectors = encoder.encode(texts)
    return np.asarray(vectors, dtype=np.float32)


def columns_of(fitted: Fitted, candidates: Sequence[Candidate]) -> list[int]:
    """Return the column of each candidate in what was learnt, -1 for one without records.

    >>> import numpy as np
    >>> fitted = Fitted(names=("a",), output_tokens=np.ones(1), encoder=HashingEncoder(), state={})
    >>> columns_of(fitted, [Candidate(name, model=object()) for name in ("new", "a")])
    [-1, 0]
    """
    column = {name: index for index, name in enumerate(fitted.names)}
    return [column.get(candidate.name, -1) for candidate in candidates]


def _mean_tokens(table: Table, names: Sequence[str]) -> Floats:
    import numpy as np

    means = np.full(len(names), np.nan)
    for index, name in enumerate(names):
        if name in table.names:
            column = table.output_tokens[:, table.names.index(name)]
            known = column[~np.isnan(column)]
            means[index] = known.mean() if known.size else np.nan
    return means
