"""A second call beside one that is slow to answer: who is asked, when, and how the first good answer is found."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from router_integrations.candidates import Candidate

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """Who is asked the same when a call is slow; the first good answer counts, and the other call is given up.

    Args:
        candidate: Whom to ask besides; may be the one that is slow.
        after: Seconds without an answer, in a stream without a chunk shown, above 0.

    Raises:
        ConfigurationError: `after` is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> Hedge(candidate=Candidate("big", model=object()), after=2.0).after
    2.0
    """

    candidate: Candidate
    after: float

    def __post_init__(self) -> None:
        check_after("Hedge.after", self.after)


def check_after(name: str, after: float) -> None:
    """Check the seconds after which a rival is asked.

    Raises:
        ConfigurationError: They are not finite, or not above 0.

    >>> check_after("Hedge.after", 2.0)
    """
    if not (after > 0 and math.isfinite(after)):
        raise ConfigurationError(f"{name} must be finite and above 0 seconds but got {after!r}; 2 is usual")


def race(
    first: Callable[[], _T], rival: Callable[[], _T], *, after: float, good: Callable[[_T], bool]
) -> tuple[int, list[Future[_T]]]:
    """Run `first`, and `rival` too when there is no result in time; return which one counts, and those that ran.

    The first good result counts; without any, that of `first`. Each runs in a thread of its own, which goes on when the
    other one has won.

    >>> place, ran = race(lambda: "yes", lambda: "no", after=10.0, good=bool)
    >>> place, [one.result() for one in ran]
    (0, ['yes'])
    """
    running = [_thread(first)]
    wait(running, timeout=after)
    if not running[0].done():
        running.append(_thread(rival))
    while True:
        done = [one.done() for one in running]
        won = next((place for place, one in enumerate(running) if done[place] and good(one.result())), None)
        if won is not None or all(done):
            return won or 0, running
        wait([one for place, one in enumerate(running) if not done[place]], return_when=FIRST_COMPLETED)


async def arace(
    first: Callable[[], Coroutine[Any, Any, _T]],
    rival: Callable[[], Coroutine[Any, Any, _T]],
    *,
    after: float,
    good: Callable[[_T], bool],
) -> tuple[int, list[asyncio.Task[_T]]]:
    """Async `race`; when it returns nothing runs any more: who has not won is cancelled, and has ended."""
    running = [asyncio.ensure_future(first())]
    try:
        await asyncio.wait(running, timeout=after)
        if not running[0].done():
            running.append(asyncio.ensure_future(rival()))
        while True:
            done = [one.done() for one in running]
            won = next((place for place, one in enumerate(running) if done[place] and good(one.result())), None)
            if won is not None or all(done):
                return won or 0, running
            left = [one for place, one in enumerate(running) if not done[place]]
            await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(running)


async def ended(tasks: Sequence[asyncio.Task[_T]]) -> list[_T | BaseException]:
    """Cancel `tasks`, wait until all have ended, and return what each came to."""
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _thread(work: Callable[[], _T]) -> Future[_T]:
    """Run `work` in a thread that nobody has to wait for, also when the process ends."""
    future: Future[_T] = Future()
    # It carries the host's run tree.
    context = contextvars.copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, name="router-hedge", daemon=True).start()
    return future
