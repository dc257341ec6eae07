"""The options of a router, the same words in both frameworks; saved and loaded the same way."""

import dataclasses
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from router_integrations.adapters.identity import plain_candidate, without_model
from router_integrations.adapters.session import Pool, Settings
from router_integrations.adapters.targets import Target
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.encoders import Encoder
from router_integrations.encoders_fusion import ImageEncoder
from router_integrations.errors import ConfigurationError, StorageError
from router_integrations.estimators.answers import Need
from router_integrations.health import Health
from router_integrations.ledger import Ledger
from router_integrations.limits import Limits
from router_integrations.needs import asked_for, check_needs, gives_need
from router_integrations.pacer import Pacer
from router_integrations.storage import SavedRouter, load_router, save_router
from router_integrations.strategies import Best
from router_integrations.trace import Trace
from router_integrations.types import Strategy

# The options that a folder holds beside candidates and strategy; the others are secrets or objects of the user's.
_CALL_SETTINGS = ("temperature", "max_tokens", "timeout", "max_retries", "stop", "streaming")
_SAVED = ("limits", "pacer", "context_turns", *_CALL_SETTINGS)


class RouterOptions(BaseModel):
    """What both routers take; each is this and its framework's model."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
    # What was made from the fields, by name, and is made anew when one of them changes.
    made: ClassVar[tuple[str, ...]] = ("_pool", "_settings")

    candidates: Any
    judges: Any = ()
    strategy: Any = Field(default_factory=Best)
    limits: Limits = Field(default_factory=Limits)
    context_turns: int = Field(default=0, ge=0)
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    max_retries: int | None = None
    stop: list[str] | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    health: Health = Field(default_factory=Health, exclude=True, repr=False)
    pacer: Pacer | None = Field(default=None, exclude=True, repr=False)
    ledger: Ledger = Field(default_factory=Ledger, exclude=True, repr=False)
    on_trace: Callable[[Trace], None] | None = Field(default=None, exclude=True, repr=False)

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigurationError(explain_options(type(self), error)) from error

    @classmethod
    def _own(cls, candidate: Candidate) -> Candidate:
        """Return `candidate` with what its own model says of itself filled in."""
        raise NotImplementedError

    @classmethod
    def _gives(cls, candidate: Candidate, need: Need) -> bool | None:
        """Return whether replies of `candidate` carry `need`; `None` when nobody knows."""
        return gives_need(candidate, need)

    @classmethod
    def _own_judge(cls, candidate: Candidate) -> Candidate:
        """Return `candidate`, which only judges, likewise."""
        return cls._own(candidate)

    @field_validator("candidates")
    @classmethod
    def _check_candidates(cls, given: Any) -> tuple[Candidate, ...]:
        return tuple(cls._own(candidate) for candidate in as_candidates(_made(given)))

    @field_validator("judges")
    @classmethod
    def _check_judges(cls, given: Any) -> tuple[Candidate, ...]:
        return tuple(cls._own_judge(judge) for judge in as_candidates(_made(given))) if given else ()

    @field_validator("strategy")
    @classmethod
    def _check_strategy(cls, strategy: Any) -> Strategy:
        if isinstance(strategy, type) or not isinstance(strategy, Strategy):
            raise ConfigurationError(f"strategy must have a decide method but got {strategy!r}; for example Best()")
        return strategy

    @field_serializer("candidates", "judges")
    def _plain_candidates(self, candidates: tuple[Candidate, ...]) -> list[dict[str, Any]]:
        return [without_model(plain_candidate(candidate)) for candidate in candidates]

    @field_serializer("strategy")
    def _plain_strategy(self, strategy: Strategy) -> str:
        # It is code, which no dictionary brings in: who loads one is told what is missing.
        return type(strategy).__name__

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        everybody = as_candidates((*self.candidates, *self.judges))
        providers = {candidate.provider for candidate in everybody if candidate.model is None}
        if self.api_key is not None and len(providers) > 1:
            raise ConfigurationError(
                f"api_key would be sent to several providers {sorted(map(str, providers))}; "
                "give each candidate its own, as params={'api_key': ...}"
            )
        self._check_decides(self.strategy)
        return self

    def _check_decides(self, strategy: Strategy) -> None:
        names = [candidate.name for candidate in (*self.candidates, *self.judges)]
        if absent := sorted({*getattr(strategy, "judges", ())}.difference(names)):
            raise ConfigurationError(
                f"the strategy asks {absent} to judge, who are none of {names}; "
                f"give judges=[Candidate({absent[0]!r}, model=...)]"
            )
        check_needs(strategy, self.candidates, judges=self.judges, gives=self._gives)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; what was made from the old ones is made anew."""
        # LlamaIndex's settings set the callback manager whenever somebody asks for the LLM.
        same = value is getattr(self, name, None)
        if name == "strategy" and not same:
            self._check_decides(self._check_strategy(value))
        super().__setattr__(name, value)
        if not same:
            self._forget()

    def __copy__(self) -> Self:
        """Copy the fields, not what was made from them: the copy's may change."""
        copied = super().__copy__()
        copied._forget()
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the fields deeply, but for candidates, which never change, and what routers share, such as health."""
        memo = {} if memo is None else memo
        memo |= {id(one): one for one in (self.candidates, self.judges, self.health, self.pacer, self.ledger)}
        return super(RouterOptions, self.__copy__()).__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """Return the fields alone, of a copy: what cannot be pickled LlamaIndex deletes from the object itself."""
        state: dict[Any, Any] = super(RouterOptions, self.__copy__()).__getstate__()
        return state

    def _forget(self) -> None:
        for name in self.made:
            self.__dict__.pop(name, None)

    def _model(self, candidate: Candidate) -> Any:
        """Return the framework's model of a LiteLLM candidate."""
        raise NotImplementedError

    @cached_property
    def _pool(self) -> Pool:
        candidates = tuple(self._with_settings(candidate) for candidate in self.candidates)
        judges = tuple(self._with_settings(judge) for judge in self.judges)
        both = (*candidates, *judges)
        models = {one.name: self._model(one) if one.model is None else one.model for one in both}
        return Pool(
            candidates=candidates,
            judges=judges,
            models=models,
            targets={one.name: Target.of(one, models[one.name]) for one in both},
            asked=asked_for(self.strategy, both),
        )

    @cached_property
    def _settings(self) -> Settings:
        return Settings(
            strategy=self.strategy,
            limits=self.limits,
            health=self.health,
            pacer=self.pacer,
            ledger=self.ledger,
            context_turns=self.context_turns,
            # Both frameworks' models have one, of their own.
            limiter=getattr(self, "rate_limiter", None),
        )

    def _with_settings(self, candidate: Candidate) -> Candidate:
        """Return a LiteLLM candidate with the router's timeout, retries and key where it has none of its own."""
        if candidate.model is not None:
            return candidate
        names = ("timeout", "max_retries")
        changes: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.api_key is not None:
            changes["params"] = {"api_key": self.api_key.get_secret_value(), **candidate.params}
        return dataclasses.replace(candidate, **changes) if changes else candidate

    def _observe(self, trace: Trace) -> None:
        if self.on_trace is not None:
            self.on_trace(trace)

    def save(self, folder: str | PathLike[str]) -> None:
        """Save candidates, strategy and what it learnt, limits and call settings to `folder`; see `load`.

        Secrets, own models, judges, `health`, callbacks and the like stay out, and so does a pacer's price of the
        moment. A folder that was saved before is replaced as a whole; any other is left alone. It loads in both
        frameworks.

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
            models: The own models, by the name of their candidate.
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
        known = {name: value for name, value in saved.settings.items() if name in cls.model_fields}
        return cls(**{"candidates": saved.candidates, "strategy": saved.strategy, **known, **options})


def _made(given: Any) -> Any:
    """Return what was given with candidates in place of the dicts of a serialised form."""
    return [Candidate(**one) if isinstance(one, dict) else one for one in given] if isinstance(given, list) else given


def explain_options(cls: type[BaseModel], error: ValidationError) -> str:
    """Return in words what is wrong with a constructor's options; values stay out, for they may be secrets."""
    words = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(map(str, problem["loc"])) or cls.__name__
        if problem["type"] == "extra_forbidden":
            near = get_close_matches(name, cls.model_fields, n=1)
            words.append(f"{name!r} is no option of {cls.__name__}" + (f"; did you mean {near[0]!r}?" if near else ""))
        else:
            words.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(words)
