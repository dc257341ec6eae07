from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import ClusterLatency
from router_integrations.estimators.cluster_latency import ClusterStatistics
from router_integrations.latency_regions import Region, regions, within
from router_integrations.learning import Record
from router_integrations.strategies import LatencyTradeoff
from router_integrations.types import Request
from tests.evaluation.recorded import DATA, needs_records

BIG, SMALL, IDLE = "big", "small", "idle"


def statistics(quality: Any, latency: Any, queries: Any, names: tuple[str, ...] = (BIG, SMALL)) -> ClusterStatistics:
    return ClusterStatistics(
        names=names,
        quality=np.array(quality, dtype=float),
        latency=np.array(latency, dtype=float),
        queries=np.array(queries, dtype=float),
    )


def test_every_policy_of_two_clusters_by_hand() -> None:
    found = regions(
        statistics([[0.9, 0.5, 0.4], [0.8, 0.7, 0.6]], [[3.0, 1.0, 2.0], [5.0, 1.0, 9.0]], [1, 3], (BIG, SMALL, IDLE))
    )

    assert [one.choices for one in found] == [(BIG, BIG), (BIG, SMALL), (SMALL, SMALL)]
    assert [one.low for one in found] == pytest.approx([0, 0.1, 0.4])
    assert [one.high for one in found] == pytest.approx([0.1, 0.4, math.inf])
    assert [one.quality for one in found] == pytest.approx([0.825, 0.75, 0.65])
    assert [one.latency for one in found] == pytest.approx([4.5, 1.5, 1.0])
    assert [one.efficiency for one in found] == pytest.approx([0, 7.5 / 3, 17.5 / 3.5])
    assert [one.weight for one in found] == pytest.approx([0.05, 0.25, 0.8])


def test_a_candidate_between_two_has_a_region_only_above_their_line() -> None:
    above = regions(statistics([[0.9, 0.8, 0.1]], [[3.0, 2.0, 1.0]], [1], (BIG, IDLE, SMALL)))
    below = regions(statistics([[0.9, 0.3, 0.1]], [[3.0, 2.0, 1.0]], [1], (BIG, IDLE, SMALL)))

    assert [(one.choices[0], round(one.low, 9)) for one in above] == [(BIG, 0), (IDLE, 0.2), (SMALL, 1.4)]
    assert [(one.choices[0], round(one.low, 9)) for one in below] == [(BIG, 0), (SMALL, 0.8)]


def test_equal_breakpoints_make_no_region_between_them() -> None:
    found = regions(statistics([[0.9, 0.9 - 0.1], [0.5, 0.4]], [[2, 1], [2, 1]], [1, 1]))

    assert [one.choices for one in found] == [(BIG, BIG), (SMALL, SMALL)]


def test_one_candidate_has_one_policy() -> None:
    (only,) = regions(statistics([[0.9]], [[3.0]], [2], (BIG,)))

    assert only == Region(low=0.0, high=math.inf, choices=(BIG,), quality=0.9, latency=3.0, efficiency=0.0)
    assert only.weight == 0


def test_the_budget_takes_the_best_that_keeps_to_it() -> None:
    found = regions(statistics([[0.9, 0.5], [0.8, 0.7]], [[3.0, 1.0], [5.0, 1.0]], [1, 3]))

    assert [within(found, latency=budget).choices for budget in (9, 4.5, 4.4, 1)] == [
        (BIG, BIG), (BIG, BIG), (BIG, SMALL), (SMALL, SMALL),
    ]  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"at most 0\.9; the fastest has 1\.0"):
        within(found, latency=0.9)


@pytest.mark.parametrize(
    ("quality", "latency", "queries", "match"),
    [
        ([[0.9, math.nan]], [[1, 2]], [1], r"\['small'\] is unknown"),
        ([[0.9, 0.5]], [[math.nan, 2]], [1], r"\['big'\] is unknown"),
        ([[0.9, 0.5]], [[1, 2]], [0], "at least one query"),
        ([[0.9, 0.5]], [[1, 2]], [1, 1], "clusters by candidates"),
        ([[0.9]], [[1]], [1], "clusters by candidates"),
    ],
)
def test_what_cannot_be_weighed_is_refused(quality: Any, latency: Any, queries: Any, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        regions(statistics(quality, latency, queries))


# Coarse values, so that ties and shared breakpoints come up.
SHAPE = (3, 3)
COARSE = st.integers(1, 8).map(float)


@given(arrays(float, SHAPE, elements=COARSE), arrays(float, SHAPE, elements=COARSE), st.integers(0, 400))
def test_no_weight_finds_a_policy_that_is_not_listed(quality: Any, latency: Any, hundredths: int) -> None:
    names = ("x", "y", "z")
    known = statistics(quality / 8, latency, [1, 2, 3], names)
    # Off the grid on which breakpoints of eighths and differences up to 7 lie.
    weight = hundredths / 100 + 1e-4
    expected = []
    for row, seconds in zip(known.quality, known.latency, strict=True):
        kept = [
            place for place in range(3)
            if not any(
                (row[other], -seconds[other]) != (row[place], -seconds[place])
                and row[other] >= row[place] and seconds[other] <= seconds[place]
                for other in range(3)
            )
        ]  # fmt: skip
        low, high = seconds[kept].min(), seconds[kept].max()
        scale = (seconds - low) / (high - low) if high > low else 0 * seconds
        expected.append(names[max(kept, key=lambda place: (row[place] - weight * scale[place], -place))])

    (listed,) = [one for one in regions(known) if one.low <= weight < one.high]
    assert listed.choices == tuple(expected)


TEXTS = {"maths": ["sum 1 2", "sum 3 4", "sum 5 6"], "chat": ["greet Ann", "greet Bob", "greet Eve"]}
GRADES = {("maths", BIG): 1.0, ("maths", SMALL): 0.2, ("chat", BIG): 1.0, ("chat", SMALL): 0.9}
SECONDS = {("maths", BIG): 9.0, ("maths", SMALL): 2.0, ("chat", BIG): 5.0, ("chat", SMALL): 1.0}
RECORDS = [
    Record(text=text, candidate=name, quality=GRADES[kind, name], latency=SECONDS[kind, name])
    for kind, texts in TEXTS.items() for text in texts for name in (BIG, SMALL)
]  # fmt: skip
POOL = tuple(Candidate(name, model=object()) for name in (SMALL, BIG))


def test_records_to_a_strategy_within_a_budget() -> None:
    estimator = ClusterLatency(clusters=2, shrinkage=0).fit(RECORDS)
    found = regions(estimator.statistics())
    region = within(found, latency=6.0)
    strategy = LatencyTradeoff(estimator=estimator, weight=region.weight)
    calls = {text: strategy.decide(Request(text=text, candidates=POOL)) for text in ("sum 7 8", "greet Zoe")}

    assert [(round(one.low, 6), round(one.quality, 6), one.latency) for one in found] == [
        (0, 1, 7), (0.1, 0.95, 5), (0.8, 0.55, 1.5),
    ]  # fmt: skip
    assert [one.candidate.name for one in calls.values()] == [BIG, SMALL]
    assert calls["sum 7 8"].estimates[BIG].latency == pytest.approx(9)
    assert calls["greet Zoe"].estimates[SMALL].latency == pytest.approx(1)


def test_the_strategy_does_in_each_cluster_what_its_region_says() -> None:
    estimator = ClusterLatency(clusters=2).fit(RECORDS)
    clusters = [estimator.predict([texts[0]], POOL)[0][0].tolist() for texts in TEXTS.values()]
    known = estimator.statistics()
    order = [[known.names.index(one.name) for one in POOL]]
    rows = [int(np.argmin(np.abs(known.quality[:, order[0]] - quality).sum(axis=1))) for quality in clusters]
    for region in regions(known):
        strategy = LatencyTradeoff(estimator=estimator, weight=region.weight)
        asked = [strategy.decide(Request(text=texts[0], candidates=POOL)).candidate.name for texts in TEXTS.values()]
        assert asked == [region.choices[row] for row in rows]


# Published: lowest weight, accuracy in per cent, milliseconds per token, efficiency (none for the first), by region.
PUBLISHED = {
    "aime": ([(0, 94.4, 24.8), (0.052, 92.1, 18.4), (0.067, 90.7, 15.4), (0.099, 87.2, 9.2)], {1: 0.353, 3: 0.457}),
    "teleqna": ([(0, 75.9, 26.0), (0.066, 72.1, 19.8), (0.075, 69.0, 15.4)], {1: 0.622}),
}
# The weight that a budget of 20 ms leads to, and who is asked then in each cluster.
CHOSEN = {
    "aime": (0.06, ("Qwen3-30B-A3B", "VibeThinker-1.5B", "Qwen3-30B-A3B")),
    "teleqna": (0.07, ("Qwen3-4B", "Gemma4-26B")),
}


def published(name: str) -> ClusterStatistics:
    stored = json.loads((DATA / "cre" / f"{name}_stats.json").read_text(encoding="utf-8"))
    clusters, models = stored["cluster_sizes"], stored["models"]
    return statistics(
        [[1 - one["errors"][key] for one in models.values()] for key in clusters],
        [[one["cluster_tpot_ms"][key] if "cluster_tpot_ms" in one else one["tpot_ms"] for one in models.values()]
         for key in clusters],
        list(clusters.values()),
        tuple(models),
    )  # fmt: skip


@needs_records
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_regions_come_back(name: str) -> None:
    found = regions(published(name))
    expected, efficiency = PUBLISHED[name]

    assert [(round(one.low, 3), round(100 * one.quality, 1), round(one.latency, 1)) for one in found] == expected
    assert {place: round(found[place].efficiency, 3) for place in efficiency} == efficiency
    assert not {"Gemma4-E2B", "Gemma4-E4B"} & {choice for one in found for choice in one.choices}


@needs_records
@pytest.mark.parametrize("name", CHOSEN)
def test_the_published_weight_is_the_one_within_20_milliseconds(name: str) -> None:
    region = within(regions(published(name)), latency=20)

    assert (round(region.weight, 2), region.choices) == CHOSEN[name]


# Published: accuracy of the first stage alone in per cent; with the second one accuracy, milliseconds per token and to
# the end. Of the second stage only the arithmetic of latency is ours.
SYSTEMS = {"aime": (86.4, 88.4, 9.75, 156300), "teleqna": (71.2, 74.2, 23.65, 1127)}


@needs_records
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_published_system_figures_come_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    stored = json.loads((DATA / "cre" / f"{name}_cascade_test.json").read_text(encoding="utf-8"))
    first, both, token, end = import_module("quality_cre").system(stored)
    chosen = within(regions(published(name)), latency=20)

    assert (round(100 * first, 1), round(100 * both, 1), round(token, 2)) == SYSTEMS[name][:3]
    assert end == pytest.approx(SYSTEMS[name][3], rel=4e-4)
    assert tuple(stored["assignment"].values()) == chosen.choices
