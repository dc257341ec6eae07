"""What every host does with what a candidate's provider raises, and with a reply that tells too little."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from router_integrations.errors import AllCandidatesFailed, ProviderError
from router_integrations.faults import fault
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Call, Usage

_CUT_OFF = frozenset({"length", "max_tokens", "model_length"})


@contextmanager
def as_faults() -> Iterator[None]:
    """Turn what a candidate's provider raises into our own error; leave everything else alone."""
    try:
        yield
    except Exception as error:
        known = fault(error)
        if known is None or known is error:
            raise
        raise known from error


def is_cut_off(told: Mapping[str, Any]) -> bool:
    """Whether a reply ended at its token limit, by what it told for an `Attempt`.

    >>> is_cut_off({"finish_reason": "length"}), is_cut_off({"finish_reason": None})
    (True, False)
    """
    return str(told["finish_reason"]).lower() in _CUT_OFF


def with_usage(told: Mapping[str, Any], call: Call, input_tokens: int) -> dict[str, Any]:
    """Return what a reply told for an `Attempt`, with about the usage where it told none.

    Args:
        told: The fields of the attempt.
        call: What was asked.
        input_tokens: Tokens of the conversation.
    """
    if told["usage"] is not None:
        return dict(told)
    said = told["text"] + "".join(json.dumps(one, default=str) for one in told["tool_calls"])
    asked = input_tokens if call.prompt is None else estimate_tokens(call.prompt)
    if call.revision is not None:
        asked += estimate_tokens(call.revision.draft) + estimate_tokens(call.revision.feedback)
    wrote = len(told["logprobs"]) or estimate_tokens(said)
    usage = Usage(input_tokens=asked, output_tokens=wrote, estimated=True)
    return {**told, "usage": usage, "cost": call.candidate.cost(usage) if told["cost"] is None else told["cost"]}


def schema_error(problem: BaseException | None) -> ProviderError:
    """Return the failure of an answer that breaks the schema.

    >>> schema_error(ValueError("no JSON")).family
    'schema'
    """
    error = ProviderError(f"the answer breaks the schema: {problem}", family="schema")
    error.__cause__ = problem
    return error


@lru_cache(maxsize=32)
def failed_also(theirs: type[Exception]) -> type[AllCandidatesFailed]:
    """Return a class of the failure of all that is an error of the framework's too.

    >>> issubclass(failed_also(ValueError), ValueError)
    True
    """
    return type("AllCandidatesFailed", (AllCandidatesFailed, theirs), {"__module__": AllCandidatesFailed.__module__})
