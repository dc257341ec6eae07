"""`RouterLLM`: a LlamaIndex LLM that answers each query with the cheapest candidate that will do."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, LLMMetadata, MessageRole
from llama_index.core.tools import BaseTool
from pydantic import ConfigDict, Field

from router_integrations.adapters.identity import is_default
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.llama_index.binding import BINDING, ToolBinding
from router_integrations.llama_index.judges import own_judge
from router_integrations.llama_index.limits import known_limits
from router_integrations.llama_index.litellm_llm import LiteLLMModel
from router_integrations.llama_index.pool import litellm_llm, own_llm
from router_integrations.llama_index.session import open_session
from router_integrations.llama_index.structured import PredictingLLM
from router_integrations.trace import Trace


class RouterLLM(PredictingLLM):
    """An LLM over several candidates: each query goes to the cheapest one expected to answer it well.

    Use it wherever an LLM goes: query engines, chat engines, agents, programs. LlamaIndex hears one LLM call for each
    candidate that is asked, inside a span of the router, and a `RouterEvent` with the trace. Each answer carries the
    trace in ``additional_kwargs["router"]``; of a stream, the last response does.

    Pass ``model="name"`` to any call to choose the candidate yourself. The conversation and the user are those that
    LlamaIndex's ``instrument_tags({"thread_id": ..., "user_id": ...})`` names around the call.

    Args:
        candidates: LiteLLM model ids, or `Candidate`s, whose `model` may be your own LLM.
        judges: Further ones, as `candidates`, that never answer, for a strategy to ask by name; a judge's `model` may
            also be a function from a text to what it says of it, such as one that runs code.
        strategy: Decides whom to ask; `Best()` by default: query difficulty against candidate strength.
        limits: Calls, seconds and USD that one request may take.
        context_turns: Human turns before the last one that are part of the routing input, at least 0.
        temperature: Sampling temperature of LiteLLM candidates; a candidate's own `params` win.
        max_tokens: Longest answer of LiteLLM candidates, in tokens.
        timeout: Seconds that one call to a LiteLLM candidate may take.
        max_retries: How often a call to a LiteLLM candidate is made again after a failure that may pass.
        stop: Stop sequences of every call that brings none of its own.
        api_key: Key of the LiteLLM candidates, which must then share one provider.
        health: Which candidates rest after failing; give routers the same one to share it.
        pacer: Holds the mean cost of requests near a budget; give routers the same one to share it.
        ledger: What conversations have cost, for `Limits.conversation_budget`; give routers the same one to share it.
        on_trace: Called with the trace of each request, failed ones too.
        context_window: Tokens that LlamaIndex may take a prompt and its answer to have together; by default what the
            smallest candidate takes.
        num_output: Tokens that it leaves of these for the answer; by default `max_tokens`, or what all candidates can
            write, and never more than a quarter of the window.
        is_function_calling_model: Whether it takes the router for one that calls tools; by default whether any
            candidate does, which is then the one that is asked.

    Raises:
        ConfigurationError: The candidates or an option are wrong. Unknown options are errors.

    >>> router = RouterLLM(candidates=["openai/gpt-4o-mini", "openai/gpt-4o"])
    >>> router.explain("What is the capital of France?").candidate
    'openai/gpt-4o-mini'
    >>> router.explain("Prove that there are infinitely many primes, and compare two proofs.").candidate
    'openai/gpt-4o'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    context_window: int | None = Field(default=None, gt=0)
    num_output: int | None = Field(default=None, gt=0)
    is_function_calling_model: bool | None = None

    @classmethod
    def class_name(cls) -> str:
        """Return what LlamaIndex calls this kind of LLM."""
        return "router_integrations_router"

    @classmethod
    def _own(cls, candidate: Candidate) -> Candidate:
        return own_llm(candidate)

    @classmethod
    def _own_judge(cls, candidate: Candidate) -> Candidate:
        return own_judge(candidate)

    def _model(self, candidate: Candidate) -> LiteLLMModel:
        return litellm_llm(candidate, self)

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex may count on, whichever candidate answers."""
        window, output = known_limits(self.candidates, self.max_tokens)
        calls = self.is_function_calling_model
        if calls is None:
            calls = any(candidate.tools is not False for candidate in self.candidates)
        return LLMMetadata(
            context_window=self.context_window or window,
            num_output=self.num_output or output,
            is_chat_model=True,
            is_function_calling_model=calls,
            model_name="router",
        )

    def __getstate__(self) -> dict[Any, Any]:
        """Return what a pickle holds; whatever else cannot be pickled, such as handlers, LlamaIndex leaves out.

        Raises:
            ConfigurationError: The copy would decide otherwise.
        """
        state = super().__getstate__()
        if lost := {"candidates", "judges", "strategy"}.difference(state["__dict__"]):
            raise ConfigurationError(
                f"{sorted(lost)} of the router cannot be pickled; give functions and LLMs that can, no lambdas"
            )
        return state

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return its dictionary form, without secrets, own LLMs and code: keys are read from the environment.

        `from_dict` wants what is missing beside it: own LLMs in ``candidates=``, any ``strategy=`` but the default.

        Args:
            **kwargs: As for pydantic's `model_dump`.
        """
        form: dict[str, Any] = super().to_dict(**kwargs)
        if is_default(self.strategy):
            del form["strategy"]
        return form

    def explain(self, messages: str | Sequence[ChatMessage], *, tools: Sequence[BaseTool] = (), **kwargs: Any) -> Trace:
        """Decide without calling anybody; return the trace, whose `candidate` would be asked first.

        Args:
            messages: A prompt, or a conversation as for `chat`.
            tools: Tools, as for `chat_with_tools`.
            **kwargs: Settings of the call, as for `chat`.

        Raises:
            RequestError: The request is malformed, or no candidate can take it.
        """
        if isinstance(messages, str):
            messages = [ChatMessage(role=MessageRole.USER, content=messages)]
        if tools:
            kwargs[BINDING] = ToolBinding(tools=tuple(tools), options={})
        job = self._job(messages, kwargs)
        return open_session(self._pool, self._settings, job, self.callback_manager)[0].plan()
