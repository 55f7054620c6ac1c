"""The arguments and options that several commands of the command line share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from babelclip.client.sync import Client
from babelclip.ingest.sources.addresses import AddressReader, not_allowed
from babelclip.search.folder import Found, find_images


class ManyImages(TyperCommand):
    """Lets one `--image` take every file up to the next option, as a shell's `*.jpg` needs it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = False
        for position, arg in enumerate(args):
            if arg == "--":
                spread += args[position:]
                break
            if arg.startswith("-") and arg != "-":
                taking = arg == "--image"
            elif taking and spread[-1] != "--image":
                spread.append("--image")
            spread.append(arg)
        return super().parse_args(ctx, spread)


Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Texts, in any language.")]
Images = Annotated[
    list[Path] | None, typer.Option("--image", metavar="FILE...", help="Image files; texts go before it.")
]
Folder = Annotated[Path, typer.Argument(help="Searched with all folders below it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Language = Annotated[
    str | None,
    typer.Option(
        help="The language of the texts, such as bn or zh-Hant, for a model that is told it, as nllb-clip"
        " is; others pass it over."
    ),
]
DEFAULT_URL = "http://127.0.0.1:8080"


def json_filter(text: str | None, option: str) -> dict[str, Any] | None:
    """The filter that an option holds; None where it was not given.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        found = None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option} is no JSON: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise ValueError(f'{option} must be a JSON object, such as {{"width": {{"$gte": 800}}}}')
    return found


@dataclass(frozen=True)
class FolderOptions:
    """Which files of a folder are its images."""

    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Leave out files and folders of such names, or of such paths where it has a slash:"
            " '*_edited*', '2019/private'. May be given several times.",
        ),
    ] = None
    exclude_defaults: Annotated[
        bool,
        typer.Option(
            help="Leave out hidden files, too, and what disks and programs keep to themselves: @eaDir,"
            " #recycle, $RECYCLE.BIN, System Volume Information, __MACOSX and the like."
        ),
    ] = True

    def find(self, folder: Path) -> Found:
        """The images of a folder, and what was skipped."""
        return find_images(folder, exclude=self.exclude or (), exclude_defaults=self.exclude_defaults)


@dataclass(frozen=True)
class FetchOptions:
    """From where images are fetched by their address."""

    fetch_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Fetch images that a table names by their address from this host, as images.example.org or"
            " *.example.org. Nothing is fetched from others, and nothing at all unless given. May be given"
            " several times.",
        ),
    ] = None

    @contextmanager
    def reader(self) -> Iterator[Callable[[str], bytes]]:
        """What fetches.

        Raises:
            ValueError: one is no host.
        """
        if not self.fetch_from:
            yield not_allowed
            return
        with AddressReader(self.fetch_from) as reader:
            yield reader


@dataclass(frozen=True)
class ServerOptions:
    """Where the server is, and what it is shown."""

    url: Annotated[
        str,
        typer.Option(
            envvar="BABELCLIP_URL",
            help="The server: http://, https://, grpc:// or grpcs://, host and port. Or mar: and a model"
            " store, to run its model in this process.",
        ),
    ] = DEFAULT_URL
    token: Annotated[
        str | None,
        typer.Option(
            help="TorchServe's inference key; others see it in the process list, BABELCLIP_TOKEN not."
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        typer.Option(help="TorchServe's key_file.json, or a bare token; or BABELCLIP_TOKEN_FILE."),
    ] = None

    def client(self, **settings: Any) -> Client:
        """A client of it, with further arguments of `Client`.

        Raises:
            ValueError: as `Client`.
        """
        return Client(self.url, token=self.token, token_file=self.token_file, **settings)
