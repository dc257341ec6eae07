"""One call on the router made ready for the engine: the job, the run and the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from router_integrations.adapters.session import Pool, Settings, open_run
from router_integrations.candidates import Candidate
from router_integrations.langchain.binding import BINDING
from router_integrations.langchain.describe import Job, describe
from router_integrations.langchain.history import Target, check, refuses
from router_integrations.langchain.host import LangChainHost
from router_integrations.steps import Run
from router_integrations.types import Request


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

    def described(candidates: tuple[Candidate, ...]) -> Request:
        return describe(job, config, context_turns=settings.context_turns, candidates=candidates)

    def refused(target: Target) -> str:
        return refuses(job.messages, target)

    run = open_run(pool, settings, forced=job.forced, describe=described, refuses=refused)
    host = LangChainHost(
        models=pool.models,
        targets=pool.targets,
        job=job,
        config=config,
        input_tokens=run.request.input_tokens,
        asked=pool.asked,
        limiter=settings.limiter,
    )
    return run, host
