"""`babelclip models` against a gateway: what the names of its models mean, and who gets another version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.table import Table

from babelclip.cli.console import INCOMPLETE, cell, note, plain_errors, print_json, print_table, printable
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson
from babelclip.cli.shadow import report_table
from babelclip.shadow.comparison import Report
from babelclip.versions.gateway import GatewayModel, GatewayVersions, Share

DEFAULT_GATEWAY = "http://127.0.0.1:8000"
Name = Annotated[str, typer.Argument(help="A model's name at the gateway.")]
Percent = Annotated[float, typer.Option(min=0.0, max=100.0, help="Percent of the traffic; 0 ends it.")]


@dataclass(frozen=True)
class GatewayOptions:
    """The gateway, and an operator's key."""

    gateway: Annotated[
        str | None,
        typer.Option(
            envvar="BABELCLIP_ADMIN_URL", help=f"The gateway's HTTP address; {DEFAULT_GATEWAY} if absent."
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option(
            envvar="BABELCLIP_ADMIN_KEY",
            help="A key that may administer it; others see it in the process list, the variable not.",
        ),
    ] = None

    @contextmanager
    def open(self) -> Iterator[GatewayVersions]:
        """The gateway of the options. Whatever fails ends the command with one line."""
        with plain_errors(), GatewayVersions(self.gateway or DEFAULT_GATEWAY, self.key) as versions:
            yield versions


def list_models(front: GatewayOptions, as_json: bool) -> None:
    """Shows every model of the gateway."""
    with front.open() as versions:
        found = versions.list()
    if as_json:
        print_json({"models": [asdict(model) for model in found]})
        return
    print_table(_table(found))
    for model in found:
        if model.problem:
            note(f"{model.name}: {model.problem}")


def promote(front: GatewayOptions, name: str, version: str) -> None:
    """Makes a version what the name means."""
    with front.open() as versions:
        _say(versions.promote(name, version))


def rollback(front: GatewayOptions, name: str) -> None:
    """Makes it mean what it meant before."""
    with front.open() as versions:
        _say(versions.rollback(name))


@with_option_groups
def canary(
    *,
    name: Name,
    version: Annotated[str, typer.Argument(help="The version that a share of sessions gets.")],
    share: Percent,
    front: GatewayOptions,
) -> None:
    """Give a version to a share of a gateway's sessions; each session has always the same version."""
    with front.open() as versions:
        found = versions.canary(name, version, share / 100)
    typer.echo(printable(f"{name}: {_part(found.canary, 'of sessions') or 'no canary'}"))


@with_option_groups
def shadow(
    *,
    name: Name,
    version: Annotated[
        str | None, typer.Argument(help="The version that computes too; without it, the judgement so far.")
    ] = None,
    share: Percent = 10.0,
    as_json: AsJson = False,
    front: GatewayOptions,
) -> None:
    """Have a version compute a share of a gateway's requests too; or say whether to promote it.

    The judgement is that of one of the gateway's processes. Exit code 0 says yes, 1 no.
    """
    if version is not None:
        with front.open() as versions:
            found = versions.shadow(name, version, share / 100)
        typer.echo(printable(f"{name}: {_part(found.shadow, 'of requests') or 'no shadow'}"))
        return
    with front.open() as versions:
        judged = versions.describe(name).shadow
        report = _report(name, judged)
    if as_json:
        print_json(report.as_json())
    else:
        print_table(report_table(report))
        typer.echo(str(report))
    if not report.promote:
        raise typer.Exit(INCOMPLETE)


def _report(name: str, judged: Share | None) -> Report:
    if judged is None:
        raise ValueError(f"nothing stands in the shadow of {name}; name a version to put it there")
    if judged.report is None:
        raise ValueError(f"{judged.version} has seen no request of {name} yet")
    try:
        report = Report(**judged.report)
        return Report(**{**judged.report, "reasons": tuple(map(str, report.reasons))})
    except TypeError:
        raise ValueError("the gateway's report is none that this version of babelclip knows") from None


def _say(model: GatewayModel) -> None:
    previous = f"; `babelclip models rollback {model.name}` goes back to {model.previous}"
    typer.echo(printable(f"{model.name} is {model.version}{previous if model.previous else ''}"))


def _table(models: list[GatewayModel]) -> Table:
    table = Table("name", "version", "space", "previous", "canary", "shadow")
    for model in models:
        version = model.version or "not known"
        table.add_row(
            cell(model.name),
            cell(f"{version} (the engine's)" if model.follows_engine else version),
            cell(model.space or "–"),
            cell(model.previous or ""),
            cell(_part(model.canary, "of sessions")),
            cell(_part(model.shadow, "of requests")),
        )
    return table


def _part(share: Share | None, of: str) -> str:
    return "" if share is None else f"{share.version} for {100 * share.share:g} % {of}"


def register(app: typer.Typer) -> None:
    """Adds the commands that are of a gateway alone."""
    commands: dict[str, Any] = {"canary": canary, "shadow": shadow}
    for name, command in commands.items():
        app.command(name=name)(command)
