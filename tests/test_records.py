"""Loading records: every source, every format, what is reported of bad rows, and splits without leaks."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import logging
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_integrations.errors import ConfigurationError
from router_integrations.learning import Record
from router_integrations.records import BadRow, RecordsError, deduplicate, leaks, read, read_set, split, write
from router_integrations.records_formats import FORMATS

DATA = Path("/work/shared/data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real records are not in {DATA}")

ROWS = [
    {
        "text": "Wie geht's? 你好",
        "candidate": "small",
        "quality": 0.25,
        "cost": 1e-05,
        "latency": 0.5,
        "input_tokens": 7,
        "output_tokens": 9,
        "query_id": "q1",
        "domain": "chat",
        "split": "train",
        "user_id": "ann",
    },
    {"text": 'two\nlines, "quoted"', "candidate": "large", "quality": 1.0},
    {"text": "Which?", "candidate": "large", "quality": 0.5, "over": "small"},
]
RECORDS = [Record(**row) for row in ROWS]  # type: ignore[arg-type]


def gathered(source: Any, **options: Any) -> tuple[list[Record], list[BadRow]]:
    bad: list[BadRow] = []
    return list(read(source, on_bad=bad.append, **options)), bad


def save_jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def save_csv(path: Path, rows: list[Any]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) + ["over"] * ("over" not in rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def save_parquet(path: Path, rows: list[Any]) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist([dict.fromkeys([*rows[0], "over"]) | row for row in rows]), path)
    return path


def save_json(path: Path, rows: list[Any]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


SAVERS: dict[str, Callable[[Path, list[Any]], Path]] = {
    ".jsonl": save_jsonl,
    ".json": save_json,
    ".csv": save_csv,
    ".parquet": save_parquet,
}


@pytest.mark.parametrize("kind", SAVERS)
def test_every_kind_of_file_gives_the_same_records(kind: str, tmp_path: Path) -> None:
    path = SAVERS[kind](tmp_path / f"records{kind}", ROWS)

    assert gathered(path) == (RECORDS, [])
    assert gathered(str(path)) == (RECORDS, [])


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv"])
def test_text_files_may_be_compressed(kind: str, tmp_path: Path) -> None:
    path = SAVERS[kind](tmp_path / f"records{kind}", ROWS)
    packed = tmp_path / "packed" / f"records{kind}.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))

    assert gathered(packed) == (RECORDS, [])


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = save_csv(tmp_path / "records.csv", ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert gathered(path) == (RECORDS, [])


def test_a_folder_is_read_file_by_file_in_order(tmp_path: Path) -> None:
    save_jsonl(tmp_path / "b" / "1.jsonl", ROWS[1:])
    save_csv(tmp_path / "a.csv", ROWS[:1])
    (tmp_path / "notes.md").write_text("not data")
    save_jsonl(tmp_path / ".part-1-c.jsonl", ROWS)

    assert gathered(tmp_path) == (RECORDS, [])


def test_a_data_frame_is_read_with_its_missing_values() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS).convert_dtypes()

    assert gathered(frame) == (RECORDS, [])
    assert gathered(frame.astype(object)) == (RECORDS, [])


def test_a_list_or_a_data_set_of_dicts_is_read() -> None:
    class DataSet:
        def __iter__(self) -> Iterator[Mapping[str, Any]]:
            return iter(ROWS)

    assert gathered(ROWS) == (RECORDS, [])
    assert gathered(DataSet()) == (RECORDS, [])


@pytest.fixture
def hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    return pytest.importorskip("datasets")


def test_a_hugging_face_data_set_is_read(hugging_face: Any) -> None:
    held = hugging_face.Dataset.from_list([dict.fromkeys([*ROWS[0], "over"]) | row for row in ROWS])

    assert gathered(held) == (RECORDS, [])
    assert gathered(held.with_format("numpy")) == (RECORDS, [])


def test_a_streamed_hugging_face_data_set_is_read_as_it_comes(hugging_face: Any) -> None:
    taken = []

    def rows() -> Iterator[Mapping[str, Any]]:
        for number in itertools.count():
            taken.append(number)
            yield {"text": f"query {number}", "candidate": "small", "quality": 1.0}

    reading = read(hugging_face.IterableDataset.from_generator(rows))

    assert [record.text for record in itertools.islice(reading, 3)] == ["query 0", "query 1", "query 2"]
    assert len(taken) < 1000


def test_a_file_that_hugging_face_streams_is_read(hugging_face: Any, tmp_path: Path) -> None:
    path = save_jsonl(tmp_path / "records.jsonl", [dict.fromkeys([*ROWS[0], "over"]) | row for row in ROWS])
    streamed = hugging_face.load_dataset("json", data_files={"train": str(path)}, streaming=True)

    assert gathered(streamed["train"]) == (RECORDS, [])
    with pytest.raises(ConfigurationError, match=r"a IterableDatasetDict of \['train'\] is no table"):
        read(streamed)


SEEN = [{"text": "What is this?", "candidate": "small", "quality": 1.0, "images": ["data:,cat", "https://x.org/dog"]}]
SEEN += [{"text": "And this?", "candidate": "small", "quality": 1.0, "images": []}]


@pytest.mark.parametrize("kind", SAVERS)
def test_images_are_read_from_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    rows = [row | {"images": json.dumps(row["images"])} for row in SEEN] if kind == ".csv" else SEEN
    records, bad = gathered(SAVERS[kind](tmp_path / f"records{kind}", rows))

    assert bad == []
    assert [record.images for record in records] == [("data:,cat", "https://x.org/dog"), ()]


def test_images_are_read_from_frames_and_data_sets(hugging_face: Any) -> None:
    pandas = pytest.importorskip("pandas")
    expected = [Record(**row | {"images": tuple(row["images"])}) for row in SEEN]  # type: ignore[arg-type]

    assert gathered(pandas.DataFrame(SEEN)) == (expected, [])
    assert gathered(hugging_face.Dataset.from_list(SEEN)) == (expected, [])


@pytest.mark.parametrize(
    ("images", "expected"), [("data:,cat", ("data:,cat",)), (None, ()), ("", ()), (float("nan"), ())]
)
def test_one_image_or_none_is_no_list(images: Any, expected: Any) -> None:
    assert [record.images for record in read([SEEN[0] | {"images": images}], strict=True)] == [expected]


@pytest.mark.parametrize("images", [7, [7], {"url": "x"}, ["a", ""]])
def test_images_of_another_form_are_told(images: Any) -> None:
    records, [bad] = gathered([SEEN[0] | {"images": images}])

    assert (records, bad.field) == ([], "images")


def test_log_probabilities_are_read_from_a_list_or_its_json() -> None:
    rows = [SEEN[0] | {"images": [], "logprobs": given} for given in ([-1, -0.5], "[-1, -0.5]", None)]

    assert [record.logprobs for record in read(rows, strict=True)] == [(-1.0, -0.5), (-1.0, -0.5), ()]


@pytest.mark.parametrize("logprobs", [-1, [0.5], [None], ["x"]])
def test_log_probabilities_of_another_form_are_told(logprobs: Any) -> None:
    records, [bad] = gathered([SEEN[0] | {"logprobs": logprobs}])

    assert (records, bad.field) == ([], "logprobs")


def test_rows_are_read_only_as_records_are_taken() -> None:
    taken = itertools.count()
    reading = read({"text": str(n), "candidate": "small", "quality": 1} for n in taken)

    assert [record.text for record in itertools.islice(reading, 3)] == ["0", "1", "2"]
    assert next(taken) == 3


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_memory_does_not_grow_with_the_rows(kind: str, tmp_path: Path) -> None:
    rows = [{"text": f"query {n} " * 200, "candidate": "small", "quality": 1.0} for n in range(8_000)]
    path = SAVERS[kind](tmp_path / f"records{kind}", rows)
    del rows
    reading = read(path)
    next(reading)
    tracemalloc.start()
    count = sum(1 for _ in reading)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 7_999
    assert peak < 8e6 < 8_000 * 2_000


BAD = [
    ({"candidate": "small", "quality": 1}, "text", "is missing"),
    ({"text": "  ", "candidate": "small", "quality": 1}, "text", "is missing"),
    ({"text": 7, "candidate": "small", "quality": 1}, "text", "must be text but is 7"),
    ({"text": "\ud800", "candidate": "small", "quality": 1}, "text", "is not valid UTF-8"),
    ({"text": "Hi", "candidate": None, "quality": 1}, "candidate", "is missing"),
    ({"text": "Hi", "candidate": "small"}, "quality", "is missing"),
    ({"text": "Hi", "candidate": "small", "quality": float("nan")}, "quality", "is missing"),
    ({"text": "Hi", "candidate": "small", "quality": 7}, "quality", "must be in [0, 1] but is 7.0; rescale the grades"),
    ({"text": "Hi", "candidate": "small", "quality": "good"}, "quality", "must be a number but is 'good'"),
    ({"text": "Hi", "candidate": "small", "quality": [1]}, "quality", "must be a number but is [1]"),
    ({"text": "Hi", "candidate": "small", "quality": 1, "over": "small"}, "over", "is 'small' like the other one"),
    (
        {"text": "Hi", "candidate": "small", "quality": 1, "cost": -1},
        "cost",
        "must be finite and not below 0 but is -1.0",
    ),
    ({"text": "Hi", "candidate": "small", "quality": 1, "cost": 10**400}, "cost", "must be a number but is"),
    ({"text": "Hi", "candidate": "small", "quality": 1, "latency": "inf"}, "latency", "must be finite"),
    ({"text": "Hi", "candidate": "small", "quality": 1, "input_tokens": 1.5}, "input_tokens", "must be a whole number"),
    ("Hi", "row", "must be an object but is 'Hi'"),
]


@pytest.mark.parametrize(("row", "field", "reason"), BAD)
def test_a_bad_row_is_reported_and_the_others_are_read(row: Any, field: str, reason: str) -> None:
    records, [bad] = gathered([ROWS[0], row, ROWS[1]], format="plain")

    assert records == RECORDS[:2]
    assert (bad.file, bad.line, bad.field) == ("list", 2, field)
    assert bad.reason.startswith(reason)


def test_a_bad_row_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    path = save_jsonl(tmp_path / "log.jsonl", ROWS)
    with path.open("ab") as file:
        file.write(b'\n{"text": \n"\xff"\n{"text": "\xff", "candidate": "small", "quality": 1}\n[1]\n')
    records, bad = gathered(path)

    assert records == RECORDS
    assert [(row.file, row.line, row.field) for row in bad] == [
        (str(path), 5, "row"),
        (str(path), 6, "row"),
        (str(path), 7, "text"),
        (str(path), 8, "row"),
    ]
    assert str(bad[2]) == f"{path}:7: text is not valid UTF-8"


def test_the_line_of_a_csv_row_is_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('text,candidate,quality\n"a\nb",small,1\nc,small\nd,small,9\n\ne,small,0\n')
    records, bad = gathered(path)

    assert [record.text for record in records] == ["a\nb", "e"]
    assert [(row.line, row.field) for row in bad] == [(4, "row"), (5, "quality")]
    assert bad[0].reason == "has 2 cells where the header has 3"


def test_long_prompts_fit_in_csv(tmp_path: Path) -> None:
    rows = [{"text": "x" * 300_000, "candidate": "small", "quality": 1}]

    assert [len(record.text) for record in read(save_csv(tmp_path / "long.csv", rows), strict=True)] == [300_000]


def test_a_file_that_breaks_off_is_reported_and_the_next_one_read(tmp_path: Path) -> None:
    path = save_jsonl(tmp_path / "z.jsonl", ROWS)
    packed = gzip.compress(b"".join(json.dumps({"n": n}).encode() for n in range(9999)))
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but no more")
    (tmp_path / "c.json").write_text("[" * 100_000)
    records, bad = gathered(tmp_path)

    assert records == list(read(path))
    assert [Path(row.file).name for row in bad] == ["a.jsonl.gz", "b.parquet", "c.json"]
    assert all(row.field == "row" and row.reason.startswith("cannot be read") for row in bad)


def test_what_is_bad_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    reading = read([ROWS[0], {"text": "Hi"}, {"text": "Ho"}])
    with caplog.at_level(logging.WARNING, "router_integrations.records"):
        assert list(reading) == RECORDS[:1]

    assert (reading.rows, reading.records, reading.bad) == (3, 1, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "list:2: candidate is missing; further bad rows are only counted, on_bad= gets them all",
        "rows: 3, records: 1, bad: 2",
    ]


def test_strict_reading_stops_at_the_first_bad_row() -> None:
    reading = read([ROWS[0], {"text": "Hi"}, ROWS[1]], strict=True)

    assert next(reading) == RECORDS[0]
    with pytest.raises(RecordsError, match="list:2: candidate is missing; mend the row") as caught:
        next(reading)
    assert caught.value.row == BadRow(file="list", line=2, field="candidate", reason="is missing")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/file.jsonl", "there is no file or folder 'no/such/file.jsonl'"),
        ({"train": ROWS}, r"a dict of \['train'\] is no table; read one of its values"),
        (7, "source must be a path, a data frame or an iterable of dicts but is a int"),
    ],
)
def test_what_cannot_be_read_at_all_raises_at_once(source: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read(source)


def test_an_unknown_format_raises_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"format must be one of plain, .* but got 'xml'"):
        read(ROWS, format="xml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [("bench.pkl", "is a pickle, which runs code when opened"), ("bench.txt", "must end in one of .jsonl")],
)
def test_pickles_and_unknown_files_are_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path / name)
    with pytest.raises(ConfigurationError, match=r"holds no \.jsonl"):
        read(tmp_path)


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ConfigurationError, match="reading parquet needs pyarrow: pip install pyarrow"):
        read(tmp_path / "a.parquet")


ONE = {"text": "2+2?", "candidate": "small", "quality": 1.0}
BATTLE = {"model_a": "small", "model_b": "large"}
DUMPED = {"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": {"content": "2+2?", "type": "human"}}
PARTS = [{"type": "text", "text": "2+2?"}, {"type": "image", "image": "…"}]
RUN = {
    "run_type": "llm",
    "inputs": {"messages": [[DUMPED]]},
    "extra": {"metadata": {"ls_model_name": "small"}},
    "feedback_stats": {"correct": {"n": 1, "avg": 1.0}},
}
SPEND = {
    "request_id": "r1",
    "spend": 0.5,
    "model": "openai/small-2026",
    "model_group": "small",
    "messages": "{}",
    "proxy_server_request": json.dumps({"model": "small", "messages": [{"role": "user", "content": "2+2?"}]}),
    "metadata": json.dumps({"spend_logs_metadata": {"quality": 1}}),
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "request_duration_ms": 1500,
    "end_user": "",
    "user": "ann",
}
GENERATION = {
    "id": "o1",
    "trace_id": "t1",
    "type": "GENERATION",
    "provided_model_name": "small",
    "input": '[{"role": "user", "content": "2+2?"}]',
    "total_cost": 0.5,
    "latency": 1.5,
    "usage_details": '{"input": 5, "output": 2}',
    "user_id": "ann",
    "scores": {"correct": 1},
}
MEASURED = {"cost": 0.5, "latency": 1.5, "input_tokens": 5, "output_tokens": 2, "user_id": "ann"}
CACHED = {
    "global_index": "GSM8K_7",
    "question": "2+2?",
    "llm_selected": "small",
    "generated_answer": "4",
    "token_usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
    "success": True,
    "error": None,
    "evaluation_result": {"extracted_answer": "4", "score": 1.0, "metric": "math_metric", "inference_cost": 0.5},
}
PREDICTION = {
    "global index": "GSM8K_7",
    "prompt": "2+2?",
    "prediction": "small",
    "generated_result": {
        "generated_answer": "4",
        "success": True,
        "token_usage": {"input_tokens": 5, "output_tokens": 2},
    },
    "cost": 0.5,
    "accuracy": 1.0,
}
ARENA = {"query_id": "GSM8K_7", "domain": "GSM8K", "cost": 0.5, "input_tokens": 5, "output_tokens": 2}
KNOWN = [
    ("routerarena", CACHED, ONE | ARENA),
    ("routerarena", PREDICTION, ONE | ARENA),
    (
        "routerarena",
        CACHED | {"global_index": "SuperGLUE-Wic_3", "token_usage": None},
        ONE
        | ARENA
        | {"query_id": "SuperGLUE-Wic_3", "domain": "SuperGLUE-Wic", "input_tokens": None, "output_tokens": None},
    ),
    ("battles", BATTLE | {"prompt": "2+2?", "winner": "model_a", "question_id": "x"}, ONE | {"over": "large"}),
    ("battles", BATTLE | {"prompt": "2+2?", "winner": "model_b"}, ONE | {"over": "large", "quality": 0.0}),
    ("battles", BATTLE | {"prompt": "2+2?", "winner": "tie (bothbad)"}, ONE | {"over": "large", "quality": 0.5}),
    ("battles", BATTLE | {"prompt": "2+2?", "winner": "both_bad"}, ONE | {"over": "large", "quality": 0.5}),
    (
        "battles",
        BATTLE | {"prompt": '["2+2?", "3+3?"]', "winner_model_a": "0", "winner_model_b": "0", "winner_tie": "1"},
        ONE | {"over": "large", "quality": 0.5},
    ),
    (
        "battles",
        BATTLE
        | {
            "conversation_a": [{"role": "user", "content": PARTS}, {"role": "assistant", "content": "4"}],
            "winner": "model_a",
            "judge": "ann",
        },
        ONE | {"over": "large", "user_id": "ann"},
    ),
    (
        "battles",
        BATTLE | {"prompt": "2+2?", "strong": "large", "weak": "small", "strong_won": 1},
        ONE | {"candidate": "large", "over": "small"},
    ),
    (
        "routerbench",
        {
            "sample_id": "s1",
            "prompt": "['2+2?']",
            "eval_name": "maths",
            "small": 1.0,
            "small|model_response": "4",
            "small|total_cost": 0.5,
            "oracle_model_to_route_to": "small",
        },
        ONE | {"query_id": "s1", "domain": "maths", "cost": 0.5},
    ),
    (
        "llmrouterbench",
        {
            "model_name": "small",
            "dataset_name": "maths",
            "split": "test",
            "records": [
                {"index": 3, "prompt": "2+2?", "score": 1.0, "prompt_tokens": 5, "completion_tokens": 2, "cost": 0}
            ],
        },
        ONE | {"query_id": "maths/test/3", "domain": "maths", "split": "test", "input_tokens": 5, "output_tokens": 2},
    ),
    ("langsmith", RUN, ONE),
    ("langsmith", {name: value if name == "run_type" else json.dumps(value) for name, value in RUN.items()}, ONE),
    (
        "langsmith",
        RUN
        | {
            "inputs": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PARTS}]},
            "start_time": "2026-01-01T00:00:00",
            "end_time": "2026-01-01T00:00:01.500000",
            "total_cost": "0.5",
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "extra": {"metadata": {"ls_model_name": "small", "user_id": "ann"}},
        },
        ONE | MEASURED,
    ),
    ("litellm", SPEND, ONE | MEASURED),
    ("litellm", SPEND | {"metadata": {}, "quality": "1.0"}, ONE | MEASURED),
    (
        "litellm",
        SPEND
        | {
            "request_duration_ms": None,
            "startTime": "2026-01-01 00:00:00+00:00",
            "endTime": "2026-01-01T00:00:01.5Z",
            "end_user": "ann",
            "user": "proxy",
            "model_group": "",
            "model": "small",
        },
        ONE | MEASURED,
    ),
    (
        "litellm",
        SPEND | {"proxy_server_request": "{}", "messages": '[{"role": "user", "content": "2+2?"}]'},
        ONE | MEASURED,
    ),
    ("litellm", SPEND | {"cache_hit": "True"}, ONE | MEASURED | {"cost": None, "latency": None}),
    ("langfuse", GENERATION, ONE | MEASURED),
    ("langfuse", GENERATION | {"input": "2+2?"}, ONE | MEASURED),
]


@pytest.mark.parametrize(("form", "row", "expected"), KNOWN)
def test_each_format_is_recognised_and_understood(form: Any, row: Any, expected: Any) -> None:
    assert gathered([row]) == ([Record(**expected)], [])
    assert gathered([row], format=form) == ([Record(**expected)], [])


def test_every_format_but_our_own_is_in_the_table() -> None:
    assert {form for form, _, _ in KNOWN} == set(FORMATS) - {"plain"}


WRONG = [
    (CACHED | {"success": False, "error": "429 busy"}, "success", "is false: '429 busy'"),
    (CACHED | {"evaluation_result": None}, "evaluation_result.score", "is missing"),
    (CACHED | {"llm_selected": None}, "llm_selected", "is missing"),
    (PREDICTION | {"accuracy": None, "cost": None}, "accuracy", "is missing"),
    (PREDICTION | {"generated_result": {"success": False, "error": "busy"}}, "success", "is false: 'busy'"),
    (BATTLE | {"prompt": "Hi", "winner": "nobody"}, "winner", "must be one of model_a, model_b"),
    (BATTLE | {"prompt": "Hi", "winner": ["model_a"]}, "winner", "must be one of"),
    (BATTLE | {"prompt": "Hi", "winner_model_a": 1, "winner_tie": 1}, "winner", "must be one of"),
    (BATTLE | {"prompt": "Hi", "winner": "tie", "model_b": "small"}, "model_b", "is 'small' like the other one"),
    (BATTLE | {"prompt": "[]", "winner": "tie", "model_a": ""}, "model_a", "is missing"),
    ({"prompt": "Hi", "small|total_cost": 0.5}, "small", "is missing"),
    (RUN | {"feedback_stats": None}, "feedback_stats", "is missing"),
    (RUN | {"feedback_stats": {"b": {"avg": 1}, "a": {"avg": 0}}}, "feedback_stats", "holds a, b; name the one"),
    (RUN | {"run_type": "chain"}, "run_type", "is 'chain' with feedback"),
    (RUN | {"extra": None}, "extra.metadata.ls_model_name", "is missing"),
    (RUN | {"start_time": "noon", "end_time": "one"}, "end_time", "must be a number but is 'noon to one'"),
    (SPEND | {"proxy_server_request": "{}"}, "proxy_server_request", "is missing"),
    (SPEND | {"metadata": {}}, "metadata.spend_logs_metadata.quality", "is missing"),
    (SPEND | {"request_duration_ms": "soon"}, "request_duration_ms", "must be a number but is 'soon'"),
    (GENERATION | {"scores": {}}, "scores", "is missing"),
    (GENERATION | {"input": ""}, "input", "is missing"),
]


@pytest.mark.parametrize(("row", "field", "reason"), WRONG)
def test_what_is_wrong_is_told_in_the_source_s_own_names(row: Any, field: str, reason: str) -> None:
    records, [bad] = gathered([row])

    assert records == []
    assert bad.field == field
    assert bad.reason.startswith(reason)


def test_one_bad_cell_of_a_wide_row_leaves_the_others() -> None:
    row = {"prompt": "Hi", "a": 1, "a|total_cost": 1, "b": "?", "b|total_cost": 1, "c": True, "c|total_cost": None}
    records, [bad] = gathered([row])

    assert [(record.candidate, record.quality, record.cost) for record in records] == [("a", 1, 1), ("c", 1, None)]
    assert str(bad) == "list:1: b must be a number but is '?'"


def test_one_bad_result_of_a_benchmark_file_leaves_the_others(tmp_path: Path) -> None:
    good = {"index": 1, "prompt": "Hi", "score": 1.0, "cost": 0.5}
    file = {"model_name": "small", "records": [7, good | {"score": None}, good]}
    (tmp_path / "small-1.json").write_text(json.dumps(file))
    [record], bad = gathered(tmp_path)

    assert (record.candidate, record.cost) == ("small", 0.5)
    assert [row.field for row in bad] == ["records[0]", "records[1].score"]


def test_the_grade_is_chosen_by_name() -> None:
    both = RUN | {"feedback_stats": {"correct": {"avg": 1.0}, "polite": {"avg": 0.25}}}

    assert [record.quality for record in read([both], grade="polite", strict=True)] == [0.25]
    named = SPEND | {"metadata": {"spend_logs_metadata": {"thumb": 0}}}
    assert [record.quality for record in read([named], grade="thumb", strict=True)] == [0]


def test_a_log_of_a_conversation_counts_for_its_last_turn_and_a_battle_for_its_first() -> None:
    turns = [{"role": role, "content": text} for role, text in (("user", "1"), ("assistant", "2"), ("user", "3"))]

    assert [record.text for record in read([GENERATION | {"input": json.dumps(turns)}], strict=True)] == ["3"]
    assert [record.text for record in read([BATTLE | {"conversation_a": turns, "winner": "tie"}], strict=True)] == ["1"]


def test_a_row_that_is_nested_too_deeply_is_reported() -> None:
    deep: Any = "Hi"
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]

    records, [bad] = gathered([RUN | {"inputs": deep}, RUN])
    assert (records, str(bad)) == ([Record(**ONE)], "list:1: row is nested too deeply")


def test_runs_of_no_model_are_passed_over() -> None:
    chain = RUN | {"run_type": "chain", "feedback_stats": None}
    span = GENERATION | {"type": "SPAN"}

    assert gathered([chain, RUN]) == ([Record(**ONE)], [])
    assert gathered([span, GENERATION]) == ([Record(**ONE, **MEASURED)], [])


def test_langsmith_s_own_runs_are_read() -> None:
    schemas = pytest.importorskip("langsmith.schemas")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    run = schemas.Run(
        id=UUID(int=1), name="ChatOpenAI", start_time=start, end_time=start + timedelta(seconds=1.5),
        total_cost="0.5", prompt_tokens=5, completion_tokens=2, trace_id=UUID(int=1),
        **{**RUN, "extra": {"metadata": {"ls_model_name": "small", "user_id": "ann"}}},
    )  # fmt: skip

    assert gathered(iter([run])) == ([Record(**ONE, **MEASURED)], [])


@pytest.mark.parametrize("part", ["observations_v2", "observations"])
def test_a_langfuse_export_is_joined_with_its_scores(part: str, tmp_path: Path) -> None:
    bare = {name: value for name, value in GENERATION.items() if name != "scores"}
    rows = [bare, bare | {"id": "o2"}, bare | {"id": "o3", "trace_id": "t2"}, bare | {"id": "o4", "type": "SPAN"}]
    scores = [
        {"name": "correct", "value": 0.25, "data_type": "NUMERIC", "trace_id": "t1", "observation_id": "o2"},
        {"name": "correct", "value": 1, "data_type": "BOOLEAN", "trace_id": "t1", "observation_id": None},
        {"name": "tone", "value": 3, "data_type": "CATEGORICAL", "trace_id": "t1", "observation_id": None},
        {"name": "session", "value": 1, "data_type": "NUMERIC", "trace_id": None, "observation_id": None},
    ]
    save_jsonl(tmp_path / part / "1.jsonl", rows)
    save_jsonl(tmp_path / "scores" / "1.jsonl", scores)
    records, [bad] = gathered(tmp_path)

    assert [record.quality for record in records] == [1, 0.25]
    assert (bad.line, bad.field, bad.reason) == (3, "scores", "is missing")


def test_langfuse_scores_without_observations_are_refused(tmp_path: Path) -> None:
    save_jsonl(tmp_path / "scores" / "1.jsonl", [])
    with pytest.raises(ConfigurationError, match="has scores but no folder observations_v2"):
        read(tmp_path)


labels = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).filter(str.strip)
amounts = st.none() | st.floats(0, 1e9)
counts = st.none() | st.integers(0, 10**9)
any_record = st.builds(
    Record, text=labels, candidate=labels, quality=st.floats(0, 1), over=st.none(), cost=amounts, latency=amounts,
    input_tokens=counts, output_tokens=counts, query_id=labels, domain=st.none() | labels, split=st.none() | labels,
    user_id=st.none() | labels, images=st.lists(labels).map(tuple),
    answer=st.none() | labels, logprobs=st.lists(st.floats(-50, 0)).map(tuple),
)  # fmt: skip


@given(st.lists(any_record), st.sampled_from(["records.jsonl", "records.jsonl.gz"]))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], name: str
) -> None:
    path = tmp_path_factory.mktemp("written") / name

    assert write(iter(records), path) == len(records)
    assert list(read(path, format="plain", strict=True)) == records
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write(RECORDS, path)
    with pytest.raises(RecordsError):
        write(read([ROWS[0], {}], strict=True), path)

    assert list(read(path)) == RECORDS
    assert [file.name for file in tmp_path.iterdir()] == ["records.jsonl"]


def pool(size: int) -> list[Record]:
    return [Record(text=f"q{n}", candidate=name, quality=1.0) for n in range(size) for name in ("small", "large")]


def test_a_split_keeps_a_query_on_one_side_and_loses_nothing() -> None:
    records = pool(1000)
    train, test = split(records, test=0.3, seed=7)

    assert {record.query_id for record in train}.isdisjoint(record.query_id for record in test)
    assert sorted(train + test, key=records.index) == records
    assert 0.25 < len(test) / len(records) < 0.35
    assert leaks(train, test) == []


def test_a_split_depends_on_the_seed_and_not_on_the_other_records() -> None:
    _, test = split(pool(200), test=0.3, seed=7)
    _, more = split(reversed(pool(400)), test=0.3, seed=7)
    _, other = split(pool(200), test=0.3, seed=8)
    names, more_names, other_names = ({record.query_id for record in side} for side in (test, more, other))

    assert names == {name for name in more_names if int(name[1:]) < 200}
    assert names != other_names


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_that_is_split_once_more_needs_another_seed(side: int) -> None:
    records = split(pool(200), test=0.3, seed=7)[side]

    with pytest.raises(ConfigurationError, match=r"seed=7 with test=0\.3 leaves nothing .* take another seed"):
        split(records, test=0.3, seed=7)
    assert all(split(records, test=0.3, seed=8))


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match="test must be between 0 and 1 but got"):
        split([], test=share, seed=0)


def test_a_prompt_on_both_sides_is_a_leak() -> None:
    train = [Record(text=text, candidate="small", quality=1.0, query_id=text[:1]) for text in ("Ａ b", "a  B", "c")]
    test = [Record(text=text, candidate="small", quality=1.0, query_id="t") for text in (" a\tb\n", "d")]
    [leak] = leaks(train, test)

    assert (leak.text, leak.train, leak.test) == ("Ａ b", ("Ａ", "a"), ("t",))


SAME = [
    ("What is 2+2?", "what  is 2+2"),
    ("Hello, world!", "hello world"),
    ("He said “no”.", 'He said "no"'),
    ("什么是路由？", "什么是路由"),
    ("你好。再见。", "你好再见"),
    ("Sort:\n[3, 1]", "sort [3 1]"),
]
OTHER = [
    ("5 - 3", "5 / 3"),
    ("What is 5!", "What is 5"),
    ("f'(x)", "f(x)"),
    ("(0, 1]", "[0, 1)"),
    ("1.5", "15"),
    ("a != b", "a = b"),
    ("x < y", "x > y"),
    ("C++", "C"),
]


@pytest.mark.parametrize(("one", "other", "leaked"), [(*p, True) for p in SAME] + [(*p, False) for p in OTHER])
def test_near_duplicates_leak_and_what_means_something_else_does_not(one: str, other: str, leaked: bool) -> None:
    train = [Record(text=one, candidate=name, quality=1.0) for name in ("small", "large")]
    test = [Record(text=other, candidate="small", quality=1.0)]

    assert len(leaks(train, test)) == leaked
    assert deduplicate(train, test) == ([] if leaked else train)


def test_the_same_words_about_another_image_do_not_leak() -> None:
    train, test = ([Record(text="What?", candidate="small", quality=1.0, images=(one,))] for one in ("data:,a", "b"))

    assert (leaks(train, test), deduplicate(train, test)) == ([], train)
    assert len(leaks(train, train)) == 1


def test_a_set_is_joined_by_query(tmp_path: Path) -> None:
    queries = [
        {"query_id": "a", "prompt": "2+2?", "dataset": "maths", "split": "train"},
        {"query_id": "b", "prompt": "one", "dataset": "maths", "split": "test"},
        {"query_id": "b", "prompt": "two", "dataset": "maths", "split": "test"},
    ]
    outcome = {"query_id": "a", "model": "small", "quality": 1.0, "cost_usd": 0.5, "latency_ms": 1500.0, "tokens_in": 5}
    save_parquet(tmp_path / "queries.parquet", queries)
    save_parquet(tmp_path / "outcomes.parquet", [outcome, outcome | {"query_id": "b"}, outcome | {"query_id": "c"}])
    bad: list[BadRow] = []
    [record] = read_set(tmp_path, on_bad=bad.append)

    assert record == Record(
        text="2+2?", candidate="small", quality=1.0, cost=0.5, latency=1.5, input_tokens=5, query_id="a",
        domain="maths", split="train",
    )  # fmt: skip
    assert [(row.line, row.reason) for row in bad] == [
        (2, "'b' stands for several prompts in queries.parquet"),
        (3, "'c' is not in queries.parquet"),
    ]


def test_a_set_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no file or folder .*queries.parquet"):
        read_set(tmp_path)


@needs_data
@pytest.mark.parametrize(
    ("name", "records", "bad", "candidates"),
    [
        ("cascades", 49_797, 0, 9),
        ("routellm", 31_042, 0, 2),
        ("routerdc", 144_200, 0, 7),
        ("routerbench", 34_958 - 308, 308, 11),
        ("mot_date", 7_749, 0, 2),
    ],
)
def test_the_real_sets_are_read_whole(name: str, records: int, bad: int, candidates: int) -> None:
    names = set()
    reading = read_set(DATA / name)
    for record in reading:
        names.add(record.candidate)

    assert (reading.records, reading.bad, len(names)) == (records, bad, candidates)


@needs_data
def test_the_real_battles_are_read_whole() -> None:
    battles = list(read(DATA / "battles" / "battles.parquet", strict=True))

    assert len(battles) == 5000
    assert {record.quality for record in battles} == {0.0, 1.0}
    assert all(record.over for record in battles)


@needs_data
def test_the_known_leaks_of_a_real_set_are_found() -> None:
    records = list(read_set(DATA / "routerdc", strict=True))
    found = leaks(*([record for record in records if record.split == side] for side in ("train", "test")))
    mmlu = [leak for leak in found if any(name.startswith("mmlu/") for name in leak.test)]

    assert len(mmlu) == 16
