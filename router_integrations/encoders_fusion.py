"""Text and images as one vector, from an encoder for each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from router_integrations.encoders import Encoder, HashingEncoder
from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

# The paper's: how sharply confidence decides between the sides, and the weight of what they share and differ in.
_SHARPNESS = 5.0
_INTERACTION = 0.5
_TINY = 1e-8


@runtime_checkable
class ImageEncoder(Protocol):
    """Turns images into vectors."""

    def encode_images(self, images: Sequence[str]) -> NDArray[np.float32]:
        """Return one row per image, all of one length; rows need not have length 1.

        Args:
            images: URLs or data URIs; at least one.
        """
        ...


class FusionEncoder:
    """Fuses the vectors of a text and of its images, each weighted by how confident it looks.

    The confidence of a side is the mean of how near it is to the prototype and how large its norm is; the fused vector
    is the weighted sum plus half of what the sides share (their product) and of what they differ in (their absolute
    difference). `fit` learns prototypes and norms; before, both sides weigh the same. Several images are averaged. A
    query without images is its text's vector. With `MatrixFactorization`, `Neighbors` or `KMeansQuality` on top these
    are the LinearMF, kNN and K-means routers of MMR-Bench.

    One object may be both encoders, such as CLIP; vectors of another length than `dimensions` are projected at random,
    those of one length alike. `encode_multimodal` takes O(images) calls' worth of the image encoder and
    O(dimensions) per query, O(length · dimensions) where it projects.

    Reference: MMR-Bench, a comprehensive benchmark for multimodal LLM routing (2026).

    Args:
        image: Turns images into vectors; yours, such as CLIP, for none comes with the package.
        text: Turns texts into vectors.
        dimensions: Length of the fused vectors, in [1, 4096]; best that of the encoders.
        seed: Seed of the random projections.

    Attributes:
        prototypes_: The mean vector of each side, text and images; absent before `fit`.
        norms_: Mean and standard deviation of the norms of each side; absent before `fit`.

    Raises:
        ConfigurationError: `dimensions` is out of range, or an encoder cannot encode.

    >>> import numpy as np
    >>> class Sizes:
    ...     def encode_images(self, images):
    ...         return np.array([[len(image), 1.0] for image in images], dtype=np.float32)
    >>> plain, seen = FusionEncoder(image=Sizes()).encode_multimodal(["What is it?"] * 2, [(), ("data:,cat",)])
    >>> bool(plain @ seen < 0.99), bool(np.allclose(plain, HashingEncoder().encode(["What is it?"])))
    (True, True)
    """

    prototypes_: Vectors
    norms_: Vectors

    def __init__(
        self, *, image: ImageEncoder, text: Encoder | None = None, dimensions: int = 256, seed: int = 0
    ) -> None:
        if not isinstance(image, ImageEncoder):
            raise ConfigurationError(f"FusionEncoder.image must have encode_images but got {image!r}")
        if not 1 <= dimensions <= 4096:
            raise ConfigurationError(f"FusionEncoder.dimensions must be in [1, 4096] but got {dimensions!r}")
        self.image = image
        self.text = HashingEncoder(dimensions=dimensions, seed=seed) if text is None else text
        self.dimensions = dimensions
        self.seed = seed

    def fit(self, texts: Sequence[str], images: Sequence[Sequence[str]]) -> FusionEncoder:
        """Learn what is usual on each side from the queries with images, forgetting the rest; return the encoder.

        Args:
            texts: The queries.
            images: The images of each.

        Raises:
            ConfigurationError: No query has an image.
        """
        import numpy as np

        seen = [row for row, given in enumerate(images) if given]
        if not seen:
            raise ConfigurationError("FusionEncoder.fit got no query with an image; give it some")
        sides = self._texts([texts[row] for row in seen]), self._images([images[row] for row in seen])
        lengths = [np.linalg.norm(side, axis=1) for side in sides]
        self.prototypes_ = np.stack([side.mean(axis=0) for side in sides]).astype(np.float32)
        self.norms_ = np.array([[length.mean(), length.std()] for length in lengths], dtype=np.float32)
        return self

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 per text; all zeros for a text without content."""
        return _units(self._texts(texts))

    def encode_multimodal(self, texts: Sequence[str], images: Sequence[Sequence[str]]) -> Vectors:
        """Return one row of length 1 per query; all zeros for a query without content.

        Args:
            texts: Any number of texts.
            images: The images of each, URLs or data URIs; none for a query without.
        """
        vectors = self._texts(texts)
        seen = [row for row, given in enumerate(images) if given]
        if seen:
            vectors[seen] = self._fused(vectors[seen], self._images([images[row] for row in seen]))
        return _units(vectors)

    def _fused(self, text: Vectors, image: Vectors) -> Vectors:
        import numpy as np

        confidence = np.stack([self._confidence(0, text), self._confidence(1, image)])
        weights = np.exp(_SHARPNESS * confidence)
        of_text, of_image = (weights / weights.sum(axis=0))[:, :, None]
        fused: Vectors = of_text * text + of_image * image + _INTERACTION * (text * image + np.abs(text - image))
        return fused.astype(np.float32)

    def _confidence(self, side: int, vectors: Vectors) -> Vectors:
        import numpy as np

        if not hasattr(self, "prototypes_"):
            return np.full(len(vectors), 0.5, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1)
        prototype = self.prototypes_[side]
        similarity = vectors @ prototype / (lengths * np.linalg.norm(prototype) + _TINY)
        mean, std = self.norms_[side]
        # Vectors made to length 1 differ in the last bits only, which say nothing.
        score = np.clip((lengths - mean) / max(std, 1e-4 * mean, _TINY), -30, 30)
        confidence: Vectors = 0.5 * (similarity + 1) / 2 + 0.5 / (1 + np.exp(-score))
        return confidence

    def _texts(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        return self._projected(np.array(self.text.encode(texts), dtype=np.float32))

    def _images(self, images: Sequence[Sequence[str]]) -> Vectors:
        """Return the mean vector of each query's images, every one of which has some."""
        import numpy as np

        starts = np.cumsum([0, *(len(given) for given in images[:-1])])
        vectors = np.asarray(self.image.encode_images(list(chain.from_iterable(images))), dtype=np.float32)
        counts = np.array([[len(given)] for given in images], dtype=np.float32)
        means = np.add.reduceat(vectors, starts, axis=0) / counts
        return self._projected(means.astype(np.float32))

    def _projected(self, vectors: Vectors) -> Vectors:
        size = vectors.shape[1]
        return vectors if size == self.dimensions else vectors @ _projection(self.seed, size, self.dimensions)


@lru_cache(maxsize=4)
def _projection(seed: int, size: int, dimensions: int) -> Vectors:
    """Return a random matrix that keeps lengths and angles about as they are."""
    import numpy as np

    matrix = np.random.default_rng(seed).standard_normal((size, dimensions), dtype=np.float32)
    matrix /= np.float32(np.sqrt(dimensions))
    matrix.flags.writeable = False
    return matrix


def _units(vectors: Vectors) -> Vectors:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > _TINY)
    return units
