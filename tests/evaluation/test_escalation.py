from __future__ import annotations

from typing import Any

import pytest

from router_integrations.errors import ConfigurationError
from router_integrations.evaluation import ibc_lift

SMALL, LARGE = (0.4, 1.0), (0.8, 51.0)


def test_mixing_at_random_has_no_lift() -> None:
    assert ibc_lift(0.5, 13.5, small=SMALL, large=LARGE) == pytest.approx(0.0)


def test_always_asking_the_large_candidate_has_no_lift() -> None:
    assert ibc_lift(*LARGE, small=SMALL, large=LARGE) == pytest.approx(0.0)


def test_verdicts_that_change_nothing_lose_everything() -> None:
    assert ibc_lift(0.4, 2.0, small=SMALL, large=LARGE) == -1.0


def test_a_router_that_gains_what_the_large_one_does_at_half_the_cost_added_lifts_by_one() -> None:
    assert ibc_lift(0.8, 26.0, small=SMALL, large=LARGE) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("cost", "large", "why"),
    [(2.0, (0.4, 51.0), "better and dearer"), (2.0, (0.8, 1.0), "better and dearer"), (1.0, LARGE, "costs more than")],
)
def test_what_has_no_slope_is_rejected(cost: float, large: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ibc_lift(0.5, cost, small=SMALL, large=large)
