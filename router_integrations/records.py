"""The one place that loads records: from files, data frames, data sets and logs, row by row."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from router_integrations.errors import ConfigurationError, RouterError
from router_integrations.learning import Record
from router_integrations.records_formats import FORMATS, Format, convert, recognise
from router_integrations.records_sources import Found, langfuse_rows, rows_of, set_rows, text_file
from router_integrations.records_values import Fault

_log = logging.getLogger(__name__)

# Quotation marks, and what ends a sentence: other signs, and an exclamation mark after a number, may be mathematics.
_PUNCTUATION = re.compile(r"""["`“”„\u2018\u2019«»。、]|[.,;:?…]+(?!\S)|!(?<![\d)!]!)!*(?!\S)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row, or a part of one, that is no record.

    Args:
        file: The file, or the type of what was read in its place.
        line: Where the row begins, from 1: the line of a text file, the number of the row elsewhere.
        field: The source's own name for what is wrong; ``"row"`` is all of it.
        reason: What is wrong with it.

    >>> str(BadRow(file="log.jsonl", line=7, field="quality", reason="is missing"))
    'log.jsonl:7: quality is missing'
    """

    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field} {self.reason}"


class RecordsError(RouterError, ValueError):
    """A row is no record, and the reading was strict; `row` is the `BadRow`."""

    def __init__(self, row: BadRow) -> None:
        super().__init__(f"{row}; mend the row, or read with strict=False to go on without it")
        self.row = row


class Reading(Iterator[Record]):
    """Records as they are read; counts what was found on the way. Made by `read` and `read_set`.

    Attributes:
        rows: Rows seen so far.
        records: Records given so far.
        bad: Bad rows, or parts of rows, so far.

    >>> reading = read([{"text": "2+2?", "candidate": "small", "quality": 1.0}, {"text": "3+3?"}])
    >>> [record.text for record in reading], reading.rows, reading.bad
    (['2+2?'], 2, 1)
    """

    def __init__(
        self,
        found: Iterable[Found],
        *,
        form: Format | None = None,
        grade: str | None = None,
        strict: bool = False,
        on_bad: Callable[[BadRow], None] | None = None,
    ) -> None:
        self.rows = self.records = self.bad = 0
        self._form = form
        self._grade = grade
        self._strict = strict
        self._on_bad = on_bad
        self._records = self._read(found)

    def __next__(self) -> Record:
        return next(self._records)

    def _read(self, found: Iterable[Found]) -> Iterator[Record]:
        for file, line, row in found:
            self.rows += 1
            for record in self._converted(row):
                if isinstance(record, Fault):
                    self._report(BadRow(file=file, line=line, field=record.field, reason=record.reason))
                else:
                    self.records += 1
                    yield record
        if self.bad:
            _log.warning("rows: %d, records: %d, bad: %d", self.rows, self.records, self.bad)

    def _converted(self, row: Mapping[str, Any] | Fault) -> Iterable[Record | Fault]:
        if isinstance(row, Fault):
            return [row]
        self._form = self._form or recognise(row)
        return convert(row, self._form, self._grade)

    def _report(self, row: BadRow) -> None:
        self.bad += 1
        if self._strict:
            raise RecordsError(row)
        if self._on_bad is not None:
            self._on_bad(row)
        elif self.bad == 1:
            _log.warning("%s; further bad rows are only counted, on_bad= gets them all", row)


def read(
    source: Any,
    *,
    format: Format | None = None,
    grade: str | None = None,
    strict: bool = False,
    on_bad: Callable[[BadRow], None] | None = None,
) -> Reading:
    """Return the records of a source, read as they are taken: memory does not grow with the rows.

    Args:
        source: Path of a ``.jsonl``, ``.json``, ``.csv`` (each also ``.gz``) or ``.parquet`` file, or of a folder of
            them; a pandas data frame; or any iterable of dicts, such as one split of a Hugging Face data set, or of
            LangSmith runs. A ``.json`` file is read whole. A Langfuse export is its folder with ``scores`` in it.
        format: How to understand the rows; `None` goes by the columns of the first. ``"plain"`` has the arguments of
            `Record` as columns, others are ignored; for the rest see `records_formats`.
        grade: Name of the feedback or score that is the grade, where a log has several; in LiteLLM's spend logs, a key
            of ``spend_logs_metadata`` or a column of yours, ``"quality"`` by default.
        strict: Whether the first bad row stops the reading.
        on_bad: Called with each bad row; by default the first is logged and all are counted.

    Raises:
        ConfigurationError: The source cannot be read at all, or the format is unknown.
        RecordsError: While reading: a row is bad, and `strict` is set.

    >>> bad = []
    >>> [record] = read([{"model_a": "x", "model_b": "y", "winner": "tie", "prompt": "Hi"}], on_bad=bad.append)
    >>> record.candidate, record.over, record.quality, bad
    ('x', 'y', 0.5, [])
    """
    if format is not None and format not in FORMATS:
        raise ConfigurationError(f"format must be one of {', '.join(FORMATS)} but got {format!r}")
    is_folder = isinstance(source, str | os.PathLike) and (Path(source) / "scores").is_dir()
    found = langfuse_rows(Path(source)) if is_folder and format in (None, "langfuse") else rows_of(source)
    return Reading(found, form=format, grade=grade, strict=strict, on_bad=on_bad)


def read_set(
    folder: str | os.PathLike[str], *, strict: bool = False, on_bad: Callable[[BadRow], None] | None = None
) -> Reading:
    """Return the records of a folder with ``queries.parquet`` and ``outcomes.parquet``, joined by query_id.

    Queries (query_id, prompt, dataset, split) are held in memory, outcomes (query_id, model, quality, cost_usd,
    latency_ms, tokens_in, tokens_out) are read as they are taken.

    Args:
        folder: Where the two files are.
        strict: Whether the first bad row stops the reading.
        on_bad: Called with each bad row.

    Raises:
        ConfigurationError: A file is absent, or pyarrow is.
        RecordsError: While reading: a row is bad, and `strict` is set.
    """
    return Reading(set_rows(Path(folder)), form="plain", strict=strict, on_bad=on_bad)


def write(records: Iterable[Record], path: str | os.PathLike[str]) -> int:
    r"""Write records as JSON lines, compressed if the path ends in ``.gz``; return how many.

    The file appears whole or not at all.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "records.jsonl"
    >>> write([Record(text="2+2?", candidate="small", quality=1.0)], path), path.read_text()
    (1, '{"text": "2+2?", "candidate": "small", "quality": 1.0}\n')
    """
    path = Path(path)
    # The suffix stays last, for it decides on compression.
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    count = 0
    try:
        with text_file(part, "wt") as file:
            for record in records:
                file.write(json.dumps(columns(record)) + "\n")
                count += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def columns(record: Record) -> dict[str, Any]:
    """Return what is known of a record by column, as `write` puts it down.

    >>> columns(Record(text="2+2?", candidate="small", quality=1.0))
    {'text': '2+2?', 'candidate': 'small', 'quality': 1.0}
    """
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    if values["query_id"] == values["text"]:
        del values["query_id"]
    return {name: value for name, value in values.items() if value is not None and value != ()}


def split(records: Iterable[Record], *, test: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Return the records to train on and those to test on, all of a query on one side.

    A query's side depends on its id and the seed alone, so it stays when records are added; the share is approximate.
    To split a side once more take another seed: with the same one its queries would fall together again.

    Args:
        records: What to split.
        test: Share of the queries to test on, between 0 and 1.
        seed: Chooses among the splits.

    Raises:
        ConfigurationError: The share is not between 0 and 1, or a side is empty.

    >>> records = [Record(text=f"query {n}", candidate="small", quality=1.0) for n in range(1000)]
    >>> [len(side) for side in split(records, test=0.2, seed=1)]
    [801, 199]
    """
    if not 0 < test < 1:
        raise ConfigurationError(f"test must be between 0 and 1 but got {test!r}")
    sides: tuple[list[Record], list[Record]] = ([], [])
    for record in records:
        name = f"{seed}\0{record.query_id}".encode("utf-8", "surrogatepass")
        place = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) / 2**64
        sides[place < test].append(record)
    if not all(sides):
        raise ConfigurationError(
            f"seed={seed!r} with test={test!r} leaves nothing to {'test on' if sides[0] else 'train on'}; take another "
            "seed if these records are a side of a split with this one, or give more queries"
        )
    return sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A prompt on both sides of a split.

    Args:
        text: The prompt as `train` has it.
        train: Ids of its queries there.
        test: Ids of its queries in the test records.
    """

    text: str
    train: tuple[str, ...]
    test: tuple[str, ...]


def leaks(train: Iterable[Record], test: Iterable[Record]) -> list[Leak]:
    """Return the prompts that are on both sides but for case, spaces, punctuation and the forms of Unicode.

    Prompts are held as digests, so a million records need no more than their ids.

    >>> train = [Record(text="What is 2+2?", candidate="small", quality=1.0, query_id="a")]
    >>> test = [Record(text="what is  2+2", candidate="small", quality=1.0, query_id="b")]
    >>> leaks(train, test)
    [Leak(text='What is 2+2?', train=('a',), test=('b',))]
    """
    asked: dict[bytes, dict[str, None]] = {}
    for record in test:
        asked.setdefault(_prompt(record), {})[record.query_id] = None
    found: dict[bytes, tuple[str, dict[str, None]]] = {}
    for record in train:
        if (prompt := _prompt(record)) in asked:
            found.setdefault(prompt, (record.text, {}))[1][record.query_id] = None
    return [Leak(text=text, train=tuple(ids), test=tuple(asked[prompt])) for prompt, (text, ids) in found.items()]


def deduplicate(train: Iterable[Record], test: Iterable[Record]) -> list[Record]:
    """Return the records of `train` without those whose prompt is in `test`, as `leaks` compares them.

    >>> train = [Record(text=text, candidate="small", quality=1.0) for text in ("What is 2+2?", "What is 2-2?")]
    >>> test = [Record(text="what is  2+2", candidate="small", quality=1.0)]
    >>> [record.text for record in deduplicate(train, test)]
    ['What is 2-2?']
    """
    asked = {_prompt(record) for record in test}
    return [record for record in train if _prompt(record) not in asked]


def _prompt(record: Record) -> bytes:
    """Return a digest of the query, the same for near-duplicates; other images make another query."""
    text = _PUNCTUATION.sub("", unicodedata.normalize("NFKC", record.text).casefold())
    digest = hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=16)
    for image in record.images:
        digest.update(b"\0" + image.encode("utf-8", "surrogatepass"))
    return digest.digest()
