"""Replays strategies over recorded outcomes: the engine that answers live requests, without its calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from router_integrations import engine
from router_integrations.candidates import Candidate, as_candidates, eligible
from router_integrations.errors import Abstained, AllCandidatesFailed, ConfigurationError, LimitExceeded
from router_integrations.evaluation.bulk import CHUNK, Forecast, choose, forecast, in_bulk
from router_integrations.evaluation.tables import priced, prompt_tokens, subset
from router_integrations.learning import Table
from router_integrations.limits import Limits
from router_integrations.pacer import Pacer
from router_integrations.steps import Run
from router_integrations.testing.table import Outcome, TableHost
from router_integrations.trace import Trace
from router_integrations.types import Request, Snapshot, Strategy, Utility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = Sequence[Mapping[str, Outcome | Sequence[Outcome]]]


_NOTHING_TOLD = Outcome()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Replay:
    """What a strategy did with each query of a table.

    Args:
        names: The candidates.
        chosen: Position in `names` of the candidate that answered; -1 where none did.
        quality: Grade of the answer; 0 where there is none.
        cost: USD of all attempts; NaN where unknown.
        attempts: Calls made.
    """

    names: tuple[str, ...]
    chosen: NDArray[np.intp]
    quality: Floats
    cost: Floats
    attempts: NDArray[np.intp]

    @property
    def mean_quality(self) -> float:
        """Mean grade of the answers."""
        return float(self.quality.mean())

    @property
    def mean_cost(self) -> float:
        """Mean USD a query; NaN when the cost of one is unknown."""
        return float(self.cost.mean())

    def share(self, name: str) -> float:
        """Share of the queries that the candidate called `name` answered."""
        return float((self.chosen == self.names.index(name)).mean())


def replay(
    strategy: Strategy,
    table: Table,
    candidates: Sequence[Candidate | str],
    *,
    outcomes: Rows | None = None,
    limits: Limits | None = None,
    pacer: Pacer | None = None,
) -> Replay:
    """Return what `strategy` would have done with the queries of `table`.

    A query is offered those of the candidates that can take it and have a grade there. `Best` over an estimator that
    has learnt is predicted in bulk; any other strategy goes through the engine query by query, in parallel under
    ``joblib.parallel_config``.

    Args:
        strategy: Decides.
        table: Queries with the grades and the costs of the candidates. A cost that is missing is the candidate's price
            for the tokens of the answer where these are known.
        candidates: Those that may be asked, in the user's order; each has a column in `table`.
        outcomes: For each query, the replies by candidate name, for strategies that read them; a list has one for each
            of the candidate's calls, judgements and further samples included, and the last one repeats.
        limits: How far one query may go.
        pacer: Sets the price of each query and is told its cost, so that the queries run one after the other.

    Raises:
        ConfigurationError: The table lacks a candidate, nobody's grade of a query, an answer that was improved, or a
            reply to a judge's prompt.
        RouterError: The strategy returned nonsense.

    >>> from router_integrations import Fixed
    >>> from router_integrations.learning import Record
    >>> table = Table.of([Record(text="2 + 2?", candidate="small", quality=1.0, cost=0.01),
    ...                   Record(text="2 ^ 70?", candidate="small", quality=0.0, cost=0.03)])
    >>> done = replay(Fixed(), table, [Candidate("small", model=object())])
    >>> done.mean_quality, done.mean_cost, done.share("small")
    (0.5, 0.02, 1.0)
    """
    if pacer is not None:
        bench = _bench(table, as_candidates(candidates), outcomes, limits or Limits())
        return _through_engine(strategy, replace(bench, pacer=pacer))
    return replay_each([strategy], table, candidates, outcomes=outcomes, limits=limits)[0]


def replay_each(
    strategies: Sequence[Strategy],
    table: Table,
    candidates: Sequence[Candidate | str],
    *,
    outcomes: Rows | None = None,
    limits: Limits | None = None,
) -> list[Replay]:
    """Return one replay a strategy; those that share an estimator share its predictions. Arguments as for `replay`.

    >>> from router_integrations.learning import Record
    >>> replay_each([], Table.of([Record(text="hi", candidate="m", quality=1.0)]), [Candidate("m", model=object())])
    []
    """
    bench = _bench(table, as_candidates(candidates), outcomes, limits or Limits())
    forecasts: dict[int, Forecast] = {}
    done = []
    for strategy in strategies:
        known = in_bulk(strategy) if outcomes is None and limits is None else None
        if known is None:
            done.append(_through_engine(strategy, bench))
            continue
        estimator, utility = known
        if id(estimator) not in forecasts:
            forecasts[id(estimator)] = forecast(estimator, bench.requests, bench.candidates)
        done.append(at_once(utility, forecasts[id(estimator)], bench.table))
    return done


def at_once(utility: Utility, expected: Forecast, table: Table) -> Replay:
    """Return what a `Best` would have done whose estimator expects what `expected` says of the queries of `table`.

    >>> from router_integrations.learning import Record
    >>> table = Table.of([Record(text="hi", candidate=name, quality=1.0) for name in "mn"])
    >>> one = np.array([[0.5, 0.9]])
    >>> expected = Forecast(allowed=one > 0, quality=one, std=one * 0, cost=one, latency=one)
    >>> at_once(Utility(enough=1), expected, table).share("n")
    1.0
    """
    chosen = choose(utility, expected)
    return Replay(
        names=table.names,
        chosen=chosen,
        quality=_grades(table, chosen),
        cost=table.cost[np.arange(len(chosen)), chosen],
        attempts=np.ones_like(chosen),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """A table made ready: one request a query, with what each candidate would reply to it and cost."""

    candidates: tuple[Candidate, ...]
    requests: tuple[Request, ...]
    table: Table
    outcomes: Rows | None
    limits: Limits
    pacer: Pacer | None = None

    def part(self, start: int) -> _Bench:
        rows = range(start, min(start + CHUNK, len(self.requests)))
        return replace(
            self,
            requests=self.requests[start : rows.stop],
            table=subset(self.table, rows=rows),
            outcomes=None if self.outcomes is None else self.outcomes[start : rows.stop],
        )

    def host(self, row: int) -> TableHost:
        given = {} if self.outcomes is None else self.outcomes[row]
        replies = {}
        for column, candidate in enumerate(self.candidates):
            reply, cost = given.get(candidate.name), float(self.table.cost[row, column])
            each = (_NOTHING_TOLD,) if reply is None else (reply,) if isinstance(reply, Outcome) else reply
            replies[candidate.name] = [_priced(one, cost) for one in each]
        return TableHost(replies)


def _priced(outcome: Outcome, cost: float) -> Outcome:
    """The outcome with the cost of the table, unless it tells its own or there is nothing to pay."""
    told = outcome.cost is not None or outcome.usage is not None or outcome.error is not None
    if told or math.isnan(cost):
        return outcome
    return Outcome(cost=cost) if outcome is _NOTHING_TOLD else replace(outcome, cost=cost)


def _bench(table: Table, candidates: tuple[Candidate, ...], outcomes: Rows | None, limits: Limits) -> _Bench:
    table = priced(table, candidates)
    if outcomes is not None and len(outcomes) != len(table.texts):
        raise ConfigurationError(f"there are {len(outcomes)} rows of outcomes for {len(table.texts)} queries")
    return _Bench(
        candidates=candidates,
        requests=tuple(request_of(table, row, candidates) for row in range(len(table.texts))),
        table=table,
        outcomes=outcomes,
        limits=limits,
    )


def request_of(table: Table, row: int, candidates: Sequence[Candidate]) -> Request:
    """Return the query in a row of a table that has the candidates' columns, offered to those with a grade on it.

    Raises:
        ConfigurationError: Nobody has one.
    """
    text = table.texts[row]
    user = table.user_ids[row] if table.user_ids else None
    size, estimated = prompt_tokens(table, row)
    request = Request(text=text, images=table.images[row], user_id=user, input_tokens=size, tokens_estimated=estimated)
    graded = [c for c, grade in zip(candidates, table.quality[row], strict=True) if not np.isnan(grade)]
    if not graded:
        raise ConfigurationError(f"no candidate has a grade on query {row} ({text[:40]!r}); leave the query out")
    return replace(request, candidates=eligible(graded, request)[0], judges=tuple(candidates))


def _through_engine(strategy: Strategy, bench: _Bench) -> Replay:
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    names = [one.name for one in bench.candidates]
    if absent := sorted({*getattr(strategy, "judges", ())}.difference(names)):
        raise ConfigurationError(f"{type(strategy).__name__} asks {absent} to judge, who are none of {names}")
    starts = range(0, len(bench.requests), CHUNK)
    split = (delayed(_run_part)(strategy, bench.part(start)) for start in starts)
    parts = Parallel()(split) if bench.pacer is None else [_run_part(strategy, bench)]
    rows = [row for part in parts for row in part]
    chosen = np.array([row[0] for row in rows], dtype=np.intp)
    return Replay(
        names=bench.table.names,
        chosen=chosen,
        quality=_grades(bench.table, chosen),
        cost=np.array([row[1] for row in rows], dtype=float),
        attempts=np.array([row[2] for row in rows], dtype=np.intp),
    )


def _run_part(strategy: Strategy, bench: _Bench) -> list[tuple[int, float, int]]:
    return [_run_one(strategy, bench, row) for row in range(len(bench.requests))]


def _run_one(strategy: Strategy, bench: _Bench, row: int) -> tuple[int, float, int]:
    """Return the position of the candidate that answered, the USD paid and the calls made."""
    request, pacer = bench.requests[row], bench.pacer
    if pacer is not None:
        request = replace(request, snapshot=Snapshot(price=pacer.current()))
    run = Run(strategy=strategy, request=request, limits=bench.limits, pacer=pacer)
    try:
        trace = engine.run(run, bench.host(row))
    except (Abstained, AllCandidatesFailed, LimitExceeded):
        trace = run.trace
    if revised := next((one.call.candidate.name for one in trace.attempts if one.call.revision is not None), None):
        raise ConfigurationError(
            f"{type(strategy).__name__} asked {revised!r} to improve its answer, of which a table has no grade; "
            "replay it with refine=None"
        )
    _check_prompts(strategy, trace, {} if bench.outcomes is None else bench.outcomes[row])
    name = trace.answer.call.candidate.name if trace.answer else None
    chosen = -1 if name is None else bench.table.names.index(name)
    return chosen, np.nan if trace.cost is None else trace.cost, len(trace.attempts)


def _check_prompts(strategy: Strategy, trace: Trace, told: Mapping[str, Outcome | Sequence[Outcome]]) -> None:
    """Refuse a trace in which somebody's only reply, to the query, was taken for one to a prompt."""
    answered = {one.call.candidate.name for one in trace.attempts if one.call.prompt is None}
    for attempt in trace.attempts:
        name = attempt.call.candidate.name
        only = name not in told or (name in answered and isinstance(told[name], Outcome))
        if attempt.call.prompt is not None and only:
            raise ConfigurationError(
                f"{type(strategy).__name__} asked {name!r} with a prompt of its own, to which there is no reply; give "
                f"outcomes= a list for {name!r}, with its replies in the order of the calls"
            )


def _grades(table: Table, chosen: NDArray[np.intp]) -> Floats:
    return np.where(chosen < 0, 0.0, table.quality[np.arange(len(chosen)), chosen])
