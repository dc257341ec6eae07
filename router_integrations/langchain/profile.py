"""Candidates in the words of LangChain's model profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.language_models import ModelProfile

from router_integrations.candidates import Candidate

# Our capability or limit: LangChain's word for it in a model profile.
PROFILE = {
    "context_window": "max_input_tokens",
    "max_output": "max_output_tokens",
    "tools": "tool_calling",
    "tool_choice": "tool_choice",
    "schema": "structured_output",
    "vision": "image_inputs",
    "audio": "audio_inputs",
    "pdf": "pdf_inputs",
    "video": "video_inputs",
    "reasoning": "reasoning_output",
}
_LIMITS = ("context_window", "max_output")


def intersection(candidates: Sequence[Candidate]) -> ModelProfile:
    """Return the profile that holds whichever candidate answers: the smallest limits, what all of them can do."""
    profile: dict[str, Any] = {}
    for name, word in PROFILE.items():
        values = [getattr(candidate, name) for candidate in candidates]
        if any(value is None for value in values):
            continue
        profile[word] = min(values) if name in _LIMITS else all(values)
    return cast("ModelProfile", profile)
