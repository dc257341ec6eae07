"""One call on the router made ready for the engine: the job, the request, the run and the host."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableConfig

from router_integrations.candidates import Candidate, eligible
from router_integrations.errors import ConfigurationError
from router_integrations.health import Health
from router_integrations.langchain.binding import BINDING
from router_integrations.langchain.describe import Job, describe
from router_integrations.langchain.history import Target, check, refuses
from router_integrations.langchain.host import LangChainHost
from router_integrations.limits import Limits
from router_integrations.pacer import Pacer
from router_integrations.steps import Run
from router_integrations.types import Request, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The candidates of a router with the chat model and the provider's ways of each, by name."""

    candidates: tuple[Candidate, ...]
    models: Mapping[str, BaseChatModel]
    targets: Mapping[str, Target]

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
    """How a router decides."""

    strategy: Strategy
    limits: Limits
    health: Health
    pacer: Pacer | None
    context_turns: int
    limiter: BaseRateLimiter | None


def job_of(messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]) -> Job:
    """Return the job that a call's arguments amount to, its messages checked.

    Raises:
        RequestError: The messages are malformed.
    """
    check(messages)
    settings = dict(kwargs)
    return Job(
        messages=messages,
        stop=stop or None,
        forced=settings.pop("model", None),
        binding=settings.pop(BINDING, None),
        kwargs=settings,
    )


def open_session(pool: Pool, settings: Settings, job: Job, config: RunnableConfig) -> tuple[Run, LangChainHost]:
    """Return the run and the host that the engine needs; nothing has been called yet.

    Raises:
        NoEligibleCandidate: No candidate can take the request.
        ConfigurationError: The caller wants a candidate that is not there.
    """
    started = time.perf_counter()
    candidates = (pool.forced(job.forced),) if job.forced is not None else pool.candidates
    request = describe(job, config, context_turns=settings.context_turns, candidates=candidates)
    refused = {candidate.name: refuses(job.messages, pool.targets[candidate.name]) for candidate in candidates}
    able, rejected = eligible(candidates, request, refused)
    judges = pool.candidates if job.forced is None else ()
    run = Run(
        strategy=settings.strategy,
        request=_with_state(replace(request, candidates=able, judges=judges), settings),
        rejected=rejected,
        limits=settings.limits,
        health=settings.health,
        pacer=settings.pacer,
        decide_seconds=time.perf_counter() - started,
    )
    host = LangChainHost(
        models=pool.models,
        targets=pool.targets,
        job=job,
        config=config,
        input_tokens=request.input_tokens,
        limiter=settings.limiter,
    )
    return run, host


def _with_state(request: Request, settings: Settings) -> Request:
    snapshot = request.snapshot
    cooling = settings.health.cooling()
    price = settings.pacer.current() if settings.pacer is not None else 0.0
    if cooling or price or settings.limits.budget is not None:
        snapshot = replace(snapshot, cooling=cooling, budget=settings.limits.budget, price=price)
    return replace(request, snapshot=snapshot)
