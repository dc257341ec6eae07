"""Who gave an answer, noted on the message itself, where no provider and no integration looks.

`additional_kwargs` would be sent on by some integrations, and an agent keeps the message, not the response around it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from pydantic import Field

from router_integrations.candidates import Candidate


class Answerer(NamedTuple):
    """The candidate that gave an answer, and the model that it asks."""

    candidate: str
    model: str


class RoutedMessage(ChatMessage):
    """An answer that knows which candidate gave it.

    A memory that keeps messages as plain data forgets it; then nobody knows who gave the answer, as with any other's.

    Args:
        answerer: Who gave it.
    """

    answerer: Answerer | None = Field(default=None, repr=False)


def answered(response: ChatResponse, candidate: Candidate) -> ChatResponse:
    """Return `response` with a message that knows that `candidate` gave it.

    >>> response = answered(ChatResponse(message=ChatMessage("Hi")), Candidate("small", model=object()))
    >>> answerer_of(response.message)
    Answerer(candidate='small', model='small')
    """
    fields: dict[str, Any] = dict(response.message.__dict__)
    message = RoutedMessage.model_construct(**fields | {"answerer": Answerer(candidate.name, candidate.id)})
    return response.model_copy(update={"message": message})


def answerer_of(message: ChatMessage) -> Answerer | None:
    """Return who gave an answer; `None` when nobody knows."""
    return message.answerer if isinstance(message, RoutedMessage) else None
