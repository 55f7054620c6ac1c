"""The command line: `babelclip index migrate` and `drop`: an index moves to another model.

babelclip index migrate photographs.index --to 2.0
"""

from __future__ import annotations

import functools
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from babelclip.cli.console import INCOMPLETE, note, plain_errors, print_json
from babelclip.cli.index_report import Rate, migration_json, migration_line
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson, FetchOptions, ServerOptions
from babelclip.index import open_index
from babelclip.ingest.migrate import DROP_AFTER, MIN_RECALL, MigrationIncomplete, MigrationReport
from babelclip.ingest.migrate import migrate as migrate_index
from babelclip.ingest.sources.reading import read_row

Address = Annotated[str, typer.Argument(metavar="INDEX", help="As in `babelclip index add`.")]


@with_option_groups
def migrate(
    *,
    address: Address,
    to: Annotated[
        str | None, typer.Option(help="The version of the model; the server's default one unless given.")
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Also where rows lose their vectors with their images."),
    ] = False,
    min_recall: Annotated[
        float, typer.Option(min=0, max=1, help="Share of golden queries that must find their rows.")
    ] = MIN_RECALL,
    drop_after: Annotated[
        float, typer.Option(min=0, help="Seconds until the old rows are dropped, for searches under way.")
    ] = DROP_AFTER,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the old rows, as a generation to drop.")] = False,
    fetching: FetchOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Embed all images again by another version of the model, while the index is searched, then switch.

    What is interrupted goes on where it stopped. Exit code 1: it is not fit to be switched to yet.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), Rate(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with (
        plain_errors(interrupted="interrupted; the same command goes on from here"),
        open_index(address) as index,
        server.client(version=to) as client,
        fetching.reader() as fetch,
        bar,
    ):
        task = bar.add_task("embedding again", total=None)

        def show(report: MigrationReport) -> None:
            bar.update(task, completed=report.done, total=report.total)

        try:
            report = migrate_index(
                *(index, client),
                read=functools.partial(read_row, fetch=fetch),
                allow_missing=allow_missing,
                min_recall=min_recall,
                drop_after=None if keep else drop_after,
                progress=show,
            )
        except MigrationIncomplete as error:
            note(f"error: {error}")
            proof = error.report.proof
            for skip in () if proof is None else proof.missing:
                note(f"missing {skip.path}: {skip.code}: {skip.message}")
            raise typer.Exit(INCOMPLETE) from error
    if as_json:
        print_json(migration_json(report))
    else:
        note(migration_line(report))


def drop(
    address: Address, generation: Annotated[str, typer.Argument(help="As `babelclip index info` has it.")]
) -> None:
    """Drop a generation that is not current: the old rows after a migration, or one that was given up."""
    with plain_errors(), open_index(address) as index:
        if generation not in index.generations():
            raise ValueError(
                f"there is no generation {generation}; there are {', '.join(sorted(index.generations()))}"
            )
        index.drop_generation(generation)
