"""Quality of a candidate from many decision trees over the query's vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from router_integrations.encoders import Encoder
from router_integrations.estimators.learned import Data, Learned
from router_integrations.estimators.lines import COIN
from router_integrations.estimators.numerics import grades, require_at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from router_integrations.estimators.learned import Floats, State
    from router_integrations.estimators.numerics import Array
    from router_integrations.learning import Table

# Entries that are gathered at once (queries · candidates · trees), so that big batches fit in memory.
_BLOCK = 2**22


class Forest(Learned):
    """Estimates quality as the mean of randomised decision trees, all candidates in one forest.

    WHEN: pre-generation. WHAT: query. HOW: supervised (random forest). scikit-learn's `RandomForestRegressor` grows
    the trees, with the square root of the dimensions tried at each split; a tree gives the mean grade of each candidate
    in a leaf, which for right and wrong is the probability of being right. Candidates whose grades are on the same
    queries share a forest, so that with scattered grades each has its own. The standard deviation is that between the
    trees, with that of a mean over all of the candidate's grades added. `fit` takes O(trees · grades · depth ·
    dimensions^½) per forest; `estimate` O(trees · (forests · depth + candidates)).

    OptLLM (arXiv 2405.15130) is this with ``depth=10`` and its robust quality is ``Utility(optimism=...)``. RoRF (the
    random forest router of Not Diamond, 2024) is this with two candidates: its rule, the dear one if the cheap one is
    wrong with probability t or more, is ``Utility(enough=1 - t)``. Its trees part the four joint outcomes where these
    part the two grades.

    Args:
        trees: Number of trees, at least 1.
        depth: Splits from root to leaf at most, at least 1.
        leaf: Queries in a leaf at least, 1 or more. Small leaves follow the query closely and take memory: about 20
            bytes per query, tree and `leaf`.
        seed: Seed of the draws of queries and dimensions.
        encoder: Turns queries into vectors; a `HashingEncoder` fitted on the records by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.learning import Record
    >>> records = [Record(text=text, candidate=name, quality=float(("sum" in text) == (name == "maths")))
    ...            for text in ["sum 1 2", "sum 3 4", "greet Ann", "greet Bob"] for name in ["maths", "chat"]]
    >>> pool = [Candidate("maths", model=object()), Candidate("chat", model=object())]
    >>> quality, _ = Forest().fit(records).predict(["sum 1 2", "greet Ann"], pool)
    >>> quality.round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self, *, trees: int = 100, depth: int = 20, leaf: int = 1, seed: int = 0, encoder: Encoder | None = None
    ) -> None:
        super().__init__(encoder=encoder)
        for name, value in (("trees", trees), ("depth", depth), ("leaf", leaf)):
            require_at_least(1, f"Forest.{name}", value)
        self.trees = trees
        self.depth = depth
        self.leaf = leaf
        self.seed = seed

    def _learn(self, data: Data) -> tuple[tuple[str, ...], State]:
        return data.table.names, self._grown(data.vectors, data.table)

    def _onboard(self, state: State, vectors: NDArray[np.float32], table: Table) -> State:
        import numpy as np

        new = dict(self._grown(vectors, table))
        for name, start in (("children", "features"), ("roots", "features"), ("first", "values"), ("forest", "roots")):
            new[name] = (new[name] + len(state[start])).astype(new[name].dtype)
        return {name: np.concatenate([state[name], new[name]]) for name in state}

    def _predict(self, state: State, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        import numpy as np

        quality = np.zeros((len(vectors), len(state["forest"])))
        std = np.zeros_like(quality)
        block = max(_BLOCK // (self.trees * len(state["forest"])), 1)
        alone = COIN / (state["count"] + 1)
        for start in range(0, len(vectors), block):
            rows = slice(start, start + block)
            leaves = self._leaves(state, vectors[rows])
            at = state["first"][leaves][:, state["forest"]] + state["place"][:, None]
            said = state["values"][at]
            quality[rows] = said.mean(axis=2)
            std[rows] = np.sqrt(said.var(axis=2) + alone)
        return quality, std

    def _leaves(self, state: State, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Return the leaf that each query reaches in each tree, queries by forests by trees."""
        import numpy as np

        roots, features, thresholds, children = (
            state[name] for name in ("roots", "features", "thresholds", "children")
        )
        flat = np.ascontiguousarray(vectors).ravel()
        first = (np.arange(len(vectors)) * vectors.shape[1])[:, None]
        node: NDArray[Any] = np.tile(roots.ravel(), (len(vectors), 1))
        for _ in range(self.depth):
            right = flat[first + features[node]] > thresholds[node]
            node = children[node, right.view(np.int8)]
        return node.reshape(len(vectors), *roots.shape)

    def _grown(self, vectors: NDArray[np.float32], table: Table) -> State:
        """Return the nodes of all forests one after the other, and where each candidate's stand."""
        import numpy as np

        quality, graded = grades(table)
        patterns, forest = np.unique(graded, axis=1, return_inverse=True)
        forest = forest.ravel().astype(np.int32)
        place = np.zeros_like(forest)
        trees: list[Any] = []
        for index, pattern in enumerate(patterns.T):
            columns, rows = np.flatnonzero(forest == index), pattern > 0
            place[columns] = np.arange(len(columns))
            trees += self._trees(vectors[rows], quality[np.ix_(rows, columns)])
        state = _stacked(trees, self.trees)
        return {**state, "forest": forest, "place": place, "count": graded.sum(axis=0).astype(np.float32)}

    def _trees(self, vectors: Array, quality: Array) -> list[Any]:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            self.trees,
            max_depth=self.depth,
            min_samples_leaf=self.leaf,
            max_features="sqrt",
            random_state=self.seed,
        )
        forest.fit(vectors, quality if quality.shape[1] > 1 else quality[:, 0])
        return [tree.tree_ for tree in forest.estimators_]


def _stacked(trees: Sequence[Any], number: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of all trees, one node after the other; leaves are their own children."""
    import numpy as np

    sizes = [tree.node_count for tree in trees]
    starts = np.cumsum([0, *sizes[:-1]])
    nodes = np.arange(sum(sizes))
    inner = np.concatenate([tree.children_left >= 0 for tree in trees])
    widths = np.where(inner, 0, np.repeat([tree.value.shape[1] for tree in trees], sizes))
    shift = np.repeat(starts, sizes)
    sides = [np.concatenate([getattr(tree, name) for tree in trees]) for name in ("children_left", "children_right")]
    thresholds = np.concatenate([tree.threshold for tree in trees])
    lower = thresholds.astype(np.float32)
    # Rounded down, so that a number in single precision falls on the same side as in scikit-learn.
    lower = np.where(lower > thresholds, np.nextafter(lower, np.float32(-np.inf)), lower)
    return {
        "roots": starts.reshape(-1, number).astype(np.int32),
        "features": np.where(inner, np.concatenate([tree.feature for tree in trees]), 0).astype(np.int32),
        "thresholds": np.where(inner, lower, 0).astype(np.float32),
        "children": np.stack([np.where(inner, side + shift, nodes) for side in sides], axis=1).astype(np.int32),
        "first": np.cumsum(widths) - widths,
        "values": np.concatenate([tree.value[tree.children_left < 0, :, 0].ravel() for tree in trees]).astype(
            np.float32
        ),
    }
