"""Which difficulty should be the default: the heuristic, or one trained on records that could be shipped with it?

Each entrant ranks the queries of sets that it never saw from easy to hard; a router between a weak and a strong model
sends the hardest to the strong one. APGR is 0.5 for a random order (arXiv 2406.18665).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tables
from sklearn.linear_model import LogisticRegression

from router_integrations import Difficulty, HashingEncoder, Request
from router_integrations.encoders import Encoder
from router_integrations.evaluation import apgr, bootstrap, strong_share
from router_integrations.evaluation.bootstrap import Interval
from router_integrations.records import read

# Of each set the pair that is routed between, weak before strong.
PAIRS = {
    "cascades": ("llama3.1-8b", "gpt-4o"),
    "routerbench": ("mistralai/mixtral-8x7b-chat", "gpt-4-1106-preview"),
    "routellm": ("mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"),
}
# MMLU and GSM8K are what the trained entrants learn from.
TEST = {
    "cascades": ("medmcqa", "triviaqa", "truthfulqa"),
    "routerbench": ("arc_challenge", "mbpp", "winogrande"),
    "routellm": ("mt_bench",),
}
OWN = Path(__file__).parents[2] / "cookbooks" / "own_runs.jsonl"
Ranker = Callable[[Sequence[str]], np.ndarray]


def pairs(data: Path, name: str, datasets: Sequence[str]) -> pd.DataFrame:
    """Prompt, data set, and the grades of the weak and the strong model."""
    rows = tables.outcomes(data, name, split="test")
    rows = rows[rows["dataset"].isin(datasets)]
    weak, strong = PAIRS[name]
    grades = rows.pivot_table(index=["dataset", "prompt"], columns="model", values="quality")[[weak, strong]].dropna()
    return grades.set_axis(["weak", "strong"], axis=1).reset_index()


def runs(path: Path) -> pd.DataFrame:
    """Prompt and grade of the local model with little to say, as `own_runs.py` wrote them."""
    rows = pd.DataFrame(
        {"prompt": record.text, "weak": record.quality} for record in read(path) if record.candidate == "brief"
    )
    return rows.drop_duplicates("prompt")


class Features:
    """The features of `Difficulty` as a vector."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([list(Difficulty().features(Request(text=text)).values()) for text in texts], dtype=np.float32)


def heuristic(texts: Sequence[str]) -> np.ndarray:
    return np.array([Difficulty().difficulty(Request(text=text)) for text in texts])


def length(texts: Sequence[str]) -> np.ndarray:
    return np.array([float(len(text)) for text in texts])


def trained(encoder: Encoder, learnt: pd.DataFrame) -> Ranker:
    """Ranks by the chance that the weak model is wrong, learnt from its grades."""
    wrong = (learnt["weak"] < 0.5).astype(int)
    model = LogisticRegression(max_iter=1000).fit(encoder.encode(list(learnt["prompt"])), wrong)
    return lambda texts: model.predict_proba(encoder.encode(texts))[:, 1]


def entrants(data: Path) -> dict[str, Ranker]:
    learnt = pairs(data, "routellm", ("mmlu", "gsm8k"))
    hashing = HashingEncoder().fit(list(learnt["prompt"]))
    own = runs(OWN)
    return {
        "`Difficulty`, the heuristic": heuristic,
        "length of the query alone": length,
        "its features, weighed on RouteLLM's labels": trained(Features(), learnt),
        "vectors of `HashingEncoder`, on RouteLLM's labels": trained(hashing, learnt),
        "its features, weighed on our own runs": trained(Features(), own),
        "vectors of `HashingEncoder`, on our own runs": trained(HashingEncoder().fit(list(own["prompt"])), own),
    }


def figure(scores: np.ndarray, grades: pd.DataFrame, drawn: np.ndarray | slice = slice(None)) -> float:
    low, high = (grades[side].to_numpy()[drawn] for side in ("weak", "strong"))
    if not high.mean() > low.mean():  # rare draws of a small set, where nothing can be gained
        return 0.5
    return apgr(*strong_share(scores[drawn], low, high), weak=low.mean(), strong=high.mean())


def cell(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def means_of_sets(scores: dict[str, np.ndarray], sets: dict[str, pd.DataFrame]) -> np.ndarray:
    """The mean over the sets, first as measured, then with each set drawn anew, the same draws for every entrant."""
    rng = np.random.default_rng(0)
    found = [np.mean([figure(scores[name], rows) for name, rows in sets.items()])]
    for _ in range(1000):
        drawn = {name: rng.integers(0, len(rows), len(rows)) for name, rows in sets.items()}
        found.append(np.mean([figure(scores[name], rows, drawn[name]) for name, rows in sets.items()]))
    return np.array(found)


def interval(means: np.ndarray) -> Interval:
    low, high = np.quantile(means[1:], [0.025, 0.975])
    return Interval(value=float(means[0]), low=float(low), high=float(high))


def report(data: Path) -> str:
    tests = pd.concat([pairs(data, name, datasets) for name, datasets in TEST.items()], ignore_index=True)
    sets = dict(list(tests.groupby("dataset")))
    rows, first = [], None
    for label, rank in entrants(data).items():
        ranked = {dataset: rank(list(grades["prompt"])) for dataset, grades in sets.items()}
        together = np.concatenate(list(ranked.values())), pd.concat(sets.values())
        cells = [
            cell(bootstrap(lambda drawn, at=at: figure(*at, drawn), len(at[1]), draws=1000))
            for at in [*((ranked[name], sets[name]) for name in sets), together]
        ]
        means = means_of_sets(ranked, sets)
        first = means if first is None else first
        rows.append([label, *cells, cell(interval(means)), cell(interval(means - first))])
    header = [
        "ranked by",
        *(f"{name} ({len(grades)})" for name, grades in sets.items()),
        "pooled",
        "mean of the sets",
        "less the first row",
    ]
    return f"""# What the default estimator should be

APGR of sending the hardest queries to the strong model (0.5 is a random order), with 95 % intervals by bootstrap over
queries. The pairs are Llama-3.1-8B and GPT-4o (MedMCQA, TriviaQA, TruthfulQA), Mixtral-8x7B and GPT-4 (ARC-Challenge,
MBPP, Winogrande, MT-Bench). No entrant has seen any of these sets.

{tables.markdown(header, rows)}

What counts is the mean of the sets less that of the heuristic, whose interval is paired: one that includes 0 is no win.
Pooled figures mix pairs and kinds of question. RouteLLM's labels are grades of Mixtral on MMLU and GSM8K; our own runs
are those of `own_runs.py`, a 135M model on questions that we wrote. Neither wins, so the heuristic stays the default.
It also knows tools, turns and schemas, which no exam teaches, needs no array in the wheel and no numpy to decide. It
is weak all the same, and no substitute for a router trained on your own records.
"""
