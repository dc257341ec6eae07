"""How well `Difficulty` ranks real questions: AUROC of "this model answers it right", from easy to hard.

Reads the `cascades` records (train split) of the folder given as DATA, which are not part of this project.

    python tests/benchmarks/difficulty.py DATA [--out tests/benchmarks/results/difficulty.md]
"""

import argparse
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from router_integrations import Difficulty, Request


def auroc(rows: pd.DataFrame) -> str:
    right = rows["quality"] > 0.5
    return f"{roc_auc_score(right, -rows['difficulty']):.3f}" if right.nunique() == 2 else "-"


def table(data: Path) -> str:
    queries = pd.read_parquet(data / "cascades" / "queries.parquet")
    queries = queries[queries["split"] == "train"]
    estimator = Difficulty()
    queries["difficulty"] = [estimator.difficulty(Request(text=prompt)) for prompt in queries["prompt"]]
    outcomes = pd.read_parquet(data / "cascades" / "outcomes.parquet")
    rows = outcomes.merge(queries[["query_id", "dataset", "difficulty"]], on="query_id")
    datasets = sorted(queries["dataset"].unique())
    lines = ["| model | " + " | ".join(datasets) + " | all together |", "|---" * (len(datasets) + 2) + "|"]
    for model, of_model in rows.groupby("model"):
        within = [auroc(of_model[of_model["dataset"] == dataset]) for dataset in datasets]
        lines.append(f"| {model} | " + " | ".join(within) + f" | {auroc(of_model)} |")
    means = queries.groupby("dataset")["difficulty"].mean()
    lines.append("| mean difficulty | " + " | ".join(f"{means[dataset]:.2f}" for dataset in datasets) + " | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = f"""# What the default difficulty estimator knows

`python tests/benchmarks/difficulty.py DATA`, on the train split of the records of arXiv 2502.09054. AUROC of "this
model answers it right" when questions are ranked from easy to hard: 1 is perfect, 0.5 is chance.

{table(options.data)}

Within a set of one kind of question it is a little better than chance; across sets it is worse than chance, for long
arithmetic problems look hard and modern models find them easy. It is meant for mixed traffic, greetings beside proofs,
which these sets are not, and is no substitute for a router trained on your own records.
"""
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
