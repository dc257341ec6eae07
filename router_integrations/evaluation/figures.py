"""Figures of an evaluation, by matplotlib; as SVG for a page that is read in light and in dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError('figures need matplotlib: pip install "router_integrations[report]"') from error

from router_integrations.evaluation.report import Evaluation, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that the blind to red or green tell apart, and that stand out on white as on black.
_COLOURS = (
    "#2f7ed8",
    "#e07b00",
    "#1a9e77",
    "#c457a0",
    "#8f7ae5",
    "#b58900",
    "#d1495b",
    "#5aa9b8",
    "#7a6a53",
    "#9bbf3b",
    "#4655a8",
    "#e8a2c0",
)
_QUIET = "#8a8a8a"
# Swapped for the text colour of the page around it.
_INK = "#010203"
_PER = 1000
# Where a label may stand above its point, in points, and about what a point is on the axis of quality.
_SHIFTS = (-3, 7, -13, 17, -23, 27, -33)
_POINT = 0.0025


def figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Return the figures of `evaluation` by name."""
    made = {"quality_cost": _quality_cost(evaluation), "shares": _shares(evaluation)}
    known = [result for result in evaluation.results if result.calibration is not None]
    return made | ({"calibration": _calibration(known)} if known else {})


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an element of a page, in the page's text colour, its ids marked with `name`."""
    _recolour(figure)
    out = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The page's fonts draw what matplotlib's cannot.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\1{name}-", text)
    return text.replace(_INK, "currentColor")


def _recolour(figure: Figure) -> None:
    for axes in figure.axes:
        for item in (axes.xaxis.label, axes.yaxis.label, axes.title, *axes.texts):
            item.set_color(_INK)
        axes.tick_params(colors=_INK, which="both")
        for spine in axes.spines.values():
            spine.set_color(_INK)
        legend = axes.get_legend()
        for text in legend.get_texts() if legend is not None else ():
            text.set_color(_INK)


def _figure(height: float, *, width: float = 8.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_QUIET, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _quality_cost(evaluation: Evaluation) -> Figure:
    figure, axes = _figure(4.6)
    best = next(point for point in evaluation.singles if point.name == evaluation.best)
    axes.axhline(best.quality, color=_QUIET, linestyle=":", linewidth=1)
    for number, result in enumerate(evaluation.results):
        _draw(axes, result, _COLOURS[number % len(_COLOURS)])
    _mark(axes, evaluation)
    axes.set_xlabel(f"USD per {_PER:,} queries")
    axes.set_ylabel("mean quality")
    _legend(axes)
    return figure


def _mark(axes: Axes, evaluation: Evaluation) -> None:
    """Draws what the strategies are held against, with labels that keep off each other."""
    titles = {evaluation.cheapest: "always cheapest", evaluation.best: "best single"}
    points = [(point, "o", _titled(point.name, titles)) for point in evaluation.singles]
    points += [(evaluation.random, "X", "random"), (evaluation.oracle, "*", "oracle")]
    points = [each for each in points if each[0].cost == each[0].cost]
    for point, marker, _ in points:
        axes.scatter([point.cost * _PER], [point.quality], color=_QUIET, marker=marker, s=36, zorder=2)
    right, taken = max((point.cost for point, _, _ in points), default=0.0), list[tuple[float, float]]()
    for point, _, label in sorted(points, key=lambda each: -each[0].quality):
        across, up = point.cost / right if right else 0.0, point.quality
        shift = next((dy for dy in _SHIFTS if all(_apart((across, up + dy * _POINT), one) for one in taken)), -9)
        taken.append((across, up + shift * _POINT))
        side = "right" if across > 0.7 else "left"
        text = axes.annotate(
            label,
            (point.cost * _PER, up),
            xytext=(-6 if side == "right" else 6, shift),
            textcoords="offset points",
            fontsize=8,
            horizontalalignment=side,
        )
        text.set_parse_math(False)


def _titled(name: str, titles: Mapping[str, str]) -> str:
    return f"{name}, {titles[name]}" if name in titles else name


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) > 0.3 or abs(one[1] - other[1]) > 9 * _POINT


def _draw(axes: Axes, result: Result, colour: str) -> None:
    label = _label(result.name)
    cost = result.replay.mean_cost * _PER
    if result.curve is not None:
        order = result.curve.cost.argsort()
        line = (result.curve.cost[order] * _PER, result.curve.quality[order])
        axes.plot(*line, color=colour, marker=".", markersize=4, linewidth=1.4, alpha=0.85, zorder=3)
    axes.scatter([cost], [result.quality.value], color=colour, marker="D", s=48, zorder=4, label=label)


def _shares(evaluation: Evaluation) -> Figure:
    results = evaluation.results
    figure, axes = _figure(1.3 + 0.42 * len(results))
    left = [0.0] * len(results)
    rows = list(range(len(results)))
    for number, single in enumerate(evaluation.singles):
        width = [result.shares[single.name] for result in results]
        axes.barh(rows, width, left=left, color=_COLOURS[number % len(_COLOURS)], label=_label(single.name), height=0.6)
        left = [before + more for before, more in zip(left, width, strict=True)]
    axes.set_yticks(rows, [result.name for result in results], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the queries")
    _legend(axes)
    return figure


def _calibration(results: Sequence[Result]) -> Figure:
    figure, axes = _figure(4.6, width=6.0)
    axes.plot([0, 1], [0, 1], color=_QUIET, linestyle=":", linewidth=1)
    for number, result in enumerate(results):
        bins = () if result.calibration is None else result.calibration.bins
        most = max(one.answers for one in bins)
        colour = _COLOURS[number % len(_COLOURS)]
        line = [one.expected for one in bins], [one.measured for one in bins]
        axes.plot(*line, color=colour, linewidth=1.2, label=_label(result.name))
        axes.scatter(*line, color=colour, s=[8 + 60 * one.answers / most for one in bins], zorder=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("expected quality")
    axes.set_ylabel("measured quality")
    _legend(axes)
    return figure


def _legend(axes: Axes) -> None:
    legend: Any = axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(name: str) -> str:
    """Matplotlib keeps names that begin with an underscore out of the legend."""
    return f" {name}" if name.startswith("_") else name
