"""Asks every candidate every prompt, within a spending cap, and goes on where a killed run stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import HumanMessage

from router_integrations import providers
from router_integrations.candidates import Candidate, as_candidates
from router_integrations.collect.graders import NAMED, Grade, Grader, Judge, as_grader, grade, spent
from router_integrations.collect.journal import Journal, Key
from router_integrations.collect.plan import Plan, Tally
from router_integrations.collect.prompts import Prompt, read_prompts
from router_integrations.errors import ConfigurationError, RouterError
from router_integrations.langchain import RouterChatModel
from router_integrations.learning import Record
from router_integrations.records import columns
from router_integrations.strategies import Fixed
from router_integrations.tokens import byte_length
from router_integrations.types import Usage

_log = logging.getLogger(__name__)
_MEASURED = ("cost", "latency", "input_tokens", "output_tokens")
# What a message and an image of a prompt are at most, beside its bytes (tokens).
_MESSAGE_TOKENS, _IMAGE_TOKENS = 16, 2000


def collect(
    prompts: Any,
    candidates: Iterable[Candidate | str],
    *,
    out: str | os.PathLike[str],
    grader: Grader | str,
    budget: float | None = None,
    plan: Plan | None = None,
) -> Tally:
    """Ask every candidate every prompt, grade the answers, and write a record of each to `out` as soon as it is there.

    Run it again with the same `out` to go on after a kill or a failure: what has a record is not asked again, and an
    answer that is paid for is only graded. The file is read by `records.read`; failures are in a file beside it.

    Args:
        prompts: What `read_prompts` takes.
        candidates: LiteLLM model ids, or `Candidate`s; retries and rate limits are theirs.
        out: A ``.jsonl`` file; each line has the columns of a `Record`, the sample's number, the answer, and what was
            spent.
        grader: ``"exact"``, ``"contains"``, ``"number"``, a `Judge`, a function of a `Prompt` and an answer that gives
            a grade in [0, 1], or where that is: ``"module:function"``.
        budget: USD for all runs together; no call is begun that could exceed it, at its longest answer.
        plan: Samples, concurrency and length of answers.

    Raises:
        ConfigurationError: An argument is wrong, there is a budget and nobody knows what a call may cost, or an event
            loop runs here already, as in a notebook.
    """
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError("collect cannot wait where an event loop runs already; use `await acollect(...)`")
    return asyncio.run(acollect(prompts, candidates, out=out, grader=grader, budget=budget, plan=plan))


async def acollect(
    prompts: Any,
    candidates: Iterable[Candidate | str],
    *,
    out: str | os.PathLike[str],
    grader: Grader | str,
    budget: float | None = None,
    plan: Plan | None = None,
) -> Tally:
    """Async `collect`."""
    plan = plan or Plan()
    asked, pool, by = read_prompts(prompts), as_candidates(candidates), as_grader(grader)
    bare = next((prompt for prompt in asked if prompt.reference is None), None) if by in NAMED.values() else None
    if bare is not None:
        raise ConfigurationError(f"{bare.text[:60]!r} has no reference answer to compare with; take another grader")
    if budget is not None and not budget > 0:
        raise ConfigurationError(f"budget must be above 0 USD but got {budget!r}; leave it out for none")
    with Journal(out) as journal:
        collection = _Collection(journal=journal, pool=pool, grader=by, budget=budget, plan=plan)
        return await collection.work(
            [_Unit(p, c, sample) for p in asked for sample in range(plan.samples) for c in pool]
        )


@dataclass(frozen=True, slots=True)
class _Unit:
    prompt: Prompt
    candidate: Candidate
    sample: int

    @property
    def key(self) -> Key:
        return self.prompt.query_id, self.candidate.name, self.sample

    def record(self, graded: Grade, answer: Mapping[str, Any]) -> Record:
        prompt = self.prompt
        if graded.quality is None:
            raise ConfigurationError(graded.reason)
        return Record(
            text=prompt.text,
            candidate=self.candidate.name,
            quality=graded.quality,
            query_id=prompt.query_id,
            domain=prompt.domain,
            split=prompt.split,
            images=prompt.images,
            **{name: answer[name] for name in _MEASURED},
        )


class _Collection:
    def __init__(
        self, *, journal: Journal, pool: Iterable[Candidate], grader: Grader, budget: float | None, plan: Plan
    ) -> None:
        self._journal = journal
        self._models = {
            one.name: RouterChatModel(candidates=[one], strategy=Fixed(), max_tokens=plan.max_tokens) for one in pool
        }
        self._grader = grader
        self._budget = budget
        self._plan = plan
        self._running = 0
        self._reserved = 0.0
        self._freed = asyncio.Event()
        self._tally = Tally(total=0)

    async def work(self, units: list[_Unit]) -> Tally:
        if any(unit.candidate.model is None for unit in units):
            # Else the first calls would take as long as its import.
            await providers.load()
        open_ = [unit for unit in units if unit.key not in self._journal.finished]
        worst = [self._worst_costs(unit) for unit in open_]
        unpriced = tuple(dict.fromkeys(name for costs in worst for name, cost in costs if cost is None))
        if unpriced:
            self._tell_unpriced(unpriced)
        self._tally = replace(self._tally, total=len(units), done=len(units) - len(open_), unpriced=unpriced)
        begun = 0
        try:
            async with asyncio.TaskGroup() as group:
                for unit, costs in zip(open_, worst, strict=True):
                    reserved = sum(cost or 0.0 for _, cost in costs)
                    if not await self._admitted(reserved):
                        break
                    begun += 1
                    group.create_task(self._within(reserved, unit))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        self._count(left=len(open_) - begun)
        return self._tally

    def _tell_unpriced(self, names: Iterable[str]) -> None:
        if self._budget is not None:
            raise ConfigurationError(
                f"nobody knows what a call to {', '.join(names)} may cost, so no budget can hold; give input_price=, "
                "output_price= and max_output= on the Candidate, or max_tokens"
            )
        _log.warning("prices of %s are unknown; what they cost is not counted", ", ".join(names))

    def _worst_costs(self, unit: _Unit) -> list[tuple[str, float | None]]:
        """Return the most USD that the answer and its grade can cost, each with who is paid; `None` if unknown."""
        candidate, prompt, judge = unit.candidate, unit.prompt, self._grader
        longest = self._longest(candidate)
        # No tokenizer makes more tokens than bytes.
        read = byte_length(prompt.text) + _MESSAGE_TOKENS + _IMAGE_TOKENS * len(prompt.images)
        known = longest is not None or candidate.output_price == 0
        cost = candidate.cost(Usage(input_tokens=read, output_tokens=longest or 0)) if known else None
        costs = [] if unit.key in self._journal.answers else [(candidate.name, cost)]
        if isinstance(judge, Judge):
            costs.append((judge.candidate.name, judge.worst_cost(prompt, longest or 0)))
        return costs

    def _longest(self, candidate: Candidate) -> int | None:
        """Return the tokens of the longest answer; `None` if nothing limits it."""
        given = [candidate.params.get(name) for name in ("max_tokens", "max_completion_tokens")]
        limits = (*given, self._plan.max_tokens, candidate.max_output)
        return next((limit for limit in limits if limit is not None), None)

    async def _admitted(self, worst: float) -> bool:
        """Wait for a place; return whether the cap holds with one more unit."""
        while self._running >= self._plan.concurrency or (self._running and not self._fits(worst)):
            self._freed.clear()
            await self._freed.wait()
        if not self._fits(worst):
            return False
        self._running += 1
        self._reserved += worst
        return True

    def _fits(self, worst: float) -> bool:
        return self._budget is None or self._journal.spent + self._reserved + worst <= self._budget

    async def _within(self, worst: float, unit: _Unit) -> None:
        try:
            await self._do(unit)
        finally:
            self._running -= 1
            self._reserved -= worst
            self._freed.set()

    async def _do(self, unit: _Unit) -> None:
        paid = 0.0
        if (answer := self._journal.answers.get(unit.key)) is None:
            try:
                answer, paid = await self._ask(unit)
            except RouterError as error:
                self._fail(unit, error, {}, spent(error.trace.as_dict()["attempts"]) if error.trace else 0.0)
                return
        kept = {name: answer[name] for name in ("answer", *_MEASURED)}
        try:
            graded = await grade(self._grader, unit.prompt, answer["answer"])
            paid += graded.cost
            record = unit.record(graded, answer)
        except Exception as error:  # noqa: BLE001 - whatever the user's grader raises is told, and the answer kept
            self._fail(unit, error, kept, paid)
            return
        line = {**columns(record), "query_id": unit.prompt.query_id, "sample": unit.sample, "answer": answer["answer"]}
        self._journal.finish({**line, "spent": paid})
        self._count(done=1)

    async def _ask(self, unit: _Unit) -> tuple[Mapping[str, Any], float]:
        """Return the answer with what was measured, and the USD of all attempts."""
        images = [{"type": "image_url", "image_url": {"url": url}} for url in unit.prompt.images]
        content: Any = [{"type": "text", "text": unit.prompt.text}, *images] if images else unit.prompt.text
        message = await self._models[unit.candidate.name].ainvoke([HumanMessage(content)])
        attempts = message.response_metadata["router"]["attempts"]
        measured = {name: attempts[-1][name] for name in _MEASURED}
        return {"answer": str(message.text), **measured}, spent(attempts)

    def _fail(self, unit: _Unit, error: Exception, answer: Mapping[str, Any], paid: float) -> None:
        if not self._tally.failed:
            _log.warning("%s failed on %.60r: %s; the next run tries again", unit.candidate.name, unit.key[0], error)
        query, candidate, sample = unit.key
        known = {"query_id": query, "candidate": candidate, "sample": sample, **answer, "spent": paid}
        self._journal.fail({**known, "error": f"{type(error).__name__}: {error}"})
        self._count(failed=1)

    def _count(self, *, done: int = 0, failed: int = 0, left: int = 0) -> None:
        tally = self._tally
        self._tally = replace(
            tally,
            done=tally.done + done,
            failed=tally.failed + failed,
            left=tally.left + left,
            spent=self._journal.spent,
        )
        if self._plan.on_progress is not None:
            self._plan.on_progress(self._tally)
