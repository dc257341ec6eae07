"""What the quality tables share: records to learn from, folds by query, a choice by cross-validation, Markdown."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from router_integrations.candidates import Candidate
from router_integrations.evaluation.bootstrap import Interval
from router_integrations.learning import Record, Table


def outcomes(data: Path, name: str, *, split: str | None = None) -> pd.DataFrame:
    """The outcomes of a set with their prompts, one row each, of one split if asked; without ids that stand twice."""
    queries = pd.read_parquet(data / name / "queries.parquet").drop_duplicates("query_id", keep=False)
    if split is not None:
        queries = queries[queries["split"] == split]
    return pd.read_parquet(data / name / "outcomes.parquet").merge(queries, on="query_id", validate="many_to_one")


def records(rows: pd.DataFrame) -> list[Record]:
    """The rows of `outcomes` as records."""
    known = {"cost": "cost_usd", "output_tokens": "tokens_out", "input_tokens": "tokens_in"}
    extra = {field: column for field, column in known.items() if column in rows}
    return [
        Record(
            text=row["prompt"],
            candidate=row["model"],
            quality=float(row["quality"]),
            query_id=str(row["query_id"]),
            domain=row["dataset"],
            **{field: None if pd.isna(row[column]) else row[column] for field, column in extra.items()},
        )
        for row in rows.to_dict("records")
    ]


def folds(number: int, count: int, *, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the positions to learn from and those held back, `count` times."""
    order = np.random.default_rng(seed).permutation(number)
    for part in np.array_split(order, count):
        yield np.setdiff1d(order, part), part


def grid(**options: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of the options."""
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def chosen(settings: Sequence[dict[str, Any]], score: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """The setting with the highest score, which is computed on train only; of equals the first."""
    return settings[0] if len(settings) == 1 else max(settings, key=score)


def candidates(table: Table) -> list[Candidate]:
    """A candidate for each column, without prices: those are in the table."""
    return [Candidate(name, model=object()) for name in table.names]


def percent(figure: Interval, digits: int = 1) -> str:
    """A share with its interval, in percent."""
    low, high, value = (f"{100 * part:.{digits}f}" for part in (figure.low, figure.high, figure.value))
    return f"{value} [{low}, {high}]"


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def settings_in_words(setting: Mapping[str, Any]) -> str:
    """The options of a method, as a reader would type them."""
    return ", ".join(f"{name}={value!r}" for name, value in setting.items()) or "defaults"
