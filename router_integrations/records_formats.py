"""Rows of public data sets and of logs, each turned into `Record`s.

What each format is known from:

- ``battles``: RouteLLM's training code (model_a, model_b, winner, prompt) and the cards of the arena's data sets of
  33,000, 55,000 and 140,000 votes; `strong`, `weak` and `strong_won` are a vote between two tiers.
- ``routerbench``: the loader of withmartian/routerbench; wide, with `model` and `model|total_cost` for each model.
- ``llmrouterbench``: the result files that ynulihao/LLMRouterBench writes.
- ``routerarena``: the files of RouteWorks/RouterArena: cached results, one file a model, and predictions, one a router.
- ``langsmith``: `Run` of the langsmith package 0.15 with its `feedback_stats`; one in JSON, or the object itself.
- ``litellm``: the table `LiteLLM_SpendLogs` of LiteLLM 1.110.
- ``langfuse``: the field reference of Langfuse's export to blob storage, enriched and legacy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

from router_integrations.learning import Record
from router_integrations.records_values import (
    CHECKS,
    Columns,
    Fault,
    absent,
    checked,
    human_turns,
    mapping,
    scaled,
    score,
    seconds,
    shown,
    take,
    unlisted,
)

Format = Literal["plain", "battles", "routerbench", "llmrouterbench", "routerarena", "langsmith", "litellm", "langfuse"]
FORMATS: tuple[Format, ...] = get_args(Format)
Row = Mapping[str, Any]

_COST = "|total_cost"
_MARKS: tuple[tuple[frozenset[str], Format], ...] = (
    (frozenset({"text", "candidate"}), "plain"),
    (frozenset({"model_a", "model_b"}), "battles"),
    (frozenset({"model_name", "records"}), "llmrouterbench"),
    (frozenset({"global_index", "llm_selected"}), "routerarena"),
    (frozenset({"global index", "prediction"}), "routerarena"),
    (frozenset({"run_type"}), "langsmith"),
    (frozenset({"request_id", "spend"}), "litellm"),
    (frozenset({"provided_model_name"}), "langfuse"),
)
_WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5}
_FLAGS = {"winner_model_a": 1.0, "winner_model_b": 0.0, "winner_tie": 0.5}


def recognise(row: Row) -> Format:
    """Return the format that a row's columns tell of.

    >>> recognise({"prompt": "2+2?", "small": 1.0, "small|total_cost": 0.01})
    'routerbench'
    """
    if _priced(row):
        return "routerbench"
    return next((name for marks, name in _MARKS if marks <= row.keys()), "plain")


def convert(row: Row, form: Format, grade: str | None = None) -> Iterator[Record | Fault]:
    """Yield the records of a row, and a fault in place of each that cannot be one; nothing where no model was asked.

    Args:
        row: The source's own columns.
        form: How to understand them.
        grade: Name of the feedback or score that is the grade, where a log has several.

    >>> row = {"prompt": "2+2?", "small": 0.0, "small|total_cost": 1e-05, "large": None, "large|total_cost": 0.01}
    >>> small, large = convert(row, "routerbench")
    >>> small.candidate, small.cost, str(large)
    ('small', 1e-05, 'large is missing')
    """
    try:
        for columns in _CONVERTERS[form](row, grade):
            yield columns if isinstance(columns, Fault) else checked(columns)
    except Fault as fault:
        yield fault
    except RecursionError:
        yield Fault("row", "is nested too deeply")


def _plain(row: Row, grade: str | None) -> Iterator[Columns]:
    yield take(row, **{name: name for name in CHECKS})


def _battles(row: Row, grade: str | None) -> Iterator[Columns]:
    """A battle's own id is left out: the same prompt in two battles is one query."""
    if "strong_won" in row and "winner" not in row:
        columns = take(row, candidate="strong", over="weak", quality="strong_won")
    else:
        columns = take(row, candidate="model_a", over="model_b") | {"quality": ("winner", _verdict(row))}
    field = "prompt" if "prompt" in row else "conversation_a"
    # A router chooses at the first turn.
    text = next(iter(human_turns(row.get(field))), row.get("prompt"))
    yield columns | take(row, user_id="judge") | {"text": (field, text)}


def _verdict(row: Row) -> float:
    if "winner" in row:
        won = [_WINNERS[name] for name in _WINNERS if name == row["winner"]]
    else:
        won = [value for name, value in _FLAGS.items() if row.get(name) in (1, "1")]
    if len(won) != 1:
        raise Fault("winner", f"must be one of {', '.join(_WINNERS)} but is {shown(row.get('winner'))}")
    return won[0]


def _routerbench(row: Row, grade: str | None) -> Iterator[Columns]:
    # The published prompts are Python lists of one, written out as text.
    text = ("prompt", unlisted(row.get("prompt")))
    for cost in _priced(row):
        model = cost.removesuffix(_COST)
        columns = take(row, quality=model, cost=cost, query_id="sample_id", domain="eval_name")
        yield columns | {"text": text, "candidate": (cost, model)}


def _priced(row: Row) -> list[str]:
    return [name for name in row if isinstance(name, str) and name.endswith(_COST)]


def _llmrouterbench(row: Row, grade: str | None) -> Iterator[Columns | Fault]:
    """Costs of 0 are unknown ones: the benchmark prices its large models only."""
    file = take(row, candidate="model_name", domain="dataset_name", split="split")
    for number, result in enumerate(row.get("records") or ()):
        place = f"records[{number}]"
        if not isinstance(result, Mapping):
            yield Fault(place, f"must be an object but is {shown(result)}")
            continue
        names = {"text": "prompt", "quality": "score", "cost": "cost"}
        names |= {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
        columns = {ours: (f"{place}.{theirs}", result.get(theirs)) for ours, theirs in names.items()}
        query = f"{row.get('dataset_name')}/{row.get('split')}/{result.get('index')}"
        cost = (f"{place}.cost", result.get("cost") or None)
        yield file | columns | {"query_id": (f"{place}.index", query), "cost": cost}


def _routerarena(row: Row, grade: str | None) -> Iterator[Columns]:
    """A call that failed says nothing of the model; one that nobody has evaluated yet has no grade."""
    cached = "llm_selected" in row
    answer = row if cached else mapping(row.get("generated_result"))
    if answer.get("success") is False:
        raise Fault("success", f"is false: {shown(answer.get('error'))}")
    index = "global_index" if cached else "global index"
    if cached:
        columns = take(row, text="question", candidate="llm_selected", query_id=index)
        graded = mapping(row.get("evaluation_result"))
        for ours, theirs in (("quality", "score"), ("cost", "inference_cost")):
            columns[ours] = (f"evaluation_result.{theirs}", graded.get(theirs))
    else:
        columns = take(row, text="prompt", candidate="prediction", quality="accuracy", cost="cost", query_id=index)
    tokens = mapping(answer.get("token_usage"))
    for ours in ("input_tokens", "output_tokens"):
        columns[ours] = (f"token_usage.{ours}", tokens.get(ours))
    yield columns | {"domain": (index, str(row.get(index, "")).rpartition("_")[0])}


def _langsmith(row: Row, grade: str | None) -> Iterator[Columns]:
    stats = mapping(row.get("feedback_stats"))
    if row.get("run_type") != "llm":
        if stats:
            raise Fault("run_type", f"is {row.get('run_type')!r} with feedback; only that on a model's run can be used")
        return
    metadata = mapping(mapping(row.get("extra")).get("metadata"))
    scores = {name: mapping(stat).get("avg") for name, stat in stats.items()}
    columns = take(row, cost="total_cost", input_tokens="prompt_tokens", output_tokens="completion_tokens")
    yield columns | {
        "text": ("inputs", _last_turn(row.get("inputs"))),
        "candidate": ("extra.metadata.ls_model_name", metadata.get("ls_model_name")),
        "quality": ("feedback_stats", score("feedback_stats", scores, grade)),
        "latency": ("end_time", seconds(row.get("start_time"), row.get("end_time"))),
        "user_id": ("extra.metadata.user_id", metadata.get("user_id")),
    }


def _litellm(row: Row, grade: str | None) -> Iterator[Columns]:
    """The prompt is in `proxy_server_request`, if prompts are stored; `messages` holds those of real-time calls."""
    name = grade or "quality"
    own = mapping(mapping(row.get("metadata")).get("spend_logs_metadata"))
    model = "model" if absent(row.get("model_group")) else "model_group"
    user = "user" if absent(row.get("end_user")) else "end_user"
    columns = take(row, candidate=model, input_tokens="prompt_tokens", output_tokens="completion_tokens", user_id=user)
    text = _last_turn(row.get("proxy_server_request")) or _last_turn(row.get("messages"))
    columns["text"] = ("proxy_server_request", text)
    columns["quality"] = (f"metadata.spend_logs_metadata.{name}", own.get(name, row.get(name)))
    # An answer from the cache tells nothing of what the model takes.
    if str(row.get("cache_hit")).lower() != "true":
        measured = scaled(row.get("request_duration_ms"), 0.001)
        latency = seconds(row.get("startTime"), row.get("endTime")) if measured is None else measured
        columns |= take(row, cost="spend") | {"latency": ("request_duration_ms", latency)}
    yield columns


def _langfuse(row: Row, grade: str | None) -> Iterator[Columns]:
    """Latencies are in seconds, but in milliseconds where the export was set up before April 2026: rescale those."""
    if row.get("type") != "GENERATION":
        return
    usage = mapping(row.get("usage_details"))
    columns = take(row, candidate="provided_model_name", cost="total_cost", latency="latency", user_id="user_id")
    yield columns | {
        "text": ("input", _last_turn(row.get("input")) or row.get("input")),
        "quality": ("scores", score("scores", mapping(row.get("scores")), grade)),
        "input_tokens": ("usage_details.input", usage.get("input")),
        "output_tokens": ("usage_details.output", usage.get("output")),
    }


def _last_turn(value: Any) -> str | None:
    return next(reversed(human_turns(value)), None)


_CONVERTERS: dict[Format, Callable[[Row, str | None], Iterator[Columns | Fault]]] = {
    "plain": _plain,
    "battles": _battles,
    "routerbench": _routerbench,
    "llmrouterbench": _llmrouterbench,
    "routerarena": _routerarena,
    "langsmith": _langsmith,
    "litellm": _litellm,
    "langfuse": _langfuse,
}
