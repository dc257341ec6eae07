"""What happened to a request: the one thing that hooks, logs, metadata and stores see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router_integrations.types import Attempt, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The attempts in order, the answer, the reason and the cost: the one thing that hooks, logs and stores see.

    Args:
        attempts: Every call made, the failed ones too.
        answer: The attempt that was returned; `None` if there is none.
        first: Name of the candidate that was decided for first; `None` if none was.
        reason: Why this one, in words.
        confidence: How good the strategy took the answer to be, in [0, 1]; `None` when it did not look at it.
        alternatives: Names of the candidates that could have answered.
        rejected: Why each other candidate could not take the request, by name.
        estimates: What was expected of each candidate when the first call was decided.
        input_tokens: Tokens of the prompt as the router counted them.
        tokens_estimated: Whether that count is an estimate.
        decide_seconds: Seconds spent deciding, calls not counted.
    """

    attempts: tuple[Attempt, ...] = ()
    answer: Attempt | None = None
    first: str | None = None
    reason: str = ""
    confidence: float | None = None
    alternatives: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    input_tokens: int = 0
    tokens_estimated: bool = True
    decide_seconds: float = 0.0

    @property
    def candidate(self) -> str | None:
        """Name of the candidate that answered, or that would be asked first."""
        return self.answer.call.candidate.name if self.answer else self.first

    @property
    def cost(self) -> float | None:
        """USD of all attempts; `None` when an attempt that used tokens has no known price."""
        if any(a.cost is None and (a.error is None or a.usage is not None) for a in self.attempts):
            return None
        return math.fsum(attempt.cost or 0.0 for attempt in self.attempts)

    def as_dict(self) -> dict[str, Any]:
        """Return the trace in plain JSON values, without prompts, replies or secrets.

        >>> Trace(reason="cheapest").as_dict()["reason"]
        'cheapest'
        """
        return {
            "candidate": self.candidate,
            "model": self.answer.model if self.answer else None,
            "reason": self.reason,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "estimates": {name: _estimate_dict(estimate) for name, estimate in self.estimates.items()},
            "alternatives": list(self.alternatives),
            "rejected": dict(self.rejected),
            "attempts": [_attempt_dict(attempt) for attempt in self.attempts],
            "cost": self.cost,
            "input_tokens": self.input_tokens,
            "input_tokens_estimated": self.tokens_estimated,
            "decide_us": round(self.decide_seconds * 1e6),
        }


def _estimate_dict(estimate: Estimate) -> dict[str, float | None]:
    return {
        "quality": round(estimate.quality, 4),
        "std": round(estimate.std, 4),
        "cost": estimate.cost,
        "latency": estimate.latency,
    }


def _attempt_dict(attempt: Attempt) -> dict[str, Any]:
    usage = attempt.usage
    return {
        "candidate": attempt.call.candidate.name,
        "model": attempt.model,
        "purpose": attempt.call.purpose,
        "revised": attempt.call.revision is not None,
        "finish_reason": attempt.finish_reason,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "usage_estimated": usage.estimated if usage else None,
        "cost": attempt.cost,
        "latency": round(attempt.latency, 6),
        "first_token": attempt.first_token,
        "error": attempt.error.summary() if attempt.error else None,
    }
