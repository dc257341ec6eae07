from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_integrations.encoders import Encoder, HashingEncoder
from router_integrations.errors import ConfigurationError

COOKING = ["boil the pasta in water", "fry onions in the pan", "bake bread in the oven", "boil rice in the pan"]
CODING = ["sort the list in python", "a python loop over a list", "reverse the list in place", "sort with a key"]
TEXTS = [*COOKING, *CODING]


def lengths(vectors: Any) -> list[float]:
    return np.linalg.norm(vectors, axis=1).tolist()


@pytest.fixture(
    params=[HashingEncoder(dimensions=64), HashingEncoder(dimensions=64).fit(TEXTS)], ids=["cold", "fitted"]
)
def encoder(request: pytest.FixtureRequest) -> HashingEncoder:
    return request.param


def test_it_is_an_encoder(encoder: HashingEncoder) -> None:
    assert isinstance(encoder, Encoder)


def test_one_row_of_length_one_per_text(encoder: HashingEncoder) -> None:
    vectors = encoder.encode(TEXTS)

    assert vectors.shape == (8, 64)
    assert vectors.dtype == np.float32
    assert lengths(vectors) == pytest.approx([1.0] * 8, abs=1e-5)
    assert encoder.encode([]).shape == (0, 64)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(text=st.text(max_size=200))
def test_any_text_gives_a_finite_vector(text: str) -> None:
    for one in (HashingEncoder(dimensions=64), FITTED):
        (length,) = lengths(one.encode([text]))
        assert length == 0.0 or length == pytest.approx(1.0, abs=1e-5)


FITTED = HashingEncoder(dimensions=64).fit(TEXTS)


@pytest.mark.parametrize("text", ["", "x", " ", "\ud83d", "🙂", "请证明", "a" * 200_000], ids=ascii)
def test_odd_texts(encoder: HashingEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text])).all()


@pytest.mark.parametrize(
    ("query", "near", "far"),
    [
        ("How do I sort a list?", "sorting lists", "boiling eggs"),
        ("Как отсортировать список?", "сортировка списка", "варка яиц"),
        ("如何对列表排序？", "列表的排序方法", "怎样煮鸡蛋"),
        ("リストを並べ替える方法", "リストの並べ替え", "卵のゆで方"),
        ("كيف أرتب القائمة؟", "ترتيب القائمة", "سلق البيض"),
        ("सूची को कैसे क्रमबद्ध करें", "सूची क्रमबद्ध करना", "अंडे उबालना"),
    ],
)
def test_like_texts_are_near_in_any_script(query: str, near: str, far: str) -> None:
    vectors = HashingEncoder().encode([query, near, far])

    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_letter_case_and_compatible_forms_do_not_matter() -> None:
    first, second = HashingEncoder().encode(["Sort ＡＢＣ ﬁles", "sort abc files"])

    assert first @ second == pytest.approx(1.0, abs=1e-5)


def test_a_text_has_the_same_vector_alone_and_in_a_batch(encoder: HashingEncoder) -> None:
    batch = encoder.encode(TEXTS)

    assert np.array_equal(np.concatenate([encoder.encode([text]) for text in TEXTS]), batch)


def test_the_seed_decides_the_projection() -> None:
    first, same, other = (HashingEncoder(dimensions=32, seed=seed).encode(TEXTS) for seed in (1, 1, 2))

    assert np.array_equal(first, same)
    assert not np.allclose(first, other)


def test_vectors_are_the_same_in_another_process() -> None:
    code = (
        "from router_integrations import HashingEncoder\n"
        "print(HashingEncoder(dimensions=4).encode(['sort the list'])[0].tolist())"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == str(HashingEncoder(dimensions=4).encode(["sort the list"])[0].tolist())


def test_fit_brings_texts_of_a_topic_together() -> None:
    def gap(vectors: Any) -> float:
        similar = vectors @ vectors.T
        return float(similar[:4, :4].mean() + similar[4:, 4:].mean() - 2 * similar[:4, 4:].mean())

    cold = HashingEncoder(dimensions=2, seed=3)
    before = gap(cold.encode(TEXTS))
    assert gap(cold.fit(TEXTS).encode(TEXTS)) > before + 0.5


def test_fit_learns_which_words_say_little() -> None:
    polite = [f"please kindly help with {text}" for text in TEXTS]
    cooking, coding = polite[0], polite[4]
    cold, fitted = HashingEncoder(dimensions=512), HashingEncoder(dimensions=512).fit(polite)
    before, after = ((vectors := encoder.encode([cooking, coding]))[0] @ vectors[1] for encoder in (cold, fitted))

    assert after < before - 0.2


def test_the_end_of_a_long_text_counts_too() -> None:
    start = "a" * 100_000
    vectors = HashingEncoder().encode([start, f"{start} sort a list", "sort a list"])

    assert vectors[1] @ vectors[2] > vectors[0] @ vectors[2] + 0.1


def test_fit_forgets_what_was_known_and_is_repeatable() -> None:
    once = HashingEncoder(dimensions=16).fit(CODING).encode(TEXTS)
    again = HashingEncoder(dimensions=16).fit(COOKING).fit(CODING).encode(TEXTS)

    assert np.array_equal(once, again)


def test_texts_that_fit_never_saw_are_told_apart() -> None:
    first, second = FITTED.encode(["列表排序", "煮鸡蛋"])

    assert lengths([first, second]) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert first @ second < 0.5


def test_one_text_is_enough_to_fit() -> None:
    assert lengths(HashingEncoder(dimensions=16).fit(["one"]).encode(["one", "two"])) == pytest.approx([1, 1], abs=1e-5)


def test_empty_texts_do_not_break_fit() -> None:
    assert np.isfinite(HashingEncoder(dimensions=16).fit(["", "one"]).encode(["", "one"])).all()


@pytest.mark.parametrize("texts", [[], "one text"])
def test_fit_needs_texts(texts: Any) -> None:
    with pytest.raises(ConfigurationError, match="fit needs a list of at least one text but got"):
        HashingEncoder().fit(texts)


@pytest.mark.parametrize("dimensions", [0, -1, 4097])
def test_dimensions_out_of_range(dimensions: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"HashingEncoder\.dimensions must be .* but got {dimensions}"):
        HashingEncoder(dimensions=dimensions)


def test_threads_share_it(encoder: HashingEncoder) -> None:
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: encoder.encode(TEXTS), range(40)))

    assert all(np.array_equal(one, expected) for one in found)
