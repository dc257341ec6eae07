from __future__ import annotations

import copy
import inspect
import json
import pickle
import re

import pytest

from router_integrations import errors
from router_integrations.errors import FAMILIES, ProviderError, RouterError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)]


def test_every_error_has_one_root() -> None:
    assert all(issubclass(cls, RouterError) for cls in CLASSES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    shown = re.findall(r"─ (\w+)", errors.__doc__ or "")

    assert sorted([*shown, "RouterError"]) == sorted(cls.__name__ for cls in CLASSES)


@pytest.mark.parametrize("cls", [errors.ConfigurationError, errors.RequestError, errors.NoEligibleCandidate])
def test_bad_input_is_also_a_value_error(cls: type[Exception]) -> None:
    assert issubclass(cls, ValueError)


@pytest.mark.parametrize(
    ("family", "retryable", "cools"),
    [
        ("timeout", True, "when repeated"),
        ("connection", True, "when repeated"),
        ("rate_limit", True, "at once"),
        ("server", True, "when repeated"),
        ("malformed", True, "when repeated"),
        ("authentication", False, "at once"),
        ("permission", False, "at once"),
        ("not_found", False, "at once"),
        ("bad_request", False, "never"),
        ("context_overflow", False, "never"),
        ("content_policy", False, "never"),
        ("schema", False, "never"),
        ("unsure", False, "never"),
        ("cancelled", False, "never"),
    ],
)
def test_family_decides_what_happens_next(family: errors.Family, retryable: bool, cools: str) -> None:
    error = ProviderError("no", family=family)

    assert (error.retryable, error.cools) == (retryable, cools)


def test_every_family_has_a_row_above() -> None:
    marks = test_family_decides_what_happens_next.pytestmark
    assert [row[0] for row in marks[0].args[1]] == list(FAMILIES)


def test_summary_is_short_plain_json() -> None:
    summary = ProviderError("x" * 1000, family="rate_limit", status_code=429, retry_after=3).summary()

    assert json.loads(json.dumps(summary)) == {"family": "rate_limit", "status_code": 429, "message": "x" * 300}


def test_an_error_raised_before_any_call_has_no_trace() -> None:
    assert RouterError("no").trace is None


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_comes_back_from_another_process_as_it_was(cls: type[RouterError]) -> None:
    options = {
        "StorageError": {"problem": "missing"},
        "ProviderError": {"family": "rate_limit", "status_code": 429, "retry_after": 3.0},
    }
    error = cls("no", **options.get(cls.__name__, {}))
    error.trace = "what was asked"
    back = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert (type(back), str(back), vars(back)) == (cls, "no", vars(error))
    assert type(copy.copy(error)) is cls
