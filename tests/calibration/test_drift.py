from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from router_integrations import Candidate
from router_integrations.calibration import DriftMonitor, drift
from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.estimators import TokenConfidence
from router_integrations.langchain import CascadeRunnable
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call

SMALL, BIG = (Candidate(name, model=object()) for name in ("small", "big"))


def trace(*sure: float, candidate: Candidate = SMALL) -> Trace:
    return Trace(
        attempts=tuple(Attempt(call=Call(candidate=candidate), text="4", logprobs=(math.log(one),)) for one in sure)
    )


def monitor(**options: object) -> DriftMonitor:
    given = {"reference": {"small": np.linspace(0.5, 1.0, 100)}, "estimator": TokenConfidence(), "window": 20}
    return DriftMonitor(**(given | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reference", "live", "statistic", "outside"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], 0.0, 0.0),
        ([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], 1.0, 1.0),
        ([0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.05], 0.25, 0.5),
        ([0.1, 0.9], [0.5] * 8, 0.5, 0.0),
    ],
)
def test_distance_and_share_outside(
    reference: list[float], live: list[float], statistic: float, outside: float
) -> None:
    found = drift(reference, live)

    assert (found.statistic, found.outside) == (pytest.approx(statistic), outside)


def test_two_samples_apart_have_the_p_value_of_their_orders() -> None:
    # Of the 70 ways to order four and four, two keep them apart.
    assert drift([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]).p_value == pytest.approx(2 / 70)


def test_it_warns_once_when_the_window_is_full(caplog: pytest.LogCaptureFixture) -> None:
    watch = monitor()
    for _ in range(19):
        watch(trace(0.3))
    assert watch.drifted == {} and not caplog.records

    for _ in range(41):
        watch(trace(0.3))

    assert watch.drifted["small"].outside == watch.drifted["small"].statistic == 1.0
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'small' have left the calibrated range" in record.getMessage()
    assert "100 % outside" in record.getMessage()


def test_confidences_inside_the_range_may_have_drifted_too() -> None:
    watch = monitor()
    for _ in range(20):
        watch(trace(0.55))

    assert watch.drifted["small"].outside == 0.0


def test_a_warning_while_nothing_changes_is_as_rare_as_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    alarms, repeats = 0, 200
    for _ in range(repeats):
        watch = monitor(reference={"small": rng.random(50)}, window=20, false_alarm=0.2)
        for sure in 1 - rng.random(10 * 20):
            watch(trace(sure))
        alarms += bool(watch.drifted)

    # Each look takes less than its part, for the distances are few; looks at the full level would alarm far more often.
    assert 0.02 <= alarms / repeats <= 0.2 + 3 * (0.2 * 0.8 / repeats) ** 0.5


def test_candidates_are_watched_apart_and_others_left_alone() -> None:
    watch = monitor(reference={"small": np.linspace(0.5, 1.0, 100), "big": np.linspace(0.1, 0.5, 100)})
    for sure in np.random.default_rng(0).permutation(np.linspace(0.5, 1.0, 40)):
        watch(trace(sure))
        watch(trace(sure, candidate=BIG))
        watch(trace(0.01, candidate=Candidate("other", model=object())))

    assert list(watch.drifted) == ["big"]


def test_who_failed_or_said_nothing_of_its_tokens_does_not_count() -> None:
    watch = monitor()
    failed = Attempt(call=Call(candidate=SMALL), error=ProviderError("down", family="server"))
    for _ in range(40):
        watch(Trace(attempts=(failed,)))
        watch(Trace(attempts=(Attempt(call=Call(candidate=SMALL), text="4"),)))
        watch(Trace())

    assert watch.drifted == {}


def test_threads_lose_no_answer_and_warn_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = monitor(window=2000)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(watch, [trace(0.3)] * 1999))
    assert watch.drifted == {}

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(watch, [trace(0.3)] * 2001))
    assert len(caplog.records) == 1


def test_it_is_a_callback_of_a_cascade(caplog: pytest.LogCaptureFixture) -> None:
    # No model, so no log-probabilities: the answers themselves are what is judged.
    class Length(TokenConfidence):
        def _confidence(self, request, answers, attempts):  # type: ignore[no-untyped-def]
            return len(answers[-1].text) / 10

    watch = monitor(estimator=Length(), reference={"quick": np.linspace(0.5, 1.0, 100)}, window=10)
    cascade = CascadeRunnable(
        steps=[Candidate("quick", model=lambda question: question[:1]), Candidate("slow", model=str.upper)],
        estimator=lambda question, answer: 0.0,
        on_trace=watch,
    )

    assert cascade.batch(["hello"] * 10) == ["HELLO"] * 10
    assert "quick" in watch.drifted and len(caplog.records) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reference": {}}, "is empty"),
        ({"reference": {"small": []}}, r"reference\['small'\] must be a list of finite"),
        ({"reference": {"small": [float("nan")]}}, "finite"),
        ({"window": 9}, "at least 10"),
        ({"false_alarm": 0}, "false_alarm"),
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        monitor(**wrong)
