"""`RouterSelector`: our strategies choose for a `RouterQueryEngine`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.llms import LLM
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools.types import ToolMetadata
from llama_index_instrumentation.dispatcher import active_instrument_tags

from router_integrations import engine
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.errors import ConfigurationError, RequestError
from router_integrations.estimators import Policies
from router_integrations.health import Health
from router_integrations.llama_index.describe import ids_in
from router_integrations.llama_index.judges import own_judge
from router_integrations.llama_index.results import tell
from router_integrations.llama_index.selector_host import SelectorHost
from router_integrations.steps import Run
from router_integrations.strategies import Best, JudgedPolicies
from router_integrations.tokens import estimate_tokens
from router_integrations.trace import Trace
from router_integrations.types import Request, Snapshot, Strategy


@dataclass(kw_only=True, eq=False, repr=False)
class RouterSelector(BaseSelector):
    """Chooses by a strategy of ours among the choices of a `RouterQueryEngine`, or of whatever else takes a selector.

    Each choice is a candidate under its tool's name, so a strategy that has learnt from records by candidate works as
    it is. A tool without a name, or with that of another, is called "choice 1", "choice 2" and so on. The choice is
    always one of those offered, and its reason is the strategy's. A strategy that asks several candidates at once
    selects them all; how good their answers are nobody asks here, so a cascade selects its first one.

    Args:
        candidates: What is known of the choices (prices, strength, latency), matched by the tools' names, or in their
            order where the tools have no names of their own.
        strategy: Decides. By default the choice whose description is nearest to the query (`Policies`); with `judge`
            the one that it picks by the descriptions (`JudgedPolicies`), which may cost a second, and reads better.
        judge: Who reads the query: a LiteLLM model id, a LlamaIndex LLM, or a `Candidate` with one, or with a function
            of a text, as `model`; its `timeout` is held in the async ways. A strategy of yours may ask it by its name.
        default: Name of the choice when the judge fails or names none; the first one by default.
        health: Whether the judge rests after failing.
        on_trace: Called with the trace of each selection, failed ones too.

    Raises:
        ConfigurationError: An option is wrong.

    >>> choices = [ToolMetadata(name="billing", description="invoices, payments, refunds"),
    ...            ToolMetadata(name="shipping", description="parcels, delivery, tracking numbers")]
    >>> chosen = RouterSelector().select(choices, "Where is my parcel?")
    >>> chosen.ind, chosen.reason
    (1, 'cheapest with expected quality 1.00 >= 0.70')
    """

    candidates: Iterable[Candidate] = ()
    strategy: Strategy | None = None
    judge: Candidate | LLM | str | None = None
    default: str | None = None
    health: Health = field(default_factory=Health)
    on_trace: Callable[[Trace], None] | None = None

    def __post_init__(self) -> None:
        self.candidates = self._known = tuple(self.candidates)
        if wrong := next((one for one in self._known if not isinstance(one, Candidate)), None):
            raise ConfigurationError(f"candidates must be Candidates but one is {wrong!r}; write Candidate('name', …)")
        if self.default is not None and (self.judge is None or self.strategy is not None):
            raise ConfigurationError("default is for a judge without a strategy; give it to the strategy instead")
        judges = [] if self.judge is None else as_candidates([_judge(self.judge)])
        self._judges = tuple(own_judge(one) for one in judges)

    def _get_prompts(self) -> PromptDictType:
        """Return none: what a judge is asked is the strategy's affair."""
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """Refuse prompts of its own; those of a query engine's other parts are not looked at."""
        if own := [name for name in prompts if ":" not in name]:
            raise ConfigurationError(f"RouterSelector has no prompts to update but was given {own}")

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        run = self._open(choices, query)
        try:
            return _result(engine.run(run, SelectorHost()), run.request.candidates)
        finally:
            self._observe(run)

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        run = self._open(choices, query)
        try:
            return _result(await engine.arun(run, SelectorHost()), run.request.candidates)
        finally:
            self._observe(run)

    def _open(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> Run:
        if not choices:
            raise RequestError("there is nothing to choose from; give the selector at least one choice")
        pool = _pool(choices, self._known)
        if taken := [one.name for one in self._judges if one.name in {choice.name for choice in pool}]:
            raise ConfigurationError(f"{taken[0]!r} is also the judge's name; give judge=Candidate('other name', …)")
        descriptions = tuple((one.name, said.description or one.name) for one, said in zip(pool, choices, strict=True))
        request = Request(
            text=query.query_str,
            candidates=pool,
            judges=self._judges,
            input_tokens=estimate_tokens(query.query_str),
            snapshot=Snapshot(cooling=self.health.cooling()),
            native=query,
            **ids_in(active_instrument_tags.get()),
        )
        strategy = self.strategy or self._reads(descriptions)
        return Run(strategy=strategy, request=request, health=self.health)

    def _reads(self, descriptions: tuple[tuple[str, str], ...]) -> Strategy:
        names = [name for name, _ in descriptions]
        if self.default is not None and self.default not in names:
            raise ConfigurationError(f"default names {self.default!r}, which is none of the choices {names}")
        if self.judge is None:
            return _nearest(descriptions)
        return JudgedPolicies(policies=dict(descriptions), judge=self._judges[0].name, default=self.default)

    def _observe(self, run: Run) -> None:
        if run.trace.alternatives:
            tell(run.trace, active_span_id.get())
            if self.on_trace is not None:
                self.on_trace(run.trace)


@lru_cache(maxsize=64)
def _nearest(descriptions: tuple[tuple[str, str], ...]) -> Best:
    """Return the strategy that reads the descriptions; kept, for they are encoded once."""
    return Best(estimator=Policies(policies=dict(descriptions)))


def _judge(given: Candidate | LLM | str) -> Candidate | str:
    return Candidate("judge", model=given) if isinstance(given, LLM) else given


def _pool(choices: Sequence[ToolMetadata], known: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return a candidate per choice, in order: what the user says of it, or its name alone."""
    names = [choice.name for choice in choices]
    named = [name for name in names if name]
    own = len({*named}) == len(names)
    if not own and len(known) == len(choices):
        return tuple(known)
    found = {one.name: one for one in known}
    called = named if own else [f"choice {place}" for place in range(1, len(choices) + 1)]
    if strangers := [name for name in found if name not in called]:
        raise ConfigurationError(f"candidates names {strangers}, which are none of the choices {called}")
    return tuple(found.get(name) or Candidate(name, model=choice) for name, choice in zip(called, choices, strict=True))


def _result(trace: Trace, pool: Sequence[Candidate]) -> SelectorResult:
    places = {one.name: place for place, one in enumerate(pool)}
    chosen = [one.call.candidate.name for one in trace.attempts if one.call.prompt is None and one.error is None]
    return SelectorResult(
        selections=[SingleSelection(index=places[name], reason=trace.reason) for name in dict.fromkeys(chosen)]
    )
