"""Do calibrated settings keep their word on new queries? Records of `cascades`.

The estimator learns from the train split (gsm8k, which has no test part, left out). Of the test split, cut in three
with a fixed seed, one part teaches the curves of `CalibratedEstimator`, one chooses the settings, and one is new. The
mix of data sets differs between train and test, as it does when a router goes into service.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables

from router_integrations import Best, Candidate, Pacer, Utility
from router_integrations.calibration import (
    Budget,
    ErrorRate,
    QualityFloor,
    StrongShare,
    Target,
    calibrate,
    dual_price,
)
from router_integrations.calibration.trials import Turn, best_trials
from router_integrations.estimators import CalibratedEstimator, Linear, Neighbors
from router_integrations.estimators.learned import Learned
from router_integrations.evaluation import bootstrap, ece, replay, subset
from router_integrations.evaluation.bulk import Forecast
from router_integrations.evaluation.evaluating import forecast_table
from router_integrations.learning import Record, Table

STRONG = "gpt-4o"


def pool(rows: pd.DataFrame) -> list[Candidate]:
    """The models with the prices behind the costs of the records."""
    found = []
    for name, part in rows.groupby("model"):
        tokens = part[["tokens_in", "tokens_out"]].to_numpy(dtype=float)
        prices = np.linalg.lstsq(tokens, part["cost_usd"].to_numpy(dtype=float), rcond=None)[0]
        sent, got = (max(float(price), 0.0) for price in prices)
        found.append(Candidate(str(name), model=object(), input_price=sent, output_price=got))
    return found


def thirds(records: list[Record]) -> list[list[Record]]:
    queries = list(dict.fromkeys(record.query_id for record in records))
    order = np.random.default_rng(0).permutation(len(queries))
    part = {queries[at]: place % 3 for place, at in enumerate(order)}
    return [[record for record in records if part[record.query_id] == number] for number in range(3)]


def errors(estimator: Learned, fresh: Table, candidates: list[Candidate]) -> str:
    """The mean calibration error of the candidates."""
    said = forecast_table(estimator, fresh, candidates).quality
    grades = fresh.quality

    def figure(drawn: np.ndarray) -> float:
        return float(np.mean([ece(said[drawn, at], grades[drawn, at]) for at in range(grades.shape[1])]))

    return tables.percent(bootstrap(figure, len(grades), draws=1000))


def kept(best: Best, to: Target, knob: Any, parts: tuple[Table, Table], candidates: list[Candidate]) -> list[str]:
    """What was asked for, and what came of it on new queries."""
    calibration, fresh = parts
    found = calibrate(best, calibration, candidates, to=to, knob=knob)
    done = replay(found.strategy, fresh, candidates)
    strong = fresh.quality[:, fresh.names.index(STRONG)]
    dearest = fresh.cost[:, fresh.names.index(STRONG)].mean()
    regret = np.maximum(strong - done.quality, 0)
    cells = [done.cost / dearest, done.quality / strong.mean(), done.chosen == fresh.names.index(STRONG), regret]
    figures = [tables.percent(bootstrap(lambda at, c=cell: float(c[at].mean()), len(regret))) for cell in cells]
    return [f"{to!r}", knob, f"{found.setting:.4g}", *figures]


def pace(best: Best, share: float, parts: tuple[Table, Table], candidates: list[Candidate]) -> list[str]:
    calibration, fresh = parts
    budget = share * float(calibration.cost[:, calibration.names.index(STRONG)].mean())
    first = subset(calibration, rows=range(len(calibration.texts) // 10))
    expected = forecast_table(best.estimator, first, candidates)
    pacer = Pacer(budget_per_request=budget, price=dual_price(expected.quality, expected.cost, budget))
    done = replay(best, fresh, candidates, pacer=pacer)
    quality = done.quality / fresh.quality[:, fresh.names.index(STRONG)].mean()
    cells = [
        tables.percent(bootstrap(lambda at, c=c: float(c[at].mean()), len(c))) for c in (done.cost / budget, quality)
    ]
    return [f"{share:.0%}", *cells, f"{pacer.price:.4g}", f"{pacer.current():.4g}"]


def on_average(best: Best, at_most: float, both: Table, candidates: list[Candidate]) -> list[str]:
    """The regret on new queries when those that choose the setting are drawn anew, fifty times."""
    expected, regrets = forecast_table(best.estimator, both, candidates), []
    for seed in range(50):
        order = np.random.default_rng(seed).permutation(len(both.texts))
        trials = []
        for rows in np.array_split(order, 2):
            part = Forecast(**{field.name: getattr(expected, field.name)[rows] for field in fields(Forecast)})
            trials.append(
                best_trials(Turn(best=best, knob="enough"), part, subset(both, rows=rows.tolist()), fixed=True)
            )
        setting = ErrorRate(at_most=at_most, of=STRONG).pick(trials[0])
        regrets.append(np.maximum(trials[1].grades_of(STRONG) - trials[1].run(setting).quality, 0).mean())
    return [f"{at_most:.0%}", f"{100 * np.mean(regrets):.2f}", f"{100 * np.std(regrets):.2f}"]


def targets(best: Best, parts: tuple[Table, Table], candidates: list[Candidate]) -> list[list[str]]:
    dearest = float(parts[0].cost[:, parts[0].names.index(STRONG)].mean())
    wanted: list[tuple[Target, list[str]]] = [
        (Budget(usd=round(0.25 * dearest, 6)), ["enough", "per_usd"]),
        (Budget(usd=round(0.5 * dearest, 6)), ["enough", "per_usd"]),
        (QualityFloor(share=0.95, of=STRONG), ["enough", "per_usd"]),
        (QualityFloor(share=0.98, of=STRONG), ["enough", "per_usd"]),
        (StrongShare(share=0.2, of=STRONG), ["enough", "per_usd"]),
        (ErrorRate(at_most=0.1, of=STRONG), ["enough"]),
        (ErrorRate(at_most=0.08, of=STRONG), ["enough"]),
    ]
    return [kept(best, to, knob, parts, candidates) for to, knobs in wanted for knob in knobs]


def report(data: Path) -> str:
    train = tables.outcomes(data, "cascades", split="train")
    train = train[train["dataset"] != "gsm8k"]
    candidates, learnt = pool(train), tables.records(train)
    curves, seen, new = thirds(tables.records(tables.outcomes(data, "cascades", split="test")))
    parts = (Table.of(seen), Table.of(new))
    reliability, made = [], {"Linear(link='logistic')": Linear(link="logistic"), "Neighbors()": Neighbors()}
    for name, inner in made.items():
        row = [f"`{name}`", errors(inner.fit(learnt), parts[1], candidates)]
        for method in ("platt", "isotonic"):
            calibrated = CalibratedEstimator(estimator=inner, method=method).calibrate(curves)
            row.append(errors(calibrated, parts[1], candidates))
        reliability.append(row)
    estimator = CalibratedEstimator(estimator=made["Linear(link='logistic')"]).calibrate(curves)
    best = Best(estimator=estimator, utility=Utility(enough=1))
    averages = [on_average(best, at_most, Table.of([*seen, *new]), candidates) for at_most in (0.08, 0.1, 0.15)]
    paced = [pace(best, share, parts, candidates) for share in (0.1, 0.25, 0.5)]
    sizes = f"{len(parts[0].texts)} queries to calibrate on, {len(parts[1].texts)} new ones"
    return "\n".join(
        [
            f"# Calibration on `cascades`: {sizes}",
            "",
            "Percent, with 95 % intervals over queries. Expected calibration error, mean over the models, new queries",
            "(noise only adds to it, so redrawn queries give more, and the intervals lie high):",
            "",
            tables.markdown(["estimator", "as it is", "Platt", "isotonic"], reliability),
            "",
            f"Targets on new queries; cost and quality are parts of {STRONG}'s, regret is what it does better:",
            "",
            tables.markdown(
                ["target", "knob", "setting", "cost", "quality", f"asks {STRONG}", "regret"],
                targets(best, parts, candidates),
            ),
            "",
            "`ErrorRate` promises an average over calibration sets and new queries; 50 splits of the two parts:",
            "",
            tables.markdown([f"at most, of {STRONG}", "mean regret on new queries", "its deviation"], averages),
            "",
            "A `Pacer` over the new queries in their order, begun at the dual price of a tenth of the others:",
            "",
            tables.markdown([f"budget, part of {STRONG}'s", "cost / budget", "quality", "first price", "last"], paced),
        ]
    )
