"""``train`` and ``calibrate``, from records to a router that answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router_integrations import Best, Candidate, Fixed, Request
from router_integrations.estimators import Neighbors
from router_integrations.langchain import RouterChatModel
from router_integrations.learning import Table
from router_integrations.records import read, split, write
from router_integrations.storage import SavedRouter, load_router, save_router
from router_integrations.testing.server import ScriptedServer
from tests.cli.conftest import IDS, Run, rows, write_rows

PROOF, SUM = "prove theorem 7000 step by step", "sum 7000 and 7001"


def test_from_records_to_a_router_that_answers(
    trained: tuple[Path, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, held = trained
    run("calibrate", folder, held, "--floor", "0.95", "--of", "big")
    learnt = [
        record for record in read(write_rows(folder.parent / "all.jsonl", rows())) if record not in set(read(held))
    ]
    estimator = Neighbors(k=5).fit(learnt)

    with ScriptedServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        router = RouterChatModel.load(folder)
        answers = {text: router.invoke(text) for text in (PROOF, SUM)}
        asked = [request.model for request in server.requests]

    assert asked == ["gpt-4o", "gpt-4o-mini"]
    for text, answer in answers.items():
        trace = answer.response_metadata["router"]
        request = Request(text=text, input_tokens=trace["input_tokens"], candidates=router.candidates)
        expected = dict(zip(("small", "big"), estimator.estimate(request, router.candidates), strict=True))
        assert trace["candidate"] == ("big" if text == PROOF else "small")
        assert {name: one["quality"] for name, one in trace["estimates"].items()} == {
            name: round(one.quality, 4) for name, one in expected.items()
        }
        assert {name: one["cost"] for name, one in trace["estimates"].items()} == {
            name: one.cost for name, one in expected.items()
        }


def test_train_says_what_it_has_learnt_and_how_good_it_is(records: Path, tmp_path: Path, run: Run) -> None:
    output = run("train", records, "--estimator", "Neighbors", "--set", "k=5", "--out", tmp_path / "router", *IDS)

    assert "Neighbors has learnt from 262 records" in output
    assert "19 queries" in output
    assert "always big (best single)" in output
    assert f"RouterChatModel.load('{tmp_path / 'router'}')" in output


def test_train_keeps_settings_utility_and_candidates(records: Path, tmp_path: Path, run: Run) -> None:
    settings = ("--set", "k=7", "--utility", "enough=0.9", "--utility", "per_usd=2")

    run("train", records, "--estimator", "Neighbors", "--out", tmp_path / "router", *settings, *IDS)

    saved = load_router(tmp_path / "router")
    assert isinstance(saved.strategy, Best)
    assert isinstance(saved.strategy.estimator, Neighbors)
    assert saved.strategy.estimator.k == 7
    assert saved.strategy.utility is not None
    assert (saved.strategy.utility.enough, saved.strategy.utility.per_usd) == (0.9, 2)
    assert [(one.name, one.id) for one in saved.candidates] == [
        ("small", "openai/gpt-4o-mini"),
        ("big", "openai/gpt-4o"),
    ]


def test_what_is_held_out_was_not_learnt_from(records: Path, trained: tuple[Path, Path]) -> None:
    folder, path = trained
    held = {record.text for record in read(path)}
    saved = load_router(folder)

    assert isinstance(saved.strategy, Best)
    assert isinstance(saved.strategy.estimator, Neighbors)
    assert saved.strategy.estimator.fitted_ is not None
    queries = len(saved.strategy.estimator.fitted_.state["vectors"])
    assert queries + len(held) == len(Table.of(read(records)).texts)


def test_the_seed_chooses_what_is_held_out(records: Path, tmp_path: Path, run: Run) -> None:
    def held(seed: int) -> str:
        path = tmp_path / f"{seed}.jsonl"
        command = ("--estimator", "Neighbors", "--out", tmp_path / "router", "--seed", seed, "--held", path)
        run("train", records, *command, *IDS)
        return path.read_text(encoding="utf-8")

    assert held(1) == held(1)
    assert held(1) != held(2)


def test_prompts_on_both_sides_are_left_out(tmp_path: Path, run: Run) -> None:
    twice = [{**row, "query_id": f"{copy}{row['text']}"} for row in rows(40) for copy in "ab"]
    path = write_rows(tmp_path / "twice.jsonl", twice)

    output = run("train", path, "--estimator", "Neighbors", "--out", tmp_path / "r", "--holdout", "0.5", *IDS)

    assert "have a prompt that is also learnt from; they were left out" in output


def test_a_holdout_that_is_empty_is_an_error(records: Path, tmp_path: Path, run: Run) -> None:
    learnt = write_rows(tmp_path / "learnt.jsonl", [])
    write(split(read(records), test=0.2, seed=0)[0], learnt)
    command = ("--estimator", "Neighbors", "--out", tmp_path / "r", *IDS)

    assert "take another seed" in run("train", learnt, *command, code=1)
    assert not (tmp_path / "r").exists()
    run("train", learnt, *command, "--seed", 1)


def test_a_holdout_of_prompts_that_are_all_learnt_from_is_an_error(tmp_path: Path, run: Run) -> None:
    same = [{**row, "text": "sum", "query_id": str(number)} for number, row in enumerate(rows(20))]
    path = write_rows(tmp_path / "same.jsonl", same)

    message = run("train", path, "--estimator", "Neighbors", "--out", tmp_path / "r", *IDS, code=1)

    assert "seed=0 holds out no prompt that is not also learnt from" in message
    assert not (tmp_path / "r").exists()


def test_names_that_nobody_can_call_are_told_with_the_way_to_load_them(records: Path, tmp_path: Path, run: Run) -> None:
    known = ("--candidate", "big=openai/gpt-4o", "--candidate", "small")
    output = run("train", records, "--estimator", "Neighbors", "--out", tmp_path / "r", *known)

    assert f"RouterChatModel.load('{tmp_path / 'r'}', candidates=[...]) routes with it" in output
    assert "LiteLLM cannot call 'small'\n" in output


def test_a_file_of_candidates_says_how_they_are_called(
    records: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    folder, file = tmp_path / "r", tmp_path / "pool.json"
    with ScriptedServer() as server:
        both = [
            {"id": "openai/mine", "name": name, "params": {"api_base": server.base_url, "max_tokens": tokens}}
            for name, tokens in (("small", 12), ("big", 64))
        ]
        file.write_text(json.dumps([{**both[0], "input_price": 1e-6, "output_price": 2e-6}, both[1]]))
        output = run("train", records, "--estimator", "Neighbors", "--set", "k=5", "--candidate", file, "--out", folder)
        router = RouterChatModel.load(folder)
        answer = router.invoke(PROOF)
        asked = [(request.model, request.body["max_tokens"]) for request in server.requests]

    assert f"RouterChatModel.load('{folder}') routes with it" in output
    assert "big is priced by the records" in output
    assert "small is priced" not in output
    assert (router.candidates[0].input_price, router.candidates[0].output_price) == (1e-6, 2e-6)
    assert answer.response_metadata["router"]["candidate"] == "big"
    assert asked == [("mine", 64)]


def test_without_a_holdout_all_is_learnt_and_nothing_measured(records: Path, tmp_path: Path, run: Run) -> None:
    output = run("train", records, "--estimator", "Neighbors", "--out", tmp_path / "r", "--holdout", "0", *IDS)

    assert "has learnt from 300 records" in output
    assert "nothing was measured: no graded attempt was held out" in output


def test_bad_rows_are_told(tmp_path: Path, run: Run) -> None:
    bad = [{"text": "no candidate"}, *({"text": "x", "candidate": "small", "quality": 7} for _ in range(9))]
    path = write_rows(tmp_path / "bad.jsonl", [*rows(30), *bad])

    output = run("train", path, "--estimator", "Neighbors", "--out", tmp_path / "r", *IDS)

    assert "bad.jsonl:61: candidate is missing" in output
    assert "bad.jsonl:65: quality" in output
    assert "5 further bad rows" in output


def test_prices_that_nobody_knows_come_from_the_records(records: Path, tmp_path: Path, run: Run) -> None:
    output = run("train", records, "--estimator", "Neighbors", "--out", tmp_path / "r")

    small, big = sorted(load_router(tmp_path / "r").candidates, key=lambda one: one.output_price or 0)
    usd = [10 * (one.input_price or 0) + 20 * (one.output_price or 0) for one in (small, big)]
    assert usd == pytest.approx([0.001, 0.004])
    assert "small is priced by the records: LiteLLM does not know 'small'" in output


def test_costs_without_tokens_become_prices_too(tmp_path: Path, run: Run) -> None:
    kept = ("text", "candidate", "quality", "cost")
    path = write_rows(tmp_path / "costs.jsonl", [{key: row[key] for key in kept} for row in rows(60)])

    run("train", path, "--estimator", "Neighbors", "--out", tmp_path / "r")

    saved = load_router(tmp_path / "r")
    estimates = saved.strategy._estimator.estimate(Request(text=SUM, input_tokens=9), saved.candidates)  # type: ignore[attr-defined]
    assert [one.cost for one in estimates] == pytest.approx([0.004, 0.001])


def test_a_candidate_without_any_price_is_an_error(tmp_path: Path, run: Run) -> None:
    path = write_rows(tmp_path / "free.jsonl", [{"text": "a", "candidate": "mine", "quality": 1.0}])

    message = run("train", path, "--estimator", "Neighbors", "--out", tmp_path / "r", code=1)

    assert message.startswith("ConfigurationError: the price of 'mine' is unknown")
    assert "--candidate mine=LITELLM_ID" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--estimator", "Nonsense"], "no estimator that learns is called 'Nonsense'"),
        (["--estimator", "Difficulty"], "no estimator that learns is called 'Difficulty'"),
        (["--estimator", "Neighbors", "--set", "alpha=3"], "Neighbors has no setting 'alpha'"),
        (["--estimator", "Neighbors", "--set", "k=0"], "Neighbors.k must be at least 1"),
        (["--estimator", "Neighbors", "--set", "k"], "'k' must be NAME=VALUE"),
        (["--estimator", "Neighbors", "--utility", "enough=2"], "Utility.enough must be in [0, 1]"),
        (["--estimator", "Neighbors", "--holdout", "1"], "less than or equal to 0.9"),
    ],
)
def test_wrong_options_are_told(records: Path, tmp_path: Path, run: Run, options: list[str], message: str) -> None:
    assert message in run("train", records, "--out", tmp_path / "r", *options, code=2)
    assert not (tmp_path / "r").exists()


def test_a_folder_with_something_else_is_left_alone(records: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", encoding="utf-8")

    assert "StorageError" in run("train", records, "--estimator", "Neighbors", "--out", tmp_path / "mine", *IDS, code=1)
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "x"


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (["--budget", "0.0011"], lambda done: done["cost"]["value"] <= 0.0011),
        (["--strong-share", "0.5", "--of", "big"], lambda done: 0 < done["shares"]["big"] <= 0.5),
        (["--floor", "1", "--of", "big"], lambda done: done["quality"]["value"] == 1.0),
        (["--error-rate", "0.5"], lambda done: done["quality"]["value"] >= 0.5),
    ],
)
def test_calibrate_writes_the_setting_back(
    trained: tuple[Path, Path], run: Run, target: list[str], reached: Callable[[Any], bool]
) -> None:
    folder, held = trained

    output = run("calibrate", folder, held, *target)

    saved = load_router(folder).strategy
    assert isinstance(saved, Best)
    assert saved.utility is not None
    assert f"enough = {saved.utility.enough:.6g}, chosen on 19 queries" in output
    [done] = json.loads(run("evaluate", folder, held, "--json"))["results"]
    assert reached(done)


def test_calibrate_can_set_the_price(trained: tuple[Path, Path], run: Run) -> None:
    folder, held = trained

    run("calibrate", folder, held, "--budget", "0.01", "--knob", "per_usd")

    saved = load_router(folder).strategy
    assert isinstance(saved, Best)
    assert saved.utility is not None
    assert saved.utility.enough == 0.7


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([], "give one of --budget"),
        (["--budget", "1", "--floor", "1"], "give one of --budget"),
        (["--floor", "0.9"], "need --of"),
        (["--budget", "1", "--knob", "luck"], "luck"),
    ],
)
def test_calibrate_wants_one_target(trained: tuple[Path, Path], run: Run, target: list[str], message: str) -> None:
    assert message in run("calibrate", *trained, *target, code=2)


def test_a_target_that_nothing_reaches_changes_nothing(trained: tuple[Path, Path], run: Run) -> None:
    folder, held = trained
    before = (folder / "router.json").read_bytes()

    assert "no setting costs at most" in run("calibrate", folder, held, "--budget", "0.0000001", code=1)
    assert (folder / "router.json").read_bytes() == before


def test_a_strategy_without_a_setting_is_an_error(records: Path, tmp_path: Path, run: Run) -> None:
    pool = tuple(Candidate(name, input_price=1e-6, output_price=1e-6) for name in ("small", "big"))
    saved = SavedRouter(candidates=pool, strategy=Fixed())
    save_router(tmp_path / "fixed", saved)

    assert "only Best has a setting" in run("calibrate", tmp_path / "fixed", records, "--budget", "1", code=1)
