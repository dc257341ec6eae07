from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import (
    AnswerQuality,
    AnswerScorer,
    CalibratedConfidence,
    PrePost,
    SelfConsistency,
    SelfVerification,
    TokenConfidence,
    TopTokenConfidence,
    Weakest,
)
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.gating import Gate
from router_integrations.model_map import _model_map
from router_integrations.needs import asked_for, check_needs, gives_need, provider_gives
from router_integrations.providers import _litellm
from router_integrations.strategies import Best, Cascade, CascadeRouting, JudgedCascade

GPT, OTHER = Candidate("openai/gpt-4o-mini"), Candidate("openai/gpt-4o")
CLAUDE, GROQ = Candidate("anthropic/claude-haiku-4-5"), Candidate("groq/some-model", strength=0.5)


def cascade(estimator: Any = None, **options: Any) -> Cascade:
    return Cascade(estimator=estimator, **{"order": "given", **options})


@pytest.mark.parametrize(
    ("model", "params", "known"),
    [
        ("openai/gpt-4o-mini", {}, True),
        ("gpt-4o-mini", {}, True),
        ("openai/my-local-model", {"api_base": "http://127.0.0.1:1/v1"}, True),
        ("azure/gpt-4o", {}, True),
        ("hosted_vllm/any", {}, True),
        ("openai/o3", {}, False),
        ("openai/gpt-5-mini", {}, False),
        ("openai/gpt-4o", {"logprobs": False}, False),
        ("anthropic/claude-haiku-4-5", {}, False),
        ("anthropic/claude-haiku-4-5", {"logprobs": True}, False),
        ("anthropic/claude-haiku-4-5", {"logprobs": True, "allowed_openai_params": ["logprobs"]}, True),
        ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", {}, False),
        ("vertex_ai/claude-sonnet-4-5", {}, False),
        ("mistral/mistral-small-latest", {}, False),
        ("ollama/llama3", {}, False),
        ("groq/some-model", {}, None),
        ("groq/some-model", {"logprobs": True}, True),
        ("azure/my-deployment", {}, None),
        ("openai/gpt-9", {}, None),
        ("no-provider-at-all", {}, None),
    ],
)
def test_what_is_known_of_a_candidate(model: str, params: Any, known: bool | None) -> None:
    assert gives_need(Candidate(model, params=params), "logprobs") is known


def test_what_is_known_agrees_with_litellm() -> None:
    litellm, wrong = _litellm(), []
    for name, entry in _model_map().items():
        provider = entry.get("litellm_provider", "")
        # Of Claude more is known than LiteLLM's tables say, and the names of these need LiteLLM to be read.
        passed_over = "claude" in name or provider.startswith(("bedrock", "vertex_ai"))
        if entry.get("mode") != "chat" or passed_over or not entry.get("max_input_tokens", 1):
            continue
        if (known := gives_need(Candidate(name), "logprobs")) is None:
            continue
        bare = name.removeprefix(f"{provider}/")
        if ("logprobs" in litellm.get_supported_openai_params(model=bare, custom_llm_provider=provider)) is not known:
            wrong.append((name, known))

    assert wrong == []


def test_a_price_of_the_users_own_says_nothing_of_a_deployment() -> None:
    deployment = Candidate("azure/my-deployment", input_price=1e-7, output_price=4e-7)

    assert gives_need(deployment, "logprobs") is None


def test_nothing_heavy_is_loaded_to_know_it() -> None:
    code = (
        "import sys\n"
        "from router_integrations import Candidate\n"
        "from router_integrations.needs import check_needs, asked_for\n"
        "from router_integrations.strategies import Cascade\n"
        "pool = [Candidate('openai/gpt-4o-mini'), Candidate('anthropic/claude-haiku-4-5')]\n"
        "check_needs(Cascade(), pool); asked_for(Cascade(), pool)\n"
        "print(sorted({'litellm', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    "estimator",
    [
        TokenConfidence(),
        Weakest(estimators=(AnswerQuality(), TokenConfidence())),
        AnswerQuality(text=TokenConfidence()),
        CalibratedConfidence(estimator=TokenConfidence()),
        PrePost(before=Difficulty(), after=TokenConfidence()),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("kind", [Cascade, CascadeRouting])
def test_who_cannot_give_what_is_needed_is_refused(kind: Any, estimator: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"logprobs, which 'anthropic/claude-haiku-4-5' does not give"):
        check_needs(kind(estimator=estimator), [CLAUDE, OTHER])
    check_needs(kind(estimator=estimator), [GPT, OTHER])


def test_who_is_not_known_to_give_it_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_needs(cascade(TokenConfidence()), [GROQ, GPT])

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "nobody knows whether 'groq/some-model' gives them; params={'logprobs': True} asks" in caplog.text


def test_what_an_estimator_can_do_without_is_no_need(caplog: pytest.LogCaptureFixture) -> None:
    check_needs(cascade(AnswerQuality()), [CLAUDE, GROQ, GPT])
    check_needs(cascade(), [CLAUDE, GPT])
    check_needs(cascade(AnswerScorer()), [CLAUDE, GPT])
    check_needs(Best(estimator=TokenConfidence()), [CLAUDE, GPT])

    assert caplog.records == []


@pytest.mark.parametrize(
    ("options", "pool", "refused"),
    [
        ({}, [GPT, CLAUDE], False),
        ({"abstain": 0.1}, [GPT, CLAUDE], True),
        ({"refine": "Check it."}, [GPT, CLAUDE], True),
        ({"refine": {GPT.name: "Check it."}}, [GPT, CLAUDE], False),
        ({"order": ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5")}, [CLAUDE, GPT], False),
        ({"order": "price"}, [CLAUDE, GPT], False),
        ({"order": "price"}, [CLAUDE, OTHER], True),
        ({}, [CLAUDE], False),
    ],
)
def test_nobody_looks_at_the_last_answer_of_a_cascade(options: Any, pool: list[Candidate], refused: bool) -> None:
    strategy = cascade(TokenConfidence(), **options)
    if not refused:
        check_needs(strategy, pool)
        return
    with pytest.raises(ConfigurationError, match="does not give"):
        check_needs(strategy, pool)


def test_the_likeliest_tokens_are_a_need_of_their_own() -> None:
    strategy = CascadeRouting(estimator=TopTokenConfidence())

    assert asked_for(strategy, [GPT]) == {GPT.name: {"logprobs": True, "top_logprobs": 5}}
    with pytest.raises(ConfigurationError, match="looks at top_logprobs"):
        check_needs(strategy, [CLAUDE, GPT])


def test_a_judge_that_is_read_by_its_log_probabilities_must_give_them() -> None:
    verification = SelfVerification(read="probability")
    with pytest.raises(ConfigurationError, match=r"JudgedCascade looks at logprobs, which 'anthropic"):
        check_needs(JudgedCascade(judge=CLAUDE.name, verification=verification), [GPT, OTHER], judges=[CLAUDE])
    check_needs(JudgedCascade(judge=CLAUDE.name), [GPT, OTHER], judges=[CLAUDE])
    with pytest.raises(ConfigurationError, match="does not give"):
        check_needs(JudgedCascade(verification=verification, order="given"), [CLAUDE, GPT])


@pytest.mark.parametrize("kind", [Cascade, CascadeRouting])
@pytest.mark.parametrize(
    ("estimator", "remedy"),
    [
        (SelfConsistency(), "BestOfN and AgreementCascade ask for several answers"),
        (CalibratedConfidence(estimator=SelfConsistency()), "BestOfN and AgreementCascade"),
        (AnswerQuality(text=SelfVerification()), "JudgedCascade asks a judge"),
    ],
)
def test_a_cascade_asks_for_no_samples_and_no_judge(kind: Any, estimator: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        kind(estimator=estimator)


def test_they_are_asked_for_where_they_are_surely_given_and_the_user_is_silent() -> None:
    own = Candidate("own", model=object(), strength=0.5)
    silenced = Candidate("openai/gpt-4.1", params={"logprobs": False})
    told = Candidate("openai/gpt-4.1-mini", params={"logprobs": True})

    assert asked_for(Cascade(), [GPT, CLAUDE, GROQ, own, silenced, told]) == {GPT.name: {"logprobs": True}}
    assert asked_for(cascade(AnswerQuality(), gate=Gate()), [GPT]) == {GPT.name: {"logprobs": True}}
    assert asked_for(Cascade(estimator=Difficulty()), [GPT]) == {}
    assert asked_for(Cascade(estimator=Difficulty(), gate=Gate()), [GPT]) == {GPT.name: {"logprobs": True}}
    assert asked_for(JudgedCascade(), [GPT]) == {}


def test_what_a_wrapped_strategy_looks_at_counts() -> None:
    class Wrapper:
        def __init__(self, strategy: Any) -> None:
            self.strategy = strategy

    assert asked_for(Wrapper(Cascade()), [GPT]) == {GPT.name: {"logprobs": True}}
    with pytest.raises(ConfigurationError, match="Cascade looks at logprobs"):
        check_needs(Wrapper(cascade(TokenConfidence())), [CLAUDE, GPT])


def test_of_an_own_model_its_provider_may_be_known() -> None:
    assert provider_gives("anthropic") is False
    assert provider_gives("openai") is None
