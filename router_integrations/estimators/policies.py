"""Policies that the user writes in plain words: which candidate is for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder, HashingEncoder
from router_integrations.errors import ConfigurationError
from router_integrations.types import Attempt, Estimate, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Tokens of an answer, of which nothing is known.
_USUAL_OUTPUT = 300.0
# What another policy than the chosen one is worth at most; below every sensible `Utility.enough`.
_OTHERS = 0.5


class Policies:
    """Estimates quality by how near the query is to what the user wrote a candidate is for.

    The candidate of the nearest policy has quality 1, the others half their similarity or less, so that the next
    nearest one comes next. Where no policy is as near as `threshold`, the default has quality 1.

    WHEN: pre-generation. WHAT: query, the user's policies. HOW: a rule (cosine between the vectors of the query and of
    the policies). No training. `estimate` takes one encoding plus O(policies · dimensions). The default encoder knows
    words, not meaning, so write the words that such queries use; a sentence encoder needs fewer.

    The policies of Arch-Router (arXiv 2506.16655), read by an encoder; `JudgedPolicies` has a model read them.

    Args:
        policies: What each is for, in plain words, by the name of the candidate or, with `routes`, of the policy.
        default: Name of the candidate for queries that no policy is near; `None` leaves them to the nearest policy.
        routes: The candidate of each policy that is not called as its candidate.
        threshold: Cosine from which a policy is near, in [-1, 1].
        encoder: Turns texts into vectors; an unfitted `HashingEncoder` by default.

    Raises:
        ConfigurationError: There is no policy, one is no text, or an option is out of range.

    >>> pool = [Candidate(name, model=object()) for name in ("coder", "cook")]
    >>> policies = {"coder": "write or fix Python code", "cook": "recipes, cooking, what to eat"}
    >>> found = Policies(policies=policies, default="cook").estimate(Request(text="fix this Python function"), pool)
    >>> found[0].quality
    1.0
    """

    def __init__(
        self,
        *,
        policies: Mapping[str, str],
        default: str | None = None,
        routes: Mapping[str, str] | None = None,
        threshold: float = 0.1,
        encoder: Encoder | None = None,
    ) -> None:
        require_policies("Policies", policies, routes)
        if not -1 <= threshold <= 1:
            raise ConfigurationError(f"Policies.threshold must be in [-1, 1] but got {threshold!r}; it is a cosine")
        self.policies = policies
        self.default = default
        self.routes = routes
        self.threshold = threshold
        self.encoder = encoder

    def estimate(
        self, request: Request, candidates: Sequence[Candidate], attempts: Sequence[Attempt] = ()
    ) -> list[Estimate]:
        """Return one estimate per candidate, in order."""
        length = min(_USUAL_OUTPUT, request.max_output_tokens or _USUAL_OUTPUT)
        near = self._similarities(request.text)
        offered = {one.name for one in candidates} & set(near)
        first = max(sorted(offered), key=near.__getitem__, default=None)
        if self.default is not None and (first is None or near[first] < self.threshold):
            first = self.default
        return [
            Estimate(
                quality=1.0 if one.name == first else _OTHERS * max(near.get(one.name, 0.0), 0.0),
                cost=one.expected_cost(request, length),
                latency=one.latency,
            )
            for one in candidates
        ]

    def _similarities(self, text: str) -> dict[str, float]:
        """Return how near the query is to the nearest policy of each candidate."""
        found: dict[str, float] = {}
        vector = self._encoder.encode([text])[0]
        for name, similarity in zip(self.policies, self._vectors @ vector, strict=True):
            candidate = routed(name, self.routes)
            found[candidate] = max(float(similarity), found.get(candidate, -1.0))
        return found

    @cached_property
    def _encoder(self) -> Encoder:
        return HashingEncoder() if self.encoder is None else self.encoder

    @cached_property
    def _vectors(self) -> NDArray[np.float32]:
        vectors: Any = self._encoder.encode([f"{name}: {said}" for name, said in self.policies.items()])
        return vectors  # type: ignore[no-any-return]


def routed(policy: str, routes: Mapping[str, str] | None) -> str:
    """Return the name of the candidate that a policy leads to.

    >>> routed("maths", {"maths": "big"}), routed("small", None)
    ('big', 'small')
    """
    return (routes or {}).get(policy, policy)


def require_policies(owner: str, policies: Mapping[str, str], routes: Mapping[str, str] | None) -> None:
    """Refuse policies that nobody can follow.

    Raises:
        ConfigurationError: There is none, one has no text, two have the same name but for case, or a route has none.

    >>> require_policies("Policies", {"small": "small talk"}, None)
    """
    if not policies:
        raise ConfigurationError(f"{owner}.policies must hold at least one policy; write what a candidate is for")
    empty = [name for name, said in policies.items() if not (name.strip() and isinstance(said, str) and said.strip())]
    if empty:
        raise ConfigurationError(f"{owner}.policies must have a name and a text each but {empty[0]!r} has not")
    if len({name.casefold() for name in policies}) < len(policies):
        raise ConfigurationError(f"{owner}.policies must differ by more than case but are {list(policies)}")
    if strange := [name for name in routes or {} if name not in policies]:
        raise ConfigurationError(
            f"{owner}.routes leads from {strange[0]!r}, which is no policy; it has {list(policies)}"
        )
