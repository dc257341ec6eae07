"""Token counts without a network: exact ones by tiktoken from encodings that LiteLLM bundles, and quick estimates."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from router_integrations.errors import RequestError
from router_integrations.model_map import litellm_folder

if TYPE_CHECKING:
    from tiktoken import Encoding

_DEFAULT_ENCODING = "o200k_base"
_BUNDLED = frozenset({"cl100k_base", "o200k_base"})
_CACHE_VARIABLE = "TIKTOKEN_CACHE_DIR"
# Characters counted at once.
_PIECE = 50_000
_lock = threading.Lock()


def byte_length(text: str) -> int:
    """Return the UTF-8 length of `text`, which no byte-level tokenizer's count can exceed.

    Raises:
        RequestError: The text holds a lone surrogate, which no provider can receive.

    >>> byte_length("naïve")
    6
    """
    if text.isascii():
        return len(text)
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        bad = text[error.start]
        raise RequestError(
            f"the text holds the lone surrogate {bad!r} at position {error.start}; "
            "decode it with errors='replace' before sending it"
        ) from error


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` has, in any script, in a microsecond.

    Four UTF-8 bytes make about one token in English, Chinese, Russian and Arabic alike.

    >>> estimate_tokens("The quick brown fox jumps over the lazy dog.")
    11
    """
    return -(-byte_length(text) // 4)


def encoding_name(model: str) -> tuple[str, bool]:
    """Return the encoding to count with for a model id, and whether it is the model's own.

    >>> encoding_name("openai/gpt-4o-mini"), encoding_name("anthropic/claude-sonnet-4-5")
    (('o200k_base', True), ('o200k_base', False))
    """
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model(model.rpartition("/")[2])
    except KeyError:
        return _DEFAULT_ENCODING, False
    return (name, True) if name in _BUNDLED else (_DEFAULT_ENCODING, False)


@lru_cache(maxsize=4)
def _encoding(name: str) -> Encoding:
    """Load an encoding from LiteLLM's package folder, unless the user has a cache of their own."""
    import tiktoken

    folder = litellm_folder()
    with _lock:
        if _CACHE_VARIABLE in os.environ or folder is None:
            return tiktoken.get_encoding(name)
        # tiktoken looks nowhere else; the variable is put back at once.
        os.environ[_CACHE_VARIABLE] = str(folder / "litellm_core_utils" / "tokenizers")
        try:
            return tiktoken.get_encoding(name)
        finally:
            del os.environ[_CACHE_VARIABLE]


def token_ids(text: str, model: str) -> list[int]:
    """Return the tokens of `text` as `model` reads them; o200k_base stands in for an unknown tokenizer.

    >>> len(token_ids("hello world", "openai/gpt-4o"))
    2
    """
    byte_length(text)
    return _encoding(encoding_name(model)[0]).encode_ordinary(text)


def count_tokens(text: str, model: str) -> int:
    """Return the number of tokens of `text` as `model` reads them, a piece at a time: no thread is held up for long.

    >>> count_tokens("hello world", "openai/gpt-4o")
    2
    """
    total, start = 0, 0
    while len(text) - start > _PIECE:
        # A word keeps the space before it, so a cut there changes no token.
        end = text.rfind(" ", start + 1, start + _PIECE)
        end = end if end > start else start + _PIECE
        total += len(token_ids(text[start:end], model))
        start = end
    return total + len(token_ids(text[start:], model))
