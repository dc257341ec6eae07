"""What an adapter reads off a call, as the `Request` that strategies see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from router_integrations.adapters.counting import MESSAGE_OVERHEAD
from router_integrations.candidates import Candidate
from router_integrations.tokens import byte_length, count_tokens
from router_integrations.types import Capability, Modality, Request, Snapshot

Kind = Literal["system", "human", "ai", "tool"]
# What an image or a minute of audio about costs; providers differ by more than this is off.
_MEDIA_TOKENS: Mapping[Modality, int] = {"image": 800, "audio": 1000, "pdf": 3000, "video": 5000}
_NEED: Mapping[Modality, Capability] = {"image": "vision", "audio": "audio", "pdf": "pdf", "video": "video"}
# Texts have more tokens than their bytes divided by this, but for odd ones such as runs of blanks.
_LONGEST_TOKEN = 8
# Bytes of UTF-8.
_LONGEST_CHARACTER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A call as it was made, whichever framework it came through.

    Args:
        kinds: Whose each message is; another word than those of `Kind` is nobody's turn.
        texts: What each message says.
        media: The modality of each block that is no text.
        images: Images of the last human turn, each a URL or a data URI.
        tools: The tools in OpenAI's form.
        tool_tokens: About how many tokens they take.
        calls_tools: Whether an answer in the conversation calls tools.
        schema: The JSON schema that the answer must follow.
        needs: What the answering candidate must be able to do beside what the messages themselves need.
        previous: Who gave the last answer, if known.
        answered: The number of messages up to that answer.
        in_tool_loop: Whether the model is owed the answer to its tool calls.
        max_output_tokens: The caller's limit on the answer.
        conversation_id: Ties requests together.
        user_id: Whose request it is.
        native: The host's own messages.
    """

    kinds: Sequence[str]
    texts: Sequence[str]
    media: Sequence[Modality] = ()
    images: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_tokens: int = 0
    calls_tools: bool = False
    schema: Mapping[str, Any] | None = None
    needs: frozenset[Capability] = frozenset()
    previous: str | None = None
    answered: int = 0
    in_tool_loop: bool = False
    max_output_tokens: int | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    native: Any = None

    def request(self, candidates: Sequence[Candidate], *, context_turns: int) -> Request:
        """Return the request; `candidates` only tell how exactly tokens must be counted.

        Args:
            candidates: Who may be asked.
            context_turns: Human turns before the last one that are part of the routing input, at least 0.

        Raises:
            RequestError: A text holds a lone surrogate.

        >>> Seen(kinds=["system", "human"], texts=["Be kind.", "Hi"]).request((), context_turns=0).text
        'Hi'
        """
        sizes = [byte_length(text) for text in self.texts]
        media = sum(_MEDIA_TOKENS[modality] for modality in self.media)
        overhead = media + MESSAGE_OVERHEAD * len(sizes) + self.tool_tokens
        counted = _count(self.texts, sizes, overhead, candidates)
        return Request(
            text=self._query(context_turns),
            system="\n".join(text for text, kind in zip(self.texts, self.kinds, strict=True) if kind == "system"),
            turns=self.kinds.count("human"),
            input_tokens=overhead + (sum(sizes) + 3) // 4 if counted is None else counted,
            tokens_estimated=counted is None,
            cached_tokens=sum(sizes[: self.answered]) // 4,
            max_output_tokens=self.max_output_tokens,
            modalities=frozenset({"text", *self.media}),
            images=self.images,
            needs=self._needs(),
            tools=self.tools,
            schema=self.schema,
            conversation_id=self.conversation_id,
            user_id=self.user_id,
            snapshot=Snapshot(previous=self.previous, locked=self.previous if self.in_tool_loop else None),
            native=self.native,
        )

    def _query(self, context_turns: int) -> str:
        """Return the last human turn, with `context_turns` human turns before it; never a tool result."""
        human = [text for text, kind in zip(self.texts, self.kinds, strict=True) if kind == "human"]
        return "\n".join(human[-1 - context_turns :]) if human else self.texts[-1]

    def _needs(self) -> frozenset[Capability]:
        needs = {*self.needs, *(_NEED[modality] for modality in self.media)}
        if self.tools or self.calls_tools or "tool" in self.kinds:
            needs.add("tools")
        return frozenset(needs)


def modality_of(mime: str) -> Modality:
    """Return what a file of this type is to a model.

    >>> modality_of("image/png"), modality_of("application/pdf"), modality_of("")
    ('image', 'pdf', 'pdf')
    """
    families: Mapping[str, Modality] = {"image": "image", "audio": "audio", "video": "video"}
    return families.get(mime.partition("/")[0], "pdf")


def may_count(characters: int, candidates: Sequence[Candidate]) -> bool:
    """Whether tokens may have to be counted exactly, which takes too long for an event loop.

    >>> may_count(10, [Candidate("openai/gpt-4o-mini")]), may_count(10**6, [Candidate("openai/gpt-4o-mini")])
    (False, True)
    """
    windows = [candidate.context_window for candidate in candidates if candidate.context_window is not None]
    return bool(windows) and characters * _LONGEST_CHARACTER >= min(windows)


def _count(texts: Sequence[str], sizes: Sequence[int], overhead: int, candidates: Sequence[Candidate]) -> int | None:
    """Return the exact count where a candidate's window may hang on it; `None` where an estimate will do.

    No tokenizer makes more tokens than bytes, so a prompt far below every window needs no counting, nor one far above.
    """
    most = overhead + sum(sizes)
    least = sum(sizes) // _LONGEST_TOKEN
    close = [c for c in candidates if c.context_window is not None and least <= c.context_window < most]
    if not close:
        return None
    return overhead + sum(count_tokens(text, close[0].id) for text in texts)
