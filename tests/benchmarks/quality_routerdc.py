"""The RouterDC table (arXiv 2409.19886): seven models of 7 or 8B, five data sets to learn from, three unseen ones."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from routerdc_methods import METHODS, DataSetClassifier, Setting
from tables import candidates, folds, markdown, outcomes, percent, records, settings_in_words
from threadpoolctl import threadpool_limits

from router_integrations.encoders import HashingEncoder
from router_integrations.evaluation.bootstrap import Interval, bootstrap
from router_integrations.learning import Record, Table

LEARNT = {"mmlu": "MMLU", "gsm8k": "GSM8K", "cmmlu": "CMMLU", "arc_challenge": "ARC-C", "humaneval": "HumanEval"}
UNSEEN = {"math_prealgebra": "PreAlgebra", "mbpp": "MBPP", "ceval": "C-Eval"}
CHOICE = ["mmlu", "cmmlu", "arc_challenge", "ceval"]
# Settings whose cross-validated average lies this near to the best one's (points) count as equally good on what was
# learnt; of those, the one that does best on a data set left out is taken.
EQUAL = 0.5
CLASSIFIER = DataSetClassifier.__name__
# Averages that the papers print, in the order of the columns; the RouterDC paper's table.
REPORTED = {
    "CosineClassifier": [59.17, 69.03, 45.97, 50.57, 46.33, 54.21, 36.97, 38.88, 44.77, 40.21],
    "ZOOTER": [60.48, 66.69, 45.27, 53.13, 44.29, 53.97, 34.44, 41.10, 44.95, 40.16],
    "LoraRetriever (clustering)": [63.33, 66.63, 51.77, 57.10, 40.00, 55.77, 35.36, 43.12, 52.01, 43.50],
    "RouterDC": [61.07, 70.32, 51.77, 58.52, 51.02, 58.54, 38.81, 46.80, 51.93, 45.85],
}
NOTES = """
- Accuracy in percent, the best estimate chosen whatever it costs; 95 % intervals by the bootstrap over test queries.
- Multiple choice counts as right where the quality is above 0, when learning too; the other sets count the mean grade.
- Learnt from the train splits of the five sets (no ARC-easy), without the prompts that stand in a test split too.
- Settings were chosen on train, by a rule set before any test figure of these settings was seen: of all settings whose
  average in 5-fold cross-validation is within {equal} points of the method's best (CV), the one with the best average
  when each data set in turn is left out of learning (LODO; a dash where it decides nothing). "Best of ours" is chosen
  among the methods by the same rule. Encoders are fitted anew in each fold.
- The classifier recognises the train data set by logistic regression on the same vectors, and sends the query to that
  set's best model on train.
- Rows marked "reported" are the paper's figures, recalled rather than read again for this table; its routers fine-tune
  mDeBERTa-v3-base, ours learn on a `HashingEncoder`, without a neural network, a download or a GPU.
"""


def report(data: Path) -> str:
    """The table as Markdown."""
    learn, asked = _rows(data, "train", LEARNT), _rows(data, "test", {**LEARNT, **UNSEEN})
    both = set(learn["prompt"]) & set(outcomes(data, "routerdc", split="test")["prompt"])
    learn = learn[~learn["prompt"].isin(both)]
    known, known_records = _table(learn)
    cv = [part for _, part in folds(len(known.texts), 5)]
    lodo = [np.flatnonzero(np.array(known.domains) == name) for name in LEARNT]
    settings = [(name, index) for name, (_, options) in METHODS.items() for index in range(len(options))]
    by_cv = _validated(known, known_records, cv, settings)
    near = [one for one in settings if by_cv[one] >= max(by_cv[s] for s in settings if s[0] == one[0]) - EQUAL]
    # A figure that decides nothing is not computed.
    level, methods = _level(by_cv), [name for name, _ in near]
    open_ = [one for one in near if by_cv[one] >= level or methods.count(one[0]) > 1]
    by_lodo = _validated(known, known_records, lodo, open_)
    picked = {
        name: max((one for one in near if one[0] == name), key=lambda one: by_lodo.get(one, 0.0)) for name in METHODS
    }
    table, _ = _table(asked)
    halves = [list(picked.values())[half::2] for half in range(2)]
    found = _parallel((known_records, known.texts, table.texts, half) for half in halves)
    choices = {one: columns for part in found for one, columns in part.items()}
    return _written(table, known, picked, (by_cv, by_lodo), choices)


def _rows(data: Path, split: str, sets: Iterable[str]) -> Any:
    rows = outcomes(data, "routerdc", split=split)
    rows = rows[rows["dataset"].isin(list(sets))]
    right = (rows["quality"] > 0).astype(float)
    return rows.assign(quality=rows["quality"].where(~rows["dataset"].isin(CHOICE), right))


def _table(rows: Any) -> tuple[Table, list[list[Record]]]:
    """The table, and the records of each of its rows."""
    by_query: dict[str, list[Record]] = {}
    for one in records(rows):
        by_query.setdefault(one.query_id, []).append(one)
    grouped = list(by_query.values())
    return Table.of(one for group in grouped for one in group), grouped


def _validated(
    table: Table, grouped: Sequence[list[Record]], parts: Sequence[np.ndarray], settings: Sequence[Setting]
) -> dict[Setting, float]:
    """The average over the data sets that each setting reaches on the parts held back in turn, in percent."""
    every = np.arange(len(table.texts))
    jobs = []
    for part in parts:
        rest = np.setdiff1d(every, part)
        texts = [[table.texts[row] for row in rows] for rows in (rest, part)]
        jobs.append(([grouped[row] for row in rest], *texts, settings))
    graded = {one: np.zeros(len(every)) for one in settings}
    for part, found in zip(parts, _parallel(jobs), strict=True):
        for one, columns in found.items():
            graded[one][part] = table.quality[part, columns]
    return {one: 100 * _average(table, LEARNT, values, every) for one, values in graded.items()}


def _parallel(jobs: Iterable[tuple[Any, ...]]) -> list[dict[Setting, np.ndarray]]:
    found: list[dict[Setting, np.ndarray]] = Parallel(n_jobs=2)(delayed(_chosen)(*job) for job in jobs)
    return found


def _chosen(
    grouped: Sequence[list[Record]], known: Sequence[str], asked: Sequence[str], settings: Sequence[Setting]
) -> dict[Setting, np.ndarray]:
    """The column of the candidate that each setting, having learnt from the records, chooses for each text asked."""
    with threadpool_limits(1):
        encoder = _Remembering(HashingEncoder().fit(known), [*known, *asked])
        flat = [one for group in grouped for one in group]
        pool = candidates(Table.of(flat))
        found = {}
        for name, index in settings:
            make, options = METHODS[name]
            quality, _ = make(encoder=encoder, **options[index]).fit(flat).predict(asked, pool)
            found[name, index] = quality.argmax(axis=1)
    return found


class _Remembering:
    """Encodes each text once."""

    def __init__(self, encoder: HashingEncoder, texts: Sequence[str]) -> None:
        rows = list(dict.fromkeys(texts))
        self._vectors = encoder.encode(rows)
        self._row = {text: row for row, text in enumerate(rows)}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self._vectors[[self._row[text] for text in texts]]


def _average(table: Table, sets: Mapping[str, str], values: np.ndarray, drawn: np.ndarray) -> float:
    """The mean over the data sets of the mean value in each, of the rows drawn."""
    names, code = np.unique(np.array(table.domains), return_inverse=True)
    wanted = np.isin(names, list(sets))
    sums = np.bincount(code[drawn], weights=values[drawn], minlength=len(names))
    counts = np.bincount(code[drawn], minlength=len(names))
    return float((sums[wanted] / counts[wanted]).mean())


def _interval(table: Table, sets: Mapping[str, str], values: np.ndarray) -> Interval:
    """The average over the sets with its interval."""
    names = list(sets)
    own = np.array([names.index(one) if one in sets else -1 for one in table.domains])
    inside = np.flatnonzero(own >= 0)
    code, kept = own[inside], values[inside]

    def statistic(drawn: np.ndarray) -> float:
        at = code[drawn]
        return float((np.bincount(at, kept[drawn], len(names)) / np.bincount(at, minlength=len(names))).mean())

    return bootstrap(statistic, len(inside))


def _cells(table: Table, values: np.ndarray) -> list[str]:
    cells = []
    for sets in (LEARNT, UNSEEN):
        of = np.array(table.domains)
        cells += [f"{100 * values[of == name].mean():.2f}" for name in sets]
        cells.append(percent(_interval(table, sets, values), 2))
    return cells


def _level(by_cv: Mapping[Setting, float]) -> float:
    """What a setting of ours must reach in cross-validation to count as the equal of the best one."""
    return max(value for (name, _), value in by_cv.items() if name != CLASSIFIER) - EQUAL


def _written(
    table: Table,
    known: Table,
    picked: Mapping[str, Setting],
    validated: tuple[Mapping[Setting, float], Mapping[Setting, float]],
    choices: Mapping[Setting, np.ndarray],
) -> str:
    every = np.arange(len(table.texts))
    right = {name: table.quality[every, choices[one]] for name, one in picked.items()}
    usual = {name: known.quality[np.array(known.domains) == name].mean(axis=0) for name in LEARNT}
    single = np.mean(list(usual.values()), axis=0).argmax()
    plain = {
        f"best single model on train ({known.names[single].split('/')[1]})": table.quality[:, single],
        "random": table.quality.mean(axis=1),
        "oracle": table.quality.max(axis=1),
    }
    by_cv, by_lodo = validated
    lines = [
        [
            _title(name, picked[name]),
            f"{by_cv[one]:.2f}",
            f"{by_lodo[one]:.2f}" if one in by_lodo else "-",
            *_cells(table, right[name]),
        ]
        for name, one in picked.items()
    ]
    lines += [[name, "", "", *_cells(table, values)] for name, values in plain.items()]
    lines += [[f"{name} (reported)", "", "", *(f"{one:.2f}" for one in row)] for name, row in REPORTED.items()]
    header = ["router", "CV", "LODO", *LEARNT.values(), "ID average", *UNSEEN.values(), "OOD average"]
    said = _compared(table, picked, validated, right)
    title = "# RouterDC: many models, no costs"
    return f"{title}\n{NOTES.format(equal=EQUAL)}\n{markdown(header, lines)}\n\n{said}"


def _title(name: str, setting: Setting) -> str:
    label = "data-set classifier" if name == CLASSIFIER else f"`{name}`"
    return f"{label} ({settings_in_words(METHODS[name][1][setting[1]])})"


def _compared(
    table: Table,
    picked: Mapping[str, Setting],
    validated: tuple[Mapping[Setting, float], Mapping[Setting, float]],
    right: Mapping[str, np.ndarray],
) -> str:
    """What the best of ours is, and how each differs from the classifier."""
    by_cv, by_lodo = validated
    ours = {name: one for name, one in picked.items() if name != CLASSIFIER}
    best = max(
        (name for name, one in ours.items() if by_cv[one] >= _level(by_cv)), key=lambda name: by_lodo[ours[name]]
    )
    rows = [
        [
            f"`{name}`",
            *(percent(_interval(table, sets, right[name] - right[CLASSIFIER]), 2) for sets in (LEARNT, UNSEEN)),
        ]
        for name in ours
    ]
    return (
        f"Best of ours, chosen on train: `{best}`.\n\nLess the data-set classifier, in points, paired; of so many "
        f"intervals one may exclude 0 by chance:\n\n{markdown(('router', 'ID average', 'OOD average'), rows)}"
    )
