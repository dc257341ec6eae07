"""How far one request may go, and the conversation that it belongs to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from router_integrations.errors import ConfigurationError
from router_integrations.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far one request may go, and what its conversation may cost.

    Args:
        max_calls: Calls at most, retries included; at least 1.
        deadline: Seconds for the whole request; `None` is no limit.
        budget: USD for the whole request; `None` is no limit. What nobody has a price for counts as nothing.
        conversation_budget: USD for all requests with the same `Request.conversation_id` (LangGraph's ``thread_id``)
            together, as the router's `Ledger` remembers them; a request without an id is a conversation of its own.
            `None` is no limit.

    Raises:
        ConfigurationError: A limit is not above 0.

    >>> Limits(deadline=30).max_calls
    32
    """

    max_calls: int = 32
    deadline: float | None = None
    budget: float | None = None
    conversation_budget: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_calls", "deadline", "budget", "conversation_budget"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"Limits.{name} must be above 0 but got {value!r}; leave it out for none")


class Allowance:
    """What one request under way has left of its limits.

    Args:
        limits: How far it may go.
        ledger: What conversations have cost; told what this request costs.
        conversation: The id of its conversation; `None` is a conversation of its own.

    >>> allowance = Allowance(limits=Limits(conversation_budget=1.0), ledger=Ledger(), conversation="a")
    >>> allowance.spend(0.75)
    >>> allowance.budget, allowance.refusal(0.5)
    (0.25, "1.250000 USD would be over the conversation's budget of 1.0 USD")
    """

    def __init__(self, *, limits: Limits, ledger: Ledger, conversation: str | None) -> None:
        self._limits = limits
        self._ledger = ledger
        self._conversation = conversation
        self._started = time.monotonic()
        self._spent = 0.0

    @property
    def budget(self) -> float | None:
        """USD left, the least of all budgets; `None` without any."""
        return min((limit - spent for limit, spent, _ in self._budgets()), default=None)

    @property
    def seconds(self) -> float | None:
        """Seconds left; `None` without a deadline."""
        deadline = self._limits.deadline
        return None if deadline is None else deadline - (time.monotonic() - self._started)

    def take(self, seconds: float, cost: float) -> None:
        """Note the seconds that had passed and the USD that were spent before the request was taken up again."""
        self._started -= seconds
        self._spent += cost

    def spend(self, cost: float) -> None:
        """Note that a call has cost so many USD."""
        self._spent += cost
        if self._conversation is not None and self._limits.conversation_budget is not None:
            self._ledger.record(self._conversation, cost)

    def refusal(self, expected: float) -> str:
        """Return in words why calls may not be made that are expected to cost so many USD; empty when they may."""
        if (left := self.seconds) is not None and left <= 0:
            return f"the deadline of {self._limits.deadline} s passed"
        for limit, spent, whose in self._budgets():
            if spent + expected > limit or spent >= limit:
                return f"{spent + expected:.6f} USD would be over the {whose} of {limit} USD"
        return ""

    def _budgets(self) -> Iterator[tuple[float, float, str]]:
        """Yield each budget with the USD spent of it, and its name."""
        if self._limits.budget is not None:
            yield self._limits.budget, self._spent, "budget"
        if self._limits.conversation_budget is not None:
            known = 0.0 if self._conversation is None else self._ledger.spent(self._conversation)
            # A request that was begun in another process is not in the ledger of this one.
            spent = max(known, self._spent)
            yield self._limits.conversation_budget, spent, "conversation's budget"
