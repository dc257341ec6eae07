from __future__ import annotations

import math

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import AnswerScorer, QuantileClassifier, TokenConfidence
from router_integrations.estimators.scorers import token_features
from router_integrations.evaluation.metrics import auroc
from router_integrations.learning import Record
from router_integrations.types import Request
from tests.estimators.answered import QUERY, SMALL, reply


def one_bad_token(number: int, *, seed: int) -> list[Record]:
    """Answers of many lengths, wrong when any token is unlikely; their mean log-probabilities say little."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(number):
        values = -rng.uniform(0, rng.uniform(0.1, 1.5), rng.integers(5, 60))
        if wrong := rng.random() < 0.5:
            values[0] = -3.0
        found.append(
            Record(text=f"{seed} {place}", candidate="small", quality=1.0 - wrong, logprobs=tuple(values.tolist()))
        )
    return found


def scores(estimator, records: list[Record]) -> list[float]:
    candidate = Candidate("small", model=object())
    return [
        estimator.confidence(
            Request(text=one.text), candidate, [reply(one.answer or "", candidate, logprobs=one.logprobs)]
        )
        for one in records
    ]


def test_quantiles_see_the_token_that_the_mean_hides() -> None:
    seen, new = one_bad_token(200, seed=0), one_bad_token(300, seed=1)
    grades = [record.quality for record in new]

    assert auroc(scores(QuantileClassifier().fit(seen), new), grades) > 0.95
    assert auroc(scores(TokenConfidence(), new), grades) < 0.85


def test_features_are_quantiles_of_log_odds_and_the_length() -> None:
    p = np.array([0.9, 0.5, 0.99])

    found = token_features(reply(logprobs=tuple(np.log(p).tolist())))

    levels = [0, 0.01, 0.05, *np.arange(0.1, 1.01, 0.1)]
    assert found == pytest.approx([*np.quantile(np.log(p / (1 - p)), levels), math.log(4)])
    assert np.abs(token_features(reply(logprobs=(0.0, -math.inf)))).max() < 25


def test_the_scorer_reads_question_and_answer() -> None:
    def asked(number: int, start: int) -> list[Record]:
        pairs = [("capital", "Paris"), ("sum", "4"), ("capital", "4"), ("sum", "Paris")] * number
        return [
            Record(text=f"{query} {start + i}", candidate="small", quality=float(i % 4 == 0), answer=f"{answer} it is")
            for i, (query, answer) in enumerate(pairs)
        ]

    scorer = AnswerScorer(encoder=HashingEncoder(dimensions=64), alpha=0.01).fit(asked(30, 0))
    found = np.array(scores(scorer, asked(10, 1000))).reshape(-1, 4)

    assert (found.argmax(axis=1) == 0).all()


def test_the_scorer_uses_log_probabilities_where_there_are_some() -> None:
    seen, new = one_bad_token(200, seed=0), one_bad_token(200, seed=1)
    scorer = AnswerScorer(encoder=HashingEncoder(dimensions=16)).fit(seen)

    assert auroc(scores(scorer, new), [record.quality for record in new]) > 0.9
    assert 0 <= scorer.confidence(QUERY, SMALL, [reply("4")]) <= 1


@pytest.mark.parametrize("logprob", [-0.1, -0.3, -0.5, -0.7])
def test_what_is_always_alike_changes_nothing(logprob) -> None:
    seen = [
        Record(text="q", candidate="a", query_id=str(i), quality=float(i % 4 == 0), logprobs=(logprob,))
        for i in range(76)
    ]
    scorer = QuantileClassifier().fit(seen)

    assert scorer.fitted_ is not None and not scorer.fitted_["factor"].any()
    assert scorer.confidence(QUERY, SMALL, [reply("4", logprobs=(-5.0,))]) == pytest.approx(0.25, abs=0.01)


def test_each_candidate_has_weights_of_its_own_and_a_new_one_those_of_all() -> None:
    def seen(candidate: str, sign: float) -> list[Record]:
        return [
            Record(text=str(i), candidate=candidate, quality=float(sign * (i % 2 - 0.5) > 0), logprobs=(-1.0 - i % 2,))
            for i in range(40)
        ]

    scorer = QuantileClassifier().fit([*seen("a", 1.0), *seen("b", -1.0)])
    pool = [Candidate(name, model=object()) for name in ("a", "b", "new")]

    found = [scorer.confidence(QUERY, one, [reply("4", one, logprobs=(-2.0,))]) for one in pool]

    assert found[0] > 0.9 and found[1] < 0.1 and found[2] == pytest.approx(0.5, abs=0.01)


def test_fit_forgets_what_was_known() -> None:
    seen = one_bad_token(100, seed=0)
    opposite = [
        Record(text=one.text, candidate="small", quality=1 - one.quality, logprobs=one.logprobs) for one in seen
    ]

    again = QuantileClassifier().fit(opposite).fit(seen)

    assert scores(again, seen) == pytest.approx(scores(QuantileClassifier().fit(seen), seen))


@pytest.mark.parametrize("kind", [QuantileClassifier, AnswerScorer])
def test_a_negative_weight_is_refused(kind) -> None:
    with pytest.raises(ConfigurationError, match=f"{kind.__name__}.alpha"):
        kind(alpha=-1.0)
