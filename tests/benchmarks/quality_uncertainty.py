"""How well each confidence tells right answers from wrong ones, per model and set of questions."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import tables

from router_integrations.candidates import Candidate
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import (
    Agreement,
    AnswerScorer,
    CalibratedConfidence,
    CodeSyntax,
    Completeness,
    SampleSimilarity,
    SelfConsistency,
    SemanticEntropy,
    TokenConfidence,
)
from router_integrations.estimators.answers import AnswerEstimator
from router_integrations.evaluation.bootstrap import bootstrap
from router_integrations.evaluation.metrics import auroc, ece
from router_integrations.evaluation.selective import auarc
from router_integrations.learning import Record
from router_integrations.types import Attempt, Call, Request

# As many samples as the published points of mixture of thoughts take.
SAMPLES = 7
DRAWS = 1000
ABOUT = """# Confidence in answers

Percent, with 95 % intervals over queries where they are given. AUROC: how often a right answer has more confidence
than a wrong one. AUARC: the mean accuracy of the surest k answers over all k; chance gives the accuracy. ECE: expected
calibration error, 15 bins. Every option is the default. Two things were changed after looking at figures of these
sets: infinite log-probabilities are clipped (the scorer's first run on triviaqa showed the fault), and how `CodeSyntax`
finds the code of an answer was settled on right MBPP answers that it had failed, so its MBPP figures are in-sample."""


def report(data: Path) -> str:
    """The tables, in Markdown."""
    return "\n\n".join([ABOUT, token_confidence(data), syntax(data), consistency(data)])


def token_confidence(data: Path) -> str:
    """Mean token probability on `cascades`, as it is, calibrated, and beside a learnt scorer."""
    train, test = (answered(tables.outcomes(data, "cascades", split=split)) for split in ("train", "test"))
    lines, means = [], []
    for dataset in sorted(test["dataset"].unique()):
        seen, new = records(train[train["dataset"] == dataset]), records(test[test["dataset"] == dataset])
        learnt = {
            "as it is": TokenConfidence(),
            "platt": CalibratedConfidence(estimator=TokenConfidence()).fit(seen),
            "isotonic": CalibratedConfidence(estimator=TokenConfidence(), method="isotonic").fit(seen),
            "scorer": AnswerScorer().fit(seen),
        }
        for model in sorted({one.candidate for one in new}):
            own = [one for one in new if one.candidate == model]
            right = np.array([one.quality for one in own])
            sure = {name: confidences(estimator, own) for name, estimator in learnt.items()}
            errors = {name: 100 * ece(found, right) for name, found in sure.items()}
            lines.append(
                [
                    dataset,
                    model,
                    f"{100 * right.mean():.1f}",
                    *measured(sure["as it is"], right),
                    f"{errors['as it is']:.1f}",
                ]
                + [f"{errors[name]:.1f}" for name in ("platt", "isotonic")]
                + [f"{100 * ranked(sure['scorer'], right):.1f}", f"{errors['scorer']:.1f}"]
            )
            means.append([dataset, ranked(sure["as it is"], right), ranked(sure["scorer"], right), *errors.values()])
    header = ["set", "model", "accuracy", "AUROC", "AUARC", "ECE", "ECE, Platt", "ECE, isotonic"]
    every = pd.DataFrame(means).groupby(0).mean()
    short = [
        [name, *(f"{100 * row[at]:.1f}" for at in (1, 2)), *(f"{row[at]:.1f}" for at in range(3, 7))]
        for name, row in every.iterrows()
    ]
    return "\n\n".join(
        [
            "## Token probability on `cascades`, test split",
            "`TokenConfidence()`, the mean token probability; the records hold the mean alone, so sums, quantiles and "
            "`QuantileClassifier` cannot be measured. Platt's and isotonic curves, and `AnswerScorer()` (question, "
            "answer, length, mean), learn from the 285 to 300 train queries of the set, a model's curve from its own "
            "answers. Infinite confidences count as 0.",
            tables.markdown([*header, "AUROC, scorer", "ECE, scorer"], lines),
            "Means over the nine models:",
            tables.markdown(
                ["set", "AUROC", "AUROC, scorer", "ECE", "ECE, Platt", "ECE, isotonic", "ECE, scorer"], short
            ),
        ]
    )


def syntax(data: Path) -> str:
    """Python's parser on the code of MBPP, and signals of length and refusal on the three sets of `routerbench`."""
    rows = tables.outcomes(data, "routerbench")
    rows["response"] = [ast.literal_eval(text)[0] for text in rows["response"]]
    code, signals = [], []
    for (dataset, model), own in rows.groupby(["dataset", "model"]):
        found = [
            Record(text=r["prompt"], candidate=model, quality=r["quality"], answer=r["response"])
            for r in own.to_dict("records")
        ]
        right = (own["quality"].to_numpy() > 0.5).astype(float)
        complete = confidences(Completeness(), found)
        if (complete == 0).any():
            signals.append([dataset, model, len(own), *split(complete, right)])
        if dataset == "mbpp":
            parses = confidences(CodeSyntax(), found)
            code.append([model, *split(parses, right), f"{100 * ranked(parses, right):.1f}"])
    return "\n\n".join(
        [
            "## Syntax and other signals on `routerbench`, all 3,178 queries",
            "`CodeSyntax()` on the 427 MBPP answers: those that parse and those that do not.",
            tables.markdown(["model", "fails", "accuracy of those", "accuracy of the rest", "AUROC"], code),
            "`Completeness()`, where it finds any answer empty, or a refusal (finish reasons are not in the records):",
            tables.markdown(["set", "model", "answers", "fails", "accuracy of those", "accuracy of the rest"], signals),
        ]
    )


def consistency(data: Path) -> str:
    """Votes, entropy and similarity of samples on `mot_date`, and the agreement of prompts."""
    queries = pd.read_parquet(data / "mot_date" / "queries.parquet").set_index("query_id")
    rows = pd.read_parquet(data / "mot_date" / "outcomes.parquet")
    rows = rows[(rows["model"] == "gpt-3.5-turbo") & rows["source"].isin(["cot1", "cot2", "pot1", "pot2"])]
    lines = []
    votes: dict[str, dict[str, str]] = {}
    for source, own in rows.groupby("source"):
        truth = queries.loc[own["query_id"], "answer"].to_numpy()
        drawn = [[str(one) for one in answers[:SAMPLES]] for answers in own["sample_answers"]]
        texts = [[str(one) for one in given[:SAMPLES]] for given in own["samples"]]
        candidate = Candidate(str(source), model=source)
        asked = [[replied(candidate, one) for one in answers] for answers in drawn]
        winners = [SelfConsistency().answer(candidate, attempts) for attempts in asked]
        votes[str(source)] = {query: won.text for query, won in zip(own["query_id"], winners, strict=True) if won}
        right = np.array(
            [float(won is not None and won.text == gold) for won, gold in zip(winners, truth, strict=True)]
        )
        spoken = [[replied(candidate, one) for one in given] for given in texts]
        for name, estimator, attempts in (
            ("`SelfConsistency()`", SelfConsistency(), asked),
            ("`SemanticEntropy()`", SemanticEntropy(), asked),
            ("`SampleSimilarity()` of the whole texts", SampleSimilarity(), spoken),
        ):
            sure = np.array([estimator.confidence(Request(text=""), candidate, one) for one in attempts], dtype=float)
            lines.append(
                [source, name, f"{100 * right.mean():.1f}", *measured(sure, right), f"{100 * ece(sure, right):.1f}"]
            )
    lines.append(agreed(votes, queries["answer"]))
    return "\n\n".join(
        [
            "## Samples on `mot_date`, all 369 queries",
            f"GPT-3.5, the first {SAMPLES} samples of each prompt; right is when the most common answer is. Agreement "
            "is that of the four prompts' most common answers, each prompt standing for a candidate, about that of the "
            "first.",
            tables.markdown(["prompt", "confidence", "accuracy", "AUROC", "AUARC", "ECE"], lines),
        ]
    )


def agreed(votes: dict[str, dict[str, str]], truth: pd.Series) -> list[str]:
    """A line for the agreement of all prompts, about the answer of the first."""
    pool = {name: Candidate(name, model=name) for name in votes}
    first = next(iter(pool))
    sure, right = [], []
    for query, said in votes[first].items():
        attempts = [replied(pool[name], found[query]) for name, found in votes.items() if query in found]
        sure.append(Agreement().confidence(Request(text=""), pool[first], attempts))
        right.append(float(said == truth[query]))
    p, y = np.array(sure, dtype=float), np.array(right)
    return ["all four", "`Agreement()`", f"{100 * y.mean():.1f}", *measured(p, y), f"{100 * ece(p, y):.1f}"]


def answered(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a usable confidence; GSM8K, which has no test split, is left out."""
    return rows[rows["dataset"] != "gsm8k"]


def records(rows: pd.DataFrame) -> list[Record]:
    """The rows as records whose one log-probability is the mean."""
    return [
        Record(
            text=row["prompt"],
            candidate=row["model"],
            quality=float(row["quality"]),
            query_id=str(row["query_id"]),
            answer=row["response"],
            logprobs=(min(row["confidence"], 0.0),),
        )
        for row in rows.to_dict("records")
    ]


def confidences(estimator: AnswerEstimator, found: list[Record]) -> np.ndarray:
    """What the estimator says of each recorded answer; 1 where it says nothing."""
    pool = {name: Candidate(name, model=name) for name in {one.candidate for one in found}}
    sure = []
    for one in found:
        attempt = replied(pool[one.candidate], one.answer or "", one.logprobs)
        said = estimator.confidence(Request(text=one.text), pool[one.candidate], [attempt])
        sure.append(1.0 if said is None else said)
    return np.array(sure)


def replied(candidate: Candidate, text: str, logprobs: tuple[float, ...] = ()) -> Attempt:
    """An answer."""
    return Attempt(call=Call(candidate=candidate), text=text, logprobs=logprobs)


def ranked(sure: np.ndarray, right: np.ndarray) -> float:
    """AUROC; a half when all answers are alike."""
    try:
        return auroc(sure, right)
    except ConfigurationError:
        return 0.5


def measured(sure: np.ndarray, right: np.ndarray) -> list[str]:
    """AUROC and AUARC with their intervals."""

    def interval(metric: Callable[[np.ndarray, np.ndarray], float]) -> str:
        found = bootstrap(lambda drawn: metric(sure[drawn], right[drawn]), len(right), draws=DRAWS)
        return tables.percent(found)

    return [interval(ranked), interval(auarc)]


def split(passes: np.ndarray, right: np.ndarray) -> list[str]:
    """The share of answers that fail, and the accuracy of those and of the others."""
    parts = [right[passes == 0], right[passes > 0]]
    return [f"{100 * (passes == 0).mean():.1f}", *(f"{100 * part.mean():.1f}" if len(part) else "" for part in parts)]
