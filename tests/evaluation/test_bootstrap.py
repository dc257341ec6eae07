from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from router_integrations.errors import ConfigurationError
from router_integrations.evaluation import apgr, bootstrap, paired_bootstrap, strong_share


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        ours, theirs = rng.random(60) < 0.7, rng.random(60) < 0.5
        interval = paired_bootstrap(ours, theirs, draws=1000, seed=trial)
        covered += interval.low <= 0.2 <= interval.high

    assert 180 <= covered <= 199


def test_the_same_seed_gives_the_same_interval() -> None:
    quality = np.random.default_rng(1).random(50)

    assert paired_bootstrap(quality, 1 - quality, seed=3) == paired_bootstrap(quality, 1 - quality, seed=3)
    assert paired_bootstrap(quality, 1 - quality, seed=3) != paired_bootstrap(quality, 1 - quality, seed=4)


def test_a_router_does_not_differ_from_itself() -> None:
    interval = paired_bootstrap([0.0, 1.0, 1.0], [0.0, 1.0, 1.0])

    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)
    assert not interval.excludes(0.0)


def test_a_constant_lead_is_significant() -> None:
    quality = np.random.default_rng(2).random(100)

    interval = paired_bootstrap(quality + 0.01, quality)

    assert interval.excludes(0.0)
    assert interval.low == pytest.approx(0.01)


def test_a_higher_level_is_a_wider_interval() -> None:
    quality = np.random.default_rng(4).random(40)
    narrow, wide = (bootstrap(lambda drawn: float(quality[drawn].mean()), 40, level=level) for level in (0.8, 0.99))

    assert wide.low < narrow.low < quality.mean() < narrow.high < wide.high


def test_any_figure_has_an_interval() -> None:
    rng = np.random.default_rng(5)
    scores, weak = rng.random(300), (rng.random(300) < 0.5).astype(float)

    def figure(drawn: Any) -> float:
        low, high = weak[drawn], np.ones(300)
        return apgr(*strong_share(scores[drawn], low, high), weak=float(low.mean()), strong=1.0)

    interval = bootstrap(figure, 300, draws=1000)

    assert interval.low < 0.5 < interval.high
    assert interval.value == figure(np.arange(300))


@pytest.mark.parametrize(
    ("ours", "options", "words"),
    [
        ([1.0, 0.0], {"draws": 999}, "at least 1000 but got 999"),
        ([1.0, 0.0], {"level": 95}, "in \\(0, 1\\) but got 95"),
        ([1.0], {}, "same queries"),
    ],
)
def test_wrong_options_are_explained(ours: list[float], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        paired_bootstrap(ours, [0.5, 0.5], **options)


def test_no_queries_have_no_interval() -> None:
    with pytest.raises(ConfigurationError, match="at least 1 query but got 0"):
        paired_bootstrap([], [])
