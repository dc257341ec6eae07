from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import pytest

from router_integrations import types
from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError, RouterError
from router_integrations.estimators import Difficulty
from router_integrations.strategies import Best, Fixed
from router_integrations.types import Attempt, Call, Estimate, Estimator, Request, Snapshot, Stop, Strategy, Utility

SMALL = Candidate("small", model=object())


@pytest.mark.parametrize(
    ("utility", "estimate", "worth"),
    [
        (Utility(), Estimate(quality=0.6), 0.6),
        (Utility(), Estimate(quality=0.9), 0.7),
        (Utility(enough=1.0), Estimate(quality=0.9), 0.9),
        (Utility(enough=1.0, optimism=2.0), Estimate(quality=0.5, std=0.1), 0.7),
        (Utility(enough=1.0, optimism=-2.0), Estimate(quality=0.5, std=0.1), 0.3),
        (Utility(optimism=2.0), Estimate(quality=0.6, std=0.1), 0.7),
        (Utility(per_usd=10), Estimate(quality=0.5, cost=0.02), 0.3),
        (Utility(per_second=0.1), Estimate(quality=0.5, latency=2.0), 0.3),
        (Utility(per_usd=10, per_second=0.1), Estimate(quality=0.5, cost=0.01, latency=1.0), 0.3),
        (Utility(per_usd=10), Estimate(quality=0.9, cost=0.0), 0.7),
    ],
)
def test_utility_is_worth(utility: Utility, estimate: Estimate, worth: float) -> None:
    assert utility(estimate) == pytest.approx(worth)


def test_an_unknown_cost_that_matters_is_worth_nothing_and_is_no_zero() -> None:
    assert Utility(per_usd=1)(Estimate(quality=1.0)) == -math.inf
    assert Utility(per_second=1)(Estimate(quality=1.0, cost=0.0)) == -math.inf
    assert Utility()(Estimate(quality=1.0)) == 0.7


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enough", -0.1),
        ("enough", 1.1),
        ("enough", math.nan),
        ("per_usd", -1.0),
        ("per_usd", math.inf),
        ("per_second", math.nan),
        ("optimism", math.nan),
        ("optimism", -math.inf),
    ],
)
def test_utility_out_of_range_names_field_and_value(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"Utility\.{field} must be .* but got {value!r}; ") as caught:
        Utility(**{field: value})
    assert isinstance(caught.value, RouterError)
    assert isinstance(caught.value, ValueError)


VALUES = [Request(text="hi"), Call(candidate=SMALL), Attempt(call=Call(candidate=SMALL)), Stop(), Snapshot()]


@pytest.mark.parametrize(
    "value", [*VALUES, Estimate(quality=0.5), Utility(), types.Usage(input_tokens=1, output_tokens=1)]
)
def test_values_are_frozen(value: object) -> None:
    name = fields(value)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)


def test_values_take_no_positional_arguments() -> None:
    with pytest.raises(TypeError):
        Request("hi")


def test_native_messages_are_neither_shown_nor_compared() -> None:
    request = Request(text="hi", native=["the secret"])

    assert "secret" not in repr(request)
    assert request == Request(text="hi", native=["another"])


@pytest.mark.parametrize("strategy", [Best(), Fixed()])
def test_strategies_satisfy_the_protocol(strategy: object) -> None:
    assert isinstance(strategy, Strategy)
    assert not isinstance(strategy, Estimator)


def test_estimators_satisfy_the_protocol() -> None:
    assert isinstance(Difficulty(), Estimator)
    assert not isinstance(Difficulty(), Strategy)
