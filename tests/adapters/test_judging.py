from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from router_integrations.adapters.judging import averdict, verdict
from router_integrations.errors import ProviderError


def length(text: str) -> int:
    return len(text)


async def awaited(text: str) -> int:
    await asyncio.sleep(0)
    return len(text)


class Judge:
    async def __call__(self, text: str) -> int:
        return await awaited(text)


JUDGES = pytest.mark.parametrize(
    "judge",
    [length, awaited, Judge(), partial(Judge()), lambda text: awaited(text)],
    ids=["function", "coroutine", "object", "partial", "lambda"],
)


@JUDGES
def test_a_judge_is_asked_however_it_is_written(judge: Any) -> None:
    assert verdict(judge, "four") == 4


@JUDGES
async def test_it_is_asked_on_an_event_loop_too(judge: Any) -> None:
    assert await averdict(judge, "four") == 4
    assert verdict(judge, "four") == 4


async def test_whatever_it_raises_is_a_failed_attempt() -> None:
    async def breaks(text: str) -> str:
        raise KeyError(text)

    with pytest.raises(ProviderError, match="KeyError: 'four'"):
        verdict(breaks, "four")
    with pytest.raises(ProviderError, match="KeyError: 'four'"):
        await averdict(breaks, "four")
