"""Tables of the commands that learn and measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from router_integrations.candidates import Candidate
from router_integrations.learning import Record

if TYPE_CHECKING:
    from router_integrations.calibration import Calibrated
    from router_integrations.evaluation import Evaluation


def show_strategies(found: Evaluation) -> None:
    """Print strategies and what they are held against."""
    from router_integrations.evaluation import wording

    headings, *rows = wording.strategies(found)
    _print(f"{found.queries:,} queries; [95 % intervals]; * a difference that excludes 0", headings, rows)


def show_learnt(name: str, records: Sequence[Record], candidates: Sequence[Candidate]) -> None:
    """Print what there was to learn of each candidate."""
    rows = []
    for candidate in candidates:
        mine = [one for one in records if one.candidate == candidate.name and one.over is None]
        battles = sum(candidate.name in (one.candidate, one.over) for one in records if one.over is not None)
        mean = f"{sum(one.quality for one in mine) / len(mine):.3f}" if mine else "unknown"
        prices = [f"{(price or 0.0) * 1e6:.4g}" for price in (candidate.input_price, candidate.output_price)]
        rows.append([candidate.name, candidate.id, f"{len(mine):,}", f"{battles:,}", mean, " → ".join(prices)])
    headings = ["candidate", "id", "grades", "preferences", "mean quality", "USD per million tokens, in → out"]
    _print(f"{name} has learnt from {len(records):,} records", headings, rows)


def show_calibrated(knob: str, found: Calibrated) -> None:
    """Print the setting that was chosen and what it did."""
    from router_integrations.evaluation import wording

    rows = [["quality", wording.graded(found.quality)], ["USD per 1,000 queries", wording.costing(found.cost)]]
    rows += [[f"share of {name}", wording.saving(share)] for name, share in found.shares.items()]
    _print(f"{knob} = {found.setting:.6g}, chosen on {found.queries:,} queries", ["", "[95 % intervals]"], rows)


def _print(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Names come from the records and may look like rich's markup."""
    grid = Grid(title=Text(title), title_justify="left")
    for number, heading in enumerate(headings):
        grid.add_column(Text(heading), justify="right" if number else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    Console().print(grid)
