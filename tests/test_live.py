from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from router_integrations import engine, live
from router_integrations.candidates import Candidate
from router_integrations.errors import AllCandidatesFailed, LimitExceeded, ProviderError, StreamInterrupted
from router_integrations.estimators import TokenConfidence
from router_integrations.gating import Gate
from router_integrations.health import Health
from router_integrations.limits import Limits
from router_integrations.steps import Run
from router_integrations.strategies import Cascade
from router_integrations.types import Attempt, Call, Estimate, Request, Usage
from tests.test_engine import Scripted

SMALL, BIG = (Candidate(name, model=object(), input_price=0.0, output_price=1.0) for name in ("small", "big"))
GATE = Gate(window=3, above=0.7)
SURE, UNSURE = ["0.9 "] * 3, ["0.5 "] * 3
DOWN = ProviderError("down", family="not_found")


class Telling(Scripted):
    """A host whose tokens say their own probability; a chunk may hold several, one that is no number has none."""

    looks = 0

    def attempt(self, call: Call, chunks: Sequence[str]) -> Attempt:
        self.looks += 1
        words = "".join(chunks).split()
        known = tuple(math.log(float(word)) for word in words if word[0].isdigit())
        usage = Usage(input_tokens=1, output_tokens=len(words)) if words else None
        cost = None if usage is None else call.candidate.cost(usage)
        return replace(super().attempt(call, chunks), logprobs=known, usage=usage, cost=cost)


def run_of(gate: Gate = GATE, **options: Any) -> Run:
    strategy = Cascade(estimator=TokenConfidence(), order="given", accept=0.7, gate=gate)
    return Run(strategy=strategy, request=Request(text="hi", candidates=(SMALL, BIG)), **options)


Driver = Callable[[Run, Scripted, list[str]], None]


def _stream(run: Run, host: Scripted, shown: list[str]) -> None:
    shown.extend(engine.stream(run, host))


def _astream(run: Run, host: Scripted, shown: list[str]) -> None:
    async def collect() -> None:
        async for chunk in engine.astream(run, host):
            shown.append(chunk)

    asyncio.run(collect())


streamed = pytest.mark.parametrize("drive", [_stream, _astream])


@pytest.fixture(autouse=True)
def _warned_of_nobody() -> Iterator[None]:
    live._warn_of.cache_clear()
    yield


@streamed
def test_an_answer_that_passes_is_shown_chunk_by_chunk_and_accepted(drive: Driver) -> None:
    run, shown = run_of(), []
    drive(run, host := Telling(small=[*SURE, "0.1 ", "0.1 "], big=["no"]), shown)

    assert shown == [*SURE, "0.1 ", "0.1 "]
    assert [attempt.call.candidate for attempt in run.trace.attempts] == [SMALL]
    assert run.trace.answer is run.trace.attempts[0]
    assert 0 < run.trace.answer.first_token <= run.trace.answer.latency
    assert host.open == host.closed == 1


def test_nothing_is_shown_until_the_window_is_full() -> None:
    taken = []

    class Notes(Telling):
        def _play(self, call: Call) -> Iterator[str]:
            for part in super()._play(call):
                taken.append(part)
                yield part

    chunks = engine.stream(run_of(), Notes(small=[*SURE, "0.8 ", "0.7 "]))
    assert next(chunks) == SURE[0]
    assert taken == SURE
    assert list(chunks) == [*SURE[1:], "0.8 ", "0.7 "]


@streamed
def test_an_answer_that_does_not_pass_is_cut_off_unseen_and_paid_to_there(drive: Driver) -> None:
    run, shown = run_of(), []
    drive(run, host := Telling(small=[*UNSURE, ZeroDivisionError()], big=["yes ", "indeed"]), shown)
    draft, answer = run.trace.attempts

    assert shown == ["yes ", "indeed"]
    assert draft.error is not None and draft.error.family == "unsure"
    assert str(draft.error) == "cut off at the gate: the first 3 tokens had a confidence of 0.50 <= 0.70"
    assert (draft.text, draft.cost, draft.first_token) == ("".join(UNSURE), 3.0, None)
    assert run.trace.answer is answer
    assert answer.call.reason == "'small' did not pass the gate"
    assert run.trace.cost == 5.0
    assert host.open == host.closed == 2


@streamed
def test_a_draft_that_is_cut_off_is_no_fault_of_its_candidate(drive: Driver) -> None:
    health = Health(threshold=1)
    drive(run_of(health=health), Telling(small=UNSURE, big=["yes"]), [])

    assert health.cooling() == frozenset()


@streamed
@pytest.mark.parametrize(
    ("script", "shown"), [(["0.9 "], ["replayed 0.9 "]), (["0.5 "], ["yes"]), (["word "], ["replayed word "])]
)
def test_an_answer_that_ends_before_the_window_is_judged_as_a_whole(
    drive: Driver, script: list[str], shown: list[str]
) -> None:
    run, found = run_of(), []
    run.strategy.estimator.prior = _Half()  # type: ignore[attr-defined]
    drive(run, Telling(small=script, big=["yes"]), found)

    assert found == shown
    assert run.trace.attempts[0].error is None
    assert run.trace.attempts[0].first_token is None


class _Half:
    """Takes every answer about which nothing is known for good."""

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> Any:
        return [Estimate(quality=0.8) for _ in candidates]


@streamed
def test_without_log_probabilities_the_answer_is_buffered_and_one_warning_names_the_remedy(
    drive: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            run = run_of()
            run.strategy.estimator.prior = _Half()  # type: ignore[attr-defined]
            drive(run, Telling(small=["a ", "b ", "c ", "d "]), shown)

    assert shown == ["replayed a b c d "] * 2
    (record,) = caplog.records
    assert "'small'" in record.getMessage() and "params={'logprobs': True}" in record.getMessage()


@streamed
def test_an_error_while_chunks_are_held_goes_to_the_next_candidate_and_is_paid(drive: Driver) -> None:
    run, shown = run_of(), []
    drive(run, Telling(small=["0.9 ", "0.9 ", DOWN], big=["yes"]), shown)

    assert shown == ["yes"]
    assert (run.trace.attempts[0].error, run.trace.attempts[0].cost) == (DOWN, 2.0)
    assert run.trace.cost == 3.0


@streamed
def test_an_error_after_the_gate_has_opened_is_an_interrupted_stream(drive: Driver) -> None:
    run, shown = run_of(), []
    with pytest.raises(StreamInterrupted):
        drive(run, Telling(small=[*SURE, DOWN], big=["yes"]), shown)

    assert shown == SURE
    assert run.trace.answer is None and run.trace.cost == 3.0


@streamed
def test_when_the_others_fail_a_draft_that_was_cut_off_is_no_answer(drive: Driver) -> None:
    run, shown = run_of(), []
    with pytest.raises(AllCandidatesFailed, match="'small': cut off at the gate"):
        drive(run, Telling(small=UNSURE, big=[DOWN]), shown)

    assert shown == [] and run.trace.cost == 3.0


@streamed
def test_when_the_budget_ends_a_draft_that_was_cut_off_is_no_answer(drive: Driver) -> None:
    run, shown = run_of(limits=Limits(budget=2.0)), []
    with pytest.raises(LimitExceeded):
        drive(run, Telling(small=UNSURE, big=["yes"]), shown)

    assert shown == []


async def test_a_stream_cancelled_while_chunks_are_held_is_closed_and_its_tokens_are_paid() -> None:
    held = asyncio.Event()
    host, run = Telling(small=["0.9 ", held]), run_of()
    task = asyncio.create_task(anext(engine.astream(run, host)))
    while not host.open:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert host.open == host.closed == 1
    assert (run.trace.answer, run.trace.cost) == (None, 1.0)


def test_a_reader_who_leaves_after_the_gate_has_opened_closes_the_call() -> None:
    host, run = Telling(small=[*SURE, "0.9 "]), run_of()
    chunks = engine.stream(run, host)
    next(chunks)
    chunks.close()

    assert host.open == host.closed == 1
    assert run.trace.answer is run.trace.attempts[0]


async def test_silence_while_chunks_are_held_is_a_timeout_and_the_next_candidate_answers() -> None:
    slow = Candidate("small", model=object(), strength=0.5, timeout=0.01, max_retries=0)
    run = run_of()
    run = replace(run, request=replace(run.request, candidates=(slow, BIG)))
    host = Telling(small=["0.9 ", asyncio.Event()], big=["yes"])

    assert [chunk async for chunk in engine.astream(run, host)] == ["yes"]
    assert run.trace.attempts[0].error.family == "timeout"


@streamed
@pytest.mark.parametrize("gate", [Gate(window=1), Gate(window=3), Gate(window=8)])
@pytest.mark.parametrize("chunks", [SURE * 4, UNSURE * 4, [*SURE, *UNSURE], ["0.9 0.9 0.5 0.5 "] * 3, [*"ab", *UNSURE]])
def test_a_buffered_run_decides_alike(drive: Driver, gate: Gate, chunks: list[str]) -> None:
    buffered, streaming, shown = run_of(gate), run_of(gate), []
    engine.run(buffered, Telling(small=chunks, big=["yes"]))
    drive(streaming, Telling(small=chunks, big=["yes"]), shown)
    asked = [[attempt.call.candidate.name for attempt in run.trace.attempts] for run in (buffered, streaming)]

    assert asked[0] == asked[1]
    assert "".join(shown).removeprefix("replayed ") == buffered.trace.answer.text


def test_chunks_are_put_together_a_few_times_not_once_each() -> None:
    host = Telling(small=["0.9 "] * 100)
    list(engine.stream(run_of(Gate(window=100)), host))

    assert host.looks <= 4
