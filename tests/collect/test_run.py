"""Collections over a real server: what is asked, graded, paid, and gone on with after a kill."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles import Own
from langchain_core.messages import AIMessage

from router_integrations import Candidate
from router_integrations.collect import Judge, Plan, Prompt, Tally, acollect, collect
from router_integrations.errors import ConfigurationError
from router_integrations.learning import Record
from router_integrations.records import read
from router_integrations.testing.replies import Fault, Reply
from router_integrations.testing.server import ScriptedServer

# One answer of ten tokens to a prompt of ten costs 2e-5 USD.
USAGE = {"prompt_tokens": 10, "completion_tokens": 10}
SUMS = [Prompt(text=f"{n}+{n}?", reference=str(2 * n)) for n in range(4)]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        for model in ("small", "large"):
            server.script(model, Reply(text="It is 4.", usage=USAGE), repeat=True)
        yield server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def candidate(server: ScriptedServer, name: str, **options: Any) -> Candidate:
    given = {"input_price": 1e-6, "output_price": 1e-6, "max_output": 100, "max_retries": 0} | options
    params = {"api_base": server.base_url, "api_key": "k"}
    return Candidate(f"openai/{name}", name=name, params=params, **given)


def both(server: ScriptedServer, **options: Any) -> list[Candidate]:
    return [candidate(server, name, **options) for name in ("small", "large")]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_candidate_is_asked_every_prompt_and_the_records_are_read(server: ScriptedServer, out: Path) -> None:
    tally = collect(SUMS, both(server), out=out, grader="number")
    records = sorted(read(out, strict=True), key=lambda record: (record.text, record.candidate))

    assert tally == Tally(total=8, done=8, spent=pytest.approx(8 * 2e-5))
    assert [(record.text, record.candidate, record.quality) for record in records] == [
        (prompt.text, name, float(prompt.reference == "4")) for prompt in SUMS for name in ("large", "small")
    ]
    assert [(one.input_tokens, one.output_tokens) for one in records] == [(10, 10)] * 8
    assert [one.cost for one in records] == [pytest.approx(2e-5)] * 8
    assert all((record.latency or 0) > 0 for record in records)
    assert Counter(request.model for request in server.requests) == {"small": 4, "large": 4}


async def test_it_runs_inside_an_event_loop(server: ScriptedServer, out: Path) -> None:
    assert (await acollect(SUMS, both(server), out=out, grader="number")).done == 8


async def test_inside_an_event_loop_it_names_the_async_twin(out: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"use `await acollect\(...\)`"):
        collect(SUMS, ["openai/gpt-4o-mini"], out=out, grader="number")
    # What was made and never awaited would warn now.
    gc.collect()
    assert not out.exists()


def test_the_first_call_is_not_timed_with_the_import_of_litellm(server: ScriptedServer, out: Path) -> None:
    code = """
import sys, time
from router_integrations import providers
from router_integrations.collect import Plan, Prompt, collect
from router_integrations import Candidate

def slow():
    if providers._loaded is None:
        time.sleep(5)
    return load()

load, providers._litellm = providers._litellm, slow
free = Candidate("openai/small", params={"api_base": sys.argv[2], "api_key": "k"}, input_price=0, output_price=0)
collect([Prompt(text="2+2?", reference="4")], [free], out=sys.argv[1], grader="number")
"""
    done = subprocess.run([sys.executable, "-c", code, str(out), server.base_url], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    [record] = read(out, strict=True)
    assert record.latency is not None and record.latency < 5


def test_what_a_prompt_says_of_itself_is_in_its_records(server: ScriptedServer, out: Path) -> None:
    prompt = Prompt(text="What?", reference="4", query_id="q1", domain="cats", split="train", images=("data:,cat",))
    collect([prompt], both(server)[:1], out=out, grader="contains")
    [record] = read(out, strict=True)
    content = server.requests[0].body["messages"][0]["content"]

    assert (record.query_id, record.domain, record.split, record.images) == ("q1", "cats", "train", ("data:,cat",))
    assert content == [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:,cat"}}]


def test_several_samples_are_several_records(server: ScriptedServer, out: Path) -> None:
    tally = collect(SUMS[:1], both(server), out=out, grader="number", plan=Plan(samples=3))

    assert tally.total == tally.done == 6
    assert sorted((line["candidate"], line["sample"]) for line in lines(out)) == [
        (name, sample) for name in ("large", "small") for sample in range(3)
    ]


def test_what_has_a_record_is_not_asked_again(server: ScriptedServer, out: Path) -> None:
    collect(SUMS[:2], both(server)[:1], out=out, grader="number")
    tally = collect(SUMS, both(server), out=out, grader="number", plan=Plan(samples=2))

    assert tally == Tally(total=16, done=16, spent=pytest.approx(16 * 2e-5))
    assert len(server.requests) == len(lines(out)) == 16


def test_no_more_than_wanted_are_under_way(server: ScriptedServer, out: Path) -> None:
    under_way = most = 0

    async def slow(prompt: Prompt, answer: str) -> float:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.1)
        under_way -= 1
        return 1.0

    prompts = [str(n) for n in range(12)]
    tally = collect(prompts, both(server)[:1], out=out, grader=slow, plan=Plan(concurrency=3))

    assert tally.done == 12
    assert most <= 3


def test_progress_is_told_unit_by_unit(server: ScriptedServer, out: Path) -> None:
    seen: list[Tally] = []
    collect(SUMS, both(server)[:1], out=out, grader="number", plan=Plan(on_progress=seen.append))

    assert [tally.done for tally in seen] == [1, 2, 3, 4, 4]
    assert {tally.total for tally in seen} == {4}


class TestFailures:
    def test_a_busy_provider_is_asked_again(self, server: ScriptedServer, out: Path) -> None:
        busy = Fault("status", status=429, retry_after=0.01)
        server.script("small", busy, busy, Reply(text="4", usage=USAGE))
        tally = collect(SUMS[2:3], [candidate(server, "small", max_retries=2)], out=out, grader="number")

        assert (tally.done, tally.failed, len(server.requests)) == (1, 0, 3)

    def test_a_failure_is_recorded_and_tried_again_by_the_next_run(self, server: ScriptedServer, out: Path) -> None:
        server.script("small", Fault("status", status=429))
        first = collect(SUMS[2:3], both(server), out=out, grader="number")
        [failure] = lines(Path(f"{out}.failed"))
        second = collect(SUMS[2:3], both(server), out=out, grader="number")

        assert (first.done, first.failed, first.left) == (1, 1, 0)
        assert (failure["candidate"], failure["query_id"], failure["sample"]) == ("small", "2+2?", 0)
        assert failure["error"].startswith("AllCandidatesFailed: no candidate answered: 'small':")
        assert (second.done, second.failed) == (2, 0)
        assert Counter(request.model for request in server.requests) == {"small": 2, "large": 1}
        assert len(list(read(out, strict=True))) == 2

    def test_an_answer_that_could_not_be_graded_is_kept(
        self, server: ScriptedServer, out: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(prompt: Prompt, answer: str) -> float:
            raise ZeroDivisionError("mine")

        with caplog.at_level(logging.WARNING, "router_integrations"):
            first = collect(SUMS, both(server), out=out, grader=broken)
        second = collect(SUMS, both(server), out=out, grader="number")

        assert (first.done, first.failed, first.spent) == (0, 8, pytest.approx(8 * 2e-5))
        assert (second.done, second.failed, second.spent) == (8, 0, first.spent)
        assert len(server.requests) == 8
        assert [record.cost for record in read(out, strict=True)] == [pytest.approx(2e-5)] * 8
        assert len(caplog.records) == 1 and "mine; the next run tries again" in caplog.text

    @pytest.mark.parametrize("grade", [7, -1, "good", None, float("nan")])
    def test_a_grade_out_of_range_is_a_failure(self, grade: Any, server: ScriptedServer, out: Path) -> None:
        tally = collect(SUMS[:1], both(server)[:1], out=out, grader=lambda prompt, answer: grade)

        assert (tally.done, tally.failed) == (0, 1)
        assert out.read_text() == ""

    def test_a_bug_in_the_progress_hook_is_not_hidden(self, server: ScriptedServer, out: Path) -> None:
        def hook(tally: Tally) -> None:
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            collect(SUMS, both(server), out=out, grader="number", plan=Plan(on_progress=hook))


class TestBudget:
    # At the longest answer of 100 tokens, with the bytes of the prompt and the message's own tokens.
    WORST = (100 + len("0+0?") + 16) * 1e-6

    @pytest.mark.parametrize("concurrency", [1, 8])
    def test_no_call_is_begun_that_could_exceed_it(self, concurrency: int, server: ScriptedServer, out: Path) -> None:
        budget = 3 * 2e-5 + self.WORST
        tally = collect(SUMS, both(server), out=out, grader="number", budget=budget, plan=Plan(concurrency=concurrency))

        assert (tally.done, tally.left) == (4, 4)
        assert tally.spent == pytest.approx(4 * 2e-5)
        assert len(server.requests) == 4

    def test_it_holds_when_answers_are_as_long_as_they_can_be(self, server: ScriptedServer, out: Path) -> None:
        for model in ("small", "large"):
            server.script(model, Reply(text="4", usage={"prompt_tokens": 20, "completion_tokens": 100}), repeat=True)
        tally = collect(SUMS, both(server), out=out, grader="number", budget=5e-4)

        assert tally.left > 0
        assert 5e-4 - self.WORST < tally.spent <= 5e-4

    def test_it_is_for_all_runs_together(self, server: ScriptedServer, out: Path) -> None:
        budget = 3 * 2e-5 + self.WORST
        collect(SUMS, both(server), out=out, grader="number", budget=budget)
        again = collect(SUMS, both(server), out=out, grader="number", budget=budget)
        more = collect(SUMS, both(server), out=out, grader="number", budget=1.0)

        assert (again.done, again.left, more.done, more.left) == (4, 4, 8, 0)

    def test_a_wanted_length_bounds_what_a_call_can_cost(self, server: ScriptedServer, out: Path) -> None:
        budget = 3 * 2e-5 + self.WORST
        tally = collect(SUMS, both(server), out=out, grader="number", budget=budget, plan=Plan(max_tokens=10))

        assert tally.left < 4
        assert {request.body["max_tokens"] for request in server.requests} == {10}

    def test_a_judge_is_paid_from_it_too(self, server: ScriptedServer, out: Path) -> None:
        server.script(
            "judge", Reply(text="Grade: 5", usage={"prompt_tokens": 100, "completion_tokens": 10}), repeat=True
        )
        judge = Judge(candidate(server, "judge"), max_tokens=10)
        tally = collect(SUMS, both(server), out=out, grader=judge, budget=1.0)
        tight = collect(SUMS, both(server), out=out.with_name("b.jsonl"), grader=judge, budget=4e-4)

        assert tally.spent == pytest.approx(8 * (2e-5 + 1.1e-4))
        assert {record.quality for record in read(out, strict=True)} == {0.5}
        assert [record.cost for record in read(out, strict=True)] == [pytest.approx(2e-5)] * 8
        assert (tight.done, tight.left) == (0, 8)

    def test_without_prices_there_is_no_budget(self, out: Path) -> None:
        own = Candidate("mine", model=Own())
        with pytest.raises(ConfigurationError, match="nobody knows what a call to mine may cost"):
            collect(SUMS, [own], out=out, grader="number", budget=1.0)

    def test_a_judge_without_prices_has_none_either(self, server: ScriptedServer, out: Path) -> None:
        with pytest.raises(ConfigurationError, match="nobody knows what a call to mine may cost"):
            judge = Judge(Candidate("mine", model=Own()))
            collect(SUMS, both(server)[:1], out=out, grader=judge, budget=1.0)

    def test_unknown_prices_are_told(self, out: Path, caplog: pytest.LogCaptureFixture) -> None:
        own = Candidate("mine", model=Own(replies=[AIMessage("4")]))
        with caplog.at_level(logging.WARNING, "router_integrations"):
            tally = collect(SUMS, [own], out=out, grader="number")

        assert (tally.done, tally.spent, tally.unpriced) == (4, 0.0, ("mine",))
        assert "prices of mine are unknown" in caplog.text

    @pytest.mark.parametrize("budget", [0, -1, float("nan")])
    def test_a_budget_of_nothing_is_refused(self, budget: float, server: ScriptedServer, out: Path) -> None:
        with pytest.raises(ConfigurationError, match="budget must be above 0 USD but got"):
            collect(SUMS, both(server), out=out, grader="number", budget=budget)


def test_prompts_without_a_reference_are_refused_before_anybody_is_asked(server: ScriptedServer, out: Path) -> None:
    with pytest.raises(ConfigurationError, match="'Hi' has no reference answer to compare with"):
        collect([*SUMS, "Hi"], both(server), out=out, grader="exact")
    assert server.requests == []


@pytest.mark.parametrize("option", ["samples", "concurrency", "max_tokens"])
def test_a_plan_asks_at_least_once(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Plan.{option} must be at least 1 but got 0"):
        Plan(**{option: 0})


KILLED = """
import sys
from router_integrations import Candidate
from router_integrations.collect import Plan, collect

out, url = sys.argv[1:]
params = {"api_base": url, "api_key": "k"}
pool = [Candidate(f"openai/{name}", name=name, params=params, input_price=1e-6, output_price=1e-6)
        for name in ("small", "large")]
tally = collect([{"text": f"{n}+{n}?", "answer": 2 * n} for n in range(20)], pool, out=out, grader="number",
                plan=Plan(concurrency=3))
print(tally.done, tally.total)
"""


def test_a_killed_run_goes_on_and_asks_nothing_twice_that_has_a_record(server: ScriptedServer, out: Path) -> None:
    for model in ("small", "large"):
        server.script(model, Reply(text="4", usage=USAGE, delay=0.03), repeat=True)
    command = [sys.executable, "-c", KILLED, str(out), server.base_url]
    first = subprocess.Popen(command)
    assert server.wait_until(lambda seen: len(seen.requests) >= 12, timeout=60)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait(timeout=60) == -signal.SIGKILL
    recorded = {(line["text"], line["candidate"]) for line in lines(out)}
    asked = len(server.requests)
    second = subprocess.run(command, capture_output=True, text=True, timeout=120)
    calls = Counter((request.body["messages"][-1]["content"], request.model) for request in server.requests)

    assert second.stdout.split() == ["40", "40"], second.stderr
    assert 0 < len(recorded) <= asked < 40
    assert {calls[unit] for unit in recorded} == {1}
    # Only what was under way when the process died was asked twice.
    assert sum(calls.values()) - 40 <= 3
    assert Counter((line["text"], line["candidate"]) for line in lines(out)) == dict.fromkeys(calls, 1)
    assert len(list(read(out, strict=True))) == 40


async def test_a_run_that_is_cancelled_keeps_what_it_has(server: ScriptedServer, out: Path) -> None:
    server.script("large", Fault("hang"), repeat=True)
    running = asyncio.create_task(acollect(SUMS, both(server), out=out, grader="number", plan=Plan(concurrency=8)))
    while not out.exists() or len(out.read_bytes().splitlines()) < 4:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert {record.candidate for record in read(out, strict=True)} == {"small"}
    assert isinstance(next(iter(read(out))), Record)
