"""One call on the router made ready for the engine: the job, the run and the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation.dispatcher import active_instrument_tags

from router_integrations.adapters.session import Pool, Settings, open_run
from router_integrations.llama_index.binding import BINDING
from router_integrations.llama_index.describe import Job, describe
from router_integrations.llama_index.history import check, refuses
from router_integrations.llama_index.host import LlamaIndexHost
from router_integrations.steps import Run


def job_of(messages: Sequence[ChatMessage], stop: list[str] | None, kwargs: Mapping[str, Any]) -> Job:
    """Return the job that a call's arguments amount to, its messages checked.

    Args:
        messages: The conversation.
        stop: Stop sequences, for a call that brings none.
        kwargs: The call's arguments.

    Raises:
        RequestError: The messages are malformed.
    """
    check(messages)
    settings = dict(kwargs)
    forced, binding = settings.pop("model", None), settings.pop(BINDING, None)
    if stop and not settings.get("stop"):
        settings["stop"] = stop
    # A stream is read later, when the caller's tags may be gone.
    tags = active_instrument_tags.get()
    return Job(messages=messages, forced=forced, binding=binding, kwargs=settings, tags=tags)


def open_session(pool: Pool, settings: Settings, job: Job, manager: CallbackManager) -> tuple[Run, LlamaIndexHost]:
    """Return the run and the host that the engine needs; nothing has been called yet.

    Raises:
        NoEligibleCandidate: No candidate can take the request.
        ConfigurationError: The caller wants a candidate that is not there.
    """
    describing = partial(describe, job, context_turns=settings.context_turns)
    run = open_run(pool, settings, forced=job.forced, describe=describing, refuses=partial(refuses, job.messages))
    host = LlamaIndexHost(
        models=pool.models,
        targets=pool.targets,
        job=job,
        manager=manager,
        span=active_span_id.get(),
        input_tokens=run.request.input_tokens,
        limiter=settings.limiter,
        asked=pool.asked,
    )
    return run, host
