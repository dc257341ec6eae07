"""What `Evidence` learns: three small logistic regressions, each on top of the one before, and how they are read.

Candidates share their weights; each may differ, at a price, so that few answers are enough. Row 0 of each table of
weights is everybody's, for candidates that were never seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_integrations.estimators.numerics import least_loss, logistic_loss, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

# Sets of answers drawn for each query, of up to so many answers, from so many queries at most.
_DRAWS, _LARGEST, _QUERIES = 8, 4, 4000
_PARTS, _SEED = 5, 0
# Weights of the squared weights: for all candidates, for one's own answers, for what they tell of the others'.
_ALL, _ONE, _OTHERS = 0.1, 3.0, 10.0
# Log-odds are kept this near to 0.
_SUREST = 8.0
_ALIKE = 1e-9


class Given(NamedTuple):
    """What was answered, queries by candidates.

    Args:
        there: 1 for an answer, else 0.
        odds: Log-odds of each one's token probability; NaN is unknown.
        texts: The logarithm of each one's length, then its vector: queries by candidates by columns.
        alike: How much two answers say the same, in [0, 1]: queries by candidates by candidates.

    >>> Given(np.ones((1, 2)), np.zeros((1, 2)), np.zeros((1, 2, 1)), np.ones((1, 2, 2))).there.shape
    (1, 2)
    """

    there: Floats
    odds: Floats
    texts: Floats
    alike: Floats


def learn_weights(given: Given, quality: Floats, alpha: float) -> dict[str, Any]:
    """Return all that is learnt from graded answers.

    Args:
        given: The answers.
        quality: Their grades, queries by candidates, anything where there is no answer.
        alpha: Weight of the squared weights of the vectors.

    >>> odds = np.random.default_rng(0).normal(size=(200, 2))
    >>> given = Given(np.ones((200, 2)), odds, np.ones((200, 2, 1)), np.zeros((200, 2, 2)))
    >>> weights = learn_weights(given, (odds > 0).astype(float), 1.0)
    >>> (own_odds(weights, np.array([1, 2]), given) > 0).tolist() == (odds > 0).tolist()
    True
    """
    rows = np.random.default_rng(_SEED).permutation(len(quality))[:_QUERIES]
    given, quality = _part(given, rows), quality[rows]
    # Each regression learns from what the one before says of answers that it has not seen, and so does the last.
    places = np.arange(len(quality))
    split = np.array_split(places, min(_PARTS, len(places)))
    parts = [(np.setdiff1d(places, part) if len(split) > 1 else part, part) for part in split]
    found, who, odds = _scales(given), np.arange(quality.shape[1]) + 1, np.zeros_like(quality)
    for seen, hidden in parts:
        first = found | _own_weights(found, _part(given, seen), quality[seen], alpha)
        odds[hidden] = own_odds(first, who, _part(given, hidden))
    found |= _own_weights(found, given, quality, alpha) | _weights_together(odds, given, quality)
    looks = []
    for seen, hidden in parts:
        second = _weights_together(odds[seen], _part(given, seen), quality[seen])
        looks += _looks(second, odds[hidden], _part(given, hidden))
    return found | _outlook_weights(np.concatenate(looks), given, quality)


def own_odds(fitted: Mapping[str, Any], who: Places, given: Given) -> Floats:
    """Return the log-odds that each answer is right, by itself.

    Args:
        fitted: From `learn_weights`.
        who: Row of each candidate in the tables.
        given: The answers.

    >>> weights = {"own": np.array([[0.5, 2.0]]), "says": np.zeros(1), "scales": np.array([[0.0, 1.0, -1.0, 1.0]]),
    ...            "centre": np.zeros(1), "factor": np.zeros(1)}
    >>> given = Given(np.ones((1, 1)), np.array([[0.25]]), np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    >>> own_odds(weights, np.array([0]), given).tolist()
    [[1.0]]
    """
    base, slope = fitted["own"][who].T
    says = (given.texts - fitted["centre"]) * fitted["factor"] @ fitted["says"]
    odds: Floats = np.clip(base + slope * _scaled_odds(fitted, who, given) + says, -_SUREST, _SUREST)
    return odds


def odds_together(fitted: Mapping[str, Any], who: Places, odds: Floats, there: Floats, alike: Floats) -> Floats:
    """Return the log-odds that each answer is right, given all answers.

    Args:
        fitted: From `learn_weights`.
        who: Row of each candidate in the tables.
        odds: From `own_odds`.
        there: Which answers are given, 1 or 0, queries by candidates; only their results mean anything.
        alike: As of `Given`.

    >>> weights = {"self": np.array([[0.0, 1.0]]), "alone": np.zeros(2), "others": np.array([[0.0, 0.5, 0.0, -0.5]])}
    >>> odds, alike = np.array([[1.0, 2.0]]), np.ones((1, 2, 2))
    >>> odds_together(weights, np.array([0, 0]), odds, np.ones((1, 2)), alike).tolist()
    [[2.0, 2.5]]
    """
    own, told = _columns(odds, there, alike)
    base, slope = fitted["self"][who].T
    odds = base + slope * odds + own[..., 1:] @ fitted["alone"]
    odds += np.einsum("nmof,of->nm", told, fitted["others"][who])
    return odds


def outlook(fitted: Mapping[str, Any], who: Places, best: Floats, count: Places) -> tuple[Floats, Floats]:
    """Return the quality expected of answers that are not given yet, and how far a look at them moves it.

    Args:
        fitted: From `learn_weights`.
        who: Row of each candidate in the tables.
        best: Probability that the best answer so far is right, one a query; anything where there is none.
        count: Number of answers given, one a query.

    >>> weights = {"next": np.array([[0.0, 1.0]]), "count": np.zeros(2), "rates": np.array([0.8]), "moves": np.ones(1)}
    >>> mean, std = outlook(weights, np.array([0]), np.array([0.5, 0.5]), np.array([0, 1]))
    >>> mean.tolist(), std[1].tolist()
    ([[0.8], [0.5]], [0.5])
    """
    base, slope = fitted["next"][who].T
    logit, more = _logit(best)[:, None], (count - 1)[:, None]
    ahead = sigmoid(base + slope * logit + more * (fitted["count"][0] + fitted["count"][1] * logit))
    mean: Floats = np.where(count[:, None] > 0, ahead, fitted["rates"][who])
    return mean, np.sqrt(float(fitted["moves"][0]) * mean * (1 - mean))


def _part(given: Given, rows: Places) -> Given:
    return Given(*(column[rows] for column in given))


def _scales(given: Given) -> dict[str, Any]:
    known = [given.odds.ravel(), *given.odds.T]
    texts = given.texts[given.there > 0]
    spread = texts.std(axis=0)
    # The length counts in units of its spread, a vector as it is.
    units = np.concatenate([spread[:1], np.ones(len(spread) - 1)])
    factor = np.where(spread > _ALIKE, 1 / np.maximum(units, _ALIKE), 0.0)
    return {
        "scales": np.array([_scale(column[~np.isnan(column)]) for column in known]),
        "centre": texts.mean(axis=0),
        "factor": factor,
    }


def _scale(values: Floats) -> tuple[float, float, float, float]:
    """Return centre, spread, least and greatest value; what is infinite counts as these."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0, 0.0, 0.0
    low, high = float(finite.min()), float(finite.max())
    cut = np.clip(values, low, high)
    return float(cut.mean()), float(cut.std()) if cut.std() > _ALIKE else 1.0, low, high


def _scaled_odds(fitted: Mapping[str, Any], who: Places, given: Given) -> Floats:
    centre, spread, low, high = fitted["scales"][who].T
    odds = np.where(np.isinf(given.odds), np.clip(given.odds, low, high), given.odds)
    scaled: Floats = np.nan_to_num((odds - centre) / spread)
    return scaled


def _own_weights(fitted: Mapping[str, Any], given: Given, quality: Floats, alpha: float) -> dict[str, Any]:
    number = quality.shape[1]
    odds = _scaled_odds(fitted, np.arange(number) + 1, given)[..., None]
    each = np.broadcast_to(np.eye(number), (*quality.shape, number))
    texts = (given.texts - fitted["centre"]) * fitted["factor"]
    columns = np.concatenate([odds, texts, each, each * odds], axis=2)
    here = given.there > 0
    penalty = np.concatenate([[_ALL, 1.0], np.full(texts.shape[2] - 1, alpha), np.full(2 * number, _ALL * _ONE)])
    weights, base = _regression(columns[here], quality[here], float(here.sum()), penalty)
    slope, says, bases, slopes = np.split(weights, np.cumsum([1, texts.shape[2], number]))
    return {"own": _table(base, bases, slope, slopes), "says": says}


def _columns(odds: Floats, there: Floats, alike: Floats) -> tuple[Floats, Floats]:
    """Return what is known of each answer, and what each other one tells of it.

    The first: its log-odds, then 1 and its log-odds if it is alone. The second, candidates by candidates: 1 and the
    log-odds of one that says the same, and of one that does not, over the root of their number.
    """
    others = there[:, None, :] * (1 - np.eye(odds.shape[1]))
    count = others.sum(axis=2)
    alone = (count == 0).astype(float)
    weight = others / np.sqrt(np.maximum(count, 1))[..., None]
    loud = np.stack(np.broadcast_arrays(1.0, odds[:, None, :]), axis=3)
    same = (weight * alike)[..., None] * loud
    told = np.concatenate([same, weight[..., None] * loud - same], axis=3)
    return np.stack([odds, alone, alone * odds], axis=2), told


def _weights_together(odds: Floats, given: Given, quality: Floats) -> dict[str, Any]:
    number = odds.shape[1]
    each = np.broadcast_to(np.eye(number), (*odds.shape, number))
    rows, grades = [], []
    for there in _draws(given.there, _LARGEST):
        own, told = _columns(odds, there, given.alike)
        flat = told.reshape(*odds.shape, -1)
        columns = np.concatenate([own, told.sum(axis=2), each, each * odds[..., None], flat], axis=2)
        rows.append(columns[there > 0])
        grades.append(quality[there > 0])
    penalty = np.concatenate([np.full(7, _ALL), np.full(2 * number, _ONE), np.full(4 * number, _OTHERS)])
    weights, base = _regression(np.concatenate(rows), np.concatenate(grades), float(given.there.sum()), penalty)
    slope, alone, shared, bases, slopes, own_told = np.split(weights, np.cumsum([1, 2, 4, number, number]))
    others = shared + np.vstack([np.zeros(4), own_told.reshape(number, 4)])
    return {"self": _table(base, bases, slope, slopes), "alone": alone, "others": others}


def _outlook_weights(looks: Floats, given: Given, quality: Floats) -> dict[str, Any]:
    number, graded = quality.shape[1], given.there.sum(axis=0)
    rates = (np.where(given.there > 0, quality, 0.0).sum(axis=0) + 0.5) / (graded + 1)
    found = {"rates": np.r_[rates @ (graded + 1) / (graded + 1).sum(), rates]}
    if not len(looks):
        nothing = np.zeros(number)
        return found | {"next": _table(0.0, nothing, 1.0, nothing), "count": np.zeros(2), "moves": np.zeros(1)}
    one, best, size, after, highest = looks.T
    logit, each, more = _logit(best)[:, None], np.eye(number)[one.astype(int)], (size - 1)[:, None]
    columns = np.concatenate([logit, more, more * logit, each, each * logit], axis=1)
    penalty = np.concatenate([[_ALL], np.full(2 + 2 * number, _ALL * _ONE)])
    weights, base = _regression(columns, after, float(graded.sum()), penalty)
    slope, count, bases, slopes = np.split(weights, np.cumsum([1, 2, number]))
    moves = _moves(sigmoid(columns @ weights + base).astype(float), best, highest)
    return found | {"next": _table(base, bases, slope, slopes), "count": count, "moves": np.array([moves])}


def _looks(fitted: Mapping[str, Any], odds: Floats, given: Given) -> list[Floats]:
    """Return what looks at one more answer did: whose, the best before, how many, its own and the best after."""
    who, found = np.arange(odds.shape[1]) + 1, []
    for there in _draws(given.there, _LARGEST - 1):
        for one in who - 1:
            here = (there[:, one] == 0) & (given.there[:, one] > 0) & (there.sum(axis=1) > 0)
            more = there[here]
            more[:, one] = 1
            before, after = (
                sigmoid(np.where(each > 0, odds_together(fitted, who, odds[here], each, given.alike[here]), -np.inf))
                for each in (there[here], more)
            )
            columns = before.max(axis=1), there[here].sum(axis=1), after[:, one], after.max(axis=1)
            found.append(np.column_stack([np.full(len(more), one), *columns]))
    return found


def _moves(mean: Floats, best: Floats, highest: Floats) -> float:
    """Return the share of the variance for which normal moves around `mean` raise the best as much as it rose."""
    from scipy.special import ndtr

    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        std = np.sqrt(np.maximum(share * mean * (1 - mean), _ALIKE))
        gap = (mean - best) / std
        gain = std * (np.exp(-(gap**2) / 2) / math.sqrt(2 * math.pi) + gap * ndtr(gap))
        low, high = (share, high) if gain.mean() < (highest - best).mean() else (low, share)
    return (low + high) / 2


def _draws(there: Floats, largest: int) -> Iterator[Floats]:
    """Yield sets of the answers that are there, drawn at random for each query."""
    rng = np.random.default_rng(_SEED)
    for _ in range(_DRAWS):
        rank = np.where(there > 0, rng.random(there.shape), 2.0).argsort(axis=1).argsort(axis=1)
        yield there * (rank < rng.integers(1, largest + 1, (len(there), 1)))


def _regression(columns: Floats, quality: Floats, answers: float, penalty: Floats) -> tuple[Floats, float]:
    """Return weights and intercept of a logistic regression whose rows count as so many together."""
    scale, each = 1 / np.sqrt(penalty), np.full((len(columns), 1), answers / len(columns))
    weights, intercept = least_loss(
        logistic_loss, np.zeros((len(penalty) + 1, 1)), (columns * scale, quality[:, None], each, 1.0)
    )
    return (weights[:, 0] * scale).astype(float), float(intercept[0])


def _table(base: float, bases: Floats, slope: Any, slopes: Floats) -> Floats:
    return np.column_stack([base + np.r_[0.0, bases], slope + np.r_[0.0, slopes]])


def _logit(share: Floats) -> Floats:
    cut = np.clip(share, 1e-6, 1 - 1e-6)
    logit: Floats = np.log(cut / (1 - cut))
    return logit
