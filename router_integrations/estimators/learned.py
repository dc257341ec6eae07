"""What estimators that learn from graded attempts share: encoding, cold start, unknown candidates, costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder, HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.difficulty import Difficulty
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
    """

    vectors: NDArray[np.float32]
    table: Table
    battles: tuple[Record, ...]
    encoder: Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was learnt; swapped whole, so that a reader never sees half of it.

    Args:
        names: The candidates with a column in what `state` predicts.
        output_tokens: Mean tokens of each one's answers; NaN where no record tells.
        encoder: Turns queries into what `state` was learnt on.
        state: The estimator's own arrays.
    """

    names: tuple[str, ...]
    output_tokens: Floats
    encoder: Encoder
    state: State


class Learned:
    """Base of the estimators that learn; a subclass writes `_learn` and `_predict`, and its state is arrays only.

    Before any record it estimates as `Difficulty` does. A candidate without records is expected to do as well as the
    others on average, with a wide margin.

    Args:
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

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
        import numpy as np

        given = tuple(records)
        battles = tuple(record for record in given if record.over is not None)
        table = Table.of(given)
        texts = [*table.texts, *dict.fromkeys(record.text for record in battles)]
        if not texts:
            raise ConfigurationError(f"{type(self).__name__}.fit got no records; give it at least one graded attempt")
        encoder = HashingEncoder().fit(texts) if self.encoder is None else self.encoder
        vectors = np.asarray(encoder.encode(table.texts), dtype=np.float32)
        names, state = self._learn(Data(vectors=vectors, table=table, battles=battles, encoder=encoder))
        self.fitted_ = Fitted(names=names, output_tokens=_mean_tokens(table, names), encoder=encoder, state=state)
        return self

    def predict(self, texts: Sequence[str], candidates: Sequence[Candidate]) -> tuple[Floats, Floats]:
        """Return expected quality and its standard deviation, each texts by candidates.

        Raises:
            ConfigurationError: Nothing was learnt yet.
        """
        import numpy as np

        fitted = self.fitted_
        if fitted is None:
            raise ConfigurationError(f"{type(self).__name__} has learnt nothing yet; call fit(records) first")
        known, spread = self._predict(fitted.state, np.asarray(fitted.encoder.encode(texts), dtype=np.float32))
        columns = [fitted.names.index(c.name) if c.name in fitted.names else -1 for c in candidates]
        # The last column stands for whoever has no records.
        quality = np.column_stack([known, known.mean(axis=1)])[:, columns]
        std = np.column_stack([spread, np.full(len(texts), _UNKNOWN_STD)])[:, columns]
        return np.clip(quality, 0.0, 1.0), std

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        fitted = self.fitted_
        if fitted is None:
            return Difficulty().estimate(request, candidates, attempts)
        quality, std = self.predict([request.text], candidates)
        limit = request.max_output_tokens or float("inf")
        return [
            Estimate(
                quality=float(mean),
                std=float(margin),
                cost=candidate.expected_cost(request, min(self._output_tokens(fitted, candidate), limit)),
                latency=candidate.latency,
            )
            for candidate, mean, margin in zip(candidates, quality[0], std[0], strict=True)
        ]

    def _output_tokens(self, fitted: Fitted, candidate: Candidate) -> float:
        if candidate.name not in fitted.names:
            return _USUAL_OUTPUT
        tokens = float(fitted.output_tokens[fitted.names.index(candidate.name)])
        return _USUAL_OUTPUT if tokens != tokens else tokens

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        """Return the names of the candidates learnt about, and the arrays that `_predict` needs."""
        raise NotImplementedError

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Return quality and standard deviation, vectors by learnt candidates."""
        raise NotImplementedError


def _mean_tokens(table: Table, names: Sequence[str]) -> Floats:
    import numpy as np

    means = np.full(len(names), np.nan)
    for index, name in enumerate(names):
        if name in table.names:
            column = table.output_tokens[:, table.names.index(name)]
            known = column[~np.isnan(column)]
            means[index] = known.mean() if known.size else np.nan
    return means
