from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from router_integrations.errors import ConfigurationError, Family, ProviderError
from router_integrations.health import Health


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(threshold=3, cooldown=10, max_cooldown=60, clock=clock)


def fail(health: Health, *, times: int = 1, family: Family = "server", retry_after: float | None = None) -> None:
    for _ in range(times):
        health.record("big", ProviderError("no", family=family, retry_after=retry_after))


def rests(health: Health, clock: Clock) -> float:
    """Seconds until the candidate is in service again."""
    start = clock.now
    while health.cooling():
        clock.now += 1.0
    return clock.now - start


def trial_fails(health: Health) -> None:
    health.begin("big")
    fail(health)


def test_it_rests_after_so_many_failures_in_a_row(health: Health, clock: Clock) -> None:
    fail(health, times=2)
    assert health.cooling() == frozenset()

    fail(health)
    assert health.cooling() == {"big"}
    assert rests(health, clock) == 10


def test_a_success_between_two_failures_starts_the_count_again(health: Health) -> None:
    fail(health, times=2)
    health.record("big", None)
    fail(health, times=2)

    assert health.cooling() == frozenset()


@pytest.mark.parametrize("family", ["bad_request", "context_overflow", "content_policy"])
def test_a_fault_of_the_request_is_no_fault_of_the_candidate(health: Health, family: Family) -> None:
    fail(health, times=2)
    fail(health, times=5, family=family)
    fail(health, times=2)

    assert health.cooling() == frozenset()


@pytest.mark.parametrize("family", ["rate_limit", "authentication", "permission", "not_found"])
def test_some_failures_open_the_circuit_at_once(health: Health, family: Family) -> None:
    fail(health, family=family)

    assert health.cooling() == {"big"}


@pytest.mark.parametrize(("retry_after", "rest"), [(25.0, 25), (1000.0, 60), (0.0, 0)])
def test_it_rests_as_long_as_the_provider_asks_within_the_maximum(
    health: Health, clock: Clock, retry_after: float, rest: float
) -> None:
    fail(health, family="rate_limit", retry_after=retry_after)

    assert rests(health, clock) == rest


def test_each_failed_trial_doubles_the_rest_up_to_the_maximum(health: Health, clock: Clock) -> None:
    fail(health, times=3)
    found = [rests(health, clock)]
    for _ in range(4):
        trial_fails(health)
        found.append(rests(health, clock))

    assert found == [10, 20, 40, 60, 60]


def test_one_failure_is_enough_to_fail_a_trial(health: Health, clock: Clock) -> None:
    fail(health, family="rate_limit")
    rests(health, clock)
    trial_fails(health)

    assert health.cooling() == {"big"}


def test_a_good_trial_closes_the_circuit(health: Health, clock: Clock) -> None:
    fail(health, times=3)
    rests(health, clock)
    health.begin("big")
    health.record("big", None)

    assert health.cooling() == frozenset()
    fail(health, times=2)
    assert health.cooling() == frozenset()


def test_nobody_else_is_let_through_while_the_trial_is_under_way(health: Health, clock: Clock) -> None:
    fail(health, times=3)
    rests(health, clock)
    health.begin("big")

    assert health.cooling() == {"big"}


def test_an_abandoned_trial_lets_the_next_one_through(health: Health, clock: Clock) -> None:
    fail(health, times=3)
    rests(health, clock)
    health.begin("big")
    health.release("big")

    assert health.cooling() == frozenset()
    trial_fails(health)
    assert rests(health, clock) == 20


def test_a_call_before_any_failure_is_no_trial(health: Health) -> None:
    health.begin("big")
    fail(health)
    health.begin("big")
    health.release("unknown")

    assert health.cooling() == frozenset()


def test_failures_of_calls_sent_before_the_rest_do_not_lengthen_it(health: Health, clock: Clock) -> None:
    fail(health, times=50)

    assert rests(health, clock) == 10


def test_a_longer_wait_asked_for_during_the_rest_counts(health: Health, clock: Clock) -> None:
    fail(health, times=3)
    fail(health, family="rate_limit", retry_after=30)
    fail(health, family="rate_limit", retry_after=1)

    assert rests(health, clock) == 30


def test_candidates_rest_on_their_own(health: Health) -> None:
    fail(health, times=3)
    health.record("small", ProviderError("no", family="server"))

    assert health.cooling() == {"big"}


@pytest.mark.parametrize(
    ("field", "value"), [("threshold", 0), ("cooldown", -1), ("max_cooldown", -0.1), ("cooldown", math.nan)]
)
def test_a_parameter_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"Health\.{field} must be at least . but got {value!r}"):
        Health(**{field: value})


def test_no_failure_is_lost_between_threads(clock: Clock) -> None:
    threads, each = 16, 500
    health = Health(threshold=threads * each, clock=clock)
    barrier = threading.Barrier(threads)

    def work(worker: int) -> None:
        barrier.wait()
        for _ in range(each):
            health.begin("big")
            fail(health)
            health.cooling()
            health.record(f"other-{worker}", ProviderError("no", family="server"))
            health.release("big")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))

    assert health.cooling() == {"big"}
    assert health._circuits["big"].failures == threads * each
