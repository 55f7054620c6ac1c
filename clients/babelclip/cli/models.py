"""The command line: `babelclip models list`, `add`, `promote`, `rollback`, `retire`, `scale` and `verify`.

    babelclip models add new_store --dry-run
    babelclip models promote 2.0          of the engine
    babelclip models promote clip 2.0     of a gateway before it; likewise rollback, canary and shadow
    babelclip models rollback

Each takes the same options for the store and the server, or for the gateway. Steps are shown on standard
error as they are taken. Exit codes are those of `babelclip.cli.main`: 1 says that `verify` found a problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from babelclip.cli import gateway_models, models_report
from babelclip.cli.console import INCOMPLETE, note, plain_errors, print_json, print_table, printable
from babelclip.cli.gateway_models import GatewayOptions
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import DEFAULT_URL, AsJson

if TYPE_CHECKING:
    from babelclip.versions.registry import Registry

Version = Annotated[str, typer.Argument(help="One of those that `babelclip models list` shows.")]
DEFAULT_TIMEOUT = 600.0


@dataclass(frozen=True)
class RegistryOptions:
    """The store, and the server that serves it."""

    store: Annotated[Path, typer.Option(help="The folder of archives that the server was started with.")] = (
        Path("model_store")
    )
    management: Annotated[
        str, typer.Option(envvar="BABELCLIP_MANAGEMENT_URL", help="Its gRPC management address.")
    ] = "grpc://127.0.0.1:7071"
    url: Annotated[
        str, typer.Option(envvar="BABELCLIP_URL", help="Its inference address, which canaries are sent to.")
    ] = DEFAULT_URL
    grpc_url: Annotated[
        str,
        typer.Option(envvar="BABELCLIP_GRPC_URL", help="Another one, for canaries over gRPC; '' for none."),
    ] = "grpc://127.0.0.1:7070"
    token_file: Annotated[
        Path, typer.Option(envvar="BABELCLIP_TOKEN_FILE", help="TorchServe's key_file.json.")
    ] = Path(".run/key_file.json")

    @contextmanager
    def open(self, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Registry]:
        """The registry of the options. Whatever fails ends the command with one line."""
        hint = "interrupted; `babelclip models list` says what is unfinished, the same command finishes it"
        with plain_errors(interrupted=hint):
            from babelclip.versions.registry import Registry  # Imports gRPC, a tenth of a second.

            with Registry(
                self.store,
                management=self.management,
                url=self.url,
                grpc_url=self.grpc_url or None,
                token_file=self.token_file,
                timeout=timeout,
                progress=note,
            ) as registry:
                yield registry


@dataclass(frozen=True)
class ChangeOptions:
    """How a change is made."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the steps and change nothing.")] = False
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Seconds to wait for workers to load, or for callers to leave.")
    ] = DEFAULT_TIMEOUT


app = typer.Typer(
    help="Which versions of a model a running server has, and which of them it answers with.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _refuse_dry_run(change: ChangeOptions) -> None:
    if change.dry_run:
        raise typer.BadParameter("a gateway changes versions in one step; --dry-run is for the server")


def _said(steps: tuple[str, ...], dry_run: bool, done: str) -> None:
    """The plan of a dry run, or that all of it is done."""
    if dry_run:
        for number, sentence in enumerate(steps, 1):
            typer.echo(f"{number}. {printable(sentence)}")
    else:
        typer.echo(printable(done))


@app.command(name="list")
@with_option_groups
def list_versions(
    *,
    as_json: AsJson = False,
    operated: RegistryOptions,
    front: GatewayOptions,
) -> None:
    """Show every version: its workers, the requests that wait, memory; and what is not as it should be.

    With --gateway: what the names of its models mean, and who gets another version.
    """
    if front.gateway is not None:
        gateway_models.list_models(front, as_json)
        return
    with operated.open() as registry:
        found = registry.list()
    if as_json:
        print_json(models_report.as_json(found))
        return
    print_table(models_report.version_table(found))
    for remark in found.remarks:
        note(remark)


@app.command()
@with_option_groups
def add(
    *,
    source: Annotated[
        Path, typer.Argument(metavar="STORE", help="A folder that `python -m export --store` wrote.")
    ],
    name: Annotated[str | None, typer.Option(help="Which entry of it; else its default.")] = None,
    change: ChangeOptions,
    operated: RegistryOptions,
) -> None:
    """Bring another store's pair of archives in and serve it, beside the version that is the default.

    When anything fails, nothing of it stays.
    """
    with operated.open(change.timeout) as registry:
        steps = registry.add(source, name=name, dry_run=change.dry_run)
    _said(steps, change.dry_run, "added and proved; `babelclip models promote` makes it the default")


@app.command()
@with_option_groups
def promote(
    *,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME] VERSION", help="With a model's name at the gateway, else at the server."
        ),
    ],
    change: ChangeOptions,
    operated: RegistryOptions,
    front: GatewayOptions,
) -> None:
    """Prove a version, and make it the default of both towers; or finish or undo an interrupted change."""
    if len(names) > 2:
        raise typer.BadParameter("give a version, or a model's name at the gateway and a version")
    if len(names) == 2:
        _refuse_dry_run(change)
        gateway_models.promote(front, *names)
        return
    (version,) = names
    with operated.open(change.timeout) as registry:
        steps = registry.promote(version, dry_run=change.dry_run)
    _said(steps, change.dry_run, f"{version} is the default of both towers")


@app.command()
@with_option_groups
def rollback(
    *,
    name: Annotated[
        str | None, typer.Argument(help="A model's name at the gateway; else at the server.")
    ] = None,
    change: ChangeOptions,
    operated: RegistryOptions,
    front: GatewayOptions,
) -> None:
    """Promote the previous default; undo a promotion that was interrupted."""
    if name is not None:
        _refuse_dry_run(change)
        gateway_models.rollback(front, name)
        return
    with operated.open(change.timeout) as registry:
        steps = registry.rollback(dry_run=change.dry_run)
    _said(steps, change.dry_run, "rolled back")


@app.command()
@with_option_groups
def retire(
    *,
    version: Version,
    quiet: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Seconds in which no request may have waited for it; default: the model's responseTimeout,"
            " at most 120.",
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete its archives, too.")] = False,
    change: ChangeOptions,
    operated: RegistryOptions,
) -> None:
    """Wait until nobody waits for a version, then take both its towers from the server."""
    with operated.open(change.timeout) as registry:
        steps = registry.retire(version, quiet=quiet, delete=delete, dry_run=change.dry_run)
    _said(steps, change.dry_run, f"{version} is retired")


@app.command()
@with_option_groups
def scale(
    *,
    version: Version,
    workers: Annotated[int, typer.Option(min=1, help="Processes for each tower.")],
    change: ChangeOptions,
    operated: RegistryOptions,
) -> None:
    """Give both towers of a version this many workers, until the server is started again.

    Workers that end lose the requests they are computing.
    """
    with operated.open(change.timeout) as registry:
        steps = registry.scale(version, workers, dry_run=change.dry_run)
    _said(steps, change.dry_run, f"workers of each tower of {version}: {workers}")


@app.command()
@with_option_groups
def verify(
    *,
    version: Annotated[str | None, typer.Argument(help="Default: all.")] = None,
    as_json: AsJson = False,
    operated: RegistryOptions,
) -> None:
    """Have towers embed their canaries, over HTTP and gRPC, and compare both defaults with the manifest."""
    with operated.open() as registry:
        checks = registry.verify(version)
    if as_json:
        print_json({"checks": [{"what": check.what, "problem": check.problem or None} for check in checks]})
    else:
        for check in checks:
            typer.echo(printable(f"{check.what}: {check.problem or 'ok'}"))
    if any(check.problem for check in checks):
        raise typer.Exit(INCOMPLETE)


gateway_models.register(app)
