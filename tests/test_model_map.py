from __future__ import annotations

import pytest

from router_integrations.model_map import litellm_folder, lookup, providers


@pytest.mark.parametrize(
    ("model_id", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("openai/gpt-4o-mini", "openai"),
        ("vertex_ai/gemini-2.5-pro", "vertex_ai-language-models"),
        ("azure/gpt-4o-mini", "azure"),
        ("anthropic/claude-sonnet-4-5", "anthropic"),
    ],
)
def test_an_id_is_found_with_and_without_its_prefix(model_id: str, provider: str) -> None:
    entry = lookup(model_id)
    assert entry is not None
    assert entry["litellm_provider"] == provider


@pytest.mark.parametrize(
    "model_id",
    ["openai/no-such-model", "o/gpt-4o-mini", "/gpt-4o-mini", "anthropic/gpt-4o-mini", "gpt-4o-mini/", "", "/", "🙂"],
)
def test_an_unknown_id_or_a_wrong_prefix_is_unknown(model_id: str) -> None:
    assert lookup(model_id) is None


def test_the_entry_that_explains_the_format_is_no_model() -> None:
    assert lookup("sample_spec") is None


def test_providers_are_those_of_the_map() -> None:
    assert {"openai", "anthropic", "gemini", "mistral"} <= providers()


def test_the_folder_holds_the_price_map() -> None:
    folder = litellm_folder()
    assert folder is not None
    assert (folder / "model_prices_and_context_window_backup.json").is_file()
