from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import DomainQuality, Linear
from router_integrations.learning import Record

POOL = [Candidate("solver", model=object()), Candidate("chat", model=object())]


class Compass:
    """Encodes a text as the unit vector at the angle that it names, in degrees."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.radians(np.array([float(text) for text in texts]))
        return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def grades(angle: float, domain: str | None, solver: float, chat: float) -> list[Record]:
    """The grades of both candidates on the query at `angle`."""
    pairs = zip(POOL, (solver, chat), strict=True)
    return [Record(text=str(angle), candidate=one.name, quality=grade, domain=domain) for one, grade in pairs]


# Much is at stake in maths, little in talk.
MATHS = [one for angle in range(20) for one in grades(angle, "maths", 0.9, 0.1)]
TALK = [one for angle in range(90, 110) for one in grades(angle, "talk", 0.4, 0.5)]


def predicted(*queries: str, records: Sequence[Record] = (*MATHS, *TALK), **options: Any) -> NDArray[np.float64]:
    options = {"alpha": 1e9, "domain_alpha": 1e-4, "encoder": Compass(), **options}
    return DomainQuality(**options).fit(records).predict(queries, POOL)[0]


def test_a_query_of_a_known_domain_has_the_mean_grades_of_it() -> None:
    # The overall means count as five more grades beside twenty.
    maths, talk = (20 * own + 5 * (maths + talk) / 2 for own, maths, talk in [(0.9, 0.9, 0.4), (0.5, 0.1, 0.5)])

    quality = predicted("5", "100")

    assert quality[0, 0] == pytest.approx(maths / 25, abs=0.01)
    assert quality[1, 1] == pytest.approx(talk / 25, abs=0.01)


def test_between_two_domains_the_one_with_more_at_stake_decides() -> None:
    quality = predicted("62", domain_alpha=1.0)

    # The solver's mean lies nearer to that of talk, where chat is better, and yet it is chosen.
    assert quality[0, 0] < (0.9 + 0.4) / 2
    assert quality[0].argmax() == 0


def test_lines_tell_queries_of_one_domain_apart() -> None:
    mixed = [one for angle in range(20) for one in grades(angle, "maths", angle / 20, 1 - angle / 20)]

    assert predicted("1", "18", records=[*mixed, *TALK]).argmax(axis=1).tolist() == [1, 1]
    assert predicted("1", "18", records=[*mixed, *TALK], alpha=1e-3).argmax(axis=1).tolist() == [1, 0]


def test_without_domains_it_is_ridge_regression() -> None:
    records = [one for angle in range(0, 120, 3) for one in grades(angle, None, angle / 120, 0.5)]
    line = Linear(alpha=0.5, encoder=Compass()).fit(records)
    queries = ["10", "50", "200"]

    assert predicted(*queries, records=records, alpha=0.5) == pytest.approx(line.predict(queries, POOL)[0], abs=1e-5)


def test_a_candidate_never_graded_in_a_domain_has_its_overall_mean_there() -> None:
    only_maths = [one for one in TALK if one.candidate == "chat"]

    quality = predicted("100", records=[*MATHS, *only_maths])

    assert quality[0] == pytest.approx([0.9, (20 * 0.5 + 5 * 0.3) / 25], abs=0.01)


def test_the_standard_deviation_shrinks_with_records() -> None:
    few, many = (
        DomainQuality(encoder=Compass()).fit(records).predict(["5"], POOL)[1]
        for records in (MATHS[:8] + TALK[:8], MATHS + TALK)
    )

    assert (many < few).all() and (many > 0).all()


@pytest.mark.parametrize("option", ["alpha", "domain_alpha"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_options_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"DomainQuality\.{option}"):
        DomainQuality(**{option: value})
