"""The command line: `babelclip models list`, `add`, `promote`, `rollback`, `retire`, `scale` and `verify`.

    babelclip models add new_store --dry-run
    babelclip models promote 2.0
    babelclip models rollback

Each takes the same options for the store and the server. Steps are said on standard error as they are taken.
Exit codes are those of `babelclip.cli.main`: 1 says that `verify` found a problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from babelclip.cli import models_report
from babelclip.cli.console import INCOMPLETE, note, plain_errors, print_json, print_table, printable
from babelclip.cli.options import DEFAULT_URL, AsJson

if TYPE_CHECKING:
    from babelclip.versions.registry import Registry

Store = Annotated[Path, typer.Option(help="The folder of archives that the server was started with.")]
Address = Annotated[
    str, typer.Option("--management", envvar="BABELCLIP_MANAGEMENT_URL", help="Its gRPC management address.")
]
Url = Annotated[
    str, typer.Option(envvar="BABELCLIP_URL", help="Its inference address, which canaries are sent to.")
]
GrpcUrl = Annotated[
    str, typer.Option(envvar="BABELCLIP_GRPC_URL", help="Another one, for canaries over gRPC; '' for none.")
]
Keys = Annotated[
    Path, typer.Option("--token-file", envvar="BABELCLIP_TOKEN_FILE", help="TorchServe's key_file.json.")
]
Timeout = Annotated[
    float, typer.Option(min=1.0, help="Seconds to wait for workers to load, or for callers to leave.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the steps and change nothing.")]
Version = Annotated[str, typer.Argument(help="One of those that `babelclip models list` shows.")]
DEFAULT_STORE = Path("model_store")
DEFAULT_MANAGEMENT = "grpc://127.0.0.1:7071"
DEFAULT_GRPC_URL = "grpc://127.0.0.1:7070"
DEFAULT_KEYS = Path(".run/key_file.json")
DEFAULT_TIMEOUT = 600.0

app = typer.Typer(
    help="Which versions of a model a running server has, and which of them it answers with.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@contextmanager
def _registry(
    store: Path, management: str, url: str, grpc_url: str, keys: Path, timeout: float = DEFAULT_TIMEOUT
) -> Iterator[Registry]:
    """The registry of the options. Whatever fails ends the command with one line."""
    hint = "interrupted; `babelclip models list` says what is unfinished, the same command finishes it"
    with plain_errors(interrupted=hint):
        from babelclip.versions.registry import Registry  # Imports gRPC, a tenth of a second.

        with Registry(
            store,
            management=management,
            url=url,
            grpc_url=grpc_url or None,
            token_file=keys,
            timeout=timeout,
            progress=note,
        ) as registry:
            yield registry


def _said(steps: tuple[str, ...], dry_run: bool, done: str) -> None:
    """The plan of a dry run, or that all of it is done."""
    if dry_run:
        for number, sentence in enumerate(steps, 1):
            typer.echo(f"{number}. {printable(sentence)}")
    else:
        typer.echo(printable(done))


@app.command(name="list")
def list_versions(
    as_json: AsJson = False,
    store: Store = DEFAULT_STORE,
    management: Address = DEFAULT_MANAGEMENT,
    url: Url = DEFAULT_URL,
    grpc_url: GrpcUrl = DEFAULT_GRPC_URL,
    token_file: Keys = DEFAULT_KEYS,
) -> None:
    """Show every version: its workers, the requests that wait, memory; and what is not as it should be."""
    with _registry(store, management, url, grpc_url, token_file) as registry:
        found = registry.list()
    if as_json:
        print_json(models_report.as_json(found))
        return
    print_table(models_report.version_table(found))
    for remark in found.remarks:
        note(remark)


@app.command()
def add(
    source: Annotated[
        Path, typer.Argument(metavar="STORE", help="A folder that `python -m export --store` wrote.")
    ],
    name: Annotated[str | None, typer.Option(help="Which entry of it; else its default.")] = None,
    dry_run: DryRun = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    store: Store = DEFAULT_STORE,
    management: Address = DEFAULT_MANAGEMENT,
    url: Url = DEFAULT_URL,
    grpc_url: GrpcUrl = DEFAULT_GRPC_URL,
    token_file: Keys = DEFAULT_KEYS,
) -> None:
    """Bring another store's pair of archives in and serve it, beside the version that is the default.

    When anything fails, nothing of it stays.
    """
    with _registry(store, management, url, grpc_url, token_file, timeout) as registry:
        steps = registry.add(source, name=name, dry_run=dry_run)
    _said(steps, dry_run, "added and proved; `babelclip models promote` makes it the default")


@app.command()
def promote(
    version: Version,
    dry_run: DryRun = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    store: Store = DEFAULT_STORE,
    management: Address = DEFAULT_MANAGEMENT,
    url: Url = DEFAULT_URL,
    grpc_url: GrpcUrl = DEFAULT_GRPC_URL,
    token_file: Keys = DEFAULT_KEYS,
) -> None:
    """Prove a version, and make it the default of both towers; or finish or undo an interrupted change."""
    with _registry(store, management, url, grpc_url, token_file, timeout) as registry:
        steps = registry.promote(version, dry_run=dry_run)
    _said(steps, dry_run, f"{version} is the default of both towers")


@app.command()
def rollback(
    dry_run: DryRun = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    store: Store = DEFAULT_STORE,
    management: Address = DEFAULT_MANAGEMENT,
    url: Url = DEFAULT_URL,
    grpc_url: GrpcUrl = DEFAULT_GRPC_URL,
    token_file: Keys = DEFAULT_KEYS,
) -> None:
    """Promote the previous default; undo a promotion that was interrupted."""
    with _registry(store, management, url, grpc_url, token_file, timeout) as registry:
        steps = registry.rollback(dry_run=dry_run)
    _said(steps, dry_run, "rolled back")


@app.command()
def retire(
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
    dry_run: DryRun = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    store: Store = DEFAULT_STORE,
    management: Address = DEFAULT_MANAGEMENT,
    url: Url = DEFAULT_URL,
    grpc_url: GrpcUrl = DEFAULT_GRPC_URL,
    token_file: Keys = DEFAULT_KEYS,
) -> None:
    """Wait until nobody waits for a version, then take both its towers from the server."""
    with _registry(store, management, url, grpc_url, token_file, timeout) as registry:
        steps = registry.retire(version, quiet=quiet, delete=delete, dry_run=dry_run)
    _said(steps, dry_run, f"{version} is retired")


@app.command()
def scale(
    version: Version,
    workers: Annotated[int, typer.Option(min=1, help="Processes for each tower.")],
    dry_run: DryRun = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    store: Store = DEFAULT_STORE,
    management: Address = DEFAULT_MANAGEMENT,
    url: Url = DEFAULT_URL,
    grpc_url: GrpcUrl = DEFAULT_GRPC_URL,
    token_file: Keys = DEFAULT_KEYS,
) -> None:
    """Give both towers of a version so many workers, until the server is started again.

    Workers that end lose the requests they are computing.
    """
    with _registry(store, management, url, grpc_url, token_file, timeout) as registry:
        steps = registry.scale(version, workers, dry_run=dry_run)
    _said(steps, dry_run, f"workers of each tower of {version}: {workers}")


@app.command()
def verify(
    version: Annotated[str | None, typer.Argument(help="Default: all.")] = None,
    as_json: AsJson = False,
    store: Store = DEFAULT_STORE,
    management: Address = DEFAULT_MANAGEMENT,
    url: Url = DEFAULT_URL,
    grpc_url: GrpcUrl = DEFAULT_GRPC_URL,
    token_file: Keys = DEFAULT_KEYS,
) -> None:
    """Have towers embed their canaries, over HTTP and gRPC, and compare both defaults with the manifest."""
    with _registry(store, management, url, grpc_url, token_file) as registry:
        checks = registry.verify(version)
    if as_json:
        print_json({"checks": [{"what": check.what, "problem": check.problem or None} for check in checks]})
    else:
        for check in checks:
            typer.echo(printable(f"{check.what}: {check.problem or 'ok'}"))
    if any(check.problem for check in checks):
        raise typer.Exit(INCOMPLETE)
