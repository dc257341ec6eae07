"""How much LLMs read and write, as LlamaIndex's prompt helpers want to know it."""

from __future__ import annotations

from collections.abc import Sequence

from router_integrations.candidates import Candidate

# What a model of today takes at least, for one that nobody knows.
_WINDOW, _OUTPUT = 8192, 1024
# An answer may be as long as the whole window, but prompts need most of it.
_SHARE = 4


def known_limits(candidates: Sequence[Candidate], max_tokens: int | None = None) -> tuple[int, int]:
    """Return the context window and the length of an answer, in tokens, that suit whichever candidate answers.

    LlamaIndex cuts prompts to what the answer leaves of the window, so an answer is never held to take most of it.

    Args:
        candidates: Who may answer.
        max_tokens: The longest answer that the user wants; `None` is as long as the candidates allow.

    >>> known_limits([Candidate("openai/gpt-4o-mini")]), known_limits([Candidate("openai/unheard-of")], 50)
    ((128000, 16384), (8192, 50))
    """
    window = min(candidate.context_window or _WINDOW for candidate in candidates)
    output = min(candidate.max_output or _OUTPUT for candidate in candidates)
    return window, min(max_tokens or output, window // _SHARE)
