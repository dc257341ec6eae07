"""Quality of a model as a curve over the tokens that its answer may have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import Data, Fitted, Learned
from router_integrations.estimators.lines import COIN, joined, scores, state_of
from router_integrations.estimators.numerics import grades, logistic_loss, require_at_least, sigmoid
from router_integrations.learning import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.candidates import Candidate
    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.lines import Lines
    from router_integrations.estimators.numerics import Array

# How many standard errors worse a rising curve may explain the grades and still be taken.
_PATIENCE = 2.0


class BudgetCurve(Learned):
    """Estimates quality as a curve over the output budget: candidates that are one model with several token limits.

    WHEN: pre-generation. WHAT: query and candidate settings. HOW: supervised (one logistic regression per model, shared
    by its budgets). The log-odds of a good answer at budget b are ``level(b) + vector · (w + g·u)``: a level for each
    budget in the records, and weights that move in a straight line with g, the logarithm of the budget from -1/2 at the
    model's smallest to 1/2 at its largest. A candidate whose budget has no records is read off its model's curve:
    log-odds, their margin and the length of the answer are interpolated over g, and flat beyond the ends.

    More tokens should not hurt: the log-odds of a query are put in rising order along the budgets of a model, unless
    that explains the grades worse, as it does for a model that talks itself out of right answers: either half of the
    queries is predicted from the other, and the mean loss rises by more than two standard errors. Expected tokens never
    exceed the budget. Then ``Utility(enough=1, per_usd=...)`` chooses model and budget at once. `fit` takes three
    regressions per model; `estimate` O(dimensions² + candidates · dimensions) and a sort.

    R2-Router (arXiv 2602.02823); with a number that stands for how hard a strategy thinks in place of the budget, the
    model and strategy pairs of Route-To-Reason (2505.19435).

    Args:
        budgets: For each candidate by name, its model and the tokens its answer may have (above 0); give the candidate
            the same limit, such as ``Candidate(..., params={"max_tokens": 256})``. One left out is a model by itself.
        alpha: Weight of the squared coefficients w and u beside the summed loss of the grades, above 0.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> budgets = {"short": ("m", 100), "middle": ("m", 200), "long": ("m", 400)}
    >>> records = [Record(text=f"sum {row}", candidate=name, quality=float(name == "long" or row == 0))
    ...            for row in range(4) for name in ("short", "long")]
    >>> pool = [Candidate(name, model=object()) for name in budgets]
    >>> BudgetCurve(budgets=budgets).fit(records).predict(["sum 5"], pool)[0].round(1).tolist()
    [[0.3, 0.6, 0.9]]
    """

    def __init__(
        self,
        *,
        budgets: Mapping[str, tuple[str, float]] | None = None,
        alpha: float = 1.0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder=encoder)
        require_at_least(1e-9, "BudgetCurve.alpha", alpha)
        for name, (_, tokens) in (budgets or {}).items():
            if not (tokens > 0 and math.isfinite(tokens)):
                raise ConfigurationError(f"BudgetCurve.budgets must be finite and above 0 but {name!r} has {tokens!r}")
        self.budgets = budgets
        self.alpha = alpha

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        import numpy as np

        vectors = data.vectors.astype(float)
        quality, graded = grades(data.table)
        lines, names, model = self._curves(vectors, quality, graded, data.table.names)
        learnt = {self._budget(name)[0] for name in names}
        others = [name for name in self.budgets or {} if name not in names and self._budget(name)[0] in learnt]
        blend = np.column_stack([np.eye(len(names)), *(self._between(name, names) for name in others)])
        state = {**state_of(vectors, lines, self.alpha), "model": model, "blend": blend.astype(np.float32)}
        return (*names, *others), state

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        odds, std = scores(state, vectors)
        for columns in _rising(state["model"]):
            odds[:, columns] = np.sort(odds[:, columns], axis=1)
        quality: Floats = sigmoid(odds @ state["blend"]).astype(float)
        return quality, quality * (1 - quality) * (std @ state["blend"])

    def _tokens(self, fitted: Fitted, vectors: NDArray[np.float32], candidates: Sequence[Candidate]) -> Floats:
        import numpy as np

        limits = [self._budget(candidate.name, math.inf)[1] for candidate in candidates]
        return np.minimum(super()._tokens(fitted, vectors, candidates), limits)

    def _lengths(self, state: State, learnt: NDArray[np.float32]) -> NDArray[np.float32]:
        blend = state["blend"]
        lengths = learnt.copy()
        for column in range(len(blend), len(lengths)):
            ends = blend[:, column] > 0
            lengths[column] = blend[ends, column] @ lengths[: len(blend)][ends]
        return lengths

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        quality, graded = grades(table)
        lines, names, model = self._curves(vectors.astype(float), quality, graded, table.names)
        blend = np.zeros((len(state["blend"]) + len(names), state["blend"].shape[1] + len(names)), dtype=np.float32)
        blend[: len(state["blend"]), : state["blend"].shape[1]] = state["blend"]
        for row, name in enumerate(names, len(state["blend"])):
            blend[row, state["blend"].shape[1] + table.names.index(name)] = 1.0
        model = np.where(model > 0, model + state["model"].max(), 0)
        return {
            **joined(state, lines, self.alpha),
            "model": np.concatenate([state["model"], model]).astype(np.int32),
            "blend": blend,
        }

    def _budget(self, name: str, otherwise: float = 1.0) -> tuple[str, float]:
        """Return a word for the model of a candidate, and the tokens that its answer may have."""
        if self.budgets is None or name not in self.budgets:
            return f"candidate {name}", otherwise
        model, tokens = self.budgets[name]
        return f"model {model}", tokens

    def _between(self, name: str, names: Sequence[str]) -> Floats:
        """Return what each of the learnt `names` counts for in the curve at the budget of `name`."""
        import numpy as np

        model, tokens = self._budget(name)
        shares = np.zeros(len(names))
        same = [column for column, other in enumerate(names) if self._budget(other)[0] == model]
        known = np.log([self._budget(names[column])[1] for column in same])
        for place, column in enumerate(same):
            shares[column] = np.interp(math.log(tokens), known, np.eye(len(same))[place])
        return shares

    def _curves(
        self, vectors: Array, quality: Array, graded: Array, names: Sequence[str]
    ) -> tuple[Lines, tuple[str, ...], NDArray[Any]]:
        """Return a line for each budget, the candidates that they are for, and the number of each one's model.

        The lines stand by model and rising budget; the number is 0 where the order of the budgets is left as it is.
        """
        import numpy as np

        order = sorted(range(len(names)), key=lambda column: (*self._budget(names[column]), column))
        blocks, models = [], []
        for number, (_, same) in enumerate(groupby(order, key=lambda column: self._budget(names[column])[0]), 1):
            columns = list(same)
            given = (vectors, quality[:, columns], graded[:, columns])
            places = _places([self._budget(names[column])[1] for column in columns])
            weights, level = _curve(*given, places, self.alpha)
            odds = vectors @ weights + level
            expected = sigmoid(odds)
            information = (expected * (1 - expected) * given[2]).sum(axis=0) + COIN
            blocks.append(np.vstack([weights, level, np.ones(len(columns)), information]))
            models += [number if len(columns) > 1 and _rises(*given, places, self.alpha) else 0] * len(columns)
        stacked = np.hstack(blocks)
        lines = (stacked[:-3], *stacked[-3:])
        return lines, tuple(names[column] for column in order), np.array(models, dtype=np.int32)


def _places(budgets: Sequence[float]) -> Floats:
    """Return where each budget lies between the smallest, -1/2, and the largest, 1/2, by its logarithm."""
    import numpy as np

    logs = np.log(budgets)
    width = logs[-1] - logs[0]
    return (logs - logs[0]) / width - 0.5 if width else np.zeros(len(logs))


def _curve(vectors: Array, quality: Array, graded: Array, places: Floats, alpha: float) -> tuple[Array, Array]:
    """Return weights and level of the curve at each place, from which a budget deviates as little as can be."""
    import numpy as np
    from scipy.optimize import minimize

    mix = np.stack([np.ones(len(places)), places])
    cut = 2 * vectors.shape[1]

    def loss(flat: Array) -> tuple[float, Array]:
        both = flat[:cut].reshape(-1, 2)
        lines = np.vstack([both @ mix, flat[cut:]])
        value, slope = logistic_loss(lines.ravel(), vectors, quality, graded, 0.0)
        slopes = slope.reshape(lines.shape)
        return value + alpha / 2 * float((both**2).sum()), np.concatenate(
            [(slopes[:-1] @ mix.T + alpha * both).ravel(), slopes[-1]]
        )

    usual = (quality.sum(axis=0) + 0.5) / (graded.sum(axis=0) + 1)
    start = np.concatenate([np.zeros(cut), np.log(usual / (1 - usual))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return found[:cut].reshape(-1, 2) @ mix, found[cut:]


def _rises(vectors: Array, quality: Array, graded: Array, places: Floats, alpha: float) -> bool:
    """Return whether odds in rising order explain queries held out about as well as odds in the order they stand."""
    import numpy as np

    odds = np.empty_like(quality)
    for half in range(2):
        held = np.arange(len(quality)) % 2 == half
        weights, level = _curve(vectors[~held], quality[~held], graded[~held], places, alpha)
        odds[held] = vectors[held] @ weights + level
    rising = np.sort(odds, axis=1)
    worse = ((np.logaddexp(0, rising) - np.logaddexp(0, odds) - quality * (rising - odds)) * graded).sum(axis=1)
    return bool(worse.mean() <= _PATIENCE * worse.std() / math.sqrt(len(worse)))


def _rising(model: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the columns of each model whose budgets are put in rising order."""
    import numpy as np

    return [np.flatnonzero(model == number) for number in np.unique(model[model > 0])]
