"""What every estimator that learns must do, beside what every estimator must: inherit `LearnerContract`.

class TestMine(LearnerContract):
    @pytest.fixture
    def learner(self):
        return Mine()
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

try:
    import pytest
except ImportError as error:
    raise ImportError(
        'router_integrations.testing.learning needs pytest: pip install "router_integrations[test]"'
    ) from error

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.learning import Learner, Record
from router_integrations.testing import checks
from router_integrations.testing.contracts import EstimatorContract
from router_integrations.types import Request

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_Subject = TypeVar("_Subject")
# What the queries of each subject are made of.
SUBJECTS = {
    "maths": ["sum", "multiply", "equation", "integral", "prime", "divide", "fraction", "angle", "root", "solve"],
    "cooking": ["boil", "onion", "recipe", "bake", "flour", "pepper", "oven", "soup", "butter", "slice"],
    "travel": ["train", "hotel", "ticket", "museum", "flight", "luggage", "visa", "island", "border", "map"],
}


def example_texts(number: int, *, seed: int = 0) -> dict[str, str]:
    """Return `number` different queries and the subject of each, the subjects by turns.

    >>> list(example_texts(3).values())
    ['maths', 'cooking', 'travel']
    """
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < number:
        subject = list(SUBJECTS)[len(found) % len(SUBJECTS)]
        found.setdefault(" ".join(rng.choice(SUBJECTS[subject], size=5)), subject)
    return found


def example_grades(candidates: Sequence[Candidate]) -> list[Record]:
    """Return graded attempts that can be told apart: the last candidate is right but for travel, the second there.

    The first is always wrong. One attempt in ten is missing.

    >>> records = example_grades(checks.example_candidates())
    >>> sorted({record.candidate for record in records if record.quality})
    ['large', 'medium']
    """
    kept = np.random.default_rng(1).random((120, len(candidates))) < 0.9
    return [
        Record(text=text, candidate=candidate.name, quality=grade(place, subject), output_tokens=100)
        for row, (text, subject) in zip(kept, example_texts(120).items(), strict=True)
        for place, candidate in enumerate(candidates)
        if row[place]
    ]


def example_preferences(candidates: Sequence[Candidate]) -> list[Record]:
    """Return what `example_grades` says, as preferences between two candidates each.

    >>> records = example_preferences(checks.example_candidates())
    >>> {record.quality for record in records if (record.candidate, record.over) == ("small", "large")}
    {0.0, 0.5}
    """
    return [
        Record(
            text=text,
            candidate=candidates[one].name,
            over=candidates[other].name,
            quality=(1 + grade(one, subject) - grade(other, subject)) / 2,
        )
        for text, subject in example_texts(120).items()
        for one in range(len(candidates))
        for other in range(one + 1, len(candidates))
    ]


def grade(place: int, subject: str) -> float:
    """Return how well the candidate at `place` answers queries on `subject`.

    >>> [grade(place, "travel") for place in range(3)]
    [0.0, 1.0, 0.0]
    """
    return float(place == (1 if subject == "travel" else 2))


def fresh(subject: _Subject) -> _Subject:
    """Return a new one with the same options, which knows nothing.

    >>> fresh(Candidate("a", model=object())).name
    'a'
    """
    options = inspect.signature(type(subject)).parameters
    return type(subject)(**{name: getattr(subject, name) for name in options})


def right_share(learner: Learner, candidates: Sequence[Candidate]) -> float:
    """Return the share of new queries where the candidate thought best is right; chance is right on a third."""
    asked = example_texts(60, seed=2)
    chosen = learner.predict(list(asked), candidates)[0].argmax(axis=1)
    return float(np.mean([grade(place, subject) for place, subject in zip(chosen, asked.values(), strict=True)]))


class LearnerContract(EstimatorContract):
    """What every estimator that learns must do. Inherit it and give it a fixture called `learner`, which knows nothing.

    The tests of `EstimatorContract` run on it when it has learnt from the fixture `records`; override that for a
    learner of preferences (`example_preferences`), and `accuracy` for one that does not read the query (0.6).
    """

    @pytest.fixture
    def records(self, candidates: tuple[Candidate, ...]) -> list[Record]:
        """What to learn from."""
        return example_grades(candidates)

    @pytest.fixture
    def accuracy(self) -> float:
        """The share of new queries on which the best candidate must be found."""
        return 0.9

    @pytest.fixture
    def estimator(self, learner: Learner, records: list[Record]) -> Learner:
        """The learner, when it has learnt."""
        return fresh(learner).fit(records)

    def test_beats_random_on_a_separable_table(
        self, estimator: Learner, candidates: tuple[Candidate, ...], accuracy: float
    ) -> None:
        """Whoever cannot learn this learns nothing."""
        share = right_share(estimator, candidates)
        assert share >= accuracy, f"the best candidate is found on {share:.0%} of new queries"

    def test_works_before_any_record(self, learner: Learner, candidates: tuple[Candidate, ...]) -> None:
        """A router must answer on its first day."""
        for request in checks.example_requests(candidates):
            checks.check_estimates(fresh(learner), request, candidates)

    def test_fit_forgets_what_was_known(
        self, learner: Learner, candidates: tuple[Candidate, ...], records: list[Record]
    ) -> None:
        """The state is a function of the records of the last `fit`."""
        opposite = [replace(one, quality=1 - one.quality) for one in records]
        gone = [replace(one, candidate="gone") for one in records]
        again = fresh(learner).fit([*opposite, *gone]).fit(records)
        pool = (*candidates, Candidate("gone", model=object(), input_price=1e-6, output_price=2e-6))
        assert _same(again, fresh(learner).fit(records), pool), "an earlier fit shows through"

    def test_same_seed_gives_the_same_result(
        self, learner: Learner, candidates: tuple[Candidate, ...], records: list[Record]
    ) -> None:
        """Chance comes from the options, never from the process."""
        state = np.random.get_state()
        try:
            np.random.seed(1)
            first = fresh(learner).fit(records)
            np.random.seed(2)
            second = fresh(learner).fit(records)
        finally:
            np.random.set_state(state)
        assert _same(first, second, candidates), "the same seed gave another result"

    def test_a_candidate_never_graded_changes_nothing_for_the_others(
        self, estimator: Learner, candidates: tuple[Candidate, ...]
    ) -> None:
        """It is estimated, and the others as without it."""
        new = Candidate("never-graded", model=object(), input_price=1e-6, output_price=2e-6, strength=0.5)
        before, after = (_predict(estimator, pool) for pool in (candidates, (new, *candidates)))
        assert np.allclose(before, after[:, :, 1:], atol=1e-5), "a new candidate changes what is said of the others"

    def test_order_of_candidates_does_not_matter_in_a_batch(
        self, estimator: Learner, candidates: tuple[Candidate, ...]
    ) -> None:
        """Columns follow the candidates."""
        expected = _predict(estimator, candidates)
        for order in permutations(range(len(candidates))):
            got = _predict(estimator, [candidates[place] for place in order])
            assert np.allclose(got, expected[:, :, list(order)], atol=1e-5), "the order of candidates matters"

    def test_a_batch_equals_a_loop(self, estimator: Learner, candidates: tuple[Candidate, ...]) -> None:
        """Replay sees what live traffic sees."""
        for number in (1, 5, 0):
            texts = list(example_texts(number, seed=3))
            quality, std = estimator.predict(texts, candidates)
            assert quality.shape == std.shape == (number, len(candidates)), f"the shape is {quality.shape}, {std.shape}"
            for row, text in enumerate(texts):
                alone = estimator.estimate(Request(text=text), candidates)
                assert np.allclose(quality[row], [one.quality for one in alone], atol=1e-5), "quality differs"
                assert np.allclose(std[row], [one.std for one in alone], atol=1e-5), "std differs"

    def test_learns_when_grades_are_missing(
        self, learner: Learner, candidates: tuple[Candidate, ...], records: list[Record]
    ) -> None:
        """Most candidates answered few of the queries, and one a single one."""
        kept = np.random.default_rng(4).random(len(records)) < 0.4
        few = [one for one, keep in zip(records, kept, strict=True) if keep]
        few.append(replace(few[0], candidate="asked-once"))
        estimator = fresh(learner).fit(few)
        once = Candidate("asked-once", model=object(), input_price=1e-6, output_price=2e-6, strength=0.5)
        checks.check_estimates(estimator, Request(text="boil an onion"), (*candidates, once))
        assert right_share(estimator, candidates) > 0.5, "missing grades spoil the others"

    def test_learns_from_one_record(
        self, learner: Learner, candidates: tuple[Candidate, ...], records: list[Record]
    ) -> None:
        """The second day is not worse than the first."""
        estimator = fresh(learner).fit(records[:1])
        for request in checks.example_requests(candidates):
            checks.check_estimates(estimator, request, candidates)

    def test_refuses_to_learn_from_nothing(
        self, estimator: Learner, candidates: tuple[Candidate, ...], records: list[Record]
    ) -> None:
        """It is told so, and keeps what it knew."""
        before = _predict(estimator, candidates)
        with pytest.raises(ConfigurationError):
            estimator.fit([])
        assert np.array_equal(before, _predict(estimator, candidates)), "a fit that failed changed the estimates"

    def test_fit_takes_any_iterable_and_returns_the_learner(
        self, learner: Learner, candidates: tuple[Candidate, ...], records: list[Record]
    ) -> None:
        """Records may stream by once."""
        streamed = fresh(learner)
        assert streamed.fit(iter(records)) is streamed, "fit returns something else"
        assert _same(streamed, fresh(learner).fit(records), candidates), "a stream teaches otherwise than a list"

    def test_fit_and_predict_do_not_change_their_arguments(
        self, learner: Learner, candidates: tuple[Candidate, ...], records: list[Record]
    ) -> None:
        """Records are shared."""
        given, pool, texts = list(records), list(candidates), list(example_texts(3))
        fresh(learner).fit(given).predict(texts, pool)
        assert given == records, "fit changed the records"
        assert pool == list(candidates) and texts == list(example_texts(3)), "predict changed its arguments"

    def test_a_newcomer_is_onboarded_beside_the_others(
        self, estimator: Learner, candidates: tuple[Candidate, ...]
    ) -> None:
        """Who learns all candidates together says so; else the others stay as they were, and it is good where it is."""
        onboard = getattr(estimator, "onboard", None)
        if onboard is None:
            return
        new = Candidate("newcomer", model=object(), input_price=1e-6, output_price=2e-6, strength=0.5)
        before = _predict(estimator, candidates)
        try:
            onboard(
                Record(text=text, candidate=new.name, quality=float(subject == "travel"), output_tokens=100)
                for text, subject in example_texts(45, seed=5).items()
            )
        except ConfigurationError:
            assert np.array_equal(before, _predict(estimator, candidates)), "a refusal changed the estimates"
            return
        assert np.allclose(before, _predict(estimator, candidates), atol=1e-5), "a newcomer changes the others"
        asked = example_texts(30, seed=2)
        quality = estimator.predict(list(asked), [new])[0][:, 0]
        travel = np.array([subject == "travel" for subject in asked.values()])
        assert quality[travel].mean() > quality[~travel].mean() + 0.1, "the newcomer's strength is not seen"

    def test_what_is_learnt_ends_in_an_underscore(self, learner: Learner, records: list[Record]) -> None:
        """Options and what was learnt are told apart at a glance, and saved apart."""
        subject = fresh(learner)
        options = dict(vars(subject))
        subject.fit(records)
        learnt = {name for name, value in vars(subject).items() if options.get(name, _ABSENT) is not value}
        assert all(name.endswith("_") for name in learnt), f"fit set {sorted(learnt)}"


_ABSENT = object()


def _predict(learner: Learner, candidates: Sequence[Candidate]) -> Floats:
    """Return quality and standard deviation of a few texts, one above the other."""
    return np.stack(learner.predict([*example_texts(6, seed=3), "", "完全不同"], candidates))


def _same(one: Learner, other: Learner, candidates: Sequence[Candidate]) -> bool:
    return np.allclose(_predict(one, candidates), _predict(other, candidates), rtol=1e-4, atol=1e-5)
