"""How far several answers agree: samples of one candidate, or the answers of several."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder
from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator, Need, answers_of, said
from router_integrations.estimators.uncertainty import usable
from router_integrations.types import Attempt, Estimator, Request

# Whether two answers say the same: near for an encoder, each entails the other, or by default spelt alike.
Same = Encoder | Callable[[str, str], bool] | None
_WORD = re.compile(r"\w+")
_EDGES = " \t\r\n.,;:!?\"'`*()[]{}。"


class _Clustering(AnswerEstimator):
    """Base of the estimators that count who says the same.

    Args:
        same: When two answers say the same: for an `Encoder` at a cosine of `threshold`, for a callable
            ``entails(premise, hypothesis)`` when it holds both ways; `None` is when `read` gives the same text.
        threshold: Least cosine, in [-1, 1]; read with an encoder only.
        read: Takes the answer out of a text, in one form; `normalized` by default.
        prior: Estimates the candidates without enough answers; ``Difficulty(unknown=0.5)`` by default.
    """

    def __init__(
        self,
        *,
        same: Same = None,
        threshold: float = 0.9,
        read: Callable[[str], str] | None = None,
        prior: Estimator | None = None,
    ) -> None:
        # A str has an `encode` of its own.
        if isinstance(same, str) or not (same is None or isinstance(same, Encoder) or callable(same)):
            raise ConfigurationError(
                f"{type(self).__name__}.same must be an encoder, a callable of two texts or None but got {same!r}"
            )
        if not -1 <= threshold <= 1:
            raise ConfigurationError(f"{type(self).__name__}.threshold must be in [-1, 1] but got {threshold!r}")
        super().__init__(prior=prior)
        self.same = same
        self.threshold = threshold
        self.read = read

    @property
    def needs(self) -> frozenset[Need]:
        """Several answers of one candidate."""
        return frozenset({"samples"})

    def _clusters(self, answers: Sequence[Attempt]) -> list[int]:
        texts = [said(answer, self.read or normalized) for answer in answers]
        return clusters(texts, self.same, threshold=self.threshold)


class SelfConsistency(_Clustering):
    """Estimates a candidate by the share of its samples that give the most common answer; that one is its answer.

    WHEN: post-generation. WHAT: several answers of one candidate. HOW: heuristic, a vote. With fewer than two answers
    there is no vote. `answer` returns the first attempt that gave the winner; of equals the earliest wins. `estimate`
    takes O(samples), with an encoder or an entailment O(samples²).

    Self-consistency is arXiv 2203.11171; as the confidence of a cascade it is mixture of thoughts (arXiv 2310.03094),
    whose samples may come from several prompts.

    Args:
        same: When two answers say the same: for an `Encoder` at a cosine of `threshold`, for a callable
            ``entails(premise, hypothesis)`` when it holds both ways; `None` is when `read` gives the same text.
        threshold: Least cosine, in [-1, 1]; read with an encoder only.
        read: Takes the answer out of a text, in one form: the last number, say; `normalized` by default.
        prior: Estimates the candidates with fewer than two answers; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> samples = [Attempt(call=Call(candidate=small), text=text) for text in ("4", "four", "4.", " 4 ")]
    >>> SelfConsistency().estimate(Request(text="2 + 2?"), [small], samples)[0].quality
    0.75
    """

    def answer(self, candidate: Candidate, attempts: Sequence[Attempt]) -> Attempt | None:
        """Return the first of the candidate's attempts that gave its most common answer."""
        answers = answers_of(candidate, attempts)
        if not answers:
            return None
        labels = self._clusters(answers)
        return answers[labels.index(Counter(labels).most_common(1)[0][0])]

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        if len(answers) < 2:
            return None
        return Counter(self._clusters(answers)).most_common(1)[0][1] / len(answers)


class Agreement(_Clustering):
    """Estimates an answer by the share of the candidates whose last answer says the same, its own included.

    WHEN: post-generation. WHAT: answers of several candidates. HOW: heuristic, a vote. With one answer there is no
    vote. `estimate` takes O(answers) for each candidate, with an encoder or an entailment O(answers²).

    Agreement-based cascading (arXiv 2407.02348).

    Args:
        same: When two answers say the same: for an `Encoder` at a cosine of `threshold`, for a callable
            ``entails(premise, hypothesis)`` when it holds both ways; `None` is when `read` gives the same text.
        threshold: Least cosine, in [-1, 1]; read with an encoder only.
        read: Takes the answer out of a text, in one form; `normalized` by default.
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.types import Call
    >>> pool = [Candidate(name, model=object()) for name in ("a", "b", "c", "d")]
    >>> replies = [Attempt(call=Call(candidate=one), text=text) for one, text in zip(pool, "4454", strict=True)]
    >>> [one.quality for one in Agreement().estimate(Request(text="2 + 2?"), pool, replies)]
    [0.75, 0.75, 0.25, 0.75]
    """

    @property
    def needs(self) -> frozenset[Need]:
        """Answers of several candidates."""
        return frozenset({"candidates"})

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        given = {one.call.candidate.name: one.call.candidate for one in attempts}
        last = [found[-1] for one in given.values() if (found := answers_of(one, attempts))]
        if len(last) < 2:
            return None
        labels = self._clusters(last)
        own = labels[next(place for place, one in enumerate(last) if one is answers[-1])]
        return labels.count(own) / len(labels)


class SemanticEntropy(_Clustering):
    """Estimates a candidate by how little its samples differ in meaning: 1 less their semantic entropy over log k.

    WHEN: post-generation. WHAT: several answers of one candidate. HOW: heuristic. Samples that say the same are a
    cluster C; the entropy is ``-Σ p(C)·log p(C)``, with p(C) its share of the k samples (discrete), or, with
    `likelihood`, its share of the samples' length-normalised probabilities. It is 1 when all say the same and 0 when no
    two do. `estimate` takes O(samples²) comparisons; an entailment callable is asked twice for each.

    Farquhar et al., Nature 630 (2024); Kuhn et al., arXiv 2302.09664.

    Args:
        same: When two answers say the same: for an `Encoder` at a cosine of `threshold`, for a callable
            ``entails(premise, hypothesis)`` when it holds both ways; `None` is when `read` gives the same text.
        threshold: Least cosine, in [-1, 1]; read with an encoder only.
        likelihood: Weigh the samples by ``exp(mean token log-probability)``; without those nothing is said.
        read: Takes the answer out of a text, in one form; `normalized` by default.
        prior: Estimates the candidates with fewer than two answers; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> samples = [Attempt(call=Call(candidate=small), text=text) for text in ("4", "5", "4", "5")]
    >>> SemanticEntropy().estimate(Request(text="2 + 2?"), [small], samples)[0].quality
    0.5
    """

    def __init__(
        self,
        *,
        same: Same = None,
        threshold: float = 0.9,
        likelihood: bool = False,
        read: Callable[[str], str] | None = None,
        prior: Estimator | None = None,
    ) -> None:
        super().__init__(same=same, threshold=threshold, read=read, prior=prior)
        self.likelihood = likelihood

    @property
    def needs(self) -> frozenset[Need]:
        """Several answers of one candidate, with `likelihood` their log-probabilities too."""
        return frozenset({"samples", "logprobs"} if self.likelihood else {"samples"})

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        weights = [_mean_probability(answer) for answer in answers] if self.likelihood else [1.0] * len(answers)
        total = math.fsum(weights)
        if len(answers) < 2 or not total > 0:
            return None
        mass: Counter[int] = Counter()
        for label, weight in zip(self._clusters(answers), weights, strict=True):
            mass[label] += weight / total  # type: ignore[assignment]
        entropy = -math.fsum(share * math.log(share) for share in mass.values() if share > 0)
        return 1 - entropy / math.log(len(answers))


class SampleSimilarity(AnswerEstimator):
    """Estimates a candidate by the mean similarity of two of its samples.

    WHEN: post-generation. WHAT: several answers of one candidate. HOW: heuristic. Two texts are as similar as they
    share words (Jaccard), or, with an encoder, by their cosine, a negative one counting 0. `estimate` takes O(samples²
    · words).

    The lexical similarity and the degree of the Jaccard graph of Lin et al. (arXiv 2305.19187).

    Args:
        encoder: Turns answers into vectors; `None` compares words.
        prior: Estimates the candidates with fewer than two answers; ``Difficulty(unknown=0.5)`` by default.

    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> samples = [Attempt(call=Call(candidate=small), text=text) for text in ("it is 4", "it is 5", "it is 4")]
    >>> round(SampleSimilarity().estimate(Request(text="2 + 2?"), [small], samples)[0].quality, 3)
    0.667
    """

    def __init__(self, *, encoder: Encoder | None = None, prior: Estimator | None = None) -> None:
        super().__init__(prior=prior)
        self.encoder = encoder

    @property
    def needs(self) -> frozenset[Need]:
        """Several answers of one candidate."""
        return frozenset({"samples"})

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        texts = [said(answer, normalized) for answer in answers]
        if len(texts) < 2:
            return None
        if self.encoder is not None:
            vectors = self.encoder.encode(texts)
            pairs = [max(float(one @ other), 0.0) for one, other in combinations(vectors, 2)]
        else:
            words = [frozenset(_WORD.findall(text)) for text in texts]
            pairs = [
                len(one & other) / len(one | other) if one | other else 1.0 for one, other in combinations(words, 2)
            ]
        return math.fsum(pairs) / len(pairs)


def normalized(text: str) -> str:
    """Return a text in one form: without case, double blanks, and signs at its ends.

    >>> normalized(" The  Answer. ")
    'the answer'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_EDGES)


def clusters(texts: Sequence[str], same: Same, *, threshold: float = 0.9) -> list[int]:
    """Return the cluster of each text: that of the first text that says the same, numbered as they come.

    A text is compared with the first of each cluster, as in the code of semantic entropy.

    >>> clusters(["4", "5", "4"], None), clusters(["a", "ab", "b"], lambda one, other: one[0] == other[0])
    ([0, 1, 0], [0, 0, 1])
    """
    vectors = same.encode(texts) if isinstance(same, Encoder) and texts else None
    firsts: list[int] = []
    labels = []
    for place, text in enumerate(texts):
        for label, first in enumerate(firsts):
            alike = text == texts[first]
            if not alike and vectors is not None:
                alike = bool(vectors[place] @ vectors[first] >= threshold)
            elif not alike and callable(same):
                alike = bool(same(texts[first], text) and same(text, texts[first]))
            if alike:
                labels.append(label)
                break
        else:
            labels.append(len(firsts))
            firsts.append(place)
    return labels


def _mean_probability(answer: Attempt) -> float:
    values = usable(answer.logprobs)
    return math.exp(math.fsum(values) / len(values)) if values else 0.0
