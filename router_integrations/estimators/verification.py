"""What a model says about an answer, its own or another's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import AnswerEstimator, Need, said
from router_integrations.estimators.uncertainty import usable
from router_integrations.types import Attempt, Estimator, Request

_VERDICT = """\
Here are a question and a proposed answer. Is the answer correct? Reply with one word, True or False.

<question>
{query}
</question>

<answer>
{answer}
</answer>

True or False:"""
_NUMBER = """\
Here are a question and a proposed answer. How likely is it that the answer is correct? Reply with a percentage \
alone, such as 35%.

<question>
{query}
</question>

<answer>
{answer}
</answer>

Likelihood:"""
_WORDS = re.compile(
    r"\b(?P<bad>(?:not|isn['\u2019]t)\s+(?:true|correct|right)|false|incorrect|wrong|no)\b"
    r"|\b(?P<good>true|correct|right|yes)\b"
)
_AMOUNT = (
    r"(?P<amount>\d{1,3}(?:\.\d{1,9})?|\.\d{1,9})\s{0,3}"
    r"(?:(?P<percent>%|percent)|(?:/|out of)\s{0,3}(?P<whole>\d{1,3}))?"
)
_AMOUNTS = re.compile(rf"(?<![\d.]){_AMOUNT}(?!\.?\d)")
_STATED = re.compile(rf"\b(?:confidence|probability|likelihood|certainty)\b[^\d\n]{{0,30}}?{_AMOUNT}(?!\.?\d)")


class VerbalizedConfidence(AnswerEstimator):
    """Estimates an answer by the confidence that it states: the last ``Confidence: 85%`` or the like in its text.

    WHEN: post-generation. WHAT: the answer. HOW: heuristic. The user's prompt has to ask for it. Percentages, fractions
    (``8/10``), numbers in [0, 1] and whole ones up to 100 are read. Models are mostly too sure: calibrate it.
    `estimate` takes O(characters). To ask for it in a call of its own, see `SelfVerification`.

    Xiong et al., "Can LLMs express their uncertainty?" (arXiv 2306.13063).

    Args:
        prior: Estimates the candidates without an answer; ``Difficulty(unknown=0.5)`` by default.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small = Candidate("small", model=object())
    >>> reply = Attempt(call=Call(candidate=small), text="It is 4. Confidence: 75%")
    >>> VerbalizedConfidence().estimate(Request(text="2 + 2?"), [small], [reply])[0].quality
    0.75
    """

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        return _last_amount(_STATED, answers[-1].text)


class SelfVerification(AnswerEstimator):
    """Estimates an answer by what judges say of it, the candidate itself or others.

    WHEN: post-generation. WHAT: query and answer, read by a model. HOW: a model judges, in one call a verdict; quality
    is the mean of the verdicts. ``read="verdict"`` counts 1 for True and 0 for False, so that over k samples it is the
    share of k that verify (self-verification of AutoMix, arXiv 2310.12963). ``read="probability"`` takes the
    probability of the word said, from the log-probability of its first token, and one less it for False (P(True), arXiv
    2207.05221). ``read="number"`` takes the percentage said (verbalised confidence, arXiv 2306.13063). Verdicts that
    cannot be read are left out.

    A strategy asks for a verdict with ``Call(candidate=judge, purpose="judge", prompt=estimator.ask(request,
    answer))``; verdicts belong to the answer whose prompt they were given, so judges may work side by side. `estimate`
    takes O(characters of the verdicts and prompts).

    Args:
        read: ``"verdict"``, ``"probability"`` or ``"number"``.
        prompt: What a judge is asked, with ``{query}`` and ``{answer}`` in it.
        examples: Queries, answers and what the judge should say of them, for few-shot verification; shown first, in
            the form of the prompt.
        prior: Estimates the candidates without a verdict; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: `read` is none of these, or the prompt lacks a place or has one more.

    >>> from router_integrations.candidates import Candidate
    >>> from router_integrations.types import Call
    >>> small, query, verify = Candidate("small", model=object()), Request(text="2 + 2?"), SelfVerification()
    >>> answer = Attempt(call=Call(candidate=small), text="4")
    >>> ask = Call(candidate=small, purpose="judge", prompt=verify.ask(query, answer))
    >>> said = [Attempt(call=ask, text=word) for word in ("True", "False", "True", "True")]
    >>> verify.estimate(query, [small], [answer, *said])[0].quality
    0.75
    """

    def __init__(
        self,
        *,
        read: Literal["verdict", "probability", "number"] = "verdict",
        prompt: str | None = None,
        examples: Sequence[tuple[str, str, str]] = (),
        prior: Estimator | None = None,
    ) -> None:
        if read not in ("verdict", "probability", "number"):
            raise ConfigurationError(
                f"SelfVerification.read must be 'verdict', 'probability' or 'number' but got {read!r}"
            )
        if prompt is not None:
            _require_places(prompt)
        super().__init__(prior=prior)
        self.read = read
        self.prompt = prompt
        self.examples = examples

    @property
    def needs(self) -> frozenset[Need]:
        """A judge; with ``read="probability"`` one that gives log-probabilities."""
        return frozenset({"judge", "logprobs"} if self.read == "probability" else {"judge"})

    def ask(self, request: Request, answer: Attempt) -> str:
        """Return what a judge of `answer` is to be asked."""
        template = self.prompt or (_NUMBER if self.read == "number" else _VERDICT)
        shown = [f"{template.format(query=query, answer=given)} {verdict}" for query, given, verdict in self.examples]
        return "\n\n".join([*shown, template.format(query=request.text, answer=said(answer))])

    def verdicts(self, request: Request, answer: Attempt, attempts: Sequence[Attempt]) -> list[float]:
        """Return what each readable verdict on `answer` among `attempts` is worth, in [0, 1], in order."""
        prompt = self.ask(request, answer)
        said = [one for one in attempts if one.error is None and one.call.purpose == "judge"]
        worth = [self._worth(one) for one in said if one.call.prompt == prompt]
        return [value for value in worth if value is not None]

    def _confidence(self, request: Request, answers: Sequence[Attempt], attempts: Sequence[Attempt]) -> float | None:
        verdicts = self.verdicts(request, answers[-1], attempts)
        return math.fsum(verdicts) / len(verdicts) if verdicts else None

    def _worth(self, verdict: Attempt) -> float | None:
        if self.read == "number":
            return _last_amount(_AMOUNTS, verdict.text)
        approves = approval(verdict.text)
        if approves is None or self.read == "verdict":
            return None if approves is None else float(approves)
        first = usable(verdict.logprobs[:1])
        if not first:
            return None
        return math.exp(first[0]) if approves else 1 - math.exp(first[0])


def approval(said: str) -> bool | None:
    """Return whether a verdict approves, by its last word that tells; `None` when none does.

    What a model thought aloud before its reply does not count.

    >>> approval("True."), approval("It is wrong, so: Incorrect"), approval("It is not correct."), approval("Perhaps")
    (True, False, False, None)
    """
    found = list(_WORDS.finditer(said.rpartition("</think>")[2].casefold()))
    return found[-1]["good"] is not None if found else None


def _last_amount(pattern: re.Pattern[str], said: str) -> float | None:
    found = list(pattern.finditer(said.rpartition("</think>")[2].casefold()))
    if not found:
        return None
    amount, whole = float(found[-1]["amount"]), found[-1]["whole"]
    if whole is not None:
        amount = amount / float(whole) if float(whole) else math.inf
    elif found[-1]["percent"] or amount > 1:
        amount /= 100
    return amount if amount <= 1 else None


def _require_places(prompt: str) -> None:
    marks = ("\0query", "\0answer")
    try:
        filled = prompt.format(query=marks[0], answer=marks[1])
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"SelfVerification.prompt cannot be filled ({error!r}); write other braces as {{{{ and }}}}"
        ) from error
    if not all(mark in filled for mark in marks):
        raise ConfigurationError(f"SelfVerification.prompt must hold {{query}} and {{answer}} but is {prompt!r}")
