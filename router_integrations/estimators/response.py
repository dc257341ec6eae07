"""Item response theory: candidates with abilities, queries that ask for some of them and are hard or easy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.latent import Latent
from router_integrations.estimators.numerics import cross_entropy, sigmoid

if TYPE_CHECKING:
    import numpy as np

    from router_integrations.estimators.numerics import Array, Parameters

# Units of the hidden layer of NIRT.
_HIDDEN = 16


class MIRT(Latent):
    """Estimates quality as ``sigmoid(discrimination · ability - difficulty)``: item response theory.

    The abilities belong to the candidate; discrimination ``softplus(A·vector)`` and difficulty ``b·vector`` to the
    query, which is what an exam's item is in this theory.

    WHEN: pre-generation. WHAT: query. HOW: supervised (multidimensional item response theory). The standard deviation
    is Laplace's, of the abilities given the queries. `fit` takes O(steps · queries · encoder dimensions · dimensions)
    and starts at random; `estimate` O(encoder dimensions · dimensions + candidates · dimensions²).

    The MIRT router of IRT-Router (arXiv 2506.01048), with abilities learnt freely instead of from descriptions of the
    candidates. Its warm-up for unlike queries is `warm_up`; the paper takes 0.3 to 0.4.

    Args:
        dimensions: Number of abilities, at least 1.
        alpha: Weight of the squared parameters beside the mean loss of a grade, above 0.
        steps: Steps of gradient descent, at least 1.
        seed: Seed of the start.
        warm_up: How far a new query moves towards the mean of the 16 nearest learnt ones, in [0, 1]; above 0, the
            learnt vectors are kept.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = MIRT(dimensions=4).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        *,
        dimensions: int = 25,
        alpha: float = 1e-4,
        steps: int = 200,
        seed: int = 0,
        warm_up: float = 0.0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(dimensions=dimensions, alpha=alpha, steps=steps, seed=seed, encoder=encoder)
        self.warm_up = _share("MIRT.warm_up", warm_up)

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        return {"discrimination": (width, self.dimensions), "difficulty": (width, 1)}

    def _queries(self, at: Parameters, vectors: Array) -> tuple[Array, Array | float]:
        import numpy as np

        return np.logaddexp(0, vectors @ at["discrimination"]), vectors @ at["difficulty"]

    def _slopes(self, at: Parameters, vectors: Array, slope: Array) -> Parameters:
        inner = (slope @ at["candidates"]) * sigmoid(vectors @ at["discrimination"])
        return {"discrimination": vectors.T @ inner, "difficulty": -vectors.T @ slope.sum(axis=1, keepdims=True)}


class NIRT(Latent):
    """Estimates quality by a small network on what a candidate is able to beyond what a query asks for.

    The query says which abilities matter, ``relevance = sigmoid(R·vector)``, how much of each it asks for, ``difficulty
    = B·vector``, and how sharply it tells, ``discrimination = softplus(a·vector)``. The network, one layer of 16 tanh
    units shared by all candidates, reads ``discrimination · relevance · (abilities - difficulty)``.

    WHEN: pre-generation. WHAT: query. HOW: supervised (neural item response theory). The standard deviation is
    Laplace's, of the abilities given the rest, where the network is taken to be straight. `fit` takes O(steps · queries
    · dimensions · (encoder dimensions + candidates · 16)) and starts at random; `estimate` O(dimensions · (encoder
    dimensions + candidates · (16 + dimensions))).

    The NIRT router of IRT-Router (arXiv 2506.01048), with abilities and relevance learnt freely instead of from
    descriptions and tags. Its warm-up for unlike queries is `warm_up`; the paper takes 0.3 to 0.4.

    Args:
        dimensions: Number of abilities, at least 1.
        alpha: Weight of the squared parameters beside the mean loss of a grade, above 0.
        steps: Steps of gradient descent, at least 1.
        seed: Seed of the start.
        warm_up: How far a new query moves towards the mean of the 16 nearest learnt ones, in [0, 1]; above 0, the
            learnt vectors are kept.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = NIRT(dimensions=8).fit(records).predict(["sum 1 4", "greet Al"], pool)
    >>> quality.argmax(axis=1).tolist()
    [0, 1]
    """

    _batch = 2048
    _cells = 2**20

    def __init__(
        self,
        *,
        dimensions: int = 25,
        alpha: float = 1e-4,
        steps: int = 200,
        seed: int = 0,
        warm_up: float = 0.0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(dimensions=dimensions, alpha=alpha, steps=steps, seed=seed, encoder=encoder)
        self.warm_up = _share("NIRT.warm_up", warm_up)

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        maps = {"relevance": (width, self.dimensions), "difficulty": (width, self.dimensions)}
        network = {"hidden": (self.dimensions, _HIDDEN), "shift": (_HIDDEN,), "output": (_HIDDEN,), "usual": (1,)}
        return {**maps, "discrimination": (width, 1), **network}

    def _start(self, rng: np.random.Generator, width: int, candidates: int) -> Parameters:
        start = super()._start(rng, width, candidates)
        # Wide enough that what the network reads reaches its output from the first step on.
        return {**start, "hidden": 3 * start["hidden"], "output": 3 * start["output"]}

    def _scores(self, at: Parameters, vectors: Array) -> tuple[Array, Array]:
        asked, units, scores = self._forward(at, vectors)
        inner = (1 - units**2) * at["output"]
        return scores, (inner @ at["hidden"].T) * asked

    def _forward(self, at: Parameters, vectors: Array) -> tuple[Array, Array, Array]:
        """Return what counts of each ability, the hidden layer (candidates by queries by units), and the scores."""
        import numpy as np

        asked = np.logaddexp(0, vectors @ at["discrimination"]) * sigmoid(vectors @ at["relevance"])
        beyond = at["candidates"][:, None] - vectors @ at["difficulty"]
        units = np.tanh((asked * beyond) @ at["hidden"] + at["shift"])
        return asked, units, (units @ at["output"] + at["usual"]).T

    def _loss(self, at: Parameters, vectors: Array, quality: Array, graded: Array) -> tuple[float, Parameters]:
        import numpy as np

        asked, units, scores = self._forward(at, vectors)
        loss, slope = cross_entropy(scores, quality, graded)
        inner = slope.T[:, :, None] * (1 - units**2) * at["output"]
        beyond = at["candidates"][:, None] - vectors @ at["difficulty"]
        seen = inner @ at["hidden"].T
        by_asked, by_beyond = (seen * beyond).sum(axis=0), seen * asked
        relevance, sharpness = sigmoid(vectors @ at["relevance"]), vectors @ at["discrimination"]
        by_relevance = by_asked * np.logaddexp(0, sharpness) * relevance * (1 - relevance)
        by_sharpness = (by_asked * relevance).sum(axis=1, keepdims=True) * sigmoid(sharpness)
        slopes = {
            "candidates": by_beyond.sum(axis=1),
            "relevance": vectors.T @ by_relevance,
            "difficulty": -vectors.T @ by_beyond.sum(axis=0),
            "discrimination": vectors.T @ by_sharpness,
            "hidden": np.tensordot(asked * beyond, inner, axes=((0, 1), (0, 1))),
            "shift": inner.sum(axis=(0, 1)),
            "output": np.tensordot(slope.T, units, axes=2),
            "usual": slope.sum(keepdims=True)[0],
        }
        penalty = self.alpha / 2 * sum(float((value**2).sum()) for value in at.values())
        return loss + penalty, {name: slopes[name] + self.alpha * value for name, value in at.items()}


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{name} must be in [0, 1] but got {value!r}")
    return value
