from __future__ import annotations

import math

import pytest

from router_integrations.errors import ConfigurationError
from router_integrations.estimators import AnswerQuality, Completeness, TokenConfidence, VerbalizedConfidence, Weakest
from router_integrations.estimators.answer_quality import answer_kind
from router_integrations.types import Request
from tests.estimators.answered import QUERY, SMALL, reply

SCHEMA = Request(text="Age?", schema={"type": "object", "required": ["age"]})
TOOLS = Request(text="Find it.", tools=({"type": "function", "function": {"name": "search"}},))
HALF = (math.log(0.5),)
CALL = {"name": "search", "args": {}, "id": "1"}
OTHER = {"name": "find", "args": {}, "id": "1"}


@pytest.mark.parametrize(
    ("request_", "answer", "kind", "quality"),
    [
        (QUERY, reply("4", logprobs=HALF), "text", 0.5),
        (QUERY, reply("4"), "text", 1.0),
        (QUERY, reply("I don't know.", logprobs=HALF), "text", 0.0),
        (QUERY, reply("```py\nx = 1\n```", logprobs=HALF), "code", 0.5),
        (QUERY, reply("```py\nx = \n```", logprobs=HALF), "code", 0.0),
        (QUERY, reply("```sql\nselect\n```", logprobs=HALF), "code", 0.5),
        (TOOLS, reply(tool_calls=(CALL,), logprobs=HALF), "tool_call", 0.5),
        (TOOLS, reply(tool_calls=(OTHER,), logprobs=HALF), "tool_call", 0.0),
        (TOOLS, reply("Done.", logprobs=HALF), "text", 0.5),
        (SCHEMA, reply('{"age": 3}', logprobs=HALF), "structured", 0.5),
        (SCHEMA, reply("{}", logprobs=HALF), "structured", 0.0),
        (SCHEMA, reply(tool_calls=({"name": "Age", "args": {"age": 3}, "id": "1"},)), "structured", 1.0),
    ],
)
def test_each_kind_of_answer_is_looked_at_in_its_own_way(request_, answer, kind, quality) -> None:
    assert answer_kind(request_, answer) == kind
    assert AnswerQuality().confidence(request_, SMALL, [answer]) == pytest.approx(quality)


def test_the_estimator_of_a_kind_can_be_chosen() -> None:
    quality = AnswerQuality(text=VerbalizedConfidence())

    assert quality.confidence(QUERY, SMALL, [reply("4. Confidence: 30%", logprobs=HALF)]) == pytest.approx(0.3)


def test_the_weakest_counts_and_silence_does_not() -> None:
    weakest = Weakest(estimators=(VerbalizedConfidence(), TokenConfidence(), Completeness()))

    assert weakest.confidence(QUERY, SMALL, [reply("4. Confidence: 30%", logprobs=HALF)]) == pytest.approx(0.3)
    assert weakest.confidence(QUERY, SMALL, [reply("4", logprobs=HALF)]) == pytest.approx(0.5)
    assert Weakest(estimators=(TokenConfidence(),)).confidence(QUERY, SMALL, [reply("4")]) is None


@pytest.mark.parametrize("estimators", [(), (object(),)])
def test_parts_that_are_none_are_refused(estimators) -> None:
    with pytest.raises(ConfigurationError, match="Weakest"):
        Weakest(estimators=estimators)
