"""`RouterChatModel`: a LangChain chat model that answers each query with the cheapest candidate that will do."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import Any, Self

from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from router_integrations._version import __version__
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.encoders import Encoder
from router_integrations.encoders_fusion import ImageEncoder
from router_integrations.errors import ConfigurationError, StorageError
from router_integrations.health import Health
from router_integrations.langchain.binding import ToolBinding
from router_integrations.langchain.convert import to_openai
from router_integrations.langchain.counting import count_request
from router_integrations.langchain.pool import build_pool, explain_options, identify, own_model
from router_integrations.langchain.profile import intersection
from router_integrations.langchain.routed import RoutedChatModel
from router_integrations.langchain.serialize import router_json
from router_integrations.langchain.session import Pool, Settings, job_of, open_session
from router_integrations.langchain.structured import Bindable
from router_integrations.limits import Limits
from router_integrations.pacer import Pacer
from router_integrations.storage import SavedRouter, load_router, save_router
from router_integrations.strategies import Best
from router_integrations.tokens import token_ids
from router_integrations.trace import Trace
from router_integrations.types import Strategy

# The options that a folder holds beside candidates and strategy; the others are secrets or objects of the user's.
_CALL_SETTINGS = ("temperature", "max_tokens", "timeout", "max_retries", "stop", "streaming")
_SAVED = ("limits", "pacer", "context_turns", *_CALL_SETTINGS)


class RouterChatModel(Bindable, RoutedChatModel):  # type: ignore[misc]  # LangChain's binding is private
    """A chat model over several candidates: each query goes to the cheapest one expected to answer it well.

    Use it wherever a chat model goes. Its run is a chain run; the candidate that answers is the chat-model run below
    it, so tokens count once, under the model that made them. Each answer carries the trace of its decision in
    ``response_metadata["router"]``.

    Pass ``model="name"`` to any call, or ``router.bind(model="name")``, to choose the candidate yourself.

    Args:
        candidates: LiteLLM model ids, or `Candidate`s, whose `model` may be your own chat model.
        strategy: Decides whom to ask; `Best()` by default: query difficulty against candidate strength.
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

    candidates: Any
    strategy: Any = Field(default_factory=Best)
    limits: Limits = Field(default_factory=Limits)
    context_turns: int = Field(default=0, ge=0)
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    max_retries: int | None = None
    streaming: bool = False
    api_key: SecretStr | None = Field(default=None, repr=False)
    health: Health = Field(default_factory=Health, exclude=True, repr=False)
    pacer: Pacer | None = Field(default=None, exclude=True, repr=False)

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigurationError(explain_options(type(self), error)) from error

    @field_validator("candidates")
    @classmethod
    def _check_candidates(cls, given: Any) -> tuple[Candidate, ...]:
        plain = (
            [Candidate(**one) if isinstance(one, dict) else one for one in given] if isinstance(given, list) else given
        )
        return tuple(own_model(candidate) for candidate in as_candidates(plain))

    @field_validator("strategy")
    @classmethod
    def _check_strategy(cls, strategy: Any) -> Strategy:
        if isinstance(strategy, type) or not isinstance(strategy, Strategy):
            raise ConfigurationError(f"strategy must have a decide method but got {strategy!r}; for example Best()")
        return strategy

    @model_validator(mode="after")
    def _set_router_version(self) -> "RouterChatModel":
        self._add_version("router-integrations", __version__)
        providers = {candidate.provider for candidate in self.candidates if candidate.model is None}
        if self.api_key is not None and len(providers) > 1:
            raise ConfigurationError(
                f"api_key would be sent to several providers {sorted(map(str, providers))}; "
                "give each candidate its own, as params={'api_key': ...}"
            )
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; what was made from the old ones is made anew."""
        super().__setattr__(name, value)
        self._forget()

    def __copy__(self) -> "RouterChatModel":
        """Copy the fields, not what was made from them: the copy's may change."""
        copied = super().__copy__()
        copied._forget()
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "RouterChatModel":
        """Copy the fields deeply, but for candidates, which never change, and health and pacer, which are shared."""
        memo = {} if memo is None else memo
        memo |= {id(self.candidates): self.candidates, id(self.health): self.health, id(self.pacer): self.pacer}
        return super(RouterChatModel, self.__copy__()).__deepcopy__(memo)

    def _forget(self) -> None:
        for name in ("_pool", "_settings", "_serialized"):
            self.__dict__.pop(name, None)

    @cached_property
    def _pool(self) -> Pool:
        return build_pool(self)

    @cached_property
    def _settings(self) -> Settings:
        return Settings(
            strategy=self.strategy,
            limits=self.limits,
            health=self.health,
            pacer=self.pacer,
            context_turns=self.context_turns,
            limiter=self.rate_limiter,
        )

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

    def save(self, folder: str | PathLike[str]) -> None:
        """Save candidates, strategy and what it learnt, limits and call settings to `folder`; see `load`.

        Secrets, own chat models, `health`, callbacks and the like stay out, and so does a pacer's price of the moment.
        A folder that was saved before is replaced as a whole; any other is left alone.

        Args:
            folder: Where to.

        Raises:
            StorageError: There is something else at `folder`, or the strategy is not ours.
        """
        settings = {name: getattr(self, name) for name in _SAVED if name in self.model_fields_set}
        save_router(folder, SavedRouter(candidates=self.candidates, strategy=self.strategy, settings=settings))

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        *,
        models: Mapping[str, Any] | None = None,
        encoder: Encoder | ImageEncoder | None = None,
        **options: Any,
    ) -> Self:
        """Return the router that was saved in `folder`; it decides as it did. Keys are read from the environment.

        Loading runs no code of the folder's, but the folder says where queries go: a candidate's ``api_base`` is in it.

        Args:
            folder: Where from.
            models: The own chat models, by the name of their candidate.
            encoder: The own encoder, if the strategy learnt with one.
            **options: Options of the constructor, which win over what was saved.

        Raises:
            StorageError: The folder is missing, foreign, newer, truncated or tampered with, or an own model or the own
                encoder is not passed.
            ConfigurationError: An option is wrong.
        """
        saved = load_router(folder, models=models, encoder=encoder)
        if strange := sorted(set(saved.settings) - set(_SAVED)):
            raise StorageError(f"the folder sets {strange}, which no folder may set", problem="tampered")
        return cls(**{"candidates": saved.candidates, "strategy": saved.strategy, **saved.settings, **options})

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
        return identify(self)

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
