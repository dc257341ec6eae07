"""Routers in a folder: settings as JSON, what was learnt as safetensors.

Loading runs no code of the folder's: classes come from a closed table of ours, and nothing is unpickled. It reads two
files of the folder and nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from router_integrations._version import __version__
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.encoders import Encoder
from router_integrations.encoders_fusion import ImageEncoder
from router_integrations.errors import ConfigurationError, StorageError
from router_integrations.redact import is_secret, redact
from router_integrations.storage.coding import Reader, Writer
from router_integrations.storage.files import check_free, put, read, starts_with, tampered
from router_integrations.types import Strategy

if TYPE_CHECKING:
    from router_integrations.storage.coding import Array

_FORMAT = "router_integrations.router"
_VERSION = 1
_JSON = "router.json"
_ARRAYS = "arrays.safetensors"
# Bytes; a folder with more is refused unread.
_MAX_JSON = 16 * 2**20
_MAX_ARRAYS = 4 * 2**30
_START = f'{{\n "format": "{_FORMAT}"'.encode()
_FIELDS = {one.name for one in dataclasses.fields(Candidate)} - {"model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRouter:
    """What a folder holds.

    Args:
        candidates: Whom the router may ask.
        strategy: How it decides, with what it learnt.
        settings: Other options of the adapter, by name.

    >>> from router_integrations.strategies import Fixed
    >>> SavedRouter(candidates=(Candidate("openai/gpt-4o-mini"),), strategy=Fixed()).settings
    {}
    """

    candidates: tuple[Candidate, ...]
    strategy: Strategy
    settings: Mapping[str, Any] = field(default_factory=dict)


def save_router(folder: str | os.PathLike[str], router: SavedRouter) -> None:
    """Write `router` to `folder` as one: another process sees the old folder or the new one, never half of either.

    Secrets and own chat models stay out; an own encoder is known by a sample. While an old folder is replaced there is
    none for a moment. One process may save at a time.

    Args:
        folder: Where to; replaced if it is empty or was saved by us.
        router: What to save.

    Raises:
        StorageError: There is something else at `folder`, or the router holds something that is not ours.
        OSError: The disk refuses.

    >>> from tempfile import TemporaryDirectory
    >>> from router_integrations.strategies import Fixed
    >>> with TemporaryDirectory() as folder:
    ...     save_router(folder, SavedRouter(candidates=(Candidate("openai/gpt-4o-mini"),), strategy=Fixed()))
    ...     load_router(folder).candidates[0].name
    'openai/gpt-4o-mini'
    """
    from safetensors.numpy import save as serialize

    target = Path(folder).resolve()
    check_free(target, _holds_ours, parts={_JSON, _ARRAYS})
    writer = Writer()
    body = {
        "package": __version__,
        "candidates": [_plain_candidate(candidate, writer) for candidate in router.candidates],
        "strategy": writer.plain(router.strategy, "strategy"),
        "settings": writer.plain(dict(router.settings), "settings"),
    }
    size = sum(array.nbytes for array in writer.arrays.values())
    if size > _MAX_ARRAYS:
        raise StorageError(
            f"what was learnt takes {size:,} bytes, and a folder holds {_MAX_ARRAYS:,}; learn from fewer records",
            problem="unsupported",
        )
    data = serialize(writer.arrays)
    body["arrays"] = {"file": _ARRAYS, "bytes": len(data), "sha256": _sha256(data), "layout": writer.layout}
    put(target, {_JSON: _document(body), _ARRAYS: data})


def load_router(
    folder: str | os.PathLike[str],
    *,
    models: Mapping[str, Any] | None = None,
    encoder: Encoder | ImageEncoder | None = None,
) -> SavedRouter:
    """Return what was saved in `folder`; it estimates as it did, to the last bit.

    The checksums find damage, not malice: whoever writes the folder says where queries go, for a candidate's
    ``api_base`` is one of its settings. Load folders of people whom you would let choose it.

    Args:
        folder: Where from.
        models: The user's own chat models, by the name of their candidate.
        encoder: The user's own encoder, if the router learnt with one.

    Raises:
        StorageError: The folder is missing, foreign, newer, truncated or tampered with, or an own model or the own
            encoder was not passed.
        ConfigurationError: `models` or `encoder` holds something that the router has no place for.
    """
    body = _read_body(Path(folder))
    match body:
        case {"candidates": list(candidates), "strategy": plain, "settings": settings, "arrays": dict(described)}:
            reader = Reader(*_read_arrays(Path(folder) / _ARRAYS, described), encoder=encoder)
            strategy, options = reader.value(plain), reader.value(settings)
        case _:
            raise tampered("a part of it is missing")
    if not (isinstance(strategy, Strategy) and isinstance(options, dict)):
        raise tampered("its strategy or its settings are something else")
    if encoder is not None and not reader.encoder_used:
        raise ConfigurationError("encoder= is given, but this router did not learn with one of yours; leave it out")
    return SavedRouter(candidates=_candidates(candidates, reader, models or {}), strategy=strategy, settings=options)


def _plain_candidate(candidate: Candidate, writer: Writer) -> dict[str, Any]:
    params = {key: value for key, value in candidate.params.items() if not is_secret(key, value)}
    if redact(params) != params:
        raise StorageError(
            f"params of {candidate.name!r} hold a password in a URL; give it in the environment or as api_key",
            problem="unsupported",
        )
    known = {name: getattr(candidate, name) for name in sorted(_FIELDS - {"params"})}
    fields = {name: value for name, value in known.items() if value is not None} | {"params": params}
    where = f"candidates.{candidate.name}"
    return {
        "own_model": candidate.model is not None,
        "fields": {name: writer.plain(value, f"{where}.{name}") for name, value in fields.items()},
    }


def _candidates(plain: Sequence[Any], reader: Reader, models: Mapping[str, Any]) -> tuple[Candidate, ...]:
    given, own = [], []
    for one in plain:
        match one:
            case {"own_model": bool(is_own), "fields": dict(fields)} if set(fields) <= _FIELDS:
                given.append({name: reader.value(value) for name, value in fields.items()})
                own += [str(given[-1].get("name"))] if is_own else []
            case _:
                raise tampered("a candidate has fields that none has")
    missing = [name for name in own if models.get(name) is None]
    if missing:
        passed = ", ".join(f"{name!r}: ..." for name in own)
        raise StorageError(
            f"the candidates {missing} are chat models of your own, which no folder can hold; pass them: "
            f"load(folder, models={{{passed}}})",
            problem="incomplete",
        )
    if strange := sorted(set(models) - set(own)):
        raise ConfigurationError(f"models= names {strange}, but the candidates with an own model are {own}")
    try:
        return as_candidates([Candidate(**fields, model=models.get(fields.get("name", ""))) for fields in given])
    except (ConfigurationError, TypeError) as error:
        raise tampered(f"a candidate is wrong ({error})") from error


def _document(body: Mapping[str, Any]) -> bytes:
    document = {"format": _FORMAT, "version": _VERSION, "sha256": _seal(body), "router": body}
    data = (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
    if len(data) > _MAX_JSON:
        raise StorageError(
            f"the settings take {len(data):,} bytes, and a folder holds {_MAX_JSON:,}", problem="unsupported"
        )
    return data


def _seal(body: Any) -> str:
    return _sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _holds_ours(target: Path) -> bool:
    return starts_with(target / _JSON, _START)


def _read_body(folder: Path) -> Any:
    if not folder.is_dir():
        raise StorageError(f"there is no folder {str(folder)!r}; save a router to it first", problem="missing")
    data = read(folder / _JSON, _MAX_JSON, absent="foreign")
    try:
        document = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if not data or data.startswith(_START):
            raise StorageError(
                f"{_JSON} was cut short ({error}); save the router again", problem="truncated"
            ) from error
        raise StorageError(f"{_JSON} is not one of ours ({error})", problem="foreign") from error
    match document:
        case {"format": format_, "version": int(version)} if format_ == _FORMAT and version >= 1:
            if version > _VERSION:
                raise StorageError(
                    f"{str(folder)!r} is in format {version}, and this version of router_integrations, {__version__}, "
                    f"reads up to {_VERSION}; upgrade it",
                    problem="newer",
                )
        case _:
            raise StorageError(f"{str(folder)!r} holds no router of ours; give one made by save", problem="foreign")
    if document.get("sha256") != _seal(document.get("router")):
        raise tampered(f"{_JSON} does not match its checksum")
    return document["router"]


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _read_arrays(path: Path, described: Mapping[str, Any]) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    match described:
        case {"file": str(name), "bytes": int(size), "sha256": str(checksum), "layout": dict(layout)} if (
            name == _ARRAYS
        ):
            data = read(path, _MAX_ARRAYS, absent="truncated")
        case _:
            raise tampered(f"it names another file than {_ARRAYS}, or not its size")
    if len(data) < size:
        raise StorageError(
            f"{_ARRAYS} was cut short: {len(data):,} of {size:,} bytes; save the router again", problem="truncated"
        )
    if _sha256(data) != checksum:
        raise tampered(f"{_ARRAYS} does not match its checksum")
    try:
        return load(data), layout
    except (SafetensorError, LookupError, ValueError) as error:
        raise tampered(f"{_ARRAYS} is malformed ({error})") from error
