"""What every strategy and every estimator must do: inherit a suite, give it a fixture, and pytest runs it.

    class TestMine(EstimatorContract):
        @pytest.fixture
        def estimator(self):
            return Mine()

A test of a suite is waived aloud or not at all: override it with ``@pytest.mark.xfail(reason="…")``.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from itertools import permutations

try:
    import pytest
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        'router_integrations.testing.contracts needs pytest and hypothesis: pip install "router_integrations[test]"'
    ) from error

from router_integrations.candidates import Candidate
from router_integrations.engine import run
from router_integrations.errors import AllCandidatesFailed
from router_integrations.steps import Run
from router_integrations.testing import checks
from router_integrations.testing.suites import Suite
from router_integrations.testing.table import TableHost
from router_integrations.types import Estimator, Request, Stop, Strategy

# The fixture is the same for each text on purpose, and so is the test for each class that inherits it.
_any_text = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture],
)


class _Contract(Suite):
    """What both suites share."""

    @pytest.fixture
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates to choose from; override it for a subject that needs others."""
        return checks.example_candidates()


class EstimatorContract(_Contract):
    """What every estimator must do. Inherit it and give it a fixture called `estimator`.

    The same fixture gives `candidates`; override it when yours needs special ones.
    """

    @_any_text
    @given(text=st.text(max_size=300))
    def test_gives_one_valid_estimate_per_candidate(
        self, estimator: Estimator, candidates: tuple[Candidate, ...], text: str
    ) -> None:
        """Finite numbers in range, in any script."""
        for request in (Request(text=text), *checks.example_requests(candidates)):
            checks.check_estimates(estimator, request, candidates)

    @pytest.mark.parametrize("text", checks.HUGE_TEXTS.values(), ids=checks.HUGE_TEXTS)
    def test_takes_a_huge_text(self, estimator: Estimator, candidates: tuple[Candidate, ...], text: str) -> None:
        """A prompt of megabytes takes time in proportion to its length."""
        checks.check_estimates(estimator, Request(text=text, input_tokens=len(text) // 4), candidates)

    def test_takes_any_number_of_candidates(self, estimator: Estimator, candidates: tuple[Candidate, ...]) -> None:
        """The pool may change from call to call."""
        for number in range(len(candidates) + 1):
            checks.check_estimates(estimator, Request(text="hi"), candidates[:number])

    def test_takes_a_candidate_never_seen(self, estimator: Estimator, candidates: tuple[Candidate, ...]) -> None:
        """A model that came out yesterday has no records."""
        new = Candidate("never-seen-before", model=object(), input_price=1e-6, output_price=2e-6, strength=0.5)
        checks.check_estimates(estimator, Request(text="hi"), (new, *candidates))

    def test_reads_attempts(self, estimator: Estimator, candidates: tuple[Candidate, ...]) -> None:
        """Replies and failures are known after the first call."""
        request = Request(text="What is 2 + 2?", candidates=candidates)
        checks.check_estimates(estimator, request, candidates, checks.example_attempts(candidates))

    def test_order_of_candidates_does_not_matter(self, estimator: Estimator, candidates: tuple[Candidate, ...]) -> None:
        """The estimates stand in the order of the candidates, and depend on it in no other way."""
        for request in checks.example_requests(candidates):
            expected = dict(zip(candidates, estimator.estimate(request, candidates), strict=True))
            for order in permutations(candidates):
                for candidate, estimate in zip(order, estimator.estimate(request, order), strict=True):
                    assert checks.close(estimate, expected[candidate]), "the order of candidates matters"

    def test_same_input_gives_the_same_estimates(self, estimator: Estimator, candidates: tuple[Candidate, ...]) -> None:
        """An estimator holds no state that changes by being asked."""
        requests = checks.example_requests(candidates)
        first = [estimator.estimate(request, candidates) for request in requests]
        again = [estimator.estimate(request, candidates) for request in reversed(requests)][::-1]
        assert again == first, "the same request got other estimates the second time"

    def test_does_not_change_its_arguments(self, estimator: Estimator, candidates: tuple[Candidate, ...]) -> None:
        """Requests are shared."""
        attempts = checks.example_attempts(candidates)
        pool = list(candidates)
        for request in checks.example_requests(candidates):
            before = checks.looks(request, pool, attempts)
            estimator.estimate(request, pool, attempts)
            assert checks.looks(request, pool, attempts) == before, "estimate changed its arguments"

    def test_constructor_only_stores_keyword_options(self, estimator: Estimator) -> None:
        """Options are named, and read back as they were given."""
        checks.check_constructor(estimator)

    def test_is_safe_to_share_between_threads(self, estimator: Estimator, candidates: tuple[Candidate, ...]) -> None:
        """One estimator serves all requests of a process."""
        requests = checks.example_requests(candidates)
        checks.check_threads(lambda request: estimator.estimate(request, candidates), requests)


class StrategyContract(_Contract):
    """What every strategy must do. Inherit it and give it a fixture called `strategy`.

    The same fixture gives `candidates`; override it when yours asks for special names.
    """

    def test_halts(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """Whatever comes back, the request ends within the limit of calls."""
        for request in checks.example_requests(candidates):
            for outcome in checks.REPLIES:
                run(Run(strategy=strategy, request=request), checks.table(candidates, outcome))

    def test_asks_only_the_candidates_of_the_request(
        self, strategy: Strategy, candidates: tuple[Candidate, ...]
    ) -> None:
        """Who cannot take a request is not among its candidates."""
        for number in range(1, len(candidates) + 1):
            for pool in permutations(candidates, number):
                host = checks.table(candidates)
                run(Run(strategy=strategy, request=Request(text="hi", candidates=pool)), host)
                assert all(call.candidate in pool for call in host.calls)

    def test_asks_somebody_else_after_a_failure(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """An answer comes as long as one candidate is in service."""
        for request in checks.example_requests(candidates):
            down: set[str] = set()
            for _ in candidates:
                trace = run(Run(strategy=strategy, request=request), checks.table(candidates, down=down))
                assert trace.answer is not None
                down.add(trace.answer.call.candidate.name)

    def test_raises_a_typed_error_when_all_fail(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """The error carries every attempt."""
        names = {candidate.name for candidate in candidates}
        for request in checks.example_requests(candidates):
            with pytest.raises(AllCandidatesFailed) as caught:
                run(Run(strategy=strategy, request=request), checks.table(candidates, down=names))
            assert caught.value.trace is not None
            assert {attempt.call.candidate.name for attempt in caught.value.trace.attempts} == names

    def test_ends_with_one_of_its_answers_when_nobody_is_left(
        self, strategy: Strategy, candidates: tuple[Candidate, ...]
    ) -> None:
        """When a limit ends a request, the strategy is asked which answer is the best: it stops, or abstains."""
        for request in checks.example_requests(candidates)[:4]:
            for outcome in checks.REPLIES:
                trace = run(Run(strategy=strategy, request=request), checks.table(candidates, outcome))
                seen = [one for one in trace.attempts if not one.call.final]
                if any(one.call.purpose == "answer" for one in seen):
                    move = strategy.decide(replace(request, candidates=(), judges=()), seen)
                    assert isinstance(move, Stop), f"without candidates it wants {move!r}"
                    assert move.attempt is None or any(move.attempt is one for one in seen)

    def test_a_final_call_is_the_last(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """A final call is an answer, comes alone, and its reply is returned."""
        for request in checks.example_requests(candidates):
            trace = run(Run(strategy=strategy, request=request), checks.table(candidates))
            for attempt in trace.attempts:
                if attempt.call.final:
                    assert attempt.call.purpose == "answer", "a verdict is no answer, so it cannot be final"
                    assert attempt is trace.attempts[-1] is trace.answer

    def test_sync_async_and_streamed_runs_agree(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """One decision, four drivers."""
        for request in checks.example_requests(candidates):
            first = run(Run(strategy=strategy, request=request), checks.table(candidates))
            down = {first.attempts[0].call.candidate.name}
            for failing in (set(), down) if len(candidates) > 1 else (set(),):
                make = functools.partial(checks.table, candidates, down=failing)
                traces = [drive(Run(strategy=strategy, request=request), make()) for drive in checks.DRIVERS]
                assert all(checks.story(trace) == checks.story(traces[0]) for trace in traces), "the drivers disagree"

    def test_a_replay_decides_as_the_live_run(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """The engine is the simulator: decisions rest on what a record holds."""
        for request in checks.example_requests(candidates):
            for outcome in checks.REPLIES:
                host = checks.LiveHost({candidate.name: outcome for candidate in candidates})
                live = run(Run(strategy=strategy, request=request), host)
                again = run(Run(strategy=strategy, request=request), TableHost.replaying(live))
                assert checks.story(again) == checks.story(live), "the replay decides otherwise than the live run"

    def test_decides_alike_each_time(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """`decide` is a pure function: no clock, no chance, no memory."""
        for request in checks.example_requests(candidates):
            for attempts in ((), checks.example_attempts(candidates)):
                first, second = (strategy.decide(request, attempts) for _ in range(2))
                assert first == second, "the same input led to another decision"

    def test_does_not_change_its_arguments(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """Requests are shared."""
        attempts = checks.example_attempts(candidates)
        for request in checks.example_requests(candidates):
            before = checks.looks(request, candidates, attempts)
            strategy.decide(request, attempts)
            assert checks.looks(request, candidates, attempts) == before, "decide changed its arguments"

    def test_constructor_only_stores_keyword_options(self, strategy: Strategy) -> None:
        """Options are named, and read back as they were given."""
        checks.check_constructor(strategy)

    def test_is_safe_to_share_between_threads(self, strategy: Strategy, candidates: tuple[Candidate, ...]) -> None:
        """One strategy serves all requests of a process."""
        checks.check_threads(strategy.decide, checks.example_requests(candidates))
