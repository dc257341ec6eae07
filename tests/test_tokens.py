from __future__ import annotations

import os

import pytest

from router_integrations import tokens
from router_integrations.errors import RequestError
from router_integrations.tokens import byte_length, encoding_name, estimate_tokens, token_ids

TEXTS = {
    "English": "The committee will discuss the budget for the next year at its meeting on Thursday afternoon.",
    "German": "Der Ausschuss wird am Donnerstag über den Haushalt des kommenden Jahres beraten und abstimmen.",
    "Russian": "Комитет обсудит бюджет на следующий год на своём заседании в четверг после обеда.",
    "Arabic": "ستناقش اللجنة ميزانية العام المقبل في اجتماعها بعد ظهر يوم الخميس.",
    "Chinese": "委员会将在星期四下午的会议上讨论明年的预算并就此进行表决。",
    "Japanese": "委員会は木曜日の午後の会議で来年の予算について話し合います。",
    "Hindi": "समिति गुरुवार दोपहर को अपनी बैठक में अगले वर्ष के बजट पर चर्चा करेगी।",
    "code": "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
}


@pytest.mark.parametrize(("text", "length"), [("", 0), ("a", 1), ("é", 2), ("字", 3), ("🙂", 4)])
def test_byte_length_is_that_of_utf8(text: str, length: int) -> None:
    assert byte_length(text) == length


@pytest.mark.parametrize("count", [byte_length, estimate_tokens, lambda text: token_ids(text, "openai/gpt-4o")])
def test_a_lone_surrogate_is_refused_with_its_place(count) -> None:
    with pytest.raises(RequestError, match=r"lone surrogate '\\ud83d' at position 3; decode it with errors='replace'"):
        count("abc\ud83d def")


@pytest.mark.parametrize(("text", "tokens_"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2)])
def test_an_estimate_rounds_up(text: str, tokens_: int) -> None:
    assert estimate_tokens(text) == tokens_


@pytest.mark.parametrize("language", TEXTS)
def test_an_estimate_is_of_the_right_size_in_any_script(language: str) -> None:
    text = TEXTS[language]
    exact = len(token_ids(text, "openai/gpt-4o"))

    assert exact / 2 <= estimate_tokens(text) <= exact * 2.5


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("openai/gpt-4o", ("o200k_base", True)),
        ("gpt-4", ("cl100k_base", True)),
        ("azure/gpt-4o-mini", ("o200k_base", True)),
        ("anthropic/claude-sonnet-4-5", ("o200k_base", False)),
        ("gpt2", ("o200k_base", False)),
        ("", ("o200k_base", False)),
    ],
)
def test_the_encoding_says_whether_it_is_the_models_own(model: str, expected: tuple[str, bool]) -> None:
    assert encoding_name(model) == expected


@pytest.mark.parametrize("model", ["openai/gpt-4o", "openai/gpt-4", "acme/unknown"])
def test_exact_tokens_are_counted_offline(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    tokens._encoding.cache_clear()

    assert len(token_ids("hello world", model)) == 2
    assert "TIKTOKEN_CACHE_DIR" not in os.environ


def test_special_tokens_in_a_text_are_plain_text() -> None:
    assert len(token_ids("<|endoftext|>", "openai/gpt-4o")) > 1
