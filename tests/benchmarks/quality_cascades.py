"""Routing between nine models on four sets of questions: the records of arXiv 2502.09054."""

from pathlib import Path

import cost_curves
import tables


def report(data: Path) -> str:
    """The table, in Markdown."""
    train = tables.outcomes(data, "cascades", split="train")
    # GSM8K has no test split.
    train = train[train["dataset"] != "gsm8k"]
    test = tables.outcomes(data, "cascades", split="test")
    about = (
        "Nine models (Llama 3.1 and 3.2, GPT-4o, Qwen 2.5) on MMLU, MedMCQA, TriviaQA and TruthfulQA, records of "
        "arXiv 2502.09054, their train and test splits; GSM8K, which has no test split, is left out. The recorded "
        "costs of TriviaQA and TruthfulQA are about three times tokens times list price; they seem to hold "
        "the grader's calls."
    )
    return cost_curves.report("Routing on the cascades records", about, cost_curves.task(train, test))
