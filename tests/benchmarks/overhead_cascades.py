"""What `overhead.py` measures of cascades: in the engine alone, and `CascadeRunnable` beside `with_fallbacks`."""

import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from datetime import date
from typing import Any

from langchain_core.runnables import RunnableLambda
from measuring import Calls, percentiles, run, table, warm
from overhead_langchain import text

from router_integrations import Attempt, Call, Candidate, Estimate, Fixed, Request, engine
from router_integrations.langchain import CascadeRunnable
from router_integrations.steps import Run
from router_integrations.strategies import Cascade

GOAL, FACTOR = 0.2, 2.0
TWO_STEPS = "Cascade of two steps"
STANDS, ESCALATES, FAILS = "the first answer stands", "the second step is asked", "the first step fails"
PLAIN = "plain functions answer and judge"
OURS, THEIRS = "CascadeRunnable", "with_fallbacks"
POOL = tuple(Candidate(name, model=object(), strength=0.5) for name in ("small", "big"))


class Instant:
    """A host whose calls take no time."""

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        return Attempt(call=call, text="yes", latency=1e-6)

    async def aask(self, call: Call, timeout: float | None) -> Attempt:
        return self.ask(call, timeout)

    def stream(self, call: Call, timeout: float | None) -> Generator[str, None, None]:
        yield "yes"

    async def astream(self, call: Call, timeout: float | None) -> AsyncGenerator[str, None]:
        yield "yes"

    def attempt(self, call: Call, chunks: Sequence[str]) -> Attempt:
        return Attempt(call=call, text="".join(chunks), latency=1e-6)

    def replay(self, attempt: Attempt) -> Iterator[str]:
        yield attempt.text


class Always:
    """Trusts every answer alike, at no cost of its own."""

    def __init__(self, quality: float) -> None:
        self.quality = quality

    def estimate(self, request: Request, candidates: Sequence[Candidate], attempts: Any = ()) -> list[Estimate]:
        return [Estimate(quality=self.quality, cost=0.0)] * len(candidates)


def engine_calls() -> tuple[dict[str, Callable[[str], Any]], dict[str, Callable[[str], Any]]]:
    """Return sync and async runs of a strategy, by name."""
    host = Instant()
    strategies = {"Fixed, one call": Fixed(), TWO_STEPS: Cascade(estimator=Always(0.5), order="given", accept=0.9)}

    def started(strategy: Any, query: str) -> Run:
        return Run(strategy=strategy, request=Request(text=query, candidates=POOL))

    def sync(strategy: Any) -> Callable[[str], Any]:
        return lambda query: engine.run(started(strategy, query), host)

    def awaited(strategy: Any) -> Callable[[str], Any]:
        return lambda query: engine.arun(started(strategy, query), host)

    return ({name: sync(one) for name, one in strategies.items()}, {n: awaited(one) for n, one in strategies.items()})


def _answers(query: str) -> str:
    return "yes"


async def _aanswers(query: str) -> str:
    return "yes"


def _fails(query: str) -> str:
    raise ValueError(query)


async def _afails(query: str) -> str:
    raise ValueError(query)


def runnables() -> dict[str, dict[str, Any]]:
    """Return what to compare, by what happens: steps that answer at once, asked by us and by `with_fallbacks`."""
    answers, fails = RunnableLambda(_answers, _aanswers), RunnableLambda(_fails, _afails)
    # Awaited, each takes a thread: the answer and its judge two, the answer alone one.
    plain = RunnableLambda(_answers)

    def ours(first: Any, confidence: float) -> CascadeRunnable:
        return cascade(first, answers, Always(confidence))

    def cascade(first: Any, second: Any, estimator: Any) -> CascadeRunnable:
        steps = [Candidate("first", model=first), Candidate("second", model=second)]
        return CascadeRunnable(steps=steps, estimator=estimator)

    return {
        STANDS: {THEIRS: answers.with_fallbacks([answers]), OURS: ours(answers, 1.0)},
        # Fallbacks ask the second step only when the first one fails, so that both make two calls.
        ESCALATES: {THEIRS: fails.with_fallbacks([answers]), OURS: ours(answers, 0.0)},
        FAILS: {THEIRS: fails.with_fallbacks([answers]), OURS: ours(fails, 0.0)},
        PLAIN: {THEIRS: plain.with_fallbacks([plain]), OURS: cascade(plain, plain, lambda query, answer: 1.0)},
    }


def query() -> str:
    return text(10)


def _rows(kind: str, measure: Callable[[Calls, Callable[[], Any], int], Any], calls: Calls, rounds: int) -> list[Any]:
    times = measure(calls, query, rounds)
    return [[f"{name}, {kind}", *percentiles(its)] for name, its in times.items()]


def cascades(rounds: int) -> str:
    """Return the section of the report; it says what the machine was doing, for it may be measured alone."""
    before = os.getloadavg()[0]
    sync, awaited = engine_calls()
    alone = _rows("sync", run, sync, rounds) + _rows("async", warm, awaited, rounds)
    beside: list[list[Any]] = []
    goals: list[list[Any]] = [
        _goal(f"{row[0]}: below {GOAL} ms, p50", row[1], GOAL) for row in alone if TWO_STEPS in row[0]
    ]
    for what, arms in runnables().items():
        for way, measure in (("invoke", run), ("ainvoke", warm)):
            times = measure({name: getattr(one, way) for name, one in arms.items()}, query, rounds)
            theirs, ours = (percentiles(times[name])[0] for name in (THEIRS, OURS))
            beside.append([f"{what}, `{way}`", theirs, ours, ours / theirs])
            goals.append(
                _goal(f"{what}, `{way}`: at most {FACTOR:g} times `with_fallbacks`, p50", ours / theirs, FACTOR)
            )
    load = f"{date.today()}, {rounds:,} rounds; load average {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    return "\n".join(
        [
            f"{load}, on {os.cpu_count()} cores: other work slows all arms, which take turns in a random order.\n",
            table(["goal", "measured", "met"], goals),
            table(["in the engine alone, ms", "p50", "p95", "p99"], alone),
            table(["steps that answer at once, p50", f"{THEIRS}, ms", f"{OURS}, ms", "ratio"], beside),
        ]
    )


def _goal(what: str, measured: float, most: float) -> list[Any]:
    return [what, measured, "yes" if measured <= most else "no"]


def replaced(report: str, section: str) -> str:
    """Return a report with the section of cascades in place of its own, or at its end."""
    title = "## Cascades\n"
    head, _, rest = report.partition(title)
    tail = rest.partition("\n## ")[2]
    return f"{head.rstrip()}\n\n{title}\n{section}" + (f"\n## {tail}" if tail else "")
