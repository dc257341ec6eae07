"""What all commands share: the application, its errors, its progress bars."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Protocol, TypeVar, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from router_integrations._version import __version__
from router_integrations.errors import RouterError

app = typer.Typer(
    help="Choose, for every single query, which LLM should answer it.", no_args_is_help=True, add_completion=False
)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:  # noqa: FBT002
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; an error of ours, or of the file system, is one line and not a traceback."""
    try:
        app()
    except (RouterError, OSError) as error:
        note(f"[red]{type(error).__name__}[/red]: {escape(str(error))}")
        raise SystemExit(1) from error


class Command(Protocol):
    """A command as a dataclass: its fields are the arguments and options, its docstring the help."""

    def run(self) -> None:
        """Do it."""
        ...


C = TypeVar("C", bound=Command)


def command(cls: type[C]) -> type[C]:
    """Add a command to the application, called as its class."""

    def run(**given: object) -> None:
        cls(**given).run()

    hints = get_type_hints(cls, include_extras=True)
    parameters = inspect.signature(cls).parameters.values()
    run.__signature__ = inspect.Signature([one.replace(annotation=hints[one.name]) for one in parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: hints[one.name] for one in parameters}
    run.__doc__ = cls.__doc__
    app.command(name=cls.__name__.lower())(run)
    return cls


def note(text: str) -> None:
    """Say something beside the result: on stderr, in rich's markup."""
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def drawn() -> Console:
    """Return what draws on stderr, and only where that is a terminal: FORCE_COLOR asks for colours, not for motion."""
    return Console(stderr=True, force_terminal=None if sys.stderr.isatty() else False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs, if that is a terminal; yield what moves it: steps done, in all."""
    console = drawn()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
