"""Quality over cost for every learner of graded answers, with intervals: what the tables of two data sets share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import tables
from joblib import Parallel, delayed
from scipy.optimize import nnls

from router_integrations import Best, Candidate, HashingEncoder, Utility, estimators
from router_integrations.evaluation import (
    Interval,
    aiq,
    bootstrap,
    cascade_auc,
    hull,
    prices,
    quality_neutral_cost,
    subset,
    sweep,
)
from router_integrations.learning import Record, Table
from router_integrations.tokens import estimate_tokens

FOLDS, DRAWS = 3, 1000
# Name of the row, class in `estimators`, settings to choose from. A learner to come is one more line.
METHODS: tuple[tuple[str, str, list[dict[str, Any]]], ...] = (
    ("kNN", "Neighbors", tables.grid(k=[10, 40, 100])),
    ("ridge", "Linear", tables.grid(alpha=[0.3, 1.0, 3.0, 10.0])),
    ("logistic", "Linear", tables.grid(link=["logistic"], alpha=[0.3, 1.0, 3.0])),
    ("MLP", "MLP", tables.grid(hidden=[16], alpha=[0.1, 1.0])),
    ("random forest (RoRF, OptLLM)", "Forest", tables.grid(leaf=[5, 20])),
    ("HybridLLM", "Matching", tables.grid(labels=["probabilistic"], alpha=[1.0, 3.0])),
    ("EmbedLLM", "MatrixFactorization", tables.grid(dimensions=[16], alpha=[1e-4, 3e-4, 1e-3])),
    ("MIRT", "MIRT", tables.grid(dimensions=[25], alpha=[1e-4, 1e-3])),
    ("NIRT", "NIRT", tables.grid(dimensions=[25], alpha=[1e-4, 1e-3])),
    ("RouterDC", "DualContrastive", tables.grid(dimensions=[64])),
    ("GraphRouter", "GraphRouter", tables.grid(dimensions=[32], alpha=[1e-4, 1e-3])),
    ("UniRoute, K-means", "KMeansQuality", tables.grid(clusters=[4, 16, 64])),
    ("UniRoute, learned map", "LearnedMap", tables.grid(clusters=[8, 16], alpha=[1e-5, 1e-4])),
    ("Avengers-Pro's assignment", "KMeansQuality", tables.grid(clusters=[16, 60], nearest=[4], sharpness=[9.0])),
    ("Avengers' ranks", "ClusterRank", tables.grid(clusters=[4, 16, 60], nearest=[1, 3])),
    ("Bradley-Terry", "BradleyTerry", tables.grid(ridge=[1.0])),
    ("RouteLLM SW", "SimilarityWeighted", tables.grid(ridge=[1.0])),
    ("Eagle", "Eagle", [{}]),
    ("P2L", "PromptBradleyTerry", tables.grid(ridge=[1.0, 10.0])),
    ("Zooter", "Zooter", tables.grid(temperature=[0.2], alpha=[1.0, 3.0])),
    ("doubly robust", "DoublyRobust", tables.grid(alpha=[1.0, 3.0])),
)
FIGURES = ("AUC", "AIQ", "QNC")


@dataclass(frozen=True, eq=False)
class Routed:
    """What a router does: quality and USD, queries by settings of its knob; `mixes` may mix settings at random."""

    quality: np.ndarray
    cost: np.ndarray
    mixes: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """Records to learn from, the table to be measured on, candidates with prices, and the prices of quality."""

    train: list[Record]
    learnt: Table
    test: Table
    pool: list[Candidate]
    knobs: list[float]


class Remembers:
    """A fitted encoder that encodes each text once."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.encoder = HashingEncoder().fit(texts)
        self.known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known |= dict(zip(fresh, self.encoder.encode(fresh), strict=True))
        return np.array([self.known[text] for text in texts], dtype=np.float32)


def task(train: pd.DataFrame, test: pd.DataFrame) -> Task:
    """Learn a price per token of each candidate from the costs of train; prompts of test that stand in train go."""
    test = test[~test["prompt"].isin(set(train["prompt"]))]
    records, held = tables.records(train), tables.records(test)
    learnt = Table.of(records)
    pool = []
    for column, name in enumerate(learnt.names):
        known = ~np.isnan(learnt.cost[:, column] + learnt.output_tokens[:, column])
        tokens = np.column_stack([[estimate_tokens(text) for text in learnt.texts], learnt.output_tokens[:, column]])
        scale = 1 / float(learnt.cost[known, column].mean())
        each, _ = nnls(tokens[known], learnt.cost[known, column] * scale)
        pool.append(
            Candidate(name, model=object(), input_price=float(each[0]) / scale, output_price=float(each[1]) / scale)
        )
    return Task(train=records, learnt=learnt, test=Table.of(held), pool=pool, knobs=prices(learnt))


def routed(
    name: str, setting: Mapping[str, Any], given: Task, rows: Sequence[int] | None, encoder: Remembers
) -> Routed:
    """Learn from the queries of train but `rows` and sweep over `rows`; over the test table when it is `None`."""
    held = set() if rows is None else {given.learnt.texts[row] for row in rows}
    table = given.test if rows is None else subset(given.learnt, rows=rows)
    learner = getattr(estimators, name)(**setting, encoder=encoder)
    learner.fit([record for record in given.train if record.text not in held])
    curve = sweep(
        lambda usd: Best(estimator=learner, utility=Utility(enough=1, per_usd=usd)), given.knobs, table, given.pool
    )
    return Routed(*(np.column_stack([getattr(one, what) for one in curve.replays]) for what in ("quality", "cost")))


def measures(table: Table, given: Routed, positions: np.ndarray, domains: Sequence[str]) -> np.ndarray:
    """AUC, AIQ, relative QNC and the zero router's AIQ, of each set and (last row) on average."""
    found = []
    belongs = np.array(table.domains)[positions]
    for domain in domains:
        rows = positions[belongs == domain]
        single = table.cost[rows].mean(axis=0), table.quality[rows].mean(axis=0)
        cheapest, dearest, best = single[0].argmin(), single[0].argmax(), single[1].argmax()
        start, end = (single[0][cheapest], single[1][cheapest]), single[0][dearest]
        curve = given.cost[rows].mean(axis=0), given.quality[rows].mean(axis=0)
        area = hull(*curve) if given.mixes else curve
        found.append(
            [
                cascade_auc(*area, start=start, c_max=end),
                aiq(*curve, c_min=start[0], c_max=end),
                quality_neutral_cost(*curve, target=single[1][best], reference=single[0][best]),
                aiq(*single, c_min=start[0], c_max=end),
            ]
        )
    return np.vstack([found, np.mean(found, axis=0)])


def intervals(table: Table, given: Routed, domains: Sequence[str]) -> list[list[Interval]]:
    """AUC, AIQ, QNC and AIQ above the zero router's, each with its interval, of each set and on average."""
    known: dict[bytes, np.ndarray] = {}

    def figure(drawn: np.ndarray, row: int, column: int) -> float:
        key = drawn.tobytes()
        if key not in known:
            part = measures(table, given, drawn, domains)
            known[key] = np.column_stack([part[:, :3], part[:, 1] - part[:, 3]])
        return float(known[key][row, column])

    rows = len(table.texts)
    return [
        [bootstrap(lambda drawn, at=(row, column): figure(drawn, *at), rows, draws=DRAWS) for column in range(4)]
        for row in range(len(domains) + 1)
    ]


def references(table: Table, domains: Sequence[str]) -> dict[str, Routed]:
    """Those to compare with, each mixed at random with the cheapest candidate so that it has a curve."""
    belongs, rows = np.array(table.domains), np.arange(len(table.texts))
    best, cheap = np.zeros(len(rows), dtype=int), np.zeros(len(rows), dtype=int)
    for domain in domains:
        here = belongs == domain
        cheap[here] = table.cost[here].mean(axis=0).argmin()
        best[here] = table.quality[here].mean(axis=0).argmax()
    top = table.quality.max(axis=1, keepdims=True)
    oracle = np.where(table.quality == top, table.cost, np.inf).argmin(axis=1)

    def mixed(quality: np.ndarray, cost: np.ndarray) -> Routed:
        floor = table.quality[rows, cheap], table.cost[rows, cheap]
        return Routed(np.column_stack([floor[0], quality]), np.column_stack([floor[1], cost]), mixes=True)

    return {
        "oracle": mixed(table.quality[rows, oracle], table.cost[rows, oracle]),
        "zero router (hull of single models)": Routed(table.quality, table.cost, mixes=True),
        "best single model of the set": mixed(table.quality[rows, best], table.cost[rows, best]),
        "random model": mixed(table.quality.mean(axis=1), table.cost.mean(axis=1)),
        "always the cheapest": mixed(table.quality[rows, cheap], table.cost[rows, cheap]),
    }


def measured(
    name: str, settings: Sequence[dict[str, Any]], given: Task, encoders: Sequence[Remembers]
) -> tuple[dict[str, Any], Routed]:
    """The setting with the best AUC out of fold on train, and what it does on test."""
    domains = sorted(set(given.learnt.domains))
    parts = [rows for _, rows in tables.folds(len(given.learnt.texts), FOLDS)]

    def score(setting: dict[str, Any]) -> float:
        each = [routed(name, setting, given, rows, encoder) for rows, encoder in zip(parts, encoders[1:], strict=True)]
        whole = Routed(*(np.concatenate([getattr(one, what) for one in each]) for what in ("quality", "cost")))
        table = subset(given.learnt, rows=np.concatenate(parts))
        return float(measures(table, whole, np.arange(len(table.texts)), domains)[-1, 0])

    setting = tables.chosen(settings, score)
    return setting, routed(name, setting, given, None, encoders[0])


def run(given: Task) -> tuple[dict[str, dict[str, Any]], dict[str, list[list[Interval]]]]:
    """The chosen settings, and the intervals of every row: references first, then those of `METHODS` that exist."""
    domains = sorted(set(given.test.domains))
    texts = np.array(given.learnt.texts)
    encoders = [Remembers(list(texts))]
    encoders += [Remembers(list(texts[rest])) for rest, _ in tables.folds(len(texts), FOLDS)]
    found = {name: intervals(given.test, one, domains) for name, one in references(given.test, domains).items()}
    there = [method for method in METHODS if hasattr(estimators, method[1])]
    done = Parallel(n_jobs=2)(delayed(_one)(method, given, encoders, domains) for method in there)
    settings = {name: setting for (name, *_), (setting, _) in zip(there, done, strict=True)}
    return settings, found | {name: part for (name, *_), (_, part) in zip(there, done, strict=True)}


def _one(
    method: tuple[str, str, list[dict[str, Any]]], given: Task, encoders: Sequence[Remembers], domains: Sequence[str]
) -> tuple[dict[str, Any], list[list[Interval]]]:
    setting, one = measured(method[1], method[2], given, encoders)
    return setting, intervals(given.test, one, domains)


def report(title: str, about: str, given: Task) -> str:
    """The whole table in Markdown."""
    domains = sorted(set(given.test.domains))
    settings, found = run(given)
    classes = {name: cls for name, cls, _ in METHODS}
    counts = {name: given.test.domains.count(name) for name in domains}
    parts = [
        f"# {title}",
        about,
        _METHOD.format(folds=FOLDS, draws=DRAWS, models=len(given.pool), queries=len(given.learnt.texts)),
    ]
    ranked = sorted(settings, key=lambda name: -found[name][-1][1].value)
    order = [*(name for name in found if name not in settings), *ranked]
    for row, domain in [(-1, "Mean over the sets"), *enumerate(domains)]:
        head = domain if row < 0 else f"{domain} ({counts[domain]} queries)"
        above = [found[name][row][3] for name in settings]
        parts.append(f"## {head}")
        parts.append(
            tables.markdown(
                ["router", *FIGURES, "AIQ - zero router's"],
                [[name, *map(tables.percent, found[name][row])] for name in order],
            )
        )
        parts.append(
            f"{sum(one.value > 0 for one in above)} of {len(above)} methods lie above the zero router in AIQ, "
            f"{sum(one.low > 0 for one in above)} of them by more than chance; "
            f"{sum(one.high < 0 for one in above)} lie below it by more than chance."
        )
    rows = [[name, f"`{classes[name]}({tables.settings_in_words(settings[name])})`"] for name in ranked]
    return "\n\n".join([*parts, "## Settings, chosen on train", tables.markdown(["router", "setting"], rows)])


_METHOD = """AUC: mean height of the curve of quality over cost between the cheapest and the dearest single model
(Cascade Routing, arXiv 2410.10347). AIQ: that of its non-decreasing convex hull (RouterBench, arXiv 2403.12031), with
the same two ends. QNC: cost of the cheapest setting that is as good as the best single model of the set, as a share of
that model's cost; 100 if none is (UniRoute, arXiv 2502.08773). All in per cent, with 95 % intervals of {draws} paired
bootstrap draws over the queries, seed 0.

All routers are `Best` over an estimator that learnt from the same {queries} queries and {models} models, all sets
together, with the default `HashingEncoder` fitted on them; the price of quality runs over the 30 points of
`evaluation.prices`. Costs are those of the table; what a model is expected to cost follows from a price per token
fitted on train (non-negative least squares) and from the learnt length of its answers. Settings have the best AUC out
of fold on train ({folds} folds). The zero router mixes single models at random, knowing the test set, and anew in each
draw, so that the intervals of the difference lean against the routers; below it a router is of no use. The best single
model is that of the test set, set by set, which no router is told. It, the oracle, which has seen the grades, and the
random choice are mixed at random with the cheapest model, to have a curve."""


def cheapest_of_equals(
    equal: np.ndarray,
    sets: Sequence[tuple[int, ...]],
    where: np.ndarray,
    drawn: np.ndarray,
    cost: np.ndarray,
    asked: tuple[int, ...],
    *,
    in_order: bool = False,
) -> np.ndarray:
    """Which of the `equal` sets `CascadeRouting` takes in each place: the one expected to cost least.

    Members are asked from the cheapest up, or in order, until one is as good as can be; `where` is the row of each
    place in `drawn` and `cost`.
    """  # fmt: skip
    tied = equal.sum(axis=1) > 1
    paid = np.where(equal & ~tied[:, None], 0.0, np.inf)
    for column, more in enumerate(sets):
        here = np.flatnonzero(tied & equal[:, column])
        if len(here):
            rows, back = np.unique(where[here], return_inverse=True)
            paid[here, column] = _asked_up(drawn[rows], cost[rows], asked, more, in_order=in_order)[back]
    return paid.argmin(axis=1)


def _asked_up(
    drawn: np.ndarray, cost: np.ndarray, asked: tuple[int, ...], more: tuple[int, ...], *, in_order: bool
) -> np.ndarray:
    costs = cost[:, list(more)]
    order = np.tile(np.arange(len(more)), (len(cost), 1)) if in_order else np.argsort(costs, axis=1, kind="stable")
    picked = np.take_along_axis(drawn[:, list(more)], order[:, :, None], axis=1)
    known = drawn[:, list(asked)].max(axis=1, keepdims=True) if asked else np.full_like(picked[:, :1], -np.inf)
    before = np.maximum.accumulate(np.concatenate([known, picked], axis=1), axis=1)[:, :-1]
    return (np.take_along_axis(costs, order, axis=1) * (before < 1 - 1e-9).mean(axis=-1)).sum(axis=1)
