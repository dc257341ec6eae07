"""Every fault met by every strategy that makes several calls: nothing is lost, and nothing is left running."""

import asyncio
import math
import re
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from doubles import HARD, Wire, whole

from router_integrations import Candidate, Limits, Trace
from router_integrations.errors import AllCandidatesFailed, RouterError, StrategyError
from router_integrations.langchain import CascadeRunnable, RouterChatModel
from router_integrations.strategies import (
    AgreementCascade,
    BestOfN,
    Cascade,
    CascadeRouting,
    Hedged,
    JudgedCascade,
)
from router_integrations.testing.replies import Fault, Reply, Step
from router_integrations.testing.server import ScriptedServer
from router_integrations.types import Estimate, Request, Utility

WAYS = ["invoke", "ainvoke", "stream", "astream"]
ASYNC = ["ainvoke", "astream"]
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
CHEAPLY = 50 * 1e-7 + 10 * 4e-7
PAID = {"small": CHEAPLY, "judge": CHEAPLY, "big": 50 * 3e-6 + 10 * 1e-5}
DOWN = Fault("status", status=500)


class Lengths:
    """Takes the length of an answer for its quality: ten words are perfect."""

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> list[Estimate]:
        said = {one.call.candidate.name: one.text for one in attempts if one.error is None}
        before = {"small": Estimate(quality=0.6, std=0.4, cost=1e-5), "big": Estimate(quality=0.9, cost=5e-3)}
        return [
            Estimate(quality=min(len(said[one.name].split()) / 10, 1.0)) if one.name in said else before[one.name]
            for one in candidates
        ]


def number(text: str) -> str:
    found = re.findall(r"\d+", text)
    return found[-1] if found else ""


def cascade() -> Cascade:
    return Cascade(estimator=Lengths(), order=("small", "big"), accept=0.7)


# Each asks "small" first and "big" next; the second number is how many calls of "small" come before that.
STRATEGIES: dict[str, tuple[Callable[[], Any], int]] = {
    "cascade": (cascade, 1),
    "hedged cascade": (lambda: Hedged(strategy=cascade(), after=30.0), 1),
    "cascade routing": (lambda: CascadeRouting(estimator=Lengths(), utility=Utility(enough=1, per_usd=1)), 1),
    "judged cascade": (lambda: JudgedCascade(order=("small", "big"), judge="judge", votes=2), 1),
    "agreement cascade": (lambda: AgreementCascade(levels=[{"small": 3}, {"big": 1}], read=number), 3),
    "best of n": (lambda: BestOfN(n=3, order=("small",), read=number), 3),
}
every_strategy = pytest.mark.parametrize("name", STRATEGIES)
every_way = pytest.mark.parametrize("way", WAYS)
escalating = pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "best of n"])


@pytest.fixture(scope="module", autouse=True)
def _one_client(server: ScriptedServer) -> None:
    """Makes LiteLLM's client: threads that are the first to call make one each, and Python warns of those not kept."""
    Wire(server).router().invoke("hi")
    # What cascade routing loads with its first decision takes longer than the shortest deadline here.
    import_module("scipy.stats")


@pytest.fixture(autouse=True)
def _nothing_is_left_running(server: ScriptedServer) -> Iterator[None]:
    yield
    assert server.wait_until(lambda server: server.open_streams == 0)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("router-")] == []


class Told:
    """A router over "small" and "big", with the traces that it told."""

    def __init__(self, wire: Wire, name: str, **options: Any) -> None:
        make, self.drafts = STRATEGIES[name]
        self.wire = wire
        self.traces: list[Trace] = []
        self.model = wire.router(
            strategy=make(), judges=[wire.candidate("openai/judge")], on_trace=self.traces.append, **options
        )

    async def ask(self, way: str) -> Any:
        match way:
            case "invoke":
                return self.model.invoke(HARD)
            case "ainvoke":
                return await self.model.ainvoke(HARD)
            case "stream":
                return whole(self.model.stream(HARD))
        answer = whole([chunk async for chunk in self.model.astream(HARD)])
        # Nothing that the request has begun goes on after it.
        assert tasks() == []
        return answer

    @property
    def trace(self) -> Trace:
        (trace,) = self.traces
        return trace

    def nothing_is_lost(self) -> None:
        """Check that each request to the server is in the one trace, and its cost if it was answered."""
        attempts = self.trace.attempts
        paid = [PAID[one.call.candidate.name] for one in attempts if one.error is None]

        assert sorted(one.call.candidate.name for one in attempts) == sorted(self.wire.models)
        assert self.trace.cost == pytest.approx(math.fsum(paid))


def tasks() -> list[Any]:
    """Return the other tasks of the loop, without the one with which LiteLLM logs for as long as the loop lives."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return [one for one in others if "LoggingWorker" not in repr(one)]


def reply(text: str, **fields: Any) -> Reply:
    return Reply(text=text, usage=USAGE, **fields)


def script(wire: Wire, **steps: Any) -> None:
    for model, its in steps.items():
        wire.server.script(model, *(its if isinstance(its, list) else [its]), repeat=not isinstance(its, list))


def poor(drafts: int) -> list[Step]:
    """Drafts that no strategy keeps, being short and of two opinions; the best says 5, in whatever order they come."""
    return [reply("so 5"), reply("so 4"), reply("so 5")][:drafts]


@every_strategy
@every_way
async def test_a_draft_that_fails_is_followed_by_the_next(wire: Wire, name: str, way: str) -> None:
    told = Told(wire, name)
    script(wire, small=DOWN, big=reply("it is 7"))

    assert (await told.ask(way)).text == "it is 7"
    assert [one.error.family for one in told.trace.attempts[: told.drafts]] == ["server"] * told.drafts
    told.nothing_is_lost()


@every_strategy
@every_way
async def test_when_all_fail_the_error_has_every_attempt(wire: Wire, name: str, way: str) -> None:
    told = Told(wire, name)
    script(wire, small=DOWN, big=DOWN)
    with pytest.raises(AllCandidatesFailed) as caught:
        await told.ask(way)

    assert caught.value.trace is told.trace
    assert {one.call.candidate.name for one in told.trace.attempts} == {"small", "big"}
    told.nothing_is_lost()


@escalating
@every_way
async def test_when_the_next_one_fails_the_best_draft_is_the_answer(wire: Wire, name: str, way: str) -> None:
    told = Told(wire, name)
    script(wire, small=poor(told.drafts), judge=reply("False"), big=DOWN)

    assert (await told.ask(way)).text == "so 5"
    assert told.trace.attempts[-1].error.family == "server"
    assert told.trace.confidence is not None
    told.nothing_is_lost()


@every_way
async def test_of_several_answers_one_may_fail(wire: Wire, way: str) -> None:
    told = Told(wire, "best of n")
    script(wire, small=[DOWN, reply("so 5"), DOWN])

    assert (await told.ask(way)).text == "so 5"
    told.nothing_is_lost()


@every_way
@pytest.mark.parametrize("verdict", [DOWN, reply("Bananas."), reply("")], ids=["fails", "nonsense", "nothing"])
async def test_a_judge_that_says_nothing_leads_to_the_next(wire: Wire, way: str, verdict: Step) -> None:
    told = Told(wire, "judged cascade")
    script(wire, small=poor(1), judge=verdict, big=reply("it is 7"))

    assert (await told.ask(way)).text == "it is 7"
    assert wire.models == ["small", "judge", "judge", "big"]
    told.nothing_is_lost()


@every_way
async def test_a_judge_that_fails_and_nobody_behind_it_leaves_the_draft(wire: Wire, way: str) -> None:
    told = Told(wire, "judged cascade")
    script(wire, small=poor(1), judge=DOWN, big=DOWN)

    assert (await told.ask(way)).text == "so 5"
    told.nothing_is_lost()


class Broken(Lengths):
    """Fails at the first answer that it sees."""

    def estimate(self, request: Request, candidates: Any, attempts: Any = ()) -> list[Estimate]:
        if any(one.error is None for one in attempts):
            raise ZeroDivisionError
        return super().estimate(request, candidates, attempts)


@every_way
@pytest.mark.parametrize(
    "strategy",
    [Cascade(estimator=Broken()), CascadeRouting(estimator=Broken(), utility=Utility(enough=1, per_usd=1))],
    ids=["cascade", "cascade routing"],
)
async def test_an_estimator_that_fails_is_an_error_with_what_was_paid(wire: Wire, way: str, strategy: Any) -> None:
    told = Told(wire, "cascade")
    told.model.strategy = strategy
    script(wire, small=poor(1))
    with pytest.raises(StrategyError, match="ZeroDivisionError") as caught:
        await told.ask(way)

    assert caught.value.trace.cost == pytest.approx(PAID["small"])
    told.nothing_is_lost()


@every_strategy
@every_way
async def test_a_budget_that_ends_midway_leaves_the_best_draft(wire: Wire, name: str, way: str) -> None:
    told = Told(wire, name, limits=Limits(budget=1e-3))
    script(wire, small=poor(told.drafts), judge=reply("False"), big=reply("it is 7"))

    assert (await told.ask(way)).text == "so 5"
    assert "big" not in wire.models
    told.nothing_is_lost()


@every_strategy
@every_way
async def test_a_deadline_that_passes_midway_leaves_the_best_draft(wire: Wire, name: str, way: str) -> None:
    # Its answers come at once beside one that hangs; the others ask one after another.
    told = Told(wire, name, limits=Limits(deadline=2.0 if name == "best of n" else 0.6))
    drafts = [reply("so 5"), Fault("hang"), reply("so 5")] if name == "best of n" else poor(told.drafts)
    script(wire, small=drafts, judge=reply("False"), big=Fault("hang"))

    assert (await told.ask(way)).text == "so 5"
    assert [one.error.family for one in told.trace.attempts if one.error is not None] == ["timeout"]
    told.nothing_is_lost()


@every_strategy
@pytest.mark.parametrize("way", ASYNC)
async def test_a_cancelled_request_closes_its_calls_and_counts_what_they_cost(wire: Wire, name: str, way: str) -> None:
    before = wire.server.aborted
    told = Told(wire, name)
    drafts = [reply("so 5"), Fault("hang"), reply("so 5")] if name == "best of n" else poor(told.drafts)
    script(wire, small=drafts, judge=reply("False"), big=Fault("hang"))
    hangs = 3 if name == "best of n" else told.drafts + (2 if name == "judged cascade" else 0) + 1
    task = asyncio.create_task(told.ask(way))
    ready = asyncio.to_thread(
        wire.server.wait_until, lambda _: len(wire.requests) == hangs and wire.server.open_streams == 1
    )
    assert await ready
    # The answers beside the one that hangs have left the server; they must reach the client, too.
    await asyncio.sleep(0.5 if name == "best of n" else 0.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert tasks() == []
    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.aborted == before + 1)
    assert [one.error.family for one in told.trace.attempts if one.error is not None] == ["cancelled"]
    assert told.trace.reason == "the caller left before the end"
    told.nothing_is_lost()


@pytest.mark.parametrize("name", ["cascade", "hedged cascade", "judged cascade", "agreement cascade"])
@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_reader_who_leaves_closes_the_last_call(wire: Wire, name: str, way: str) -> None:
    before = wire.server.aborted
    told = Told(wire, name)
    script(wire, small=poor(told.drafts), judge=reply("False"), big=Reply(text="word " * 200, chunk_delay=0.05))
    if way == "stream":
        chunks = told.model.stream(HARD)
        next(chunks)
        chunks.close()
    else:
        achunks = told.model.astream(HARD)
        await anext(achunks)
        await achunks.aclose()

    assert await asyncio.to_thread(wire.server.wait_until, lambda server: server.aborted == before + 1)
    *drafts, last = told.trace.attempts
    assert told.trace.answer is last
    assert last.usage.estimated
    assert len(drafts) == told.drafts + 2 * (name == "judged cascade")
    assert told.trace.cost == pytest.approx(len(drafts) * PAID["small"] + last.cost)


@every_strategy
async def test_thirty_requests_at_once_under_faults_lose_nothing(wire: Wire, name: str) -> None:
    told = Told(wire, name)
    script(wire, small=[DOWN, reply("so 4"), reply("so 5")] * 100, judge=reply("False"), big=reply("it is 7"))

    async def one(index: int) -> Any:
        return await told.model.ainvoke(f"{HARD} {index}")

    ends = await asyncio.gather(*map(one, range(30)), return_exceptions=True)

    assert not [end for end in ends if isinstance(end, BaseException) and not isinstance(end, RouterError)]
    assert len(told.traces) == 30
    assert sum(len(trace.attempts) for trace in told.traces) == len(wire.requests)
    assert tasks() == []


def test_the_sync_ways_in_threads_lose_nothing(wire: Wire) -> None:
    told: RouterChatModel = Told(wire, "agreement cascade").model
    script(wire, small=[DOWN, reply("so 4"), reply("so 5"), reply("so 4")] * 30, big=reply("it is 7"))
    answers = told.batch([f"{HARD} {index}" for index in range(12)], {"max_concurrency": 4})

    asked = [attempt for answer in answers for attempt in answer.response_metadata["router"]["attempts"]]
    assert len(asked) == len(wire.requests)


# What happens inside the steps of a cascade of runnables


def two_models(wire: Wire, traces: list[Trace], **fields: Any) -> CascadeRunnable:
    """A cascade whose first step asks two models in turn, of which the second one hangs."""
    wire.server.script("first", Reply(text="a plan", usage=USAGE))
    wire.server.script("second", Fault("hang"))
    first, second = (RouterChatModel(candidates=[wire.candidate(f"openai/{name}")]) for name in ("first", "second"))
    chain = first | (lambda plan: plan.text) | second
    slow = Candidate("slow", model=chain, input_price=1e-7, output_price=4e-7, **fields)
    return CascadeRunnable(steps=[slow, Candidate("quick", model=lambda _: "yes")], on_trace=traces.append)


async def test_a_step_that_times_out_keeps_what_its_models_have_used(wire: Wire) -> None:
    traces: list[Trace] = []

    assert await two_models(wire, traces, timeout=0.5).ainvoke(HARD) == "yes"
    timed_out = traces[0].attempts[0]
    assert timed_out.error.family == "timeout"
    assert (timed_out.usage.input_tokens, timed_out.usage.output_tokens) == (50, 10)
    assert timed_out.cost == pytest.approx(CHEAPLY)


@pytest.mark.parametrize("way", ASYNC)
async def test_a_step_that_is_cancelled_keeps_what_its_models_have_used(wire: Wire, way: str) -> None:
    traces: list[Trace] = []
    cascade = two_models(wire, traces)

    async def ask() -> Any:
        return await cascade.ainvoke(HARD) if way == "ainvoke" else [one async for one in cascade.astream(HARD)]

    task = asyncio.create_task(ask())
    assert await asyncio.to_thread(wire.server.wait_until, lambda _: wire.models == ["first", "second"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (cancelled,) = traces[0].attempts
    assert cancelled.error.family == "cancelled"
    assert cancelled.cost == traces[0].cost == pytest.approx(CHEAPLY)
