"""What to ask is read from files and from memory, and what is no prompt is told with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from router_integrations.collect import Prompt, read_prompts
from router_integrations.errors import ConfigurationError

PROMPTS = [Prompt(text="2+2?", reference="4"), Prompt(text="Hi", domain="chat")]


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("2+2?\n\n  Hi  \n2+2?\n", encoding="utf-8")

    assert [prompt.text for prompt in read_prompts(path)] == ["2+2?", "Hi"]


@pytest.mark.parametrize("names", [("text", "reference"), ("prompt", "answer"), ("question", "answer")])
def test_a_table_may_name_its_columns_in_several_ways(names: tuple[str, str], tmp_path: Path) -> None:
    rows = [{names[0]: "2+2?", names[1]: "4"}, {names[0]: "Hi", "domain": "chat"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.csv").write_text(f"{names[0]},{names[1]},domain\n2+2?,4,\nHi,,chat\n")

    assert read_prompts(tmp_path / "a.jsonl") == read_prompts(str(tmp_path / "b.csv")) == read_prompts(rows) == PROMPTS


def test_prompts_in_memory_are_texts_dicts_or_prompts() -> None:
    assert read_prompts(["2+2?", {"text": "3+3?", "answer": 6}, PROMPTS[1]]) == [
        Prompt(text="2+2?"),
        Prompt(text="3+3?", reference="6"),
        PROMPTS[1],
    ]


def test_images_of_a_prompt_are_kept() -> None:
    [prompt] = read_prompts([{"text": "What?", "images": ["data:,cat"], "query_id": "q1", "split": "train"}])

    assert prompt == Prompt(text="What?", images=("data:,cat",), query_id="q1", split="train")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "list holds no prompt"),
        ([{"answer": "4"}], "list:1: text is missing"),
        (["a", 7], "list:2: a prompt must be text, a dict or a Prompt but is 7"),
        ([{"text": "a", "query_id": "q"}, {"text": "b", "query_id": "q"}], "list:2: query_id 'q' stands for several"),
        ("no/such.txt", "there is no file or folder"),
        ({"text": "a"}, "a dict of"),
    ],
)
def test_what_is_no_prompt_is_told(source: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_prompts(source)


def test_a_bad_row_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(ConfigurationError, match=r"prompts\.jsonl:2: row is not JSON"):
        read_prompts(path)
