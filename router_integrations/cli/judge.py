"""Commands that measure routers: ``evaluate`` a saved one, ``compare`` estimators."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_integrations.cli.app import command, note, progress
from router_integrations.cli.settings import (
    CANDIDATE,
    RECORDS,
    UTILITY,
    ReadsRecords,
    make_candidates,
    make_learner,
    make_utility,
    of_candidates,
    pairs,
)
from router_integrations.cli.showing import show_strategies
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Difficulty
from router_integrations.learning import Learner, Table
from router_integrations.strategies import Best

if TYPE_CHECKING:
    from router_integrations.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class Shows(ReadsRecords):
    """What commands that show an evaluation share."""

    html: Annotated[Path | None, typer.Option(help="File for a page with figures and the worst misroutes.")] = None
    json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Log to MLflow, where its environment says.")] = False

    def show(self, found: Evaluation, title: str) -> None:
        """Print the evaluation and write what was asked for."""
        if self.json:
            typer.echo(json.dumps(found.as_dict(), indent=2))
        else:
            show_strategies(found)
        try:
            if self.html is not None:
                found.to_html(self.html, title=title)
                note(f"wrote {self.html}")
            if self.mlflow:
                found.log_to_mlflow()
        except ImportError as error:
            raise ConfigurationError(str(error)) from error


@command
@dataclass(frozen=True, kw_only=True)
class Evaluate(Shows):
    """Replay the router in FOLDER over RECORDS that it has not learnt from: quality, cost, and what it saves."""

    folder: Annotated[Path, typer.Argument(help="Folder of a saved router.")]
    records: Annotated[Path, typer.Argument(help=RECORDS)]
    baseline: Annotated[str | None, typer.Option(help="A candidate to compare with, beside the best one.")] = None

    def run(self) -> None:
        """Load, read, replay and show."""
        from router_integrations.evaluation.evaluating import evaluate, with_grades
        from router_integrations.storage import load_router

        saved = load_router(self.folder)
        table = Table.of(self.read(self.records))
        known = [candidate for candidate in saved.candidates if candidate.name in table.names]
        if missing := [one.name for one in saved.candidates if one not in known]:
            note(f"[yellow]left out, for want of a graded record[/yellow]: {', '.join(missing)}")
        if not known:
            names = [one.name for one in saved.candidates]
            raise ConfigurationError(f"{str(self.records)!r} has no grade of {names}; it has {list(table.names)}")
        strategies = {self.folder.resolve().name: saved.strategy}
        with progress("replaying") as moved:
            found = evaluate(strategies, with_grades(table, known), known, baseline=self.baseline, progress=moved)
        self.show(found, f"Router {self.folder.resolve().name}")


@command
@dataclass(frozen=True, kw_only=True)
class Compare(Shows):
    """Compare estimators on RECORDS by cross-validation: each query is decided by one that has not learnt from it."""

    records: Annotated[Path, typer.Argument(help=RECORDS)]
    estimator: Annotated[list[str], typer.Option(help="Name of an estimator; several times. Difficulty is added.")]
    set: Annotated[
        list[str] | None, typer.Option(help="A setting as ESTIMATOR.NAME=VALUE, such as Linear.alpha=3; several times.")
    ] = None
    candidate: Annotated[list[str] | None, typer.Option(help=CANDIDATE)] = None
    utility: Annotated[list[str] | None, typer.Option(help=UTILITY)] = None
    folds: Annotated[int, typer.Option(min=2, help="Parts of the queries, each held out once.")] = 5

    def run(self) -> None:
        """Read, fit and replay fold by fold, and show."""
        from router_integrations.evaluation.evaluating import cross_evaluate

        utility, learners = make_utility(self.utility), self._learners()
        records = self.read(self.records)
        candidates = make_candidates(records, self.candidate)
        strategies = {name: Best(estimator=one, utility=utility) for name, one in learners.items()}
        with progress("comparing") as moved:
            found = cross_evaluate(
                strategies,
                of_candidates(records, candidates),
                candidates,
                baseline=Difficulty.__name__,
                folds=self.folds,
                progress=moved,
            )
        self.show(found, "Estimators compared")

    def _learners(self) -> dict[str, Learner | Difficulty]:
        settings: dict[str, dict[str, Any]] = {name: {} for name in self.estimator}
        for key, value in pairs(self.set).items():
            name, _, setting = key.partition(".")
            if name not in settings:
                raise typer.BadParameter(f"--set {key}: {name!r} is none of the estimators {', '.join(settings)}")
            settings[name][setting] = value
        return {name: make_learner(name, its) for name, its in settings.items()} | {Difficulty.__name__: Difficulty()}
