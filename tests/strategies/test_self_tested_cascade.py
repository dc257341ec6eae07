from __future__ import annotations

import itertools
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import Abstained, ConfigurationError, ProviderError
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.storage.coding import Reader, Writer
from router_integrations.strategies import SelfTestedCascade
from router_integrations.testing.contracts import StrategyContract
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Request, Snapshot

SMALL, MEDIUM, BIG, RUNNER = (
    Candidate(name, model=object(), max_retries=0, input_price=price, output_price=price)
    for name, price in (("small", 1e-7), ("medium", 1e-6), ("big", 1e-5), ("runner", 0.0))
)
POOL = (SMALL, MEDIUM, BIG)
DOWN = Outcome(error=ProviderError("down", family="not_found"))
TASK = "Write half(x) in Python."
RIGHT, WRONG, BROKEN = "def half(x): return x / 2", "def half(x): return x // 2", "def half(x) return"
TESTS = "assert half(4) == 2\nassert half(3) == 1.5\nassert half(0) == 0\nassert half(-1) == -0.5"


def ran(*passed: int) -> list[Outcome]:
    """What the runner prints, program by program."""
    return [Outcome(text="\na self-generated test passed\n" * number) for number in passed]


def wrote(*solutions: str, tests: str = TESTS) -> list[Outcome]:
    return [Outcome(text=text) for text in (*solutions, tests)]


def traced(
    strategy: SelfTestedCascade, *, budget: float | None = None, judges: tuple[Candidate, ...] = (RUNNER,), **said: Any
) -> Trace:
    pool = tuple(one for one in POOL if one.name in said)
    request = Request(
        text=TASK, candidates=pool, judges=(*pool, *judges), input_tokens=10, snapshot=Snapshot(budget=budget)
    )
    return run(Run(strategy=strategy, request=request, limits=Limits(budget=budget)), TableHost(said))


def cascade(**options: Any) -> SelfTestedCascade:
    return SelfTestedCascade(**{"runner": "runner", "solutions": 2, "order": "given", **options})


def asked(trace: Trace) -> list[tuple[str, str, int]]:
    calls = [(one.call.candidate.name, one.call.purpose) for one in trace.attempts]
    return [(*call, len(list(group))) for call, group in itertools.groupby(calls)]


def answer(trace: Trace) -> str:
    assert trace.answer is not None
    return trace.answer.text


class TestSelfTestedCascade(StrategyContract):
    @pytest.fixture(
        params=[
            cascade(runner="absent"),
            cascade(runner="medium"),
            cascade(runner="medium", solutions=1, order="price"),
        ],
        ids=["absent", "a candidate", "one solution"],
    )
    def strategy(self, request: pytest.FixtureRequest) -> SelfTestedCascade:
        strategy: SelfTestedCascade = request.param
        return strategy


def test_the_solution_that_passes_most_of_its_tests_is_the_answer() -> None:
    trace = traced(cascade(), small=wrote(WRONG, RIGHT), runner=ran(2, 4), big=DOWN)

    assert asked(trace) == [("small", "answer", 2), ("small", "judge", 1), ("runner", "judge", 2)]
    assert answer(trace) == RIGHT
    assert trace.reason == "'small' passed 4 of its 4 tests, 1.00 >= 0.80"
    assert trace.confidence == 1.0


def test_when_none_passes_enough_the_next_candidate_is_asked() -> None:
    trace = traced(cascade(), small=wrote(WRONG, BROKEN), runner=ran(2), big=Outcome(text=RIGHT))

    assert asked(trace)[-1] == ("big", "answer", 1)
    assert answer(trace) == RIGHT
    assert trace.reason == "'small' passed 2 of its 4 tests, 0.50 < 0.80"


@pytest.mark.parametrize(("passed", "accepted"), [(2, False), (3, True), (4, True)])
def test_a_share_equal_to_the_threshold_is_enough(passed: int, accepted: bool) -> None:
    strategy = cascade(accept=0.75, solutions=1)
    trace = traced(strategy, small=wrote(WRONG), runner=ran(passed), big=Outcome(text=RIGHT))

    assert (answer(trace) == WRONG) is accepted


def test_tests_belong_to_the_candidate_that_wrote_them() -> None:
    trace = traced(
        cascade(solutions=1),
        small=wrote(WRONG, tests="assert half(2) == 1"),
        medium=wrote(RIGHT, tests="assert half(3) == 1.5"),
        big=DOWN,
        runner=ran(0, 1),
    )
    first, second = (one.call.prompt or "" for one in trace.attempts if one.call.candidate is RUNNER)

    assert "half(2)" in first and "half(3)" not in first
    assert "half(3)" in second and "half(2)" not in second
    assert answer(trace) == RIGHT


def test_equal_solutions_are_run_once() -> None:
    trace = traced(cascade(solutions=3), small=wrote(RIGHT, RIGHT, RIGHT), runner=ran(4), big=DOWN)

    assert asked(trace)[-1] == ("runner", "judge", 1)
    assert trace.answer is trace.attempts[0]


def test_who_writes_tests_sees_the_query_alone() -> None:
    trace = traced(cascade(), small=wrote(RIGHT, WRONG), runner=ran(4, 4), big=DOWN)
    prompt = trace.attempts[2].call.prompt or ""

    assert TASK in prompt and "5 tests" in prompt and RIGHT not in prompt
    assert trace.attempts[0].call.prompt is None


@pytest.mark.parametrize(
    ("said", "judges", "why"),
    [
        (wrote("Divide it.", BROKEN), (RUNNER,), "no code"),
        (wrote(RIGHT, RIGHT, tests="assert True"), (RUNNER,), "no tests"),
        ([Outcome(text=RIGHT)], (), "no runner"),
    ],
)
def test_what_cannot_be_tested_is_not_accepted(said: Any, judges: Any, why: str) -> None:
    trace = traced(cascade(), judges=judges, small=said, runner=DOWN, big=Outcome(text="def half(x): return 0.5 * x"))

    assert answer(trace) == "def half(x): return 0.5 * x", why
    assert trace.reason == "'small' could not be tested"


def test_a_runner_that_fails_is_not_asked_again() -> None:
    trace = traced(
        cascade(solutions=1), small=wrote(RIGHT), medium=Outcome(text="ok"), big=Outcome(text=RIGHT), runner=DOWN
    )

    assert asked(trace) == [
        ("small", "answer", 1),
        ("small", "judge", 1),
        ("runner", "judge", 1),
        ("medium", "answer", 1),
        ("big", "answer", 1),
    ]


def test_a_program_whose_output_was_cut_short_counts_for_what_it_printed() -> None:
    cut = Outcome(text="\na self-generated test passed\n\na self-gener")
    trace = traced(cascade(solutions=1, accept=0.25), small=wrote(WRONG), runner=[cut], big=DOWN)

    assert trace.reason == "'small' passed 1 of its 4 tests, 0.25 >= 0.25"


def test_when_the_last_fails_the_best_solution_so_far_is_returned() -> None:
    trace = traced(cascade(), small=wrote(BROKEN, WRONG), runner=ran(2), big=DOWN)

    assert answer(trace) == WRONG
    assert trace.reason == "nobody else can be asked; the best solution so far, 2 of 4 tests passed"
    assert trace.confidence == 0.5


def test_a_solution_that_nobody_tested_may_be_the_best_so_far() -> None:
    trace = traced(cascade(), small=wrote(RIGHT, WRONG), runner=DOWN, big=DOWN)

    assert answer(trace) == RIGHT
    assert trace.reason == "nobody else can be asked; the best solution so far, untested"
    assert trace.confidence is None


def test_of_equally_good_solutions_the_first_of_the_later_candidate_is_returned() -> None:
    trace = traced(
        cascade(),
        small=wrote(WRONG, RIGHT),
        medium=wrote("def half(x): return 1", "x = 1"),
        big=DOWN,
        runner=ran(*[2] * 4),
    )

    assert answer(trace) == "def half(x): return 1"


def test_a_candidate_that_writes_only_tests_is_passed_over() -> None:
    trace = traced(cascade(), small=[DOWN, DOWN, Outcome(text=TESTS)], big=Outcome(text=RIGHT))

    assert asked(trace) == [("small", "answer", 2), ("small", "judge", 1), ("big", "answer", 1)]
    assert trace.reason == "'small' failed (not_found)"


def test_when_everybody_writes_only_tests_there_is_no_answer() -> None:
    with pytest.raises(Abstained, match="nobody is left"):
        traced(cascade(solutions=1), small=[DOWN, Outcome(text=TESTS)], big=[DOWN])


def test_a_short_budget_asks_for_fewer_solutions() -> None:
    said = {"small": Outcome(text=RIGHT), "medium": Outcome(text=RIGHT), "runner": DOWN}
    plenty = traced(cascade(solutions=12), budget=1.0, **said)
    each = plenty.attempts[0].call.estimates["small"].cost
    assert each is not None
    short = traced(cascade(solutions=12), budget=each * 10.5, **said)

    assert asked(plenty)[:2] == [("small", "answer", 12), ("small", "judge", 1)]
    assert asked(short)[:2] == [("small", "answer", 9), ("small", "judge", 1)]


def test_when_the_budget_pays_for_nobody_else_the_first_is_the_last() -> None:
    trace = traced(cascade(), budget=1e-4, small=Outcome(text=RIGHT), big=Outcome(text=RIGHT))

    assert asked(trace) == [("small", "answer", 1)]
    assert trace.attempts[0].call.final


def test_the_last_candidate_is_final_and_the_others_are_not() -> None:
    request = Request(text=TASK, candidates=POOL, judges=(RUNNER,))
    first = cascade().decide(request)
    last = cascade().decide(Request(text=TASK, candidates=(BIG,), judges=(RUNNER,)))

    assert not any(call.final for call in first)  # type: ignore[union-attr]
    assert last.final  # type: ignore[union-attr]


def test_it_is_saved() -> None:
    writer = Writer()
    plain = writer.plain(cascade(accept=0.6), "strategy")

    assert Reader(writer.arrays, writer.layout).value(plain).accept == 0.6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"solutions": 0}, "SelfTestedCascade.solutions must be at least 1 but got 0"),
        ({"tests": 0}, "SelfTestedCascade.tests must be at least 1 but got 0"),
        ({"accept": 0.0}, r"SelfTestedCascade.accept must be in \(0, 1\] but got 0.0"),
        ({"accept": 80}, r"SelfTestedCascade.accept must be in \(0, 1\] but got 80"),
    ],
)
def test_options_out_of_range_are_named(options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        cascade(**options)
