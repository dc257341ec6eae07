from __future__ import annotations

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import ClusterLatency, Difficulty
from router_integrations.learning import Record
from router_integrations.types import Request
from tests.estimators.test_clustering import Compass

SLOW = Candidate("slow", model=object(), strength=0.5, latency=99.0)
UNTIMED = Candidate("untimed", model=object(), latency=3.0)
NEW = Candidate("new", model=object(), latency=5.0)
TIMED = [("0", 4.0), ("1", 6.0), ("2", None), ("90", 20.0)]
RECORDS = [
    *(Record(text=text, candidate="slow", quality=0.5, latency=latency) for text, latency in TIMED),
    *(Record(text=text, candidate="untimed", quality=1.0) for text, _ in TIMED),
]


def fitted(shrinkage: float = 0.0) -> ClusterLatency:
    return ClusterLatency(clusters=2, shrinkage=shrinkage, encoder=Compass()).fit(RECORDS)


def seconds(estimator: ClusterLatency, text: str, *pool: Candidate) -> list[float | None]:
    return [one.latency for one in estimator.estimate(Request(text=text), pool)]


def test_latency_is_the_mean_of_the_cluster() -> None:
    assert seconds(fitted(), "5", SLOW, UNTIMED) == [5.0, 3.0]
    assert seconds(fitted(), "80", UNTIMED, SLOW) == [3.0, 20.0]


def test_the_overall_mean_counts_as_so_many_attempts() -> None:
    assert seconds(fitted(shrinkage=2.0), "80", SLOW) == [(20 + 2 * 10) / 3]


def test_who_has_no_records_keeps_what_was_declared() -> None:
    assert seconds(fitted(), "5", NEW) == [5.0]
    assert seconds(ClusterLatency(), "5", SLOW) == [99.0]


def test_before_any_record_it_is_the_difficulty() -> None:
    request = Request(text="Prove it.")

    assert ClusterLatency().estimate(request, [SLOW]) == Difficulty().estimate(request, [SLOW])


def test_statistics_are_the_means_and_the_sizes() -> None:
    known = fitted().statistics()
    order = np.argsort(-known.queries)

    assert known.names == ("slow", "untimed")
    assert known.queries[order].tolist() == [3, 1]
    assert known.quality[order].tolist() == [[0.5, 1.0], [0.5, 1.0]]
    assert known.latency[order] == pytest.approx(np.array([[5.0, np.nan], [20.0, np.nan]]), nan_ok=True)


def test_a_newcomer_brings_its_latency() -> None:
    estimator = fitted().onboard([Record(text="3", candidate="new", quality=1.0, latency=7.0)])

    assert seconds(estimator, "5", SLOW, NEW) == [5.0, 7.0]
    assert seconds(estimator, "80", NEW) == [7.0]
    assert estimator.statistics().queries.sum() == 4


def test_statistics_need_records() -> None:
    with pytest.raises(ConfigurationError, match=r"call fit\(records\) before statistics"):
        ClusterLatency().statistics()
