from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import ClusterRank, KMeansQuality
from router_integrations.estimators.clustering import distances
from router_integrations.learning import Record
from router_integrations.types import Request


class Compass:
    """Encodes a text as the unit vector at the angle that it names, in degrees."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.radians(np.array([float(text) for text in texts]))
        return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def pool(*names: str) -> list[Candidate]:
    return [Candidate(name, model=object()) for name in names]


def graded(name: str, **grades: float) -> list[Record]:
    """One record a grade; ``_10`` is the query at 10 degrees."""
    return [Record(text=text[1:], candidate=name, quality=grade) for text, grade in grades.items()]


EAST_AND_NORTH = [*graded("a", _0=1.0, _1=0.5, _90=0.0, _91=0.1), *graded("b", _0=0.2, _90=0.8, _91=1.0)]


def fitted(**options: Any) -> KMeansQuality:
    return KMeansQuality(**{"clusters": 2, "shrinkage": 0, "encoder": Compass(), **options}).fit(EAST_AND_NORTH)


def test_quality_is_the_mean_grade_of_the_cluster() -> None:
    quality, std = fitted().predict(["3", "85"], pool("a", "b"))

    assert quality == pytest.approx(np.array([[0.75, 0.2], [0.05, 0.9]]))
    assert std[0] == pytest.approx([np.sqrt(0.75 * 0.25 / 3), np.sqrt(0.2 * 0.8 / 2)])


def test_shrinkage_counts_the_overall_mean_as_so_many_grades() -> None:
    quality, _ = fitted(shrinkage=3).predict(["3"], pool("a", "b"))

    assert quality[0] == pytest.approx([(1.5 + 3 * 0.4) / 5, (0.2 + 3 * 2 / 3) / 4])


def test_a_cluster_without_grades_is_worth_the_overall_mean() -> None:
    estimator = fitted().onboard(graded("c", _0=0.6, _2=0.8))

    assert estimator.predict(["90"], pool("c"))[0] == pytest.approx(0.7)


def test_the_nearest_clusters_are_weighed_by_softmax() -> None:
    records = graded("a", _0=1.0, _90=0.0, _180=0.5)
    estimator = KMeansQuality(clusters=3, nearest=2, sharpness=2, shrinkage=0, encoder=Compass()).fit(records)
    # At 30 degrees the cosines to the first two centres are cos 30 and cos 60.
    near, far = np.exp(-2 * (1 - np.cos(np.radians([30, 60]))))

    assert estimator.predict(["30"], pool("a"))[0] == pytest.approx(near / (near + far), abs=1e-6)


def test_without_sharpness_the_clusters_read_weigh_the_same() -> None:
    quality, _ = fitted(nearest=9, sharpness=0).predict(["3"], pool("a", "b"))

    assert quality[0] == pytest.approx([0.4, 0.55])


def test_one_cluster_is_the_overall_mean() -> None:
    quality, _ = fitted(clusters=1).predict(["3", "170"], pool("a", "b"))

    assert quality == pytest.approx(np.array([[0.4, 2 / 3]] * 2))


def test_alike_queries_make_fewer_clusters() -> None:
    records = [*graded("a", _0=1.0, _360=0.0, _720=0.5, _90=0.2), *graded("b", _0=1.0)]
    estimator = KMeansQuality(clusters=50, encoder=Compass()).fit(records)

    assert estimator.fitted_ is not None
    assert estimator.fitted_.state["counts"].tolist() in ([[3, 1], [1, 0]], [[1, 0], [3, 1]])


def test_a_newcomer_is_counted_without_moving_anything_else() -> None:
    estimator = fitted()
    before = estimator.fitted_
    assert before is not None
    quality, _ = estimator.predict(["3", "85"], pool("a", "b"))
    estimator.onboard(graded("c", _2=0.3, _4=0.5, _88=1.0))
    after, _ = estimator.predict(["3", "85"], pool("a", "b", "c"))

    assert after[:, :2] == pytest.approx(quality)
    assert after[:, 2] == pytest.approx([0.4, 1.0])
    assert (before.names, before.state["sums"].shape) == (("a", "b"), (2, 2))
    assert estimator.fitted_ is not None
    assert estimator.fitted_.state["centers"] is before.state["centers"]


def test_onboarding_who_is_known_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"\['a'\]"):
        fitted().onboard(graded("a", _2=0.0))


def test_a_newcomer_brings_the_length_of_its_answers() -> None:
    record = Record(text="2", candidate="c", quality=1.0, output_tokens=7)
    (estimate,) = (
        fitted()
        .onboard([record])
        .estimate(Request(text="3"), [Candidate("c", model=object(), input_price=0, output_price=2)])
    )

    assert estimate.cost == 14


COMPASS_ROSE = KMeansQuality(clusters=4, shrinkage=0, encoder=Compass()).fit(
    graded("a", _0=1, _90=0, _180=0.5, _270=0.2)
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 40), st.sampled_from("xyz"), st.floats(0, 1)), min_size=1, max_size=30))
def test_a_newcomer_is_worth_its_mean_wherever_it_was_graded(attempts: list[tuple[int, str, float]]) -> None:
    more = [
        Record(text=str(angle), candidate=name, quality=grade, query_id=str(at))
        for at, (angle, name, grade) in enumerate(attempts)
    ]
    names = sorted({name for _, name, _ in attempts})
    means = [np.mean([grade for _, name, grade in attempts if name == wanted]) for wanted in names]
    quality, _ = copy(COMPASS_ROSE).onboard(more).predict(["5"], pool(*names))

    assert quality[0] == pytest.approx(means, abs=1e-5)


def test_the_seed_decides() -> None:
    records = [Record(text=str(angle), candidate="a", quality=angle / 360) for angle in range(0, 360, 7)]
    one, two = (KMeansQuality(clusters=5, seed=3, encoder=Compass()).fit(records) for _ in range(2))

    assert (one.predict(["5", "99"], pool("a"))[0] == two.predict(["5", "99"], pool("a"))[0]).all()


@pytest.mark.parametrize(
    ("option", "value"),
    [("clusters", 0), ("nearest", 0), ("sharpness", -1), ("sharpness", float("inf")), ("shrinkage", -0.1)],
)
def test_an_option_out_of_range_is_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"KMeansQuality\.{option} must be .* but got {value!r}"):
        KMeansQuality(**{option: value})  # type: ignore[arg-type]


def test_preferences_alone_are_refused() -> None:
    record = Record(text="0", candidate="a", over="b", quality=1)
    with pytest.raises(ConfigurationError, match="fit got no graded attempt"):
        KMeansQuality(encoder=Compass()).fit([record])
    with pytest.raises(ConfigurationError, match="onboard got no graded attempt"):
        fitted().onboard([record])


def test_nobody_can_be_onboarded_before_fit() -> None:
    with pytest.raises(ConfigurationError, match=r"call fit\(records\) before onboard"):
        KMeansQuality().onboard(EAST_AND_NORTH)


def test_distances_are_half_the_squared_euclidean_ones_but_for_what_all_share() -> None:
    rng = np.random.default_rng(0)
    vectors, centers = (rng.normal(size=(size, 3)).astype(np.float32) for size in (5, 4))
    found = distances(vectors, centers)
    expected = ((vectors[:, None] - centers) ** 2).sum(axis=2) / 2

    assert found - found[:, :1] == pytest.approx(expected - expected[:, :1], abs=1e-5)


def test_ranks_are_read_in_place_of_means() -> None:
    records = [*graded("a", _0=0.9, _90=0.1), *graded("b", _0=0.8, _90=0.2), *graded("c", _0=0.0, _90=0.2)]
    estimator = ClusterRank(clusters=2, nearest=1, encoder=Compass()).fit(records)

    assert estimator.predict(["1", "89"], pool("a", "b", "c"))[0] == pytest.approx(
        np.array([[1, 1 / 2, 1 / 3], [1 / 3, 1, 1]])
    )


def test_ranks_of_several_clusters_are_weighed() -> None:
    records = [*graded("a", _0=0.9, _90=0.1), *graded("b", _0=0.8, _90=0.2)]
    estimator = ClusterRank(clusters=2, nearest=2, sharpness=0, encoder=Compass()).fit(records)

    assert estimator.predict(["1"], pool("a", "b"))[0][0] == pytest.approx([0.75, 0.75])


def test_one_more_candidate_would_move_all_ranks() -> None:
    estimator = ClusterRank(clusters=1, encoder=Compass()).fit(graded("a", _0=0.5))

    with pytest.raises(ConfigurationError, match="ClusterRank learns all candidates together"):
        estimator.onboard(graded("c", _2=0.9))
    assert estimator.fit([*graded("a", _0=0.5), *graded("c", _0=0.9)]).predict(["1"], pool("a", "c"))[0] == (
        pytest.approx(np.array([[0.5, 1.0]]))
    )
