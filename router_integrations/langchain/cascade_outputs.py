"""What any runnable takes and returns, seen as a query and an answer; what the models inside it used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables.utils import add
from pydantic import BaseModel

from router_integrations.adapters.rungs import Spoken, Tally
from router_integrations.langchain.convert import attempt_fields

_INPUT_KEYS = ("input", "question", "query", "messages")
_OUTPUT_KEYS = ("output", "answer", "messages")
_SOURCE_KEYS = ("context", "source_documents", "documents")


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


def sources_of(output: Any) -> tuple[str, ...]:
    """Return the texts that the answer in `output` was drawn from, where a dict holds documents beside it.

    They are at ``context``, ``source_documents`` or ``documents``.

    >>> from langchain_core.documents import Document
    >>> sources_of({"answer": "Paris", "context": [Document("Paris is the capital of France.")]})
    ('Paris is the capital of France.',)
    """
    given = next((output[key] for key in _SOURCE_KEYS if key in output), ()) if isinstance(output, Mapping) else ()
    documents = given if isinstance(given, list | tuple) else ()
    return tuple(one.page_content for one in documents if isinstance(one, Document))


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


# Compared by identity: LangChain hashes handlers, and adds none that equals one it has.
@dataclass(kw_only=True, eq=False)
class Meter(Tally, BaseCallbackHandler):
    """Counts what the models inside a step use, each at its own price."""

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
            self.spoken.append(Spoken(model=name, usage=None, cost=None))
            return
        own_name = message.response_metadata.get("model_name")
        told = attempt_fields(message, self.priced(asked.get("ls_provider"), name, own_name))
        self.spoken.append(Spoken(model=told["model"] or name, usage=told["usage"], cost=told["cost"], message=message))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note a model run that was cut off; one that failed before it said anything costs nothing."""
        response = kwargs.get("response")
        if response is not None and response.generations and response.generations[0]:
            self.on_llm_end(response, run_id=run_id)
        self._asked.pop(run_id, None)


def _message(response: LLMResult) -> AIMessage | None:
    first = next(iter(response.generations), [])
    message = getattr(first[0], "message", None) if first else None
    return message if isinstance(message, AIMessage) else None
