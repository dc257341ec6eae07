"""How good a confidence is at choosing which answers to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_integrations.evaluation.metrics import _pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def auarc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the accuracy-rejection curve: the mean quality of the k surest answers, over all k.

    Answers of one confidence count as kept in random order. A confidence that tells nothing scores the mean quality.
    The area under the risk-coverage curve (AURC) is 1 less it.

    Args:
        confidence: How sure one is of each answer; only the order matters.
        correct: Measured quality of each, in [0, 1].

    >>> auarc([0.9, 0.1], [1, 0]), auarc([0.5, 0.5], [1, 0]), auarc([0.1, 0.9], [1, 0])
    (0.75, 0.5, 0.25)
    """
    p, y = _pair(confidence, correct)
    _, where, count = np.unique(-p, return_inverse=True, return_counts=True)
    # Kept in random order, each of a tie is worth their mean.
    expected = (np.bincount(where, weights=y) / count)[where][np.argsort(-p, kind="stable")]
    return float(np.mean(np.cumsum(expected) / np.arange(1, len(p) + 1)))
