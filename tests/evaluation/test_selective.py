from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations.errors import ConfigurationError
from router_integrations.evaluation import auarc

PAIRS = st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.floats(0, 1)), min_size=1, max_size=5)


@given(PAIRS)
def test_it_is_the_mean_over_all_orders_that_the_confidence_allows(pairs) -> None:
    areas = []
    for order in itertools.permutations(pairs):
        if list(order) == sorted(order, key=lambda pair: -pair[0]):
            quality = [grade for _, grade in order]
            areas.append(np.mean([np.mean(quality[:kept]) for kept in range(1, len(quality) + 1)]))

    assert auarc(*zip(*pairs, strict=True)) == pytest.approx(np.mean(areas))


def test_only_the_order_of_confidences_matters() -> None:
    assert auarc([-3.0, -0.1, -7.0], [0, 1, 1]) == auarc([0.2, 0.3, 0.1], [0, 1, 1])


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        auarc([], [])
