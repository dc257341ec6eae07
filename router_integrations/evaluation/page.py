"""An evaluation as one page that needs nothing else."""

from __future__ import annotations

import unicodedata
from importlib.resources import files

try:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
except ImportError as error:
    raise ImportError('the page needs jinja2: pip install "router_integrations[report]"') from error

from router_integrations._version import __version__
from router_integrations.evaluation import wording
from router_integrations.evaluation.figures import figures, svg
from router_integrations.evaluation.report import Evaluation

# Characters of a prompt that the page shows.
_LONGEST = 4000


def render(evaluation: Evaluation, *, title: str = "Router evaluation") -> str:
    """Return the page."""
    # Names and prompts come from the records: all but the figures, which are made here, is escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    drawn = {name: Markup(svg(figure, name)) for name, figure in figures(evaluation).items()}
    return template.render(
        title=_clean(title),
        version=__version__,
        it=evaluation,
        say=wording,
        shown=_shown,
        usd_once=_usd_once,
        drawn={"calibration": None} | drawn,
    )


def _usd_once(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _shown(text: str) -> str:
    """The prompt, cut and without characters that no page may hold."""
    left = len(text) - _LONGEST
    return _clean(text[:_LONGEST]) + (f"\n… and {left:,} more characters" if left > 0 else "")


def _clean(text: str) -> str:
    return "".join("\N{REPLACEMENT CHARACTER}" if _forbidden(sign) else sign for sign in text)


def _forbidden(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t"
