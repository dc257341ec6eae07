"""Reading a folder that may come from anybody, and writing one as a whole."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from router_integrations.errors import Problem, StorageError

# A link leads out of the folder, and a pipe never ends.
_AS_IT_IS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def tampered(what: str) -> StorageError:
    """Return the error for a folder that was changed; `what` says in words how it shows.

    >>> tampered("a number is missing").problem
    'tampered'
    """
    return StorageError(
        f"the folder was changed after it was saved, for {what}; save the router again", problem="tampered"
    )


def read(path: Path, limit: int, *, absent: Problem) -> bytes:
    """Return what the file at `path` holds.

    Args:
        path: A plain file; a link or a pipe is refused.
        limit: Bytes; a larger file is refused unread.
        absent: What it means that there is no such file.

    Raises:
        StorageError: The file is absent, too large or not plain.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _AS_IT_IS)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise tampered(f"{path.name} is no plain file")
            if status.st_size > limit:
                raise tampered(f"{path.name} has {status.st_size:,} bytes, and {limit:,} is the most")
            return file.read(limit)
    except FileNotFoundError as error:
        raise StorageError(
            f"there is no {path.name} in {str(path.parent)!r}; give a folder made by save", problem=absent
        ) from error
    except PermissionError:
        raise
    except OSError as error:
        raise tampered(f"{path.name} is no plain file ({error.strerror})") from error


def starts_with(path: Path, start: bytes) -> bool:
    """Return whether there is a file at `path` that begins with `start`."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(start)) == start


def check_free(target: Path, is_ours: Callable[[Path], bool], *, parts: Collection[str]) -> None:
    """Check that saving to `target` deletes nothing of anybody else.

    Args:
        target: A folder, or nothing yet.
        is_ours: Whether a folder was made by save.
        parts: Names of the files that such a folder has.

    Raises:
        StorageError: There is something else.
    """
    if not target.exists():
        return
    inside = {one.name for one in target.iterdir()} if target.is_dir() else {target.name}
    if inside and not (inside <= set(parts) and is_ours(target)):
        raise StorageError(
            f"{str(target)!r} is something else than a saved router, and saving would delete it; give another folder",
            problem="occupied",
        )


def put(target: Path, files: Mapping[str, bytes]) -> None:
    """Make `target` a folder of exactly `files`; if that fails, what was there is there still.

    Args:
        target: The folder; what is in it is replaced.
        files: What each file holds, by name.

    Raises:
        OSError: The disk refuses.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    temporary.mkdir()
    try:
        for name, data in files.items():
            _write(temporary / name, data)
        _rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    old = temporary.with_name(f"{temporary.name}.old")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
