"""The cookbooks run from top to bottom, on the local model."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

COOKBOOKS = Path(__file__).parent.parent / "cookbooks"


def _run(name: str) -> str:
    notebook = nbformat.read(COOKBOOKS / name, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(COOKBOOKS)}}
    ).execute()
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


def test_no_cookbook_is_stored_with_outputs() -> None:
    for path in COOKBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            assert not cell.get("outputs"), path.name


@pytest.mark.parametrize("path", sorted(COOKBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_every_cookbook_is_run_here(path: Path) -> None:
    assert path.name in Path(__file__).read_text(encoding="utf-8")
