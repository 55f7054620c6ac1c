"""The command line: `babelclip keys add`, `list` and `revoke`: who may call the gateway.

    babelclip keys add shop --expires 90d --items-per-second 100
    babelclip keys list
    babelclip keys revoke shop

A running gateway takes a change with its next request. Exit codes are those of `babelclip.cli.main`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from babelclip.cli.console import cell, plain_errors, print_json, print_table
from babelclip.cli.options import AsJson
from babelclip.keys import file as keys
from babelclip.keys.entries import (
    ALL_COLLECTIONS,
    DEFAULT_SCOPES,
    SCOPES,
    Key,
    Limits,
    Scope,
    moment,
    written,
)

app = typer.Typer(
    help="Who may call the gateway: named keys, of which its file holds hashes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
File = Annotated[
    Path,
    typer.Option("--file", envvar="BABELCLIP_GATEWAY_KEYS_FILE", help="The gateway's keys_file."),
]
Name = Annotated[str, typer.Argument(help="Of the caller, for people and metrics.")]
DEFAULT = Path(keys.DEFAULT_FILE)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command()
def add(
    name: Name,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(SCOPES),
            help="embed: vectors; search: comparing and finding; admin: changing what is served. May be given"
            f" several times; {' and '.join(DEFAULT_SCOPES)} unless given.",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="After 30m, 12h, 90d or 52w, or at a moment: 2027-01-31, 2027-01-31T12:00Z."),
    ] = None,
    requests_per_second: Annotated[float | None, typer.Option(help="On average.")] = None,
    items_per_second: Annotated[float | None, typer.Option(help="Texts and images, on average.")] = None,
    bytes_per_second: Annotated[float | None, typer.Option(help="Of bodies, on average.")] = None,
    concurrent_items: Annotated[int | None, typer.Option(help="Under way at a time.")] = None,
    collections: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            help="Only these collections exist for the key; NAME* are all whose names begin so.",
        ),
    ] = None,
    file: File = DEFAULT,
) -> None:
    """Make a key and print it, once: it stands nowhere else."""
    with plain_errors():
        limits = Limits(requests_per_second, items_per_second, bytes_per_second, concurrent_items)
        until = None if expires is None else _moment(expires, datetime.now(UTC))
        typer.echo(
            keys.add(
                file,
                name,
                scopes=_scopes(scope),
                expires=until,
                limits=limits,
                collections=_names(collections),
            )
        )


@app.command(name="list")
def list_keys(*, file: File = DEFAULT, as_json: AsJson = False) -> None:
    """Names, what each may do, and until when."""
    with plain_errors():
        found = keys.load(file)
    if as_json:
        print_json({"keys": [_described(key) for key in found]})
        return
    table = Table("name", "scopes", "created", "expires", "limits")
    for key in found:
        limits = ", ".join(f"{name}={value:g}" for name, value in key.limits.named().items())
        table.add_row(key.name, _allowed(key), cell(key.created), _end(key), limits)
    print_table(table)


@app.command()
def revoke(name: Name, *, file: File = DEFAULT) -> None:
    """Take a key away; it lets nobody in from the gateway's next request on."""
    with plain_errors():
        keys.revoke(file, name)


def _scopes(given: Sequence[str] | None) -> tuple[Scope, ...]:
    if not given:
        return DEFAULT_SCOPES
    if unknown := set(given) - set(SCOPES):
        raise typer.BadParameter(f"there is no scope {min(unknown)}; there are {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in given)


def _names(given: str | None) -> Sequence[str]:
    if given is None:
        return ALL_COLLECTIONS
    return [name.strip() for name in given.split(",")]


def _allowed(key: Key) -> str:
    scopes = " ".join(key.scopes)
    return scopes if key.collections == ALL_COLLECTIONS else f"{scopes} in {' '.join(key.collections)}"


def _moment(text: str, now: datetime) -> datetime:
    if found := re.fullmatch(r"(\d{1,5})([mhdw])", text, re.ASCII):
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    return moment(text)


def _end(key: Key) -> str:
    if key.expires is None:
        return "never"
    return f"{written(key.expires)}{' (over)' if key.expires <= datetime.now(UTC) else ''}"


def _described(key: Key) -> dict[str, object]:
    return {
        "name": key.name,
        "created": key.created,
        "scopes": key.scopes,
        "collections": key.collections,
        "expires": None if key.expires is None else written(key.expires),
        "limits": key.limits.named(),
    }
