from __future__ import annotations

import math

import numpy as np
import pytest

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Difficulty, Evidence
from router_integrations.learning import Record
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import CascadeRouting
from router_integrations.testing import checks
from router_integrations.testing.contracts import EstimatorContract, StrategyContract
from router_integrations.types import Request, Utility
from tests.estimators.answered import QUERY, reply

A, B, C, NEW = (Candidate(name, model=object(), strength=0.5) for name in ("a", "b", "c", "new"))
POOL = [A, B, C]
SHARES = {"a": 0.5, "b": 0.6, "c": 0.9}


def answered(number: int, *, seed: int = 0, names: str = "abc") -> list[Record]:
    """Answers to queries of which each candidate knows its share; who does not know says something of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(number):
        truth = rng.integers(10**6, 10**7)
        for name in names:
            right = rng.random() < SHARES[name]
            said = f"{truth if right else rng.integers(10**6, 10**7)}"
            logprob = -rng.exponential(0.1 if right else 0.5)
            found.append(Record(text=f"query {place}", candidate=name, quality=right, answer=said, logprobs=(logprob,)))
    return found


TRUTH, GUESS = "1000000", "2345678"
LEARNT = Evidence(alpha=math.inf).fit(answered(300))
READS = Evidence(encoder=HashingEncoder(dimensions=8)).fit(answered(300))


class TestBeforeFit(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Evidence:
        return Evidence()


class TestAfterFit(EstimatorContract):
    @pytest.fixture(params=[LEARNT, READS, Evidence().fit(answered(1))])
    def estimator(self, request: pytest.FixtureRequest) -> Evidence:
        return request.param


class TestCascadeRoutingByIt(StrategyContract):
    @pytest.fixture
    def strategy(self) -> CascadeRouting:
        return CascadeRouting(estimator=LEARNT)


def qualities(estimator: Evidence, attempts, pool=POOL) -> list[float]:
    return [one.quality for one in estimator.estimate(QUERY, pool, attempts)]


def test_who_agrees_with_another_is_more_likely_right_and_who_stands_alone_less() -> None:
    alone = qualities(LEARNT, [reply(TRUTH, A, logprobs=(-0.2,))])[0]
    agreed = qualities(LEARNT, [reply(TRUTH, A, logprobs=(-0.2,)), reply(TRUTH, B, logprobs=(-0.2,))])[0]
    against = qualities(LEARNT, [reply(TRUTH, A, logprobs=(-0.2,)), reply(GUESS, B, logprobs=(-0.2,))])[0]

    assert agreed > 0.95 and agreed > alone + 0.2 and against < alone


def test_the_vote_is_better_than_any_of_the_voters() -> None:
    by_query: dict[str, list[Record]] = {}
    for record in answered(600, seed=1, names="ab"):
        by_query.setdefault(record.query_id, []).append(record)
    right = {"vote": 0.0, "a": 0.0, "b": 0.0}
    for records in by_query.values():
        attempts = [
            reply(record.answer or "", one, logprobs=record.logprobs)
            for record, one in zip(records, POOL, strict=False)
        ]
        found = qualities(LEARNT, attempts, POOL[:2])
        right["vote"] += records[int(np.argmax(found))].quality
        for record in records:
            right[record.candidate] += record.quality

    assert right["vote"] > max(right["a"], right["b"]) + 30


def test_probabilities_are_calibrated() -> None:
    found = []
    for record in answered(600, seed=2, names="b"):
        found.append((qualities(LEARNT, [reply(record.answer or "", B, logprobs=record.logprobs)])[1], record.quality))
    sure, grade = np.array(found).T

    assert abs(sure.mean() - grade.mean()) < 0.05
    for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 1.0)):
        here = (sure >= low) & (sure < high)
        assert here.sum() > 30 and abs(sure[here].mean() - grade[here].mean()) < 0.1


def test_before_any_answer_each_is_expected_to_do_as_well_as_it_did() -> None:
    assert qualities(LEARNT, []) == pytest.approx([SHARES[one.name] for one in POOL], abs=0.06)


def test_a_sure_answer_raises_what_is_expected_of_the_others_when_queries_differ_in_difficulty() -> None:
    easy = [
        Record(text=str(i), candidate=name, quality=1.0, answer="x", logprobs=(-0.01,))
        for i in range(100)
        for name in "ab"
    ]
    hard = [
        Record(text=f"hard {i}", candidate=name, quality=0.0, answer=f"{name} {i}", logprobs=(-2.0,))
        for i in range(100)
        for name in "ab"
    ]
    evidence = Evidence(alpha=math.inf).fit([*easy, *hard])

    sure, unsure = (qualities(evidence, [reply("x", A, logprobs=(value,))])[1] for value in (-0.01, -2.0))
    assert sure > 0.8 and unsure < 0.2


def test_one_that_never_changes_the_best_has_nothing_to_move() -> None:
    same = [
        Record(text=str(i), candidate=name, quality=float(i % 2), answer="x", logprobs=(-0.1,))
        for i in range(100)
        for name in "ab"
    ]
    estimates = Evidence(alpha=math.inf).fit(same).estimate(QUERY, POOL[:2], [reply("x", A, logprobs=(-0.1,))])

    assert estimates[0].std == 0 and estimates[1].std < 0.1


def test_costs_of_those_ahead_are_the_priors_and_of_those_behind_what_they_were() -> None:
    attempts = [reply(TRUTH, A, logprobs=(-0.2,), cost=0.25, latency=2.0)]
    priced = Candidate("b", model=object(), input_price=1e-6, output_price=1e-6)

    first, second = LEARNT.estimate(QUERY, [A, priced], attempts)

    assert (first.cost, first.latency, first.std) == (0.25, 2.0, 0.0)
    assert second.cost == Difficulty().estimate(QUERY, [priced])[0].cost is not None


def test_a_candidate_never_seen_is_taken_for_one_like_the_others() -> None:
    found = qualities(LEARNT, [], [*POOL, NEW])
    told = qualities(LEARNT, [reply(TRUTH, A, logprobs=(-0.2,)), reply(TRUTH, NEW, logprobs=(-0.2,))], [A, NEW])

    assert min(found[:3]) < found[3] < max(found[:3])
    assert min(told) > 0.9


def test_candidates_need_not_have_answered_the_same_queries_nor_with_log_probabilities() -> None:
    seen = [one for place, one in enumerate(answered(300)) if place % 4]
    bare = [Record(text=one.text, candidate=one.candidate, quality=one.quality, answer=one.answer) for one in seen]

    for records in (seen, bare):
        evidence = Evidence(encoder=HashingEncoder(dimensions=8)).fit(records)
        assert qualities(evidence, [reply(TRUTH, A), reply(TRUTH, B)])[0] > 0.85


def test_one_candidate_alone_can_be_learnt() -> None:
    evidence = Evidence(alpha=math.inf).fit(answered(200, names="b"))

    low, high = (qualities(evidence, [reply("so", B, logprobs=(value,))])[1] for value in (-1.5, -0.01))
    assert low < 0.45 < 0.6 < high


def test_infinite_log_probabilities_count_as_the_furthest_seen() -> None:
    far = [-math.inf if place % 2 else 0.0 for place in range(200)]
    seen = [
        Record(text=str(place), candidate="a", quality=float(value == 0), answer="x", logprobs=(value,))
        for place, value in enumerate(far)
    ]
    found = [
        qualities(Evidence(alpha=math.inf).fit([*seen, *answered(100)]), [reply("x", A, logprobs=(value,))])[0]
        for value in (-math.inf, 0.0)
    ]

    assert found[0] < 0.3 < 0.7 < found[1]


def test_read_says_what_is_the_same() -> None:
    seen = [
        Record(text=one.text, candidate=one.candidate, quality=one.quality, answer=f"{one.answer} {place} or so")
        for place, one in enumerate(answered(300))
    ]
    evidence = Evidence(read=lambda text: text.split()[0], alpha=math.inf).fit(seen)

    same, other = (
        qualities(evidence, [reply("1000001 5 times", A), reply(f"100000{number} 5 or so", B)])[0] for number in (1, 2)
    )
    assert same > 0.9 > other


def test_what_an_answer_says_counts_where_it_tells() -> None:
    seen = [
        Record(
            text=str(i), candidate="a", quality=float(i % 2), answer="no, nothing happens" if i % 2 else "you will die"
        )
        for i in range(200)
    ]
    evidence = Evidence(alpha=0.1).fit(seen)

    assert qualities(evidence, [reply("no, nothing at all", A)])[0] > 0.8
    assert qualities(evidence, [reply("you will go blind", A)])[0] < 0.2


def test_cascade_routing_stops_when_two_agree_and_asks_on_when_they_differ() -> None:
    pool = tuple(
        Candidate(one.name, model=object(), input_price=price, output_price=price)
        for one, price in zip(POOL, (1e-7, 2e-7, 5e-6), strict=True)
    )
    strategy = CascadeRouting(estimator=LEARNT, utility=Utility(enough=1, per_usd=40))
    request = Request(text="What is it?", input_tokens=1000, candidates=pool)

    def after(*texts: str):
        return strategy.decide(
            request, [reply(text, one, logprobs=(-0.2,)) for text, one in zip(texts, pool, strict=False)]
        )

    assert after(TRUTH, TRUTH).attempt is not None
    assert after(TRUTH, GUESS).candidate.name == "c"


def test_a_saved_one_estimates_as_before() -> None:
    attempts = [reply("1000004", A, logprobs=(-0.1, -0.9)), reply("1000005", C)]
    writer = Writer()
    plain = writer.plain(READS, "estimator")

    again = Reader(writer.arrays, writer.layout).value(plain)

    for one, other in zip(again.estimate(QUERY, POOL, attempts), READS.estimate(QUERY, POOL, attempts), strict=True):
        assert checks.close(one, other)


def test_estimate_and_confidence_say_the_same() -> None:
    attempts = [reply("1000004", A, logprobs=(-0.1,)), reply("1000005", C)]

    found = LEARNT.estimate(QUERY, POOL, attempts)

    assert [LEARNT.confidence(QUERY, one, attempts) for one in (A, C)] == [found[0].quality, found[2].quality]


def test_fit_is_repeatable_and_forgets() -> None:
    again = Evidence(alpha=math.inf).fit(answered(20, seed=5)).fit(answered(300))
    attempts = [reply(TRUTH, A, logprobs=(-0.2,))]

    assert qualities(again, attempts) == qualities(LEARNT, attempts)


def test_nothing_to_learn_from_and_a_negative_penalty_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="answer="):
        Evidence().fit([Record(text="q", candidate="a", quality=1.0)])
    with pytest.raises(ConfigurationError, match=r"Evidence\.alpha"):
        Evidence(alpha=-1.0)
