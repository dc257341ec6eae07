"""What a cascade of anything needs, whatever its rungs are: who judges, what a rung used, and what a failure means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from numbers import Real
from typing import Any

from pydantic import ValidationError

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError, ProviderError, RouterError, StrategyError
from router_integrations.estimators import AnswerQuality
from router_integrations.estimators.answers import AnswerEstimator, Need
from router_integrations.faults import fault, mask
from router_integrations.model_map import lookup
from router_integrations.strategies import Cascade
from router_integrations.types import Attempt, Estimate, Estimator, Request, Usage

Grade = Callable[[Any, Any], float]
Thresholds = float | Mapping[str, float]

# Tokens of an answer, where nothing is known of it.
_TYPICAL_OUTPUT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a rung returned, and what the user's function thinks of it: a confidence, or the error that it raised."""

    value: Any
    confidence: Any = None


class Graded(AnswerEstimator):
    """Estimates an answer by what the user's own function said of it when it came."""

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float:
        given = answers[-1].native.confidence
        if isinstance(given, Exception):
            raise StrategyError(f"the estimator function failed: {given!r}") from given
        # A numpy scalar, of a similarity say, is a number too.
        if not isinstance(given, Real) or not 0 <= float(given) <= 1:
            raise StrategyError(f"the estimator function must return a number in [0, 1] but returned {given!r}")
        return float(given)


class Placed:
    """Estimates rungs that have not answered by their place and their prices alone, for nobody asks what they will say.

    >>> QUICK = Candidate("quick", model=object(), strength=0.5, input_price=0.0, output_price=0.0)
    >>> Placed().estimate(Request(text="Hi"), [QUICK])
    [Estimate(quality=0.5, std=0.0, cost=0.0, latency=None)]
    """

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        return [
            Estimate(quality=one.strength or 0.0, cost=one.expected_cost(request, _TYPICAL_OUTPUT), latency=one.latency)
            for one in candidates
        ]


class Measured:
    """An estimator with the measured costs of rungs that have not answered yet.

    Args:
        estimator: Estimates everything else; `AnswerQuality()` by default.
        costs: USD of one call, by the name of the rung.
    """

    def __init__(self, *, estimator: Estimator | None, costs: Mapping[str, float]) -> None:
        self.estimator = AnswerQuality() if estimator is None else estimator
        self.costs = costs

    @property
    def needs(self) -> frozenset[Need]:
        """What the estimator needs."""
        needs: frozenset[Need] = getattr(self.estimator, "needs", frozenset())
        return needs

    @property
    def uses(self) -> frozenset[Need]:
        """What the estimator uses."""
        uses: frozenset[Need] = getattr(self.estimator, "uses", frozenset())
        return uses

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        estimates = self.estimator.estimate(request, candidates, attempts)
        answered = {attempt.call.candidate.name for attempt in attempts if attempt.error is None}
        return [
            replace(estimate, cost=self.costs[one.name])
            if one.name in self.costs and one.name not in answered
            else estimate
            for one, estimate in zip(candidates, estimates, strict=True)
        ]


def placed(rungs: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the rungs, each as strong as its place says, in (0, 1], unless the user knows better.

    >>> [one.strength for one in placed([Candidate("a", model=object()), Candidate("b", model=object(), strength=0.7)])]
    [0.5, 0.7]
    """
    return tuple(
        replace(one, strength=place / len(rungs)) if one.strength is None else one
        for place, one in enumerate(rungs, start=1)
    )


def checked_estimator(given: Any) -> Any:
    """Return `given`: an estimator that can judge what rungs return, a plain function, or nothing.

    Raises:
        ConfigurationError: It is neither, or needs what rungs don't give.
    """
    is_estimator = isinstance(given, Estimator) and not isinstance(given, type)
    is_function = callable(given) and not isinstance(given, type) and not is_async(given)
    if given is not None and not is_estimator and not is_function:
        raise ConfigurationError(
            f"must be an estimator or a plain function of input and output but is {given!r}; for example "
            "lambda input, output: 1.0"
        )
    if missing := {"judge", "samples"} & getattr(given, "needs", frozenset()):
        raise ConfigurationError(f"{given!r} needs {sorted(missing)}, which steps don't give; use another estimator")
    return given


def is_async(function: Any) -> bool:
    """Return whether a function, or an object that is called as one, is written with ``async def``.

    >>> async def judge(text): ...
    >>> is_async(judge), is_async(len)
    (True, False)
    """
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def grade_of(estimator: Any) -> Grade | None:
    """Return the user's own function, if that is what judges."""
    return None if estimator is None or isinstance(estimator, Estimator) else estimator


def check_names(known: Sequence[str], costs: Mapping[str, float], **thresholds: Any) -> None:
    """Refuse options by name that are about nobody, and costs that are none.

    Args:
        known: The names of the rungs.
        costs: USD of one call, by name.
        **thresholds: Each for all, or by name.

    Raises:
        ConfigurationError: A name or a cost is wrong.

    >>> check_names(["quick", "slow"], {"slow": 0.01}, accept={"quick": 0.8}, abstain=None)
    """
    for option, given in {**thresholds, "costs": costs}.items():
        if unknown := [name for name in given if name not in known] if isinstance(given, Mapping) else []:
            raise ConfigurationError(f"{option} names {unknown}, which are none of the steps {list(known)}")
    if wrong := {name: cost for name, cost in costs.items() if not 0 <= cost < float("inf")}:
        raise ConfigurationError(f"costs must be finite and at least 0 but got {wrong}; leave out what is unknown")


def cascade_of(
    estimator: Any, *, costs: Mapping[str, float], accept: Thresholds, abstain: Thresholds | None
) -> Cascade:
    """Return the strategy of a cascade whose rungs are asked in the order given.

    Args:
        estimator: An estimator, the user's own function, or `None` for `AnswerQuality()`.
        costs: USD of one call, by name.
        accept: As in `Cascade`.
        abstain: As in `Cascade`.
    """
    judge = estimator if grade_of(estimator) is None else Graded(prior=Placed())
    if costs:
        judge = Measured(estimator=judge, costs=costs)
    return Cascade(estimator=judge, order="given", accept=accept, abstain=abstain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One model's reply inside a rung; a usage or a cost that nobody knows is `None`."""

    model: str | None
    usage: Usage | None
    cost: float | None
    message: Any = None


# Compared by identity, as LangChain's handlers must be.
@dataclass(kw_only=True, eq=False)
class Tally:
    """What the models inside a rung have used.

    Args:
        rung: The rung; its prices, where it has any, are those of every token made inside it. Otherwise each model's
            are those of LiteLLM's map.
        spoken: The replies, in order.
    """

    rung: Candidate
    spoken: list[Spoken] = field(default_factory=list)

    @property
    def model(self) -> str | None:
        """The models that answered, each once, in order."""
        return ", ".join(dict.fromkeys(one.model for one in self.spoken if one.model)) or None

    @property
    def usage(self) -> Usage | None:
        """The tokens of all models; marked as estimated when one of them did not say, `None` when none did."""
        known = [one.usage for one in self.spoken if one.usage is not None]
        if not known:
            return None
        return Usage(
            input_tokens=sum(one.input_tokens for one in known),
            output_tokens=sum(one.output_tokens for one in known),
            cache_read_tokens=sum(one.cache_read_tokens for one in known),
            cache_write_tokens=sum(one.cache_write_tokens for one in known),
            estimated=len(known) < len(self.spoken) or any(one.estimated for one in known),
        )

    @property
    def cost(self) -> float | None:
        """USD of all models; `None` when that of one is unknown, or no model was seen, unless the rung is free."""
        if self.rung.input_price == self.rung.output_price == 0:
            return 0.0
        costs = [one.cost for one in self.spoken if one.cost is not None]
        return sum(costs) if costs and len(costs) == len(self.spoken) else None

    def priced(self, provider: str | None, *names: str | None) -> Candidate:
        """Return whose prices hold for a model: the rung's own, else those of the first name that the map lists."""
        if self.rung.input_price is not None:
            return self.rung
        return next((one for name in names if (one := _listed(provider, name)) is not None), self.rung)


@lru_cache(maxsize=256)
def _listed(provider: str | None, name: str | None) -> Candidate | None:
    """Return the model as LiteLLM's map lists it; `None` when it does not."""
    if not name:
        return None
    known = next((one for one in (f"{provider}/{name}", name) if lookup(one) is not None), None)
    return None if known is None else Candidate(known)


def step_fault(error: Exception) -> ProviderError:
    """Return what `error` means as the failure of a rung; raise it when it is LangGraph's way to pause or to end.

    >>> step_fault(KeyError("topic")).family, str(step_fault(KeyError("topic")))
    ('bad_request', "KeyError: 'topic'")
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GraphBubbleUp" in kinds:
        raise error
    if isinstance(error, ProviderError):
        return error
    known = _own_fault(error, kinds) or fault(error) or ProviderError(_message(error), family="bad_request")
    known.__cause__ = error
    return known


def _own_fault(error: Exception, kinds: set[str]) -> ProviderError | None:
    """Return the failure where the error itself says more than what it was raised from."""
    if isinstance(error, RouterError) and isinstance(error.__cause__, ProviderError):
        return ProviderError(_message(error), family=error.__cause__.family)
    # Both frameworks have a class of this name, of which neither is known here.
    if "OutputParserException" in kinds or isinstance(error, ValidationError):
        return ProviderError(_message(error), family="schema")
    return None


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {mask(' '.join(str(error).split()))}"[:300]
