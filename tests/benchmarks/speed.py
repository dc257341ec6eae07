"""How long estimators take to fit and to decide, and what they keep, by records and by candidates.

Records are made from a seed: topics with a few dimensions each, three grades a query. Decisions are timed one by one on
one BLAS thread, without the encoder (the vector is given) and with it (500 tokens). Side by side with scikit-learn's
plain estimators and RouteLLM's formula in numpy.

    python tests/benchmarks/speed.py [--quick] [--out tests/benchmarks/results/speed.md]
"""

import argparse
import json
import math
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from measuring import percentiles, quiet, table
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from router_integrations import Candidate, Request, estimators
from router_integrations.encoders import HashingEncoder
from router_integrations.estimators.index import nearest
from router_integrations.estimators.learned import Data, Fitted, Learned
from router_integrations.estimators.lengths import learn_lengths
from router_integrations.learning import Table

WIDTH, GRADES, TOPICS, LOCAL = 256, 3, 1000, 12
ASKED = 1000
# Seconds that the calls of one kind may take together.
LONGEST = 5
# Seconds that a fit may take, and grades of a dense table that fit in memory beside its copies.
PATIENCE, CELLS = 45, 12_000_000
LONG = " ".join(f"word{n % 97} of the question" for n in range(125))

LEARNERS: dict[str, Callable[[], Learned]] = {
    name: getattr(estimators, name)
    for name in (
        "Neighbors",
        "Linear",
        "MLP",
        "Forest",
        "MatrixFactorization",
        "MIRT",
        "NIRT",
        "GraphRouter",
        "DualContrastive",
        "KMeansQuality",
        "LearnedMap",
        "Zooter",
        "BradleyTerry",
        "SimilarityWeighted",
        "Eagle",
        "PromptBradleyTerry",
    )
} | {
    "Linear, logistic": lambda: estimators.Linear(link="logistic"),
    "MIRT, warmed up": lambda: estimators.MIRT(warm_up=0.3),
}


class TooSlow(Exception):
    """A fit ran out of patience."""


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


class Given:
    """Gives the vector whose number the text is; before, encodes a long text if asked, as a live request would."""

    def __init__(self, vectors: np.ndarray, encoder: HashingEncoder | None = None) -> None:
        self.vectors = vectors
        self.encoder = encoder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if self.encoder is not None:
            self.encoder.encode([LONG] * len(texts))
        return self.vectors[[int(text) for text in texts]]


@dataclass(frozen=True)
class Row:
    """What was measured of one estimator; times in ms, memory in MB. No time at all: the fit took too long."""

    name: str
    records: int
    candidates: int
    fit: float = math.nan
    memory: float = math.nan
    decision: float = math.nan
    decision_p99: float = math.nan
    encoded: float = math.nan
    plain: float = math.nan

    @property
    def too_slow(self) -> bool:
        return math.isnan(self.fit)

    def cells(self) -> list[Any]:
        return [
            self.name,
            f"{self.records:,}",
            f"{self.candidates:,}",
            f"{self.fit:.2f}",
            f"{self.memory:.1f}",
            self.decision,
            self.decision_p99,
            self.encoded,
            self.plain,
            "no" if self.decision > 1 else "yes",
        ]


@lru_cache(maxsize=1)
def world(queries: int, candidates: int) -> tuple[np.ndarray, Table, np.ndarray]:
    """Vectors to learn from, their grades, and vectors to ask about."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(TOPICS, WIDTH)).astype(np.float32)
    axes = rng.normal(size=(LOCAL, WIDTH)).astype(np.float32)
    topic = (TOPICS * rng.random(queries + ASKED) ** 2).astype(int)
    vectors = centres[topic] + rng.normal(0, 0.5, size=(len(topic), LOCAL)).astype(np.float32) @ axes
    vectors += rng.normal(0, 0.15, size=vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    skill = rng.normal(size=(TOPICS, candidates))
    quality = np.full((queries, candidates), np.nan)
    rows = np.repeat(np.arange(queries), min(GRADES, candidates))
    columns = rng.integers(candidates, size=len(rows))
    # Nobody is without a grade.
    columns[:candidates] = np.arange(candidates)
    quality[rows, columns] = rng.random(len(rows)) < 1 / (1 + np.exp(-skill[topic[rows], columns]))
    unknown = np.broadcast_to(np.nan, quality.shape)
    grades = Table(
        texts=tuple(map(str, range(queries))), names=tuple(f"model-{n:04}" for n in range(candidates)), quality=quality,
        cost=unknown, latency=unknown, output_tokens=unknown, domains=("",) * queries, images=((),) * queries,
    )  # fmt: skip
    return vectors[:queries], grades, vectors[queries:]


def timed(call: Callable[[int], Any], calls: int) -> list[float]:
    """p50, p95 and p99 in ms of a call on one query after another, for five seconds at most."""
    with threadpool_limits(1), quiet():
        for at in range(min(calls, 10)):
            call(at)
        seconds = []
        for at in range(calls):
            started = time.perf_counter()
            call(at % ASKED)
            seconds.append(time.perf_counter() - started)
            if sum(seconds) > LONGEST:
                break
    return percentiles(seconds)


def fitted(name: str, queries: int, candidates: int) -> tuple[Learned, float]:
    """The estimator, and the seconds it learnt from vectors and grades that were ready."""
    vectors, grades, asked = world(queries, candidates)
    estimator = LEARNERS[name]()
    data = Data(vectors=vectors, table=grades, battles=(), encoder=Given(asked))
    with patience(PATIENCE):
        started = time.perf_counter()
        names, state = estimator._learn(data)
        seconds = time.perf_counter() - started
    lengths = learn_lengths(grades, names, vectors)
    means = np.full(len(names), 300.0)
    estimator.fitted_ = Fitted(names=names, output_tokens=means, encoder=Given(asked), state=state, lengths=lengths)
    return estimator, seconds


def measured(name: str, queries: int, candidates: int, calls: int) -> Row:
    estimator, seconds = fitted(name, queries, candidates)
    asked = world(queries, candidates)[2]
    pool = [Candidate(one, model=object(), input_price=1e-6, output_price=2e-6) for one in estimator.fitted_.names]
    requests = [Request(text=str(at), input_tokens=500) for at in range(ASKED)]
    decision = timed(lambda at: estimator.estimate(requests[at], pool), calls)
    plain = timed(lambda at: estimator._predict(estimator.fitted_.state, asked[at][None]), calls)
    real = Given(asked, HashingEncoder())
    object.__setattr__(estimator.fitted_, "encoder", real)
    encoded = timed(lambda at: estimator.estimate(requests[at], pool), calls)
    memory = sum(array.nbytes for array in estimator.fitted_.state.values()) / 1e6
    return Row(name, queries, candidates, seconds, memory, decision[0], decision[2], encoded[0], plain[0])


def others(queries: int, calls: int) -> list[list[Any]]:
    """scikit-learn's plain estimators on ten candidates, missing grades set to the candidate's mean."""
    vectors, grades, asked = world(queries, 10)
    full = np.where(np.isnan(grades.quality), np.nanmean(grades.quality, axis=0), grades.quality)
    known = ~np.isnan(grades.quality[:, 0])
    arms = {
        "KNeighborsRegressor(40, brute)": (KNeighborsRegressor(40, algorithm="brute"), vectors, full),
        "Ridge": (Ridge(), vectors, full),
        "LogisticRegression, one candidate": (LogisticRegression(), vectors[known], grades.quality[known, 0] > 0.5),
        "MLPRegressor, one network": (MLPRegressor(max_iter=5), vectors, full),
    }
    rows = []
    for name, (model, inputs, outputs) in arms.items():
        started = time.perf_counter()
        model.fit(inputs, outputs)
        seconds = time.perf_counter() - started
        predict = getattr(model, "predict_proba", model.predict)
        times = timed(lambda at, predict=predict: predict(asked[at][None]), calls)
        rows.append([name, f"{queries:,}", f"{seconds:.2f}", times[0], times[2]])
    return rows


def formula(width: int, candidates: int, calls: int) -> list[Any]:
    """RouteLLM's matrix factorisation: the chance that one beats another, sigmoid of w · (v / |v| * W e)."""
    rng = np.random.default_rng(0)
    known, weight, project = rng.normal(size=(candidates, 128)), rng.normal(size=128), rng.normal(size=(128, width))
    known, weight, project = (part.astype(np.float32) for part in (known, weight, project))
    vectors = rng.normal(size=(ASKED, width)).astype(np.float32)

    def chance(at: int) -> float:
        pair = known[:2] / np.linalg.norm(known[:2], axis=1, keepdims=True)
        strong, weak = (pair * (project @ vectors[at])) @ weight
        return 1 / (1 + np.exp(weak - strong))

    times = timed(chance, calls)
    return [f"RouteLLM MF, numpy of its formula, {width} dimensions", "-", "-", times[0], times[2]]


def recall(queries: int, k: int) -> float:
    """The share of the true nearest that the index finds."""
    estimator, _ = fitted("Neighbors", queries, 10)
    state, asked = estimator.fitted_.state, world(queries, 10)[2][:200]
    shares = []
    for vector in asked:
        similarity = state["vectors"] @ vector
        least = np.partition(similarity, queries - k)[queries - k] - 1e-6
        shares.append((similarity[nearest(state["vectors"], state, vector[None], k)[0]] >= least).mean())
    return float(np.mean(shares))


def exponent(points: Sequence[tuple[float, float]]) -> str:
    """The slope on logarithmic axes."""
    if len(points) < 2:
        return "-"
    x, y = np.log(np.array(points)).T
    return f"{np.polyfit(x, y, 1)[0]:.2f}"


def growth(rows: Sequence[Row], sizes: Sequence[int], pools: Sequence[int]) -> list[list[Any]]:
    found = []
    for name in LEARNERS:
        by_records = [row for row in rows if row.name == name and row.candidates == 10]
        by_pool = [row for row in rows if row.name == name and row.records == min(10_000, sizes[-1])]
        found.append([
            name,
            exponent([(row.records, row.fit) for row in by_records]),
            exponent([(row.records, row.decision) for row in by_records]),
            exponent([(row.candidates, row.decision) for row in by_pool]),
        ])  # fmt: skip
    return found


class Journal:
    """The rows so far, in a file if there is one, so that a run that was stopped goes on."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        self.rows = {(row.name, row.records, row.candidates): row for row in (Row(**json.loads(one)) for one in lines)}

    def row(self, name: str, queries: int, candidates: int, calls: int) -> Row:
        at = (name, queries, candidates)
        if at not in self.rows:
            self.rows[at] = tried(*at, calls)
            print(self.rows[at].cells(), flush=True)
            if self.path:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(self.rows[at])) + "\n")
        return self.rows[at]


def sweep(sizes: Sequence[int], pools: Sequence[int], calls: int, journal: Journal) -> tuple[list[Row], list[str]]:
    rows, skipped, gave_up = [], [], set()
    for candidates, queries in product(pools, sizes):
        if queries * candidates > CELLS:
            skipped.append(f"all at {queries:,} x {candidates:,}: the dense table is too large for memory")
            continue
        for name in LEARNERS:
            if (name, candidates) in gave_up:
                continue
            rows.append(journal.row(name, queries, candidates, calls))
            if rows[-1].too_slow:
                gave_up.add((name, candidates))
                skipped.append(f"{name} from {queries:,} x {candidates:,}: the fit takes over {PATIENCE} s")
    return [row for row in rows if not row.too_slow], skipped


def tried(name: str, queries: int, candidates: int, calls: int) -> Row:
    try:
        return measured(name, queries, candidates, calls)
    except TooSlow:
        return Row(name, queries, candidates)


def report(sizes: Sequence[int], pools: Sequence[int], calls: int, options: argparse.Namespace) -> str:
    before = os.getloadavg()[0]
    command = "python tests/benchmarks/speed.py" + (" --quick" if options.quick else "")
    encoder = timed(lambda _: HashingEncoder().encode([LONG]), calls)
    rows, skipped = sweep(sizes, pools, calls, Journal(options.journal))
    plain = [row for queries in sizes for row in others(queries, min(calls, 200))]
    plain += [formula(width, 64, calls) for width in (WIDTH, 1536)]
    missed = [f"{row.name} at {row.records:,} x {row.candidates:,}" for row in rows if row.decision > 1]
    met = f"{len(rows) - len(missed)} of {len(rows)} decisions"
    found = [[f"{queries:,}", *(f"{recall(queries, k):.3f}" for k in (10, 40))] for queries in sizes]
    header = ["estimator", "queries", "candidates", "fit, s", "kept, MB", "decision p50, ms", "p99", "with encoder p50",
              "arrays only p50", "below 1 ms"]  # fmt: skip
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    return f"""# Speed

{date.today()} · {machine} · {versions}

Made by `{command}`. Load average {before:.1f} before, {os.getloadavg()[0]:.1f} after; a run on a busy machine is no \
result. Queries are made from a seed, {WIDTH} dimensions, {GRADES} grades each; `fit` starts from vectors and grades \
that are ready. A decision is `estimate` of one query for all candidates on one BLAS thread, its vector given; "arrays \
only" is the part before `Estimate` objects and costs. "Kept" is the arrays that the estimator holds.

The default encoder takes {encoder[0]:.3f} ms (p99 {encoder[2]:.3f}) for 500 tokens; the goal is 0.5 ms, \
{"met" if encoder[0] < 0.5 else "missed"}. {met} are below 1 ms (p50, without the encoder). Above: \
{"; ".join(missed) or "none"}.

## Estimators

{table(header, [row.cells() for row in rows])}
Left out: {"; ".join(skipped) or "none"}.

## Growth

Exponents of fit time and decision p50 in the number of queries (10 candidates), and of decision p50 in the number of \
candidates. Below 1 grows slower than the number.

{table(["estimator", "fit by queries", "decision by queries", "decision by candidates"], growth(rows, sizes, pools))}
## Neighbours found by the index

Share of the true `k` nearest that `Neighbors` finds; exact up to 10,000 queries.

{table(["queries", "k = 10", "k = 40"], found)}
## Side by side, 10 candidates

scikit-learn's `predict` of one vector. The last lines are the same formula as RouteLLM's matrix factorisation, \
re-measured as numpy on random weights, not its code.

{table(["estimator", "queries", "fit, s", "p50, ms", "p99"], plain)}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, few calls")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--journal", type=Path, help="a file to keep rows in, to go on after a stop")
    options = parser.parse_args()
    sizes, pools, calls = ([1000, 10_000, 100_000, 400_000], [2, 10, 100, 1000], 300)
    if options.quick:
        sizes, pools, calls = [1000, 12_000], [2, 10], 50
    text = report(sizes, pools, calls, options)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
