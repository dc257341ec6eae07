"""The real records beside the repository, as tables; tests that need them are skipped where they are absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_integrations.learning import Table

DATA = Path(__file__).parents[3] / "shared" / "data"

needs_records = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded outcomes are not in {DATA}")


def frame(name: str, *, unique: bool = False) -> Any:
    """Outcomes joined with their queries, one row an attempt; `unique` keeps the first of repeated queries."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    outcomes = pandas.read_parquet(DATA / name / "outcomes.parquet")
    queries = pandas.read_parquet(DATA / name / "queries.parquet")
    queries = queries.drop_duplicates("query_id") if unique else queries
    return outcomes.merge(queries, on="query_id", validate="many_to_one")


def table(rows: Any) -> Table:
    """The table of the attempts in `rows`."""
    texts = rows.drop_duplicates("query_id").set_index("query_id")
    quality = rows.pivot_table(index="query_id", columns="model", values="quality")

    def column(name: str) -> Any:
        if name not in rows:
            return np.full(quality.shape, np.nan)
        return rows.pivot_table(index="query_id", columns="model", values=name).loc[quality.index].to_numpy()

    return Table(
        texts=tuple(texts.loc[quality.index, "prompt"]),
        names=tuple(quality.columns),
        quality=quality.to_numpy(),
        cost=column("cost_usd"),
        latency=column("latency_ms") / 1000,
        output_tokens=column("tokens_out"),
        domains=tuple(texts.loc[quality.index, "dataset"]),
        images=((),) * len(quality),
    )
