"""`RouterChatModel`: a LangChain chat model that answers each query with the cheapest candidate that will do."""

from collections.abc import Sequence
from typing import Any, ClassVar

from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, model_validator

from router_integrations._version import __version__
from router_integrations.adapters.counting import count_request
from router_integrations.adapters.identity import identify
from router_integrations.candidates import Candidate
from router_integrations.estimators.answers import Need
from router_integrations.langchain.binding import ToolBinding
from router_integrations.langchain.convert import to_openai
from router_integrations.langchain.giving import gives
from router_integrations.langchain.judges import as_judge
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.langchain.pool import litellm_model, own_model, own_settings
from router_integrations.langchain.profile import intersection
from router_integrations.langchain.routed import RoutedChatModel
from router_integrations.langchain.serialize import router_json
from router_integrations.langchain.session import job_of, open_session
from router_integrations.langchain.structured import Bindable
from router_integrations.tokens import token_ids
from router_integrations.trace import Trace


class RouterChatModel(Bindable, RoutedChatModel):  # type: ignore[misc]  # LangChain's binding is private
    """A chat model over several candidates: each query goes to the cheapest one expected to answer it well.

    Use it wherever a chat model goes. Its run is a chain run; the candidate that answers is the chat-model run below
    it, so tokens count once, under the model that made them. Each answer carries the trace of its decision in
    ``response_metadata["router"]``.

    Pass ``model="name"`` to any call, or ``router.bind(model="name")``, to choose the candidate yourself.

    Args:
        candidates: LiteLLM model ids, or `Candidate`s, whose `model` may be your own chat model.
        strategy: Decides whom to ask; `Best()` by default: query difficulty against candidate strength.
        judges: Further ones, as `candidates`, that never answer, for a strategy to ask by name; a judge's `model` may
            also be a runnable or a function from a text to what it says of it, such as one that runs code.
        limits: Calls, seconds and USD that one request may take.
        context_turns: Human turns before the last one that are part of the routing input, at least 0.
        temperature: Sampling temperature of LiteLLM candidates; a candidate's own `params` win.
        max_tokens: Longest answer of LiteLLM candidates, in tokens.
        timeout: Seconds that one call to a LiteLLM candidate may take.
        max_retries: How often a call to a LiteLLM candidate is made again after a failure that may pass.
        stop: Stop sequences of every call that brings none of its own.
        streaming: Whether `invoke` streams from the LiteLLM candidates, for callbacks that watch tokens.
        api_key: Key of the LiteLLM candidates, which must then share one provider.
        health: Which candidates rest after failing; give routers the same one to share it.
        pacer: Holds the mean cost of requests near a budget; give routers the same one to share it.
        ledger: What conversations have cost, for `Limits.conversation_budget`; give routers the same one to share it.
        on_trace: Called with the trace of each request, failed ones too.

    Raises:
        ConfigurationError: The candidates or an option are wrong. Unknown options are errors.

    >>> router = RouterChatModel(candidates=["openai/gpt-4o-mini", "openai/gpt-4o"])
    >>> router.explain("What is the capital of France?").candidate
    'openai/gpt-4o-mini'
    >>> router.explain("Prove that there are infinitely many primes, and compare two proofs.").candidate
    'openai/gpt-4o'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
    made: ClassVar[tuple[str, ...]] = ("_pool", "_settings", "_serialized")

    streaming: bool = False

    @classmethod
    def _own(cls, candidate: Candidate) -> Candidate:
        return own_model(candidate)

    @classmethod
    def _own_judge(cls, candidate: Candidate) -> Candidate:
        return as_judge(candidate)

    @classmethod
    def _gives(cls, candidate: Candidate, need: Need) -> bool | None:
        return gives(candidate, need)

    @model_validator(mode="after")
    def _set_router_version(self) -> "RouterChatModel":
        self._add_version("router-integrations", __version__)
        return self

    def _model(self, candidate: Candidate) -> LiteLLMChatModel:
        return litellm_model(candidate, self)

    def explain(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Trace:
        """Decide without calling anybody; return the trace, whose `candidate` would be asked first.

        Args:
            input: As for `invoke`.
            config: As for `invoke`.
            **kwargs: As for `invoke`; tools count too.

        Raises:
            RequestError: The request is malformed, or no candidate can take it.
        """
        job = job_of(self._messages(input), None, kwargs)
        return open_session(self._pool, self._settings, job, config or {})[0].plan()

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of `text` as the first candidate reads them, or about so; offline."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return token_ids(text, self.candidates[0].id)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return about how many tokens `messages` and `tools` take; offline."""
        described = ToolBinding.of(tools, {}).described if tools else None
        return count_request(to_openai(messages), described, lambda text: len(self.get_token_ids(text)))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether LangChain may serialise it."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """The namespace of its serialised form."""
        return ["router_integrations", "langchain"]

    def to_json(self) -> Any:
        """Return LangChain's serialised form; secrets stay out, keys are read from the environment when loaded."""
        return router_json(self, super().to_json())

    @property
    def _llm_type(self) -> str:
        return "router-integrations"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return identify(self, own_settings)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        # For middleware that asks: the model that answers names itself on its own run. Token counts of answers are
        # trusted only where the provider here is the one on them.
        own = any(candidate.model is not None for candidate in self.candidates)
        params = LangSmithParams(
            ls_provider="router_integrations" if own else "litellm",
            ls_model_name=kwargs.get("model") or "router",
            ls_model_type="chat",
        )
        for name in ("temperature", "max_tokens"):
            value = kwargs.get(name, getattr(self, name))
            if value is not None:
                params[f"ls_{name}"] = value  # type: ignore[literal-required]
        if stop or self.stop:
            params["ls_stop"] = stop or self.stop
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        return intersection(self.candidates)
