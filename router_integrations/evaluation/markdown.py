"""An evaluation as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from router_integrations.evaluation import wording
from router_integrations.evaluation.report import Evaluation

_NOTE = "Intervals hold 95 % (bootstrap over queries, paired for differences); * marks a difference that excludes 0."


def render(evaluation: Evaluation) -> str:
    """Return the tables of `evaluation`."""
    parts = [
        f"{evaluation.queries:,} queries. {_NOTE}",
        _table(wording.strategies(evaluation)),
        "## Shares",
        _table(wording.shares(evaluation)),
    ]
    for result in evaluation.results:
        if result.domains:
            parts += [f"## Domains: {_plain(result.name)}", _table(wording.domains(result, evaluation.best))]
    if calibrations := wording.calibrations(evaluation):
        parts += ["## Calibration", _table(calibrations)]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    headings, *cells = map(_line, rows)
    return "\n".join([headings, "| --- |" + " ---: |" * (len(rows[0]) - 1), *cells])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """Names come from the records: one must not end a cell or a row, or begin markup."""
    return html.escape(re.sub(r"[\\|`_]|(?<=\])\(", r"\\\g<0>", " ".join(text.split())), quote=False)
