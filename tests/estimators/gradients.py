"""Compares a gradient with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

_STEP = 1e-6


def check_gradient(
    loss: Callable[[dict[str, np.ndarray]], tuple[float, Mapping[str, np.ndarray]]], at: dict[str, np.ndarray]
) -> None:
    """Check each entry of the gradient that `loss` returns beside its value."""
    slopes = loss(at)[1]
    assert set(slopes) == set(at)
    for name, value in at.items():
        expected = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            sides = []
            for step in (_STEP, -_STEP):
                moved = value.copy()
                moved[place] += step
                sides.append(loss({**at, name: moved})[0])
            expected[place] = (sides[0] - sides[1]) / (2 * _STEP)
        assert np.abs(expected).max() > 1e-3, f"the loss does not depend on {name}, so nothing is shown"
        np.testing.assert_allclose(slopes[name], expected, rtol=1e-5, atol=1e-7, err_msg=name)
