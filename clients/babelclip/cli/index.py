"""The command line: `babelclip index`: make an index, add to it, look at it.

    babelclip index add photographs.index ~/Pictures --watch
    babelclip index info photographs.index
    babelclip index rows photographs.index --failed

An index is a folder, or stands in an object store (s3://bucket/name). Exit codes are those of
`babelclip.cli.main`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from babelclip.cli import index_migrate
from babelclip.cli.console import INCOMPLETE, note, plain_errors, print_json, print_table
from babelclip.cli.index_report import (
    add_json,
    add_line,
    add_progress,
    info_json,
    info_table,
    row_json,
    rows_table,
)
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson, FetchOptions, FolderOptions, ServerOptions, json_filter
from babelclip.client.sync import Client
from babelclip.index import FIELD_TYPES, Index, IndexNotFound, Settings, create_index, open_index
from babelclip.ingest.add import COMMIT, AddReport, add
from babelclip.ingest.pipeline import BATCH, THREADS
from babelclip.ingest.sources.folder import FolderSource
from babelclip.ingest.sources.opening import open_source
from babelclip.ingest.sources.table import TableSource
from babelclip.ingest.watch import follow

app = typer.Typer(
    help="An index of images that lasts: add to it, look at it, move it to another model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(index_migrate.migrate)
app.command()(index_migrate.drop)
Address = Annotated[
    str, typer.Argument(metavar="INDEX", help="A folder, s3://bucket/name or milvus://host/name.")
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=TYPE",
        help=f"Metadata that rows can be filtered by: {', '.join(FIELD_TYPES)}. May be given several times.",
    ),
]
Version = Annotated[
    str | None, typer.Option("--version", help="Of the model; the server's default one unless given.")
]
Where = Annotated[
    str | None, typer.Option(metavar="JSON", help="""A filter, as {"width": {"$gte": 1024}}.""")
]


@app.command()
@with_option_groups
def create(*, address: Address, field: Fields = None, version: Version = None, server: ServerOptions) -> None:
    """Make an empty index for the vectors of the server's model."""
    with (
        plain_errors(),
        server.client(version=version) as client,
        create_index(address, _settings(client, _fields(field))) as index,
    ):
        note(_made(address, index.settings))


@app.command(name="add")
@with_option_groups
def add_source(
    *,
    address: Address,
    place: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with all below it; tar shards, as shard-{000..009}.tar; a table, .csv, .tsv or"
            " .parquet; COCO's annotations, .json; or an object store, s3://bucket/path.",
        ),
    ],
    name: Annotated[
        str,
        typer.Option(
            help="Of the collection, in place of where it lies: rows that are not listed under"
            " it any more are dropped."
        ),
    ] = "",
    images: Annotated[Path | None, typer.Option(help="Where the images of COCO's annotations are.")] = None,
    field: Fields = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and follow what changes.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that are embedded together.")] = BATCH,
    commit: Annotated[int, typer.Option(min=1, help="Rows that are committed together.")] = COMMIT,
    threads: Annotated[int, typer.Option(min=1, help="That read images.")] = THREADS,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Drop all rows where the source has nothing any more.")
    ] = False,
    filters: FolderOptions,
    fetching: FetchOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Add what is new or changed in a source, and drop what is gone; makes the index where there is none.

    What is interrupted goes on where it stopped, and what is done is not done again. An image that cannot be
    embedded is a row with its error.
    """
    going_on = "interrupted; the same command goes on from here"
    with plain_errors(interrupted=going_on), fetching.reader() as fetch:
        source = open_source(
            place,
            name=name,
            images=images,
            exclude=filters.exclude or (),
            exclude_defaults=filters.exclude_defaults,
            fetch=fetch,
        )
        if fetching.fetch_from and not isinstance(source, TableSource):
            raise ValueError(f"only a table names images by their address, not {place}")
        if watch and not isinstance(source, FolderSource):
            raise ValueError(f"only a folder can be watched, not {place}")
        report = AddReport()
        with opened(address, server, _fields(field)) as index, connected(server, index.settings) as client:

            def run() -> AddReport:
                with add_progress("adding") as progress:
                    return add(
                        *(index, client, source),
                        batch_size=batch_size,
                        commit=commit,
                        threads=threads,
                        allow_empty=allow_empty,
                        progress=progress,
                    )

            if watch and isinstance(source, FolderSource):
                _watch(source, run, as_json)
                return
            report = run()
            _tell(report, as_json)
            if report.failed:
                note(f"`babelclip index rows {address} --failed` lists what has no vector")
    if report.failed or report.skipped:
        raise typer.Exit(INCOMPLETE)


@app.command()
def info(address: Address, *, as_json: AsJson = False) -> None:
    """What an index is of, how many rows it has and how they are searched."""
    with plain_errors(), open_index(address) as index:
        found, generations = index.info(), list(index.generations())
    if as_json:
        print_json(info_json(found, generations))
    else:
        print_table(info_table(found, generations))


@app.command()
def rows(
    address: Address,
    *,
    where: Where = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those without a vector.")] = False,
    top: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List rows, in no order."""
    with plain_errors(), open_index(address) as index:
        condition = json_filter(where, "--where")
        if failed:
            without = {"error_code": {"$ne": ""}}
            condition = without if condition is None else {"$and": [condition, without]}
        found = list(itertools.islice(itertools.chain.from_iterable(index.scan(where=condition)), top))
        count = index.count(condition)
    if as_json:
        print_json({"rows": [row_json(row) for row in found], "count": count})
        return
    print_table(rows_table(found))
    if count > len(found):
        note(f"{len(found):,} of {count:,} rows")


@app.command()
def delete(
    address: Address,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of rows.")] = None,
    *,
    where: Where = None,
) -> None:
    """Delete rows by their ids, or all that a filter keeps; the images themselves stay."""
    if bool(ids) == bool(where):
        raise typer.BadParameter("give ids of rows or --where, one of them")
    with plain_errors(), open_index(address) as index:
        condition = json_filter(where, "--where")
        note(f"deleted {index.delete(ids, where=condition):,} rows")


@app.command()
def compact(address: Address) -> None:
    """Put many small commits in order, and bring the search structure up to date."""
    with plain_errors(), open_index(address) as index:
        index.compact()
        found = index.info()
    note(f"{found.rows:,} rows, searched by {found.method}; it covers {found.indexed:,} of them")


def connected(server: ServerOptions, settings: Settings) -> Client:
    """A client of the model that an index is of: the server's default version, or the one it names.

    Raises:
        SpaceMismatch, BabelclipError: neither gives vectors of that space.
    """
    client = server.client()
    if client.health(towers=("vision",)) == settings.space or not settings.version:
        return client
    client.close()
    return server.client(version=settings.version)


def opened(address: str, server: ServerOptions, fields: dict[str, str]) -> Index:
    """The index at an address, made for the server's model where there is none."""
    try:
        return open_index(address)
    except IndexNotFound:
        with server.client() as client:
            index = create_index(address, _settings(client, fields))
        note(_made(address, index.settings))
        return index


def _settings(client: Client, fields: dict[str, str]) -> Settings:
    found = client.embed_texts(["babelclip"])
    return Settings(
        space=found.space,
        dim=found.dim,
        logit_scale=found.logit_scale,
        version=found.version,
        fields=fields,
    )


def _made(address: str, settings: Settings) -> str:
    return (
        f"made the index {address} of the space {settings.space}, version {settings.version}, with"
        f" {settings.dim} values a vector"
    )


def _watch(source: FolderSource, run: Callable[[], AddReport], as_json: bool) -> None:
    for report in follow(source, run, say=note):
        if report.embedded or report.updated or report.dropped or report.failed:
            _tell(report, as_json)


def _tell(report: AddReport, as_json: bool) -> None:
    if as_json:
        print_json(add_json(report))
        return
    note(add_line(report))
    for skip in report.skipped:
        note(f"skipped {skip.path}: {skip.code}: {skip.message}")


def _fields(given: list[str] | None) -> dict[str, str]:
    fields = {}
    for one in given or ():
        name, _, kind = one.partition("=")
        if kind not in FIELD_TYPES:
            raise ValueError(f"--field is NAME=TYPE with one of {', '.join(FIELD_TYPES)}, not {one!r}")
        fields[name] = kind
    return fields
