"""What to ask: prompts, some with the right answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_integrations.errors import ConfigurationError
from router_integrations.records_sources import rows_of, text_file
from router_integrations.records_values import CHECKS, Fault, absent

# Our name, and the columns that may hold it, the first that is there wins.
_COLUMNS = {
    "text": ("text", "prompt", "question"),
    "reference": ("reference", "answer"),
    "query_id": ("query_id",),
    "domain": ("domain",),
    "split": ("split",),
    "images": ("images",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One query to ask every candidate.

    Args:
        text: What is asked.
        reference: The right answer, for graders that compare; `None` if there is none.
        query_id: Names the query in the records; the text by default.
        domain: What it is about, or the data set it comes from.
        split: ``"train"``, ``"test"`` or the like.
        images: Its images, each a URL or a data URI.

    >>> Prompt(text="2+2?", reference="4").query_id
    '2+2?'
    """

    text: str
    reference: str | None = None
    query_id: str = ""
    domain: str | None = None
    split: str | None = None
    images: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.query_id:
            object.__setattr__(self, "query_id", self.text)


def read_prompts(source: Any) -> list[Prompt]:
    """Return the prompts of a file or an iterable, each query once.

    Args:
        source: Path of a ``.txt`` file with a prompt in each line, or of a table as `records.read` takes it, with a
            column ``text``, ``prompt`` or ``question`` and, if there are right answers, ``reference`` or ``answer``; or
            an iterable of texts, dicts with these keys, or `Prompt`s.

    Raises:
        ConfigurationError: There is no prompt, a row is none, or one id stands for two prompts.

    >>> read_prompts(["2+2?", {"question": "3+3?", "answer": 6}, "2+2?"])[1].reference
    '6'
    """
    prompts: dict[str, Prompt] = {}
    for place, row in _rows(source):
        prompt = row if isinstance(row, Prompt) else _prompt(place, row)
        if prompts.setdefault(prompt.query_id, prompt).text != prompt.text:
            raise ConfigurationError(f"{place}: query_id {prompt.query_id!r} stands for several prompts; rename one")
    if not prompts:
        raise ConfigurationError(f"{_name(source)} holds no prompt; give at least one")
    return list(prompts.values())


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else type(source).__name__


def _rows(source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix == ".txt" and path.is_file():
            with text_file(path) as lines:
                yield from ((f"{path}:{number}", {"text": line.strip()}) for number, line in _filled(lines))
            return
    elif isinstance(source, Iterable) and not hasattr(source, "iloc") and not isinstance(source, Mapping):
        for number, row in enumerate(source, 1):
            yield f"{_name(source)}:{number}", {"text": row} if isinstance(row, str) else row
        return
    yield from ((f"{file}:{line}", row) for file, line, row in rows_of(source))


def _filled(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _prompt(place: str, row: Any) -> Prompt:
    if not isinstance(row, Mapping):
        problem = row if isinstance(row, Fault) else f"a prompt must be text, a dict or a Prompt but is {row!r}"
        raise ConfigurationError(f"{place}: {problem}")
    values: dict[str, Any] = {}
    for ours, names in _COLUMNS.items():
        name = next((name for name in names if not absent(row.get(name))), names[0])
        try:
            values[ours] = CHECKS["domain" if ours == "reference" else ours](row.get(name))
        except ValueError as error:
            raise ConfigurationError(f"{place}: {name} {error}; mend the prompt or leave it out") from None
    return Prompt(**values)
