"""One regression per candidate, from the query's vector to the grade: straight lines, and a small network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.lines import COIN, joined, ridge, scores, state_of
from router_integrations.estimators.numerics import (
    grades,
    logistic_regression,
    margins,
    posterior_roots,
    require_at_least,
    sigmoid,
)
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.lines import Lines
    from router_integrations.estimators.numerics import Array

# Grades in a batch of scikit-learn's networks.
_BATCH = 200
# Queries that are predicted at once, so that the hidden layers of many candidates fit in memory.
_BLOCK = 1000


class Linear(Learned):
    """Estimates quality as a linear function of the query's vector, one per candidate: ridge, or logistic.

    WHEN: pre-generation. WHAT: query. HOW: supervised (linear regression). Missing grades are left out. The standard
    deviation is that of the fitted line (Laplace's with the logistic link), where the graded queries of each candidate
    are taken to be spread as all queries are. `fit` solves one system of the encoder's dimensions per set of candidates
    with the same grades missing (logistic: gradient descent on all candidates at once); `estimate` takes
    O(dimensions² + candidates · dimensions).

    The linear router of RouterBench (arXiv 2403.12031); the quality head of CARROT (arXiv 2502.03261) has this shape.
    With ``link="logistic"`` it stands in for the meta-model of FORC (2308.06077), one classifier that reads a word for
    the candidate beside the query: in a linear one that word has to choose the line, or all candidates would differ by
    a constant. FORC's rule, the cheapest that is right with probability one half, is ``Utility(enough=0.5)``; where
    none reaches it FORC takes the largest, `Best` the likeliest.

    Args:
        alpha: Weight of the squared coefficients beside the summed loss of the grades, above 0.
        link: ``"identity"`` is ridge regression, ``"logistic"`` a logistic regression on soft labels.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = Linear().fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round(1).tolist()
    [[0.6, 0.4], [0.4, 0.6]]
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        link: Literal["identity", "logistic"] = "identity",
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1e-9, "Linear.alpha", alpha)
        if link not in ("identity", "logistic"):
            raise ConfigurationError(f"Linear.link must be 'identity' or 'logistic' but got {link!r}")
        self.alpha = alpha
        self.link = link

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        vectors = data.vectors.astype(float)
        quality, graded = grades(data.table)
        return data.table.names, state_of(vectors, self._lines(vectors, quality, graded), self.alpha)

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        return joined(state, self._lines(vectors.astype(float), *grades(table)), self.alpha)

    def _lines(self, vectors: Array, quality: Array, graded: Array) -> Lines:
        learn = ridge if self.link == "identity" else _logistic
        return learn(vectors, quality, graded, self.alpha)

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        score, std = scores(state, vectors)
        if self.link == "identity":
            return score, std
        quality: Floats = sigmoid(score).astype(float)
        return quality, quality * (1 - quality) * std


def _logistic(vectors: Array, quality: Array, graded: Array, alpha: float) -> Lines:
    """Return weights, intercepts, noise and information of each candidate."""
    import numpy as np

    weights, intercept = logistic_regression(vectors, quality, graded, alpha)
    expected = sigmoid(vectors @ weights + intercept)
    information = (expected * (1 - expected) * graded).sum(axis=0) + COIN
    return weights, intercept, np.ones(len(intercept)), information


class MLP(Learned):
    """Estimates quality by a network with one hidden layer of rectifiers, one network per candidate.

    WHEN: pre-generation. WHAT: query. HOW: supervised (multilayer perceptron). scikit-learn's `MLPRegressor` fits the
    network on the candidate's own grades; the weights are kept as arrays. The standard deviation is that of a ridge
    regression on the hidden layer. `fit` takes O((steps + grades) · dimensions · hidden) and fans out over candidates
    with joblib's current backend; `estimate` O(candidates · hidden · (dimensions + hidden)).

    The MLP router of RouterBench (arXiv 2403.12031).

    Args:
        hidden: Units of the hidden layer, at least 1.
        alpha: Weight of the squared weights (`MLPRegressor.alpha`), at least 0.
        steps: Steps of gradient descent, a batch of 200 grades each, rounded up to whole passes; at least 1.
        seed: Seed of the starting weights and of the batches.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = MLP(hidden=20, steps=300).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.argmax(axis=1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        *,
        hidden: int = 100,
        alpha: float = 0.1,
        steps: int = 200,
        seed: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1, "MLP.hidden", hidden)
        require_at_least(0, "MLP.alpha", alpha)
        require_at_least(1, "MLP.steps", steps)
        self.hidden = hidden
        self.alpha = alpha
        self.steps = steps
        self.seed = seed

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        return data.table.names, self._networks(data.vectors, data.table)

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        more = self._networks(vectors, table)
        return {name: np.concatenate([value, more[name]]) for name, value in state.items()}

    def _networks(self, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np
        from sklearn.neural_network import MLPRegressor
        from sklearn.utils.parallel import Parallel, delayed

        quality, graded = grades(table, vectors.dtype)
        rows = [column > 0 for column in graded.T]
        options = {"alpha": self.alpha, "random_state": self.seed}
        models = [MLPRegressor(hidden_layer_sizes=(self.hidden,), **options) for _ in rows]
        networks = Parallel()(
            delayed(_network)(model, self.steps, vectors[at], quality[at, index])
            for index, (model, at) in enumerate(zip(models, rows, strict=True))
        )
        stacked = {name: np.stack([network[name] for network in networks]) for name in networks[0]}
        return {name: value.astype(np.float32) for name, value in stacked.items()}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        quality = np.zeros((len(vectors), len(state["first"])))
        std = np.zeros_like(quality)
        for start in range(0, len(vectors), _BLOCK):
            rows = slice(start, start + _BLOCK)
            units = _rectified(vectors[rows], state["first"], state["shift"][:, None])
            quality[rows] = (units @ state["output"][:, :, None])[:, :, 0].T
            std[rows] = margins(units, state["roots"])
        return quality, std


def _network(model: Any, steps: int, vectors: Array, quality: Array) -> dict[str, Array]:
    """Return the arrays of one candidate's network."""
    import numpy as np

    # Epoch by epoch, since scikit-learn's `fit` warns when it stops where it was told to.
    for _ in range(math.ceil(steps / math.ceil(len(quality) / _BATCH))):
        model.partial_fit(vectors, quality)
    first, last = model.coefs_
    units = _rectified(vectors, first, model.intercepts_[0])
    output = np.concatenate([last[:, 0], model.intercepts_[1]])
    noise = (((units @ output - quality) ** 2).sum() + COIN) / (len(quality) + 1)
    roots = np.sqrt(noise) * posterior_roots(units, np.ones((len(units), 1)), prior=1.0)[0]
    return {"first": first, "shift": model.intercepts_[0], "output": output, "roots": roots}


def _rectified(vectors: Array, first: Array, shift: Array) -> Array:
    """Return the hidden layer, and 1 for the output's own intercept."""
    import numpy as np

    hidden = np.maximum(vectors @ first + shift, 0)
    return np.concatenate([hidden, np.ones_like(hidden[..., :1])], axis=-1)
