"""Where rows come from: each source gives (file, line, row), with a fault in place of a row that cannot be read."""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, Any

from router_integrations.errors import ConfigurationError
from router_integrations.records_values import Fault, scaled, shown

Found = tuple[str, int, "Mapping[str, Any] | Fault"]

_BATCH = 1000
_LONGEST_FIELD = 1 << 24
_SET = ("query_id", "model", "quality", "cost_usd", "latency_ms", "tokens_in", "tokens_out")
_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


def rows_of(source: Any) -> Iterator[Found]:
    """Return the rows of a path, a data frame or an iterable of mappings; what cannot be read at all raises at once.

    Raises:
        ConfigurationError: The source cannot be read at all.

    >>> list(rows_of([{"text": "2+2?"}]))
    [('list', 1, {'text': '2+2?'})]
    """
    if isinstance(source, str | os.PathLike):
        return chain.from_iterable([_file_rows(file) for file in _files(Path(source))])
    name = type(source).__name__
    if hasattr(source, "iloc"):
        return _numbered(name, _frame_rows(source))
    if isinstance(source, Mapping):
        raise ConfigurationError(f"a {name} of {shown(list(source))} is no table; read one of its values")
    if not isinstance(source, Iterable):
        raise ConfigurationError(f"source must be a path, a data frame or an iterable of dicts but is a {name}")
    return _numbered(name, source)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise ConfigurationError(f"there is no file or folder {str(path)!r}")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("[!.]*") if _kind(file) in _KINDS)
    if not files:
        raise ConfigurationError(f"the folder {str(path)!r} holds no {', '.join(_KINDS)} file")
    for file in files:
        _check_kind(file)
    return files


def _kind(file: Path) -> str:
    return (file.with_suffix("") if file.suffix == ".gz" else file).suffix


def _check_kind(file: Path) -> None:
    kind = _kind(file)
    if kind in (".pkl", ".pickle"):
        raise ConfigurationError(
            f"{str(file)!r} is a pickle, which runs code when opened; where you trust it, open it with pandas and pass "
            "the data frame"
        )
    if kind not in _KINDS:
        raise ConfigurationError(f"{str(file)!r} must end in one of {', '.join(_KINDS)}")
    if kind == ".parquet":
        _parquet()


def _file_rows(file: Path) -> Iterator[Found]:
    """A file that breaks off gives a fault, and the next file is read."""
    readers = {".json": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    line = 0
    try:
        for line, row in readers.get(_kind(file), _jsonl_rows)(file):
            yield str(file), line, row
    except (OSError, EOFError, zlib.error, ValueError) as error:
        yield str(file), line + 1, Fault("row", f"cannot be read, nor what follows: {error}")


def text_file(file: Path, mode: str = "rt") -> IO[str]:
    """Open a text file, compressed if its name ends in ``.gz``; bytes that are not UTF-8 are told of in the row."""
    opener: Any = gzip.open if file.suffix == ".gz" else open
    reading = mode == "rt"
    encoding, errors = ("utf-8-sig", "surrogateescape") if reading else ("utf-8", "strict")
    opened: IO[str] = opener(file, mode, encoding=encoding, errors=errors, newline="" if reading else None)
    return opened


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any] | Fault]]:
    with text_file(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _json_row(line)


def _json_row(line: str) -> Mapping[str, Any] | Fault:
    try:
        return _mapped(json.loads(line))
    except (ValueError, RecursionError) as error:
        return Fault("row", f"is not JSON: {error}")


def _json_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any] | Fault]]:
    with text_file(file) as text:
        try:
            whole = json.load(text)
        except RecursionError as error:
            raise ValueError(str(error)) from None
    yield from enumerate(map(_mapped, whole if isinstance(whole, list) else [whole]), 1)


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any] | Fault]]:
    # Prompts are longer than the 128 kB that a process allows by default.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    with text_file(file) as text:
        rows = csv.reader(text)
        names = next(rows, [])
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, Fault("row", f"is not CSV: {error}")
                continue
            if len(cells) == len(names):
                yield line, dict(zip(names, cells, strict=True))
            elif cells:
                yield line, Fault("row", f"has {len(cells)} cells where the header has {len(names)}")


def _parquet() -> Any:
    try:
        return import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigurationError("reading parquet needs pyarrow: pip install pyarrow") from error


def _parquet_rows(file: Path, columns: list[str] | None = None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with _parquet().ParquetFile(file) as table:
        batches = table.iter_batches(batch_size=_BATCH, columns=columns)
        yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1)


def _frame_rows(frame: Any) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(frame), _BATCH):
        yield from frame.iloc[start : start + _BATCH].astype(object).to_dict("records")


def _numbered(name: str, rows: Iterable[Any]) -> Iterator[Found]:
    return ((name, number, _mapped(row)) for number, row in enumerate(rows, 1))


def _mapped(row: Any) -> Mapping[str, Any] | Fault:
    row = row.model_dump() if hasattr(row, "model_dump") else row
    return row if isinstance(row, Mapping) else Fault("row", f"must be an object but is {shown(row)}")


def set_rows(folder: Path) -> Iterator[Found]:
    """Return the rows of outcomes.parquet, each with what queries.parquet says of its query.

    Raises:
        ConfigurationError: A file is absent, or pyarrow is.
    """
    queries, outcomes = folder / "queries.parquet", folder / "outcomes.parquet"
    for file in (queries, outcomes):
        _files(file)
    return _joined(queries, outcomes)


def _joined(queries: Path, outcomes: Path) -> Iterator[Found]:
    known: dict[Any, Mapping[str, Any]] = {}
    ambiguous = set()
    for _, query in _parquet_rows(queries, ["query_id", "prompt", "dataset", "split"]):
        if known.setdefault(query["query_id"], query)["prompt"] != query["prompt"]:
            ambiguous.add(query["query_id"])
    held = set(_parquet().read_schema(outcomes).names)
    for number, row in _parquet_rows(outcomes, [name for name in _SET if name in held]):
        name = row.get("query_id")
        if name in ambiguous or name not in known:
            reason = "stands for several prompts" if name in ambiguous else "is not"
            yield str(outcomes), number, Fault("query_id", f"{name!r} {reason} in {queries.name}")
        else:
            yield str(outcomes), number, _joined_row(known[name], row)


def _joined_row(query: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "text": query["prompt"],
        "domain": query.get("dataset"),
        "split": query.get("split"),
        "query_id": query["query_id"],
        "candidate": row.get("model"),
        "quality": row.get("quality"),
        "cost": row.get("cost_usd"),
        "latency": scaled(row.get("latency_ms"), 0.001),
        "input_tokens": row.get("tokens_in"),
        "output_tokens": row.get("tokens_out"),
    }


def langfuse_rows(folder: Path) -> Iterator[Found]:
    """Return the observations of a Langfuse export with their scores; an observation without takes its trace's."""
    observed = next((part for part in ("observations_v2", "observations") if (folder / part).is_dir()), None)
    if observed is None:
        raise ConfigurationError(f"{str(folder)!r} has scores but no folder observations_v2 or observations")
    return _scored(rows_of(folder / "scores"), rows_of(folder / observed))


def _scored(scores: Iterator[Found], observations: Iterator[Found]) -> Iterator[Found]:
    known: dict[Any, dict[str, Any]] = {}
    for file, line, row in scores:
        if isinstance(row, Fault):
            yield file, line, row
        elif row.get("data_type") in ("NUMERIC", "BOOLEAN"):
            graded = row.get("observation_id") or row.get("trace_id")
            known.setdefault(graded, {})[row.get("name", "")] = row.get("value")
    for file, line, row in observations:
        if not isinstance(row, Fault):
            row = {**row, "scores": known.get(row.get("id")) or known.get(row.get("trace_id") or "", {})}
        yield file, line, row
