from __future__ import annotations

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.estimators import Eagle, Neighbors, index
from router_integrations.estimators.index import FEW, nearest
from router_integrations.learning import Record

# Enough for an index, on few dimensions so that it is quick.
MANY = FEW + 2000
POOL = [Candidate("a", model=object()), Candidate("b", model=object())]


def vectors(number: int, seed: int = 0, width: int = 8) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(number, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(stored: np.ndarray, vector: np.ndarray, k: int) -> list[int]:
    """The nearest by a sum in double precision, of equals the first."""
    similarity = [float(np.dot(row, vector.astype(float))) for row in stored.astype(float)]
    return sorted(range(len(stored)), key=lambda place: -round(similarity[place], 12))[:k]


@pytest.mark.parametrize("k", [1, 7, 500])
def test_few_vectors_are_compared_one_and_all(k: int) -> None:
    stored, queries = vectors(300), vectors(5, seed=1)
    order, arrays = index.index(stored)
    found = nearest(stored, arrays, queries, k)

    assert order.tolist() == list(range(300))
    assert found.tolist() == [by_hand(stored, query, k) for query in queries]


def test_of_equals_the_first_is_nearest() -> None:
    stored = np.repeat(vectors(10), 30, axis=0)

    assert nearest(stored, index.index(stored)[1], stored[:1], 5).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("number", [300, MANY])
def test_a_query_has_the_same_neighbours_alone_and_in_a_batch(number: int) -> None:
    # Many near ties, which single precision cannot tell apart.
    stored = np.repeat(vectors(number // 10), 10, axis=0)
    stored = stored + np.random.default_rng(2).normal(0, 1e-8, stored.shape).astype(np.float32)
    order, arrays = index.index(stored)
    stored, queries = stored[order], vectors(40, seed=1)
    batch = nearest(stored, arrays, queries, 15)

    assert all(
        (nearest(stored, arrays, query[None], 15)[0] == row).all() for query, row in zip(queries, batch, strict=True)
    )


def test_the_cells_hold_each_vector_once_beside_its_centre() -> None:
    stored = vectors(MANY)
    order, arrays = index.index(stored)
    cells = np.repeat(np.arange(len(arrays["centers"])), np.diff(arrays["offsets"]))

    assert sorted(order) == list(range(MANY))
    assert len(arrays["centers"]) == pytest.approx(MANY**0.5, rel=0.2)
    assert ((stored[order] @ arrays["centers"].T).argmax(axis=1) == cells).mean() > 0.999


def test_most_of_the_nearest_of_many_are_found() -> None:
    # As many dimensions as texts have, most of them of little weight.
    spread = np.random.default_rng(3).normal(size=(24, 128)).astype(np.float32) * (0.9 ** np.arange(24))[:, None]
    rows = (vectors(MANY + 50, width=24) @ spread).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order, arrays = index.index(rows[50:])
    stored = rows[50:][order]
    found = nearest(stored, arrays, rows[:50], 10)
    share = np.mean(
        [len({*row} & {*by_hand(stored, query, 10)}) / 10 for query, row in zip(rows[:50], found, strict=True)]
    )

    assert share > 0.9


def test_what_came_later_is_found_too() -> None:
    order, arrays = index.index(vectors(MANY))
    query = vectors(1, seed=5)
    stored = np.concatenate([vectors(MANY)[order], query])

    assert nearest(stored, arrays, query, 3)[0, 0] == MANY


def test_the_same_seed_makes_the_same_index() -> None:
    (one, arrays), (other, again) = index.index(vectors(MANY)), index.index(vectors(MANY))

    assert (one == other).all() and all((arrays[name] == again[name]).all() for name in arrays)


class Angles:
    """Encodes a number as a direction in the plane."""

    def encode(self, texts):
        angles = np.array([float(text) for text in texts])
        return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32).reshape(-1, 2)


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells from 100 vectors on, of which a query looks at a third."""
    monkeypatch.setattr(index, "FEW", 100)
    monkeypatch.setattr(index, "_SCANNED", 100)
    monkeypatch.setattr(index, "_SCANNED_EACH", 1)


@pytest.mark.usefixtures("small_index")
def test_neighbours_with_an_index_grade_as_without() -> None:
    angles = np.linspace(0, 6, 300)
    records = [Record(text=f"{at:.4f}", candidate="a", quality=float(at > 3)) for at in angles]
    learnt = Neighbors(k=5, encoder=Angles()).fit(records)
    quality, _ = learnt.predict(["0.5", "2.5", "3.5", "5.5"], POOL[:1])

    assert len(learnt.fitted_.state["centers"]) > 1
    assert quality[:, 0].round(2).tolist() == [0.08, 0.08, 0.92, 0.92]


@pytest.mark.usefixtures("small_index")
def test_eagle_rates_with_an_index_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    battles = [
        Record(text=f"{at:.3f}", candidate="a", over="b", quality=float(rng.integers(2))) for at in rng.random(400) * 6
    ]
    asked = ["0.1", "2", "5.9"]
    eagles = [Eagle(neighbors=4, encoder=Angles()).fit(battles[:300])]
    monkeypatch.setattr(index, "FEW", 1000)
    eagles.append(Eagle(neighbors=4, encoder=Angles()).fit(battles[:300]))
    for battle in battles[300:]:
        for eagle in eagles:
            eagle.update(battle)

    assert ["centers" in eagle.fitted_.state for eagle in eagles] == [True, False]
    assert eagles[0].predict(asked, POOL)[0] == pytest.approx(eagles[1].predict(asked, POOL)[0], abs=1e-5)


def test_newcomers_have_neighbours_of_their_own() -> None:
    encoder = HashingEncoder(dimensions=32)
    records = [Record(text=f"text {n}", candidate="a", quality=float(n % 2)) for n in range(10)]
    learnt = Neighbors(k=1, encoder=encoder).fit(records)
    learnt.onboard(
        [Record(text="text 3", candidate="b", quality=0.0), Record(text="text 4", candidate="b", quality=1.0)]
    )
    learnt.onboard([Record(text="text 4", candidate="c", quality=0.5)])
    quality, _ = learnt.predict(["text 3", "text 4"], [*POOL, Candidate("c", model=object())])

    assert quality.round(2).tolist() == [[0.75, 0.25, 0.5], [0.25, 0.75, 0.5]]
