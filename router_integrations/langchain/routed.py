"""A chat model whose run is a chain run: every call goes to the engine, and the models it asks are its children."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    merge_configs,
)

from router_integrations import engine
from router_integrations.adapters.describing import may_count
from router_integrations.adapters.options import RouterOptions
from router_integrations.errors import RequestError, RouterError
from router_integrations.langchain import events
from router_integrations.langchain.describe import characters
from router_integrations.langchain.generate import InvokedGenerate
from router_integrations.langchain.results import Tail, answered, failed
from router_integrations.langchain.session import job_of, open_session
from router_integrations.trace import Trace


class RoutedChatModel(RouterOptions, InvokedGenerate):
    """Every way of calling a chat model, led through the engine; `RouterChatModel` adds what is called."""

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer with one candidate's message, the trace added.

        Raises:
            RequestError: The request is malformed, or no candidate can take it; nobody has been called.
            AllCandidatesFailed: Nobody answered; also LangChain's error for the last failure.
        """
        messages = self._messages(input)
        config = self._config(config)
        manager = get_callback_manager_for_config(config)
        if not manager.handlers:
            # Nobody watches, so there is no run to open.
            return cast("AIMessage", self._answer(messages, _below(config), stop=stop, options=kwargs))
        # Not `_call_with_config`, which reads signatures on every call: that takes longer than all the rest.
        run = manager.on_chain_start(
            None, messages, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            output = self._answer(messages, _below(config, run), stop=stop, options=kwargs)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(output)
        return cast("AIMessage", output)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Async `invoke`."""
        messages = self._messages(input)
        config = self._config(config)
        manager = get_async_callback_manager_for_config(config)
        if not manager.handlers:
            return cast("AIMessage", await self._aanswer(messages, _below(config), stop=stop, options=kwargs))
        run = await manager.on_chain_start(
            None, messages, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            output = await self._aanswer(messages, _below(config, run), stop=stop, options=kwargs)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(output)
        return cast("AIMessage", output)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Yield one candidate's chunks as they come; the last one carries the trace.

        Raises:
            StreamInterrupted: The stream broke after its first chunk.
        """
        if self._streaming_disabled(**kwargs):
            yield cast("AIMessageChunk", self.invoke(input, config, stop=stop, **kwargs))
            return
        inputs = iter([self._messages(input)])
        chunks: Any = self._transform_stream_with_config(
            inputs, cast("Any", self._chunks), self._config(config), stop=stop, options=kwargs
        )
        yield from chunks

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Async `stream`."""
        if self._streaming_disabled(**kwargs):
            yield cast("AIMessageChunk", await self.ainvoke(input, config, stop=stop, **kwargs))
            return

        async def inputs() -> AsyncIterator[list[BaseMessage]]:
            yield self._messages(input)

        chunks: Any = self._atransform_stream_with_config(
            inputs(), cast("Any", self._achunks), self._config(config), stop=stop, options=kwargs
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    def stream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, version: Any = "v2", **kwargs: Any
    ) -> Any:
        """Yield events; ``version="v3"`` returns a `ChatModelStream`."""
        if version == "v3":
            return events.chat_model_stream(self.stream(input, config, **kwargs))
        return super().stream_events(input, config, version=version, **kwargs)

    def astream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, version: Any = "v2", **kwargs: Any
    ) -> Any:
        """Yield events; ``version="v3"`` is to be awaited and gives an `AsyncChatModelStream`."""
        if version == "v3":
            return events.achat_model_stream(self.astream(input, config, **kwargs))
        return super().astream_events(input, config, version=version, **kwargs)

    def _messages(self, input: Any) -> list[BaseMessage]:
        try:
            return self._convert_input(input).to_messages()
        except (ValueError, TypeError, KeyError, NotImplementedError) as error:
            raise RequestError(f"input is no prompt: {error}; give a string, messages or a PromptValue") from error

    def _config(self, config: RunnableConfig | None) -> RunnableConfig:
        """Return the run's config with the router's own callbacks, tags and metadata, which its calls inherit."""
        config = ensure_config(config)
        if self.callbacks:
            config = merge_configs({"callbacks": self.callbacks}, config)
            if isinstance(handlers := config["callbacks"], list):
                config["callbacks"] = [one for index, one in enumerate(handlers) if one not in handlers[:index]]
        if self.tags:
            config["tags"] = [*config.get("tags", ()), *self.tags]
        config["metadata"] = {**(self.metadata or {}), **config.get("metadata", {})}
        return config

    def _open(self, messages: list[BaseMessage], config: RunnableConfig, stop: Any, options: Any) -> Any:
        job = job_of(messages, stop or self.stop, options)
        return job.binding, *open_session(self._pool, self._settings, job, config)

    async def _aopen(self, messages: list[BaseMessage], config: RunnableConfig, stop: Any, options: Any) -> Any:
        if may_count(characters(messages), self._pool.candidates):
            return await asyncio.to_thread(self._open, messages, config, stop, options)
        return self._open(messages, config, stop, options)

    def _answer(self, messages: Any, config: RunnableConfig, *, stop: Any, options: Any) -> Any:
        binding, run, host = self._open(messages, config, stop, options)
        try:
            trace = engine.run(run, host)
        except RouterError as error:
            return self._failed(error, run.trace, binding)
        return self._answered(trace, binding)

    async def _aanswer(self, messages: Any, config: RunnableConfig, *, stop: Any, options: Any) -> Any:
        binding, run, host = await self._aopen(messages, config, stop, options)
        try:
            trace = await engine.arun(run, host)
        except RouterError as error:
            return self._failed(error, run.trace, binding)
        except asyncio.CancelledError:
            self._observe(run.trace)
            raise
        return self._answered(trace, binding)

    def _chunks(
        self, inputs: Iterator[list[BaseMessage]], config: RunnableConfig, *, stop: Any, options: Any
    ) -> Iterator[Any]:
        binding, run, host = self._open(next(inputs), config, stop, options)
        tail = Tail(binding)
        try:
            with closing(engine.stream(run, host)) as chunks:
                for chunk in chunks:
                    yield from tail.hold(chunk)
        except RouterError as error:
            yield self._failed(error, run.trace, binding)
            return
        except GeneratorExit:
            self._observe(run.trace)
            raise
        self._observe(run.trace)
        yield from tail.release(run.trace)

    async def _achunks(
        self, inputs: AsyncIterator[list[BaseMessage]], config: RunnableConfig, *, stop: Any, options: Any
    ) -> AsyncIterator[Any]:
        binding, run, host = await self._aopen(await anext(inputs), config, stop, options)
        tail = Tail(binding)
        try:
            async with aclosing(engine.astream(run, host)) as chunks:
                async for chunk in chunks:
                    for ready in tail.hold(chunk):
                        yield ready
        except RouterError as error:
            yield self._failed(error, run.trace, binding)
            return
        except (GeneratorExit, asyncio.CancelledError):
            self._observe(run.trace)
            raise
        self._observe(run.trace)
        for chunk in tail.release(run.trace):
            yield chunk

    def _answered(self, trace: Trace, binding: Any) -> Any:
        self._observe(trace)
        return answered(trace, binding)

    def _failed(self, error: RouterError, trace: Trace, binding: Any) -> Any:
        self._observe(trace)
        return failed(error, binding)


def _below(config: RunnableConfig, run: Any = None) -> RunnableConfig:
    """Return the config for the calls below `run`, or for those that no run is above."""
    child: Any = {**config} if run is None else {**config, "callbacks": run.get_child()}
    child.pop("run_name", None)
    child.pop("run_id", None)
    return cast("RunnableConfig", child)
