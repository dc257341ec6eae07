"""The cascade for code: each candidate writes solutions and tests of them, and what passes is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.answers import UNPRIMED
from router_integrations.reasons import compared
from router_integrations.strategies.cascade import Cascade
from router_integrations.strategies.self_tests import ask_for_tests, passes, program, read_tests, solution_in
from router_integrations.strategies.votes import answers_among, left_over
from router_integrations.types import Attempt, Call, Estimator, Request, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    """An answer with the program that tests it, and how many of the tests it passes; `None` while nobody has run it."""

    answer: Attempt
    program: str
    passed: int | None
    tests: int

    @property
    def name(self) -> str:
        return self.answer.call.candidate.name

    @property
    def share(self) -> float:
        return (self.passed or 0) / max(self.tests, 1)


class SelfTestedCascade:
    """Asks a candidate for Python solutions and for tests at once, and the next one when no solution passes enough.

    The runner runs each solution with the tests of the candidate that wrote it, all solutions at once; one that passes
    a share of at least `accept` is the answer, of several the one that passes most, then the first. Without code, tests
    or runner the next candidate is asked. The last candidate is asked once, untested, and streams. When nobody is left,
    or nobody that the budget allows, the solution that passed the largest share of its tests is returned. In a tool
    loop the candidate that began it goes on, untested. The query must name what is to be written, for who writes the
    tests sees no solution; the candidates must not be deterministic (temperature above 0) if there are several
    solutions. `Limits.max_calls` (32) must allow for ``2 * solutions + 1`` calls a candidate.

    The runner is your own function behind a candidate that judges: it gets a Python program, runs it, and returns what
    that prints, or printed until it was stopped. The program is written by models, so run it where it can do no harm,
    and for seconds at most::

        def run_python(program: str) -> str:
            sandbox = "docker run --rm -i --network none --memory 256m --user nobody python:3.12-slim"
            command = [*sandbox.split(), "timeout", "10", "python", "-I", "-"]
            return subprocess.run(command, input=program, capture_output=True, text=True).stdout

        RouterChatModel(
            candidates=["openai/gpt-4o-mini", "openai/gpt-4o"],
            judges=[Candidate("runner", model=run_python)],
            strategy=SelfTestedCascade(runner="runner"),
        )

    WHEN: multi-stage. WHAT: answers that are run. HOW: a threshold on the share of tests passed. Each rejected
    candidate costs its solutions and tests, and the time to write and to run them. `decide` takes one estimate plus
    O(characters of solutions and tests).

    Chen et al., "Model Cascading for Code" (arXiv 2405.15842).

    Args:
        runner: Name of the candidate that runs programs.
        solutions: Answers asked of each candidate but the last, at least 1; fewer when the budget is short.
        tests: Tests asked of each, at least 1.
        accept: Least share of the tests that an accepted solution passes, in (0, 1].
        order: As in `Cascade`.
        estimator: What the candidates will cost; ``Difficulty(unknown=0.5)`` by default.

    Raises:
        ConfigurationError: An option is out of range.

    >>> from router_integrations.candidates import Candidate
    >>> pool = tuple(Candidate(name, model=object(), strength=0.5) for name in ("small", "big"))
    >>> runner = Candidate("runner", model=print)
    >>> request = Request(text="Write half(x) in Python.", candidates=pool, judges=(runner,))
    >>> cascade = SelfTestedCascade(runner="runner", solutions=1, order="given")
    >>> said = ("def half(x): return x / 2", "assert half(4) == 2")
    >>> written = [Attempt(call=call, text=text) for call, text in zip(cascade.decide(request), said, strict=True)]
    >>> (test,) = cascade.decide(request, written)
    >>> test.candidate.name, cascade.decide(request, [*written, Attempt(call=test, text="")]).candidate.name
    ('runner', 'big')
    """

    def __init__(
        self,
        *,
        runner: str,
        solutions: int = 3,
        tests: int = 5,
        accept: float = 0.8,
        order: Literal["given", "price"] | Sequence[str] = "price",
        estimator: Estimator | None = None,
    ) -> None:
        for option, number in (("solutions", solutions), ("tests", tests)):
            if number < 1:
                raise ConfigurationError(f"SelfTestedCascade.{option} must be at least 1 but got {number!r}")
        if not 0 < accept <= 1:
            raise ConfigurationError(f"SelfTestedCascade.accept must be in (0, 1] but got {accept!r}; 0.8 is usual")
        self.runner = runner
        self.solutions = solutions
        self.tests = tests
        self.accept = accept
        self.order = order
        self.estimator = estimator
        # Never content, it goes on for as long as somebody can be asked.
        self._onward = Cascade(estimator=UNPRIMED if estimator is None else estimator, order=order, accept=1.0)

    @property
    def judges(self) -> tuple[str, ...]:
        """Who must be there beside the candidates that answer."""
        return (self.runner,)

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        """Return the calls for solutions and tests, those to the runner, or the end with the best solution."""
        request = _without_failed(request, attempts)
        tested = self._tested(request, attempts)
        last = [one for one in tested if one.name == tested[-1].name]
        runner = next((one for one in request.judges if one.name == self.runner), None)
        if last and runner and (waiting := self._waiting(last, attempts)):
            why = f"does it pass the tests of {last[0].name!r}?"
            return [Call(candidate=runner, purpose="judge", prompt=one, reason=why) for one in waiting]
        best = max(last, key=lambda one: one.share, default=None)
        if best is not None and best.share >= self.accept:
            return Stop(attempt=best.answer, reason=self._said(best), confidence=best.share)
        if not request.candidates:
            return _best(tested)
        onward = self._onward.decide(request, attempts)
        if isinstance(onward, Stop):
            return _best(tested)
        tried = next((one for one in reversed(attempts) if one.call.purpose == "answer"), None)
        if best is not None and tried is not None and tried.call.candidate.name == best.name:
            onward = replace(onward, reason=self._said(best))
        return onward if onward.final or runner is None else self._ask(request, attempts, onward)

    def _tested(self, request: Request, attempts: Sequence[Attempt]) -> list[_Tested]:
        """Return the answers with what their tests say."""
        asked = ask_for_tests(request.text, self.tests)
        verdicts = [one for one in attempts if one.error is None and one.call.purpose == "judge"]
        wrote = {one.call.candidate.name: one.text for one in verdicts if one.call.prompt == asked}
        ran = {one.call.prompt: one.text for one in verdicts if one.call.candidate.name == self.runner}
        found = []
        for answer in answers_among(attempts):
            tests = read_tests(wrote.get(answer.call.candidate.name, ""), self.tests)
            code = solution_in(answer.text) if tests else ""
            run = program(code, tests) if code else ""
            passed = min(passes(ran[run]), len(tests)) if run in ran else None
            found.append(_Tested(answer=answer, program=run, passed=passed, tests=len(tests)))
        return found

    def _waiting(self, tested: Sequence[_Tested], attempts: Sequence[Attempt]) -> list[str]:
        """Return the programs that have yet to be run, each once."""
        tried = {one.call.prompt for one in attempts if one.call.candidate.name == self.runner}
        return [one for one in dict.fromkeys(one.program for one in tested) if one and one not in tried]

    def _said(self, best: _Tested) -> str:
        if best.passed is None:
            return f"{best.name!r} could not be tested"
        sign = ">=" if best.share >= self.accept else "<"
        return (
            f"{best.name!r} passed {best.passed} of its {best.tests} tests, {compared(best.share, sign, self.accept)}"
        )

    def _ask(self, request: Request, attempts: Sequence[Attempt], onward: Call) -> Call | list[Call]:
        """Return the calls for the solutions that the budget allows, and for the tests."""
        candidate, left = onward.candidate, left_over(request, attempts)
        expected = onward.estimates.get(candidate.name)
        each = expected.cost if expected is not None else None
        # The tests are about as long as a solution.
        times = min(self.solutions, int(left / each) - 1) if left and each else self.solutions
        if times < 1:
            return onward
        prompt = ask_for_tests(request.text, self.tests)
        tests = replace(onward, purpose="judge", prompt=prompt, reason=f"tests of what {candidate.name!r} writes")
        return [*(replace(onward) for _ in range(times)), tests]


def _without_failed(request: Request, attempts: Sequence[Attempt]) -> Request:
    """Return the request without who failed to answer, though it may have written tests."""
    answered = {one.call.candidate.name for one in answers_among(attempts)}
    failed = {one.call.candidate.name for one in attempts if one.call.purpose == "answer"} - answered
    left = tuple(one for one in request.candidates if one.name not in failed)
    return request if len(left) == len(request.candidates) else replace(request, candidates=left)


def _best(tested: Sequence[_Tested]) -> Stop:
    names = list(dict.fromkeys(one.name for one in tested))
    # Of equals the first of the later candidate, which was dearer.
    best = max(tested, key=lambda one: (one.share, names.index(one.name)), default=None)
    if best is None:
        return Stop(reason="nobody is left to ask")
    untested = best.passed is None
    result = "untested" if untested else f"{best.passed} of {best.tests} tests passed"
    reason = f"nobody else can be asked; the best solution so far, {result}"
    return Stop(attempt=best.answer, reason=reason, confidence=None if untested else best.share)
