"""A cascade that refines, behind RouterChatModel: what goes over the wire, what comes back, what is paid."""

import math
from typing import Any

import pytest
from doubles import CHEAP, DEAR, HARD, Wire, trace_of, weather, whole
from pydantic import BaseModel, field_validator

from router_integrations import Candidate
from router_integrations.demo.server import LocalServer
from router_integrations.errors import AllCandidatesFailed
from router_integrations.estimators import TokenConfidence
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import Cascade
from router_integrations.testing.replies import Reply, ToolCall

USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
LATER = {"prompt_tokens": 80, "completion_tokens": 12, "total_tokens": 92}
WAYS = ["invoke", "ainvoke", "stream", "astream"]


class Age(BaseModel):
    """How old somebody is."""

    years: int

    @field_validator("years")
    @classmethod
    def _is_positive(cls, years: int) -> int:
        if years < 0:
            raise ValueError("years must be positive")
        return years


def sure(confidence: float, text: str, usage: Any = USAGE) -> Reply:
    words = len(Reply(text=text).tokens)
    return Reply(text=text, logprobs=(math.log(confidence),) * words, usage=usage)


def router(wire: Wire, **options: Any) -> RouterChatModel:
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    strategy = Cascade(**{"estimator": TokenConfidence(), "order": "given", "refine": "Check it.", **options})
    return RouterChatModel(candidates=pool, strategy=strategy)


async def asked(model: Any, way: str, question: Any = HARD) -> Any:
    if way == "invoke":
        return model.invoke(question)
    if way == "ainvoke":
        return await model.ainvoke(question)
    if way == "stream":
        return whole(list(model.stream(question)))
    return whole([chunk async for chunk in model.astream(question)])


@pytest.mark.parametrize("way", WAYS)
async def test_the_wire_shows_the_draft_and_the_feedback_after_the_conversation(wire: Wire, way: str) -> None:
    wire.server.script("small", sure(0.3, "By magic."), sure(0.9, "By contradiction.", LATER))
    answer = await asked(router(wire), way)
    trace = trace_of(answer)

    assert answer.text == "By contradiction."
    assert wire.requests[0].body["messages"] == [{"role": "user", "content": HARD}]
    assert wire.last["messages"] == [
        {"role": "user", "content": HARD},
        {"role": "assistant", "content": "By magic."},
        {"role": "user", "content": "Check it."},
    ]
    assert [one["revised"] for one in trace["attempts"]] == [False, True]
    assert trace["attempts"][1]["purpose"] == "answer"
    assert trace["cost"] == pytest.approx((50 + 80) * 1e-7 + (10 + 12) * 4e-7)


@pytest.mark.parametrize("way", WAYS)
async def test_the_next_candidate_sees_the_conversation_alone(wire: Wire, way: str) -> None:
    wire.server.script("small", sure(0.3, "By magic."), sure(0.3, "By luck."))
    wire.server.script("big", Reply(text="By contradiction."))
    answer = await asked(router(wire, refine={"small": "Check it."}), way)

    assert answer.text == "By contradiction."
    assert wire.models == ["small", "small", "big"]
    assert wire.last["messages"] == [{"role": "user", "content": HARD}]
    assert bool(wire.last.get("stream")) is ("stream" in way)


async def test_usage_that_nobody_reports_counts_the_draft_and_the_feedback(wire: Wire) -> None:
    wire.server.script("small", sure(0.3, "By magic.", {}), sure(0.9, "By contradiction.", {}))
    first, second = trace_of(router(wire).invoke(HARD))["attempts"]

    assert second["usage_estimated"] is True
    assert second["input_tokens"] > first["input_tokens"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
async def test_who_breaks_the_schema_is_told_how_and_mends_it(wire: Wire, way: str, method: str) -> None:
    def reply(arguments: str) -> Reply:
        if method == "function_calling":
            return Reply(tool_calls=(ToolCall(name="Age", arguments=arguments),))
        return sure(0.9, arguments)

    wire.server.script("small", reply('{"years": "old"}'), reply('{"years": 41}'))
    model = router(wire, estimator=None).with_structured_output(Age, method=method)
    parsed = list(model.stream("How old?"))[-1] if way == "stream" else await asked(model, way, "How old?")

    assert parsed == Age(years=41)
    assert wire.models == ["small", "small"]
    draft, feedback = wire.last["messages"][-2:]
    assert draft == {"role": "assistant", "content": '{"years": "old"}'}
    assert feedback["content"] == "The answer breaks the schema: at years: 'old' is not of type 'integer'. Check it."


def test_what_only_pydantic_minds_is_told_too(wire: Wire) -> None:
    wire.server.script("small", sure(0.9, '{"years": -1}'), sure(0.9, '{"years": 41}'))
    model = router(wire).with_structured_output(Age, method="json_schema")

    assert model.invoke("How old?") == Age(years=41)
    assert "Value error, years must be positive" in wire.last["messages"][-1]["content"]


def test_the_only_candidate_mends_its_answer_or_all_have_failed(wire: Wire) -> None:
    model = RouterChatModel(candidates=[wire.candidate("openai/small")], strategy=Cascade(refine="Check it."))
    structured = model.with_structured_output(Age, method="json_schema")
    wire.server.script("small", Reply(text="forty-one"), Reply(text='{"years": 41}'))
    assert structured.invoke("How old?") == Age(years=41)
    assert wire.last["messages"][-1]["content"].startswith("The answer is no JSON: Expecting value")

    wire.server.script("small", Reply(text="forty-one"), repeat=True)
    with pytest.raises(AllCandidatesFailed):
        structured.invoke("How old?")
    assert len(wire.requests) == 4


def test_a_wrong_tool_call_leaves_no_call_open(wire: Wire) -> None:
    wrong, right = (
        Reply(tool_calls=(ToolCall(name=name, arguments={"city": "Oslo"}),)) for name in ("climate", "weather")
    )
    wire.server.script("small", wrong, right)
    answer = router(wire, estimator=None).bind_tools([weather]).invoke("How is Oslo?")

    assert [call["name"] for call in answer.tool_calls] == ["weather"]
    assert all("tool_calls" not in message for message in wire.last["messages"])
    assert wire.last["messages"][-1]["content"] == "There is no tool 'climate', only 'weather'. Check it."
    assert wire.last["tools"]


@pytest.mark.parametrize("way", ["invoke", "astream"])
async def test_on_a_real_model(local_server: LocalServer, way: str) -> None:
    params = {"api_base": local_server.base_url, "api_key": "none", "temperature": 0, "max_tokens": 16}
    pool = [Candidate("openai/smollm2-135m", name="small", params=params, strength=0.5, **CHEAP)]
    strategy = Cascade(estimator=TokenConfidence(), accept=1.0, refine="Check it.")
    answer = await asked(RouterChatModel(candidates=pool, strategy=strategy), way)
    draft, revised = trace_of(answer)["attempts"]

    assert answer.text
    assert revised["revised"] is True
    # The draft and the feedback are read on top of what was read before.
    assert revised["input_tokens"] >= draft["input_tokens"] + draft["output_tokens"]
    assert trace_of(answer)["cost"] == pytest.approx(draft["cost"] + revised["cost"])
