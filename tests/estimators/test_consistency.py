from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Agreement, SampleSimilarity, SelfConsistency, SemanticEntropy
from router_integrations.estimators.consistency import clusters, normalized
from tests.estimators.answered import LARGE, QUERY, SMALL, THIRD, reply

TEXTS = st.lists(st.sampled_from(["4", "5", "6", "it is 4", "it is 5"]), min_size=2, max_size=8)


def same_length(premise: str, hypothesis: str) -> bool:
    return len(premise) == len(hypothesis)


def samples(texts, **fields):
    return [reply(text, **fields) for text in texts]


@given(TEXTS)
def test_self_consistency_is_the_largest_share_of_votes(texts) -> None:
    expected = max(texts.count(text) for text in texts) / len(texts)

    assert SelfConsistency().confidence(QUERY, SMALL, samples(texts)) == pytest.approx(expected)


@given(TEXTS)
def test_its_answer_is_the_first_with_most_votes(texts) -> None:
    attempts = samples(texts)
    winner = SelfConsistency().answer(SMALL, attempts)
    most = max(Counter(texts).values())

    assert winner is next(one for one in attempts if texts.count(one.text) == most)


def test_votes_are_counted_after_normalisation_or_the_user_s_reading() -> None:
    attempts = samples(["So it is 4.", "4", " 4. ", "I'd say 4"])

    assert SelfConsistency().confidence(QUERY, SMALL, attempts) == 0.5
    assert SelfConsistency(read=lambda text: text.strip(" .")[-1]).confidence(QUERY, SMALL, attempts) == 1.0


def test_tool_calls_are_compared_by_name_and_arguments() -> None:
    calls = [{"name": "f", "args": {"a": 1, "b": 2}, "id": "1"}, {"name": "f", "args": {"b": 2, "a": 1}, "id": "2"}]
    other = {"name": "f", "args": {"a": 2}, "id": "3"}
    attempts = [reply(tool_calls=(call,)) for call in (*calls, other, other)]

    assert SelfConsistency().confidence(QUERY, SMALL, attempts) == 0.5


@pytest.mark.parametrize("estimator", [SelfConsistency(), SemanticEntropy(), SampleSimilarity(), Agreement()])
def test_one_answer_is_no_vote(estimator) -> None:
    assert estimator.confidence(QUERY, SMALL, [reply("4", logprobs=(-0.1,))]) is None


@given(TEXTS)
def test_discrete_semantic_entropy_is_that_of_the_shares(texts) -> None:
    shares = np.array(list(Counter(texts).values())) / len(texts)
    expected = 1 + (shares * np.log(shares)).sum() / np.log(len(texts))

    found = SemanticEntropy().confidence(QUERY, SMALL, samples(texts))

    assert found == pytest.approx(max(expected, 0), abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-5, 0), st.floats(-5, 0)), min_size=2, max_size=6))
def test_semantic_entropy_weighs_samples_by_their_length_normalised_probability(given_) -> None:
    attempts = [reply(text, logprobs=logprobs) for text, *logprobs in given_]
    weights = np.array([math.exp((first + second) / 2) for _, first, second in given_])
    mass = Counter()
    for (text, *_), weight in zip(given_, weights / weights.sum(), strict=True):
        mass[text] += weight
    expected = 1 + sum(share * math.log(share) for share in mass.values()) / math.log(len(given_))

    found = SemanticEntropy(likelihood=True).confidence(QUERY, SMALL, attempts)

    assert found == pytest.approx(max(expected, 0), abs=1e-9)


def test_without_log_probabilities_nothing_can_be_weighed() -> None:
    assert SemanticEntropy(likelihood=True).confidence(QUERY, SMALL, samples("45")) is None


@given(st.lists(st.text(alphabet="ab", max_size=4), max_size=8))
def test_an_equivalence_is_clustered_into_its_classes(texts) -> None:
    labels = clusters(texts, same_length)

    for (one, first), (other, second) in itertools.combinations(zip(labels, texts, strict=True), 2):
        assert (one == other) == (len(first) == len(second))


def test_entailment_must_hold_both_ways() -> None:
    def entails(premise: str, hypothesis: str) -> bool:
        return hypothesis in premise

    assert clusters(["Paris, France", "Paris", "Paris"], entails) == [0, 1, 1]


def test_an_encoder_clusters_by_cosine() -> None:
    encoder, texts = HashingEncoder(), ["the capital is Paris", "the capital is paris!", "boil two eggs"]

    assert clusters(texts, encoder, threshold=0.9) == [0, 0, 1]
    assert clusters(texts, encoder, threshold=-1.0) == [0, 0, 0]
    assert clusters([], encoder) == []
    assert SemanticEntropy(same=encoder).confidence(QUERY, SMALL, samples(texts)) == pytest.approx(
        1 + (2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(3)
    )


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=3), min_size=2, max_size=5))
def test_lexical_similarity_is_the_mean_jaccard_of_two(words) -> None:
    pairs = [(set(one), set(other)) for one, other in itertools.combinations(words, 2)]
    expected = np.mean([len(one & other) / len(one | other) if one | other else 1.0 for one, other in pairs])

    found = SampleSimilarity().confidence(QUERY, SMALL, samples(" ".join(one) for one in words))

    assert found == pytest.approx(expected)


def test_similarity_by_an_encoder_is_the_mean_cosine() -> None:
    texts, encoder = ["sort a list", "sort the list", "boil an egg"], HashingEncoder()
    one, two, three = encoder.encode(texts)

    found = SampleSimilarity(encoder=encoder).confidence(QUERY, SMALL, samples(texts))

    assert found == pytest.approx(np.mean([max(one @ two, 0), max(one @ three, 0), max(two @ three, 0)]), abs=1e-6)


def test_agreement_counts_the_last_answer_of_each_candidate() -> None:
    attempts = [reply("5", SMALL), reply("4", SMALL), reply("4.", LARGE), reply("6", THIRD)]

    found = [Agreement().confidence(QUERY, one, attempts) for one in (SMALL, LARGE, THIRD)]

    assert found == pytest.approx([2 / 3, 2 / 3, 1 / 3])


def test_several_answers_of_one_candidate_are_no_agreement() -> None:
    assert Agreement().confidence(QUERY, SMALL, samples("44")) is None


@given(st.text(max_size=50))
def test_normalising_twice_changes_nothing_for_plain_text(text) -> None:
    plain = "".join(sign for sign in text if sign.isascii())

    assert normalized(normalized(plain)) == normalized(plain)


@pytest.mark.parametrize("options", [{"same": "exact"}, {"same": 3}, {"threshold": 1.5}])
@pytest.mark.parametrize("kind", [SelfConsistency, SemanticEntropy, Agreement])
def test_options_out_of_range_are_refused(kind, options) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        kind(**options)
