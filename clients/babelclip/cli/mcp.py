"""`babelclip mcp`: tools for language models over the Model Context Protocol.

babelclip mcp --index photographs.index --url mar:model_store
babelclip mcp --collection photographs --url http://127.0.0.1:8000 --port 8765
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from babelclip.cli.console import note, plain_errors
from babelclip.cli.gateway_models import DEFAULT_GATEWAY
from babelclip.cli.options import DEFAULT_URL
from babelclip.cli.search import CalibrationFile, calibration_of
from babelclip.client.sync import Client
from babelclip.collections.sync import CollectionClient
from babelclip.index import open_index
from babelclip.search.searcher import Searcher

if TYPE_CHECKING:
    from babelclip.mcp import ImageLibrary


def mcp(
    *,
    index: Annotated[str | None, typer.Option(help="Serve this index: a folder, or an address.")] = None,
    collection: Annotated[str | None, typer.Option(help="Serve this collection of a gateway.")] = None,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="BABELCLIP_URL",
            help=f"What embeds for the index, as everywhere; or the collection's gateway."
            f" Default: {DEFAULT_URL}, or {DEFAULT_GATEWAY}.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="The server's or gateway's key; others see it in the process list, not BABELCLIP_TOKEN."
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file that holds it; or BABELCLIP_TOKEN_FILE.")
    ] = None,
    calibration: CalibrationFile = None,
    originals: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Give images below it as they are, not only small ones. May be given several times.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Speak streamable HTTP on this port of this machine; 0 takes a free one. Otherwise on"
            " standard input and output.",
        ),
    ] = None,
    http_token_file: Annotated[
        Path | None,
        typer.Option(
            help="With --port: callers must send the token in this file, as Authorization: Bearer.",
        ),
    ] = None,
    max_results: Annotated[int, typer.Option(help="Images of one answer, at most.")] = 20,
    max_bytes: Annotated[int, typer.Option(help="Bytes of one answer, pictures included.")] = 500_000,
) -> None:
    """Serve a language model tools for images: search, likenesses, labels, and moments of films."""
    if (index is None) == (collection is None):
        raise typer.BadParameter("give --index or --collection: exactly one of them")
    if collection is not None and (originals or calibration):
        raise typer.BadParameter("--originals and --calibration are for an index; a gateway has its own")
    if http_token_file is not None and port is None:
        raise typer.BadParameter("--http-token-file is for --port; standard input needs no token")
    with plain_errors(), contextlib.ExitStack() as opened:
        # Not everybody has the SDK, and its import takes a second.
        from babelclip.mcp import (
            CollectionLibrary,
            IndexLibrary,
            Limits,
            build_server,
            read_token,
            serve_http,
        )

        http_token = "" if http_token_file is None else read_token(http_token_file)
        limits = Limits(results=max_results, bytes=max_bytes)
        library: ImageLibrary
        if index is not None:
            client = opened.enter_context(Client(url or DEFAULT_URL, token=token, token_file=token_file))
            kept = opened.enter_context(open_index(index))
            searcher = Searcher(kept, client, calibration_of(index, calibration, kept.settings.space))
            library = IndexLibrary(searcher, originals or ())
        else:
            assert collection is not None
            gateway = CollectionClient(url or DEFAULT_GATEWAY, collection, token=token, token_file=token_file)
            library = CollectionLibrary(opened.enter_context(gateway))
        server = build_server(library, limits)
        if port is None:
            server.run()
        else:
            serve_http(server, port, lambda address: note(f"listening: {address}"), token=http_token)
