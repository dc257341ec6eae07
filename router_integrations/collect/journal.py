"""What a collection has done so far, on disk: append-only JSON lines, so that a kill costs only what was under way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from router_integrations.errors import ConfigurationError

Key = tuple[str, str, int]


class Journal:
    """The records of a collection, and its failures in a file beside them whose name ends in ``.failed``.

    A line that a kill cut in half is taken off when the journal is opened again. One process at a time may have it
    open.

    Args:
        path: The file with the records, a ``.jsonl``; made if it does not exist.

    Attributes:
        finished: Query, candidate and sample of each record.
        answers: Answers that are paid for but not graded yet.
        spent: USD so far, as far as prices are known.

    Raises:
        ConfigurationError: The path has another ending, or the file holds something else.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "records.jsonl"
    >>> with Journal(path) as journal:
    ...     journal.finish({"text": "2+2?", "candidate": "small", "quality": 1.0, "spent": 0.5})
    >>> Journal(path).finished, Journal(path).spent
    ({('2+2?', 'small', 0)}, 0.5)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.suffix != ".jsonl":
            raise ConfigurationError(f"out must end in .jsonl but got {str(path)!r}")
        self._failed = self.path.with_name(self.path.name + ".failed")
        self.finished: set[Key] = set()
        self.answers: dict[Key, Mapping[str, Any]] = {}
        self.spent = 0.0
        self._files: list[BinaryIO] = []
        for line in _lines(self._failed):
            self._note_failure(line)
        for line in _lines(self.path):
            self._note(line)

    def __enter__(self) -> Self:
        """Opens the files, whole lines only."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.path, self._failed):
            _mend(path)
            self._files.append(path.open("ab", buffering=0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes them."""
        while self._files:
            self._files.pop().close()

    def finish(self, line: Mapping[str, Any]) -> None:
        """Write a record, with its sample and what was spent on it."""
        self._write(0, line)
        self._note(line)

    def fail(self, line: Mapping[str, Any]) -> None:
        """Write a failure; one with an ``answer`` needs only to be graded again."""
        self._write(1, line)
        self._note_failure(line)

    def _write(self, file: int, line: Mapping[str, Any]) -> None:
        self._files[file].write(json.dumps(line).encode() + b"\n")

    def _note(self, line: Mapping[str, Any]) -> None:
        self.spent += line.get("spent") or 0.0
        self.finished.add(_key(line))
        self.answers.pop(_key(line), None)

    def _note_failure(self, line: Mapping[str, Any]) -> None:
        self.spent += line.get("spent") or 0.0
        if "answer" in line:
            self.answers[_key(line)] = line


def _key(line: Mapping[str, Any]) -> Key:
    return line.get("query_id") or line["text"], line["candidate"], line.get("sample", 0)


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                found = json.loads(line)
                _key(found)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise ConfigurationError(
                    f"{path}:{number} is no line of a collection ({error!r}); choose another file for out"
                ) from None
            yield found


def _mend(path: Path) -> None:
    """Take off a last line without an end."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        whole = 0
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
        file.truncate(whole)
