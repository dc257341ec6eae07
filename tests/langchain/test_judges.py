"""Judges behind RouterChatModel: code that is run, functions and models that only judge."""

import asyncio
import copy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doubles import DEAR, HARD, Own, Runs, Wire, trace_of, whole
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from router_integrations import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.langchain import RouterChatModel
from router_integrations.strategies import JudgedCascade, SelfTestedCascade
from router_integrations.testing.replies import Reply
from router_integrations.testing.server import ScriptedServer

TASK = "Write half(x) in Python, which halves a number."
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}
# The calls for solutions and for tests are made at once, so one reply serves as both.
RIGHT = "```python\ndef half(x):\n    return x / 2\n\nassert half(4) == 2\nassert half(3) == 1.5\n```"
WRONG = "```python\ndef half(x):\n    return x - 2\n\nassert half(4) == 2\nassert half(3) == 1.5\n```"
ENDLESS = "```python\ndef half(x):\n    while True: pass\n\nassert half(4) == 2\n```"


@pytest.fixture(scope="module", autouse=True)
def _one_client(server: ScriptedServer) -> None:
    """Makes LiteLLM's client: threads that are the first to call make one each, and Python warns of those not kept."""
    Wire(server).router().invoke("hi")


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[[str], str]:
    """A runner with a limit of time, in a folder of its own."""

    def run(program: str) -> str:
        command = [sys.executable, "-I", "-"]
        try:
            done = subprocess.run(
                command, input=program, capture_output=True, text=True, timeout=10, cwd=tmp_path, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout

    return run


def router(wire: Wire, judge: Any, strategy: Any = None) -> RouterChatModel:
    return RouterChatModel(
        candidates=[wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)],
        judges=[Candidate("runner", model=judge)],
        strategy=strategy or SelfTestedCascade(runner="runner", solutions=2, order="given"),
    )


async def ask(model: Any, way: str, config: Any = None) -> Any:
    match way:
        case "invoke":
            return model.invoke(TASK, config)
        case "ainvoke":
            return await model.ainvoke(TASK, config)
        case "stream":
            return whole(model.stream(TASK, config))
    return whole([chunk async for chunk in model.astream(TASK, config)])


WAYS = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])


@WAYS
async def test_code_that_passes_its_own_tests_is_the_answer(wire: Wire, run_python: Any, way: str) -> None:
    wire.server.script("small", Reply(text=RIGHT, usage=USAGE), repeat=True)
    answer = await ask(router(wire, run_python), way)
    trace = trace_of(answer)

    assert answer.text == RIGHT
    assert trace["reason"] == "'small' passed 2 of its 2 tests, 1.00 >= 0.80"
    assert [(one["candidate"], one["purpose"]) for one in trace["attempts"]] == [
        ("small", "answer"),
        ("small", "answer"),
        ("small", "judge"),
        ("runner", "judge"),
    ]
    assert trace["cost"] == pytest.approx(3 * PAID["small"])
    assert trace["attempts"][-1]["latency"] > 0
    assert wire.models == ["small"] * 3


@WAYS
async def test_code_that_fails_its_own_tests_is_never_shown(wire: Wire, run_python: Any, way: str) -> None:
    wire.server.script("small", Reply(text=WRONG, usage=USAGE), repeat=True)
    wire.server.script("big", Reply(text=RIGHT, usage=USAGE))
    answer = await ask(router(wire, run_python), way)
    trace = trace_of(answer)

    assert answer.text == RIGHT
    assert trace["reason"] == "'small' passed 0 of its 2 tests, 0.00 < 0.80"
    assert trace["cost"] == pytest.approx(3 * PAID["small"] + PAID["big"])
    assert bool(wire.requests[-1].body.get("stream")) is way.endswith("stream")


def test_code_that_never_ends_is_escalated(wire: Wire) -> None:
    def stops_at_once(program: str) -> str:
        try:
            command = [sys.executable, "-I", "-"]
            return subprocess.run(command, input=program, capture_output=True, text=True, timeout=0.5).stdout
        except subprocess.TimeoutExpired as late:
            return (late.stdout or b"").decode()

    wire.server.script("small", Reply(text=ENDLESS), repeat=True)
    wire.server.script("big", Reply(text=RIGHT))

    assert router(wire, stops_at_once).invoke(TASK).text == RIGHT


async def test_a_runner_does_not_hold_up_the_event_loop(wire: Wire) -> None:
    running, others = threading.Event(), threading.Event()

    def waits_for_the_loop(program: str) -> str:
        running.set()
        assert others.wait(30), "the loop stands still"
        return "\na self-generated test passed\n" * 2

    wire.server.script("small", Reply(text=RIGHT), repeat=True)
    answering = asyncio.create_task(router(wire, waits_for_the_loop).ainvoke(TASK))
    while not running.is_set():
        await asyncio.sleep(0.01)
    others.set()

    assert (await answering).text == RIGHT


@WAYS
async def test_a_runner_that_raises_is_a_failed_attempt(wire: Wire, way: str) -> None:
    def breaks(program: str) -> str:
        raise OSError("no docker here, key sk-1234567890abcdefghij")

    wire.server.script("small", Reply(text=RIGHT), repeat=True)
    wire.server.script("big", Reply(text="def half(x): return 0.5 * x"))
    trace = trace_of(await ask(router(wire, breaks), way))
    failed = trace["attempts"][3]

    assert trace["candidate"] == "big" and trace["reason"] == "'small' could not be tested"
    assert failed["candidate"] == "runner"
    assert "no docker here" in failed["error"]["message"] and "sk-1234567890abcdefghij" not in str(trace)


@WAYS
async def test_an_async_runner_is_awaited(wire: Wire, way: str) -> None:
    class Passing:
        async def __call__(self, program: str) -> str:
            await asyncio.sleep(0)
            return "\na self-generated test passed\n" * 2

    wire.server.script("small", Reply(text=RIGHT), repeat=True)

    assert (await ask(router(wire, Passing()), way)).text == RIGHT


def test_a_runner_may_be_a_runnable(wire: Wire) -> None:
    wire.server.script("small", Reply(text=RIGHT), repeat=True)
    passes_all = RunnableLambda(lambda program: AIMessage("\na self-generated test passed\n" * 2))

    assert router(wire, passes_all).invoke(TASK).text == RIGHT


def test_the_runs_of_a_judge_are_hidden_children_of_the_router(wire: Wire, run_python: Any) -> None:
    runs = Runs()
    wire.server.script("small", Reply(text=RIGHT), repeat=True)
    router(wire, run_python).invoke(TASK, {"callbacks": [runs]})
    (chain,), models = runs.of("chain"), runs.of("model")

    assert len(models) == 4 and all(run["parent"] == chain["id"] and "nostream" in run["tags"] for run in models)


@pytest.mark.parametrize(("said", "answered"), [(True, "small"), (False, "big"), ("Incorrect", "big")])
def test_a_function_judges_answers(wire: Wire, said: Any, answered: str) -> None:
    wire.server.script("small", Reply(text="By luck."))
    wire.server.script("big", Reply(text="By contradiction."))
    seen = []

    def judge(prompt: str) -> Any:
        seen.append(prompt)
        return said

    strategy = JudgedCascade(judge="runner", votes=1, order="given")
    trace = trace_of(router(wire, judge, strategy).invoke(HARD))

    assert trace["candidate"] == answered
    assert len(seen) == 1 and "By luck." in seen[0]


def test_a_model_that_only_judges_never_answers(wire: Wire) -> None:
    judge = Own(replies=[AIMessage("False")])
    wire.server.script("small", Reply(text="By luck."))
    wire.server.script("big", Reply(text="By contradiction."))
    model = router(wire, judge, JudgedCascade(judge="runner", votes=2, order="price"))
    trace = trace_of(model.invoke(HARD))

    assert trace["alternatives"] == ["small", "big"]
    assert len(judge.asked) == 2
    assert trace["candidate"] == "big"


def test_a_judge_cannot_be_forced_to_answer(wire: Wire, run_python: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"model='runner' is none of the candidates \['small', 'big'\]"):
        router(wire, run_python).invoke(TASK, model="runner")


@pytest.mark.parametrize(
    "strategy", [SelfTestedCascade(runner="sandbox"), JudgedCascade(judge="sandbox")], ids=["self-tested", "judged"]
)
def test_a_judge_that_is_not_there_is_told_when_the_router_is_built(wire: Wire, strategy: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"asks \['sandbox'\] to judge, who are none of \['small'\].*judges="):
        RouterChatModel(candidates=[wire.candidate("openai/small")], strategy=strategy)


def test_a_judge_shares_no_name_with_a_candidate(wire: Wire) -> None:
    with pytest.raises(ConfigurationError, match="two candidates are called 'small'"):
        RouterChatModel(candidates=[wire.candidate("openai/small")], judges=[Candidate("small", model=str.upper)])


def test_a_judge_must_be_callable(wire: Wire) -> None:
    with pytest.raises(ConfigurationError, match=r"'runner': the model of a judge must be .* got object"):
        router(wire, object())


def test_the_judges_survive_copies_and_count_as_part_of_the_router(wire: Wire, run_python: Any) -> None:
    wire.server.script("small", Reply(text=RIGHT), repeat=True)
    model = router(wire, run_python)

    for again in (copy.copy(model), copy.deepcopy(model), model.model_copy()):
        assert again.invoke(TASK).text == RIGHT
    plain = RouterChatModel(candidates=model.candidates)
    assert [one["name"] for one in model._identifying_params["candidates"]] == ["small", "big", "runner"]
    assert "judges" not in str(dumpd(plain)["kwargs"])


def test_a_litellm_judge_is_serialised(wire: Wire) -> None:
    pool = [wire.candidate("openai/small"), wire.candidate("openai/big", **DEAR)]
    model = RouterChatModel(candidates=pool[:1], judges=pool[1:])
    form = dumpd(model)

    assert [one["name"] for one in form["kwargs"]["judges"]] == ["big"]


def test_a_saved_router_asks_for_its_judges_again(wire: Wire, run_python: Any, tmp_path: Path) -> None:
    wire.server.script("small", Reply(text=RIGHT), repeat=True)
    router(wire, run_python).save(tmp_path / "router")

    with pytest.raises(ConfigurationError, match=r"asks \['runner'\] to judge"):
        RouterChatModel.load(tmp_path / "router")
    again = RouterChatModel.load(tmp_path / "router", judges=[Candidate("runner", model=run_python)])
    assert again.judges[0].name == "runner"
