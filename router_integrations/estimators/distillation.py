"""Shares of preference among the candidates, learnt from grades as soft labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.lines import COIN, scores, state_of
from router_integrations.estimators.numerics import grades, least_loss, require_at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array


class Zooter(Learned):
    """Estimates which candidate the grades prefer: a softmax over candidates, linear in the query's vector.

    The label of a query is the softmax of its grades divided by `temperature`; the loss is the Kullback-Leibler
    divergence from it. Where a candidate was not graded, both the label and the prediction are shares among those that
    were, so a query with one grade teaches nothing about preference. Quality is put back on the scale of the grades:
    ``temperature`` times the logit, shifted so that the mean over candidates is that of all grades.

    WHEN: pre-generation. WHAT: query, its domain when learning. HOW: supervised (multinomial logistic regression on
    soft labels). The standard deviation is Laplace's. `fit` takes up to 500 steps of L-BFGS, O(queries · dimensions ·
    candidates) each; `estimate` O(dimensions² + candidates · dimensions).

    Zooter (arXiv 2311.08692) on frozen vectors: its rewards are the grades, its tags the domains of the records.

    Args:
        temperature: Divides the grades; the lower, the more the best candidate counts alone. Above 0.
        own: Share of the query's own grades in its label, the rest being the mean grades of its domain, which evens
            out noisy grades; in [0, 1]. Queries without a domain are left as they are.
        alpha: Weight of the squared coefficients beside the summed loss, above 0.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = Zooter().fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.argmax(axis=1).tolist()
    [0, 1]
    """

    def __init__(
        self, *, temperature: float = 0.2, own: float = 0.7, alpha: float = 1.0, encoder: Encoder | None = None
    ) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1e-3, "Zooter.temperature", temperature)
        require_at_least(1e-9, "Zooter.alpha", alpha)
        if not 0 <= own <= 1:
            raise ConfigurationError(f"Zooter.own must be in [0, 1] but got {own!r}; 1 leaves the domains out")
        self.temperature = temperature
        self.own = own
        self.alpha = alpha

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        vectors = data.vectors.astype(float)
        quality, graded = grades(data.table)
        rewards = _with_domains(quality, graded, data.table.domains, self.own)
        labels = shares(rewards / self.temperature, graded)
        weights, intercept = softmax_regression(vectors, labels, graded, self.alpha)
        # What counts is how logits differ; their mean is free, and quality needs one.
        level = quality.sum() / graded.sum()
        weights = self.temperature * (weights - weights.mean(axis=1, keepdims=True))
        intercept = self.temperature * (intercept - intercept.mean()) + level
        expected = shares(vectors @ weights / self.temperature, np.ones_like(graded))
        information = (expected * (1 - expected) * graded).sum(axis=0) + COIN
        noise = np.full(len(intercept), self.temperature**2)
        return data.table.names, state_of(vectors, (weights, intercept, noise, information), self.alpha)

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        return scores(state, vectors)


def _with_domains(quality: Array, graded: Array, domains: tuple[str, ...], own: float) -> Array:
    """Return the grades mixed with the mean of each candidate's grades in the query's domain."""
    import numpy as np

    mixed = quality.copy()
    names = np.array(domains)
    for domain in sorted({*domains} - {""}):
        rows = names == domain
        count = graded[rows].sum(axis=0)
        mean = quality[rows].sum(axis=0) / np.maximum(count, 1)
        mixed[rows] = own * quality[rows] + (1 - own) * mean * graded[rows]
    return mixed


def shares(logits: Array, among: Array) -> Array:
    """Return the softmax of each row among the candidates marked with 1; 0 for the others.

    >>> import numpy as np
    >>> shares(np.array([[1.0, 1.0, 9.0]]), np.array([[1.0, 1.0, 0.0]])).tolist()
    [[0.5, 0.5, 0.0]]
    """
    import numpy as np

    marked = np.where(among > 0, logits, -np.inf)
    powers = np.exp(marked - marked.max(axis=1, keepdims=True))
    found: Array = powers / powers.sum(axis=1, keepdims=True)
    return found


def softmax_regression(vectors: Array, labels: Array, among: Array, alpha: float) -> tuple[Array, Array]:
    """Return weights and intercepts of a multinomial logistic regression on soft labels.

    The squared intercepts are penalised as one more query without content would: enough to keep them finite.

    Args:
        vectors: Queries by dimensions.
        labels: Shares of the candidates, each row summing to 1.
        among: 1 for the candidates that the shares of a query are among, else 0.
        alpha: Weight of the squared weights beside the summed loss, above 0.

    >>> import numpy as np
    >>> labels = np.array([[0.75, 0.25]] * 400)
    >>> _, intercept = softmax_regression(np.zeros((400, 1)), labels, np.ones((400, 2)), alpha=1.0)
    >>> shares(intercept[None], np.ones((1, 2))).round(2).tolist()
    [[0.75, 0.25]]
    """
    import numpy as np

    start = np.zeros((vectors.shape[1] + 1, labels.shape[1]))
    return least_loss(softmax_loss, start, (vectors, labels, among, alpha))


def softmax_loss(flat: Array, vectors: Array, labels: Array, among: Array, alpha: float) -> tuple[float, Array]:
    """Return what `softmax_regression` makes small, and its gradient.

    Args:
        flat: Weights with the intercepts below them, row by row.
        vectors: Queries by dimensions.
        labels: Shares of the candidates.
        among: 1 for the candidates that the shares of a query are among, else 0.
        alpha: Weight of the squared weights beside the summed loss.

    >>> import numpy as np
    >>> loss, slope = softmax_loss(np.zeros(4), np.ones((1, 1)), np.array([[1.0, 0.0]]), np.ones((1, 2)), 1.0)
    >>> round(loss, 3), slope.tolist()
    (0.693, [-0.5, 0.5, -0.5, 0.5])
    """
    import numpy as np

    weights, intercept = np.split(flat.reshape(-1, labels.shape[1]), [-1])
    logits = vectors @ weights + intercept
    expected = shares(logits, among)
    tiny = np.finfo(float).tiny
    loss = -(labels * np.log(np.maximum(expected, tiny))).sum() + alpha / 2 * (weights**2).sum() + (intercept**2).sum()
    slope = expected - labels
    slopes = [vectors.T @ slope + alpha * weights, slope.sum(axis=0, keepdims=True) + 2 * intercept]
    return float(loss), np.vstack(slopes).ravel()
