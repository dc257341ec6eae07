"""The nearest stored vectors of a query: a scan where there are few, an inverted-file index where there are many.

The index is arrays: the vectors sorted by cell, where each cell begins, the centres of the cells, and the vectors on a
few axes. Libraries for this (hnswlib, usearch, faiss) keep theirs in file formats of their own, which could neither be
checked nor be kept as safetensors when a router is saved, and are one more binary package to install.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Rows = NDArray[np.intp]
    Vectors = NDArray[np.float32]

# Up to this many vectors each query is compared with all of them.
FEW = 10_000
# Vectors that the cells are learnt from, per cell; and passes over them.
_SAMPLE, _PASSES = 64, 3
# Leading principal axes on which the vectors of a cell are compared.
_SHORT = 96
# A query is compared with its nearest cells until they hold this many vectors, or so many per neighbour; the best so
# many per neighbour of those are compared in full.
_SCANNED, _SCANNED_EACH, _FULL_EACH = 6144, 64, 8
# Numbers held at once while a batch is compared.
_BLOCK = 2**24
_EPSILON = 2.0**-23


def index(vectors: Vectors, *, seed: int = 0) -> tuple[Rows, Arrays]:
    """Return the order in which to store `vectors`, and the arrays that `nearest` needs beside them.

    About the square root of their number of cells, by k-means over a sample, and each vector shortened to its leading
    principal axes. O(vectors^1.5 · dimensions). For up to 10,000 vectors the order is as given and there is no index.

    Args:
        vectors: Rows of length 1, or zeros.
        seed: Seed of the sample and of k-means.

    >>> import numpy as np
    >>> order, arrays = index(np.eye(3, dtype=np.float32))
    >>> order.tolist(), arrays
    ([0, 1, 2], {})
    """
    import numpy as np

    if len(vectors) <= FEW:
        return np.arange(len(vectors)), {}
    centers = _centers(vectors, seed)
    step = max(_BLOCK // len(centers), 1)
    blocks = (vectors[start : start + step] @ centers.T for start in range(0, len(vectors), step))
    cells = np.concatenate([block.argmax(axis=1) for block in blocks])
    order = np.argsort(cells, kind="stable")
    sizes = np.bincount(cells, minlength=len(centers))
    offsets = np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int32)
    axes = np.ascontiguousarray(np.linalg.eigh(vectors.T @ vectors)[1][:, -_SHORT:])
    return order, {"centers": centers[sizes > 0], "offsets": offsets, "axes": axes, "short": (vectors @ axes)[order]}


def _centers(vectors: Vectors, seed: int) -> Vectors:
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    count = round(len(vectors) ** 0.5)
    rng = np.random.default_rng(seed)
    sample = vectors[np.sort(rng.choice(len(vectors), min(_SAMPLE * count, len(vectors)), replace=False))]
    options = {"init": "random", "n_init": 1, "batch_size": 2048, "max_iter": _PASSES, "random_state": seed}
    centers = MiniBatchKMeans(count, **options).fit(sample).cluster_centers_.astype(np.float32)
    length = np.linalg.norm(centers, axis=1, keepdims=True)
    directions: Vectors = centers / np.where(length > 0, length, 1)
    return directions


def nearest(stored: Vectors, arrays: Arrays, vectors: Vectors, k: int) -> Rows:
    """Return the places of the `k` most similar stored vectors of each query, nearest first, of equals the first.

    The similarities that matter are computed in double precision, pair by pair, so that a query has the same neighbours
    alone and in a batch. Up to 10,000 vectors the neighbours are exact, O(stored · dimensions) per query. Beyond, they
    are looked for among about 6,144 vectors (at least 64 per neighbour) in the nearest cells, on their leading axes;
    the best eight per neighbour are compared in full. O(√stored · dimensions) per query.

    Args:
        stored: The vectors in the order that `index` returned; later ones may follow.
        arrays: What `index` returned beside it.
        vectors: The queries, rows of length 1, or zeros.
        k: How many, at least 1; fewer are found where fewer are stored.

    >>> import numpy as np
    >>> stored = np.eye(3, dtype=np.float32)
    >>> nearest(stored, index(stored)[1], np.array([[0.6, 0.0, 0.8]], dtype=np.float32), k=2).tolist()
    [[2, 0]]
    """
    import numpy as np

    k = min(k, len(stored))
    found = np.empty((len(vectors), k), dtype=np.intp)
    among = _probed if "centers" in arrays else _scanned
    for row, (vector, places) in enumerate(zip(vectors, among(stored, arrays, vectors, k), strict=True)):
        found[row] = places[_ranked(stored[places], vector)[:k]]
    return found


def _scanned(stored: Vectors, _: Arrays, vectors: Vectors, k: int) -> Iterator[Rows]:
    """Yield where the nearest of each query may be, all being compared."""
    step = max(_BLOCK // len(stored), 1)
    for start in range(0, len(vectors), step):
        for similarity in vectors[start : start + step] @ stored.T:
            yield _first(similarity, k)


def _probed(stored: Vectors, arrays: Arrays, vectors: Vectors, k: int) -> Iterator[Rows]:
    """Yield where the nearest of each query may be, in the nearest cells and after all cells."""
    import numpy as np

    offsets, enough = arrays["offsets"], max(_SCANNED, _SCANNED_EACH * k)
    last, sizes = int(offsets[-1]), np.diff(offsets)
    for vector in vectors:
        order = np.argsort(-(arrays["centers"] @ vector), kind="stable")
        cells = order[: np.searchsorted(np.cumsum(sizes[order]), enough) + 1]
        spans = list(zip(offsets[cells].tolist(), offsets[cells + 1].tolist(), strict=True))
        short = vector @ arrays["axes"]
        # What came after the index was made is not shortened, and as near as if it were.
        late = stored[last:] @ (arrays["axes"] @ short)
        similarity = np.concatenate([late, *(arrays["short"][slice(*span)] @ short for span in spans)])
        best = _first(similarity, min(_FULL_EACH * k, len(similarity)))
        places = np.concatenate([np.arange(*span) for span in [(last, len(stored)), *spans]])[best]
        yield places[_first(stored[places] @ vector, k)]


def _first(similarity: Vectors, k: int) -> Rows:
    """Return where the `k` highest may be, given what single precision cannot tell apart."""
    import numpy as np

    if k == len(similarity):
        return np.arange(k)
    least = np.partition(similarity, len(similarity) - k)[len(similarity) - k]
    # The error of a sum of products is far below this for rows of length 1.
    return np.flatnonzero(similarity >= least - 64 * _EPSILON)


def _ranked(rows: Vectors, vector: Vectors) -> Rows:
    """Return the order of the rows, most similar first."""
    import numpy as np

    # Row by row, where a product of matrices would round by how many rows there are.
    exact = np.einsum("nd,d->n", rows.astype(float), vector.astype(float))
    return np.argsort(-exact, kind="stable")
