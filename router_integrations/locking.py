"""What threads share behind a lock, and what processes get a copy of."""

from __future__ import annotations

import threading
from typing import Any


class Locked:
    """Holds a lock that stays behind when a copy is made, as for another process; the copy goes on alone.

    >>> import copy
    >>> class Count(Locked):
    ...     value = 3
    >>> copy.deepcopy(Count()).value
    3
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
