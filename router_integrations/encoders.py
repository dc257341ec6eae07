"""Text to vectors; the default encoder needs no download, no model and no training."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Hash buckets of the n-grams; a power of two.
_BUCKETS = 2**14
_CHARACTER_NGRAMS = (2, 3)
_WORD = re.compile(r"\w+")
# Longer texts are read in blocks, so that memory does not grow with them (characters).
_BLOCK = 2**16
# Odd 32-bit constants that spread neighbouring code points over all bits.
_STEP = 0x9E3779B1
_MIX = 0x85EBCA6B


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row per text, each of length 1, or all zeros for a text without content.

        Args:
            texts: Any number of texts, in any script.
        """
        ...


@runtime_checkable
class MultimodalEncoder(Protocol):
    """Turns queries of text and images into vectors."""

    def encode_multimodal(self, texts: Sequence[str], images: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Return one row per query, each of length 1, or all zeros for a query without content.

        Args:
            texts: Any number of texts, in any script.
            images: The images of each, URLs or data URIs; none for a query without.
        """
        ...


class HashingEncoder:
    """Encodes hashed word and character n-grams, projected to few dimensions.

    Works at once with a seeded random projection, which keeps the angles between texts; `fit` learns one from texts
    instead (inverse document frequencies and a truncated SVD, that is latent semantic analysis), so that words that
    appear together come near each other. N-grams that `fit` never saw keep their random directions. Character pairs
    stand in for words in scripts without spaces. It knows spelling, not meaning: a paraphrase in other words is far
    away until both have been seen together.

    `encode` takes O(characters + n-grams · dimensions) per text, `fit` one randomised SVD of texts by 16,384 buckets.
    Safe to share between threads.

    Args:
        dimensions: Length of the vectors, in [1, 4096].
        seed: Seed of the random projection and of the SVD.

    Attributes:
        projection_: The learnt projection, buckets by dimensions; absent before `fit`.

    Raises:
        ConfigurationError: `dimensions` is out of range.

    >>> near, far, query = HashingEncoder().encode(["sort a list", "boil two eggs", "sort the list"])
    >>> bool(near @ query > far @ query)
    True
    """

    projection_: NDArray[np.float32]

    def __init__(self, *, dimensions: int = 256, seed: int = 0) -> None:
        if not 1 <= dimensions <= 4096:
            raise ConfigurationError(f"HashingEncoder.dimensions must be in [1, 4096] but got {dimensions!r}")
        self.dimensions = dimensions
        self.seed = seed

    def fit(self, texts: Sequence[str]) -> HashingEncoder:
        """Learn the projection from `texts`, forgetting what was learnt before; return the encoder.

        With fewer texts than dimensions, the dimensions left over stay random.

        Raises:
            ConfigurationError: There is no text.

        >>> HashingEncoder(dimensions=8).fit(["one text", "another text"]).encode(["a text"]).shape
        (1, 8)
        """
        import numpy as np
        from scipy.sparse import csr_matrix
        from sklearn.utils.extmath import randomized_svd

        if isinstance(texts, str) or not len(texts):
            raise ConfigurationError(f"fit needs a list of at least one text but got {texts!r}")
        rows = [_weights(text) for text in texts]
        starts = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
        buckets = np.concatenate([buckets for buckets, _ in rows])
        seen = np.bincount(buckets, minlength=_BUCKETS)
        rarity = (np.log((1 + len(rows)) / (1 + seen)) + 1).astype(np.float32)
        values = np.concatenate([_unit(weights * rarity[at]) for at, weights in rows])
        rank = min(self.dimensions, len(rows))
        counts = csr_matrix((values, buckets, starts), shape=(len(rows), _BUCKETS))
        _, _, axes = randomized_svd(counts, n_components=rank, random_state=self.seed)
        known = seen > 0
        learnt = axes.T[known].astype(np.float32)
        # Random entries as large as the learnt ones, so that neither drowns the other.
        scale = np.sqrt(np.mean(learnt**2)) if known.any() else 1.0
        projection = _random_signs(self.seed, self.dimensions) * np.float32(scale)
        projection[known, :rank] = learnt
        projection *= rarity[:, None]
        self.projection_ = projection
        return self

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row of length 1 per text; all zeros for a text without content."""
        import numpy as np

        projection = getattr(self, "projection_", None)
        if projection is None:
            projection = _random_signs(self.seed, self.dimensions)
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            buckets, weights = _weights(text)
            vectors[row] = _unit(weights @ projection[buckets])
        return vectors


@lru_cache(maxsize=2)
def _random_signs(seed: int, dimensions: int) -> NDArray[np.float32]:
    import numpy as np

    signs = np.random.default_rng(seed).integers(0, 2, size=(_BUCKETS, dimensions), dtype=np.int8)
    projection = signs.astype(np.float32) * 2 - 1
    projection.flags.writeable = False
    return projection


def _weights(text: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the buckets that the n-grams of `text` fall into and the damped count of each."""
    import numpy as np

    text = unicodedata.normalize("NFKC", text).lower()
    counts = np.zeros(_BUCKETS, dtype=np.int64)
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK]
        hashes = np.concatenate([*_word_hashes(block), *_character_hashes(block)])
        counts += np.bincount(hashes >> np.uint32(18), minlength=_BUCKETS)
    buckets = counts.nonzero()[0]
    return buckets, np.log1p(counts[buckets], dtype=np.float32)


def _word_hashes(text: str) -> list[NDArray[np.uint32]]:
    """Return the hashes of the words and of the pairs of neighbours."""
    import numpy as np

    words = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in _WORD.findall(text)]
    single = np.array(words, dtype=np.uint32) * np.uint32(_STEP)
    return [single, (single[:-1] * np.uint32(_MIX)) ^ single[1:]]


def _character_hashes(text: str) -> list[NDArray[np.uint32]]:
    """Return the hashes of the runs of 2 and 3 characters."""
    import numpy as np

    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    found = []
    for n in _CHARACTER_NGRAMS:
        rolled = np.full(max(len(codes) - n + 1, 0), n, dtype=np.uint32)
        for offset in range(n):
            rolled = (rolled ^ codes[offset : offset + len(rolled)]) * np.uint32(_STEP)
            rolled ^= rolled >> np.uint32(15)
        found.append(rolled * np.uint32(_MIX))
    return found


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    length = np.linalg.norm(vector)
    return vector / length if length else vector
