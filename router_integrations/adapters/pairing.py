"""What every provider would refuse of a history, whichever framework it came through: tool calls and bad texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from router_integrations.errors import RequestError
from router_integrations.tokens import byte_length


class Pairing:
    """Pairs tool calls with their results, from the first message to the last.

    >>> pairing = Pairing()
    >>> pairing.turn(0, {"1": True})
    >>> pairing.result(1, "1")
    >>> pairing.end(2)
    """

    def __init__(self) -> None:
        self.waiting: Mapping[str, bool] = {}
        self._times: Mapping[str, int] = {}
        self._answered = Counter[str]()

    def result(self, index: int, one: str) -> None:
        """Note that message `index` is the result of the call `one`.

        Raises:
            RequestError: There is no such call before it, or it has its result already.
        """
        if one not in self.waiting:
            raise RequestError(
                f"messages[{index}] is the result of the tool call {one!r}, but the answer before it makes no such "
                "call; keep a call and its results together"
            )
        if one and self._answered[one] >= self._times.get(one, 1):
            raise RequestError(f"messages[{index}] is the second result of the tool call {one!r}; keep one of them")
        self._answered[one] += 1

    def turn(self, index: int, waiting: Mapping[str, bool], times: Mapping[str, int] | None = None) -> None:
        """Note that message `index` is no result, and that the calls `waiting` may, or must, have one after it.

        Args:
            index: The message.
            waiting: The ids of its calls, and whether each must have a result.
            times: How many of its calls share an id, where it is more than one.

        Raises:
            RequestError: A call before it must have a result and has none.
        """
        if not (self.waiting or waiting):
            return
        missing = [
            one for one, wanted in self.waiting.items() if wanted and self._answered[one] < self._times.get(one, 1)
        ]
        if missing:
            raise RequestError(
                f"the tool calls {missing!r} have no result before messages[{index}]; add a message with each, "
                "or take the calls out"
            )
        self.waiting, self._times, self._answered = waiting, times or {}, Counter()

    def end(self, length: int) -> None:
        """Note that the conversation has `length` messages; calls may end it, but not some of their results.

        Raises:
            RequestError: Some calls of the last answer have results and others have not.
        """
        if self._answered:
            self.turn(length, {})


def check_texts(where: str, values: list[Any]) -> None:
    """Look for lone surrogates in each text of nested values; plain ASCII costs nothing.

    Raises:
        RequestError: There is one, which no provider can receive.

    >>> check_texts("messages[0]", [["fine", {"name": "too"}]])
    """
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
        elif isinstance(value, str) and not value.isascii():
            try:
                byte_length(value)
            except RequestError as error:
                raise RequestError(f"{where}: {error}") from error
