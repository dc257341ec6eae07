"""How much memory a million records take, streamed and held.

Run: python tests/benchmarks/records_memory.py [ROWS] [--write]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from router_integrations.learning import Record, Table
from router_integrations.records import leaks, read

RESULT = Path(__file__).parent / "results" / "records_memory.md"
_CANDIDATES = [f"model-{number}" for number in range(10)]
_PARQUET_ROWS = 10_000


def row(number: int) -> dict[str, object]:
    """Ten candidates to a query; a query has about 600 characters."""
    query, place = divmod(number, len(_CANDIDATES))
    text = f"query {query}: " + "what is the shortest way from one town to the next? " * 11
    return {
        "text": text, "query_id": str(query), "candidate": _CANDIDATES[place], "quality": float(number % 3 == 0),
        "cost": 0.001, "latency": 0.5, "input_tokens": 150, "output_tokens": 200 + place, "domain": "travel",
    }  # fmt: skip


def save_jsonl(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row(number)) + "\n" for number in range(rows))


def save_parquet(path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = iter(range(rows))
    first = pa.Table.from_pylist([row(0)])
    with pq.ParquetWriter(path, first.schema) as writer:
        while part := list(islice(numbers, _PARQUET_ROWS)):
            writer.write_table(pa.Table.from_pylist([row(number) for number in part]))


def held(path: Path) -> Iterable[Record]:
    return list(read(path, strict=True))


WORK: dict[str, Callable[[Path], object]] = {
    "stream": lambda path: sum(1 for _ in read(path, strict=True)),
    "leak check of the file against itself": lambda path: len(leaks(read(path), read(path))),
    "hold as a list": held,
    "hold as a list and a Table": lambda path: Table.of(held(path)),
}


def measure(work: str, path: Path) -> None:
    """Print seconds and the process's peak of resident memory in MB."""
    started = time.perf_counter()
    kept = WORK[work](path)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "kept": kept is not None}))


def table(rows: int) -> str:
    lines = ["| what | file | seconds | peak RSS, MB |", "|---|---|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        for save, name in ((save_jsonl, "records.jsonl"), (save_parquet, "records.parquet")):
            path = Path(folder) / name
            save(path, rows)
            for work in WORK:
                command = [sys.executable, __file__, "--measure", work, str(path)]
                found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
                lines.append(f"| {work} | {path.suffix[1:]} | {found['seconds']:.0f} | {found['peak']:,.0f} |")
            path.unlink()
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--measure", nargs=2)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure[0], Path(options.measure[1]))
    command = f"python tests/benchmarks/records_memory.py {options.rows} --write"
    text = f"# Memory of {options.rows:,} records\n\n`{command}`\n\n{table(options.rows)}\n"
    print(text)
    if options.write:
        RESULT.write_text(text, encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
