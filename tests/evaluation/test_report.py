"""Evaluations of small tables whose figures are known, and the forms they are shown in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from router_integrations import Best, Candidate, Difficulty, Fixed, Utility
from router_integrations.errors import ConfigurationError
from router_integrations.estimators import Neighbors
from router_integrations.evaluation import Evaluation, cross_evaluate, ece, evaluate, replay
from router_integrations.evaluation.evaluating import with_grades
from router_integrations.learning import Record, Table

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> ]]> {{ 7 * 7 }} \x00\x1b " + "long " * 2000
POOL = [
    Candidate("small", model=object(), input_price=0.0, output_price=0.1),
    Candidate("big", model=object(), input_price=0.0, output_price=0.4),
]


def records(count: int = 60, *, start: int = 0) -> list[Record]:
    """Sums, which both get right, and proofs, which only the big one does."""
    made = []
    for number in range(start, start + count):
        hard = number % 3 == 0
        text = f"prove theorem {number} step by step" if hard else f"sum {number} and {number + 1}"
        for name, quality, cost in (("small", float(not hard), 1.0), ("big", 1.0, 4.0)):
            domain = "proofs" if hard else "sums"
            made.append(Record(text=text, candidate=name, quality=quality, cost=cost, output_tokens=10, domain=domain))
    return made


@pytest.fixture(scope="module")
def found() -> Evaluation:
    learnt = Best(estimator=Neighbors(k=5).fit(records()), utility=Utility(enough=0.7))
    strategies = {"learnt": learnt, "small": Fixed(name="small"), "untrained": Best()}
    return evaluate(strategies, Table.of(records(60, start=60)), POOL, baseline="big")


class Page(HTMLParser):
    """What a page holds: its tags, their attributes, its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_figures_are_those_of_the_replay(found: Evaluation) -> None:
    learnt, small, _ = found.results

    assert (found.queries, found.best, found.cheapest) == (60, "big", "small")
    assert learnt.quality.value == 1.0
    assert learnt.cost is not None
    assert learnt.cost.value == pytest.approx((40 * 1.0 + 20 * 4.0) / 60)
    assert learnt.shares == {"small": pytest.approx(2 / 3), "big": pytest.approx(1 / 3)}
    assert small.quality.value == pytest.approx(2 / 3)
    assert small.quality.low < small.quality.value < small.quality.high


def test_differences_are_paired_with_the_best_single_and_the_baseline(found: Evaluation) -> None:
    learnt, small, _ = found.results

    assert (learnt.difference.low, learnt.difference.value, learnt.difference.high) == (0.0, 0.0, 0.0)
    assert small.difference.value == pytest.approx(-1 / 3)
    assert small.difference.excludes(0.0)
    assert small.to_baseline == small.difference


def test_a_strategy_can_be_the_baseline() -> None:
    table = Table.of(records(6))

    found = evaluate({"a": Fixed(name="big"), "b": Fixed(name="small")}, table, POOL, baseline="b")

    assert found.results[0].to_baseline is not None
    assert found.results[0].to_baseline.value == pytest.approx(1 / 3)


def test_savings_are_at_the_quality_of_the_best_single(found: Evaluation) -> None:
    learnt, small, _ = found.results

    assert learnt.saved is not None
    assert learnt.saved.value == pytest.approx(0.5)
    assert small.saved is not None
    assert small.saved.value == 0.0


def test_the_curve_leads_from_the_best_to_the_cheapest(found: Evaluation) -> None:
    curve = found.results[0].curve

    assert curve is not None
    assert (curve.quality[0], curve.cost[-1]) == (1.0, 1.0)
    assert found.results[1].curve is None


def test_a_swept_setting_is_what_the_engine_does_there(found: Evaluation) -> None:
    table, learnt = Table.of(records(60, start=60)), found.results[0]
    estimator = Neighbors(k=5).fit(records())

    for knob, swept in zip(learnt.curve.knobs[::8], learnt.curve.replays[::8], strict=True):  # type: ignore[union-attr]
        live = replay(Best(estimator=estimator, utility=Utility(enough=1, per_usd=knob)), table, POOL)
        assert swept.chosen.tolist() == live.chosen.tolist()


def test_domains_are_told_apart(found: Evaluation) -> None:
    proofs, sums = found.results[1].domains

    assert (proofs.name, proofs.queries, proofs.quality, proofs.cost) == ("proofs", 20, 0.0, 1.0)
    assert (sums.name, sums.queries, sums.quality) == ("sums", 40, 1.0)
    assert proofs.difference is not None
    assert proofs.difference.value == -1.0


def test_calibration_is_that_of_the_estimator(found: Evaluation) -> None:
    table = Table.of(records(60, start=60))
    expected, _ = Neighbors(k=5).fit(records()).predict(table.texts, [POOL[1], POOL[0]])
    calibration = found.results[0].calibration

    assert calibration is not None
    assert table.names == ("big", "small")
    assert calibration.ece == pytest.approx(ece(expected.ravel(), table.quality.ravel()))
    assert sum(one.answers for one in calibration.bins) == 120
    gaps = [one.answers * abs(one.expected - one.measured) for one in calibration.bins]
    assert sum(gaps) / 120 == pytest.approx(calibration.ece)
    assert found.results[1].calibration is None


def test_misroutes_come_by_regret_then_by_cost() -> None:
    grades = [
        ("cheap miss", 0.0, 1.0, 1.0),
        ("dear miss", 0.0, 3.0, 1.0),
        ("half a miss", 0.5, 9.0, 1.0),
        ("hit", 1, 1, 1),
    ]
    made = [
        Record(text=text, candidate=name, quality=quality, cost=cost)
        for text, grade, paid, best in grades
        for name, quality, cost in (("small", grade, paid), ("big", best, 4.0))
    ]

    misroutes = evaluate({"s": Fixed(name="small")}, Table.of(made), POOL).results[0].misroutes

    assert [(one.text, one.regret) for one in misroutes] == [
        ("dear miss", 1.0),
        ("cheap miss", 1.0),
        ("half a miss", 0.5),
    ]
    assert (misroutes[0].chosen, misroutes[0].best, misroutes[0].cost, misroutes[0].best_cost) == (
        "small",
        "big",
        3.0,
        4.0,
    )
    assert misroutes[0].expected is None


def test_misroutes_tell_what_was_expected(found: Evaluation) -> None:
    wrong = found.results[2].misroutes[0]

    assert wrong.chosen == "small"
    assert wrong.expected is not None
    assert wrong.best_expected is not None


def test_sparse_logs_are_compared_where_the_best_single_was_asked() -> None:
    made = [record for number, record in enumerate(records(30)) if number % 4 != 1]
    table = Table.of(made)

    result = evaluate({"s": Fixed(name="small")}, table, POOL).results[0]

    asked = ~np.isnan(table.quality[:, table.names.index("big")])
    mine = result.replay.quality[asked] - table.quality[asked, table.names.index("big")]
    assert asked.sum() < len(asked)
    assert result.difference.value == pytest.approx(mine.mean())


def test_unknown_costs_stay_unknown() -> None:
    made = [Record(text=text, candidate=name, quality=1.0) for text in "ab" for name in ("small", "big")]

    found = evaluate({"s": Fixed()}, Table.of(made), POOL)

    assert found.results[0].cost is None
    assert found.results[0].saved is None
    assert found.as_dict()["singles"][0]["cost"] is None
    assert "unknown" in found.to_markdown()
    assert set(found.figures()) == {"quality_cost", "shares"}


def test_progress_ends_at_its_end() -> None:
    steps: list[tuple[int, int]] = []

    evaluate({"a": Fixed(), "b": Fixed()}, Table.of(records(600)), POOL, progress=lambda *step: steps.append(step))

    assert steps == [(step + 1, 6) for step in range(6)]


def test_parts_of_a_large_table_are_put_together_in_order() -> None:
    table = Table.of(records(600))

    result = evaluate({"small": Fixed(name="small")}, table, POOL).results[0]

    assert result.replay.quality.tolist() == table.quality[:, table.names.index("small")].tolist()


def test_what_is_wrong_is_said() -> None:
    table = Table.of(records(3))

    with pytest.raises(ConfigurationError, match="nothing to evaluate"):
        evaluate({}, table, POOL)
    with pytest.raises(ConfigurationError, match=r"one of \['small', 'big', 'a'\] but got 'huge'"):
        evaluate({"a": Fixed()}, table, POOL, baseline="huge")
    with pytest.raises(ConfigurationError, match="no query with a grade"):
        with_grades(Table.of([Record(text="a", candidate="other", quality=1.0)]), [])


def test_cross_evaluation_decides_each_query_with_an_estimator_that_has_not_seen_it() -> None:
    class Spy(Neighbors):
        seen: frozenset[str] = frozenset()
        asked: set[str] = set()  # noqa: RUF012
        leaked: set[str] = set()  # noqa: RUF012

        def fit(self, given):  # type: ignore[no-untyped-def]
            given = list(given)
            self.seen = frozenset(record.text.casefold() for record in given)
            return super().fit(given)

        def predict_with_tokens(self, texts, *rest):  # type: ignore[no-untyped-def]
            self.asked |= set(texts)
            self.leaked |= {text for text in texts if text.casefold() in self.seen}
            return super().predict_with_tokens(texts, *rest)

    shouted = [Record(text=one.text.upper(), candidate=one.candidate, quality=one.quality) for one in records(20)]
    spy = Spy(k=5)

    found = cross_evaluate({"kNN": Best(estimator=spy), "none": Best()}, [*records(40), *shouted], POOL, folds=4)

    assert found.queries == 60
    assert (len(spy.asked), spy.leaked) == (60, set())


def test_cross_evaluation_keeps_grades_beside_their_queries() -> None:
    found = cross_evaluate({"small": Fixed(name="small")}, records(40), POOL, baseline="small", folds=3)

    assert found.results[0].to_baseline is not None
    assert (found.results[0].to_baseline.low, found.results[0].to_baseline.high) == (0.0, 0.0)
    assert [one.domain for one in found.results[0].misroutes] == ["proofs"] * 14


@pytest.mark.parametrize("folds", [1, 50])
def test_too_few_queries_for_the_folds(folds: int) -> None:
    with pytest.raises(ConfigurationError, match="folds must be at least 2 and leave queries"):
        cross_evaluate({"d": Best(estimator=Difficulty())}, records(10), POOL, folds=folds)


def test_the_page_stands_alone(found: Evaluation, tmp_path: Path) -> None:
    found.to_html(tmp_path / "report.html", title="Mine")
    page = Page(tmp_path / "report.html")

    assert {"script", "iframe", "link", "img", "object"}.isdisjoint(page.tags)
    assert page.tags.count("svg") == 3
    assert not [value for name, value in page.attributes if name in ("src", "srcset", "data", "action", "ping")]
    links = [value or "" for name, value in page.attributes if name.endswith("href")]
    assert all(link.startswith("#") for link in links)
    assert re.findall(r"url\((?!#)|@import", page.source) == []
    identifiers = [value for name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    assert {link[1:] for link in links} <= set(identifiers)
    assert "prefers-color-scheme: dark" in page.source
    assert "prove theorem" in page.text


def test_hostile_prompts_and_names_are_text(tmp_path: Path) -> None:
    name = "<b>$x_1$</b> & _"
    pool = [Candidate(name, model=object()), Candidate("_big", model=object())]
    made = [
        Record(text=HOSTILE, candidate=one.name, quality=quality, cost=quality + 1, domain="<i>odd</i>|")
        for one, quality in zip(pool, (0.0, 1.0), strict=True)
    ]
    found = evaluate({"</svg><script>": Fixed(name=name)}, Table.of(made), pool)

    found.to_html(tmp_path / "report.html", title="<script>")
    page = Page(tmp_path / "report.html")

    assert {"script", "img", "b", "i"} & set(page.tags) == {"b"}
    assert not [value for key, value in page.attributes if key.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "more characters" in page.text
    assert not set(page.source) & {"\x00", "\x1b"}
    assert "</svg><script>" in page.text
    assert "<script" not in found.to_markdown()
    assert "| &lt;i&gt;odd&lt;/i&gt;\\| |" in found.to_markdown()


def test_markdown_has_a_row_for_each_strategy_and_yardstick(found: Evaluation) -> None:
    text = found.to_markdown()

    rows = [line.split("|")[1].strip() for line in text.split("## ")[0].splitlines() if line.startswith("|")]
    assert rows[2:] == [
        *("learnt", "small", "untrained"),
        *("always small (cheapest)", "always big (best single)", "random", "oracle"),
    ]
    assert "| proofs | 20 | 0.000 | 1,000 |" in text
    assert all(line.count("|") == 7 for line in text.split("## ")[0].splitlines() if line.startswith("|"))


def test_figures_are_drawn(found: Evaluation) -> None:
    made = found.figures()

    assert set(made) == {"quality_cost", "shares", "calibration"}
    labels = [text.get_text() for text in made["quality_cost"].axes[0].texts]
    assert set(labels) == {"small, always cheapest", "big, best single", "random", "oracle"}
    widths = [bar.get_width() for bar in made["shares"].axes[0].patches]
    assert sum(widths) == pytest.approx(3.0)


def test_plain_values_are_json(found: Evaluation) -> None:
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))

    assert plain["results"][0]["quality"]["value"] == 1.0
    assert plain["results"][0]["curve"][0]["per_usd"] == 0.0
    assert plain["results"][1]["curve"] == []


def _without(absent: str, code: str) -> str:
    """Run `code` where a package is not installed; return what it prints."""
    script = f"""
import sys
sys.modules[{absent!r}] = None
from router_integrations import Candidate, Fixed
from router_integrations.evaluation import evaluate
from router_integrations.learning import Record, Table
table = Table.of([Record(text="hi", candidate="m", quality=1.0)])
found = evaluate({{"m": Fixed()}}, table, [Candidate("m", model=object())])
found.to_markdown()
try:
    {code}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("absent", "code", "extra"),
    [
        ("matplotlib", "found.figures()", "report"),
        ("jinja2", "found.to_html('x.html')", "report"),
        ("mlflow", "found.log_to_mlflow()", "mlflow"),
    ],
)
def test_an_absent_extra_says_how_to_install_it(absent: str, code: str, extra: str) -> None:
    assert f'pip install "router_integrations[{extra}]"' in _without(absent, code)
