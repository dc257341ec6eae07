"""`CascadeQueryEngine`: asks one query engine after another until a response is good enough."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, StreamingResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import QueryBundle
from llama_index.core.settings import Settings
from llama_index_instrumentation.dispatcher import active_instrument_tags

from router_integrations import engine
from router_integrations.adapters.rungs import Thresholds, cascade_of, check_names, checked_estimator, grade_of, placed
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import AnswerQuality, Groundedness, Weakest
from router_integrations.health import Health
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.llama_index.describe import ids_in
from router_integrations.llama_index.query_host import Piece, QueryHost
from router_integrations.llama_index.results import tell
from router_integrations.needs import check_needs
from router_integrations.steps import Run
from router_integrations.strategies import Cascade
from router_integrations.tokens import estimate_tokens
from router_integrations.trace import Trace
from router_integrations.types import Request, Snapshot


@dataclass(kw_only=True, eq=False, repr=False)
class CascadeQueryEngine(BaseQueryEngine):
    """Asks one query engine after another until a response is good enough: cheap retrieval first, an agent last.

    Every engine gets the same query. Its response is judged, with its sources, and accepted, or the next engine is
    asked; one that fails is skipped, whatever it raised. The last one is judged only where it may abstain, so it
    streams when it is made to; an accepted draft that streamed is streamed again, and nothing is shown of one that is
    not. The strategy is `Cascade`, whose docstring says what happens in between.

    What happened is in ``response.metadata["router"]``, for a stream when it has ended. An attempt's usage is the sum
    over the models inside the engine. Its cost is counted at the engine's prices where it has any, else at each
    model's: those that a candidate of ours was given, or LiteLLM's map has. Else it is what `costs` says, else unknown.
    "Empty Response" is no answer.
    Conversation and user are what LlamaIndex's ``instrument_tags({"thread_id": ..., "user_id": ...})`` names around it.

    Args:
        engines: The query engines in order, each a `Candidate` with its engine as `model`. Prices are optional.
            `timeout` is held in the async ways.
        estimator: How good a response is: a plain function of query bundle and response that returns a confidence in
            [0, 1], or an estimator that needs no judge and no samples. By default the least of `AnswerQuality()` and
            `Groundedness()`, for which a response without sources is worth nothing.
        accept: Confidence above which a response is accepted, in [0, 1], for all or by name.
        abstain: Confidence at or below which nobody is asked any more, in [0, 1], for all or by name.
        costs: USD that one query of an engine takes, as measured, by name.
        limits: Calls, seconds and USD that one query may take.
        health: Which engines rest after failing; give cascades the same one to share it.
        ledger: What conversations have cost, for `Limits.conversation_budget`; give cascades the same one to share it.
        on_trace: Called with the trace of each query, failed ones too.
        callback_manager: Sees each query as one event of type ``query``, around those of the engines.

    Raises:
        ConfigurationError: The engines or an option are wrong.

    >>> from llama_index.core.base.response.schema import Response
    >>> from llama_index.core.query_engine import CustomQueryEngine
    >>> class Says(CustomQueryEngine):
    ...     text: str
    ...     def custom_query(self, query_str):
    ...         return Response(self.text)
    >>> engines = [Candidate("quick", model=Says(text="")), Candidate("slow", model=Says(text="After a thought: 42"))]
    >>> cascade = CascadeQueryEngine(engines=engines, estimator=lambda query, response: float(bool(response.response)))
    >>> str(cascade.query("The meaning of life?"))
    'After a thought: 42'
    """

    engines: Iterable[Candidate]
    estimator: Any = None
    accept: Thresholds = 0.7
    abstain: Thresholds | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    health: Health = field(default_factory=Health)
    ledger: Ledger = field(default_factory=Ledger)
    on_trace: Callable[[Trace], None] | None = None
    callback_manager: CallbackManager = field(default_factory=lambda: Settings.callback_manager)

    def __post_init__(self) -> None:
        super().__init__(self.callback_manager)
        self.engines = self._engines = placed(as_candidates(self.engines))
        for one in self._engines:
            if not isinstance(one.model, BaseQueryEngine):
                raise ConfigurationError(
                    f"{one.name!r}: model must be a LlamaIndex query engine but got {type(one.model).__name__}; "
                    "for example index.as_query_engine()"
                )
        check_names([one.name for one in self._engines], self.costs, accept=self.accept, abstain=self.abstain)
        judge = checked_estimator(self.estimator) or Weakest(estimators=(AnswerQuality(), Groundedness()))
        self._strategy: Cascade = cascade_of(judge, costs=self.costs, accept=self.accept, abstain=self.abstain)
        check_needs(self._strategy, self._engines)

    def _get_prompt_modules(self) -> PromptMixinType:
        """The engines by name, with a dash where LlamaIndex allows no colon."""
        return {one.name.replace(":", "-"): one.model for one in self._engines}

    def update_prompts(self, prompts_dict: dict[str, BasePromptTemplate]) -> None:
        """Set prompts of the engines, by their names in `get_prompts`; LlamaIndex's own way reaches one level down.

        Raises:
            ConfigurationError: There is no such engine.
        """
        engines = self._get_prompt_modules()
        given: dict[str, dict[str, BasePromptTemplate]] = {}
        for key, prompt in prompts_dict.items():
            name, _, own = key.partition(":")
            if name not in engines:
                raise ConfigurationError(f"{key!r} is a prompt of none of the engines {[*engines]}")
            given.setdefault(name, {})[own] = prompt
        for name, prompts in given.items():
            engines[name].update_prompts(prompts)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with self.callback_manager.event(
            CBEventType.QUERY, payload={EventPayload.QUERY_STR: query_bundle.query_str}
        ) as event:
            response = self._answer(query_bundle)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with self.callback_manager.event(
            CBEventType.QUERY, payload={EventPayload.QUERY_STR: query_bundle.query_str}
        ) as event:
            response = await self._aanswer(query_bundle)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    def _answer(self, query: QueryBundle) -> RESPONSE_TYPE:
        run, host = self._open(query)
        pieces = engine.stream(run, host)
        streams = False
        try:
            head = next(pieces)
            streams = head.token is not None
            if not streams:
                # Nothing more comes, but only then is there a trace.
                for _ in pieces:
                    pass
                return _told(head.response, run.trace)
        finally:
            if not streams:
                self._observe(run)
        metadata = {**(head.response.metadata or {}), "router": {}}
        return StreamingResponse(self._tokens(head, pieces, run, metadata), head.response.source_nodes, metadata)

    async def _aanswer(self, query: QueryBundle) -> RESPONSE_TYPE:
        run, host = self._open(query)
        pieces = engine.astream(run, host)
        streams = False
        try:
            head = await anext(pieces)
            streams = head.token is not None
            if not streams:
                async for _ in pieces:
                    pass
                return _told(head.response, run.trace)
        finally:
            if not streams:
                self._observe(run)
        metadata = {**(head.response.metadata or {}), "router": {}}
        return AsyncStreamingResponse(self._atokens(head, pieces, run, metadata), head.response.source_nodes, metadata)

    def _tokens(
        self, head: Piece, pieces: Generator[Piece, None, None], run: Run, metadata: dict[str, Any]
    ) -> Generator[str, None, None]:
        try:
            with closing(pieces):
                yield head.token or ""
                for piece in pieces:
                    yield piece.token or ""
        finally:
            metadata["router"] = run.trace.as_dict()
            self._observe(run)

    async def _atokens(
        self, head: Piece, pieces: AsyncGenerator[Piece, None], run: Run, metadata: dict[str, Any]
    ) -> AsyncGenerator[str, None]:
        try:
            async with aclosing(pieces):
                if head.token:
                    yield head.token
                async for piece in pieces:
                    yield piece.token or ""
        finally:
            metadata["router"] = run.trace.as_dict()
            self._observe(run)

    def _open(self, query: QueryBundle) -> tuple[Run, QueryHost]:
        request = Request(
            text=query.query_str,
            candidates=self._engines,
            input_tokens=estimate_tokens(query.query_str),
            snapshot=Snapshot(cooling=self.health.cooling(), budget=self.limits.budget),
            native=query,
            **ids_in(active_instrument_tags.get()),
        )
        host = QueryHost(query=query, costs=self.costs, grade=grade_of(self.estimator))
        run = Run(strategy=self._strategy, request=request, limits=self.limits, health=self.health, ledger=self.ledger)
        return run, host

    def _observe(self, run: Run) -> None:
        # A run that was cut off before its end has no trace, and so no alternatives.
        if run.trace.alternatives:
            tell(run.trace, active_span_id.get())
            if self.on_trace is not None:
                self.on_trace(run.trace)


def _told(response: Any, trace: Trace) -> RESPONSE_TYPE:
    """Return a copy of `response` that carries the trace; the original may sit in a cache."""
    told: RESPONSE_TYPE = replace(response, metadata={**(response.metadata or {}), "router": trace.as_dict()})
    return told
