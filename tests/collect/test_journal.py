"""What is on disk after a kill is read again; what was half written is taken off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from router_integrations.collect.journal import Journal
from router_integrations.errors import ConfigurationError

LINE = {"text": "2+2?", "candidate": "small", "quality": 1.0, "sample": 1, "spent": 0.5}
FAILED = {"query_id": "2+2?", "candidate": "large", "sample": 0, "error": "busy", "spent": 0.25}
PAID = {**FAILED, "candidate": "huge", "answer": "4", "cost": 0.25}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Journal(tmp_path / "new" / "records.jsonl") as journal:
        journal.finish(LINE)
        journal.fail(FAILED)
        journal.fail(PAID)
    return tmp_path / "new" / "records.jsonl"


def test_what_was_done_is_known_again(path: Path) -> None:
    journal = Journal(path)

    assert journal.finished == {("2+2?", "small", 1)}
    assert journal.answers == {("2+2?", "huge", 0): PAID}
    assert journal.spent == 1.0


def test_an_answer_that_is_graded_later_is_no_longer_open(path: Path) -> None:
    with Journal(path) as journal:
        journal.finish({"text": "2+2?", "candidate": "huge", "sample": 0, "quality": 1.0})

        assert journal.answers == {}
    assert Journal(path).answers == {}


@pytest.mark.parametrize("half", [b'{"text": "3+3?", "candi', b'{"text": "3+3?", "candidate": "small"}', b"\xff"])
def test_a_half_written_line_is_ignored_and_taken_off(half: bytes, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + half)

    assert Journal(path).finished == {("2+2?", "small", 1)}
    with Journal(path) as journal:
        assert path.read_bytes() == whole
        journal.finish({**LINE, "sample": 2})
    assert [json.loads(line)["sample"] for line in path.read_text().splitlines()] == [1, 2]


def test_each_line_is_on_disk_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "records.jsonl") as journal:
        journal.finish(LINE)

        assert json.loads((tmp_path / "records.jsonl").read_text()) == LINE


@pytest.mark.parametrize("line", ["no json", "[1]", '{"text": "a"}', '"text"'])
def test_a_file_of_something_else_is_left_alone(line: str, path: Path) -> None:
    path.write_text(line + "\n")
    with pytest.raises(ConfigurationError, match=r"records\.jsonl:1 is no line of a collection"):
        Journal(path)
    assert path.read_text() == line + "\n"


@pytest.mark.parametrize("name", ["records.csv", "records", "records.jsonl.gz"])
def test_records_go_to_json_lines(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"must end in \.jsonl"):
        Journal(tmp_path / name)


def test_a_finished_collection_is_not_changed_by_reading(path: Path) -> None:
    before: Any = path.stat().st_mtime_ns
    Journal(path)

    assert path.stat().st_mtime_ns == before
