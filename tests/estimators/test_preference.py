from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_integrations.candidates import Candidate
from router_integrations.encoders import HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import BradleyTerry, Eagle, PromptBradleyTerry, SimilarityWeighted
from router_integrations.estimators.battles import Paired, battles, bradley_terry
from router_integrations.estimators.learned import Data
from router_integrations.learning import Record, Table

ENCODER = HashingEncoder(dimensions=64)
NAMES = ("ann", "bob", "cid", "dee")
LEARNERS: list[Any] = [
    lambda: BradleyTerry(encoder=ENCODER),
    lambda: SimilarityWeighted(encoder=ENCODER),
    lambda: Eagle(encoder=ENCODER),
    lambda: PromptBradleyTerry(encoder=ENCODER),
    lambda: PromptBradleyTerry(encoder=ENCODER, rank=2),
]
each_learner = pytest.mark.parametrize("make", LEARNERS, ids=["BT", "SW", "Eagle", "PBT", "PBT of rank 2"])
ORDER_FREE = pytest.mark.parametrize("make", LEARNERS[:2], ids=["BT", "SW"])


def battle(one: str, other: str, won: float, text: str = "sum 1 2") -> Record:
    return Record(text=text, candidate=one, over=other, quality=won)


def pool(*names: str) -> list[Candidate]:
    return [Candidate(name, model=object()) for name in names]


def chance(learner: Paired, one: str, other: str, text: str = "sum 1 2") -> float:
    return float(learner.win_probability([text], pool(one, other))[0, 0, 1])


pairs = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda pair: pair[0] != pair[1])
fights = st.builds(
    lambda pair, won, text: battle(pair[0], pair[1], won, text),
    pairs,
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from(["sum 1 2", "sum 3 4", "greet Ann", "write a poem"]),
)
logs = st.lists(fights, min_size=1, max_size=15)


@pytest.mark.parametrize(("wins", "losses", "ties"), [(3, 1, 0), (1, 1, 0), (7, 2, 0), (2, 0, 2), (0, 1, 1)])
def test_two_candidates_win_as_often_as_they_won(wins: int, losses: int, ties: int) -> None:
    log = [battle("a", "b", 1)] * wins + [battle("a", "b", 0)] * losses + [battle("b", "a", 0.5)] * ties
    learner = BradleyTerry(ridge=1e-7, encoder=ENCODER).fit(log)
    share = (wins + ties / 2) / len(log)
    quality, std = learner.predict(["Hi"], pool("a", "b"))

    assert chance(learner, "a", "b") == pytest.approx(share, abs=1e-6)
    assert quality[0] == pytest.approx([share, 1 - share], abs=1e-6)
    assert std[0] == pytest.approx(math.sqrt(share * (1 - share) / (len(log) + 1)), abs=1e-6)


def test_the_ridge_pulls_towards_one_half_as_far_as_the_optimum_says() -> None:
    strength = bradley_terry(np.array([[0.0, 3.0], [1.0, 0.0]]), ridge=2.0)
    chance_of_a = 1 / (1 + math.exp(strength[1] - strength[0]))

    assert strength.sum() == pytest.approx(0)
    assert 3 - 4 * chance_of_a == pytest.approx(2.0 * strength[0])
    assert 0.5 < chance_of_a < 0.75


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e4), min_size=5, max_size=5), min_size=5, max_size=5), st.floats(1e-3, 10))
def test_the_strengths_are_where_the_slope_is_zero(table: list[list[float]], ridge: float) -> None:
    wins = np.array(table)
    np.fill_diagonal(wins, 0)
    strength = bradley_terry(wins, ridge=ridge)
    chances = 1 / (1 + np.exp(strength - strength[:, None]))

    assert ridge * strength == pytest.approx((wins - (wins + wins.T) * chances).sum(axis=1), abs=1e-4)


def test_strengths_of_three_who_beat_each_other_in_known_odds() -> None:
    odds = np.array([4.0, 2.0, 1.0])
    wins = 100 * odds[:, None] / (odds[:, None] + odds)
    np.fill_diagonal(wins, 0)

    assert np.diff(bradley_terry(wins, ridge=1e-6)) == pytest.approx([-math.log(2)] * 2, abs=1e-6)


@pytest.mark.parametrize("start", [[20.0, -20.0], [-3.0, 3.0], [1.0, 1.0]])
def test_the_strengths_are_the_same_from_any_start(start: list[float]) -> None:
    wins = np.array([[0.0, 3.0], [1.0, 0.0]])

    assert bradley_terry(wins, ridge=1e-3, start=np.array(start)) == pytest.approx(bradley_terry(wins, ridge=1e-3))


@each_learner
@settings(max_examples=15, deadline=None)
@given(log=logs)
def test_the_chances_of_two_sum_to_one(make: Any, log: list[Record]) -> None:
    chances = make().fit(log).win_probability(["sum 5 6", "greet Bob"], pool(*NAMES))

    assert chances + chances.transpose(0, 2, 1) == pytest.approx(np.ones((2, 4, 4)))
    assert ((chances > 0) & (chances < 1)).all()


@each_learner
@settings(max_examples=15, deadline=None)
@given(log=logs)
def test_other_names_change_nothing_but_the_names(make: Any, log: list[Record]) -> None:
    other = dict(zip(NAMES, ("zoe", "abe", "max", "lea"), strict=True))
    renamed = [battle(other[r.candidate], other[r.over or ""], r.quality, r.text) for r in log]
    before, _ = make().fit(log).predict(["sum 5 6"], pool(*NAMES))
    after, _ = make().fit(renamed).predict(["sum 5 6"], pool(*other.values()))

    assert after == pytest.approx(before, abs=2e-3)


@each_learner
@settings(max_examples=15, deadline=None)
@given(log=logs)
def test_either_side_may_be_named_first(make: Any, log: list[Record]) -> None:
    turned = [battle(r.over or "", r.candidate, 1 - r.quality, r.text) for r in log]
    before, _ = make().fit(log).predict(["sum 5 6"], pool(*NAMES))

    assert make().fit(turned).predict(["sum 5 6"], pool(*NAMES))[0] == pytest.approx(before, abs=2e-3)


@pytest.mark.parametrize("make", [LEARNERS[0], lambda: Eagle(share=1, encoder=ENCODER)], ids=["BT", "Elo"])
@settings(max_examples=30, deadline=None)
@given(log=logs, pair=pairs)
def test_a_tie_never_moves_two_apart(make: Any, log: list[Record], pair: tuple[str, str]) -> None:
    asked = [battle("ann", "bob", 1), battle("bob", "cid", 1), battle("cid", "dee", 1), *log]
    before = chance(make().fit(asked), *pair)
    after = chance(make().fit([*asked, battle(*pair, 0.5)]), *pair)

    assert abs(after - 0.5) <= abs(before - 0.5) + 1e-6


def test_a_tie_moves_two_towards_each_other() -> None:
    log = [battle("a", "b", 1)] * 3
    for learner in (BradleyTerry(encoder=ENCODER), Eagle(encoder=ENCODER), SimilarityWeighted(encoder=ENCODER)):
        assert chance(learner.fit([*log, battle("a", "b", 0.5)]), "a", "b") < chance(learner.fit(log), "a", "b") - 0.01


@ORDER_FREE
@settings(max_examples=15, deadline=None)
@given(log=logs, seed=st.randoms(use_true_random=False))
def test_the_order_of_the_battles_does_not_matter(make: Any, log: list[Record], seed: Any) -> None:
    mixed = list(log)
    seed.shuffle(mixed)
    before, _ = make().fit(log).predict(["sum 5 6"], pool(*NAMES))

    assert make().fit(mixed).predict(["sum 5 6"], pool(*NAMES))[0] == pytest.approx(before, abs=1e-5)


@each_learner
def test_without_battles_the_higher_grade_wins(make: Any) -> None:
    grades = {("sum 1 2", "a"): 0.9, ("sum 1 2", "b"): 0.4, ("greet", "a"): 0.5, ("greet", "b"): 0.5, ("Hm", "a"): 0.1}
    graded = [Record(text=text, candidate=name, quality=grade) for (text, name), grade in grades.items()]
    fought = [battle("a", "b", 1, "sum 1 2"), battle("a", "b", 0.5, "greet")]

    before, _ = make().fit(graded).predict(["sum 5 6"], pool("a", "b"))
    assert before == pytest.approx(make().fit(fought).predict(["sum 5 6"], pool("a", "b"))[0], abs=1e-3)
    assert before[0, 0] > before[0, 1]


def test_grades_make_a_battle_of_each_two() -> None:
    table = Table.of(
        [Record(text="q", candidate=name, quality=grade) for name, grade in [("a", 1), ("b", 0), ("c", 1)]]
    )
    names, rows = battles(Data(vectors=ENCODER.encode(["q"]), table=table, battles=(), encoder=ENCODER))

    assert names == ("a", "b", "c")
    assert rows.tolist() == [[0, 0, 1, 1.0], [0, 0, 2, 0.5], [0, 1, 2, 0.0]]


@each_learner
def test_one_who_met_nobody_is_worth_one_half(make: Any) -> None:
    quality, std = make().fit([Record(text="q", candidate="a", quality=1.0)]).predict(["q"], pool("a", "b"))

    assert (quality == 0.5).all()
    assert (std > 0).all()


@each_learner
def test_a_query_without_content_is_rated_too(make: Any) -> None:
    learner = make().fit([battle("a", "b", 1, ""), battle("a", "b", 1, "sum 1 2")])

    assert chance(learner, "a", "b", "") > 0.5


@each_learner
def test_a_stranger_is_rated_as_the_mean_of_the_others(make: Any) -> None:
    learner = make().fit([battle("a", "b", 1)] * 4)

    assert chance(learner, "a", "new") == pytest.approx(chance(learner, "new", "b"))


@pytest.mark.parametrize(
    "make",
    [*LEARNERS[1:3], lambda: PromptBradleyTerry(ridge=1, encoder=ENCODER),
     lambda: PromptBradleyTerry(ridge=0.3, rank=1, encoder=ENCODER)],
    ids=["SW", "Eagle", "PBT", "PBT of rank 1"],
)  # fmt: skip
def test_who_wins_depends_on_the_query(make: Any) -> None:
    sums = [battle("maths", "chat", 1, f"sum {n} {n + 1}") for n in range(30)]
    greetings = [battle("maths", "chat", 0, f"greet my friend {name}") for name in "abcdefghijklmnopqrstuvwxyzABCD"]
    learner = make().fit([fight for both in zip(sums, greetings, strict=True) for fight in both])

    assert chance(learner, "maths", "chat", "sum 77 78") > 0.55
    assert chance(learner, "maths", "chat", "greet my friend Zoe") < 0.45


@pytest.mark.parametrize("text", ["sum 1 2", "sum 1 4"])
def test_battles_weigh_by_their_similarity_to_that_of_the_nearest(text: str) -> None:
    log = [battle("a", "b", 1, "sum 1 2"), battle("a", "b", 0, "greet Ann")]
    learner = SimilarityWeighted(ridge=1e-9, encoder=ENCODER).fit(log)
    similarity = ENCODER.encode([text]) @ ENCODER.encode(["sum 1 2", "greet Ann"]).T
    near, far = (10 ** (similarity / similarity.max()))[0]

    assert near == pytest.approx(10)
    assert chance(learner, "a", "b", text) == pytest.approx(near / (near + far), abs=1e-5)


def test_elo_by_hand() -> None:
    eagle = Eagle(encoder=ENCODER).fit([battle("a", "b", 1), battle("b", "c", 0.5), battle("a", "c", 0)])
    # 16 points from equals; then b at -16 draws c at 0; then a at 16 loses to c below 0.
    drawn = 32 * (0.5 - 1 / (1 + 10 ** (16 / 400)))
    lost = 32 * (0 - 1 / (1 + 10 ** ((-drawn - 16) / 400)))

    assert eagle.fitted_ is not None
    assert eagle.fitted_.state["ratings"].tolist() == pytest.approx([16 + lost, -16 + drawn, -drawn - lost], abs=1e-4)


def test_local_elo_goes_on_from_the_global_one() -> None:
    log = [battle("a", "b", 1, "sum 1 2"), battle("a", "b", 0, "greet Ann")]
    # 16 up, then down by 32 times what a stood above b; the nearest battle is fought once more.
    after = 16 - 32 / (1 + 10 ** (-32 / 400))
    again = after + 32 * (1 - 1 / (1 + 10 ** (-2 * after / 400)))
    for share in (0.0, 0.25, 1.0):
        rating = share * after + (1 - share) * again
        eagle = Eagle(share=share, neighbors=1, encoder=ENCODER).fit(log)

        assert chance(eagle, "a", "b", "sum 1 2") == pytest.approx(1 / (1 + 10 ** (-2 * rating / 400)), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(logs, logs)
def test_updates_come_to_what_a_fit_on_all_comes_to(first: list[Record], then: list[Record]) -> None:
    live = Eagle(neighbors=2, encoder=ENCODER).fit(first)
    for record in then:
        live.update(record)
    once = Eagle(neighbors=2, encoder=ENCODER).fit([*first, *then])

    assert live.fitted_ is not None and once.fitted_ is not None
    columns = [once.fitted_.names.index(name) for name in live.fitted_.names]
    for key in ("ratings", "counts"):
        assert live.fitted_.state[key] == pytest.approx(once.fitted_.state[key][columns], abs=1e-4)
    asked = ["sum 5 6", "greet Bob"]
    present = pool(*live.fitted_.names)
    assert live.win_probability(asked, present) == pytest.approx(once.win_probability(asked, present), abs=1e-5)


def test_an_update_swaps_the_state_and_leaves_the_old_one_alone() -> None:
    eagle = Eagle(encoder=ENCODER).fit([battle("a", "b", 1)])
    before = eagle.fitted_
    assert before is not None
    arrays = {key: value.copy() for key, value in before.state.items()}
    eagle.update(battle("c", "b", 1, "greet Ann"))

    assert eagle.fitted_ is not before
    assert before.names == ("a", "b")
    assert all((before.state[key] == value).all() for key, value in arrays.items())


def test_a_first_update_learns_from_nothing() -> None:
    assert chance(Eagle(encoder=ENCODER).update(battle("a", "b", 1)), "a", "b") > 0.5


def test_eagle_refuses_to_update_from_a_grade() -> None:
    with pytest.raises(ConfigurationError, match="needs a preference; set over="):
        Eagle(encoder=ENCODER).update(Record(text="q", candidate="a", quality=1.0))


def test_few_battles_say_the_same_for_every_query() -> None:
    log = [battle("a", "b", 1, "sum 1 2")] * 3 + [battle("a", "b", 0, "greet Ann")]
    stiff = PromptBradleyTerry(ridge=1e6, encoder=ENCODER).fit(log)
    plain = BradleyTerry(encoder=ENCODER).fit(log)

    assert chance(stiff, "a", "b", "greet Ann") == pytest.approx(chance(plain, "a", "b"), abs=1e-4)


def test_the_slopes_are_where_the_penalised_loss_is_flat() -> None:
    learner = PromptBradleyTerry(ridge=0.5, encoder=ENCODER).fit([battle("a", "b", 1)])
    # One battle: the slopes lie along its vector and 1, so the loss is one of a single number, the log-odds z.
    base = math.log(1 / chance(BradleyTerry(encoder=ENCODER).fit([battle("a", "b", 1)]), "b", "a") - 1)
    z = math.log(1 / chance(learner, "b", "a") - 1)

    assert (z - base) / 4 * 0.5 == pytest.approx(1 / (1 + math.exp(z)), abs=1e-4)


def test_rank_limits_the_slopes() -> None:
    rng = np.random.default_rng(0)
    who = [rng.choice(NAMES, 2, replace=False) for _ in range(20)]
    log = [battle(one, other, float(rng.integers(2)), f"text {n}") for n, (one, other) in enumerate(who)]
    for rank in (1, 2):
        learner = PromptBradleyTerry(ridge=0.1, rank=rank, encoder=ENCODER).fit(log)
        assert learner.fitted_ is not None
        assert np.linalg.matrix_rank(learner.fitted_.state["weights"][:, :-1], tol=1e-4) == rank


@each_learner
def test_the_state_is_arrays_of_32_bits(make: Any) -> None:
    state = make().fit([battle("a", "b", 1), battle("b", "c", 1)]).fitted_.state

    assert {array.dtype.itemsize for array in state.values()} == {4}


@each_learner
def test_nothing_learnt_has_no_chances(make: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"has learnt nothing yet; call fit\(records\) first"):
        make().win_probability(["q"], pool("a", "b"))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: BradleyTerry(ridge=0), r"BradleyTerry\.ridge"),
        (lambda: SimilarityWeighted(ridge=-1), r"SimilarityWeighted\.ridge"),
        (lambda: PromptBradleyTerry(ridge=float("inf")), r"PromptBradleyTerry\.ridge"),
        (lambda: PromptBradleyTerry(rank=0), r"PromptBradleyTerry\.rank"),
        (lambda: Eagle(share=1.1), r"Eagle\.share"),
        (lambda: Eagle(neighbors=0), r"Eagle\.neighbors"),
        (lambda: Eagle(k=0), r"Eagle\.k"),
    ],
)
def test_an_option_out_of_range_is_refused(make: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name} must be"):
        make()
