"""Quality of a candidate in the domain that a query seems to come from, and on queries like it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_integrations.encoders import Encoder
from router_integrations.estimators.clustering import cluster_means, mixed
from router_integrations.estimators.distillation import shares, softmax_regression
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.lines import ridge, scores, state_of
from router_integrations.estimators.numerics import grades, require_at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State

# Grades that a candidate's overall mean counts for in each domain.
_PRIOR = 5.0


class DomainQuality(Learned):
    """Estimates quality as the mean grade in the domains that the query may come from, and a line for what is left.

    A multinomial logistic regression learns `Record.domain` from the query. A query belongs to each domain by its
    share, so one that may be mathematics goes where mathematics would lose much elsewhere, even when another domain is
    likelier. Ridge regression then learns how far single queries deviate from that. A new query needs no domain;
    records without one make up a domain of their own, and where none has one, the ridge regression is all there is.

    WHEN: pre-generation. WHAT: query, its domain when learning. HOW: supervised (logistic regression on domains, linear
    regression on deviations). The standard deviation joins that of the means and that of the line. `fit` takes up to
    500 steps of L-BFGS, O(queries · dimensions · domains) each, and one system of the encoder's dimensions; `estimate`
    O(dimensions² + dimensions · (domains + candidates)).

    The soft form of routing by recognised data set, the baseline that the RouterDC table (arXiv 2409.19886) asks for;
    with a large `alpha` it is nothing else.

    Args:
        alpha: Weight of the squared coefficients of the deviations beside their summed squares, above 0.
        domain_alpha: Weight of the squared coefficients of the domains beside the summed loss, above 0.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(domain == name), domain=domain)
    ...            for text, domain in [("sum 1 2", "maths"), ("sum 3 4", "maths"), ("greet Ann", "chat")]
    ...            for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = DomainQuality(alpha=1.0).fit(records).predict(["sum 5 6", "greet Eve"], pool)
    >>> quality.argmax(axis=1).tolist()
    [0, 1]
    """

    def __init__(self, *, alpha: float = 30.0, domain_alpha: float = 0.1, encoder: Encoder | None = None) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1e-9, "DomainQuality.alpha", alpha)
        require_at_least(1e-9, "DomainQuality.domain_alpha", domain_alpha)
        self.alpha = alpha
        self.domain_alpha = domain_alpha

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        vectors = data.vectors.astype(float)
        quality, graded = grades(data.table)
        names, domain = np.unique(np.array(data.table.domains), return_inverse=True)
        labels = np.eye(len(names))[domain]
        weights, intercept = softmax_regression(vectors, labels, np.ones_like(labels), self.domain_alpha)
        domains = {"domain_weights": weights.astype(np.float32), "domain_intercept": intercept.astype(np.float32)}
        domains |= {"sums": (labels.T @ quality).astype(np.float32), "counts": (labels.T @ graded).astype(np.float32)}
        expected, _ = _by_domain(domains, data.vectors)
        lines = ridge(vectors, (quality - expected) * graded, graded, self.alpha)
        return data.table.names, {**domains, **state_of(vectors, lines, self.alpha)}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        expected, spread = _by_domain(state, vectors)
        deviation, margin = scores(state, vectors)
        return expected + deviation, np.hypot(spread, margin)


def _by_domain(state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return quality and its standard deviation as the domains have it."""
    import numpy as np

    logits: Floats = (vectors @ state["domain_weights"] + state["domain_intercept"]).astype(float)
    belongs = shares(logits, np.ones_like(logits)).astype(float)
    return mixed(belongs, cluster_means(state["sums"], state["counts"], _PRIOR), state["counts"])
