"""What the command line says: results on standard output, everything else on standard error.

File names, queries and server messages are shown as they are, except what would command a terminal or cannot
be encoded: that is shown escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from babelclip.errors import BabelclipError

# Exit codes of every command. 0: done, nothing is missing, and the answer is yes. 2: wrong usage, as of every
# command line tool. 130: what a shell makes of Ctrl-C.
INCOMPLETE = 1
"""Done and said, but items have no vector, or the answer of a check is no."""
FAILED = 3
"""Not done: no server, no answer, no such file; one line on standard error says why."""
INTERRUPTED = 130


def printable(text: str) -> str:
    """The same text with control characters and lone surrogates escaped, on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cell(text: str) -> Text:
    """A table cell that is never taken for markup."""
    return Text(printable(text), overflow="fold")


def print_json(value: Any) -> None:
    """One JSON document on one line, ASCII only, so that no encoding of the terminal can spoil it."""
    typer.echo(json.dumps(value, separators=(",", ":"), allow_nan=False))


def print_table(table: Table) -> None:
    """A table as wide as the terminal, or as wide as it needs where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    console.print(table)


def note(message: str) -> None:
    """One line for the person, on standard error."""
    typer.echo(printable(message), err=True)


@contextmanager
def plain_errors(interrupted: str = "interrupted") -> Iterator[None]:
    """Ends the command with one line and exit code 3 for what is nobody's bug.

    The server, files, arguments, or a package that is missing. With 130 when Ctrl-C is pressed, and the line
    `interrupted`.
    """
    try:
        yield
    except KeyboardInterrupt:
        note(interrupted)
        raise typer.Exit(INTERRUPTED) from None
    except (BabelclipError, OSError, ValueError, ImportError) as error:
        note(f"error: {error}")
        raise typer.Exit(FAILED) from error


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Progress]:
    """A bar on standard error with one task, number 0; nothing where standard error is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=total)
        yield progress
