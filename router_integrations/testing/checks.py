"""What the contract suites are made of: example requests, hosts, drivers and checks."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from router_integrations.candidates import Candidate
from router_integrations.engine import arun, astream, run, stream
from router_integrations.errors import ProviderError
from router_integrations.steps import Run
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Snapshot, Usage

_T = TypeVar("_T")
# Each of these sends some careless regular expression into quadratic time.
HUGE_TEXTS = {
    "words": "word " * 100_000,
    "newlines": "\n" * 200_000,
    "brackets": "f(" * 200_000,
    "characters": "字" * 200_000,
    "list": " - \n" * 100_000,
}
_USAGE = Usage(input_tokens=10, output_tokens=5)
REPLIES = (
    Outcome(text="yes", logprobs=(-0.1,), usage=_USAGE),
    Outcome(text="I do not know", logprobs=(-3.0, -4.0), usage=_USAGE),
    Outcome(text="", finish_reason="length", usage=_USAGE),
    Outcome(text="no usage"),
    Outcome(tool_calls=({"name": "search", "args": {}, "id": "1"},), finish_reason="tool_calls"),
)
_WORKERS = 8


def example_candidates() -> tuple[Candidate, ...]:
    """Return three candidates of rising price and strength, able to call tools.

    >>> [candidate.name for candidate in example_candidates()]
    ['small', 'medium', 'large']
    """
    return tuple(
        Candidate(
            name,
            model=object(),
            input_price=price,
            output_price=4 * price,
            context_window=10_000_000,
            tools=True,
            strength=strength,
            latency=0.5,
        )
        for name, price, strength in (("small", 1e-7, 0.3), ("medium", 1e-6, 0.6), ("large", 1e-5, 0.9))
    )


def example_requests(candidates: tuple[Candidate, ...]) -> list[Request]:
    """Return requests of many kinds to `candidates`."""
    texts = (
        "",
        " \n\t ",
        "What is 2 + 2?",
        "Prove, step by step, that there are infinitely many primes.",
        "请证明根号二是无理数。",
        "لماذا السماء زرقاء؟",
        "def f(x):\n    return {x: [x]}\n",
        "🙂",
    )
    plain = [Request(text=text, candidates=candidates) for text in texts]
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}
    return [
        *plain,
        replace(plain[2], tools=(tool,), needs=frozenset({"tools"})),
        replace(plain[2], schema={"type": "object", "properties": {"answer": {"type": "string"}}}),
        replace(plain[2], system="Be short.", turns=7, input_tokens=5_000, max_output_tokens=20),
        replace(plain[3], cached_tokens=4_000, input_tokens=5_000, snapshot=Snapshot(previous=candidates[0].name)),
        replace(plain[3], conversation_id="c", user_id="u", native=[{"role": "user", "content": "hi"}]),
    ]


def example_attempts(candidates: tuple[Candidate, ...]) -> list[Attempt]:
    """Return a reply of the first candidate and a failure of the last one, if there are two."""
    reply = Attempt(call=Call(candidate=candidates[0]), text="yes", logprobs=(-0.1,), usage=_USAGE, latency=0.5)
    failure = Attempt(call=Call(candidate=candidates[-1]), error=_down(), latency=0.1)
    return [reply, failure][: len(candidates)]


def table(candidates: tuple[Candidate, ...], outcome: Outcome = REPLIES[0], *, down: Collection[str] = ()) -> TableHost:
    """Return a host where each candidate gives `outcome`, but for those that are `down`."""
    failure = Outcome(error=_down())
    return TableHost({one.name: failure if one.name in down else outcome for one in candidates})


class LiveHost(TableHost):
    """A table whose attempts carry a host's own reply, which no record holds."""

    def ask(self, call: Call, timeout: float | None) -> Attempt:
        """Return the next outcome with a native reply."""
        return replace(super().ask(call, timeout), native=object())


def _run(run_: Run, host: TableHost) -> Trace:
    return run(run_, host)


def _arun(run_: Run, host: TableHost) -> Trace:
    return asyncio.run(arun(run_, host))


def _stream(run_: Run, host: TableHost) -> Trace:
    return _streamed(run_, list(stream(run_, host)))


def _astream(run_: Run, host: TableHost) -> Trace:
    async def collect() -> list[Outcome]:
        return [chunk async for chunk in astream(run_, host)]

    return _streamed(run_, asyncio.run(collect()))


def _streamed(run_: Run, chunks: list[Outcome]) -> Trace:
    shown = "".join(chunk.text for chunk in chunks)
    answer = run_.trace.answer
    assert answer is not None and shown == answer.text, "the stream shows another text than the answer"
    return run_.trace


DRIVERS: tuple[Callable[[Run, TableHost], Trace], ...] = (_run, _arun, _stream, _astream)


def story(trace: Trace) -> list[tuple[Any, ...]]:
    """Return what was decided, without what varies from run to run: latencies, native replies, words."""
    return [
        (
            attempt.call.candidate.name,
            attempt.call.purpose,
            attempt.call.final,
            attempt.text,
            attempt.error and attempt.error.family,
            attempt is trace.answer,
        )
        for attempt in trace.attempts
    ]


def looks(request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt]) -> str:
    """Return all that a strategy or an estimator could have changed in its arguments."""
    return repr((request, request.native, [vars(candidate) for candidate in candidates], attempts))


def close(one: Estimate, other: Estimate) -> bool:
    """Return whether two estimates differ by no more than the order of a sum explains."""
    pairs = zip(_numbers(one), _numbers(other), strict=True)
    return all(a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-6)) for a, b in pairs)


def check_estimates(
    estimator: Estimator, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
) -> None:
    """Check that there is one estimate per candidate, with finite numbers in range."""
    estimates = estimator.estimate(request, candidates, attempts)
    assert len(estimates) == len(candidates), f"{len(estimates)} estimates for {len(candidates)} candidates"
    for estimate in estimates:
        numbers = [number for number in _numbers(estimate) if number is not None]
        assert all(math.isfinite(number) and number >= 0 for number in numbers), f"a number is wrong in {estimate}"
        assert estimate.quality <= 1, f"quality is above 1 in {estimate}"


def check_constructor(subject: object) -> None:
    """Check that the options are keyword-only, and stored as they are under their own names."""
    options = inspect.signature(type(subject)).parameters.values()
    for option in options:
        assert option.kind is option.KEYWORD_ONLY, f"{option.name} may be given without its name"
        assert hasattr(subject, option.name), f"the constructor does not store {option.name}"
    given = {option.name: getattr(subject, option.name) for option in options}
    again = type(subject)(**given)
    for name, value in given.items():
        assert getattr(again, name) is value, f"the constructor changes {name}"


def check_threads(ask: Callable[[Request], _T], requests: Sequence[Request]) -> None:
    """Check that many threads asking at once get what one gets."""
    expected = [ask(request) for request in requests]
    barrier = threading.Barrier(_WORKERS)

    def work(worker: int) -> bool:
        barrier.wait()
        turns = [(worker + step) % len(requests) for step in range(4 * len(requests))]
        return all(ask(requests[turn]) == expected[turn] for turn in turns)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(_WORKERS) as pool:
            assert all(pool.map(work, range(_WORKERS))), "threads that share it get in each other's way"
    finally:
        sys.setswitchinterval(interval)


def _down() -> ProviderError:
    # A family that is not retried, so that no check waits.
    return ProviderError("down", family="not_found")


def _numbers(estimate: Estimate) -> tuple[float | None, ...]:
    return (estimate.quality, estimate.std, estimate.cost, estimate.latency)
