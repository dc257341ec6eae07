"""Images for tests, and an encoder that looks at their bytes."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np


def image(shade: int, size: int = 64) -> str:
    """A data URI of `size` bytes around `shade`, in [0, 255]."""
    data = bytes((shade + step % 5) % 256 for step in range(size))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


class ImageBytes:
    """How often each of 16 kinds of bytes is in an image; keeps what it was asked."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.asked: list[list[str]] = []

    def encode_images(self, images: Sequence[str]) -> Any:
        self.asked.append(list(images))
        return np.stack([self._counts(one) for one in images])

    def _counts(self, one: str) -> Any:
        data = base64.b64decode(one.partition(",")[2])
        counts = np.bincount([byte // 16 for byte in data], minlength=16).astype(np.float32)
        return self.scale * counts / len(data)
