"""Whether what LangChain runs gives what a strategy looks at, as far as its settings tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding, RunnableSequence

from router_integrations.candidates import Candidate
from router_integrations.estimators.answers import Need
from router_integrations.langchain.litellm_model import LiteLLMChatModel
from router_integrations.needs import gives_need, provider_gives


def gives(candidate: Candidate, need: Need) -> bool | None:
    """Return whether replies of a candidate or a step carry `need`; `None` when nobody knows.

    Of a chain the last chat model counts.

    >>> chain = (lambda text: text) | LiteLLMChatModel(candidate=Candidate("mistral/mistral-tiny"))
    >>> gives(Candidate("chain", model=chain), "logprobs"), gives(Candidate("tool", model=str.upper), "logprobs")
    (False, None)
    """
    return gives_need(candidate, need) if candidate.model is None else _runs(candidate.model, need)


def _runs(model: Any, need: Need) -> bool | None:
    if isinstance(model, LiteLLMChatModel):
        return gives_need(model.candidate, need)
    if isinstance(model, BaseChatModel):
        known = gives_need(Candidate("own", model=model), need)
        # What a provider never gives, no setting gets.
        return False if provider_gives(model._get_ls_params().get("ls_provider")) is False else known
    if isinstance(model, RunnableBinding):
        return bool(model.kwargs[need]) if need in model.kwargs else _runs(model.bound, need)
    if isinstance(model, RunnableSequence):
        kinds = (BaseChatModel, RunnableBinding, RunnableSequence)
        last = next((step for step in reversed(model.steps) if isinstance(step, kinds)), None)
        return None if last is None else _runs(last, need)
    return None


def asked_of(steps: Iterable[Candidate]) -> list[Candidate]:
    """Return the LiteLLM candidates behind steps, under the steps' names.

    >>> step = Candidate("first", model=LiteLLMChatModel(candidate=Candidate("openai/gpt-4o")))
    >>> [(one.name, one.id) for one in asked_of([step])]
    [('first', 'openai/gpt-4o')]
    """
    return [
        dataclasses.replace(step.model.candidate, name=step.name)
        for step in steps
        if isinstance(step.model, LiteLLMChatModel)
    ]
