from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations.errors import ConfigurationError, ProviderError
from router_integrations.estimators import SelfVerification, VerbalizedConfidence
from router_integrations.estimators.verification import approval
from router_integrations.types import Attempt, Call
from tests.estimators.answered import LARGE, QUERY, SMALL, reply

ANSWER = reply("It is {4}.")


def verdict(verify: SelfVerification, text: str, answer: Attempt = ANSWER, **fields) -> Attempt:
    call = Call(candidate=LARGE, purpose="judge", prompt=verify.ask(QUERY, answer))
    return Attempt(call=call, text=text, **fields)


def confidence(verify: SelfVerification, *said: str) -> float | None:
    return verify.confidence(QUERY, SMALL, [ANSWER, *(verdict(verify, text) for text in said)])


@pytest.mark.parametrize(
    ("said", "stated"),
    [
        ("4. Confidence: 85%", 0.85),
        ("4 (confidence 0.85)", 0.85),
        ("Confidence: **8/10**", 0.8),
        ("My confidence is 8 out of 10.", 0.8),
        ("Confidence: 90", 0.9),
        ("Confidence: 1.0", 1.0),
        ("Confidence: 0", 0.0),
        ("Confidence: 20%\nNo, wait. Confidence: 70 percent", 0.7),
        ("<think>Confidence: 20%</think>Confidence: 70%", 0.7),
        ("probability of being right = .5", 0.5),
        ("Confidence: 250%", None),
        ("Confidence: 12000", None),
        ("Confidence: 3/0", None),
        ("It is 85% water.", None),
        ("", None),
    ],
)
def test_a_stated_confidence_is_read(said, stated) -> None:
    found = VerbalizedConfidence().confidence(QUERY, SMALL, [reply(said)])

    assert found == (None if stated is None else pytest.approx(stated))


@given(st.integers(0, 100))
def test_every_percentage_is_read(percentage) -> None:
    said = reply(f"It is 4.\nConfidence: {percentage}%")

    assert VerbalizedConfidence().confidence(QUERY, SMALL, [said]) == pytest.approx(percentage / 100)


@given(st.text(max_size=200))
def test_any_text_is_read(said) -> None:
    found = VerbalizedConfidence().confidence(QUERY, SMALL, [reply(f"Confidence: {said}")])

    assert found is None or 0 <= found <= 1


@pytest.mark.parametrize(
    ("said", "approves"),
    [
        ("True", True),
        ("**true**.", True),
        ("Yes, it is.", True),
        ("False", False),
        ("incorrect", False),
        ("That is not correct.", False),
        ("It isn't true", False),
        ("It seems wrong at first, but the answer is Correct", True),
        ("<think>False?</think> True", True),
        ("untrue-ish nobody", None),
        ("I cannot say", None),
        ("", None),
    ],
)
def test_a_verdict_is_read(said, approves) -> None:
    assert approval(said) is approves


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_self_verification_is_the_share_that_approves(approvals) -> None:
    verify = SelfVerification()

    assert confidence(verify, *(str(one) for one in approvals)) == pytest.approx(sum(approvals) / len(approvals))


def test_nonsense_is_left_out_and_nonsense_alone_says_nothing() -> None:
    verify = SelfVerification()

    assert confidence(verify, "True", "As a judge, hm", "False") == 0.5
    assert confidence(verify, "hm") is None
    assert confidence(verify) is None


def test_p_true_is_the_probability_of_true() -> None:
    verify = SelfVerification(read="probability")
    said = [
        verdict(verify, "True", logprobs=(math.log(0.9), -5.0)),
        verdict(verify, "False", logprobs=(math.log(0.7),)),
        verdict(verify, "True"),
    ]

    assert verify.verdicts(QUERY, ANSWER, said) == pytest.approx([0.9, 0.3])
    assert verify.confidence(QUERY, SMALL, [ANSWER, *said]) == pytest.approx(0.6)


def test_a_number_is_read_from_a_verdict() -> None:
    assert confidence(SelfVerification(read="number"), "About 35%", "0.45", "no idea") == pytest.approx(0.4)


def test_verdicts_belong_to_the_answer_they_were_asked_about() -> None:
    verify = SelfVerification()
    other = reply("5", LARGE)
    attempts = [ANSWER, other, verdict(verify, "True", other), verdict(verify, "False")]

    assert verify.confidence(QUERY, SMALL, attempts) == 0.0
    assert verify.confidence(QUERY, LARGE, attempts) == 1.0


def test_a_judge_that_failed_is_left_out() -> None:
    verify = SelfVerification()
    failed = replace(verdict(verify, "False"), error=ProviderError("down", family="not_found"))

    assert verify.confidence(QUERY, SMALL, [ANSWER, failed, verdict(verify, "True")]) == 1.0


def test_the_prompt_holds_query_and_answer_as_they_are() -> None:
    for verify in (
        SelfVerification(),
        SelfVerification(read="number"),
        SelfVerification(prompt="{query} {answer} {{}}"),
    ):
        assert QUERY.text in verify.ask(QUERY, ANSWER) and ANSWER.text in verify.ask(QUERY, ANSWER)


def test_a_judge_of_a_tool_call_sees_the_call() -> None:
    answer = reply(tool_calls=({"name": "search", "args": {"q": "weather"}, "id": "1"},))

    assert '["search", {"q": "weather"}]' in SelfVerification().ask(QUERY, answer)


@pytest.mark.parametrize("prompt", ["{query}", "{answer}", "{query} {answer} {more}", "{query} {answer} {", "{0}{1}"])
def test_a_prompt_without_its_places_is_refused(prompt) -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        SelfVerification(prompt=prompt)


def test_an_unknown_way_to_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="read"):
        SelfVerification(read="logits")
