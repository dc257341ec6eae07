"""Parts of a table, and its costs filled up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.learning import Table
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Usage


def subset(table: Table, *, rows: Sequence[int] | None = None, names: Sequence[str] | None = None) -> Table:
    """Return some queries and candidates of a table, in the order given; all of them by default.

    Raises:
        ConfigurationError: The table does not know a name.

    >>> from router_integrations.learning import Record
    >>> table = Table.of(Record(text=text, candidate="m", quality=1.0) for text in "abc")
    >>> subset(table, rows=[2, 0]).texts
    ('c', 'a')
    """
    names = table.names if names is None else tuple(names)
    if unknown := [name for name in names if name not in table.names]:
        raise ConfigurationError(f"the table knows nothing of {unknown}; it has {list(table.names)}")
    chosen = range(len(table.texts)) if rows is None else [int(row) for row in rows]
    at = np.ix_(np.array(chosen, dtype=int), np.array([table.names.index(name) for name in names], dtype=int))
    return Table(
        texts=tuple(table.texts[row] for row in chosen),
        names=names,
        quality=table.quality[at],
        cost=table.cost[at],
        latency=table.latency[at],
        output_tokens=table.output_tokens[at],
        domains=tuple(table.domains[row] for row in chosen),
        images=tuple(table.images[row] for row in chosen),
        user_ids=tuple(table.user_ids[row] for row in chosen) if table.user_ids else (),
        input_tokens=tuple(table.input_tokens[row] for row in chosen) if table.input_tokens else (),
    )


def prompt_tokens(table: Table, row: int) -> tuple[int, bool]:
    """Return the tokens of the prompt of a query, and whether they had to be estimated from its text.

    >>> from router_integrations.learning import Record
    >>> prompt_tokens(Table.of([Record(text="hi", candidate="m", quality=1.0, input_tokens=34)]), 0)
    (34, False)
    """
    known = table.input_tokens[row] if table.input_tokens else None
    return (estimate_tokens(table.texts[row]), True) if known is None else (known, False)


def priced(table: Table, candidates: Sequence[Candidate]) -> Table:
    """Return the candidates' columns of a table, with missing costs taken from prices where tokens are known.

    Raises:
        ConfigurationError: The table lacks a candidate.

    >>> from router_integrations.learning import Record
    >>> table = Table.of([Record(text="hi", candidate="m", quality=1.0, output_tokens=3)])
    >>> priced(table, [Candidate("m", model=object(), input_price=0.0, output_price=2.0)]).cost.tolist()
    [[6.0]]
    """
    table = subset(table, names=[candidate.name for candidate in candidates])
    cost = table.cost.copy()
    for row, column in np.argwhere(np.isnan(cost) & ~np.isnan(table.output_tokens)):
        tokens = round(table.output_tokens[row, column])
        size, estimated = prompt_tokens(table, row)
        usage = Usage(input_tokens=size, output_tokens=tokens, estimated=estimated)
        price = candidates[column].cost(usage)
        cost[row, column] = np.nan if price is None else price
    return replace(table, cost=cost)
