"""The command line, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from router_integrations import __version__, cli

ROUTE = ["route", "What is the capital of France?", "--candidate", "openai/gpt-4o-mini", "--candidate", "openai/gpt-4o"]
# Keys on the developer's machine would change what the demo offers.
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY")


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_version() -> None:
    assert _run("--version").strip() == __version__


def test_route_explains_the_choice() -> None:
    output = _run(*ROUTE)

    assert "openai/gpt-4o-mini: cheapest with expected quality" in output
    assert "0.000167" in output


def test_route_as_json() -> None:
    decision = json.loads(_run(*ROUTE, "--json"))

    assert decision["candidate"] == "openai/gpt-4o-mini"
    assert decision["attempts"] == []
    assert decision["input_tokens"] == 7
    assert decision["input_tokens_estimated"] is False


def test_route_takes_the_wanted_quality() -> None:
    decision = json.loads(_run(*ROUTE, "--json", "--enough", "0.95"))

    assert decision["candidate"] == "openai/gpt-4o"


def test_candidates_show_what_is_unknown() -> None:
    facts = json.loads(_run("candidates", "openai/gpt-4o-mini", "openai/no-such-model", "--json"))

    assert facts[0]["input_price"] == 1.5e-07
    assert facts[1]["input_price"] is None
    assert "input_price" in facts[1]["unknown"]
    assert "unknown" in _run("candidates", "openai/no-such-model")


def test_candidates_can_be_searched() -> None:
    ids = [fact["id"] for fact in json.loads(_run("candidates", "--search", "gpt-4o-mini-2024", "--json"))]

    assert "gpt-4o-mini-2024-07-18" in ids


def test_candidates_wants_a_name() -> None:
    assert "name a model id" in _run("candidates", code=2)


def test_an_error_is_one_line() -> None:
    command = [sys.executable, "-m", "router_integrations.cli", "route", "x", "--candidate", "openai/no-such-model"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "300"})

    assert done.returncode == 1
    assert done.stderr.startswith("ConfigurationError: the price of 'openai/no-such-model' is unknown")
    assert "Traceback" not in done.stderr


def _demo(*arguments: str, **env: str) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if name not in KEYS}
    return subprocess.Popen(
        [sys.executable, "-m", "router_integrations.cli", "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**clean, "COLUMNS": "250", "LITELLM_LOCAL_MODEL_COST_MAP": "True", **env},
        start_new_session=True,
    )


def test_demo_routes_over_the_local_model_and_says_what_it_saved() -> None:
    with _demo() as demo:
        output, _ = demo.communicate(timeout=300)

    assert demo.returncode == 0, output
    assert output.count(" │ brief ") >= 3
    assert output.count(" │ thorough ") >= 2
    assert "Always thorough, priced on the same tokens: " in output
    assert "unknown" not in output


def test_demo_refuses_a_source_that_is_not_there() -> None:
    with _demo("--source", "openai") as demo:
        output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 1
    assert "OPENAI_API_KEY" in output


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_leaves_no_process_behind() -> None:
    with _demo() as demo:
        started = time.monotonic()
        assert demo.stdout is not None
        # The note is printed when the server is up and the first prompt is on its way.
        while "prices shown" not in demo.stdout.readline():
            assert time.monotonic() - started < 120
        os.killpg(demo.pid, signal.SIGINT)
        output = demo.stdout.read()
        demo.wait(timeout=30)

    assert demo.returncode not in (0, None)
    assert "Traceback" not in output
    deadline = time.monotonic() + 10
    while _alive(demo.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(demo.pid)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "mistral"])
def test_models_that_the_demo_offers_have_known_prices(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from router_integrations.demo.sources import _PROVIDERS, _provider, offers

    monkeypatch.setenv(_PROVIDERS[provider][0], "test")

    candidates = _provider(provider).candidates

    assert provider in offers()
    assert all(candidate.input_price is not None and candidate.output_price is not None for candidate in candidates)
    assert candidates[0].output_price < candidates[-1].output_price
