"""Cascades behind the router: what is shown, and what is paid; and that a saved one loads in both frameworks."""

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from router_integrations import Candidate, Gate
from router_integrations.langchain import RouterChatModel
from router_integrations.llama_index import RouterLLM
from router_integrations.strategies import BestOfN, Cascade, JudgedCascade
from router_integrations.testing.llama_index.asking import Way, text_of
from router_integrations.testing.replies import Reply
from router_integrations.trace import Trace
from router_integrations.types import Call, Revision, Stop
from tests.llama_index.llms import Line, Own, answer, every_way, router_over, streamed_ways, trace_of
from tests.wired import EASY, HARD

USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}


class Person(BaseModel):
    """A person."""

    name: str


def judged(line: Line, *said: str) -> RouterLLM:
    line.server.script("small", *(Reply(text=text, usage=USAGE) for text in said))
    return line.router(strategy=JudgedCascade(order="given", votes=3))


@every_way
async def test_an_approved_draft_is_shown_and_its_verdicts_are_paid(line: Line, way: Way):
    last = await answer(judged(line, "By contradiction.", "True", "True", "False"), way, HARD)
    trace = trace_of(last)
    assert text_of(last) == "By contradiction."
    assert [one["purpose"] for one in trace["attempts"]] == ["answer", "judge", "judge", "judge"]
    assert trace["cost"] == pytest.approx(4 * PAID["small"])
    assert not any(request.body.get("stream") for request in line.requests)


@every_way
async def test_a_rejected_draft_is_not_shown(line: Line, way: Way):
    router = judged(line, "By luck.", "False", "False", "True")
    line.server.script("big", Reply(text="By contradiction.", usage=USAGE))
    responses = await way.aask(router, HARD) if way.awaited else way.ask(router, HARD)
    assert "luck" not in "".join(text_of(one) + (one.delta or "") for one in responses)
    assert text_of(responses[-1]) == "By contradiction."
    assert trace_of(responses[-1])["cost"] == pytest.approx(4 * PAID["small"] + PAID["big"])
    assert bool(line.last.get("stream")) is way.streamed


async def test_judges_see_neither_tools_nor_settings_nor_conversation(line: Line):
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        return "sunny"

    router = judged(line, "Sun.", "True", "True", "True")
    turns = [("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi")]
    history = [ChatMessage(role=role, content=text) for role, text in turns]
    tools = [FunctionTool.from_defaults(weather)]
    await router.achat_with_tools(tools, "Weather in Oslo?", chat_history=history, stop=["QED"])
    answered, *judges = line.requests
    assert "tools" in answered.body and answered.body["stop"] == ["QED"]
    assert len(judges) == 3
    for request in judges:
        assert {"tools", "stop", "tool_choice"}.isdisjoint(request.body)
        (message,) = request.body["messages"]
        assert "Weather in Oslo?" in message["content"] and "Sun." in message["content"]


@every_way
@pytest.mark.parametrize(("sure", "answerer"), [(-0.01, "small"), (-3.0, "big")])
async def test_a_cascade_keeps_what_its_own_tokens_are_sure_of(line: Line, way: Way, sure: float, answerer: str):
    line.server.script("small", Reply(text="one two three four", logprobs=(sure,) * 4))
    router = line.router(strategy=Cascade(order="given"), small={"params": {"logprobs": True}})
    last = await answer(router, way, EASY)
    assert trace_of(last)["candidate"] == answerer


@streamed_ways
@pytest.mark.parametrize(("sure", "answerer"), [(-0.01, "small"), (-3.0, "big")])
async def test_a_gated_draft_is_shown_once_its_first_tokens_are_sure(line: Line, way: Way, sure: float, answerer: str):
    line.server.script("small", Reply(text="one two three four", logprobs=(sure,) * 4))
    strategy = Cascade(order="given", gate=Gate(window=2))
    router = line.router(strategy=strategy, small={"params": {"logprobs": True}})
    responses = await way.aask(router, EASY) if way.awaited else way.ask(router, EASY)
    assert trace_of(responses[-1])["candidate"] == answerer
    assert "".join(one.delta or "" for one in responses) == text_of(responses[-1])
    if answerer == "small":
        assert [one.delta for one in responses if one.delta] == ["one", " two", " three", " four"]
        assert trace_of(responses[-1])["attempts"][0]["first_token"] is not None
    else:
        assert "one" not in text_of(responses[-1])


@streamed_ways
@pytest.mark.parametrize(("sure", "answerer"), [(-0.01, "small"), (-3.0, "big")])
async def test_a_gate_opens_or_cuts_off_as_soon_as_its_window_is_full(line: Line, way: Way, sure: float, answerer: str):
    said = " ".join(f"w{number}" for number in range(40))
    line.server.script("small", Reply(text=said, logprobs=(sure,) * 40, chunk_delay=0.01))
    traces: list[Trace] = []
    strategy = Cascade(order="given", gate=Gate(window=8))
    router = line.router(strategy=strategy, small={"params": {"logprobs": True}}, on_trace=traces.append)
    await answer(router, way, EASY)
    draft = traces[0].attempts[0]
    assert traces[0].candidate == answerer
    if answerer == "small":
        assert draft.first_token is not None and draft.latency - draft.first_token > 0.05
    else:
        assert len(draft.text.split()) == 8


@pytest.mark.parametrize("way", ["stream_structured_predict", "astream_structured_predict"])
async def test_an_object_whose_gate_never_opened_is_shown_whole(line: Line, way: str):
    strategy = Cascade(order="given", gate=Gate(window=2))
    made = getattr(line.router(strategy=strategy), way)(Person, PromptTemplate("Who is 'Ada'?"))
    shown = list(made) if way.startswith("stream") else [one async for one in await made]
    assert shown == [Person(name="Ada")]
    assert line.models == ["small"]


@every_way
async def test_the_best_of_several_is_shown(line: Line, way: Way):
    texts = ["one", "two", "two"]
    line.server.script("small", *(Reply(text=text, usage=USAGE) for text in texts))
    router = RouterLLM(candidates=[line.candidate("openai/small")], strategy=BestOfN(n=3))
    last = await answer(router, way, EASY)
    assert text_of(last) == "two"
    assert trace_of(last)["cost"] == pytest.approx(3 * PAID["small"])


@every_way
async def test_a_revision_is_asked_for_beside_the_draft(way: Way):
    class Twice:
        def decide(self, request: Any, attempts: Any = ()) -> Any:
            if len(attempts) == 2:
                return Stop(attempt=attempts[1])
            again = Revision(draft=attempts[0].text, feedback="Shorter.") if attempts else None
            return Call(candidate=request.candidates[0], revision=again)

    own = Own(replies=["one two three", "one"])
    last = await answer(router_over(own, Own(), strategy=Twice()), way, EASY)
    assert text_of(last) == "one"
    assert [(message.role.value, message.content) for message in own.asked[1]] == [
        ("user", EASY),
        ("assistant", "one two three"),
        ("user", "Shorter."),
    ]


def test_one_saved_router_loads_in_both(line: Line, tmp_path: Any):
    pool = ["openai/gpt-4o-mini", Candidate("openai/gpt-4o", strength=0.9)]
    options: dict[str, Any] = {"candidates": pool, "strategy": JudgedCascade(votes=5), "max_tokens": 9, "stop": ["QED"]}
    RouterChatModel(streaming=True, **options).save(tmp_path / "chain")
    RouterLLM(**options).save(tmp_path / "llama")
    for folder in ("chain", "llama"):
        routers = [kind.load(tmp_path / folder) for kind in (RouterLLM, RouterChatModel)]
        assert {router.strategy.votes for router in routers} == {5}
        assert {router.max_tokens for router in routers} == {9}
        assert [[one.strength for one in router.candidates] for router in routers] == [[None, 0.9]] * 2
        assert len({str(router.explain(HARD).as_dict()["estimates"]) for router in routers}) == 1


async def slowly(text: str) -> int:
    await asyncio.sleep(0)
    return len(text)


def broken(text: str) -> int:
    raise KeyError(text)


class Consulting:
    """Asks a judge about a text, and answers in any case."""

    def decide(self, request: Any, attempts: Any = ()) -> Any:
        if not attempts:
            return Call(candidate=request.judges[-1], purpose="judge", prompt="four")
        return Call(candidate=request.candidates[0], final=True)


@every_way
@pytest.mark.parametrize(("function", "verdict"), [(len, "4"), (slowly, "4"), (broken, "")])
async def test_functions_judge_in_every_way(way: Way, function: Any, verdict: str):
    traces: list[Trace] = []
    judge = Candidate("judge", model=function)
    router = router_over(Own(), Own(), judges=[judge], strategy=Consulting(), on_trace=traces.append)
    asked = await answer(router, way, EASY) if way.awaited else await asyncio.to_thread(asked_in, router, way)
    assert text_of(asked) == "one two three"
    judged, _ = traces[0].attempts
    assert (judged.text, judged.cost, judged.error is None) == (verdict, None if not verdict else 0.0, bool(verdict))


def asked_in(router: RouterLLM, way: Way) -> Any:
    return way.ask(router, EASY)[-1]


@every_way
async def test_a_router_among_the_candidates_says_what_it_has_paid(line: Line, way: Way):
    inner = judged(line, "By contradiction.", "True", "True", "True")
    outer = RouterLLM(candidates=[Candidate("inner", model=inner, strength=0.5)])
    trace = trace_of(await answer(outer, way, HARD))
    assert (trace["candidate"], trace["cost"]) == ("inner", pytest.approx(4 * PAID["small"]))
