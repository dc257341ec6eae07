"""LlamaIndex's content blocks as the content of OpenAI's messages. Nothing is downloaded: a URL goes on as a URL."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import IOBase
from pathlib import Path
from typing import Any

import filetype
from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from router_integrations.adapters.outgoing import file_part
from router_integrations.errors import RequestError

_TEXT = frozenset({TextBlock})
# Blocks that are no content: they go beside it, or mark it.
_BESIDE = (CachePoint, ThinkingBlock, ToolCallBlock)
_DATA = ("image", "audio", "video", "data")
_MIMES = ("image_mimetype", "video_mimetype", "document_mimetype")
_DEFAULTS = {"ttl": "5m"}


def is_plain(message: ChatMessage) -> bool:
    """Return whether a message is text and nothing else, as most are.

    >>> is_plain(ChatMessage("Hi")), is_plain(ChatMessage("Hi", additional_kwargs={"name": "Al"}))
    (True, False)
    """
    return not message.additional_kwargs and _TEXT.issuperset(map(type, message.blocks))


def reads_files(messages: Sequence[ChatMessage]) -> bool:
    """Return whether converting `messages` reads a file, which may take a while."""
    return any(_is_file(block) for message in messages for block in message.blocks)


def _is_file(block: Any) -> bool:
    if isinstance(block, CitableBlock):
        return any(map(_is_file, block.content))
    return getattr(block, "path", None) is not None or any(isinstance(getattr(block, n, None), IOBase) for n in _DATA)


def content_of(blocks: Sequence[Any]) -> str | list[dict[str, Any]]:
    """Return what the blocks say: a string for plain text, else OpenAI's parts, with the cache marks on them.

    >>> content_of([TextBlock(text="one"), ImageBlock(url="https://example.org/a.png")])[1]
    {'type': 'image_url', 'image_url': {'url': 'https://example.org/a.png'}}
    """
    parts: list[dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, CachePoint) and parts:
            parts[-1]["cache_control"] = cache_control(block)
        elif not isinstance(block, _BESIDE):
            parts += _parts(block)
    if all(part["type"] == "text" and "cache_control" not in part for part in parts):
        return "\n".join(part["text"] for part in parts)
    return [part for part in parts if part.get("text") != ""]


def cache_control(point: CachePoint) -> dict[str, Any]:
    """Return a cache point as the mark that providers know; a lifetime that is theirs anyway is left out."""
    mark = point.cache_control.model_dump(include={"type", "ttl"})
    return {name: value for name, value in mark.items() if _DEFAULTS.get(name) != value}


def cited(block: CitableBlock) -> list[Any]:
    """Return what a block for citations holds as plain blocks, for whoever cites nothing.

    >>> [one.text for one in cited(CitableBlock(title="Primes", source="euclid.txt", content="There is no last one."))]
    ['Primes (euclid.txt):', 'There is no last one.']
    """
    return [TextBlock(text=f"{block.title} ({block.source}):"), *block.content]


def _parts(block: Any) -> Iterator[dict[str, Any]]:
    if isinstance(block, CitableBlock):
        for inner in cited(block):
            yield from _parts(inner)
    elif isinstance(block, CitationBlock):
        yield from _parts(block.cited_content)
    elif (make := next((make for kind, make in _MAKERS.items() if isinstance(block, kind)), None)) is not None:
        yield make(block)
    else:
        raise RequestError(f"no provider takes a content block of the kind {type(block).__name__!r}; leave it out")


def _text(block: TextBlock) -> dict[str, Any]:
    return {"type": "text", "text": block.text}


def _image(block: ImageBlock) -> dict[str, Any]:
    detail = {"detail": block.detail} if block.detail else {}
    return {"type": "image_url", "image_url": {"url": _url(block), **detail}}


def _video(block: VideoBlock) -> dict[str, Any]:
    return file_part(_url(block), _mime(block))


def _audio(block: AudioBlock) -> dict[str, Any]:
    url = _url(block)
    if not url.startswith("data:"):
        return file_part(url, _mime(block))
    format_ = block.format or (_mime(block) or "").rpartition("/")[2]
    return {"type": "input_audio", "input_audio": {"data": url.partition(",")[2], "format": format_ or "wav"}}


def _document(block: DocumentBlock) -> dict[str, Any]:
    url, mime = _url(block), _mime(block)
    if mime and mime.startswith("text/") and url.startswith("data:"):
        # Plain text that every model reads, whether it takes files or not.
        return {"type": "text", "text": base64.b64decode(url.partition(",")[2]).decode(errors="replace")}
    return file_part(url, mime, block.title)


def _url(block: Any) -> str:
    """Return where a medium is, or the medium itself as a data URI.

    Raises:
        RequestError: It is nowhere, or its file cannot be read.
    """
    data = _data(block)
    if data is None:
        if block.url is None:
            raise RequestError(f"an empty {type(block).__name__} says nothing; give its data, path or url")
        return str(block.url)
    return f"data:{_mime(block) or 'application/octet-stream'};base64,{data}"


def _data(block: Any) -> str | None:
    """Return what a block holds or its file does, in base64; `None` when it is elsewhere."""
    held = next((held for name in _DATA if (held := getattr(block, name, None)) is not None), None)
    if isinstance(held, bytes):
        # LlamaIndex has encoded it when the block was made.
        return held.decode("ascii")
    if isinstance(held, IOBase):
        held.seek(0)
        read: bytes = held.read()
        return base64.b64encode(read).decode("ascii")
    if block.path is None:
        return None
    try:
        return base64.b64encode(Path(block.path).read_bytes()).decode("ascii")
    except OSError as error:
        raise RequestError(f"{type(block).__name__}.path {str(block.path)!r} cannot be read: {error}") from error


def named_type(block: Any) -> str | None:
    """Return the media type that a block names, or its address does; no file is read.

    >>> named_type(ImageBlock(url="https://example.org/a.png")), named_type(DocumentBlock(path="notes.md"))
    ('image/png', 'text/markdown')
    """
    named = next((named for name in _MIMES if (named := getattr(block, name, None))), None)
    format_ = getattr(block, "format", None)
    if named or format_:
        return named or mimetypes.guess_type(f"a.{format_}")[0] or f"audio/{format_}"
    addresses = (block.path, block.url, getattr(block, "title", None))
    guesses = (mimetypes.guess_type(str(address))[0] for address in addresses if address is not None)
    return next((guessed for guessed in guesses if guessed), None)


def _mime(block: Any) -> str | None:
    """Return the media type of a block, which its first bytes show when nothing names it."""
    if (named := named_type(block)) is not None:
        return named
    data = _data(block)
    kind = filetype.guess(base64.b64decode(data[:1024])) if data else None
    return str(kind.mime) if kind else None


_MAKERS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    TextBlock: _text,
    ImageBlock: _image,
    AudioBlock: _audio,
    VideoBlock: _video,
    DocumentBlock: _document,
}
