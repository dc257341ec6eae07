"""What each strategy does with the test queries of a set at every price of a USD: the curves of `quality_frontier`.

A curve is quality and USD, queries by settings. Nothing here reads a grade of test but to report it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, permutations
from typing import Any

import cost_curves
import numpy as np
import pandas as pd
import tables

from router_integrations import Candidate, Utility, estimators
from router_integrations.calibration.cascades import threshold_paths
from router_integrations.calibration.correctness import CorrectnessCurve
from router_integrations.calibration.frugal import frugal_cascade
from router_integrations.estimators import AnswerScorer, CalibratedConfidence, Evidence, PrePost, TokenConfidence
from router_integrations.estimators.consistency import normalized
from router_integrations.estimators.evidence import read_answers
from router_integrations.estimators.evidence_weights import odds_together, outlook, own_odds
from router_integrations.estimators.numerics import sigmoid
from router_integrations.evaluation import replay, subset
from router_integrations.evaluation.bulk import forecast
from router_integrations.evaluation.replay import request_of
from router_integrations.learning import Record, Table
from router_integrations.strategies import CascadeRouting
from router_integrations.strategies.cascade_routing import draw
from router_integrations.testing.table import Outcome
from router_integrations.types import Attempt, Call, Estimator, Request, Strategy

DEPTH, CHUNK, BUDGETS = 5, 128, 12
# Quality that the dearest model's price is worth, at each setting.
WORTH = np.concatenate([[0.0], np.geomspace(2e-3, 1.0, 71)])
REPLAYED, REPLAYED_PRICES = 12, (0, 18, 36, 54)
Curve = tuple[np.ndarray, np.ndarray]
Look = Callable[[tuple[int, ...], np.ndarray], tuple[np.ndarray, np.ndarray]]
# What is expected of each answer, given some; and what each call is expected to cost.
Planned = tuple[Look, np.ndarray]


@dataclass(frozen=True, eq=False)
class Answered:
    """The queries of one split of a set with all that was answered, queries by models."""

    table: Table
    rows: list[list[Attempt]]
    logprob: np.ndarray
    records: list[Record]

    @classmethod
    def of(cls, frame: pd.DataFrame, names: Sequence[str]) -> "Answered":
        """All of `frame`, whose queries have an answer of each model."""
        plain = tables.records(frame)
        known = zip(plain, frame["response"].astype(str), frame["confidence"].astype(float), strict=True)
        records = [replace(one, answer=text, logprobs=(sure,)) for one, text, sure in known]
        pool = {name: Candidate(name, model=name) for name in names}
        by: dict[str, dict[str, Record]] = {}
        for one in records:
            by.setdefault(one.query_id, {})[one.candidate] = one
        rows = [
            [Attempt(call=Call(candidate=pool[name]), text=row[name].answer, logprobs=row[name].logprobs)
             for name in names]
            for row in by.values()
        ]  # fmt: skip
        logprob = np.array([[one.logprobs[0] for one in row] for row in rows])
        return cls(table=Table.of(records), rows=rows, logprob=logprob, records=records)


@dataclass(frozen=True, eq=False)
class TestSet:
    """One set: what to learn from, what to be measured on, candidates with prices learnt on train."""

    name: str
    train: Answered
    test: Answered
    pool: list[Candidate]
    paid: np.ndarray

    @classmethod
    def of(cls, name: str, train: pd.DataFrame, test: pd.DataFrame) -> "TestSet":
        given = cost_curves.task(train, test)
        test = test[~test["prompt"].isin(set(train["prompt"]))]
        names = given.learnt.names
        listed = test.pivot(index="query_id", columns="model", values="list_usd")
        held = Answered.of(test, names)
        order = dict.fromkeys(one.query_id for one in held.records)
        return cls(name, Answered.of(train, names), held, given.pool, listed.loc[list(order), list(names)].to_numpy())

    @cached_property
    def per_usd(self) -> np.ndarray:
        return WORTH / self.train.table.cost.mean(axis=0).max()

    @cached_property
    def before(self) -> Estimator:
        """Reads the query, for what a call will cost."""
        return estimators.Linear(alpha=10.0).fit(self.train.records)

    @cached_property
    def requests(self) -> list[Request]:
        return [request_of(self.test.table, row, self.pool) for row in range(len(self.test.rows))]

    def curve(self, chosen: np.ndarray, asked: np.ndarray) -> Curve:
        """From whose answer was returned, queries by settings, and who was asked, queries by settings by models."""
        rows = np.arange(len(chosen))[:, None]
        return self.test.table.quality[rows, chosen], np.stack([
            np.einsum("nkm,nm->nk", asked, cost) for cost in (self.test.table.cost, self.paid)
        ])  # fmt: skip


def walk(one: TestSet, look: Look, cost: np.ndarray) -> Curve:
    """`CascadeRouting` at every price at once; `look` gives mean and deviation of some queries, some answers given."""
    count, prices, models = len(one.test.rows), len(one.per_usd), len(one.pool)
    chosen, paid = np.zeros((count, prices), dtype=int), np.zeros((count, prices, models), dtype=bool)
    for start in range(0, count, CHUNK):
        part = np.arange(start, min(start + CHUNK, count))
        open_ = [((), *(grid.ravel() for grid in np.meshgrid(part, range(prices), indexing="ij")))]
        while open_:
            asked, query, price = open_.pop()
            rows, where = np.unique(query, return_inverse=True)
            mean, std = look(asked, rows)
            following = _next(asked, draw(mean, std, 0), cost[rows], one.per_usd[price], where)
            if asked:
                ends = following < 0
                # Of equals the last one asked, as the strategy has it.
                backwards = np.array(asked[::-1])
                best = backwards[mean[:, backwards].argmax(axis=1)]
                chosen[query[ends], price[ends]] = best[where[ends]]
            for model in set(following.tolist()) - {-1}:
                here = following == model
                paid[query[here], price[here], model] = True
                open_.append(((*asked, model), query[here], price[here]))
    return one.curve(chosen, paid)


def _next(
    asked: tuple[int, ...], drawn: np.ndarray, cost: np.ndarray, per_usd: np.ndarray, where: np.ndarray
) -> np.ndarray:
    """Who is asked next in each place, -1 for nobody."""
    models = drawn.shape[1]
    left = [model for model in range(models) if model not in asked]
    sizes = range(0 if asked else 1, min(DEPTH - len(asked), len(left)) + 1)
    sets = [s for size in sizes for s in combinations(left, size)]
    highest = {(): drawn[:, list(asked)].max(axis=1) if asked else np.full_like(drawn[:, 0], -np.inf)}
    worth = []
    for more in sets:
        if more:
            highest[more] = np.maximum(highest[more[:-1]], drawn[:, more[-1]])
        worth.append(highest[more].mean(axis=1))
    members = np.array([[model in more for model in range(models)] for more in sets])
    paid = cost @ members.T
    value = np.stack(worth, axis=1)[where] - per_usd[:, None] * paid[where]
    equal = value >= value.max(axis=1, keepdims=True) - 1e-9
    best = cost_curves.cheapest_of_equals(equal, sets, where, drawn, cost, asked)
    costs = np.where(members[best], cost[where], np.inf)
    return np.where(members[best].any(axis=1), costs.argmin(axis=1), -1)


def by_evidence(one: TestSet, learner: Evidence) -> Planned:
    """What `Evidence` expects, in bulk."""
    fitted, names = learner.fitted_, one.test.table.names
    who = np.array([fitted["names"].index(name) + 1 for name in names])
    given = read_answers(one.test.rows, normalized, fitted["encoder"])
    odds = own_odds(fitted, who, given)

    def look(asked: tuple[int, ...], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = np.isin(np.arange(len(names)), asked)
        there = np.tile(known.astype(float), (len(rows), 1))
        sure = sigmoid(odds_together(fitted, who, odds[rows], there, given.alike[rows]))
        best = np.where(known, sure, 0.0).max(axis=1) if asked else np.full(len(rows), 0.5)
        mean, std = outlook(fitted, who, best, np.full(len(rows), len(asked)))
        return np.where(known, sure, mean), np.where(known, 0.0, std)

    return look, forecast(one.before, one.requests, one.pool).cost


def by_parts(one: TestSet, learner: PrePost) -> Planned:
    """What `PrePost` expects, in bulk."""
    after = _confidences(learner.after, one.test)
    std = np.array([learner.moves_[name] for name in one.test.table.names])
    before = forecast(learner.before, one.requests, one.pool)

    def look(asked: tuple[int, ...], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = np.isin(np.arange(len(std)), asked)
        return np.where(known, after[rows], before.quality[rows]), np.tile(np.where(known, 0.0, std), (len(rows), 1))

    return look, before.cost


def _confidences(estimator: Any, given: Answered) -> np.ndarray:
    return np.array([
        [estimator.confidence(Request(text=text), one.call.candidate, [one]) for one in row]
        for text, row in zip(given.table.texts, given.rows, strict=True)
    ])  # fmt: skip


def evidence_of(sets: Sequence[TestSet], prior: Estimator) -> Evidence:
    """Learnt from the train records of the sets together."""
    return Evidence(prior=prior).fit([record for one in sets for record in one.train.records])


def parts_of(one: TestSet) -> PrePost:
    """A regression on the query and Platt's curve on the log-probability; moves from queries kept from the first."""
    ids = list(dict.fromkeys(record.query_id for record in one.train.records))
    hidden = {ids[place] for place in next(iter(tables.folds(len(ids), 3)))[1]}
    before = estimators.Linear(alpha=10.0).fit([r for r in one.train.records if r.query_id not in hidden])
    after = CalibratedConfidence(estimator=TokenConfidence()).fit(one.train.records)
    return PrePost(before=before, after=after).fit([r for r in one.train.records if r.query_id in hidden])


def cascade_routing(one: TestSet, learner: Estimator) -> Callable[[float], Strategy]:
    """The strategy as users have it, at a price of a USD."""
    return lambda per_usd: CascadeRouting(
        estimator=learner, utility=Utility(enough=1, per_usd=per_usd), max_depth=DEPTH
    )


def replayed(one: TestSet, make: Callable[[float], Strategy], found: Curve) -> int:
    """Replay some queries in the engine; return how many.

    Raises:
        ValueError: One went otherwise.
    """
    rows = np.random.default_rng(0).choice(len(one.test.rows), size=REPLAYED, replace=False)
    table = subset(one.test.table, rows=rows)
    outcomes = [
        {attempt.call.candidate.name: Outcome(text=attempt.text, logprobs=attempt.logprobs) for attempt in row}
        for row in (one.test.rows[place] for place in rows)
    ]
    for place in REPLAYED_PRICES:
        done = replay(make(float(one.per_usd[place])), table, one.pool, outcomes=outcomes)
        quality, cost = found[0][rows, place], found[1][0][rows, place]
        if not (np.array_equal(done.quality, quality) and np.allclose(done.cost, cost, rtol=1e-9)):
            raise ValueError(f"the engine does not do on {one.name} what `walk` says, at price {place}")
    return len(rows) * len(REPLAYED_PRICES)


def best_of(sets: Sequence[TestSet], task: cost_curves.Task, name: str, setting: Mapping[str, Any]) -> dict[str, Curve]:
    """`Best` over a learner of graded answers, which has learnt from all sets together."""
    learner = getattr(estimators, name)(**setting, encoder=cost_curves.Remembers(task.learnt.texts))
    learner.fit(task.train)
    found = {}
    for one in sets:
        expected = forecast(learner, one.requests, one.pool)
        value = expected.quality[:, None] - one.per_usd[:, None] * expected.cost[:, None]
        chosen = np.where(value >= value.max(axis=2, keepdims=True), expected.cost[:, None], np.inf).argmin(axis=2)
        found[one.name] = one.curve(chosen, np.eye(len(one.pool), dtype=bool)[chosen])
    return found


def tuned_cascade(one: TestSet) -> Curve:
    """`Cascade`: chains of up to three, cheapest first, with `tune_cascade`'s thresholds; the best on train at each
    price, by the calibrated probabilities of `CorrectnessCurve`."""
    two_sided = one.name not in ("mmlu", "medmcqa")
    seen, new = np.empty(one.train.logprob.shape), np.empty(one.test.logprob.shape)
    for model in range(len(one.pool)):
        fitted = CorrectnessCurve.fitted(
            one.train.logprob[:, model], one.train.table.quality[:, model], two_sided=two_sided, penalty=1.0
        )
        seen[:, model], new[:, model] = fitted(one.train.logprob[:, model]), fitted(one.test.logprob[:, model])
    price = one.train.table.cost.mean(axis=0)
    order = [int(model) for model in np.argsort(price)]
    never, best = np.ones(len(one.per_usd)), np.full(len(one.per_usd), -np.inf)
    plan: list[tuple[Sequence[int], np.ndarray]] = [((), np.empty(0))] * len(one.per_usd)
    for chain in (chain for size in (1, 2, 3) for chain in combinations(order, size)):
        accept = threshold_paths(seen[:, chain], price[list(chain)], one.per_usd, never)[0]
        for place, per_usd in enumerate(one.per_usd):
            chosen, asked = _cascade(seen, chain, accept[place])
            value = seen[np.arange(len(seen)), chosen].mean() - per_usd * (asked @ price).mean()
            if value > best[place]:
                best[place], plan[place] = value, (chain, accept[place])
    return one.curve(*map(_columns, zip(*(_cascade(new, *each) for each in plan), strict=True)))


def _columns(each: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(each, axis=1)


def _cascade(sure: np.ndarray, chain: Sequence[int], accept: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Whose answer is returned and who is asked: the last of the chain accepts whatever it says."""
    chosen, asked = np.full(len(sure), chain[-1]), np.zeros(sure.shape, dtype=bool)
    going = np.ones(len(sure), dtype=bool)
    for model, cut in zip(chain[:-1], accept, strict=False):
        asked[going, model] = True
        taken = going & (sure[:, model] > cut)
        chosen[taken] = model
        going &= ~taken
    asked[going, chain[-1]] = True
    return chosen, asked


def frugal(one: TestSet) -> Curve:
    """FrugalGPT: chains and thresholds for each of some budgets, by the scorer on answers that it has not learnt."""
    texts = [*one.train.table.texts, *{record.answer for record in one.train.records}]
    encoder = cost_curves.Remembers(texts)
    names = one.train.table.names
    seen = np.empty(one.train.logprob.shape)
    ids = list(dict.fromkeys(record.query_id for record in one.train.records))
    for learnt, held in tables.folds(len(ids), 3):
        known = {ids[place] for place in learnt}
        scorer = AnswerScorer(encoder=encoder).fit([r for r in one.train.records if r.query_id in known])
        part = replace(one.train, table=subset(one.train.table, rows=held), rows=[one.train.rows[i] for i in held])
        seen[held] = _confidences(scorer, part)
    new = _confidences(AnswerScorer(encoder=encoder).fit(one.train.records), one.test)
    price = one.train.table.cost.mean(axis=0)
    found = []
    for budget in np.geomspace(price.min() * 1.01, 2 * price.max(), BUDGETS):
        cascade = frugal_cascade(one.train.table, seen, budget=float(budget))
        chain = [names.index(name) for name in cascade.order]
        found.append(_cascade(new, chain, [cascade.accept.get(names[model], 0.0) for model in chain]))
    return one.curve(*map(_columns, zip(*found, strict=True)))


def agreeing(one: TestSet) -> Curve:
    """`AgreementCascade`: two models, and a third when they differ; at each price the three that do best on train."""
    every = range(len(one.pool))
    seen, new = (_said(part) for part in (one.train, one.test))
    triples = [(*pair, last) for pair in combinations(every, 2) for last in every if last not in pair]
    means = []
    for triple in triples:
        chosen, asked = _vote(seen, triple)
        quality = one.train.table.quality[np.arange(len(chosen)), chosen].mean()
        means.append((quality, (asked * one.train.table.cost).sum(axis=1).mean()))
    quality, cost = np.array(means).T
    best = (quality[:, None] - cost[:, None] * one.per_usd).argmax(axis=0)
    return one.curve(*map(_columns, zip(*(_vote(new, triples[place]) for place in best), strict=True)))


def _said(given: Answered) -> np.ndarray:
    return np.array([[normalized(one.text) for one in row] for row in given.rows], dtype=object)


def _vote(said: np.ndarray, triple: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    first, second, last = triple
    agree = said[:, first] == said[:, second]
    asked = np.zeros(said.shape, dtype=bool)
    asked[:, [first, second]] = True
    asked[~agree, last] = True
    return np.where(agree, first, last), asked


def hindsight(one: TestSet) -> Iterator[tuple[float, float]]:
    """Quality and USD of every cascade of two with every threshold, on test: to compare with, nobody could know it."""
    grades, costs, sure = one.test.table.quality, one.test.table.cost, one.test.logprob
    for small, large in permutations(range(len(one.pool)), 2):
        order = np.argsort(sure[:, small], kind="stable")
        steps = (grades[:, large] - grades[:, small])[order], costs[order, large]
        quality = grades[:, small].mean() + np.cumsum(steps[0]) / len(order)
        cost = costs[:, small].mean() + np.cumsum(steps[1]) / len(order)
        yield from zip(quality.tolist(), cost.tolist(), strict=True)
