"""What goes out to LiteLLM, whichever framework it comes through."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from router_integrations.adapters.outgoing import Outgoing, can_force_tools, file_part
from router_integrations.candidates import Candidate

FIVE = {"timeout": 5}
MINI = Candidate("openai/gpt-4o-mini", timeout=60)


@pytest.mark.parametrize(
    ("settings", "given", "seconds"),
    [
        ({}, {}, 60),
        ({"timeout": 5}, {}, 5),
        ({"timeout": 5}, {"timeout": 2}, 2),
        ({"timeout": 5}, {"timeout": None}, 5),
    ],
)
def test_the_nearest_timeout_wins_and_is_no_parameter(
    settings: dict[str, Any], given: dict[str, Any], seconds: float
) -> None:
    call = Outgoing.of(MINI, settings, [], given)

    assert (call.timeout, call.params) == (seconds, {})


def test_a_secret_is_plain_for_the_provider_and_known_to_whoever_hides_it() -> None:
    call = Outgoing.of(MINI, {"api_key": SecretStr("sk-1")}, [], {"stream": True})

    assert call.params == call.candidate.params == {"api_key": "sk-1"}


def test_another_model_of_a_call_keeps_the_candidates_parameters() -> None:
    own = Candidate("openai/small", params={"api_base": "http://x"}, timeout=3)

    call = Outgoing.of(own, own.params, [], {"model": "other"})

    assert (call.candidate.id, call.candidate.params, call.timeout) == ("openai/other", {"api_base": "http://x"}, 3)


@pytest.mark.parametrize(
    ("candidate", "settings", "can"),
    [
        (Candidate("anthropic/claude-sonnet-4-5"), {}, True),
        (Candidate("anthropic/claude-sonnet-4-5"), {"thinking": {"type": "enabled"}}, False),
        (Candidate("openai/gpt-5"), {"reasoning_effort": "low"}, True),
        (Candidate("openai/small", tool_choice=False), {}, False),
    ],
)
def test_who_can_be_made_to_call_a_tool(candidate: Candidate, settings: dict[str, Any], can: bool) -> None:
    assert can_force_tools(candidate, settings) is can


@pytest.mark.parametrize(
    ("url", "mime", "file"),
    [
        ("data:text/csv;base64,YQ==", "text/csv", {"filename": "file.csv", "format": "text/csv"}),
        ("data:application/pdf;base64,YQ==", "application/pdf", {"filename": "file.pdf"}),
        ("https://example.org/a.mp4", "video/mp4", {"format": "video/mp4"}),
    ],
)
def test_a_file_goes_along_or_is_named(url: str, mime: str, file: dict[str, Any]) -> None:
    place = "file_data" if url.startswith("data:") else "file_id"

    assert file_part(url, mime) == {"type": "file", "file": {place: url, **file}}
