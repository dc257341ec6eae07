"""Text and images in one vector, as MMR-Bench fuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import ImageBytes, image

from router_integrations import Best, Candidate, HashingEncoder, Utility
from router_integrations.encoders import Encoder, MultimodalEncoder
from router_integrations.encoders_fusion import FusionEncoder, ImageEncoder
from router_integrations.errors import ConfigurationError, StorageError
from router_integrations.estimators import KMeansQuality, Linear, MatrixFactorization, Neighbors
from router_integrations.langchain import RouterChatModel
from router_integrations.learning import Record

DARK, LIGHT = image(20), image(220)
TEXTS = ["What is in this picture?", "Read the sign.", "How many people are there?", ""]
IMAGES = [(DARK,), (LIGHT,), (DARK, LIGHT), (LIGHT,)]


def fusion(**options: Any) -> FusionEncoder:
    return FusionEncoder(**{"image": ImageBytes(), "text": HashingEncoder(dimensions=16), "dimensions": 16} | options)


def test_it_is_an_encoder_of_both_kinds() -> None:
    assert isinstance(fusion(), Encoder) and isinstance(fusion(), MultimodalEncoder)
    assert isinstance(ImageBytes(), ImageEncoder) and not isinstance(HashingEncoder(), ImageEncoder)


def reference(encoder: FusionEncoder, text: Any, picture: Any) -> Any:
    """The paper's formula for one query, with the statistics that `fit` learnt."""
    confidence = []
    for side, vector in enumerate([text, picture]):
        prototype, (mean, std) = encoder.prototypes_[side], encoder.norms_[side]
        cosine = vector @ prototype / (np.linalg.norm(vector) * np.linalg.norm(prototype) + 1e-8)
        norm = 1 / (1 + np.exp(-(np.linalg.norm(vector) - mean) / std))
        confidence.append(0.5 * (cosine + 1) / 2 + 0.5 * norm)
    weights = np.exp(5 * np.array(confidence)) / np.exp(5 * np.array(confidence)).sum()
    fused = weights[0] * text + weights[1] * picture + 0.5 * text * picture + 0.5 * np.abs(text - picture)
    return fused / np.linalg.norm(fused)


class Lengths:
    """Text vectors of different lengths."""

    def encode(self, texts: Any) -> Any:
        return HashingEncoder(dimensions=16).encode(texts) * np.array([[1 + len(text) / 9] for text in texts])


def test_the_vector_is_the_paper_s() -> None:
    encoder = fusion(text=Lengths()).fit(TEXTS, IMAGES)
    vectors = encoder.encode_multimodal(TEXTS, IMAGES)

    for row, (text, given) in enumerate(zip(TEXTS, IMAGES, strict=True)):
        picture = ImageBytes().encode_images(given).mean(axis=0)
        assert vectors[row] == pytest.approx(reference(encoder, Lengths().encode([text])[0], picture), abs=1e-5)


def test_before_it_is_fitted_both_sides_weigh_the_same() -> None:
    text, picture = HashingEncoder(dimensions=16).encode(TEXTS[:1])[0], ImageBytes().encode_images([DARK])[0]
    expected = 0.5 * (text + picture) + 0.5 * text * picture + 0.5 * np.abs(text - picture)

    assert fusion().encode_multimodal(TEXTS[:1], [(DARK,)])[0] == pytest.approx(
        expected / np.linalg.norm(expected), abs=1e-6
    )


def test_a_query_without_images_is_its_text() -> None:
    encoder = fusion().fit(TEXTS, IMAGES)
    vectors = encoder.encode_multimodal(TEXTS, [(), (DARK,), (), ()])
    plain = HashingEncoder(dimensions=16).encode(TEXTS)

    assert vectors[[0, 2, 3]] == pytest.approx(plain[[0, 2, 3]], abs=1e-6)
    assert encoder.encode(TEXTS) == pytest.approx(plain, abs=1e-6)
    assert not np.allclose(vectors[1], plain[1], atol=0.1)
    assert not vectors[3].any()


def test_the_image_encoder_is_asked_once_and_only_for_what_there_is() -> None:
    pictures = ImageBytes()
    encoder = fusion(image=pictures)
    encoder.encode_multimodal(TEXTS, [(), (), (), ()])
    encoder.encode(TEXTS)

    assert pictures.asked == []
    encoder.encode_multimodal(TEXTS, [(), (DARK, LIGHT), (), (LIGHT,)])
    assert pictures.asked == [[DARK, LIGHT, LIGHT]]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    encoder = fusion(image=ImageBytes(scale=3), dimensions=24).fit(TEXTS, IMAGES)
    together = encoder.encode_multimodal(TEXTS, IMAGES)
    alone = [encoder.encode_multimodal([text], [given])[0] for text, given in zip(TEXTS, IMAGES, strict=True)]

    assert together == pytest.approx(np.stack(alone), abs=1e-6)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)
    assert encoder.encode_multimodal([], []).shape == (0, 24)


class Clip(ImageBytes):
    """One object for both sides, as a user's CLIP is."""

    def encode(self, texts: Any) -> Any:
        return self.encode_images([image(len(text)) for text in texts])


def test_vectors_of_other_lengths_are_projected_alike_and_keep_their_angles() -> None:
    clip = Clip()
    encoder = FusionEncoder(text=clip, image=clip, dimensions=2048)
    text, picture = encoder.encode(["x" * 20]), encoder.encode_multimodal(["x" * 20], [(image(20),)])

    # The same vector on both sides: their sum is it, their product is small, their difference is nothing.
    assert float(text[0] @ picture[0]) > 0.99
    apart = encoder.encode(["x" * 20, "x" * 220])
    assert abs(float(apart[0] @ apart[1])) < 0.1


def test_the_projection_follows_the_seed() -> None:
    one, same, other = (fusion(dimensions=24, seed=seed).encode_multimodal(TEXTS, IMAGES) for seed in (1, 1, 2))

    assert np.array_equal(one, same)
    assert not np.allclose(one, other, atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": HashingEncoder()}, r"FusionEncoder\.image must have encode_images but got"),
        ({"dimensions": 0}, r"FusionEncoder\.dimensions must be in \[1, 4096\] but got 0"),
        ({"dimensions": 5000}, r"FusionEncoder\.dimensions must be in \[1, 4096\] but got 5000"),
    ],
)
def test_a_wrong_option_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fusion(**options)


def test_there_must_be_an_image_to_learn_from() -> None:
    with pytest.raises(ConfigurationError, match="got no query with an image"):
        fusion().fit(TEXTS, [()] * 4)


POOL = [
    Candidate("openai/gpt-4o-mini", name="small", strength=0.3),
    Candidate("openai/gpt-4o", name="large", strength=0.9),
]


def records() -> list[Record]:
    """Small reads dark pictures, large light ones; the words are always the same."""
    return [
        Record(
            text="What is this?",
            candidate=name,
            quality=float((name == "small") == (shade < 128)),
            query_id=str(shade),
            images=(image(shade),),
            output_tokens=10,
        )
        for shade in [*range(4, 60, 4), *range(190, 250, 4)]
        for name in ("small", "large")
    ]


MULTIMODAL = [
    Neighbors(k=3, encoder=fusion()),
    Linear(encoder=fusion()),
    MatrixFactorization(dimensions=8, steps=200, encoder=fusion()),
    KMeansQuality(clusters=4, encoder=fusion()),
]


def asked(shade: int) -> Any:
    block = {"type": "image_url", "image_url": {"url": image(shade)}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, block]}]


@pytest.mark.parametrize("learner", MULTIMODAL, ids=lambda learner: type(learner).__name__)
def test_the_image_decides_who_is_asked_when_the_words_are_the_same(learner: Any, tmp_path: Path) -> None:
    strategy = Best(estimator=learner.fit(records()), utility=Utility(enough=1.0))
    router = RouterChatModel(candidates=POOL, strategy=strategy)
    router.save(tmp_path / "saved")
    loaded = RouterChatModel.load(tmp_path / "saved", encoder=ImageBytes())

    for shade, name in ((22, "small"), (42, "small"), (202, "large"), (233, "large")):
        trace = router.explain(asked(shade))
        assert trace.candidate == name
        assert loaded.explain(asked(shade)).estimates == trace.estimates


class TestSaving:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        encoder = fusion(dimensions=24).fit(TEXTS, IMAGES)
        strategy = Best(estimator=Neighbors(k=3, encoder=encoder).fit(records()))
        RouterChatModel(candidates=POOL, strategy=strategy).save(tmp_path / "saved")
        return tmp_path / "saved"

    def test_what_was_fitted_comes_back(self, folder: Path) -> None:
        expected = fusion(dimensions=24).fit(TEXTS, IMAGES).encode_multimodal(TEXTS, IMAGES)
        loaded: Any = RouterChatModel.load(folder, encoder=ImageBytes())

        assert np.array_equal(loaded.strategy.estimator.encoder.encode_multimodal(TEXTS, IMAGES), expected)

    def test_the_image_encoder_must_be_passed(self, folder: Path) -> None:
        with pytest.raises(StorageError, match=r"an encoder of your own, ImageBytes, which no folder can hold"):
            RouterChatModel.load(folder)

    @pytest.mark.parametrize("other", [ImageBytes(scale=2), HashingEncoder()])
    def test_another_one_is_refused(self, other: Any, folder: Path) -> None:
        with pytest.raises(StorageError, match="turns a sample into another vector than the ImageBytes"):
            RouterChatModel.load(folder, encoder=other)

    def test_one_object_may_be_both_encoders(self, tmp_path: Path) -> None:
        clip = Clip()
        strategy = Best(estimator=Neighbors(k=3, encoder=FusionEncoder(text=clip, image=clip)).fit(records()))
        router = RouterChatModel(candidates=POOL, strategy=strategy)
        router.save(tmp_path / "saved")
        loaded = RouterChatModel.load(tmp_path / "saved", encoder=Clip())

        assert loaded.explain(asked(22)).estimates == router.explain(asked(22)).estimates
        with pytest.raises(StorageError, match="turns a sample into another vector than the Clip"):
            RouterChatModel.load(tmp_path / "saved", encoder=ImageBytes())
