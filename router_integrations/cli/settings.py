"""What the commands read: records, candidates with their prices, settings as NAME=VALUE."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape

from router_integrations import estimators
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.cli.app import drawn, note
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.learned import _USUAL_OUTPUT
from router_integrations.learning import Learner, Record
from router_integrations.records import BadRow, read, read_set
from router_integrations.tokens import estimate_tokens
from router_integrations.types import Utility

if TYPE_CHECKING:
    from router_integrations.records_formats import Format

RECORDS = "Records: a .jsonl, .json, .csv or .parquet file, or a folder of them."
CANDIDATE = (
    "Whom to route to: a name in the records that LiteLLM knows, NAME=LITELLM_ID, or a .json list of ids and Candidate "
    "options, such as id, name, params and prices; several times. By default all in the records."
)
UTILITY = "What quality is worth, as NAME=VALUE: enough, per_usd, per_second or optimism; several times."
# Bad rows that are shown; the others are counted.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ReadsRecords:
    """What commands that read records share."""

    format: Annotated[str | None, typer.Option(help="How to understand the rows; by default their columns tell.")] = (
        None
    )
    grade: Annotated[
        str | None, typer.Option(help="Name of the feedback or score that is the grade, where a log has several.")
    ] = None

    def read(self, path: Path) -> list[Record]:
        """Return the records in a file or folder; bad rows are told on stderr.

        Raises:
            ConfigurationError: There is no record.
        """
        bad: list[BadRow] = []

        def tell(row: BadRow) -> None:
            if len(bad) < _SHOWN:
                bad.append(row)
                note(f"[yellow]bad row[/yellow] {escape(str(row))}")

        with drawn().status(f"reading {escape(str(path))}"):
            if (path / "outcomes.parquet").is_file():
                reading = read_set(path, on_bad=tell)
            else:
                form = cast("Format | None", self.format)
                reading = read(path, format=form, grade=self.grade, on_bad=tell)
            found = list(reading)
        if reading.bad > len(bad):
            note(f"{reading.bad - len(bad):,} further bad rows were left out")
        if not found:
            raise ConfigurationError(f"{str(path)!r} holds no record; each needs a text, a candidate, a quality")
        return found


def pairs(given: Sequence[str] | None) -> dict[str, Any]:
    """Return NAME=VALUE settings; a value is JSON where it can be, else text.

    >>> pairs(["alpha=3", "kind=rbf"])
    {'alpha': 3, 'kind': 'rbf'}
    """
    settings = {}
    for one in given or ():
        name, sign, value = one.partition("=")
        if not (name and sign):
            raise typer.BadParameter(f"{one!r} must be NAME=VALUE")
        settings[name] = _value(value)
    return settings


def make_learner(name: str, settings: dict[str, Any]) -> Learner:
    """Return the estimator of that name with those settings."""
    exported = {one: getattr(estimators, one) for one in estimators.__all__}
    known = {one: cls for one, cls in exported.items() if issubclass(cls, Learner) and _needs_nothing(cls)}
    if name not in known:
        raise typer.BadParameter(f"no estimator that learns is called {name!r}; there are {', '.join(sorted(known))}")
    return cast(Learner, _made(known[name], settings))


def make_utility(given: Sequence[str] | None) -> Utility | None:
    """Return the utility of NAME=VALUE settings; `None` without any."""
    return cast(Utility, _made(Utility, pairs(given))) if given else None


def named_candidates(given: Sequence[str]) -> list[Candidate]:
    """Return the candidates that ID, NAME=ID and .json files name.

    >>> [(one.name, one.id) for one in named_candidates(["openai/gpt-4o", "small=openai/gpt-4o-mini"])]
    [('openai/gpt-4o', 'openai/gpt-4o'), ('small', 'openai/gpt-4o-mini')]

    Raises:
        ConfigurationError: A file holds no list of ids and `Candidate` options.
    """
    found: list[Candidate] = []
    for one in given:
        name, sign, model = one.partition("=")
        found += _held(Path(one)) if one.endswith(".json") else [Candidate(model if sign else name, name=name)]
    return found


def make_candidates(records: Iterable[Record], wanted: Sequence[str] | None) -> tuple[Candidate, ...]:
    """Return the candidates: those wanted, called as in the records (`named_candidates`), or all that have records.

    A price that LiteLLM does not know is learnt from the costs in the records.

    Raises:
        ConfigurationError: A candidate has neither a known price nor costs in the records.
    """
    graded: dict[str, list[Record]] = {}
    for record in records:
        graded.setdefault(record.candidate, []).append(record)
        if record.over is not None:
            graded.setdefault(record.over, [])
    asked = named_candidates(wanted) if wanted else [Candidate(name) for name in sorted(graded)]
    made = [_priced(one, graded.get(one.name, [])) for one in asked]
    if strange := [one.name for one in made if one.name not in graded]:
        note(f"[yellow]no record of {escape(', '.join(strange))}[/yellow]: they are expected to do as the others do")
    return as_candidates(made)


def of_candidates(records: Iterable[Record], candidates: Sequence[Candidate]) -> list[Record]:
    """Return the records that speak of these candidates only."""
    names = {candidate.name for candidate in candidates}
    return [one for one in records if one.candidate in names and (one.over is None or one.over in names)]


def _held(path: Path) -> list[Candidate]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(held, list):
            raise TypeError("they must be a list of model ids and Candidate options")
        return [Candidate(**one) if isinstance(one, dict) else Candidate(one) for one in held]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"candidates cannot be read from {str(path)!r}: {error}") from error


def _priced(candidate: Candidate, records: Sequence[Record]) -> Candidate:
    if candidate.input_price is not None and candidate.output_price is not None:
        return candidate
    name = candidate.name
    prices = _prices([record for record in records if record.over is None and record.cost is not None])
    if prices is None:
        raise ConfigurationError(
            f"the price of {name!r} is unknown, to LiteLLM as {candidate.id!r} and in the records; give --candidate "
            f"{name}=LITELLM_ID, or records with a cost"
        )
    note(
        f"[yellow]{escape(name)}[/yellow] is priced by the records: LiteLLM does not know {escape(repr(candidate.id))}"
    )
    return replace(candidate, input_price=prices[0], output_price=prices[1])


def _prices(records: Sequence[Record]) -> tuple[float, float] | None:
    """USD per token in and out, by least squares; where no tokens are told, as many as estimators then assume."""
    import numpy as np
    from scipy.optimize import nnls

    if not records:
        return None
    told = [record for record in records if record.output_tokens is not None]
    cost = np.array([record.cost for record in told or records], dtype=float)
    if not told:
        return 0.0, float(cost.mean()) / _USUAL_OUTPUT
    tokens = [(one.input_tokens or estimate_tokens(one.text), one.output_tokens) for one in told]
    found, _ = nnls(np.array(tokens, dtype=float), cost)
    return float(found[0]), float(found[1])


def _needs_nothing(cls: type) -> bool:
    """Whether it is made from numbers and words alone: what wraps another estimator is not."""
    return all(one.default is not one.empty for one in inspect.signature(cls).parameters.values())


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _made(cls: type, settings: dict[str, Any]) -> Any:
    known = inspect.signature(cls).parameters
    if strange := [name for name in settings if name not in known]:
        raise typer.BadParameter(f"{cls.__name__} has no setting {strange[0]!r}; it has {', '.join(known)}")
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(f"{cls.__name__}: {error}") from error
