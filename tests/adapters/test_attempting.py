"""What every host does with faults and with replies that tell too little."""

from typing import Any

import pytest

from router_integrations import Call, Candidate, Usage
from router_integrations.adapters.attempting import as_faults, failed_also, schema_error, with_usage
from router_integrations.errors import AllCandidatesFailed, ProviderError

PRICED = Candidate("m", model=object(), input_price=1.0, output_price=2.0)
SILENT: dict[str, Any] = {"text": "four" * 4, "tool_calls": (), "logprobs": (), "usage": None, "cost": None}


def test_a_providers_exception_becomes_ours():
    with pytest.raises(ProviderError) as caught, as_faults():
        raise ConnectionError("gone")
    assert caught.value.family == "connection" and isinstance(caught.value.__cause__, ConnectionError)


def test_a_bug_stays_a_bug():
    with pytest.raises(ZeroDivisionError), as_faults():
        _ = 1 / 0


@pytest.mark.parametrize(("prompt", "logprobs", "tokens"), [(None, (), (7, 4)), ("eight888", (-0.1,), (2, 1))])
def test_unreported_tokens_are_estimated_and_priced(prompt: str | None, logprobs: Any, tokens: tuple[int, int]):
    told = with_usage({**SILENT, "logprobs": logprobs}, Call(candidate=PRICED, prompt=prompt), 7)
    assert told["usage"] == Usage(input_tokens=tokens[0], output_tokens=tokens[1], estimated=True)
    assert told["cost"] == tokens[0] + 2 * tokens[1]


def test_reported_tokens_stay():
    told = {**SILENT, "usage": Usage(input_tokens=1, output_tokens=1)}
    assert with_usage(told, Call(candidate=PRICED), 7) == told


def test_a_known_cost_stays():
    assert with_usage({**SILENT, "cost": 0.0}, Call(candidate=PRICED), 7)["cost"] == 0


def test_a_broken_schema_keeps_what_the_parser_said():
    problem = ValueError("no JSON")
    assert schema_error(problem).__cause__ is problem


def test_a_failure_of_all_is_a_frameworks_error_too():
    error = failed_also(ValueError)("nobody answered")
    assert isinstance(error, AllCandidatesFailed) and isinstance(error, ValueError)
    assert failed_also(ValueError) is failed_also(ValueError)
