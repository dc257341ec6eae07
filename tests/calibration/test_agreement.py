from __future__ import annotations

import numpy as np
import pytest

from router_integrations.calibration import agreement_threshold
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.evaluation import replay
from router_integrations.learning import Record, Table
from router_integrations.strategies import AgreementCascade
from router_integrations.testing.table import Outcome

PAIR = {"small": 1, "other": 1}


def records(*rows: str) -> list[Record]:
    """One query a row; a letter is what a candidate says, and `a` is right."""
    return [
        Record(text=f"query {number}", candidate=name, quality=float(letter == "a"), answer=letter)
        for number, row in enumerate(rows)
        for name, letter in zip(("small", "other", "third"), row, strict=False)
    ]


def samples(*rows: str) -> list[Record]:
    return [
        Record(text=f"query {number}", candidate="small", quality=float(letter == "a"), answer=letter)
        for number, row in enumerate(rows)
        for letter in row
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.0, 1.0), (0.19, 1.0), (0.2, 0.75), (0.39, 0.75), (0.4, 0.5), (0.6, 0.25), (0.9, 0.25)],
)
def test_the_least_share_is_taken_at_which_few_wrong_answers_are_accepted(error: float, expected: float) -> None:
    graded = samples("aaaa", "aaab", "bbbc", "bbac", "bcde")

    assert agreement_threshold(graded, {"small": 4}, error=error) == expected


def test_the_cascade_is_wrong_at_most_so_much_more_often_than_its_last_level() -> None:
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("abc"), p=(0.6, 0.25, 0.15), size=3)) for _ in range(60)]
    level = {"small": 1, "other": 1, "third": 1}
    strong = (rng.random(60) < 0.8).astype(float)
    pool = [Candidate(name, model=name, max_retries=0, input_price=0, output_price=0) for name in (*level, "big")]
    graded = records(*rows)
    table = Table.of(
        [
            *graded,
            *(
                Record(text=f"query {row}", candidate="big", quality=quality, cost=1.0)
                for row, quality in enumerate(strong)
            ),
        ]
    )
    outcomes = [{name: Outcome(text=letter) for name, letter in zip(level, row, strict=True)} for row in rows]
    chosen = []
    for error in (0.02, 0.1, 0.4):
        accept = agreement_threshold(graded, level, error=error)
        done = replay(AgreementCascade(levels=[level, {"big": 1}], accept=accept), table, pool, outcomes=outcomes)
        assert 1 - done.quality.mean() <= 1 - strong.mean() + error
        chosen.append(accept)

    assert chosen[0] > chosen[-1]


def test_the_first_samples_count_and_missing_ones_count_against_agreement() -> None:
    assert agreement_threshold(samples("aaab"), {"small": 3}, error=0.0) == 1.0
    assert agreement_threshold(samples("aa"), {"small": 4}, error=0.0) == 0.5


def test_candidates_may_have_one_vote_each() -> None:
    graded = [*samples("aab"), Record(text="query 0", candidate="other", quality=0.0, answer="b")]
    level = {"small": 3, "other": 1}

    assert agreement_threshold(graded, level, error=0.0, voters="candidates") == 0.5
    assert agreement_threshold([*graded, *records("a")], level, error=0.0) == 0.5


def test_answers_are_read() -> None:
    graded = [
        Record(text="2 + 2?", candidate=name, quality=1.0, answer=text)
        for name, text in (("small", "It is 4"), ("other", "four, so 4"))
    ]

    assert agreement_threshold(graded, PAIR, error=0.0) == 0.5
    assert agreement_threshold(graded, PAIR, error=0.0, read=lambda text: text[-1]) == 1.0


def test_who_is_not_in_the_level_has_no_vote() -> None:
    assert agreement_threshold(records("aab"), PAIR, error=0.0) == 1.0


def test_when_those_who_agree_are_wrong_too_often_it_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"more than 0.1 of the queries get a wrong answer"):
        agreement_threshold(records("bb", "bb", "aa"), PAIR, error=0.1)


@pytest.mark.parametrize("graded", [[], records("a")[:0], [Record(text="x", candidate="big", quality=1.0, answer="a")]])
def test_without_answers_of_the_level_it_says_so(graded: list[Record]) -> None:
    with pytest.raises(ConfigurationError, match=r"no graded answer of \['small', 'other'\]"):
        agreement_threshold(graded, PAIR, error=0.1)


@pytest.mark.parametrize("error", [-0.1, 1.0, float("nan")])
def test_an_error_out_of_range_is_named(error: float) -> None:
    with pytest.raises(ConfigurationError, match=r"error in \[0, 1\) but got"):
        agreement_threshold(records("aa"), PAIR, error=error)
