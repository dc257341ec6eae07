from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Matching
from router_integrations.learning import Record
from router_integrations.resampling import best_of_n
from router_integrations.types import Request

TWICE = Candidate("small x2", model=object(), input_price=1e-6, output_price=4e-6)


def sample(
    answer: str, *, text: str = "2+2?", tokens: int | None = 10, latency: float | None = 1.0
) -> tuple[Record, str]:
    record = Record(
        text=text,
        candidate="small",
        quality=float(answer.strip() == "four"),
        cost=9.0,
        latency=latency,
        input_tokens=100,
        output_tokens=tokens,
        domain="maths",
        split="train",
    )
    return record, answer


def longest(query: str, answer: str) -> float:
    assert query == "2+2?"
    return len(answer)


def test_the_reward_chooses_the_answer() -> None:
    samples = [sample("4!"), sample("four"), sample("fifty")]
    records = best_of_n(samples, n=2, candidate=TWICE, reward=longest)

    assert [one.quality for one in records] == [1.0, 0.0, 0.0]


def test_by_default_the_answer_given_most_often_wins_and_the_first_of_a_tie() -> None:
    samples = [sample("five"), sample("four"), sample(" four\n")]
    thrice = best_of_n(samples, n=3, candidate=TWICE)
    twice = best_of_n(samples, n=2, candidate=TWICE)

    assert [one.quality for one in thrice] == [1.0]
    assert [one.quality for one in twice] == [0.0, 0.0, 1.0]


def test_a_record_reads_the_prompt_once_and_writes_every_answer() -> None:
    samples = [sample("four", tokens=10, latency=1.0), sample("five", tokens=30, latency=3.0)]
    (record,) = best_of_n(samples, n=2, candidate=TWICE)

    assert (record.input_tokens, record.output_tokens, record.latency) == (100, 40, 3.0)
    assert record.cost == pytest.approx(100e-6 + 40 * 4e-6)
    assert (record.candidate, record.text, record.domain, record.split) == ("small x2", "2+2?", "maths", "train")


def test_what_is_unknown_of_one_answer_is_unknown_of_all() -> None:
    (record,) = best_of_n([sample("four"), sample("five", tokens=None, latency=None)], n=2, candidate=TWICE)

    assert (record.output_tokens, record.latency, record.cost) == (None, None, None)


def test_without_prices_the_cost_is_unknown() -> None:
    free = Candidate("small x2", model=object())
    (record,) = best_of_n([sample("four"), sample("five")], n=2, candidate=free)

    assert record.cost is None


def test_few_ways_to_draw_are_taken_once_each() -> None:
    samples = [sample(str(number), tokens=2**number) for number in range(5)]
    records = best_of_n(samples, n=2, candidate=TWICE, reward=longest)

    assert [one.output_tokens for one in records] == [2**a + 2**b for a, b in combinations(range(5), 2)]


def test_many_ways_to_draw_are_sampled_without_taking_an_answer_twice() -> None:
    samples = [sample(str(number), tokens=2**number) for number in range(12)]
    records = best_of_n(samples, n=3, candidate=TWICE, resamples=200)
    drawn = [one.output_tokens or 0 for one in records]
    counts = Counter(place for tokens in drawn for place in range(12) if tokens >> place & 1)

    assert len(drawn) == 200
    assert {bin(tokens).count("1") for tokens in drawn} == {3}
    # 50 draws of each are expected, with a deviation of 6.
    assert all(26 <= counts[place] <= 74 for place in range(12))


def test_the_seed_decides_the_draws() -> None:
    samples = [sample(str(number), tokens=2**number) for number in range(12)]
    one, same, other = (best_of_n(samples, n=3, candidate=TWICE, seed=seed) for seed in (1, 1, 2))

    assert one == same != other


def test_a_query_with_too_few_answers_is_left_out() -> None:
    samples = [sample("four"), sample("four", text="1+3?"), sample("five", text="1+3?")]

    assert [one.text for one in best_of_n(samples, n=2, candidate=TWICE)] == ["1+3?"]


def test_the_draws_are_samples_to_learn_from_and_cost_all_answers() -> None:
    drawn = best_of_n([sample("four"), sample("four"), sample("five")], n=2, candidate=TWICE)
    large = Record(text="2+2?", candidate="large", quality=1.0)
    estimator = Matching(reference="large", encoder=HashingEncoder(dimensions=8)).fit([*drawn, large])
    request = Request(text="2+2?", input_tokens=100)
    (estimate,) = estimator.estimate(request, [TWICE])

    # Both pairs with two answers alike match, as does the tie whose first is right.
    assert [one.quality for one in drawn] == [1.0, 1.0, 1.0]
    assert estimate.quality > 0.6
    assert estimate.cost == pytest.approx(100e-6 + 20 * 4e-6)


@pytest.mark.parametrize("options", [{"n": 0}, {"n": 2, "resamples": 0}])
def test_numbers_out_of_range_are_refused(options) -> None:
    with pytest.raises(ConfigurationError, match="at least 1 but got 0"):
        best_of_n([sample("four")], candidate=TWICE, **options)


def test_answers_of_two_models_are_refused() -> None:
    other = Record(text="2+2?", candidate="large", quality=1.0)

    with pytest.raises(ConfigurationError, match=r"\['large', 'small'\]"):
        best_of_n([sample("four"), (other, "four")], n=2, candidate=TWICE)
