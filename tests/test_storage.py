"""Routers come back from a folder as they were, and nothing else comes out of one."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import Own
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from safetensors.numpy import load, save

from router_integrations import Best, Candidate, Difficulty, Fixed, Gate, HashingEncoder, Limits, Request, Utility
from router_integrations.errors import ConfigurationError, StorageError
from router_integrations.estimators import MatrixFactorization, Neighbors
from router_integrations.estimators.learned import Learned
from router_integrations.langchain import RouterChatModel
from router_integrations.learning import Record
from router_integrations.storage import SavedRouter, load_router, save_router
from router_integrations.storage.coding import Reader, Writer, classes
from router_integrations.strategies import Cascade

GOLDEN = Path(__file__).parent / "golden" / "storage_v1"
JSON, ARRAYS = "router.json", "arrays.safetensors"
WORDS = ["sum", "proof", "list", "egg", "river", "verb", "integral", "poem", "matrix", "bread", "essay", "graph"]
POOL = (
    Candidate("openai/gpt-4o-mini", name="small", params={"temperature": 0, "api_key": "sk-hidden", "stop": ["\n"]}),
    Candidate("openai/gpt-4o", name="big", strength=0.9),
)
QUERIES = ["", "sum of a matrix", "an egg and a poem", "请证明根号二是无理数。", "sort the river " * 50]
# What the golden router estimated of two of the queries when it was saved.
QUALITY = [[0.527817, 0.489599, 0.508708], [0.522838, 0.605175, 0.564007]]
STD = [[0.288228, 0.249946, 0.3], [0.249739, 0.282216, 0.3]]
LEARNERS = sorted(name for name, one in classes().items() if issubclass(one, Learned))


def records(*, queries: int = 40) -> list[Record]:
    """Graded attempts of both candidates, and battles between them, the same every time."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(1, 12))) for _ in range(queries)]
    graded = [
        Record(text=text, candidate=one.name, quality=chance.random(), output_tokens=chance.randint(1, 300))
        for text in texts
        for one in POOL
        if chance.random() < 0.9
    ]
    fights = [Record(text=text, candidate="small", over="big", quality=chance.choice([0, 0.5, 1])) for text in texts]
    return graded + fights


def learnt(**options: Any) -> Neighbors:
    return Neighbors(k=3, encoder=HashingEncoder(dimensions=4), **options).fit(records())


def router(strategy: Any = None) -> SavedRouter:
    return SavedRouter(candidates=POOL, strategy=Best(estimator=learnt()) if strategy is None else strategy)


def estimates(strategy: Any, candidates: Sequence[Candidate]) -> list[Any]:
    return [strategy.decide(Request(text=text, candidates=tuple(candidates))).estimates for text in QUERIES]


def problem(folder: Path, **options: Any) -> str:
    """Load from `folder`, which must fail; return the problem, whose message must say what to do."""
    with pytest.raises(StorageError) as caught:
        load_router(folder, **options)
    assert len(str(caught.value)) > 30
    return caught.value.problem


def seal(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def forge(folder: Path, change: Callable[[Any], Any], *, arrays: bytes | None = None) -> None:
    """Change what `folder` holds, with checksums that fit: what somebody with bad intentions would do."""
    document = json.loads((folder / JSON).read_bytes())
    if arrays is not None:
        (folder / ARRAYS).write_bytes(arrays)
        entry = document["router"]["arrays"]
        entry |= {"bytes": len(arrays), "sha256": hashlib.sha256(arrays).hexdigest()}
    change(document["router"])
    document["sha256"] = seal(document["router"])
    (folder / JSON).write_text(json.dumps(document, indent=1))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a router that has learnt."""
    save_router(tmp_path / "saved", router())
    return tmp_path / "saved"


class Mine:
    """A user's encoder."""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def encode(self, texts: Sequence[str]) -> Any:
        return np.array([[len(text), self.weight * text.count("e")] for text in texts], dtype=np.float32)


class TestRoundTrip:
    @pytest.mark.parametrize("encoder", [HashingEncoder(dimensions=16), HashingEncoder(dimensions=9).fit(WORDS)])
    @pytest.mark.parametrize("name", LEARNERS)
    def test_an_estimator_that_learnt_estimates_the_same_to_the_last_bit(
        self, name: str, encoder: Any, tmp_path: Path
    ) -> None:
        wraps = name == "CalibratedEstimator"
        options = {"estimator": Neighbors(encoder=encoder)} if wraps else {"encoder": encoder}
        estimator: Any = classes()[name](**options).fit(records())
        pool = (*POOL, Candidate("openai/gpt-4.1", name="unheard of"))
        save_router(tmp_path / "x", SavedRouter(candidates=pool, strategy=Best(estimator=estimator)))

        found: Any = load_router(tmp_path / "x")

        assert type(found.strategy.estimator) is type(estimator)
        for texts in (QUERIES, QUERIES[1:2], WORDS * 9):
            before, after = estimator.predict(texts, pool), found.strategy.estimator.predict(texts, found.candidates)
            assert [one.tobytes() for one in after] == [one.tobytes() for one in before]
        assert estimates(found.strategy, found.candidates) == estimates(Best(estimator=estimator), pool)

    def test_an_encoder_that_was_fitted_with_the_estimator_comes_along(self, tmp_path: Path) -> None:
        strategy = Best(estimator=Neighbors(k=5).fit(records()))
        save_router(tmp_path / "x", router(strategy))

        found: Any = load_router(tmp_path / "x")

        assert found.strategy.estimator.encoder is None
        assert estimates(found.strategy, found.candidates) == estimates(strategy, POOL)

    @pytest.mark.parametrize(
        "strategy",
        [
            Best(),
            Fixed(),
            Fixed(name="big"),
            Best(estimator=Difficulty(), utility=Utility(enough=0.123456789, per_usd=1e-3, optimism=-0.1)),
            Best(estimator=Neighbors(k=7)),
        ],
        ids=["best", "fixed", "named", "utility", "unfitted"],
    )
    def test_a_strategy_that_learnt_nothing_decides_the_same(self, strategy: Any, tmp_path: Path) -> None:
        save_router(tmp_path / "x", router(strategy))

        found = load_router(tmp_path / "x")

        assert type(found.strategy) is type(strategy)
        assert estimates(found.strategy, found.candidates) == estimates(strategy, POOL)

    def test_a_cascade_keeps_its_gate(self, tmp_path: Path) -> None:
        save_router(tmp_path / "x", router(Cascade(gate=Gate(window=5, above=0.9))))

        assert load_router(tmp_path / "x").strategy.gate == Gate(window=5, above=0.9)

    def test_a_loaded_router_is_saved_as_the_same_bytes(self, saved: Path, tmp_path: Path) -> None:
        save_router(tmp_path / "again", load_router(saved))

        for name in (JSON, ARRAYS):
            assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()

    def test_candidates_keep_all_but_their_secrets(self, saved: Path) -> None:
        small, big = load_router(saved).candidates

        assert small.params == {"temperature": 0, "stop": ["\n"]}
        assert (small.id, small.name, small.input_price) == ("openai/gpt-4o-mini", "small", POOL[0].input_price)
        assert (big.strength, big.context_window, big.max_retries) == (0.9, POOL[1].context_window, 2)

    def test_a_loaded_estimator_learns_again(self, saved: Path) -> None:
        strategy: Any = load_router(saved).strategy
        strategy.estimator.fit([Record(text="hi", candidate="new", quality=1.0)])

        assert strategy.estimator.fitted_.names == ("new",)

    def test_an_array_that_is_used_twice_is_saved_once(self, tmp_path: Path) -> None:
        encoder = HashingEncoder(dimensions=2).fit(WORDS)
        save_router(tmp_path / "x", router(Best(estimator=Neighbors(encoder=encoder).fit(records()))))

        assert (tmp_path / "x" / ARRAYS).stat().st_size < 1.5 * encoder.projection_.nbytes


class TestValues:
    plain = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
        lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )

    @given(value=plain)
    def test_plain_values_come_back(self, value: Any) -> None:
        written = json.loads(json.dumps(Writer().plain(value, "x"), allow_nan=False))

        assert repr(Reader({}, {}).value(written)) == repr(value)

    @pytest.mark.parametrize(
        "array",
        [
            np.array(3.5),
            np.zeros((0, 4), dtype=np.float32),
            np.arange(6.0).reshape(2, 3).T,
            np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
            np.arange(24).reshape(2, 3, 4)[:, ::2],
            np.array([True, False]),
            np.array([1.5, math.nan, math.inf], dtype=np.float16),
            np.arange(3, dtype=">i4"),
            np.arange(3, dtype=np.uint8),
        ],
        ids=["scalar", "empty", "turned", "turned twice", "strided", "bool", "not finite", "big-endian", "bytes"],
    )
    def test_arrays_come_back_lying_the_same_way(self, array: Any) -> None:
        writer = Writer()
        plain = writer.plain({"it": array}, "x")

        found = Reader(load(save(writer.arrays)), writer.layout).value(plain)["it"]

        assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")
        assert found.dtype == array.dtype.newbyteorder("=")
        assert not array.size or np.argsort(found.strides).tolist() == np.argsort(array.strides).tolist()

    def test_a_number_of_numpys_is_a_number(self) -> None:
        assert Writer().plain([np.float32(0.5), np.int64(2), np.float64(math.inf)], "x") == [0.5, 2, {"float": "inf"}]

    @pytest.mark.parametrize("array", [np.array(["a"]), np.array([object()]), np.array([1j])])
    def test_an_array_of_other_things_is_refused(self, array: Any) -> None:
        with pytest.raises(StorageError, match="only numbers"):
            Writer().plain(array, "x")

    @pytest.mark.parametrize("value", [{1: "a"}, {"a"}, b"a", print, Neighbors, SecretStr("a")])
    def test_what_is_not_ours_is_refused(self, value: Any) -> None:
        with pytest.raises(StorageError, match=r"x\.1 is a \w+, which is not ours") as caught:
            Writer().plain([0, value], "x")

        assert caught.value.problem == "unsupported"

    def test_a_subclass_of_ours_is_not_ours(self) -> None:
        class Neighbors_(Neighbors):
            pass

        Neighbors_.__name__ = "Neighbors"

        with pytest.raises(StorageError, match=r"strategy\.estimator is a Neighbors, which is not ours"):
            Writer().plain(Best(estimator=Neighbors_()), "strategy")


class TestRefusal:
    def test_a_missing_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        assert problem(tmp_path / "nowhere") == "missing"
        assert problem(tmp_path / "file") == "missing"

    @pytest.mark.parametrize(
        "text",
        [None, "hello", "[]", "null", "{}", '{"format": "other", "version": 1}', '{"format": NaN}', "[" * 99_999],
    )
    def test_a_foreign_folder(self, text: str | None, tmp_path: Path) -> None:
        if text is not None:
            (tmp_path / JSON).write_text(text)

        assert problem(tmp_path) == "foreign"

    def test_a_folder_of_a_newer_version(self, saved: Path) -> None:
        document = json.loads((saved / JSON).read_bytes()) | {"version": 2, "router": {"new": "things"}}
        (saved / JSON).write_text(json.dumps(document))

        assert problem(saved) == "newer"

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize("name", [JSON, ARRAYS])
    def test_a_truncated_file(self, name: str, share: float, saved: Path) -> None:
        data = (saved / name).read_bytes()
        kept = data[: int(len(data) * share)] if share < 0.999 else data[:-2]
        (saved / name).write_bytes(kept)

        # A beginning too short to tell whose it is.
        assert problem(saved) == "truncated"

    def test_arrays_that_are_gone(self, saved: Path) -> None:
        (saved / ARRAYS).unlink()

        assert problem(saved) == "truncated"

    @pytest.mark.parametrize("name", [JSON, ARRAYS])
    def test_a_flipped_bit_anywhere_is_found_or_means_nothing(self, name: str, saved: Path) -> None:
        data = (saved / name).read_bytes()
        expected = estimates(load_router(saved).strategy, POOL)
        refused = 0
        places = range(0, len(data), max(len(data) // 150, 1))
        for place in places:
            changed = bytearray(data)
            changed[place] ^= 1 << place % 7
            (saved / name).write_bytes(changed)
            try:
                assert estimates(load_router(saved).strategy, POOL) == expected
            except StorageError:
                refused += 1

        # Blanks between the values of JSON may become other blanks.
        assert refused == len(places) if name == ARRAYS else refused > len(places) / 2

    def test_settings_changed_by_hand(self, saved: Path) -> None:
        text = (saved / JSON).read_text()
        (saved / JSON).write_text(text.replace('"k": 3', '"k": 4'))

        assert problem(saved) == "tampered"

    def test_arrays_of_another_router(self, saved: Path, tmp_path: Path) -> None:
        save_router(tmp_path / "other", router(Best(estimator=learnt().fit(records(queries=7)))))
        shutil.copy(tmp_path / "other" / ARRAYS, saved / ARRAYS)

        assert problem(saved) == "truncated"

        shutil.copytree(tmp_path / "other", saved, dirs_exist_ok=True)
        forge(saved, lambda body: None)
        load_router(saved)

    @pytest.mark.parametrize(
        "change",
        [
            lambda arrays: {name: one[:1] for name, one in arrays.items()},
            lambda arrays: {name: one.astype(np.float64) for name, one in arrays.items()},
            lambda arrays: {name: one.view(np.int32) for name, one in arrays.items() if one.dtype == np.float32},
            lambda arrays: arrays | {"more": np.zeros(3)},
            lambda arrays: {name: one.T for name, one in arrays.items()},
            lambda arrays: {},
        ],
        ids=["shape", "wider", "integers", "one more", "turned", "none"],
    )
    def test_arrays_that_look_otherwise(self, change: Any, saved: Path) -> None:
        forge(saved, lambda body: None, arrays=save(change(load((saved / ARRAYS).read_bytes()))))

        assert problem(saved) == "tampered"

    @pytest.mark.parametrize("part", ["vectors", "mean"])
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_number_that_is_none(self, part: str, value: float, saved: Path) -> None:
        arrays = {name: one.copy() for name, one in load((saved / ARRAYS).read_bytes()).items()}
        arrays[f"strategy.estimator.fitted_.state.{part}"].flat[0] = value
        forge(saved, lambda body: None, arrays=save(arrays))

        assert problem(saved) == "tampered"

    @pytest.mark.parametrize(
        ("estimator", "part", "value"),
        [(Neighbors(k=3), "mean", math.nan), (MatrixFactorization(steps=2), "roots", 1e30)],
        ids=["quality", "std"],
    )
    def test_a_number_that_is_none_though_the_layout_allows_it(
        self, estimator: Any, part: str, value: float, tmp_path: Path
    ) -> None:
        estimator.encoder = HashingEncoder(dimensions=4)
        save_router(tmp_path, router(Best(estimator=estimator.fit(records()))))
        arrays = {name: one.copy() for name, one in load((tmp_path / ARRAYS).read_bytes()).items()}
        arrays[f"strategy.estimator.fitted_.state.{part}"][:] = value

        def allow(body: Any) -> None:
            for one in body["arrays"]["layout"].values():
                one["finite"] = False

        forge(tmp_path, allow, arrays=save(arrays))

        assert problem(tmp_path) == "tampered"

    def test_a_missing_grade_is_no_fault(self, saved: Path) -> None:
        quality = load((saved / ARRAYS).read_bytes())["strategy.estimator.fitted_.state.quality"]

        assert np.isnan(quality).any()
        load_router(saved)


def _object(body: Any) -> Any:
    return body["strategy"]["object"]


def _fitted(body: Any) -> Any:
    return _object(body)["options"]["estimator"]["object"]["learnt"]["fitted_"]["object"]["options"]


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


class TestForgery:
    @pytest.mark.parametrize(
        "name", ["os.system", "builtins.eval", "Popen", "Candidate", "Learned", "Record", "__import__", "", "Writer"]
    )
    def test_a_class_that_is_not_in_the_table_is_not_made(self, name: str, saved: Path) -> None:
        forge(saved, lambda body: _object(body).update({"class": name}))

        assert problem(saved) == "foreign"

    @pytest.mark.parametrize(
        "change",
        [
            lambda body: _object(body)["options"].update(estimator={"object": {"class": "Best"}}),
            lambda body: _object(body)["options"].update(surprise=1),
            lambda body: _object(body)["options"]["estimator"]["object"]["options"].update(k=0),
            lambda body: _object(body)["options"]["estimator"]["object"]["options"].update(k="many"),
            lambda body: _object(body)["options"]["estimator"]["object"]["options"].update(k=1.5),
            lambda body: _object(body)["learnt"].update(decide=1),
            lambda body: _object(body)["learnt"].update(__class__=1),
            lambda body: _object(body)["options"]["estimator"]["object"]["learnt"].update(fitted_=5),
            lambda body: _fitted(body).update(names={"tuple": []}),
            lambda body: _fitted(body).update(names={"tuple": ["big", "big"]}),
            lambda body: _fitted(body).update(names={"tuple": ["big"]}),
            lambda body: _fitted(body).update(names={"tuple": [1, 2]}),
            lambda body: _fitted(body).update(state={"mapping": {}}),
            lambda body: _fitted(body).update(state={"array": "nothing"}),
            lambda body: _fitted(body).update(encoder=None),
            lambda body: _fitted(body)["encoder"]["object"]["options"].update(dimensions=5),
            lambda body: _fitted(body)["encoder"]["object"]["options"].update(dimensions=10**9),
            lambda body: body.update(strategy=None),
            lambda body: body.update(strategy={"object": {"class": "Utility", "options": {}, "learnt": {}}}),
            lambda body: body.update(settings=[]),
            lambda body: body.update(settings={"mapping": {"stop": _nested(100)}}),
            lambda body: body.update(candidates=[]),
            lambda body: body.update(candidates={}),
            lambda body: body["candidates"].append(body["candidates"][0]),
            lambda body: body["candidates"][0]["fields"].update(model="os.system"),
            lambda body: body["candidates"][0]["fields"].update(id=5),
            lambda body: body["candidates"][0]["fields"].update(name=["x"]),
            lambda body: body["candidates"][0]["fields"].update(input_price=-1),
            lambda body: body["candidates"][0]["fields"].pop("id"),
            lambda body: body["candidates"][0].pop("own_model"),
            lambda body: body.pop("arrays"),
            lambda body: body["arrays"].update(file="../outside.safetensors"),
            lambda body: body["arrays"].update(file="/etc/passwd"),
            lambda body: body["arrays"].update(bytes="many"),
            lambda body: body["arrays"]["layout"].popitem(),
            lambda body: [one.clear() for one in body["arrays"]["layout"].values()],
            lambda body: [one.update(order=[0, 0]) for one in body["arrays"]["layout"].values()],
            lambda body: [one.update(order=["a"]) for one in body["arrays"]["layout"].values()],
            lambda body: [one.update(order=[1, "a"]) for one in body["arrays"]["layout"].values()],
        ],
    )
    def test_settings_that_fit_nothing(self, change: Any, saved: Path) -> None:
        shutil.copy(saved / ARRAYS, saved.parent / "outside.safetensors")
        forge(saved, change)

        assert problem(saved) == "tampered"

    def test_the_changes_above_are_what_is_refused(self, saved: Path) -> None:
        forge(saved, lambda body: None)

        assert load_router(saved).candidates[0].name == "small"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff" * 7,
            (2**62).to_bytes(8, "little") + b"{}",
            (99 * 2**20).to_bytes(8, "little") + b"{}",
            (2).to_bytes(8, "little") + b"[]",
            (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9999],"data_offsets":[0,8]}}   ' + b"0" * 8,
            (61).to_bytes(8, "little") + b'{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}   ' + b"0" * 8,
        ],
        ids=["empty", "no header", "endless header", "long header", "list", "large shape", "strange dtype"],
    )
    def test_arrays_in_no_form(self, data: bytes, saved: Path) -> None:
        forge(saved, lambda body: None, arrays=data)

        assert problem(saved) == "tampered"

    def test_a_pickle_is_not_opened(self, saved: Path, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "exploded"),)

        bomb = pickle.dumps(Bomb())
        forge(saved, lambda body: None, arrays=bomb)
        assert problem(saved) == "tampered"

        (saved / JSON).write_bytes(bomb)
        assert problem(saved) == "foreign"
        assert not (tmp_path / "exploded").exists()

    @pytest.mark.parametrize(("name", "size"), [(JSON, 2**25), (ARRAYS, 2**33)])
    def test_a_huge_file_is_refused_unread(self, name: str, size: int, saved: Path) -> None:
        os.truncate(saved / name, size)

        assert problem(saved) == "tampered"

    @pytest.mark.parametrize("name", [JSON, ARRAYS])
    def test_a_link_out_of_the_folder_is_not_followed(self, name: str, saved: Path) -> None:
        (saved / name).rename(saved.parent / "outside")
        (saved / name).symlink_to(saved.parent / "outside")

        assert problem(saved) == "tampered"

    @pytest.mark.parametrize("name", [JSON, ARRAYS])
    def test_a_pipe_does_not_hang(self, name: str, saved: Path) -> None:
        (saved / name).unlink()
        os.mkfifo(saved / name)

        assert problem(saved) == "tampered"

    @pytest.mark.parametrize("name", [JSON, ARRAYS])
    def test_a_folder_in_place_of_a_file(self, name: str, saved: Path) -> None:
        (saved / name).unlink()
        (saved / name).mkdir()

        assert problem(saved) == "tampered"

    def test_nothing_else_is_opened_or_imported(self, saved: Path) -> None:
        load_router(saved)
        (saved / "arrays.py").write_text("raise SystemExit")
        opened: list[str] = []
        watching = True

        def watch(event: str, args: tuple[Any, ...]) -> None:
            if watching and event in {"open", "import", "exec", "compile", "subprocess.Popen", "os.system"}:
                opened.append(f"{event} {args[0]}")

        sys.addaudithook(watch)
        load_router(saved)
        watching = False

        # Each is told once by `open` and once by its opener.
        assert list(dict.fromkeys(opened)) == [f"open {saved / JSON}", f"open {saved / ARRAYS}"]


class TestWriting:
    def test_a_saved_folder_is_replaced_whole(self, saved: Path) -> None:
        save_router(saved, router(Fixed(name="big")))

        assert isinstance(load_router(saved).strategy, Fixed)
        assert sorted(one.name for one in saved.iterdir()) == [ARRAYS, JSON]
        assert [one.name for one in saved.parent.iterdir()] == ["saved"]

    def test_folders_above_are_made(self, tmp_path: Path) -> None:
        save_router(str(tmp_path / "a" / "b"), router())

        assert load_router(tmp_path / "a" / "b").candidates[1].name == "big"

    def test_a_damaged_folder_of_ours_is_replaced(self, saved: Path) -> None:
        data = (saved / JSON).read_bytes()
        (saved / JSON).write_bytes(data[:100])
        (saved / ARRAYS).unlink()
        save_router(saved, router())

        assert (saved / JSON).read_bytes() == data

    def test_a_link_to_a_folder_stays_one(self, saved: Path) -> None:
        (saved.parent / "link").symlink_to(saved)
        save_router(saved.parent / "link", router(Fixed()))

        assert (saved.parent / "link").is_symlink()
        assert isinstance(load_router(saved).strategy, Fixed)

    @pytest.mark.parametrize("files", [{"notes.txt": "mine"}, {JSON: "{}"}, {ARRAYS: ""}, {JSON: "{}", "x": ""}])
    def test_a_folder_of_somebody_else_is_left_alone(self, files: dict[str, str], tmp_path: Path) -> None:
        for name, text in files.items():
            (tmp_path / name).write_text(text)

        with pytest.raises(StorageError) as caught:
            save_router(tmp_path, router())

        assert caught.value.problem == "occupied"
        assert {one.name: one.read_text() for one in tmp_path.iterdir()} == files

    def test_a_folder_of_ours_with_notes_in_it_is_left_alone(self, saved: Path) -> None:
        (saved / "notes.txt").write_text("mine")

        with pytest.raises(StorageError, match="something else than a saved router"):
            save_router(saved, router())

        assert (saved / "notes.txt").read_text() == "mine"

    def test_a_file_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("mine")

        with pytest.raises(StorageError, match="something else"):
            save_router(tmp_path / "x", router())

    def test_a_full_disk_leaves_the_old_folder(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("router_integrations.storage.files.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_router(saved, router(Fixed()))

        assert isinstance(load_router(saved).strategy, Best)
        assert [one.name for one in saved.parent.iterdir()] == ["saved"]

    def test_a_rename_that_fails_brings_the_old_folder_back(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rename = Path.rename

        def fails_at_the_second(self: Path, target: Path) -> Path:
            if self.suffix != ".old" and target == saved:
                raise OSError(5, "Input/output error")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fails_at_the_second)
        with pytest.raises(OSError, match="Input/output"):
            save_router(saved, router(Fixed()))

        assert isinstance(load_router(saved).strategy, Best)
        assert [one.name for one in saved.parent.iterdir()] == ["saved"]

    def test_what_cannot_be_saved_leaves_the_old_folder(self, saved: Path) -> None:
        with pytest.raises(StorageError, match="strategy is a Mine, which is not ours"):
            save_router(saved, router(type("Mine", (), {"decide": lambda *_: None})()))

        assert isinstance(load_router(saved).strategy, Best)

    @pytest.mark.parametrize(
        "params",
        [
            {"api_key": "hunter2"},
            {"anything": SecretStr("hunter2")},
            {"extra_headers": {"Authorization": "Bearer hunter2"}},
            {"vertex_credentials": "hunter2"},
        ],
    )
    def test_no_secret_is_written(self, params: dict[str, Any], tmp_path: Path) -> None:
        candidate = Candidate("openai/gpt-4o", params=params | {"seed": 1})
        save_router(tmp_path / "x", SavedRouter(candidates=(candidate,), strategy=Fixed()))

        assert b"hunter2" not in (tmp_path / "x" / JSON).read_bytes()
        assert load_router(tmp_path / "x").candidates[0].params == {"seed": 1}

    def test_a_password_in_a_url_is_refused(self, tmp_path: Path) -> None:
        candidate = Candidate("openai/gpt-4o", params={"api_base": "https://me:hunter2@host/v1"})

        with pytest.raises(StorageError, match="password in a URL"):
            save_router(tmp_path / "x", SavedRouter(candidates=(candidate,), strategy=Fixed()))


class TestOwnEncoder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        save_router(tmp_path / "own", router(Best(estimator=Neighbors(k=2, encoder=Mine()).fit(records()))))
        return tmp_path / "own"

    def test_it_is_passed_when_loading(self, folder: Path) -> None:
        expected = estimates(Best(estimator=Neighbors(k=2, encoder=Mine()).fit(records())), POOL)

        assert estimates(load_router(folder, encoder=Mine()).strategy, POOL) == expected

    def test_the_error_names_what_to_pass(self, folder: Path) -> None:
        assert problem(folder) == "incomplete"
        with pytest.raises(StorageError, match=r"load\(folder, encoder=Mine\(\.\.\.\)\)"):
            load_router(folder)

    @pytest.mark.parametrize("other", [Mine(weight=2.0), HashingEncoder(), HashingEncoder(dimensions=2)])
    def test_another_encoder_is_told_by_what_it_makes_of_a_sample(self, other: Any, folder: Path) -> None:
        assert problem(folder, encoder=other) == "incomplete"

    def test_one_that_is_not_needed_is_an_error(self, saved: Path) -> None:
        with pytest.raises(ConfigurationError, match="encoder= is given"):
            load_router(saved, encoder=Mine())


class TestRouterChatModel:
    def make(self, **options: Any) -> RouterChatModel:
        own = Candidate("mine", model=Own(), input_price=1e-6, output_price=2e-6, strength=0.5)
        return RouterChatModel(candidates=[*POOL, own], strategy=Best(estimator=learnt()), **options)

    def test_it_decides_as_it_did(self, tmp_path: Path) -> None:
        router = self.make()
        router.save(tmp_path / "x")

        found = RouterChatModel.load(tmp_path / "x", models={"mine": Own()})

        for text in QUERIES:
            assert found.explain(text).candidate == router.explain(text).candidate
        assert found.invoke("hi", model="mine").text == "one two three"

    def test_it_is_told_from_a_router_that_learnt_something_else(self, tmp_path: Path) -> None:
        router = self.make()
        router.save(tmp_path / "x")
        found = RouterChatModel.load(tmp_path / "x", models={"mine": Own()})

        assert found.asdict()["strategy"] == router.asdict()["strategy"]

        router.strategy.estimator.fit(records(queries=39))

        assert found.asdict()["strategy"] != router.asdict()["strategy"]

    def test_limits_and_call_settings_are_kept_and_the_rest_is_default(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {
            "limits": Limits(budget=0.5, deadline=9), "temperature": 0.5, "stop": ["END"], "context_turns": 2,
            "max_tokens": 7, "timeout": 3.0, "max_retries": 0, "streaming": True,
        }  # fmt: skip
        self.make(**options, metadata={"a": 1}, on_trace=print).save(tmp_path / "x")

        found = RouterChatModel.load(tmp_path / "x", models={"mine": Own()}, max_tokens=8)

        assert {name: getattr(found, name) for name in options} == options | {"max_tokens": 8}
        assert found.model_fields_set == self.make(**options).model_fields_set
        assert found.on_trace is None and "a" not in found.metadata

    def test_settings_that_were_not_given_stay_so(self, tmp_path: Path) -> None:
        self.make().save(tmp_path / "x")

        found = RouterChatModel.load(tmp_path / "x", models={"mine": Own()})

        assert found.model_fields_set == self.make().model_fields_set

    def test_its_key_is_not_saved(self, tmp_path: Path) -> None:
        RouterChatModel(candidates=["openai/gpt-4o"], api_key="hunter2").save(tmp_path / "x")

        assert b"hunter2" not in (tmp_path / "x" / JSON).read_bytes()
        assert RouterChatModel.load(tmp_path / "x", api_key="other").api_key == SecretStr("other")

    def test_own_models_must_be_passed(self, tmp_path: Path) -> None:
        self.make().save(tmp_path / "x")

        with pytest.raises(StorageError, match=r"\['mine'\].*load\(folder, models=\{'mine': \.\.\.\}\)") as caught:
            RouterChatModel.load(tmp_path / "x")

        assert caught.value.problem == "incomplete"

    def test_models_for_other_candidates_are_an_error(self, tmp_path: Path) -> None:
        self.make().save(tmp_path / "x")

        with pytest.raises(ConfigurationError, match=r"models= names \['small'\]"):
            RouterChatModel.load(tmp_path / "x", models={"mine": Own(), "small": Own()})
        with pytest.raises(ConfigurationError, match="model must be a LangChain chat model"):
            RouterChatModel.load(tmp_path / "x", models={"mine": object()})

    @pytest.mark.parametrize("name", ["on_trace", "callbacks", "api_key", "health", "metadata", "candidates"])
    def test_a_folder_sets_no_other_option(self, name: str, tmp_path: Path) -> None:
        self.make().save(tmp_path / "x")
        forge(tmp_path / "x", lambda body: body["settings"]["mapping"].update({name: "x"}))

        with pytest.raises(StorageError, match=name):
            RouterChatModel.load(tmp_path / "x", models={"mine": Own()})

    def test_a_subclass_loads_as_itself(self, tmp_path: Path) -> None:
        class Mine(RouterChatModel):
            pass

        self.make().save(tmp_path / "x")

        assert type(Mine.load(tmp_path / "x", models={"mine": Own()})) is Mine


class TestGolden:
    """A folder that version 0.1.0 saved: `Neighbors` on twelve queries of `records`. It is never made anew."""

    def test_it_still_loads(self) -> None:
        found = RouterChatModel.load(GOLDEN, models={"mine": Own()})

        assert [one.name for one in found.candidates] == ["small", "big", "mine"]
        assert found.limits == Limits(budget=0.25) and found.temperature == 0.5
        assert found.strategy.utility == Utility(enough=0.8, per_usd=0.1)
        assert found.strategy.estimator.k == 3

    def test_it_still_estimates_the_same(self) -> None:
        found = RouterChatModel.load(GOLDEN, models={"mine": Own()})
        quality, std = found.strategy.estimator.predict(QUERIES[1:3], found.candidates)

        assert quality == pytest.approx(np.array(QUALITY), abs=1e-5)
        assert std == pytest.approx(np.array(STD), abs=1e-5)
