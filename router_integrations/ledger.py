"""What conversations have cost so far, for a budget that many requests share."""

from __future__ import annotations

from collections import OrderedDict

from router_integrations.errors import ConfigurationError
from router_integrations.locking import Locked


class Ledger(Locked):
    """Adds up what the requests of each conversation have cost, for `Limits.conversation_budget`.

    Every call counts when it ends, also of a request that fails, is cancelled or left, so requests of one conversation
    that run at once see what the others have spent. Safe to share between threads, event loops and routers. Kept in
    this process alone: nothing is saved. Of more conversations than it may hold, the one that was not used for longest
    is forgotten, and begins anew.

    Args:
        conversations: How many are remembered, at least 1; some 200 bytes each.

    Raises:
        ConfigurationError: The number is below 1.

    >>> ledger = Ledger(conversations=2)
    >>> for conversation, cost in (("a", 0.25), ("a", 0.5), ("b", 1.0)):
    ...     ledger.record(conversation, cost)
    >>> ledger.spent("a"), ledger.spent("c")
    (0.75, 0.0)
    >>> ledger.record("c", 2.0)
    >>> ledger.spent("b")
    0.0
    """

    def __init__(self, *, conversations: int = 10_000) -> None:
        if conversations < 1:
            raise ConfigurationError(
                f"Ledger.conversations must be at least 1 but got {conversations!r}; 10000 is the default"
            )
        self.conversations = conversations
        self._spent: OrderedDict[str, float] = OrderedDict()
        super().__init__()

    def spent(self, conversation: str) -> float:
        """Return the USD that a conversation has cost; 0 of one that is unknown."""
        with self._lock:
            if conversation in self._spent:
                self._spent.move_to_end(conversation)
            return self._spent.get(conversation, 0.0)

    def record(self, conversation: str, cost: float) -> None:
        """Add to what a conversation has cost.

        Args:
            conversation: Its id.
            cost: USD.
        """
        with self._lock:
            self._spent[conversation] = self._spent.get(conversation, 0.0) + cost
            self._spent.move_to_end(conversation)
            if len(self._spent) > self.conversations:
                self._spent.popitem(last=False)
