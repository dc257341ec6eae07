"""One call on a router made ready for the engine, whichever framework it came through."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from router_integrations.candidates import Candidate, eligible
from router_integrations.errors import ConfigurationError
from router_integrations.health import Health
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.pacer import Pacer
from router_integrations.steps import Run
from router_integrations.types import Request, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The candidates and judges of a router with the host's model and the provider's ways of each, by name.

    In `asked`, also by name, are the parameters of calls whose replies the strategy looks at.

    >>> Pool(candidates=(Candidate("small", model=object()),), models={}, targets={}).forced("small").name
    'small'
    """

    candidates: tuple[Candidate, ...]
    models: Mapping[str, Any]
    targets: Mapping[str, Any]
    judges: tuple[Candidate, ...] = ()
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def forced(self, wanted: str) -> Candidate:
        """Return the candidate with this name, or the first with this model id.

        Raises:
            ConfigurationError: There is none.
        """
        for attribute in ("name", "id"):
            for candidate in self.candidates:
                if getattr(candidate, attribute) == wanted:
                    return candidate
        names = [candidate.name for candidate in self.candidates]
        raise ConfigurationError(f"model={wanted!r} is none of the candidates {names}; name one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a router decides; `limiter` is the host's, acquired before each call."""

    strategy: Strategy
    limits: Limits
    health: Health
    pacer: Pacer | None
    ledger: Ledger
    context_turns: int
    limiter: Any


def open_run(
    pool: Pool,
    settings: Settings,
    *,
    forced: str | None,
    describe: Callable[[tuple[Candidate, ...]], Request],
    refuses: Callable[[Any], str],
) -> Run:
    """Return the run that the engine needs; nothing has been called yet.

    Args:
        pool: Whom to choose among.
        settings: How to decide.
        forced: The name or id of the one candidate that the caller wants.
        describe: Returns the request, given the candidates, which tell how exactly tokens must be counted.
        refuses: Returns in words why the target of a candidate cannot go on with the conversation.

    Raises:
        NoEligibleCandidate: No candidate can take the request.
        ConfigurationError: The caller wants a candidate that is not there.
    """
    started = time.perf_counter()
    candidates = (pool.forced(forced),) if forced is not None else pool.candidates
    request = describe(candidates)
    refused = {candidate.name: refuses(pool.targets[candidate.name]) for candidate in candidates}
    able, rejected = eligible(candidates, request, refused)
    judges = (*pool.candidates, *pool.judges) if forced is None else ()
    return Run(
        strategy=settings.strategy,
        request=_with_state(replace(request, candidates=able, judges=judges), settings),
        rejected=rejected,
        limits=settings.limits,
        health=settings.health,
        pacer=settings.pacer,
        ledger=settings.ledger,
        decide_seconds=time.perf_counter() - started,
    )


def _with_state(request: Request, settings: Settings) -> Request:
    snapshot = request.snapshot
    cooling = settings.health.cooling()
    price = settings.pacer.current() if settings.pacer is not None else 0.0
    if cooling or price or settings.limits.budget is not None:
        snapshot = replace(snapshot, cooling=cooling, budget=settings.limits.budget, price=price)
    return replace(request, snapshot=snapshot)
