"""Learning from the log of a router: each query was answered by whom that router chose, and by nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.distillation import shares, softmax_regression
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.lines import ridge, scores, state_of
from router_integrations.estimators.numerics import adam, grades, require_at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array, Parameters

# Steps of the search for a policy, and the size of the first.
_STEPS, _RATE = 300, 0.1


class DoublyRobust(Learned):
    """Estimates quality from logs in which a router chose who answered, correcting for what it chose.

    Two models are learnt first: who is asked (the propensity, a multinomial logistic regression) and how well each
    candidate answers (the outcome, ridge regression). The grade of each candidate on each query is then taken to be
    ``outcome + asked · (grade - outcome) / propensity``, which is right on average when either model is right. Both
    are learnt on the other half of the queries. Where all candidates are graded, that is the grade itself, and this is
    `Linear`. Use it when who answered depended on the query; its margins are wider than those of `Linear`, since the
    grades of rare choices count for many.

    WHEN: pre-generation. WHAT: query. HOW: supervised (doubly robust regression, or the regret-minimising policy). The
    standard deviation is that of the fitted line. `fit` takes some six times that of `Linear`; `estimate`
    O(dimensions² + candidates · dimensions).

    Causal LLM routing (arXiv 2505.16037), after the doubly robust estimator of policies (arXiv 1103.4601).

    Args:
        objective: ``"quality"`` regresses the corrected grades on the query; ``"policy"`` finds the shares of the
            candidates that earn most of them, and estimates the shares, which say who is best but not how good.
        least: The propensity below which a choice counts no more than at it, in (0, 1]; higher is steadier and more
            biased.
        alpha: Weight of the squared coefficients beside the summed loss, in all the models; above 0.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = DoublyRobust().fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.round(1).tolist()
    [[0.6, 0.4], [0.4, 0.6]]
    """

    def __init__(
        self,
        *,
        objective: Literal["quality", "policy"] = "quality",
        least: float = 0.05,
        alpha: float = 1.0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        if objective not in ("quality", "policy"):
            raise ConfigurationError(f"DoublyRobust.objective must be 'quality' or 'policy' but got {objective!r}")
        if not 0 < least <= 1:
            raise ConfigurationError(f"DoublyRobust.least must be in (0, 1] but got {least!r}; 0.05 is the default")
        require_at_least(1e-9, "DoublyRobust.alpha", alpha)
        self.objective = objective
        self.least = least
        self.alpha = alpha

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        vectors = data.vectors.astype(float)
        quality, graded = grades(data.table)
        corrected = corrected_grades(vectors, quality, graded, alpha=self.alpha, least=self.least)
        weights, intercept, noise, _ = ridge(vectors, corrected, np.ones_like(graded), self.alpha)
        if self.objective == "policy":
            weights, intercept = _policy(vectors, corrected, self.alpha)
        return data.table.names, state_of(vectors, (weights, intercept, noise, graded.sum(axis=0)), self.alpha)

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        score, std = scores(state, vectors)
        return (score if self.objective == "quality" else shares(score, np.ones_like(score)).astype(float)), std


def corrected_grades(vectors: Array, quality: Array, graded: Array, *, alpha: float, least: float) -> Array:
    """Return what each candidate's grade on each query is taken to be, queries by candidates.

    Args:
        vectors: Queries by dimensions.
        quality: Grades in [0, 1], queries by candidates, 0 where one is missing.
        graded: 1 where there is a grade, else 0.
        alpha: Weight of the squared coefficients of both models.
        least: Floor of the propensities.

    >>> import numpy as np
    >>> quality = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> corrected_grades(np.eye(2), quality, np.ones((2, 2)), alpha=1.0, least=0.05).round(6).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    import numpy as np

    count = graded.sum(axis=1, keepdims=True)
    corrected = np.zeros_like(quality)
    everybody = np.ones_like(graded)
    half = np.arange(len(vectors)) % 2
    for held in (half == 0, half == 1):
        # A candidate that the other half never saw is learnt about from all.
        seen = ~held if graded[~held].any(axis=0).all() else np.ones_like(held)
        weights, intercept, _, _ = ridge(vectors[seen], quality[seen], graded[seen], alpha)
        outcome = np.clip(vectors[held] @ weights + intercept, 0.0, 1.0)
        asked = softmax_regression(vectors[seen], (graded / count)[seen], everybody[seen], alpha)
        chance = np.minimum(shares(vectors[held] @ asked[0] + asked[1], everybody[held]) * count[held], 1.0)
        surprise = graded[held] * (quality[held] - outcome)
        corrected[held] = outcome + surprise / np.maximum(chance, least)
    return corrected


def _policy(vectors: Array, corrected: Array, alpha: float) -> tuple[Array, Array]:
    """Return weights and intercepts of the softmax policy with the highest corrected grade."""
    import numpy as np

    everybody = np.ones_like(corrected)

    def gradient(at: Parameters) -> Parameters:
        share = shares(vectors @ at["weights"] + at["intercept"], everybody)
        slope = -share * (corrected - (share * corrected).sum(axis=1, keepdims=True))
        return {
            "weights": (vectors.T @ slope + alpha * at["weights"]) / len(vectors),
            "intercept": slope.mean(axis=0) + alpha * at["intercept"] / len(vectors),
        }

    start = {"weights": np.zeros((vectors.shape[1], corrected.shape[1])), "intercept": np.zeros(corrected.shape[1])}
    found = adam(gradient, start, steps=_STEPS, rate=_RATE)
    return found["weights"], found["intercept"]
