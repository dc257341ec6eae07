"""`RouterLLM`: who is asked, what comes back, what it says of itself."""

import asyncio
import json
import pickle
import threading
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.base.llms.types import (
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.dispatcher import instrument_tags
from llama_index.core.llms import MockLLM
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.tools import FunctionTool

from router_integrations import Candidate, Fixed, Health
from router_integrations.errors import (
    AllCandidatesFailed,
    ConfigurationError,
    LimitExceeded,
    NoEligibleCandidate,
    RequestError,
    StorageError,
    StreamInterrupted,
)
from router_integrations.llama_index import LiteLLMModel, RouterLLM
from router_integrations.llama_index.answered import answerer_of
from router_integrations.testing.llama_index.asking import Way, text_of
from router_integrations.testing.replies import Fault, Reply
from router_integrations.tokens import count_tokens
from router_integrations.trace import Trace
from tests.llama_index.llms import (
    Line,
    Own,
    Words,
    answer,
    chat_ways,
    every_way,
    router_over,
    streamed_ways,
    trace_of,
)
from tests.wired import BOTH, CHEAP, EASY, HARD


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


TOOLS = [FunctionTool.from_defaults(weather)]


# Who is asked


@every_way
async def test_each_query_goes_to_the_cheapest_that_will_do(line: Line, way: Way):
    router = line.router()
    for name, query in BOTH.items():
        trace = trace_of(await answer(router, way, query))
        assert trace["candidate"] == line.models[-1] == name
        assert [one["purpose"] for one in trace["attempts"]] == ["answer"]


@every_way
async def test_own_llms_are_candidates_too(way: Way):
    small, big = Own(), Own(label="own-big", replies=["four five"])
    last = await answer(router_over(small, big), way, HARD)
    assert text_of(last) == "four five"
    assert trace_of(last)["candidate"] == "big"
    assert (last.additional_kwargs["prompt_tokens"], last.raw["usage"]["total_tokens"]) == (10, 15)
    assert not small.asked


@every_way
async def test_an_llm_that_completes_texts_is_a_candidate_too(way: Way):
    words = Words()
    last = await answer(RouterLLM(candidates=[Candidate("words", model=words, **CHEAP)]), way, EASY)
    assert text_of(last) == "one two three"
    assert "hi" in words.prompts[0]


@every_way
async def test_the_caller_may_choose(line: Line, way: Way):
    trace = trace_of(await answer(line.router(), way, EASY, model="big"))
    assert trace["candidate"] == "big" and trace["alternatives"] == ["big"]


@every_way
async def test_an_unknown_choice_names_the_candidates(line: Line, way: Way):
    with pytest.raises(ConfigurationError, match="model='huge' is none of the candidates"):
        await answer(line.router(), way, EASY, model="huge")
    assert not line.requests


async def test_the_whole_conversation_is_routed_on_its_last_turn(line: Line):
    turns = [("user", HARD), ("assistant", "By contradiction."), ("user", "Thanks")]
    router = line.router()
    messages = [ChatMessage(role=role, content=text) for role, text in turns]
    assert trace_of(await router.achat(messages))["candidate"] == "small"
    router.context_turns = 1
    assert trace_of(await router.achat(messages))["candidate"] == "big"


def test_explain_calls_nobody(line: Line):
    router = line.router(small={"tools": False})
    assert router.explain(EASY).candidate == "small"
    assert router.explain([ChatMessage(content=HARD)]).candidate == "big"
    assert router.explain(EASY, tools=TOOLS).rejected == {"small": "no tools"}
    assert not line.requests


@chat_ways
async def test_images_go_to_those_that_see(line: Line, way: Way):
    router = line.router(small={"vision": False}, big={"vision": True})
    image = ImageBlock(url="https://example.com/cat.png")
    message = ChatMessage(role="user", blocks=[TextBlock(text=EASY), image])
    trace = trace_of(await answer(router, way, [message]))
    assert trace["candidate"] == "big" and trace["rejected"] == {"small": "no vision"}


def test_strategies_see_the_images_of_the_last_turn():
    class Looking(Fixed):
        def decide(self, request: Any, attempts: Any = ()) -> Any:
            seen.append(request)
            return super().decide(request, attempts)

    seen: list[Any] = []
    router = router_over(Own(), Own(), strategy=Looking())
    blocks = [ImageBlock(image=b"\x89PNG\r\n\x1a\n", image_mimetype="image/png"), ImageBlock(url="https://x.org/y.png")]
    router.explain([ChatMessage(blocks=[ImageBlock(url="https://x.org/old.png")]), ChatMessage(blocks=blocks)])
    assert seen[0].images == ("data:image/png;base64,iVBORw0KGgo=", "https://x.org/y.png")
    assert seen[0].modalities == {"text", "image"}


@pytest.mark.parametrize(("path", "rejected"), [("notes.md", {}), ("notes.pdf", {"small": "no pdf"})])
def test_a_document_is_what_its_name_says(path: str, rejected: dict[str, str]):
    small = Candidate("openai/gpt-4o-mini", name="small", pdf=False)
    router = RouterLLM(candidates=[small, Candidate("openai/gpt-4o", pdf=True)])
    message = ChatMessage(blocks=[TextBlock(text=EASY), DocumentBlock(path=path)])
    assert router.explain([message]).rejected == rejected


@every_way
async def test_conversation_and_user_are_the_tags_of_the_call(way: Way):
    class Noting(Fixed):
        def decide(self, request: Any, attempts: Any = ()) -> Any:
            seen.append((request.conversation_id, request.user_id))
            return super().decide(request, attempts)

    seen: list[Any] = []
    router = router_over(Own(), Own(), strategy=Noting())
    asked = [ChatMessage(content=EASY)] if "chat" in way.method else EASY
    with instrument_tags({"thread_id": 7, "user_id": "ada"}):
        made = getattr(router, way.method)(asked)
        made = await made if way.awaited else made
    # A stream is read when the tags are gone.
    if way.streamed:
        _ = [one async for one in made] if way.awaited else list(made)
    router.complete(EASY)
    assert seen == [("7", "ada"), (None, None)]


def test_a_prompt_near_a_window_is_counted_off_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    counted_in: list[str] = []

    def count(text: str, model_id: str) -> int:
        counted_in.append(threading.current_thread().name)
        return count_tokens(text, model_id)

    monkeypatch.setattr("router_integrations.adapters.describing.count_tokens", count)
    router = RouterLLM(candidates=[Candidate("own", model=Own(), context_window=11_000, **CHEAP)])
    response = asyncio.run(router.acomplete("The quick brown fox jumps over the lazy dog. " * 1000))
    assert counted_in and threading.main_thread().name not in counted_in
    assert trace_of(response)["input_tokens_estimated"] is False


# What comes back


@streamed_ways
async def test_only_the_last_response_of_a_stream_has_the_trace(line: Line, way: Way):
    router = line.router()
    responses = await way.aask(router, EASY) if way.awaited else way.ask(router, EASY)
    assert [("router" in one.additional_kwargs) for one in responses] == [False] * (len(responses) - 1) + [True]
    assert "".join(one.delta for one in responses) == text_of(responses[-1])


@streamed_ways
async def test_row_58_an_own_llm_that_cannot_stream_answers_in_one_piece(way: Way):
    router = router_over(Own(streams=False), Own())
    (only,) = await way.aask(router, EASY) if way.awaited else way.ask(router, EASY)
    assert (text_of(only), only.delta) == ("one two three", "one two three")
    assert trace_of(only)["candidate"] == "small"


@every_way
async def test_row_59_unreported_tokens_are_estimated(way: Way):
    last = await answer(router_over(Own(usage=None), Own()), way, EASY)
    (attempt,) = trace_of(last)["attempts"]
    assert attempt["usage_estimated"] is True
    assert last.additional_kwargs["completion_tokens"] == attempt["output_tokens"] > 0
    assert last.raw["usage"]["prompt_tokens"] == attempt["input_tokens"] > 0


@chat_ways
async def test_the_message_knows_who_gave_it(line: Line, way: Way):
    last = await answer(line.router(), way, EASY)
    assert answerer_of(last.message) == ("small", "openai/small")
    assert answerer_of(ChatMessage(content="Hi")) is None
    assert last.message.additional_kwargs == {}


@every_way
async def test_nothing_notes_who_answered_on_the_wire(line: Line, way: Way):
    said = await Way("achat").aask(line.router(), EASY)
    turns = [ChatMessage(content=EASY), said[-1].message, ChatMessage(content="Bye")]
    await answer(line.router(), way, turns if "chat" in way.method else "Bye")
    assert "answerer" not in json.dumps(line.last) and "router" not in json.dumps(line.last)


async def test_a_conversation_has_a_budget_of_its_own(line: Line):
    line.server.script(
        "small", Reply(text="Fine.", usage={"prompt_tokens": 10**6, "completion_tokens": 1}), repeat=True
    )
    router = line.router(limits={"conversation_budget": 0.05}, big={"input_price": 1.0})
    with instrument_tags({"thread_id": "a"}):
        await router.acomplete(EASY)
        with pytest.raises(LimitExceeded, match="budget"):
            await router.acomplete(EASY)
    with instrument_tags({"thread_id": "b"}):
        await router.acomplete(EASY)


@every_way
async def test_when_the_first_fails_the_next_answers(line: Line, way: Way):
    line.server.script("small", Fault("status", status=503))
    last = await answer(line.router(), way, EASY)
    trace = trace_of(last)
    assert [(one["candidate"], (one["error"] or {}).get("family")) for one in trace["attempts"]] == [
        ("small", "server"),
        ("big", None),
    ]
    assert text_of(last) == "Here is a short answer to: hi"


@every_way
async def test_when_all_fail_the_error_has_the_trace(line: Line, way: Way):
    for model in BOTH:
        line.server.script(model, Fault("status", status=400, message="no such thing"))
    traces: list[Trace] = []
    with pytest.raises(AllCandidatesFailed, match="no such thing") as caught:
        await answer(line.router(on_trace=traces.append), way, EASY)
    assert traces == [caught.value.trace]
    assert [attempt.call.candidate.name for attempt in traces[0].attempts] == ["small", "big"]


@streamed_ways
async def test_a_stream_that_breaks_is_not_repeated(line: Line, way: Way):
    line.server.script("small", Fault("reset_stream", after_chunks=3))
    traces: list[Trace] = []
    with pytest.raises(StreamInterrupted):
        await answer(line.router(on_trace=traces.append), way, EASY)
    assert line.models == ["small"] and len(traces) == 1


@streamed_ways
async def test_a_stream_left_early_is_traced(line: Line, way: Way):
    line.server.script("small", Reply(text="word " * 50, chunk_delay=0.01))
    traces: list[Trace] = []
    router = line.router(on_trace=traces.append)
    await asyncio.to_thread(way.leave, router, EASY)
    (trace,) = traces
    assert trace.reason == "the caller left before the end" and trace.cost


@chat_ways
async def test_what_no_provider_takes_is_refused(line: Line, way: Way):
    with pytest.raises(RequestError):
        await answer(line.router(), way, [])
    assert not line.requests


@chat_ways
async def test_what_no_candidate_takes_names_what_each_lacks(line: Line, way: Way):
    router = line.router(small={"vision": False}, big={"vision": False})
    with pytest.raises(NoEligibleCandidate, match="'small': no vision; 'big': no vision"):
        await answer(router, way, [ChatMessage(blocks=[ImageBlock(url="https://x.org/y.png")])])


async def test_row_65_a_thousand_at_once_share_nothing():
    class Echo(Own):
        async def achat(self, messages: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return self._response([TextBlock(text=messages[-1].content)])

    router = router_over(Echo(), Echo())
    asked = [f"{number} {HARD if number % 2 else ''}" for number in range(1000)]
    said = await asyncio.gather(*(router.achat([ChatMessage(content=text)]) for text in asked))
    assert [one.message.content for one in said] == asked
    assert {trace_of(one)["candidate"] for one in said[1::2]} == {"big"}
    assert {trace_of(one)["candidate"] for one in said[::2]} == {"small"}


@every_way
async def test_the_rate_limiter_is_asked_before_each_call(way: Way):
    class Counting(BaseRateLimiter):
        acquired = 0

        def acquire(self, num_tokens: int = 0) -> None:
            self.acquired += 1

        async def async_acquire(self, num_tokens: int = 0) -> None:
            self.acquired += 1

    limiter = Counting()
    router = router_over(Own(replies=[ConnectionError("gone")]), Own(), rate_limiter=limiter)
    await answer(router, way, EASY)
    assert limiter.acquired == 2


async def test_settings_reach_the_candidates(line: Line):
    router = line.router(temperature=0.5, max_tokens=30, stop=["QED"], small={"params": {"temperature": 0}})
    await router.achat([ChatMessage(content=EASY)])
    assert [line.last[name] for name in ("temperature", "max_tokens", "stop")] == [0, 30, ["QED"]]
    await router.achat([ChatMessage(content=EASY)], stop=["END"], max_tokens=5)
    assert [line.last[name] for name in ("max_tokens", "stop")] == [5, ["END"]]


# What it says of itself


def test_unknown_options_are_errors():
    with pytest.raises(ConfigurationError, match="'temprature' is no option of RouterLLM; did you mean 'temperature'"):
        RouterLLM(candidates=["openai/gpt-4o"], temprature=1)


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (Candidate("m", model=object()), "'m': model must be a LlamaIndex LLM but got object"),
        (Candidate("m", model=MockLLM(), tools=True), "MockLLM is no FunctionCallingLLM"),
    ],
)
def test_an_own_model_must_be_an_llm(candidate: Candidate, words: str):
    with pytest.raises(ConfigurationError, match=words):
        RouterLLM(candidates=[candidate])


def test_row_57_metadata_holds_whoever_answers():
    pool = [
        Candidate("openai/gpt-4o-mini"),
        Candidate("m", model=Own(calls=False), context_window=4096, max_output=9999),
    ]
    metadata = RouterLLM(candidates=pool).metadata
    assert (metadata.context_window, metadata.num_output) == (4096, 1024)
    assert metadata.is_chat_model and metadata.model_name == "router"
    assert RouterLLM(candidates=pool, max_tokens=300).metadata.num_output == 300
    chosen = RouterLLM(candidates=pool, context_window=1000, num_output=50, is_function_calling_model=False).metadata
    assert (chosen.context_window, chosen.num_output, chosen.is_function_calling_model) == (1000, 50, False)


def test_row_57_unknown_models_get_sensible_limits(capfd: pytest.CaptureFixture[str]):
    metadata = RouterLLM(candidates=[Candidate("openai/unheard-of", **CHEAP)]).metadata
    assert (metadata.context_window, metadata.num_output) == (8192, 1024)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("able", "is_function_calling_model"), [((True, False), True), ((False, False), False)])
def test_row_55_it_calls_tools_if_any_candidate_does(able: Any, is_function_calling_model: bool):
    router = router_over(Own(calls=able[0]), Own(calls=able[1]))
    assert router.metadata.is_function_calling_model is is_function_calling_model


def test_what_litellm_knows_of_an_own_llm_is_filled_in():
    (candidate,) = RouterLLM(candidates=[Candidate("mine", model=Own(label="gpt-4o-mini"))]).candidates
    assert (candidate.input_price, candidate.context_window, candidate.tools) == (1.5e-7, 128_000, True)


def test_a_dictionary_holds_no_secret_and_comes_back():
    pool = [Candidate("openai/gpt-4o", params={"api_key": "sk-hush", "seed": 1}, name="seeded")]
    router = RouterLLM(candidates=pool, api_key="sk-hush", temperature=0.5, limits={"deadline": 9}, stop=["QED"])
    form = json.loads(json.dumps(router.to_dict()))
    again = RouterLLM.from_dict(form)
    assert "sk-hush" not in router.to_json() + repr(router) + str(router.to_payload())
    assert form["class_name"] == RouterLLM.class_name()
    assert (again.temperature, again.limits.deadline, again.stop) == (0.5, 9, ["QED"])
    assert (again.candidates[0].name, again.candidates[0].params) == ("seeded", {"seed": 1})
    assert again.metadata == router.metadata


def test_a_dictionary_brings_in_no_code():
    form = router_over(Own(), Own(), strategy=Fixed()).to_dict()
    with pytest.raises(ConfigurationError, match="strategy must have a decide method but got 'Fixed'"):
        RouterLLM.from_dict(form, candidates=["openai/gpt-4o"])
    with pytest.raises(ConfigurationError, match="'small': model must be a LlamaIndex LLM but got str"):
        RouterLLM.from_dict(form, strategy=Fixed())


def test_a_saved_router_loads(tmp_path: Any):
    router = RouterLLM(candidates=["openai/gpt-4o-mini", "openai/gpt-4o"], max_tokens=50, context_turns=1)
    router.save(tmp_path / "router")
    again = RouterLLM.load(tmp_path / "router")
    assert [one.name for one in again.candidates] == ["openai/gpt-4o-mini", "openai/gpt-4o"]
    assert (again.max_tokens, again.context_turns) == (50, 1)
    with pytest.raises(StorageError):
        RouterLLM.load(tmp_path / "nowhere")


def test_setting_an_option_counts_from_the_next_call():
    own = Own()
    router = router_over(own, Own())
    router.complete(EASY)
    router.strategy = Fixed(name="big")
    router.complete(EASY)
    assert len(own.asked) == 1


def test_the_candidates_are_made_once_though_settings_set_the_callback_manager_each_time():
    router = RouterLLM(candidates=["openai/gpt-4o-mini"])
    before = Settings._llm, Settings._callback_manager
    try:
        Settings.llm, Settings.callback_manager = router, CallbackManager([])
        made = Settings.llm._pool
        assert Settings.llm._pool is made
        assert made.models["openai/gpt-4o-mini"].callback_manager is Settings.callback_manager
    finally:
        Settings._llm, Settings._callback_manager = before


def test_a_copy_decides_for_itself():
    router = router_over(Own(), Own())
    copied = router.model_copy(update={"strategy": Fixed(name="big")})
    assert (copied.explain(EASY).candidate, router.explain(EASY).candidate) == ("big", "small")


def test_a_pickle_decides_alike_and_leaves_the_original_as_it_was(line: Line):
    options = {"api_key": "sk-1", "health": Health(threshold=7), "on_trace": lambda _: None}
    router = line.router(strategy=Fixed(name="big"), **options)
    router.complete(EASY)
    copied = pickle.loads(pickle.dumps(router))  # noqa: S301
    assert [trace_of(one.complete(EASY))["candidate"] for one in (copied, router)] == ["big", "big"]
    assert (copied.health.threshold, copied.api_key.get_secret_value()) == (7, "sk-1")
    assert copied.health is not router.health
    assert (router.on_trace is None, copied.on_trace) == (False, None)


def test_a_pickle_that_would_decide_otherwise_is_refused(line: Line):
    router = line.router(judges=[Candidate("judge", model=lambda text: text)])
    with pytest.raises(ConfigurationError, match=r"\['judges'\] of the router cannot be pickled"):
        pickle.dumps(router)
    assert router.judges[0].model.complete("four").text == "four"


def test_the_api_key_goes_to_one_provider_only():
    pool = ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"]
    with pytest.raises(ConfigurationError, match="api_key would be sent to several providers"):
        RouterLLM(candidates=pool, api_key="sk-1")


def test_judges_may_be_functions():
    pool = [Candidate("openai/gpt-4o")]
    router = RouterLLM(candidates=pool, judges=[Candidate("length", model=len)])
    assert router._pool.models["length"].complete("four").text == "4"
    with pytest.raises(ConfigurationError, match="the model of a judge must be an LLM or a function of a text"):
        RouterLLM(candidates=pool, judges=[Candidate("length", model=3)])


def test_litellm_candidates_are_thin_llms_of_ours(line: Line):
    assert {type(llm) for llm in line.router()._pool.models.values()} == {LiteLLMModel}


def test_a_tool_call_in_an_answer_is_text_to_the_counter():
    call = ToolCallBlock(tool_call_id="1", tool_name="weather", tool_kwargs={"city": "Oslo" * 100})
    turns = [ChatMessage(content=EASY), ChatMessage(role="assistant", blocks=[call])]
    assert router_over(Own(), Own()).explain(turns).input_tokens > 100
