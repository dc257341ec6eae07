"""One streamed call: its chunks are passed on as they come, or held back until its gate opens."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from router_integrations.errors import ProviderError
from router_integrations.hedging import arace, race
from router_integrations.reasons import compared
from router_integrations.steps import Run
from router_integrations.types import Attempt, Call

if TYPE_CHECKING:
    from router_integrations.engine import Host

_log = logging.getLogger(__name__)


class Live:
    """Passes the chunks of a call on, and tells afterwards what they amounted to.

    A call with a gate shows nothing until the gate opens, and is cut off when it does not; one that ends before that
    has shown nothing, as if it had been buffered.

    Args:
        run: The request, told when the stream breaks or its reader leaves.
        host: Makes the call.
        call: What to ask.
        timeout: Seconds of silence that end the call; `None` is no limit.
    """

    def __init__(self, *, run: Run, host: Host, call: Call, timeout: float | None) -> None:
        self._run = run
        self._host = host
        self._call = call
        self._timeout = timeout
        self._gate = None if call.final else call.gate
        self._look_at = 1
        self._seen: list[Any] = []
        self._error: ProviderError | None = None
        self._in_race = False
        self._first_token: float | None = None
        self._started = 0.0

    def chunks(self) -> Generator[Any, None, None]:
        """Yield what may be shown.

        Raises:
            StreamInterrupted: The stream broke after something was shown.
        """
        self._started = time.perf_counter()
        try:
            # A generator of the host's is closed with ours, so that an abandoned stream ends its connection.
            with closing(self._host.stream(self._call, self._timeout)) as source:
                for chunk in source:
                    yield from self._passed(chunk)
                    if self._error is not None:
                        return
        except ProviderError as error:
            self._fail(error)
        except GeneratorExit:
            self.leave()
            raise

    async def achunks(self) -> AsyncGenerator[Any, None]:
        """Async `chunks`."""
        self._started = time.perf_counter()
        try:
            async with aclosing(self._host.astream(self._call, self._timeout)) as source:
                while self._error is None:
                    # The limit is on the silence between two chunks: a long answer is no fault.
                    async with asyncio.timeout(self._timeout):
                        chunk = await anext(source, None)
                    if chunk is None:
                        return
                    for shown in self._passed(chunk):
                        yield shown
        except TimeoutError:
            self._fail(timed_out(self._timeout))
        except ProviderError as error:
            self._fail(error)
        except (GeneratorExit, asyncio.CancelledError):
            self.leave()
            raise

    def attempt(self) -> Attempt:
        """Return what has come."""
        if self._error is None and not self._seen:
            self._error = ProviderError("the stream ended without a chunk", family="malformed")
        attempt = self._host.attempt(self._call, self._seen)
        if self._gate is not None and attempt.text and not attempt.logprobs and self._error is None:
            _warn_of(self._call.candidate.name)
        return replace(
            attempt,
            error=self._error,
            latency=attempt.latency or time.perf_counter() - self._started,
            first_token=self._first_token,
        )

    def _passed(self, chunk: Any) -> Sequence[Any]:
        """Return what may be shown now that `chunk` has come: nothing, all that was held back, or the chunk."""
        self._seen.append(chunk)
        if self._first_token is not None:
            return (chunk,)
        if not self._opens():
            return ()
        self._first_token = time.perf_counter() - self._started
        return tuple(self._seen)

    def _opens(self) -> bool:
        gate, seen = self._gate, len(self._seen)
        if gate is None:
            return True
        if seen < self._look_at:
            return False
        logprobs = self._host.attempt(self._call, self._seen).logprobs
        opens = gate.opens(logprobs)
        if opens is None:
            # Chunks are dear to put together: next when the window can be full, at so many tokens a chunk.
            missing = max(gate.window - len(logprobs), 1)
            self._look_at = seen + math.ceil(missing / max(len(logprobs) / seen, 1))
        elif not opens:
            sure = compared(gate.confidence(logprobs) or 0.0, "<=", gate.above)
            self._error = ProviderError(
                f"cut off at the gate: the first {gate.window} tokens had a confidence of {sure}",
                family="unsure",
            )
        return bool(opens)

    def enter(self) -> None:
        """Note that a rival may win, and that the race is told when the reader leaves."""
        self._in_race = True

    def win(self, *others: Live) -> None:
        """Note that this one goes on alone; nothing of the others is shown."""
        self._in_race = False
        for other in others:
            other._error = other._error or _answered_first(self._call)
            other._first_token = None
            self._run.overtaken(other.attempt())

    def leave(self) -> None:
        """Note that the reader has left."""
        if self._started and not self._in_race:
            seconds = time.perf_counter() - self._started
            self._run.abandoned(self.attempt() if self._seen else cancelled(self._host, self._call, seconds))

    def _fail(self, error: ProviderError) -> None:
        self._error = error
        if self._first_token is not None:
            raise self._run.interrupted(self.attempt()) from error


class Race:
    """Passes the chunks of a call on, or those of its rival if that is the first to show one.

    Args:
        first: The call.
        rival: The other one.
        after: Seconds without a chunk of the first after which the rival is asked.
    """

    def __init__(self, *, first: Live, rival: Live, after: float) -> None:
        self._lives = (first, rival)
        self._after = after
        self._winner = first
        for live in self._lives:
            live.enter()

    def chunks(self) -> Generator[Any, None, None]:
        """Yield what may be shown.

        Raises:
            StreamInterrupted: The stream broke after something was shown.
        """
        first, rival = self._lives
        sources = first.chunks(), rival.chunks()
        won, ran = race(
            lambda: (first, next(sources[0], None)),
            lambda: (rival, next(sources[1], None)),
            after=self._after,
            good=_begun,
        )
        self._decide(won, len(ran))
        for place, one in enumerate(ran):
            if place != won:
                # A thread cannot be stopped; its stream is closed when its next chunk comes.
                one.add_done_callback(lambda _, source=sources[place]: source.close())  # type: ignore[misc]
        with closing(sources[won]) as source:
            if (chunk := ran[won].result()[1]) is not None:
                yield chunk
                yield from source

    async def achunks(self) -> AsyncGenerator[Any, None]:
        """Async `chunks`."""
        first, rival = self._lives
        async with AsyncExitStack() as stack:
            sources = [await stack.enter_async_context(aclosing(live.achunks())) for live in self._lives]

            async def begin(live: Live, source: AsyncGenerator[Any, None]) -> tuple[Live, Any]:
                return live, await anext(source, None)

            try:
                won, ran = await arace(
                    lambda: begin(first, sources[0]),
                    lambda: begin(rival, sources[1]),
                    after=self._after,
                    good=_begun,
                )
            except asyncio.CancelledError:
                for live in self._lives:
                    live.win()
                    live.leave()
                raise
            self._decide(won, len(ran))
            if (chunk := ran[won].result()[1]) is not None:
                yield chunk
                async for chunk in sources[won]:
                    yield chunk

    def attempt(self) -> Attempt:
        """Return what has come of the one that won."""
        return self._winner.attempt()

    def _decide(self, won: int, ran: int) -> None:
        self._winner = self._lives[won]
        self._winner.win(*(live for live in self._lives[:ran] if live is not self._winner))


def _begun(start: tuple[Live, Any]) -> bool:
    """Whether a stream has shown something, or has ended well without: its answer is still to be judged."""
    live, chunk = start
    return chunk is not None or live.attempt().error is None


def beaten(attempt: Attempt, winner: Call) -> Attempt:
    """Return `attempt` as one that came too late, unless it failed by itself."""
    return replace(attempt, error=attempt.error or _answered_first(winner))


def cancelled(host: Host, call: Call, seconds: float) -> Attempt:
    """Return the attempt of a call that its caller cancelled after so many seconds."""
    error = ProviderError("the caller cancelled it", family="cancelled")
    return replace(host.attempt(call, ()), error=error, latency=seconds)


def _answered_first(call: Call) -> ProviderError:
    return ProviderError(f"{call.candidate.name!r} answered first", family="cancelled")


def timed_out(timeout: float | None) -> ProviderError:
    """Return the failure of a call that took longer than `timeout` seconds."""
    return ProviderError(f"no answer within {timeout} s", family="timeout")


@lru_cache(maxsize=1024)
def _warn_of(name: str) -> None:
    """Warn once of a candidate whose gate can never open."""
    _log.warning(
        "%r streams no log-probabilities, so its gate cannot open and its answers are buffered; "
        "give it params={'logprobs': True}, or the cascade no gate",
        name,
    )
