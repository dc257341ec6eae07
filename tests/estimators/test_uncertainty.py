from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations.errors import ConfigurationError
from router_integrations.estimators import TokenConfidence, TopTokenConfidence
from router_integrations.estimators.uncertainty import quantiles
from tests.estimators.answered import QUERY, SMALL, reply

LOGPROBS = st.lists(st.floats(-50, 0), min_size=1, max_size=30)
PLACES = st.lists(st.lists(st.floats(-30, 0), min_size=2, max_size=5), min_size=1, max_size=6)


def confidence(logprobs, **options):
    return TokenConfidence(**options).confidence(QUERY, SMALL, [reply("4", logprobs=tuple(logprobs))])


def top(places, **options):
    given_ = tuple(tuple(place) for place in places)
    return TopTokenConfidence(**options).confidence(QUERY, SMALL, [reply("4", top_logprobs=given_)])


@given(LOGPROBS)
def test_the_mean_is_the_inverse_of_the_perplexity(logprobs) -> None:
    perplexity = math.prod(math.exp(-value) ** (1 / len(logprobs)) for value in logprobs)

    assert confidence(logprobs) == pytest.approx(1 / perplexity)


@given(LOGPROBS)
def test_the_sum_is_the_probability_of_the_answer(logprobs) -> None:
    assert confidence(logprobs, aggregate="sum") == pytest.approx(
        math.prod(map(math.exp, logprobs)), rel=1e-9, abs=1e-300
    )


@given(LOGPROBS, st.floats(0, 1))
def test_the_quantile_is_that_of_numpy(logprobs, quantile) -> None:
    expected = math.exp(np.quantile(logprobs, quantile))

    assert confidence(logprobs, aggregate="quantile", quantile=quantile) == pytest.approx(expected, rel=1e-9)
    assert confidence(logprobs, aggregate="quantile") == pytest.approx(math.exp(min(logprobs)))


@given(LOGPROBS)
def test_the_least_likely_token_the_mean_and_the_likeliest_stand_in_order(logprobs) -> None:
    least, mean, most = (
        confidence(logprobs, aggregate="quantile"),
        confidence(logprobs),
        confidence(logprobs, aggregate="quantile", quantile=1.0),
    )

    assert least <= mean * (1 + 1e-9) and mean <= most * (1 + 1e-9)
    assert confidence(logprobs, aggregate="sum") <= least * (1 + 1e-9)


@given(LOGPROBS)
def test_the_order_of_tokens_does_not_matter(logprobs) -> None:
    for aggregate in ("mean", "sum", "quantile"):
        assert confidence(logprobs, aggregate=aggregate) == confidence(logprobs[::-1], aggregate=aggregate)


@pytest.mark.parametrize("aggregate", ["mean", "sum", "quantile"])
def test_odd_numbers_of_providers_are_survived(aggregate) -> None:
    assert confidence((-math.inf, -0.5), aggregate=aggregate) == 0.0
    assert confidence((math.nan, -0.5, 1e-7), aggregate=aggregate) in (math.exp(-0.25), math.exp(-0.5))
    assert confidence((math.nan,), aggregate=aggregate) is None
    assert confidence((), aggregate=aggregate) is None


def test_quantiles_of_one_number_are_that_number() -> None:
    assert quantiles([-0.5], [0, 0.3, 1]) == [-0.5, -0.5, -0.5]


@given(PLACES)
def test_the_margin_is_between_the_two_likeliest(places) -> None:
    margins = [np.exp(first) - np.exp(second) for first, second, *_ in (sorted(place)[::-1] for place in places)]

    assert top(places) == pytest.approx(np.mean(margins), abs=1e-12)
    assert top(places, aggregate="min") == pytest.approx(min(margins), abs=1e-12)


@given(PLACES)
def test_the_negentropy_is_one_less_the_entropy_over_log_k(places) -> None:
    expected = []
    for place in places:
        share = np.exp(place) / np.exp(place).sum()
        expected.append(1 + (share * np.log(share)).sum() / np.log(len(place)))

    assert top(places, score="negentropy") == pytest.approx(np.clip(np.mean(expected), 0, 1), abs=1e-9)
    assert top(places, score="negentropy", aggregate="min") == pytest.approx(max(min(expected), 0), abs=1e-9)


def test_an_impossible_alternative_is_no_competition() -> None:
    assert top([(0.0, -math.inf)]) == 1.0
    assert top([(0.0, -math.inf)], score="negentropy") == 1.0


def test_places_with_one_token_do_not_count() -> None:
    assert top([(0.0,), (math.log(0.75), math.log(0.25)), ()]) == pytest.approx(0.5)
    assert top([(0.0,)]) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: TokenConfidence(aggregate="median"),
        lambda: TokenConfidence(quantile=-0.1),
        lambda: TokenConfidence(quantile=math.nan),
        lambda: TopTokenConfidence(score="entropy"),
        lambda: TopTokenConfidence(aggregate="max"),
    ],
)
def test_options_out_of_range_are_refused(make) -> None:
    with pytest.raises(ConfigurationError):
        make()
