"""A user's function as a judge: called at once, or awaited, whichever way it is written."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from router_integrations.adapters.rungs import is_async, step_fault


def verdict(judge: Callable[[str], Any], text: str) -> Any:
    """Return what a judge says of a text; what it has to wait for is waited for in a thread of its own.

    Args:
        judge: A function, a coroutine function, or an object that is called as one.
        text: What it is asked.

    Raises:
        ProviderError: It raised something.

    >>> verdict(len, "four")
    4
    """
    try:
        said = judge(text)
        return _waited_for(said) if inspect.isawaitable(said) else said
    except Exception as error:
        raise step_fault(error) from error


async def averdict(judge: Callable[[str], Any], text: str) -> Any:
    """Async `verdict`; a plain function runs off the event loop."""
    try:
        said = judge(text) if is_async(judge) else await asyncio.to_thread(judge, text)
        return await said if inspect.isawaitable(said) else said
    except Exception as error:
        raise step_fault(error) from error


def _waited_for(said: Awaitable[Any]) -> Any:
    async def whole() -> Any:
        return await said

    # The caller may be on an event loop, where no other one can be run.
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(copy_context().run, asyncio.run, whole()).result()
