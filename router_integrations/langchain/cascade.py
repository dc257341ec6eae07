"""`CascadeRunnable`: asks one runnable after another until an output is good enough."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    patch_config,
)
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from langchain_core.utils.pydantic import TypeBaseModel
from pydantic import ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from router_integrations import engine
from router_integrations.adapters.options import explain_options
from router_integrations.adapters.rungs import cascade_of, check_names, checked_estimator, grade_of
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError, RouterError
from router_integrations.health import Health
from router_integrations.langchain.cascade_host import RunnableHost
from router_integrations.langchain.cascade_outputs import query_of, text_of
from router_integrations.langchain.cascade_steps import as_steps
from router_integrations.langchain.describe import ids_of
from router_integrations.langchain.giving import asked_of, gives
from router_integrations.langchain.results import failed
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.needs import asked_for, check_needs
from router_integrations.steps import Run
from router_integrations.strategies import Cascade
from router_integrations.tokens import estimate_tokens
from router_integrations.trace import Trace
from router_integrations.types import Request, Snapshot


class CascadeRunnable(RunnableSerializable[Any, Any]):
    """Asks one runnable after another until an output is good enough: chains, agents, retrieval chains, chat models.

    Every step gets the same input. Its output is judged, and accepted, or the next step is asked; a step that fails is
    skipped, whatever it raised. The last step is judged only where it may abstain, so it streams; an accepted draft
    comes as one chunk, and nothing is shown of one that is not. The strategy is `Cascade`, whose docstring says what
    happens in between. The cascade is a chain run, each step its child, tagged ``cascade:step:`` and its name, drafts
    also ``nostream``.

    The text of an output, for estimators that read text, is the string or message itself; of a dict the first of
    ``output``, ``answer`` and ``messages``; of messages the last; of anything else the JSON. Log-probabilities are
    those of that message, else of the last model that a step has asked.

    An attempt's usage is the sum over the models inside the step. Its cost is counted at the step's prices where it has
    any, else at those that LiteLLM's map has for each model, else it is what `costs` says, else unknown.

    Args:
        steps: The steps in order, each a `Candidate` with its runnable as `model`, or a LiteLLM model id. Prices are
            optional. `timeout` is held in the async ways, and by LiteLLM models.
        estimator: How good an output is: a plain function of input and output that returns a confidence in [0, 1],
            which runs off the event loop, or an estimator that needs no judge and no samples; `AnswerQuality()` by
            default.
        accept: Confidence above which an output is accepted, in [0, 1], for all or by name.
        abstain: Confidence at or below which nobody is asked any more, in [0, 1], for all or by name.
        costs: USD that one call of a step takes, as measured, by name.
        limits: Calls, seconds and USD that one request may take.
        health: Which steps rest after failing; give cascades the same one to share it.
        ledger: What conversations have cost, for `Limits.conversation_budget`; give cascades the same one to share it.
        text: Returns the text of a draft, instead of the rule above.
        on_trace: Called with the trace of each request, failed ones too.

    Raises:
        ConfigurationError: The steps or an option are wrong. Unknown options are errors.

    >>> quick = Candidate("quick", model=lambda question: "4" if question == "2 + 2?" else "")
    >>> slow = Candidate("slow", model=lambda question: "after a long thought: 42")
    >>> cascade = CascadeRunnable(steps=[quick, slow], estimator=lambda question, answer: float(answer != ""))
    >>> cascade.batch(["2 + 2?", "the meaning of life?"])
    ['4', 'after a long thought: 42']
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    steps: Any
    estimator: Any = None
    accept: Any = 0.7
    abstain: Any = None
    costs: dict[str, float] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)
    health: Health = Field(default_factory=Health, exclude=True, repr=False)
    ledger: Ledger = Field(default_factory=Ledger, exclude=True, repr=False)
    text: Callable[[Any], str] = Field(default=text_of, exclude=True, repr=False)
    on_trace: Callable[[Trace], None] | None = Field(default=None, exclude=True, repr=False)

    _strategy: Cascade = PrivateAttr()
    _grade: Any = PrivateAttr()
    _asked: dict[str, dict[str, Any]] = PrivateAttr()

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigurationError(explain_options(type(self), error)) from error

    @field_validator("steps")
    @classmethod
    def _check_steps(cls, given: Any) -> tuple[Candidate, ...]:
        return as_steps(given)

    @field_validator("estimator")
    @classmethod
    def _check_estimator(cls, given: Any) -> Any:
        return checked_estimator(given)

    @model_validator(mode="after")
    def _check_names(self) -> "CascadeRunnable":
        check_names([step.name for step in self.steps], self.costs, accept=self.accept, abstain=self.abstain)
        self._grade = grade_of(self.estimator)
        self._strategy = cascade_of(self.estimator, costs=self.costs, accept=self.accept, abstain=self.abstain)
        check_needs(self._strategy, self.steps, gives=gives)
        self._asked = asked_for(self._strategy, asked_of(self.steps))
        return self

    @property
    def InputType(self) -> type[Any]:
        """The first step's."""
        return self._first.InputType

    @property
    def OutputType(self) -> type[Any]:
        """The last step's."""
        return self._last.OutputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> TypeBaseModel:
        """Return the first step's schema."""
        return self._first.get_input_schema(config)

    def get_output_schema(self, config: RunnableConfig | None = None) -> TypeBaseModel:
        """Return the last step's schema."""
        return self._last.get_output_schema(config)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """What a config can set in any of the steps."""
        return get_unique_config_specs(spec for step in self.steps for spec in step.model.config_specs)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Return the output of the step that was accepted.

        Raises:
            AllCandidatesFailed: No step gave an output; also LangChain's error for the last failure.
            Abstained: The estimator found that nobody should answer.
            StrategyError: The estimator failed.
            LimitExceeded: A limit came before any output.
        """
        # Not `_call_with_config`, which reads signatures on every call: that takes longer than the decisions.
        config = ensure_config(config)
        run = get_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            output = self._answer(input, patch_config(config, callbacks=run.get_child()), kwargs)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(output)
        return output

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Async `invoke`."""
        config = ensure_config(config)
        run = await get_async_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            output = await self._aanswer(input, patch_config(config, callbacks=run.get_child()), kwargs)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(output)
        return output

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Yield the last step's chunks as they come, or the output of an earlier step that was accepted, whole.

        Raises:
            StreamInterrupted: The last step failed after its first chunk.
        """
        chunks = self._transform_stream_with_config(iter([input]), cast("Any", self._chunks), config, options=kwargs)
        yield from chunks

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Async `stream`."""

        async def inputs() -> AsyncIterator[Any]:
            yield input

        chunks: Any = self._atransform_stream_with_config(inputs(), cast("Any", self._achunks), config, options=kwargs)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    @property
    def _first(self) -> Runnable[Any, Any]:
        return cast("Runnable[Any, Any]", self.steps[0].model)

    @property
    def _last(self) -> Runnable[Any, Any]:
        return cast("Runnable[Any, Any]", self.steps[-1].model)

    def _open(self, input: Any, config: RunnableConfig, options: Mapping[str, Any]) -> tuple[Run, RunnableHost]:
        query = query_of(input)
        request = Request(
            text=query,
            candidates=self.steps,
            input_tokens=estimate_tokens(query),
            conversation_id=ids_of(config)[0],
            snapshot=Snapshot(cooling=self.health.cooling()),
            native=input,
        )
        host = RunnableHost(
            input=input,
            config=config,
            kwargs=options,
            costs=self.costs,
            text=self.text,
            grade=self._grade,
            asked=self._asked,
        )
        run = Run(strategy=self._strategy, request=request, limits=self.limits, health=self.health, ledger=self.ledger)
        return run, host

    def _answer(self, input: Any, config: RunnableConfig, options: Mapping[str, Any]) -> Any:
        run, host = self._open(input, config, options)
        try:
            trace = engine.run(run, host)
        except RouterError as error:
            return failed(error, None)
        finally:
            self._observe(run)
        return _output(trace)

    async def _aanswer(self, input: Any, config: RunnableConfig, options: Mapping[str, Any]) -> Any:
        run, host = self._open(input, config, options)
        try:
            trace = await engine.arun(run, host)
        except RouterError as error:
            return failed(error, None)
        finally:
            self._observe(run)
        return _output(trace)

    def _chunks(self, inputs: Iterator[Any], config: RunnableConfig, *, options: Any) -> Iterator[Any]:
        run, host = self._open(next(inputs), config, options)
        try:
            with closing(engine.stream(run, host)) as chunks:
                for (chunk,) in chunks:
                    yield chunk
        except RouterError as error:
            failed(error, None)
        finally:
            self._observe(run)

    async def _achunks(self, inputs: AsyncIterator[Any], config: RunnableConfig, *, options: Any) -> AsyncIterator[Any]:
        run, host = self._open(await anext(inputs), config, options)
        try:
            async with aclosing(engine.astream(run, host)) as chunks:
                async for (chunk,) in chunks:
                    yield chunk
        except RouterError as error:
            failed(error, None)
        finally:
            self._observe(run)

    def _observe(self, run: Run) -> None:
        # A run that was cut off before its end has no trace, and so no alternatives.
        if self.on_trace is not None and run.trace.alternatives:
            self.on_trace(run.trace)


def _output(trace: Trace) -> Any:
    return trace.answer.native.value  # type: ignore[union-attr]  # a run that ends well has an answer
