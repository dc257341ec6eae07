"""Calls a model through LiteLLM: one HTTP request a call, plain dicts in OpenAI's form, failures as `ProviderError`.

The only module that names litellm. Its import takes seconds, so it waits for the first call; its process-wide settings
stay as the user has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from router_integrations.candidates import Candidate
from router_integrations.errors import ProviderError
from router_integrations.faults import fault, secrets_in
from router_integrations.parameters import accepted
from router_integrations.types import Usage

_MAP_VARIABLE = "LITELLM_LOCAL_MODEL_COST_MAP"
# LiteLLM prints help for its own developers from here.
_PRINTING_MODULES = (
    "litellm.litellm_core_utils.exception_mapping_utils",
    "litellm.litellm_core_utils.get_llm_provider_logic",
)
_FINISHED_BY_PROVIDER = ("received_finish_reason", "intermittent_finish_reason", "is_mock")

_lock = threading.Lock()
_loaded: Any = None
_quiet: ContextVar[bool] = ContextVar("router_integrations_quiet", default=False)
_keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}


def complete(
    candidate: Candidate, messages: list[dict[str, Any]], params: Mapping[str, Any], timeout: float | None
) -> dict[str, Any]:
    """Ask `candidate` and return the reply in the form of OpenAI's chat completion.

    Args:
        candidate: A LiteLLM model id with its parameters.
        messages: The conversation in OpenAI's form; not changed.
        params: Parameters of this call in OpenAI's names; they win over the candidate's.
        timeout: Seconds; `None` is LiteLLM's own limit.

    Raises:
        ProviderError: The call failed.
    """
    litellm = _litellm()
    with _calling(candidate, litellm):
        return _checked(litellm.completion(**_arguments(candidate, messages, params, timeout)))


async def acomplete(
    candidate: Candidate, messages: list[dict[str, Any]], params: Mapping[str, Any], timeout: float | None
) -> dict[str, Any]:
    """Async `complete`."""
    litellm = await load()
    with _calling(candidate, litellm):
        return _checked(await litellm.acompletion(**_arguments(candidate, messages, params, timeout)))


def stream(
    candidate: Candidate, messages: list[dict[str, Any]], params: Mapping[str, Any], timeout: float | None
) -> Generator[dict[str, Any], None, None]:
    """Ask `candidate` and yield the reply in the form of OpenAI's chunks; the last one holds the usage, if known.

    Closing the generator closes the connection. The arguments are those of `complete`; `timeout` is the silence
    before and between chunks.

    Raises:
        ProviderError: The call failed, or the stream broke or ended without a finish reason.
    """
    litellm = _litellm()
    with _calling(candidate, litellm):
        source = litellm.completion(**_arguments(candidate, messages, params, timeout), **_streamed(candidate, params))
    # LiteLLM would start an event loop in a thread for each chunk, to log it; the whole reply is logged all the same.
    source.run_success_logging_and_cache_storage = _log_no_chunk
    gate = _Gate(source)
    # Older versions of LiteLLM leave the closing to the stream within.
    with contextlib.closing(source if hasattr(source, "close") else source.completion_stream):
        while True:
            with _calling(candidate, litellm):
                chunk = next(source, None)
                shown = [] if chunk is None else gate.passes(chunk)
            yield from shown
            if chunk is None:
                return


async def astream(
    candidate: Candidate, messages: list[dict[str, Any]], params: Mapping[str, Any], timeout: float | None
) -> AsyncGenerator[dict[str, Any], None]:
    """Async `stream`."""
    litellm = await load()
    with _calling(candidate, litellm):
        source = await litellm.acompletion(
            **_arguments(candidate, messages, params, timeout), **_streamed(candidate, params)
        )
    gate = _Gate(source)
    async with contextlib.aclosing(source):
        while True:
            with _calling(candidate, litellm):
                chunk = await anext(source, None)
                shown = [] if chunk is None else gate.passes(chunk)
            for one in shown:
                yield one
            if chunk is None:
                return


def usage(reply: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a reply or chunk reports; `None` when it reports none.

    >>> usage({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}})
    Usage(input_tokens=9, output_tokens=2, cache_read_tokens=4, cache_write_tokens=0, estimated=False)
    """
    reported = reply.get("usage") or {}
    details = reported.get("prompt_tokens_details") or {}
    shown, output = reported.get("prompt_tokens") or 0, reported.get("completion_tokens") or 0
    if not shown and not output:
        return None
    read = details.get("cached_tokens") or reported.get("cache_read_input_tokens") or 0
    write = details.get("cache_creation_tokens") or reported.get("cache_creation_input_tokens") or 0
    # Some providers count the cached tokens beside the prompt's instead of among them.
    beside = read + write if read + write > shown else 0
    return Usage(input_tokens=shown + beside, output_tokens=output, cache_read_tokens=read, cache_write_tokens=write)


def _litellm() -> Any:
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _import()
    return _loaded


async def load() -> Any:
    """Return LiteLLM, imported off the event loop, for what needs it ready before the first call is timed."""
    litellm = _loaded or await asyncio.to_thread(_litellm)
    await _keep_loop_clean(litellm)
    return litellm


def _import() -> Any:
    unset = _MAP_VARIABLE not in os.environ
    with warnings.catch_warnings():
        # Pydantic warns about LiteLLM's types, at import and when a type is first used.
        warnings.filterwarnings("ignore", message=".*`ReadOnly` qualifier", category=UserWarning)
        if unset:
            os.environ[_MAP_VARIABLE] = "True"
        try:
            litellm = import_module("litellm")
        finally:
            if unset:
                os.environ.pop(_MAP_VARIABLE, None)
        litellm.ModelResponse()
        litellm.ModelResponseStream()
        with contextlib.suppress(ImportError):
            import_module("litellm.llms.github_copilot.per_user_auth")
    _break_habits(litellm)
    return litellm


def _break_habits(litellm: Any) -> None:
    """Stop in our calls what LiteLLM has no switch for, or only one that is the user's."""
    show = print
    service = import_module("litellm._service_logger").ServiceLogging
    dispatch = getattr(service, "_dispatch_from_sync", None)

    def print_for_others(*args: Any, **options: Any) -> None:
        if not _quiet.get():
            show(*args, **options)

    def dispatch_to_somebody(hook: Any) -> None:
        # It leaves the thread with an open event loop after each call, even if nobody listens.
        if dispatch is not None and (litellm.service_callback or not _quiet.get()):
            dispatch(hook)

    for name in _PRINTING_MODULES:
        vars(import_module(name)).setdefault("print", print_for_others)
    service._dispatch_from_sync = staticmethod(dispatch_to_somebody)


@contextlib.contextmanager
def _calling(candidate: Candidate, litellm: Any) -> Iterator[None]:
    """Let LiteLLM print nothing, undo what it does to a global, and raise failures as ours."""
    retries = litellm.num_retries
    token = _quiet.set(True)
    try:
        yield
    except Exception as error:
        translated = fault(error, secrets=secrets_in(candidate.params))
        if translated is None or translated is error:
            raise
        raise translated from error
    finally:
        _quiet.reset(token)
        # LiteLLM forgets the user's setting whenever a call fails.
        if litellm.num_retries is None:
            litellm.num_retries = retries


def _log_no_chunk(*_: Any) -> None:
    """Stand in for what LiteLLM does after each chunk."""


def _streamed(candidate: Candidate, params: Mapping[str, Any]) -> dict[str, Any]:
    chosen = params.get("stream_options") or candidate.params.get("stream_options") or {}
    return {"stream": True, "stream_options": {"include_usage": True, **chosen}}


def _arguments(
    candidate: Candidate, messages: list[dict[str, Any]], params: Mapping[str, Any], timeout: float | None
) -> dict[str, Any]:
    given = accepted(_litellm(), candidate, params, messages)
    return {
        **given,
        "model": candidate.id,
        "messages": [dict(message) for message in messages],
        "timeout": timeout,
        "max_retries": 0,
        "num_retries": 0,
        # A model group is how LiteLLM knows that somebody else makes calls again; 0 retries alone may be overruled.
        "metadata": {"model_group": candidate.id, **given.get("metadata", {})},
    }


def _checked(reply: Any) -> dict[str, Any]:
    shown: dict[str, Any] = reply.model_dump(exclude_none=True)
    if not shown.get("choices"):
        raise ProviderError("the reply holds no choice", family="malformed")
    return shown


class _Gate:
    """Checks the chunks of a stream, and holds them back until one says something: till then others can be asked."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._held: list[dict[str, Any]] | None = []

    def passes(self, chunk: Any) -> list[dict[str, Any]]:
        """Return the chunks to show after `chunk` has come."""
        shown: dict[str, Any] = chunk.model_dump(exclude_none=True)
        choices = shown.get("choices") or ()
        finished = any(choice.get("finish_reason") for choice in choices)
        # LiteLLM finishes a stream of its own accord when the provider did not.
        if finished and not any(getattr(self._source, sign, False) for sign in _FINISHED_BY_PROVIDER):
            raise ProviderError("the stream ended without a finish reason", family="malformed")
        # And it counts the tokens itself when the provider reports none, without a word.
        if "usage" in shown and not any(getattr(one, "usage", None) for one in getattr(self._source, "chunks", ())):
            del shown["usage"]
        if not choices and "usage" not in shown:
            return []
        if self._held is None:
            return [shown]
        self._held.append(shown)
        said = (value for choice in choices for name, value in choice.get("delta", {}).items() if name != "role")
        if not finished and not any(said):
            return []
        released, self._held = self._held, None
        return released


async def _keep_loop_clean(litellm: Any) -> None:
    """Have LiteLLM's clients for this event loop closed before the loop is."""
    loop = asyncio.get_running_loop()
    if loop in _keepers:
        return
    for gone in [known for known in list(_keepers) if known.is_closed()]:
        _keepers.pop(gone, None)
    _keepers[loop] = _until_loop_ends(litellm, loop)
    await anext(_keepers[loop])


async def _until_loop_ends(litellm: Any, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    # A loop has no hook for its end, but `asyncio.run` closes every async generator first.
    try:
        yield
    finally:
        _keepers.pop(loop, None)
        worker = litellm.litellm_core_utils.logging_worker.GLOBAL_LOGGING_WORKER
        if getattr(worker, "_bound_loop", None) is loop:
            # Else the next loop inherits what is still to be logged, with a warning.
            await worker.clear_queue()
        cache = litellm.in_memory_llm_clients_cache
        suffix = cache.update_cache_key_with_event_loop("")
        for key in [key for key in cache.cache_dict if key.endswith(suffix)]:
            client = cache.cache_dict.get(key)
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            if inspect.iscoroutinefunction(close):
                cache.delete_cache(key)
                await close()
