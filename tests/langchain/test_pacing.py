"""A pacer over the wire: each way of calling tells it what was paid, and the next request sees the new price."""

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest
from test_fault_injection import Ask, _router, every_way, streamed

from router_integrations import Best, Candidate, Difficulty, Pacer, Trace, Utility
from router_integrations.errors import AllCandidatesFailed, StreamInterrupted
from router_integrations.langchain import RouterChatModel
from router_integrations.testing.replies import Fault
from router_integrations.testing.server import ScriptedServer

BUDGET = 1e-5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between two tries are real but short."""
    monkeypatch.setattr("router_integrations.calling._BACKOFF", 0.001)


def paced(server: ScriptedServer, pacer: Pacer, **options: Any) -> RouterChatModel:
    for name in ("cheap", "strong"):
        server.script(name)
    return _router(server, pacer=pacer, **options)


@every_way
def test_each_request_moves_the_price_by_what_it_cost(server: ScriptedServer, ask: Ask) -> None:
    pacer = Pacer(budget_per_request=BUDGET, rate=1e9, price=1e6)
    router = paced(server, pacer)
    price = 1e6
    for _ in range(2):
        cost = ask(router, "Hello").response_metadata["router"]["cost"]
        price += 1e9 * (cost - BUDGET)

        assert cost > 0
        assert pacer.current() == pytest.approx(price)


@every_way
def test_overspending_leads_to_the_cheaper_candidate(server: ScriptedServer, ask: Ask) -> None:
    pacer = Pacer(budget_per_request=BUDGET, rate=1e12)
    router = paced(server, pacer, strategy=Best(estimator=Difficulty(), utility=Utility(enough=1)))
    router.candidates = [
        Candidate(**{**{f: getattr(one, f) for f in ("id", "name", "params", "input_price", "output_price")},
                     "strength": strength})
        for one, strength in zip(router.candidates, (0.3, 0.9), strict=True)
    ]  # fmt: skip
    hard = "Prove that there are infinitely many primes, and compare two proofs step by step."

    chosen = [ask(router, hard).response_metadata["router"]["candidate"] for _ in range(2)]

    assert chosen == ["strong", "cheap"]


@every_way
def test_a_request_that_nobody_answers_counts(server: ScriptedServer, ask: Ask) -> None:
    pacer = Pacer(budget_per_request=BUDGET, rate=1.0, price=1.0)
    router = paced(server, pacer)
    for name in ("cheap", "strong"):
        server.script(name, Fault("status", status=401), repeat=True)

    with pytest.raises(AllCandidatesFailed):
        ask(router, "Hello")

    assert pacer.current() == pytest.approx(1.0 - BUDGET, abs=1e-9)


@streamed
def test_a_stream_that_breaks_counts_what_came(server: ScriptedServer, ask: Ask) -> None:
    traces: list[Trace] = []
    pacer = Pacer(budget_per_request=BUDGET, rate=1e9, price=1e6)
    router = paced(server, pacer, on_trace=traces.append)
    server.script("cheap", Fault("reset_stream", after_chunks=3), repeat=True)

    with pytest.raises(StreamInterrupted):
        ask(router, "Hello")

    assert traces[0].cost is not None and traces[0].cost > 0
    assert pacer.current() == pytest.approx(1e6 + 1e9 * (traces[0].cost - BUDGET))


def test_a_batch_counts_every_request(server: ScriptedServer) -> None:
    pacer = Pacer(budget_per_request=BUDGET, rate=1e9, price=1e6)
    router = paced(server, pacer)

    answers = router.batch([f"Hello {n}" for n in range(8)])
    answers += asyncio.run(router.abatch([f"Hello {n}" for n in range(8)]))

    spent = sum(answer.response_metadata["router"]["cost"] for answer in answers)
    assert pacer.current() == pytest.approx(1e6 + 1e9 * (spent - 16 * BUDGET))


def test_explain_sees_the_price_and_pays_nothing(server: ScriptedServer) -> None:
    pacer = Pacer(budget_per_request=BUDGET, price=1e12)
    strategy = Best(estimator=Difficulty(), utility=Utility(enough=1))
    router = paced(server, pacer, strategy=strategy)

    assert router.explain("Prove Fermat's last theorem, step by step.").candidate == "cheap"
    assert pacer.current() == 1e12


def test_a_copy_shares_the_pacer(server: ScriptedServer) -> None:
    pacer = Pacer(budget_per_request=BUDGET)

    assert copy.deepcopy(paced(server, pacer)).pacer is pacer


def test_the_options_are_saved_and_the_price_of_the_moment_is_not(tmp_path: Path) -> None:
    pacer = Pacer(budget_per_request=0.5, rate=2.0, price=3.0)
    pacer.record(10.0)
    RouterChatModel(candidates=["openai/gpt-4o-mini", "openai/gpt-4o"], pacer=pacer).save(tmp_path / "x")

    found = RouterChatModel.load(tmp_path / "x").pacer

    assert (found.budget_per_request, found.rate, found.price, found.current()) == (0.5, 2.0, 3.0, 3.0)
    assert pacer.current() == 22.0


def test_a_router_without_a_pacer_loads_without(tmp_path: Path) -> None:
    RouterChatModel(candidates=["openai/gpt-4o-mini", "openai/gpt-4o"]).save(tmp_path / "x")

    assert RouterChatModel.load(tmp_path / "x").pacer is None
