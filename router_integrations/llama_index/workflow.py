"""`CascadeWorkflow`: a strategy of ours as a LlamaIndex workflow, one event per rung, which can go on after a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.llms import LLM
from llama_index.core.schema import QueryBundle
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step
from llama_index_instrumentation.dispatcher import active_instrument_tags
from pydantic import Field

from router_integrations import engine
from router_integrations.adapters.rungs import placed
from router_integrations.adapters.targets import Target
from router_integrations.candidates import Candidate, as_candidates, eligible
from router_integrations.errors import RequestError
from router_integrations.health import Health
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.llama_index.describe import Job, describe
from router_integrations.llama_index.history import refuses
from router_integrations.llama_index.query_host import Piece, text_of
from router_integrations.llama_index.results import tell
from router_integrations.llama_index.turns import Turn, call_json
from router_integrations.llama_index.workflow_host import WorkflowHost, as_judge, as_rung
from router_integrations.needs import asked_for, check_needs
from router_integrations.strategies import Cascade
from router_integrations.trace import Trace
from router_integrations.types import Attempt, Strategy

_STATE = "cascade"


class CascadeStart(StartEvent):
    """What is asked: a query, a conversation, or a conversation and the query that comes next."""

    query: str = ""
    messages: list[ChatMessage] = Field(default_factory=list)


class RungEvent(Event):
    """Somebody is asked next, in the stream too.

    `candidates` are their names, `purpose` is ``"answer"``, ``"judge"`` or ``"policy"``, `reason` says why, `made`
    counts the calls before; `calls` and `natives` are for the workflow itself.
    """

    candidates: list[str]
    purpose: str
    reason: str
    made: int
    calls: list[dict[str, Any]] = Field(repr=False)
    natives: Any = Field(default=None, exclude=True, repr=False)


class DraftEvent(Event):
    """In the stream: a rung has answered, and what came of it.

    `confidence` is what the strategy took the answer to be worth, in [0, 1], where it says so; `cost` is in USD where
    it is known; `reason` says why it was accepted or passed over; `error` is the failure.
    """

    candidate: str
    text: str
    accepted: bool
    confidence: float | None = None
    cost: float | None = None
    reason: str = ""
    error: str | None = None


class DeltaEvent(Event):
    """In the stream: new text of the answer."""

    candidate: str
    delta: str


class AnswerEvent(StopEvent):
    """The answer. `router` is the trace as in ``response.metadata["router"]``.

    `response` is the response of the rung that gave it, and is not kept with the context: `None` after a resume.
    """

    text: str
    candidate: str
    confidence: float | None = None
    cost: float | None = None
    sources: list[str] = Field(default_factory=list)
    router: dict[str, Any] = Field(default_factory=dict, repr=False)
    response: Any = Field(default=None, exclude=True, repr=False)

    def __str__(self) -> str:
        return self.text


class CascadeWorkflow(Workflow):
    """A strategy of ours as a workflow: each of its moves is an event, drafts are told in the stream, and it can go on.

    ``await workflow.run(query="…")`` returns an `AnswerEvent`; ``handler.stream_events()`` yields a `RungEvent` when
    somebody is asked, a `DraftEvent` when what they said is accepted or passed over, and a `DeltaEvent` for each new
    piece of the answer. What happened is kept in the context after every move: ``Context.from_dict(workflow, saved)``
    of a ``handler.ctx.to_dict()`` goes on after the last answered call, in another process if need be, and nothing is
    paid twice; a stream that was cut off begins anew. Limits, health and errors are as in all of our cascades.
    Conversation and user are what LlamaIndex's ``instrument_tags({"thread_id": ..., "user_id": ...})`` names around
    `run`; what conversations have cost is in `ledger`, which workflows share when they are set the same.

    Args:
        rungs: Who can be asked, in order: LiteLLM model ids, or `Candidate`s with a LlamaIndex LLM, a query engine or
            an async function of the query as `model`. LLMs get the conversation, others its last human turn.
        strategy: Decides; ``Cascade(order="given")`` by default.
        judges: Who else the strategy may ask with a prompt of its own: model ids, or `Candidate`s with an LLM or a
            function of a text as `model`.
        limits: Calls, seconds and USD that one request may take; time between a stop and a resume does not count.
        health: Which rungs rest after failing; give cascades the same one to share it.
        on_trace: Called with the trace of each request, failed ones too.
        **options: LlamaIndex's own: `verbose`, `num_concurrent_runs`, … and `timeout`, which is off by default.

    Raises:
        ConfigurationError: A rung or a judge is wrong.

    >>> import asyncio
    >>> async def quick(query):
    ...     return "4" if query == "2 + 2?" else ""
    >>> async def slow(query):
    ...     return "after a long thought: 42"
    >>> async def ask(query):
    ...     workflow = CascadeWorkflow(rungs=[Candidate("quick", model=quick), Candidate("slow", model=slow)])
    ...     answer = await workflow.run(query=query)
    ...     return answer.candidate, answer.text
    >>> asyncio.run(ask("2 + 2?")), asyncio.run(ask("The meaning of life?"))
    (('quick', '4'), ('slow', 'after a long thought: 42'))
    """

    def __init__(
        self,
        *,
        rungs: Iterable[Candidate | str],
        strategy: Strategy | None = None,
        judges: Iterable[Candidate | str] = (),
        limits: Limits | None = None,
        health: Health | None = None,
        on_trace: Callable[[Trace], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**{"timeout": None, **options})
        self.strategy = Cascade(order="given") if strategy is None else strategy
        pool = as_candidates(rungs)
        others = as_candidates([*pool, *judges])[len(pool) :]
        check_needs(self.strategy, pool, judges=others)
        self.rungs = placed([as_rung(one) for one in pool])
        self.judges = tuple(as_judge(one) for one in others)
        self._asked = asked_for(self.strategy, pool)
        self._targets = {one.name: Target.of(one, one.model) for one in self.rungs if isinstance(one.model, LLM)}
        self.limits = Limits() if limits is None else limits
        self.health = Health() if health is None else health
        self.ledger = Ledger()
        self.on_trace = on_trace

    @step
    async def begin(self, ctx: Context, ev: CascadeStart) -> RungEvent | AnswerEvent:
        """Take the request, and decide who is asked first."""
        asked = [ChatMessage(role=MessageRole.USER, content=ev.query)] if ev.query.strip() else []
        messages = [*ev.messages, *asked]
        human = [one for one in messages if one.role == MessageRole.USER]
        if not human or not human[-1].blocks:
            raise RequestError("there is nothing to answer; give query=, messages= with a human turn, or both")
        await ctx.store.set(_STATE, {"messages": [one.model_dump(mode="json") for one in messages]})
        return await self._turn(ctx, None)

    @step
    async def ask(self, ctx: Context, ev: RungEvent) -> RungEvent | AnswerEvent:
        """Ask the next one, and decide how to go on."""
        return await self._turn(ctx, ev)

    async def _turn(self, ctx: Context, ev: RungEvent | None) -> RungEvent | AnswerEvent:
        state: dict[str, Any] = await ctx.store.get(_STATE)
        turn, host = self._open(state, ev)
        if ev is not None and turn.calls:
            ctx.write_event_to_stream(ev)
        told = state.get("told", 0)
        try:
            async with aclosing(engine.astream(turn, host)) as pieces:
                async for piece in pieces:
                    told = _tell(ctx, turn, told)
                    if piece.token != "":
                        ctx.write_event_to_stream(_delta(piece, turn))
        finally:
            told = _tell(ctx, turn, told)
            # A turn that does not end the request leaves no trace.
            if turn.trace.alternatives:
                tell(turn.trace, active_span_id.get())
                if self.on_trace is not None:
                    self.on_trace(turn.trace)
        await ctx.store.set(_STATE, {**state, **turn.state(), "told": told})
        return _next(turn) if turn.next else _answer(turn.trace)

    def _open(self, state: dict[str, Any], ev: RungEvent | None) -> tuple[Turn, WorkflowHost]:
        messages = [ChatMessage.model_validate(one) for one in state["messages"]]
        job = Job(messages=messages, tags=active_instrument_tags.get())
        seen = describe(job, context_turns=0, candidates=self.rungs)
        refused = {name: refuses(messages, target) for name, target in self._targets.items()}
        able, rejected = eligible(self.rungs, seen, refused)
        snapshot = replace(seen.snapshot, cooling=self.health.cooling())
        request = replace(seen, candidates=able, judges=(*self.rungs, *self.judges), snapshot=snapshot)
        # After a resume the calls of this event may have been made already.
        fresh = ev is not None and ev.made == len(state.get("attempts", ()))
        turn = Turn(
            strategy=self.strategy,
            request=request,
            rejected=rejected,
            limits=self.limits,
            health=self.health,
            ledger=self.ledger,
            earlier=state,
            planned=ev.calls if ev is not None and fresh else (),
            natives=(ev.natives or ()) if ev is not None else (),
        )
        host = WorkflowHost(
            query=QueryBundle(seen.text),
            costs={},
            grade=None,
            messages=messages,
            targets=self._targets,
            asked=self._asked,
        )
        return turn, host


def _tell(ctx: Context, turn: Turn, told: int) -> int:
    """Tell the stream of the drafts whose fate is decided; return how many calls have been looked at."""
    decided = turn.next[0].purpose == "answer" if turn.next else bool(turn.trace.alternatives)
    if not decided:
        return told
    for attempt in turn.attempts[told:]:
        if attempt.call.purpose == "answer" and attempt.first_token is None:
            ctx.write_event_to_stream(_draft(attempt, turn, accepted=attempt is turn.trace.answer))
    return len(turn.attempts)


def _draft(attempt: Attempt, turn: Turn, *, accepted: bool) -> DraftEvent:
    name = attempt.call.candidate.name
    judged = turn.next[0].estimates.get(name) if turn.next and attempt.error is None else None
    rejected = None if judged is None else judged.quality
    return DraftEvent(
        candidate=name,
        text=attempt.text,
        accepted=accepted,
        confidence=turn.trace.confidence if accepted else rejected,
        cost=attempt.cost,
        reason=turn.next[0].reason if turn.next else turn.trace.reason,
        error=None if attempt.error is None else str(attempt.error),
    )


def _delta(piece: Piece, turn: Turn) -> DeltaEvent:
    candidate = turn.trace.candidate or turn.calls[0].candidate.name
    return DeltaEvent(candidate=candidate, delta=text_of(piece.response) if piece.token is None else piece.token)


def _next(turn: Turn) -> RungEvent:
    return RungEvent(
        candidates=[call.candidate.name for call in turn.next],
        purpose=turn.next[0].purpose,
        reason=turn.next[0].reason,
        made=len(turn.attempts),
        calls=[call_json(call) for call in turn.next],
        natives=[attempt.native for attempt in turn.attempts],
    )


def _answer(trace: Trace) -> AnswerEvent:
    answer: Any = trace.answer
    draft = answer.native.value
    return AnswerEvent(
        text=answer.text,
        candidate=answer.call.candidate.name,
        confidence=trace.confidence,
        cost=trace.cost,
        sources=[*answer.sources],
        router=trace.as_dict(),
        response=None if draft is None else draft.whole(),
    )
