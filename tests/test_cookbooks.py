"""The cookbooks run from top to bottom, on the local model."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from router_integrations import estimators

COOKBOOKS = Path(__file__).parent.parent / "cookbooks"


def _run(name: str) -> str:
    notebook = nbformat.read(COOKBOOKS / name, as_version=4)
    # Threads of OpenBLAS that spin make small matrices ten times slower where the cores are busy.
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(COOKBOOKS)}}
    ).execute(env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    return "\n".join(str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_drop_into_langchain() -> None:
    printed = _run("01_drop_into_langchain.ipynb")

    assert printed.count("Paris") >= 3
    assert "brief     cheapest with expected quality" in printed
    assert "thorough  cheapest with expected quality" in printed
    assert "Fruit(name=" in printed
    assert "ToolMessage" in printed
    assert "thorough" in printed.splitlines()[-1]


def test_train_on_your_logs() -> None:
    printed = _run("02_train_on_your_logs.ipynb")

    rows = len((COOKBOOKS / "own_runs.jsonl").read_text(encoding="utf-8").splitlines())
    assert f"{rows + 1} rows, {rows} records, 1 bad" in printed
    assert "leaks: []" in printed
    assert "Leak(text=" in printed
    assert "report.html: " in printed
    assert printed.count("highest utility, expected quality") == 2
    assert "8 of 8 done for 0.00" in printed
    assert "middle  quality" in printed
    assert "per_usd = " in printed
    assert "wrote shell.html" in printed
    assert "8 of 8 done, 0 failed" in printed
    assert printed.splitlines()[-1] in ("'brief'", "'long'")


def test_choose_a_strategy() -> None:
    printed = _run("03_choose_a_strategy.ipynb")

    for rule in ("enough", "per_usd", "Pacer", "ErrorRate", "plan_batch"):
        assert f"\n{rule} " in printed
    assert "\noracle " in printed
    assert "SVG object" in printed
    assert "light  20: brief 0.0" in printed
    assert "brief  What is the capital of Malta?\nlong   Explain step by step" in printed


def test_cascade() -> None:
    printed = _run("04_cascade.ipynb")

    assert float(re.findall(r"AUROC of brief: (\S+)", printed)[0]) > 0.6
    costs = dict(re.findall(r"\n(always long|cascade) .*\]    (\S+) \[", printed))
    assert float(costs["cascade"]) < float(costs["always long"])
    assert "at most 10% wrong: no threshold keeps the error" in printed
    assert "brief  What is the capital of Norway?" in printed
    assert "long   What is 8 times 9?" in printed
    assert "asked ['brief'], 1 chunks: The capital of Norway is Oslo.\n" in printed
    shown, draft = re.findall(
        r"asked \['brief', 'long'\].*?chunks: (.*?)\n   first draft: '(.*?)'", printed, re.DOTALL
    )[0]
    assert shown.count("|") > 10
    assert not shown.replace("|", "").startswith(draft)
    assert re.findall(r"\n(brief|vote) \d+ tokens", printed) == ["brief", "vote"]


def test_llamaindex() -> None:
    printed = _run("05_llamaindex.ipynb")

    assert "brief  cheapest with expected quality" in printed
    assert "long   cheapest with expected quality" in printed
    assert int(re.findall(r"\n(\d+) tokens", printed)[0]) > 100
    assert "called opening_hours: The shop in York is open from 9 to 5." in printed
    assert "asked ['brief'] for " in printed
    assert "What is the name of the office dog?  no answer\n   asked ['brief', 'long']" in printed
    assert printed.count("|") > 20
    assert re.findall(r"\n(lamps|firm) ", printed) == ["lamps", "firm"]
    # The draft was paid before the stop, and not again.
    assert re.findall(r"'(brief|long) 0\.\d+ USD'", printed) == ["brief", "long"]


def test_the_table_of_estimators_is_whole() -> None:
    notebook = nbformat.read(COOKBOOKS / "03_choose_a_strategy.ipynb", as_version=4)
    table = next(cell.source for cell in notebook.cells if "## All estimators" in cell.source)

    before = [name for name in estimators.__all__ if "WHEN: pre-generation" in getattr(estimators, name).__doc__]

    assert len(before) > 20
    assert [name for name in before if f"`{name}`" not in table] == []


def test_links_of_cookbooks_lead_somewhere() -> None:
    for path in COOKBOOKS.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        links = re.findall(r"\]\((?!http)([^)]+)\)", "\n".join(c.source for c in cells if c.cell_type == "markdown"))
        assert [link for link in links if not (COOKBOOKS / link).exists()] == [], path.name


def test_no_cookbook_is_stored_with_outputs() -> None:
    for path in COOKBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            assert not cell.get("outputs"), path.name


@pytest.mark.parametrize("path", sorted(COOKBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_every_cookbook_is_run_here(path: Path) -> None:
    assert path.name in Path(__file__).read_text(encoding="utf-8")
