"""RouteLLM's sets: GPT-4-1106 or Mixtral 8x7B for each query of MMLU, GSM8K and MT-Bench (arXiv 2406.18665).

Two settings that are never mixed: learning from arena battles alone, and from grades on the other half of the set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables

from router_integrations import Candidate, Difficulty, HashingEncoder, Request
from router_integrations.estimators import (
    MIRT,
    MLP,
    BradleyTerry,
    DomainQuality,
    DualContrastive,
    Eagle,
    KMeansQuality,
    LearnedMap,
    Linear,
    Matching,
    MatrixFactorization,
    Neighbors,
    PromptBradleyTerry,
    SimilarityWeighted,
    Zooter,
)
from router_integrations.evaluation import apgr, bootstrap, cpt, strong_share
from router_integrations.evaluation.bootstrap import Interval
from router_integrations.learning import Record

STRONG, WEAK = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
# What the arena calls the weak one.
ARENA_WEAK = "mixtral-8x7b-instruct-v0.1"
HEADER = ("router", "settings", "APGR", "CPT(50 %)", "CPT(80 %)")
TITLES = {"mmlu": "MMLU", "gsm8k": "GSM8K", "mt_bench": "MT-Bench"}
# Length of the vectors of words for what is learnt on a half of the set.
DIMENSIONS = 256
# Times that a set is halved anew: what a split alone does to the small one is .02 of APGR.
REPEATS = {"mmlu": 1, "gsm8k": 3}
# Learners that read all battles for each query are measured on this many queries of MMLU.
FEW = 1500
Scores = np.ndarray
REPORTED = [
    ("MMLU", "BERT", ".527", "45.9", "75.3"),
    ("MMLU", "causal LLM", ".545", "43.0", "74.6"),
    ("MMLU", "MF", ".542", "40.8", "74.5"),
    ("MMLU", "SW", ".550", "46.8", "76.4"),
    ("GSM8K", "BERT", ".539", "44.2", "78.7"),
    ("GSM8K", "causal LLM", ".631", "32.8", "62.4"),
    ("GSM8K", "MF", ".571", "38.4", "72.2"),
    ("GSM8K", "SW", ".559", "40.8", "71.9"),
    ("MT-Bench", "MF, arena and judged battles", ".802", "13.4", "31.3"),
    ("MT-Bench", "MF, arena alone (from memory)", ".580", "", ""),
    ("MT-Bench", "BERT, arena alone (from memory)", ".391", "", ""),
]
TEXT = """\
# Strong or weak: RouteLLM's sets

GPT-4-1106 (strong) and Mixtral 8x7B (weak), without the queries that the paper drops as contaminated. APGR is the area
under the share of the gap that is recovered, by share of strong calls: 0.5 at random. CPT(x) is the share of strong
calls, in percent, that recovers x of the gap. In brackets 95 % intervals of a bootstrap over queries (1,000 draws, seed
0).

{ends}

## (a) Learnt from arena battles alone

5,000 battles among 60 models, both of ours among them. A row says only whether the stronger side won: ties count as
losses. Global Bradley-Terry on them gives GPT-4-1106 a chance of {chance} against Mixtral and says so for every query.
*Named* learners (`PromptBradleyTerry`, `SimilarityWeighted`, `Eagle`) rate all 60 models; the others learn which side
wins, whoever is on it, and send to GPT-4 what the strong side wins. *Words* are 64 dimensions of a `HashingEncoder`
fitted on the battles, *features* five of those of `Difficulty`. Settings: lowest log loss in three folds of the
battles. The MF router's formula, a product of a candidate's vector and a projection of the query, is that of
`PromptBradleyTerry` with `rank`, with a ridge in place of vectors of length 1; `MatrixFactorization` grades candidates
one by one and does not compare them.

{arena}

## (b) Learnt from grades on the other half of the set

Two folds by query; each half is routed by what was learnt on the other. MMLU is halved once (seed 0); GSM8K, where
the split matters more than the method, three times (seeds 0 to 2), and the figures are the means. Vectors are
{dimensions} dimensions of a `HashingEncoder` fitted on the half learnt from. Settings: highest APGR on a third of that
half, learnt on the rest; the commonest choice is shown. What scans all records for each query is left out on MMLU, for
time. The subject of an MMLU question is the `domain` of the records learnt from; no router is told that of a query.

{inside}

## Reported

Figures of others, learnt from other data than either of ours (the whole arena, judged battles), so they are beside the
tables and not in them.

{reported}
"""


@dataclass(frozen=True, slots=True)
class Set:
    """A set of queries with the grades of both models."""

    prompts: list[str]
    domains: list[str]
    weak: np.ndarray
    strong: np.ndarray

    def at(self, rows: np.ndarray) -> "Set":
        return Set(
            [self.prompts[row] for row in rows], [self.domains[row] for row in rows], self.weak[rows], self.strong[rows]
        )

    def records(self) -> list[Record]:
        return [
            Record(text=text, candidate=name, quality=float(grade), domain=domain, query_id=str(row))
            for row, (text, domain, *both) in enumerate(
                zip(self.prompts, self.domains, self.strong, self.weak, strict=True)
            )
            for name, grade in zip((STRONG, WEAK), both, strict=True)
        ]


def loaded(data: Path) -> dict[str, Set]:
    """The sets without what the paper drops as contaminated."""
    rows = tables.outcomes(data, "routellm")
    rows = rows[~rows["contaminated"]]
    found = {}
    for name, part in rows.groupby("dataset"):
        grades = part.pivot(index="query_id", columns="model", values="quality")
        texts = part.drop_duplicates("query_id").set_index("query_id").loc[grades.index]
        domains = texts["subject"].fillna("").tolist()
        found[name] = Set(texts["prompt"].tolist(), domains, grades[WEAK].to_numpy(), grades[STRONG].to_numpy())
    return found


def figures(scores: Sequence[Scores], one: Set) -> list[str]:
    """APGR and both CPT with their intervals, each the mean over the given rankings of the same queries."""
    curves = [curve_of(ranking, one) for ranking in scores]

    def measured(figure: Callable[..., float], **options: float) -> Interval:
        def statistic(drawn: np.ndarray) -> float:
            count = np.bincount(drawn, minlength=len(one.weak))
            found = []
            for curve in curves:
                shares, quality = curve(count)
                found.append(figure(shares, quality, weak=quality[0], strong=quality[-1], **options))
            return float(np.mean(found))

        return bootstrap(statistic, len(one.weak), draws=1000)

    area = measured(apgr)
    return [f"{area.value:.3f} [{area.low:.3f}, {area.high:.3f}]"] + [
        tables.percent(measured(cpt, recovered=share)) for share in (0.5, 0.8)
    ]


def curve_of(scores: Scores, one: Set) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What `strong_share` computes, for queries that count several times, sorted once."""
    order = np.argsort(-scores, kind="stable")
    weak, gain = one.weak[order], (one.strong - one.weak)[order]
    # Queries with equal scores move together.
    ends = np.append(np.diff(scores[order]) != 0, True)

    def curve(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = count[order]
        total = count.sum()
        shares = np.append(0.0, np.cumsum(count)[ends] / total)
        quality = ((count * weak).sum() + np.append(0.0, np.cumsum(count * gain)[ends])) / total
        kept = np.append(True, np.diff(shares) > 0)
        return shares[kept], quality[kept]

    return curve


def area(scores: Scores, one: Set) -> float:
    """APGR alone."""
    return apgr(
        *strong_share(scores, one.weak, one.strong), weak=float(one.weak.mean()), strong=float(one.strong.mean())
    )


class Known:
    """An encoder whose vectors are computed once."""

    def __init__(self, encoder: Any, texts: Sequence[str]) -> None:
        distinct = list(dict.fromkeys(texts))
        self.rows = {text: row for row, text in enumerate(distinct)}
        self.vectors = encoder.encode(distinct)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self.vectors[[self.rows[text] for text in texts]]


class Features:
    """The features of `Difficulty`, less their mean over `texts`, in units of their deviation."""

    def __init__(self, texts: Sequence[str]) -> None:
        raw = self.raw(texts)
        self.mean, self.deviation = raw.mean(axis=0), raw.std(axis=0) + 1e-6

    def raw(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([list(Difficulty().features(Request(text=text)).values())[:5] for text in texts])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return ((self.raw(texts) - self.mean) / self.deviation / 5).astype(np.float32)


def pair(*names: str) -> list[Candidate]:
    return [Candidate(name, model=object()) for name in names]


def preferred(learner: Any, texts: Sequence[str], strong: str, weak: str) -> Scores:
    """How much more a learner expects of the strong one; of ratings their difference, as RouteLLM does."""
    pool = pair(strong, weak)
    if hasattr(learner, "win_probability"):
        return np.concatenate(
            [learner.win_probability(texts[at : at + 500], pool)[:, 0, 1] for at in range(0, len(texts), 500)]
        )
    quality, _ = learner.predict(texts, pool)
    return quality[:, 0] - quality[:, 1]


# Arena battles alone: (learner, options to choose from, whether it learns all names or "strong" and "weak" only).
Entrant = tuple[str, Callable[..., Any], list[dict[str, Any]]]
NAMED: list[Entrant] = [
    ("`PromptBradleyTerry`", PromptBradleyTerry, tables.grid(ridge=[3.0, 30.0])),
    ("`PromptBradleyTerry`, the MF router", PromptBradleyTerry, tables.grid(ridge=[10.0], rank=[1, 8])),
    ("`SimilarityWeighted`, the SW router", SimilarityWeighted, [{"ridge": 1.0}]),
    ("`Eagle`", Eagle, [{}]),
]
SCANS = (SimilarityWeighted, Eagle)
TWO: list[Entrant] = [
    ("`Linear`, logistic", Linear, tables.grid(link=["logistic"], alpha=[3.0, 30.0])),
    ("`Linear`, ridge", Linear, tables.grid(alpha=[3.0, 30.0])),
    ("`Neighbors`", Neighbors, tables.grid(k=[50, 150, 400])),
    ("`MatrixFactorization`", MatrixFactorization, tables.grid(alpha=[1e-3, 3e-3], dimensions=[4])),
    ("`KMeansQuality`", KMeansQuality, tables.grid(clusters=[8, 32])),
]


def battle_records(rows: pd.DataFrame) -> list[Record]:
    return [
        Record(text=one.prompt, candidate=one.strong, over=one.weak, quality=float(one.strong_won), query_id=str(at))
        for at, one in enumerate(rows.itertuples())
    ]


def outcome_records(rows: pd.DataFrame) -> list[Record]:
    """Battles as grades of the strong and the weak side, whoever they were."""
    return [
        Record(text=one.prompt, candidate=name, quality=float(won), query_id=str(at))
        for at, one in enumerate(rows.itertuples())
        for name, won in (("strong", one.strong_won), ("weak", 1 - one.strong_won))
    ]


def log_loss(chances: np.ndarray, won: np.ndarray) -> float:
    sure = np.clip(chances, 1e-3, 1 - 1e-3)
    return float(-(won * np.log(sure) + (1 - won) * np.log(1 - sure)).mean())


def won_chances(learner: Any, rows: pd.DataFrame) -> np.ndarray:
    """The chance that the strong side wins, as a learner of names, or of two sides, sees it."""
    texts = rows["prompt"].tolist()
    if not hasattr(learner, "win_probability"):
        return learner.predict(texts, pair("strong"))[0][:, 0]
    names = sorted({*rows["strong"], *rows["weak"]})
    at = {name: place for place, name in enumerate(names)}
    left, right = rows["strong"].map(at).to_numpy(), rows["weak"].map(at).to_numpy()
    found = np.empty(len(rows))
    for start in range(0, len(rows), 250):
        part = slice(start, start + 250)
        chances = learner.win_probability(texts[part], pair(*names))
        found[part] = chances[np.arange(len(chances)), left[part], right[part]]
    return found


def cross_validated(
    make: Callable[..., Any], rows: pd.DataFrame, records: Callable[..., list[Record]], options: Mapping[str, Any]
) -> float:
    """Minus the log loss of battles held back, which is higher when better."""
    losses = [
        log_loss(
            won_chances(make(**options).fit(records(rows.iloc[learnt])), rows.iloc[held]),
            rows["strong_won"].to_numpy()[held],
        )
        for learnt, held in tables.folds(len(rows), 3)
    ]
    return -float(np.mean(losses))


def arena(data: Path, sets: Mapping[str, Set]) -> str:
    """The tables of what battles alone teach."""
    rows = pd.read_parquet(data / "battles" / "battles.parquet")
    every = [*rows["prompt"], *(text for one in sets.values() for text in one.prompts)]
    encoders = {
        "words": Known(HashingEncoder(dimensions=64).fit(rows["prompt"].tolist()), every),
        "features": Known(Features(rows["prompt"].tolist()), every),
    }
    lines: dict[str, list[list[str]]] = {name: [] for name in sets}
    jobs = [(entrant, battle_records, STRONG, ARENA_WEAK) for entrant in NAMED]
    jobs += [(entrant, outcome_records, "strong", "weak") for entrant in TWO]
    for (title, kind, settings), records, strong, weak in jobs:
        for vectors, encoder in encoders.items():
            if kind in SCANS and vectors == "features":
                continue
            make = partial(kind, encoder=encoder)
            options = tables.chosen(settings, partial(cross_validated, make, rows, records))
            learner = make(**options).fit(records(rows))
            for name, one in sets.items():
                few = kind in SCANS and len(one.prompts) > FEW
                asked = one.at(np.random.default_rng(0).permutation(len(one.prompts))[:FEW]) if few else one
                label = f"{title}, {vectors}" + (f" ({FEW:,} queries)" if few else "")
                scores = preferred(learner, asked.prompts, strong, weak)
                lines[name].append([label, tables.settings_in_words(options), *figures([scores], asked)])
    return sections(lines)


def strengths(data: Path) -> str:
    """Global Bradley-Terry, which says the same for every query."""
    rows = pd.read_parquet(data / "battles" / "battles.parquet")
    learner = BradleyTerry(encoder=HashingEncoder(dimensions=8)).fit(battle_records(rows))
    chance = learner.win_probability(["any"], pair(STRONG, ARENA_WEAK))[0, 0, 1]
    return f"{chance:.2f}"


INSIDE: list[Entrant] = [
    ("`Linear`, ridge", Linear, tables.grid(alpha=[1.0, 3.0, 10.0])),
    ("`Linear`, logistic", Linear, tables.grid(link=["logistic"], alpha=[0.3, 1.0, 3.0])),
    ("`DomainQuality`", DomainQuality, tables.grid(alpha=[10.0, 30.0], domain_alpha=[0.1])),
    ("`Zooter`", Zooter, tables.grid(temperature=[0.5], own=[1.0, 0.6], alpha=[0.3, 1.0])),
    ("`Matching`", Matching, tables.grid(alpha=[0.3, 1.0, 3.0])),
    ("`PromptBradleyTerry`", PromptBradleyTerry, tables.grid(ridge=[0.3, 1.0, 3.0])),
    ("`PromptBradleyTerry`, the MF router", PromptBradleyTerry, tables.grid(ridge=[0.3, 1.0], rank=[8])),
    ("`MatrixFactorization`", MatrixFactorization, tables.grid(alpha=[3e-4, 1e-3], dimensions=[16])),
    ("`MIRT`", MIRT, tables.grid(alpha=[1e-4, 1e-3], dimensions=[8])),
    ("`MLP`", MLP, [{"hidden": 32}]),
    ("`DualContrastive`", DualContrastive, [{}]),
    ("`KMeansQuality`", KMeansQuality, tables.grid(clusters=[16, 64])),
    ("`LearnedMap`", LearnedMap, [{}]),
    ("`Neighbors`", Neighbors, tables.grid(k=[20, 60, 150])),
    ("`SimilarityWeighted`, the SW router", SimilarityWeighted, [{"ridge": 1.0}]),
    ("`Eagle`", Eagle, [{}]),
]


def inside(sets: Mapping[str, Set]) -> str:
    """The tables of what grades on the other half of a set teach."""
    lines: dict[str, list[list[str]]] = {}
    for name, repeats in REPEATS.items():
        one = sets[name]
        parts = [part for seed in range(repeats) for part in tables.folds(len(one.prompts), 2, seed=seed)]
        encoders = [
            Known(HashingEncoder(dimensions=DIMENSIONS).fit(one.at(learnt).prompts), one.prompts) for learnt, _ in parts
        ]
        lines[name] = [
            halves(entrant, one, list(zip(parts, encoders, strict=True)))
            for entrant in INSIDE
            if entrant[1] not in SCANS or name != "mmlu"
        ]
    return sections(lines)


def halves(entrant: Entrant, one: Set, parts: Sequence[tuple[tuple[np.ndarray, np.ndarray], Known]]) -> list[str]:
    """The row of an entrant: each half of the queries is ranked by what was learnt on the other."""
    title, kind, settings = entrant
    rankings, words = [], []
    for place, ((learnt, held), encoder) in enumerate(parts):
        make = partial(kind, encoder=encoder)
        options = tables.chosen(settings, partial(tried, make, one.at(learnt)))
        learner = make(**options).fit(one.at(learnt).records())
        words.append(tables.settings_in_words(options))
        if place % 2 == 0:
            rankings.append(np.zeros(len(one.prompts)))
        rankings[-1][held] = preferred(learner, one.at(held).prompts, STRONG, WEAK)
    usual = max(dict.fromkeys(words), key=words.count)
    return [title, usual, *figures(rankings, one)]


def tried(make: Callable[..., Any], one: Set, options: Mapping[str, Any]) -> float:
    """APGR on a third of what there is to learn from, learnt on the rest."""
    learnt, held = next(tables.folds(len(one.prompts), 3, seed=1))
    learner = make(**options).fit(one.at(learnt).records())
    return area(preferred(learner, one.at(held).prompts, STRONG, WEAK), one.at(held))


def sections(lines: Mapping[str, list[list[str]]]) -> str:
    return "\n\n".join(f"### {TITLES[name]}\n\n{tables.markdown(HEADER, rows)}" for name, rows in lines.items())


def report(data: Path) -> str:
    sets = loaded(data)
    ends = [
        [TITLES[name], len(one.prompts), f"{one.weak.mean():.3f}", f"{one.strong.mean():.3f}"]
        for name, one in sets.items()
    ]
    return TEXT.format(
        ends=tables.markdown(("set", "queries", "Mixtral", "GPT-4"), ends),
        chance=strengths(data),
        dimensions=DIMENSIONS,
        arena=arena(data, sets),
        inside=inside(sets),
        reported=tables.markdown(("set", "router", "APGR", "CPT(50 %)", "CPT(80 %)"), REPORTED),
    )
