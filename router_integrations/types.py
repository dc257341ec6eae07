"""The values and protocols that everything else speaks: what is asked, by whom, at what price, with what result.

A strategy is a pure function of what is known so far: ``decide(request, attempts) -> Call | Sequence[Call] | Stop``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from router_integrations.utility import Utility as Utility

if TYPE_CHECKING:
    from router_integrations.candidates import Candidate
    from router_integrations.errors import ProviderError
    from router_integrations.gating import Gate
    from router_integrations.hedging import Hedge

Purpose = Literal["answer", "judge", "policy"]
Modality = Literal["text", "image", "audio", "pdf", "video"]
Capability = Literal["tools", "schema", "structured", "vision", "audio", "pdf", "video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. `input_tokens` includes cached reads and writes; `output_tokens` includes reasoning.

    Args:
        input_tokens: All prompt tokens.
        output_tokens: All completion tokens.
        cache_read_tokens: Prompt tokens served from the provider's cache.
        cache_write_tokens: Prompt tokens written to the provider's cache.
        estimated: True when the provider reported nothing and we counted ourselves.

    >>> Usage(input_tokens=10, output_tokens=5).input_tokens
    10
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one candidate is expected to do with one request.

    Args:
        quality: Expected quality of the answer, in [0, 1].
        std: Standard deviation of that expectation, at least 0.
        cost: Expected cost in USD; `None` is unknown.
        latency: Expected latency in seconds; `None` is unknown.

    >>> Estimate(quality=0.9, cost=0.001).std
    0.0
    """

    quality: float
    std: float = 0.0
    cost: float | None = None
    latency: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What changes with time, frozen when the request arrives; strategies read it and hold no such state.

    Args:
        cooling: Names of candidates that failed lately and rest.
        previous: The candidate that answered the last turn, if known.
        locked: The candidate that must go on, because a tool loop is open.
        budget: USD left for this request; `None` is no limit.
        price: What one USD is worth in quality at this moment, beside what the utility says (1/USD).

    >>> Snapshot(locked="big").cooling
    frozenset()
    """

    cooling: frozenset[str] = frozenset()
    previous: str | None = None
    locked: str | None = None
    budget: float | None = None
    price: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One query, seen the same way from either framework.

    Args:
        text: The last human turn, the routing input.
        candidates: Those that can take the request, in the user's order.
        system: The system prompt, which estimators may weigh less than the query.
        turns: Number of human turns in the conversation, this one included.
        input_tokens: Tokens of the whole prompt, tools included.
        tokens_estimated: Whether `input_tokens` was estimated from the characters.
        cached_tokens: Tokens of the prompt that the previous turn already sent.
        max_output_tokens: The caller's limit on the answer; `None` is none.
        modalities: What the messages carry.
        images: Images of the last human turn, each a URL or a data URI.
        needs: Capabilities the answering candidate must have.
        tools: The bound tools in OpenAI's JSON form.
        schema: The JSON schema that the answer must follow, if any.
        conversation_id: Set by the caller to tie requests together.
        user_id: Set by the caller for per-user estimators.
        judges: Those that may be asked with a prompt of their own (`Call.prompt`), whatever the query needs.
        snapshot: What changes with time.
        native: The host framework's own messages, untouched.

    >>> Request(text="What is 2 + 2?").modalities
    frozenset({'text'})
    """

    text: str
    candidates: tuple[Candidate, ...] = ()
    system: str = ""
    turns: int = 1
    input_tokens: int = 0
    tokens_estimated: bool = True
    cached_tokens: int = 0
    max_output_tokens: int | None = None
    modalities: frozenset[Modality] = frozenset({"text"})
    images: tuple[str, ...] = field(default=(), repr=False)
    needs: frozenset[Capability] = frozenset()
    tools: tuple[Mapping[str, Any], ...] = ()
    schema: Mapping[str, Any] | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    judges: tuple[Candidate, ...] = ()
    snapshot: Snapshot = Snapshot()
    native: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Asks a candidate for a better draft: it sees the conversation, its draft, and feedback as the user's next turn.

    Both are plain text, so that no tool call is left without its result.

    Args:
        draft: What the candidate has said, not empty.
        feedback: What there is to say about it, not empty.

    >>> Revision(draft="5", feedback="Check your answer.").draft
    '5'
    """

    draft: str
    feedback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Ask this candidate next.

    Args:
        candidate: Whom to ask.
        purpose: Whether the reply is an answer, a verdict of a judge, or a policy model's choice.
        prompt: What a judge or a policy model is asked instead of the conversation: this text alone, without the
            caller's tools, schema and settings. `None` asks the conversation.
        revision: The candidate's earlier reply to this conversation that is to be improved; `None` asks afresh.
        revisable: Whether a reply that breaks the schema leaves the candidate among those of the request, because
            `decide` may ask for its revision.
        final: Promises that `decide` will not look at the reply, so it may be streamed.
        gate: Promises the same of a reply that passes it; a stream that does not is cut off. `None` buffers.
        hedge: Who is asked too when this takes long; the first good reply counts, and is all that `decide` sees
            without an error. `None` waits.
        reason: Why, in words.
        estimates: What was expected of each candidate of the request, by name.

    >>> from router_integrations.candidates import Candidate
    >>> Call(candidate=Candidate("small", model=object())).purpose
    'answer'
    """

    candidate: Candidate
    purpose: Purpose = "answer"
    prompt: str | None = field(default=None, repr=False)
    revision: Revision | None = field(default=None, repr=False)
    revisable: bool = False
    final: bool = False
    gate: Gate | None = None
    hedge: Hedge | None = None
    reason: str = ""
    estimates: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call and what came back: a reply, or the error.

    Args:
        call: What was asked.
        text: The text of the reply.
        tool_calls: Tool calls of the reply, each with `name`, `args` and `id`.
        logprobs: Log-probability of each token of the reply; empty when the candidate gives none.
        top_logprobs: Those of the likeliest tokens at each place, the highest first; empty when it gives none.
        finish_reason: The provider's word for why it stopped.
        model: The model that the provider says has answered.
        usage: Tokens; `None` when no usage is known.
        cost: USD; `None` is unknown.
        latency: Seconds from sending to the last byte.
        first_token: Seconds until the first streamed chunk was shown; `None` when none was.
        error: The failure; `None` for a reply.
        sources: Texts that the reply was drawn from, as retrieved; empty when there are none.
        source_scores: What the retriever scored each of them, in its own unit; empty when it scores none.
        native: The host framework's own reply.

    >>> from router_integrations.candidates import Candidate
    >>> Attempt(call=Call(candidate=Candidate("small", model=object())), text="4").cost is None
    True
    """

    call: Call
    text: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[tuple[float, ...], ...] = ()
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    latency: float = 0.0
    first_token: float | None = None
    error: ProviderError | None = None
    sources: tuple[str, ...] = field(default=(), repr=False)
    source_scores: tuple[float, ...] = ()
    native: Any = field(default=None, repr=False, compare=False)

    @property
    def revisable(self) -> bool:
        """Whether it failed because it breaks the schema, and a revision may be asked for."""
        return self.call.revisable and self.error is not None and self.error.family == "schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Return this attempt; `None` abstains.

    Args:
        attempt: The answer, or `None` to answer nothing.
        reason: Why, in words.
        confidence: How likely the answer is good as far as the strategy knows, in [0, 1]; `None` when nobody looked.

    >>> Stop(reason="too risky").attempt is None
    True
    """

    attempt: Attempt | None = None
    reason: str = ""
    confidence: float | None = None


@runtime_checkable
class Strategy(Protocol):
    """Decides whom to ask next, or whether to stop. Pure: no I/O, no clock, no state that changes."""

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        """Return the next call, several calls to make at once, or the end.

        When a limit ends a request that has answers, or nobody is left, this is asked once more without candidates: it
        may stop with the best of them, or abstain. If it raises or wants another call, the last answer is returned.

        Args:
            request: The query with the candidates that can take it.
            attempts: What has been asked so far, failures included, in order.
        """
        ...


@runtime_checkable
class Estimator(Protocol):
    """Predicts before a call, verifies after one; one signature for both."""

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in their order.

        Args:
            request: The query.
            candidates: Whom to estimate; may differ from call to call.
            attempts: What has been asked so far.
        """
        ...
