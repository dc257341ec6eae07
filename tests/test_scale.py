"""Fits and replays spread over a cluster give what one process gives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from distributed import Client, LocalCluster
from joblib import parallel_config

from router_integrations import Best
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ProviderError
from router_integrations.estimators import MLP
from router_integrations.evaluation import Replay, replay
from router_integrations.evaluation.bulk import CHUNK
from router_integrations.learning import Record, Table
from router_integrations.testing import checks
from router_integrations.testing.learning import example_texts, grade
from router_integrations.testing.table import Outcome

POOL = checks.example_candidates()
ENCODER = HashingEncoder(dimensions=32)
TEXTS = example_texts(CHUNK + 20)
RECORDS = [
    Record(text=text, candidate=candidate.name, quality=grade(place, subject), cost=1e-4, output_tokens=10)
    for text, subject in TEXTS.items()
    for place, candidate in enumerate(POOL)
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", **options) as workers, Client(workers):
        yield workers


def fitted() -> MLP:
    return MLP(hidden=8, steps=10, encoder=ENCODER).fit(RECORDS)


def replayed(estimator: MLP) -> Replay:
    """Through the engine, which reads the outcomes: the last candidate fails on every third query."""
    busy = Outcome(error=ProviderError("busy", family="bad_request"))
    outcomes = [{POOL[-1].name: busy} if row % 3 == 0 else {} for row in range(len(TEXTS))]
    return replay(Best(estimator=estimator), Table.of(RECORDS), POOL, outcomes=outcomes)


def test_a_fit_on_two_workers_is_that_of_one_process(cluster: LocalCluster) -> None:
    alone = fitted().fitted_.state
    before = cluster.scheduler.transition_counter
    with parallel_config("dask"):
        spread = fitted().fitted_.state

    assert cluster.scheduler.transition_counter > before
    assert all(np.allclose(alone[name], spread[name], atol=1e-6) for name in alone)


def test_a_replay_on_two_workers_is_that_of_one_process(cluster: LocalCluster) -> None:
    estimator = fitted()
    alone = replayed(estimator)
    before = cluster.scheduler.transition_counter
    with parallel_config("dask"):
        spread = replayed(estimator)

    assert cluster.scheduler.transition_counter > before
    assert (alone.chosen == spread.chosen).all()
    assert (alone.attempts == spread.attempts).all() and alone.attempts.max() > 1
    assert alone.cost == pytest.approx(spread.cost, nan_ok=True)
