"""Commands that make a router: ``train`` it on records, ``calibrate`` it to a budget or a floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from router_integrations.candidates import Candidate
from router_integrations.cli.app import command, drawn, note, progress
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
from router_integrations.cli.showing import show_calibrated, show_learnt, show_strategies
from router_integrations.errors import ConfigurationError
from router_integrations.learning import Record, Table
from router_integrations.model_map import providers
from router_integrations.records import leaks, split, write
from router_integrations.strategies import Best

if TYPE_CHECKING:
    from router_integrations.calibration import Target


@command
@dataclass(frozen=True, kw_only=True)
class Train(ReadsRecords):
    """Train an estimator on RECORDS, save the router in a folder, and measure it on queries held out."""

    records: Annotated[Path, typer.Argument(help=RECORDS)]
    estimator: Annotated[str, typer.Option(help="Name of the estimator, such as Linear or Neighbors.")]
    out: Annotated[Path, typer.Option(help="Folder to save to; a router saved there before is replaced.")]
    set: Annotated[
        list[str] | None, typer.Option(help="A setting of the estimator as NAME=VALUE, such as alpha=3; several times.")
    ] = None
    candidate: Annotated[list[str] | None, typer.Option(help=CANDIDATE)] = None
    utility: Annotated[list[str] | None, typer.Option(help=UTILITY)] = None
    holdout: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the queries to hold out; 0 is none.")] = 0.2
    held: Annotated[
        Path | None, typer.Option(help="File (.jsonl) for the records held out, to calibrate or evaluate on.")
    ] = None
    seed: Annotated[int, typer.Option(help="Chooses which queries are held out.")] = 0

    def run(self) -> None:
        """Read, split, fit, save and measure."""
        from router_integrations.storage import SavedRouter, save_router

        learner, utility = make_learner(self.estimator, pairs(self.set)), make_utility(self.utility)
        records = self.read(self.records)
        candidates = make_candidates(records, self.candidate)
        learnt, held = _split(of_candidates(records, candidates), self.holdout, self.seed)
        with drawn().status(f"fitting {self.estimator}"):
            learner.fit(learnt)
        strategy = Best(estimator=learner, utility=utility)
        save_router(self.out, SavedRouter(candidates=candidates, strategy=strategy))
        if self.held is not None:
            write(held, self.held)
        show_learnt(self.estimator, learnt, candidates)
        _measure(self.estimator, strategy, held, candidates)
        typer.echo(f"saved in {self.out}: {_loading(self.out, candidates)}")


@command
@dataclass(frozen=True, kw_only=True)
class Calibrate(ReadsRecords):
    """Set the router in FOLDER to a budget, a quality floor, a share of calls or an error rate, and save it again.

    RECORDS must be ones that it has not learnt from, such as those that train --held wrote.
    """

    folder: Annotated[Path, typer.Argument(help="Folder of a saved router.")]
    records: Annotated[Path, typer.Argument(help=RECORDS)]
    budget: Annotated[float | None, typer.Option(help="Mean USD a query, at most.")] = None
    floor: Annotated[
        float | None, typer.Option(help="Mean quality, at least, as a part of that of the candidate --of.")
    ] = None
    strong_share: Annotated[float | None, typer.Option(help="Share of queries for the candidate --of, at most.")] = None
    error_rate: Annotated[
        float | None, typer.Option(help="Expected error on new queries, at most; with --of, against that candidate.")
    ] = None
    of: Annotated[str | None, typer.Option(help="Name of the candidate to compare with or to spare.")] = None
    knob: Annotated[
        Literal["enough", "per_usd"], typer.Option(help="What to set: the quality that is enough, or its price.")
    ] = "enough"

    def run(self) -> None:
        """Choose the setting, save it and say what to expect."""
        from router_integrations.calibration import calibrate
        from router_integrations.evaluation.evaluating import with_grades
        from router_integrations.storage import load_router, save_router

        target, saved = self._target(), load_router(self.folder)
        if not isinstance(saved.strategy, Best):
            kind = type(saved.strategy).__name__
            raise ConfigurationError(
                f"{str(self.folder)!r} holds the strategy {kind!r}; only Best has a setting to choose"
            )
        table = with_grades(Table.of(self.read(self.records)), saved.candidates)
        with drawn().status("calibrating"):
            found = calibrate(saved.strategy, table, saved.candidates, to=target, knob=self.knob)
        save_router(self.folder, replace(saved, strategy=found.strategy))
        show_calibrated(self.knob, found)
        typer.echo(f"saved in {self.folder}")

    def _target(self) -> Target:
        from router_integrations.calibration import Budget, ErrorRate, QualityFloor, StrongShare

        given = [one is not None for one in (self.budget, self.floor, self.strong_share, self.error_rate)]
        if sum(given) != 1:
            raise typer.BadParameter("give one of --budget, --floor, --strong-share and --error-rate")
        if self.budget is not None:
            return Budget(usd=self.budget)
        if self.error_rate is not None:
            return ErrorRate(at_most=self.error_rate, of=self.of)
        if self.of is None:
            raise typer.BadParameter("--floor and --strong-share need --of, the name of a candidate")
        if self.floor is not None:
            return QualityFloor(share=self.floor, of=self.of)
        return StrongShare(share=self.strong_share or 0.0, of=self.of)


def _loading(folder: Path, candidates: Sequence[Candidate]) -> str:
    """Return how to load the router; names that only the records know have to be told how they are called."""
    strange = [repr(one.name) for one in candidates if one.provider not in providers()]
    if not strange:
        return f"RouterChatModel.load({str(folder)!r}) routes with it"
    return (
        f"RouterChatModel.load({str(folder)!r}, candidates=[...]) routes with it; give all candidates under their "
        f"names here, for LiteLLM cannot call {', '.join(strange)}"
    )


def _split(records: Sequence[Record], holdout: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Records to learn from and to test on; no prompt stands on both sides."""
    if not holdout:
        return list(records), []
    learnt, held = split(records, test=holdout, seed=seed)
    seen = {query for leak in leaks(learnt, held) for query in leak.test}
    if seen:
        note(f"{len(seen):,} queries held out have a prompt that is also learnt from; they were left out")
    kept = [record for record in held if record.query_id not in seen]
    if not kept:
        raise ConfigurationError(
            f"seed={seed!r} holds out no prompt that is not also learnt from; give another --seed, more queries, or "
            "--holdout 0 to measure nothing"
        )
    return learnt, kept


def _measure(name: str, strategy: Best, held: Sequence[Record], candidates: Sequence[Candidate]) -> None:
    from router_integrations.evaluation.evaluating import evaluate, with_grades

    table = Table.of(held)
    graded = [candidate for candidate in candidates if candidate.name in table.names]
    if not graded:
        note("nothing was measured: no graded attempt was held out")
        return
    with progress("measuring") as moved:
        found = evaluate({name: strategy}, with_grades(table, graded), graded, progress=moved)
    show_strategies(found)
