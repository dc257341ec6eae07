"""What any runnable takes and returns, seen as a query and an answer; what the models inside it used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables.utils import add
from pydantic import BaseModel

from router_integrations.candidates import Candidate
from router_integrations.langchain.convert import attempt_fields
from router_integrations.model_map import lookup
from router_integrations.types import Usage

_INPUT_KEYS = ("input", "question", "query", "messages")
_OUTPUT_KEYS = ("output", "answer", "messages")


def query_of(value: Any) -> str:
    """Return the query in the input of a runnable: the last human turn of messages, else its text.

    A dict is read at the first of ``input``, ``question``, ``query`` and ``messages`` that it has.

    >>> query_of({"messages": [("user", "What is 2 + 2?"), ("ai", "4")]}), query_of({"question": "Why?"})
    ('What is 2 + 2?', 'Why?')
    """
    leaf = _leaf(value, _INPUT_KEYS)
    if isinstance(leaf, PromptValue):
        leaf = leaf.to_messages()
    if not isinstance(leaf, list | tuple):
        return _text(leaf)
    try:
        messages = convert_to_messages(leaf)
    except (ValueError, TypeError, KeyError, NotImplementedError):
        return _text(leaf)
    human = [message for message in messages if message.type == "human"] or messages
    return str(human[-1].text) if human else ""


def answer_of(output: Any) -> Any:
    """Return the answer in the output of a runnable.

    A dict is read at the first of ``output``, ``answer`` and ``messages`` that it has, messages at the last one.

    >>> answer_of({"messages": ["2 + 2?", "4"], "output": "four"}), answer_of({"messages": ["2 + 2?", "4"]})
    ('four', '4')
    """
    leaf = _leaf(output, _OUTPUT_KEYS)
    return leaf[-1] if isinstance(leaf, list | tuple) and leaf and leaf is not output else leaf


def text_of(output: Any) -> str:
    """Return the text of the answer in `output`: a string or a message's text as it is, anything else as JSON.

    >>> text_of({"answer": AIMessage("Paris"), "context": ["a page"]}), text_of({"sum": 4}), text_of(None)
    ('Paris', '{"sum": 4}', '')
    """
    return _text(answer_of(output))


def joined(chunks: Sequence[Any]) -> Any:
    """Return what the chunks of a stream add up to; the last of them where they can't be added.

    >>> joined(["one", " two"]), joined([{"a": 1}, {"b": 2}])
    ('one two', {'b': 2})
    """
    if chunks and all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
        first, *rest = cast("Sequence[AIMessageChunk]", chunks)
        return add_ai_message_chunks(first, *rest)
    if all(isinstance(chunk, str) for chunk in chunks):
        return "".join(chunks)
    try:
        return reduce(lambda whole, chunk: cast("Any", add([whole, chunk])), chunks)
    except TypeError:
        return chunks[-1]


def _leaf(value: Any, keys: Sequence[str]) -> Any:
    while isinstance(value, Mapping):
        key = next((key for key in keys if key in value), None)
        if key is None:
            break
        value = value[key]
    return value


def _text(leaf: Any) -> str:
    if leaf is None or isinstance(leaf, str):
        return leaf or ""
    if isinstance(leaf, BaseMessage):
        return str(leaf.text)
    return leaf.model_dump_json() if isinstance(leaf, BaseModel) else json.dumps(leaf, default=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One model's reply inside a step; a usage or a cost that nobody knows is `None`."""

    model: str | None
    usage: Usage | None
    cost: float | None
    message: AIMessage | None


# Compared by identity: LangChain hashes handlers, and adds none that equals one it has.
@dataclass(kw_only=True, eq=False)
class Meter(BaseCallbackHandler):
    """Counts what the models inside a step use, each at its own price.

    Args:
        step: The step; its prices, where it has any, are those of every token made inside it. Otherwise each model's
            are those of LiteLLM's map.
    """

    step: Candidate
    spoken: list[Spoken] = field(default_factory=list)
    # Callbacks of an async run would otherwise each take a thread.
    run_inline = True

    def __post_init__(self) -> None:
        self._asked: dict[UUID, Mapping[str, Any]] = {}

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note whom a model run asks."""
        self._asked[run_id] = kwargs.get("metadata") or {}

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note whom a run of a plain text model asks."""
        self._asked[run_id] = kwargs.get("metadata") or {}

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Note what a model run used."""
        asked = self._asked.pop(run_id, {})
        name, message = asked.get("ls_model_name"), _message(response)
        if message is None:
            self.spoken.append(Spoken(model=name, usage=None, cost=None, message=None))
            return
        told = attempt_fields(message, self._priced(asked.get("ls_provider"), name, message))
        self.spoken.append(Spoken(model=told["model"] or name, usage=told["usage"], cost=told["cost"], message=message))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note a model run that was cut off; one that failed before it said anything costs nothing."""
        response = kwargs.get("response")
        if response is not None and response.generations and response.generations[0]:
            self.on_llm_end(response, run_id=run_id)
        self._asked.pop(run_id, None)

    @property
    def model(self) -> str | None:
        """The models that answered, each once, in order."""
        return ", ".join(dict.fromkeys(one.model for one in self.spoken if one.model)) or None

    @property
    def usage(self) -> Usage | None:
        """The tokens of all models; marked as estimated when one of them did not say, `None` when none did."""
        known = [one.usage for one in self.spoken if one.usage is not None]
        if not known:
            return None
        return Usage(
            input_tokens=sum(one.input_tokens for one in known),
            output_tokens=sum(one.output_tokens for one in known),
            cache_read_tokens=sum(one.cache_read_tokens for one in known),
            cache_write_tokens=sum(one.cache_write_tokens for one in known),
            estimated=len(known) < len(self.spoken) or any(one.estimated for one in known),
        )

    @property
    def cost(self) -> float | None:
        """USD of all models; `None` when that of one is unknown, or no model was seen."""
        costs = [one.cost for one in self.spoken if one.cost is not None]
        return sum(costs) if costs and len(costs) == len(self.spoken) else None

    def _priced(self, provider: str | None, name: str | None, message: AIMessage) -> Candidate:
        if self.step.input_price is not None:
            return self.step
        return _listed(provider, name) or _listed(provider, message.response_metadata.get("model_name")) or self.step


@lru_cache(maxsize=256)
def _listed(provider: str | None, name: str | None) -> Candidate | None:
    """Return the model as LiteLLM's map lists it; `None` when it does not."""
    if not name:
        return None
    known = next((one for one in (f"{provider}/{name}", name) if lookup(one) is not None), None)
    return None if known is None else Candidate(known)


def _message(response: LLMResult) -> AIMessage | None:
    first = next(iter(response.generations), [])
    message = getattr(first[0], "message", None) if first else None
    return message if isinstance(message, AIMessage) else None
