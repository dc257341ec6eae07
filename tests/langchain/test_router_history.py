"""Pitfalls 27 to 38 over the wire: what a provider receives when candidates of several providers take turns.

Mistral, DeepSeek and OpenAI are the scripted server, for LiteLLM sends them OpenAI's form; Claude is a server of
Anthropic's Messages API below. How each kind of history is translated is in test_history.py.
"""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from doubles import ABLE, DEAR, EASY, HARD, Own, Wire, router_over, trace_of, weather
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from router_integrations import Candidate
from router_integrations.errors import NoEligibleCandidate, RequestError
from router_integrations.langchain import RouterChatModel
from router_integrations.testing.replies import Reply, ToolCall

SECRET = "a secret thought"
NINE = re.compile("[A-Za-z0-9]{9}")
MARK = {"cache_control": {"type": "ephemeral"}}
CALL = Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),))
USE = {"type": "tool_use", "id": "toolu_01AbCdEf", "name": "weather", "input": {"city": "Oslo"}}
THOUGHT = {"type": "thinking", "thinking": SECRET, "signature": "c2lnbmVk"}
TEXT = {"type": "text", "text": "Let me look."}
MISTRAL, DEEPSEEK = "mistral/mistral-small-latest", "deepseek/deepseek-reasoner"


class Anthropic(ThreadingHTTPServer):
    """Anthropic's Messages API: answers with `content`, keeps the bodies it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: list[dict[str, Any]] = [TEXT]
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def last(self) -> list[dict[str, Any]]:
        """The messages of the last request."""
        messages: list[dict[str, Any]] = self.bodies[-1]["messages"]
        return messages

    def candidate(self, model: str = "claude-sonnet-4-5", **fields: Any) -> Candidate:
        params = {"api_base": self.url, "api_key": "sk-test", "max_tokens": 2000, **fields.pop("params", {})}
        return Candidate(f"anthropic/{model}", params=params, max_retries=0, **{"name": model, **fields})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Anthropic

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        content = self.server.content
        reason = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
        reply = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content}
        payload = json.dumps(
            reply | {"stop_reason": reason, "usage": {"input_tokens": 10, "output_tokens": 5}}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `bodies`, not a log."""


@pytest.fixture
def claude() -> Iterator[Anthropic]:
    with Anthropic() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def router_of(*candidates: Candidate, **options: Any) -> RouterChatModel:
    return RouterChatModel(candidates=candidates, **options)


def result_of(answer: AIMessage) -> ToolMessage:
    return ToolMessage("sunny", tool_call_id=answer.tool_calls[0]["id"])


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


def thought_by(claude: Anthropic, router: RouterChatModel, name: str = "claude-sonnet-4-5") -> list[BaseMessage]:
    """Return a conversation with one answer of Claude's that begins with signed thinking."""
    claude.content = [THOUGHT, TEXT]
    return [HumanMessage(EASY), router.invoke(EASY, model=name), HumanMessage("And now?")]


def test_row_27_claude_gets_no_reasoning_of_another_model(wire: Wire, claude: Anthropic):
    router = router_of(wire.candidate(DEEPSEEK), claude.candidate())
    wire.server.script("deepseek-reasoner", Reply(text="Yes.", reasoning_content=SECRET))
    answer = router.invoke(EASY, model="deepseek-reasoner")
    assert answer.additional_kwargs["reasoning_content"] == SECRET
    router.invoke([HumanMessage(EASY), answer, HumanMessage("Why?")], model="claude-sonnet-4-5")
    assert [kinds(message) for message in claude.last] == [["text"]] * 3
    assert SECRET not in json.dumps(claude.bodies)


def test_row_28_the_issuer_gets_its_signed_thinking_back_after_others_took_turns(wire: Wire, claude: Anthropic):
    router = router_of(wire.candidate("openai/small"), claude.candidate())
    history = thought_by(claude, router)
    history += [router.invoke(history, model="small"), HumanMessage("Sure?")]
    assert SECRET not in json.dumps(wire.last)
    router.invoke(history, model="claude-sonnet-4-5")
    assert claude.last[1]["content"] == [THOUGHT, TEXT]
    assert kinds(claude.last[3]) == ["text"]


def test_row_29_another_claude_gets_no_thinking_of_the_first(claude: Anthropic):
    router = router_of(claude.candidate(), claude.candidate("claude-opus-4-5"))
    history = thought_by(claude, router)
    router.invoke(history, model="claude-opus-4-5")
    assert claude.bodies[-1]["model"] == "claude-opus-4-5"
    assert claude.last[1]["content"] == [TEXT]


def test_row_29_a_tool_loop_stays_with_the_model_that_began_it(claude: Anthropic):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    router = router_of(claude.candidate(params=thinking), claude.candidate("claude-opus-4-5", **DEAR))
    bound = router.bind_tools([weather])
    claude.content = [THOUGHT, TEXT, USE]
    answer = bound.invoke(HARD, model="claude-sonnet-4-5")
    bound.invoke([HumanMessage(HARD), answer, result_of(answer)])
    assert claude.bodies[-1]["model"] == "claude-sonnet-4-5"
    assert claude.last[1]["content"] == [THOUGHT, TEXT, USE]


def test_row_30_thinking_is_dropped_and_never_turned_into_text(wire: Wire, claude: Anthropic):
    router = router_of(wire.candidate("openai/small"), wire.candidate(MISTRAL), claude.candidate())
    history = thought_by(claude, router)
    for name in ("small", "mistral-small-latest"):
        router.invoke(history, model=name)
        assert wire.last["messages"][1] == {"role": "assistant", "content": "Let me look."}


def test_row_31_mistral_gets_no_reasoning_parts(wire: Wire):
    own = Own(label="claude-sonnet-4-5", provider="anthropic", replies=[AIMessage([THOUGHT, TEXT])])
    router = router_of(Candidate("own", model=own, **DEAR), wire.candidate(MISTRAL))
    answer = router.invoke(EASY, model="own")
    router.invoke([HumanMessage(EASY), answer, HumanMessage("Why?")], model="mistral-small-latest")
    assert wire.last["messages"][1] == {"role": "assistant", "content": "Let me look."}


def test_row_32_gemini_3_is_not_asked_within_a_tool_loop_that_another_model_began(wire: Wire):
    gemini = wire.candidate("gemini/gemini-3-pro-preview", name="gemini")
    router = router_of(gemini, wire.candidate("openai/small"))
    wire.server.script("small", CALL)
    bound = router.bind_tools([weather])
    answer = bound.invoke(EASY, model="small")
    open_loop = [HumanMessage(EASY), answer, result_of(answer)]
    trace = trace_of(bound.invoke(open_loop))
    assert (trace["candidate"], "thought signature" in trace["rejected"]["gemini"]) == ("small", True)
    closed = [*open_loop, AIMessage("Sunny."), HumanMessage(EASY)]
    assert bound.explain(closed, model="gemini").rejected == {}
    with pytest.raises(NoEligibleCandidate, match="thought signature"):
        bound.invoke(open_loop, model="gemini")


def test_row_33_deepseek_gets_its_own_reasoning_back_and_nobody_else_does(wire: Wire):
    router = router_of(wire.candidate(DEEPSEEK, tools=True), wire.candidate("openai/small"))
    wire.server.script(
        "deepseek-reasoner", Reply(text="", tool_calls=CALL.tool_calls, reasoning_content=SECRET), Reply(text="Sunny.")
    )
    bound = router.bind_tools([weather])
    answer = bound.invoke(EASY, model="deepseek-reasoner")
    history = [HumanMessage(EASY), answer, result_of(answer)]
    bound.invoke(history, model="deepseek-reasoner")
    assert wire.last["messages"][1]["reasoning_content"] == SECRET
    bound.invoke(history, model="small")
    assert SECRET not in json.dumps(wire.last)


@pytest.mark.parametrize("bound", [True, False])
def test_row_34_mistral_gets_ids_it_takes_the_same_in_call_and_result(wire: Wire, bound: bool):
    router = router_of(wire.candidate("openai/small"), wire.candidate(MISTRAL))
    wire.server.script("small", CALL)
    model = router.bind_tools([weather])
    answer = model.invoke(EASY, model="small")
    assert not NINE.fullmatch(answer.tool_calls[0]["id"])
    history = [HumanMessage(EASY), answer, result_of(answer)]
    before = [message.model_copy(deep=True) for message in history]
    for _ in range(2):
        (model if bound else router).invoke(history, model="mistral-small-latest")
    first, second = (request.body["messages"] for request in wire.requests[-2:])
    assert first == second
    (call,) = first[1]["tool_calls"]
    assert NINE.fullmatch(call["id"])
    assert first[2]["tool_call_id"] == call["id"]
    assert history == before


def test_row_34_ids_that_a_provider_takes_stay_as_they_are(wire: Wire, claude: Anthropic):
    router = router_of(wire.candidate("openai/small"), claude.candidate())
    claude.content = [TEXT, USE]
    answer = router.bind_tools([weather]).invoke(EASY, model="claude-sonnet-4-5")
    router.bind_tools([weather]).invoke([HumanMessage(EASY), answer, result_of(answer)], model="small")
    assert wire.last["messages"][1]["tool_calls"][0]["id"] == wire.last["messages"][2]["tool_call_id"] == USE["id"]


CALLED = AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "call_1"}])
SPLIT = {
    "a result without its call": [HumanMessage(EASY), ToolMessage("sunny", tool_call_id="call_1")],
    "a call without its result": [HumanMessage(EASY), CALLED, HumanMessage("Well?")],
    "a result of another call": [HumanMessage(EASY), CALLED, ToolMessage("sunny", tool_call_id="call_2")],
    "two results": [HumanMessage(EASY), CALLED, *[ToolMessage("sunny", tool_call_id="call_1")] * 2],
    "a result that comes late": [
        HumanMessage(EASY), CALLED, HumanMessage("Well?"), ToolMessage("sunny", tool_call_id="call_1")
    ],
}  # fmt: skip


@pytest.mark.parametrize("history", SPLIT.values(), ids=SPLIT)
async def test_row_35_a_split_pair_is_refused_before_anybody_is_asked(wire: Wire, history: list[BaseMessage]):
    router = wire.router()
    with pytest.raises(RequestError, match=r"call_[12]"):
        router.invoke(history)
    with pytest.raises(RequestError, match=r"call_[12]"):
        await router.ainvoke(history)
    with pytest.raises(RequestError, match=r"call_[12]"):
        list(router.stream(history))
    assert wire.models == []


def test_row_36_claude_gets_tools_whenever_the_history_has_tool_calls(wire: Wire, claude: Anthropic):
    router = router_of(wire.candidate("openai/small"), claude.candidate())
    wire.server.script("small", CALL)
    answer = router.bind_tools([weather]).invoke(EASY, model="small")
    history = [HumanMessage(EASY), answer, result_of(answer)]
    router.invoke(history, model="claude-sonnet-4-5")
    assert len(claude.bodies[-1]["tools"]) == 1
    router.bind_tools([weather]).invoke(history, model="claude-sonnet-4-5")
    assert [tool["name"] for tool in claude.bodies[-1]["tools"]] == ["weather"]
    assert kinds(claude.last[1]) == ["tool_use"]
    assert (claude.last[2]["role"], kinds(claude.last[2])) == ("user", ["tool_result"])
    router.invoke(EASY, model="claude-sonnet-4-5")
    assert "tools" not in claude.bodies[-1]


@pytest.mark.parametrize("tools", [False, None])
def test_row_37_a_model_without_tools_is_not_asked_when_the_history_has_tool_messages(wire: Wire, tools: Any):
    sonar = wire.candidate("perplexity/sonar", tools=tools)
    router = router_of(sonar, wire.candidate("openai/able", **DEAR))
    history = [HumanMessage(EASY), CALLED, ToolMessage("sunny", tool_call_id="call_1")]
    trace = trace_of(router.invoke(history))
    assert (wire.models, "sonar" in trace["rejected"]) == (["able"], True)
    with pytest.raises(NoEligibleCandidate, match="no tools"):
        router.invoke(history, model="sonar")
    router.invoke(EASY)
    assert wire.models == ["able", "sonar"]


def test_row_38_cache_marks_reach_the_provider_that_knows_them_and_no_other(wire: Wire, claude: Anthropic):
    router = router_of(wire.candidate(MISTRAL), claude.candidate())
    marked: list[BaseMessage] = [
        SystemMessage([{"type": "text", "text": "Be short.", **MARK}]),
        HumanMessage([{"type": "text", "text": EASY, **MARK}]),
    ]
    router.invoke(marked, model="claude-sonnet-4-5")
    assert claude.bodies[-1]["system"] == [{"type": "text", "text": "Be short.", **MARK}]
    assert claude.last[0]["content"] == [{"type": "text", "text": EASY, **MARK}]
    router.invoke(marked, model="mistral-small-latest")
    assert "cache_control" not in json.dumps(wire.last)
    assert [message["content"] for message in wire.last["messages"]] == ["Be short.", EASY]


def test_row_38_an_own_model_gets_its_own_messages_back_untouched():
    blocks = AIMessage([THOUGHT, {**TEXT, **MARK}], additional_kwargs={"provider_specific": {"x": 1}})
    claude, other = Own(label="claude-sonnet-4-5", provider="anthropic", replies=[blocks]), Own()
    router = router_over(claude, other)
    answer = router.invoke(EASY)
    history = [HumanMessage(EASY), answer, HumanMessage("hello")]
    router.invoke(history, model="small")
    assert claude.asked[-1][1] is answer
    router.invoke(history, model="big")
    assert SECRET not in repr(other.asked[-1])


@pytest.mark.parametrize("mode", ["ainvoke", "stream", "astream"])
async def test_every_way_of_calling_translates_the_history(wire: Wire, mode: str):
    router = router_of(wire.candidate("openai/small"), wire.candidate(MISTRAL)).bind_tools([weather])
    foreign = AIMessage(
        [THOUGHT],
        tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "call_from_elsewhere"}],
        response_metadata={"model_provider": "anthropic", "model_name": "claude-sonnet-4-5"},
    )
    history = [HumanMessage(EASY), foreign, ToolMessage("sunny", tool_call_id="call_from_elsewhere")]
    made = getattr(router, mode)(history, model="mistral-small-latest")
    if mode == "ainvoke":
        await made
    else:
        assert [chunk async for chunk in made] if mode == "astream" else list(made)
    sent = wire.last["messages"]
    assert NINE.fullmatch(sent[2]["tool_call_id"])
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert SECRET not in json.dumps(sent)


def test_a_long_conversation_over_four_providers_pleases_each_of_them(wire: Wire, claude: Anthropic):
    names = ["deepseek-reasoner", "claude-sonnet-4-5", "mistral-small-latest", "small"]
    router = router_of(
        wire.candidate(DEEPSEEK, tools=True),
        wire.candidate(MISTRAL),
        wire.candidate("openai/small"),
        claude.candidate(),
    ).bind_tools([weather])
    claude.content = [THOUGHT, USE]
    history: list[BaseMessage] = []
    for turn, name in enumerate(names * 2):
        thinks = SECRET if name == "deepseek-reasoner" else None
        wire.server.script(
            name, Reply(tool_calls=CALL.tool_calls, reasoning_content=thinks), Reply(text=f"Turn {turn}")
        )
        history.append(HumanMessage(f"Question {turn}?"))
        answer = router.invoke(history, model=name)
        claude.content = [{**TEXT, "text": f"Turn {turn}"}]
        history += [answer, result_of(answer)]
        history.append(router.invoke(history, model=name))
        claude.content = [THOUGHT, {**USE, "id": f"toolu_{turn}"}]
    answers = [message for message in history if isinstance(message, AIMessage)]
    by_mistral = [one for one in answers if trace_of(one)["candidate"] == "mistral-small-latest"]
    own = {call["id"] for one in by_mistral for call in one.tool_calls}
    for request in wire.requests:
        assert_paired(request.body["messages"], strict=request.model.startswith("mistral"), own=own)
        if not request.model.startswith("deepseek"):
            assert SECRET not in json.dumps(request.body)
    assert sum(block.get("type") == "thinking" for message in claude.last for block in message["content"]) == 2
    assert len(answers) == 16


def assert_paired(messages: list[dict[str, Any]], *, strict: bool, own: set[str]) -> None:
    """Check as providers do that each result follows its call, under an id that they take."""
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
            assert not strict or message["tool_call_id"] in own or NINE.fullmatch(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    assert not open_calls


def test_candidates_are_not_given_away_by_their_names(wire: Wire):
    """A candidate called like another provider's model is still known by its own id."""
    router = router_of(wire.candidate("openai/small", name="mistral-large", **ABLE))
    history = [HumanMessage(EASY), CALLED, ToolMessage("sunny", tool_call_id="call_1")]
    router.invoke(history)
    assert wire.last["messages"][2]["tool_call_id"] == "call_1"
