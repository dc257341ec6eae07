"""How well the routers route: one command a table, on the records of the folder given as --data.

    python tests/benchmarks/quality.py DATASET [--data ../shared/data] [--out tests/benchmarks/results/DATASET.md]

The module `quality_DATASET.py` beside this one makes the table. Seeds are fixed; whatever is chosen is chosen on train.
"""

import argparse
import importlib
from pathlib import Path

HERE = Path(__file__).parent
DATASETS = sorted(path.stem.removeprefix("quality_").replace("_", "-") for path in HERE.glob("quality_*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--data", type=Path, default=HERE.parents[1].parent / "shared" / "data")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    made = importlib.import_module(f"quality_{options.dataset.replace('-', '_')}").report(options.data)
    text = f"{made.strip()}\n\nMade by `python tests/benchmarks/quality.py {options.dataset}`.\n"
    print(text)
    out = options.out or HERE / "results" / f"{options.dataset}.md"
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
