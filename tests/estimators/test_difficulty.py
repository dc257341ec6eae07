from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError, RequestError
from router_integrations.estimators import Difficulty
from router_integrations.estimators.difficulty import strength
from router_integrations.types import Request, Snapshot

# The same easy and the same hard question.
EASY = {
    "English": "What is the capital of France?",
    "German": "Was ist die Hauptstadt von Frankreich?",
    "French": "Quelle est la capitale de la France ?",
    "Spanish": "¿Cuál es la capital de Francia?",
    "Russian": "Какая столица Франции?",
    "Chinese": "法国的首都是哪里？",
    "Japanese": "フランスの首都はどこですか？",
    "Korean": "프랑스의 수도는 어디입니까?",
    "Arabic": "ما هي عاصمة فرنسا؟",
    "Hindi": "फ्रांस की राजधानी क्या है?",
    "code": "print('hello')",
}
HARD = {
    "English": "Prove that there are infinitely many prime numbers and explain each step of the proof without gaps.",
    "German": "Beweise, dass es unendlich viele Primzahlen gibt, und begründe jede Aussage ohne Lücken.",
    "French": "Démontre qu'il existe une infinité de nombres premiers et justifie chaque étape sans lacune.",
    "Spanish": "Demuestra que existen infinitos números primos y justifica cada paso de la prueba sin saltos.",
    "Russian": "Докажите, что простых чисел бесконечно много, и обоснуйте каждый шаг без пропусков.",
    "Chinese": "请证明质数有无穷多个，并分析证明中的每个步骤，不要省略。",
    "Japanese": "素数が無限に存在することを証明し、各ステップを必ず説明してください。",
    "Korean": "소수가 무한히 많다는 것을 증명하고 각각의 단계를 반드시 설명하세요.",
    "Arabic": "أثبت أن الأعداد الأولية لا نهائية و اشرح كل خطوة بدون نقص.",
    "Hindi": "सिद्ध कीजिए कि अभाज्य संख्याएँ अनंत हैं और केवल समीकरण से क्यों सही है बताइए।",
    "code": (
        "Refactor this so that it is thread safe and explain why it deadlocks:\n```python\nimport threading\n"
        "class Pool:\n    def __init__(self):\n        self.lock = threading.Lock()\n    async def take(self):\n"
        "        with self.lock:\n            return await self.queue.get()\n```"
    ),
}
difficulty = Difficulty().difficulty


def asked(text: str, **fields: Any) -> float:
    return difficulty(Request(text=text, **fields))


@pytest.mark.parametrize("language", EASY)
def test_hard_is_harder_than_easy_in_any_language(language: str) -> None:
    assert asked(EASY[language]) + 0.2 < asked(HARD[language])


@pytest.mark.parametrize("language", EASY)
def test_an_easy_question_is_easy_in_any_language(language: str) -> None:
    assert asked(EASY[language]) < 0.35


@pytest.mark.parametrize("language", HARD)
def test_a_hard_question_is_hard_in_any_language(language: str) -> None:
    assert asked(HARD[language]) > 0.5


@pytest.mark.parametrize("text", ["", " \n", "🙂", "؟", "?" * 50, "\x00", "a\u0301", "𝔘", "\u202e"])
def test_no_text_is_out_of_range(text: str) -> None:
    assert 0 <= asked(text) <= 1
    assert all(0 <= value <= 1 for value in Difficulty().features(Request(text=text)).values())


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(RequestError, match="lone surrogate"):
        asked("\udc00")


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("length", "word " * 500),
        ("reasoning", "Why?"),
        ("maths", "Solve x^2 + 3 = 7"),
        ("code", "def f(x): return x"),
        ("constraints", "It must have exactly five words."),
        ("constraints", "- one\n- two\n- three"),
        ("constraints", "Who? Where? When?"),
        ("script", "字"),
    ],
)
def test_each_feature_moves_with_its_own_mark(feature: str, text: str) -> None:
    features = Difficulty().features
    assert features(Request(text=text))[feature] > features(Request(text="Hi there"))[feature]


@pytest.mark.parametrize(
    ("feature", "fields"),
    [
        ("tools", {"tools": ({"type": "function"},)}),
        ("schema", {"schema": {"type": "object"}}),
        ("turns", {"turns": 5}),
    ],
)
def test_the_request_counts_beside_its_text(feature: str, fields: dict[str, Any]) -> None:
    plain = Request(text="Hi")

    assert Difficulty().features(plain)[feature] == 0
    assert Difficulty().features(replace(plain, **fields))[feature] > 0
    assert difficulty(replace(plain, **fields)) > difficulty(plain)


def test_every_feature_makes_a_request_harder() -> None:
    texts = ["Hi", "Hi, why?", "Hi, why does the integral converge?", HARD["English"]]
    found = [asked(text) for text in texts]

    assert found == sorted(found)


def own(**fields: Any) -> Candidate:
    return Candidate("own", model=object(), **fields)


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (own(strength=0.8), 0.8),
        (own(strength=0.0, input_price=1.0, output_price=1.0), 0.0),
        (own(input_price=1e-7, output_price=1e-7), 0.35),
        (own(input_price=1e-6, output_price=1e-6), 0.55),
        (own(input_price=1e-5, output_price=1e-5), 0.75),
        (own(input_price=0.0, output_price=4e-6), 0.55),
        (own(input_price=0.0, output_price=0.0), 0.35),
        (own(input_price=1.0, output_price=1.0), 1.0),
    ],
)
def test_strength_is_given_or_comes_from_the_price(candidate: Candidate, expected: float) -> None:
    assert strength(candidate) == pytest.approx(expected)


@pytest.mark.parametrize("known", [{}, {"input_price": 1.0}, {"output_price": 1.0}])
def test_without_strength_and_price_nobody_can_say(known: dict[str, float]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'own' has neither a strength nor prices.*give strength= in \[0, 1\]"
    ):
        Difficulty().estimate(Request(text="hi"), [own(**known)])


@pytest.mark.parametrize("known", [{}, {"input_price": 1.0}, {"output_price": 1.0}])
def test_unless_a_strength_is_named_for_those(known: dict[str, float]) -> None:
    named, given = Difficulty(unknown=0.25), Difficulty()
    request = Request(text="hi")

    assert (
        named.estimate(request, [own(**known)])[0].quality == given.estimate(request, [own(strength=0.25)])[0].quality
    )
    assert named.estimate(request, [own(strength=0.75)]) == given.estimate(request, [own(strength=0.75)])


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"unknown must be in \[0, 1\] but got {strength}"):
        Difficulty(unknown=strength)


def test_as_strong_as_the_query_is_hard_is_expected_to_reach_seven_tenths() -> None:
    request = Request(text="hi")
    (estimate,) = Difficulty().estimate(request, [own(strength=difficulty(request))])

    assert estimate.quality == pytest.approx(0.7)


def test_quality_rises_with_strength() -> None:
    pool = [own(strength=value / 10) for value in range(11)]
    qualities = [estimate.quality for estimate in Difficulty().estimate(Request(text="hi"), pool)]

    assert qualities == sorted(qualities)
    assert qualities[0] < 0.5 < 0.95 < qualities[-1]


def test_cost_follows_the_prompt_and_the_limit_of_the_answer() -> None:
    candidate = own(strength=0.5, input_price=1.0, output_price=100.0, cache_read_price=0.1, latency=3.0)
    request = Request(text="hi", input_tokens=2000, max_output_tokens=10)
    (estimate,) = Difficulty().estimate(request, [candidate])
    (longer,) = Difficulty().estimate(replace(request, max_output_tokens=None), [candidate])
    warm_request = replace(request, cached_tokens=1500, snapshot=Snapshot(previous="own"))
    (warm,) = Difficulty().estimate(warm_request, [candidate])

    assert (estimate.cost, estimate.latency) == (2000 * 1.0 + 10 * 100.0, 3.0)
    assert longer.cost > 2000 + 150 * 100
    assert warm.cost == pytest.approx(500 + 1500 * 0.1 + 10 * 100)


def test_an_unknown_price_is_an_unknown_cost() -> None:
    assert Difficulty().estimate(Request(text="hi"), [own(strength=0.5)])[0].cost is None


@pytest.mark.parametrize("text", ["\n", " \n", "f(", "- ", "1 ", ";\t", "\\", "a ", "字", "- \n"], ids=repr)
def test_no_text_takes_long(text: str) -> None:
    request = Request(text=text * 20_000)
    started = time.process_time()
    difficulty(request)

    # It takes about a millisecond; a regular expression that goes back over blank lines took half a minute.
    assert time.process_time() - started < 0.2
