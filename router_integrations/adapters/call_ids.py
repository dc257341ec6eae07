"""Tool-call ids that a provider takes, for those that it does not."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from hashlib import sha256
from itertools import count

from router_integrations.adapters.targets import CLAUDE, Target

# LiteLLM packs Gemini's thought signature into the id behind this.
SIGNED_ID = "__thought__"
_ANY = re.compile("(?s:.+)")
# Mistral wants nine alphanumerics, OpenAI at most 40 characters.
_LEGAL = (
    (re.compile("(mis|minis|magis|mix|vox|pix|devs|codes)tral"), re.compile("[A-Za-z0-9]{9}")),
    (re.compile(f"{CLAUDE}|bedrock"), re.compile("[A-Za-z0-9_-]{1,64}")),
    (re.compile("openai|azure"), re.compile("(?s:.{1,40})")),
)
_ALPHABET = string.digits + string.ascii_letters


class CallIds:
    """The ids of one conversation's tool calls, as a target takes them.

    Args:
        target: Who is about to be asked.

    >>> ids = CallIds(Target(provider="mistral", model="mistral-large-latest"))
    >>> ids.rename("call_1", keep_signature=False)
    >>> ids.of("call_1"), ids.of("unheard-of")
    ('Vxhe7PzTm', 'unheard-of')
    """

    def __init__(self, target: Target) -> None:
        self._legal = next((ids for models, ids in _LEGAL if target.provider and target.among(models)), _ANY)
        self.renamed: dict[str, str] = {}
        self._taken: dict[str, str] = {}

    def of(self, old: str) -> str:
        """Return what the call `old` is called now."""
        return self.renamed.get(old, old)

    def rename(self, old: str, *, keep_signature: bool) -> None:
        """Give a call whose id the target refuses another one, the same each time, which no other call has."""
        new = old
        fits = not old or (self._legal.fullmatch(old) and (keep_signature or SIGNED_ID not in old))
        if not fits or self._taken.setdefault(old, old) != old:
            new = next(one for one in _nine(old) if self._taken.setdefault(one, old) == old)
        if new == old:
            self.renamed.pop(old, None)
        else:
            self.renamed[old] = new

    def keep(self, old: str) -> None:
        """Leave a call that the target itself made as it is."""
        self.renamed.pop(old, None)


def _nine(old: str) -> Iterator[str]:
    """Yield ids that every provider takes, made of `old` alone so that each call makes the same ones."""
    for attempt in count():
        number = int.from_bytes(sha256(f"{attempt}:{old}".encode()).digest()[:8])
        yield "".join(_ALPHABET[number // 62**place % 62] for place in range(9))
