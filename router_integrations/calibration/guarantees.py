"""The lowest confidence threshold whose accepted answers are seldom wrong, guaranteed for finitely many records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# Beyond so many times the answers that are there, more of them are no help.
_MOST_TIMES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceThreshold:
    """A threshold on a candidate's confidence, and what is known of the answers above it.

    Args:
        value: Confidence above which an answer is accepted, in [0, 1]: `accept` of `Cascade`.
        bound: Error rate among accepted answers that is not exceeded, but for the risk that was allowed.
        accepted: Calibration answers above the threshold.
        wrong: How many of them are wrong.
        answers: Calibration answers in all.

    >>> AcceptanceThreshold(value=0.8, bound=0.09, accepted=25, wrong=0, answers=40).coverage
    0.625
    """

    value: float
    bound: float
    accepted: int
    wrong: int
    answers: int

    @property
    def coverage(self) -> float:
        """Share of the calibration answers that are accepted."""
        return self.accepted / self.answers


def guaranteed_threshold(
    confidence: ArrayLike, correct: ArrayLike, *, error: float, risk: float = 0.1, first: float = 0.25
) -> AcceptanceThreshold:
    """Return the lowest threshold found that keeps ``P(wrong | accepted) <= error``, but for a probability of `risk`.

    Learn-then-Test: from the most careful threshold down, the Clopper-Pearson bound of the error among the accepted
    answers must stay within `error`; the first time it does not ends the search, so all the tests together take no more
    than `risk`. Only numbers of accepted answers are tried at which one more error becomes allowed: those before are
    harder to pass. The guarantee wants new queries like the old ones, and no order of the records; confidences need not
    be calibrated. With ties it also wants that the error among accepted answers does not fall with the threshold. For
    one candidate: a second one, who gets what the first leaves, needs other queries. `ErrorRate` holds a mean, where
    this holds a probability. Takes O(answers · log answers).

    Angelopoulos et al., "Learn then Test" (arXiv 2110.01052).

    Args:
        confidence: Of each answer of the candidate, in [0, 1].
        correct: Whether it is right, 1 or 0.
        error: Error rate allowed among accepted answers, in (0, 1).
        risk: Probability over calibration sets that it is exceeded all the same, in (0, 1).
        first: Share of the answers that the most careful threshold accepts at least, in (0, 1]. With a larger one a
            lone error among the surest answers does no harm; a smaller one suits candidates that are seldom right.
            Choose it before you see the answers. Where no size so large allows one more error, the largest that does.

    Raises:
        ConfigurationError: An argument is out of range, or no threshold has the guarantee; the message says how many
            answers would be needed.

    >>> sure = np.linspace(0.0, 1.0, 60)
    >>> found = guaranteed_threshold(sure, sure > 0.3, error=0.2)
    >>> round(found.value, 2), found.accepted, found.wrong, round(found.bound, 3)
    (0.24, 45, 3, 0.142)
    """
    for name, value in (("error", error), ("risk", risk)):
        if not 0 < value < 1:
            raise ConfigurationError(f"guaranteed_threshold needs {name} in (0, 1) but got {value!r}; 0.1 is usual")
    if not 0 < first <= 1:
        raise ConfigurationError(f"guaranteed_threshold needs first in (0, 1] but got {first!r}; 0.25 is usual")
    sure, right = _checked(confidence, correct)
    sizes = _sizes(len(sure), error, risk)
    if not len(sizes):
        raise ConfigurationError(
            f"no threshold keeps the error at most {error!r} with risk {risk!r} on {len(sure)} answers; at least "
            f"{_fewest(error, risk)} are needed, all of them right; grade more, or raise error or risk"
        )
    # The last size is tried even if it accepts less than `first`: nothing less careful can be shown.
    careful = sizes[sizes >= first * len(sure)]
    found = None
    for size in careful if len(careful) else sizes[-1:]:
        tried = _above(sure, right, int(size), risk)
        if tried is None or tried.bound > error:
            break
        found = tried
    if found is None:
        raise ConfigurationError(_nothing(tried, error, risk))
    return found


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Return confidences, falling, and whether the answers are right."""
    sure, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    if sure.ndim != 1 or sure.shape != right.shape:
        raise ConfigurationError(
            f"guaranteed_threshold needs a grade for each confidence but got {right.shape} and {sure.shape}"
        )
    if not ((sure >= 0) & (sure <= 1)).all():
        raise ConfigurationError("guaranteed_threshold needs confidences in [0, 1]; leave out unknown ones (NaN)")
    if not np.isin(right, (0.0, 1.0)).all():
        raise ConfigurationError("guaranteed_threshold counts errors, so `correct` must be 1 or 0; round the grades")
    order = np.argsort(-sure, kind="stable")
    return sure[order], right[order]


def _sizes(answers: int, error: float, risk: float) -> NDArray[np.intp]:
    """Return the numbers of accepted answers, rising, at which one more of them may be wrong."""
    from scipy.stats import binom

    counts = np.arange(answers + 1)
    quantile = binom.ppf(risk, counts, error)
    allowed = quantile - (binom.cdf(quantile, counts, error) > risk)
    return np.flatnonzero(np.diff(allowed) > 0) + 1


def _fewest(error: float, risk: float) -> int:
    return int(np.ceil(np.log(risk) / np.log1p(-error)))


def _above(sure: Floats, right: Floats, size: int, risk: float) -> AcceptanceThreshold | None:
    """Return the highest threshold that accepts at least so many answers; `None` if those include confidence 0."""
    from scipy.stats import beta

    least = sure[size - 1]
    if least == 0:
        return None
    accepted = int((sure >= least).sum())
    wrong = int(accepted - right[:accepted].sum())
    bound = beta.ppf(1 - risk, wrong + 1, accepted - wrong) if wrong < accepted else 1.0
    value = float(sure[accepted]) if accepted < len(sure) else 0.0
    return AcceptanceThreshold(value=value, bound=float(bound), accepted=accepted, wrong=wrong, answers=len(sure))


def _nothing(tried: AcceptanceThreshold | None, error: float, risk: float) -> str:
    """Return why there is no threshold, and what would help."""
    if tried is None:
        return "guaranteed_threshold found too few answers with a confidence above 0; use another estimator"
    from scipy.stats import binom

    times = np.arange(2, _MOST_TIMES)
    enough = times[binom.cdf(times * tried.wrong, times * tried.accepted, error) <= risk]
    help_ = (
        f"about {enough[0] * tried.answers} answers would show it if they are like these"
        if len(enough)
        else "more answers like these would not show it either"
    )
    return (
        f"no threshold keeps the error at most {error!r} with risk {risk!r}: of the {tried.accepted} surest of "
        f"{tried.answers} answers {tried.wrong} are wrong, so the error is only known to be below {tried.bound:.3f}; "
        f"{help_}; otherwise raise error or risk, change first, or use an estimator that ranks better"
    )
