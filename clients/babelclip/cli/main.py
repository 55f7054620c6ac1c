"""Commands: `babelclip embed`, `similarity`, `search`, `moments`, `index`, `dedup`, `classify` and more.

    babelclip similarity "a red heart" "un chat noir" --image heart.png cat.jpg
    babelclip search ~/Pictures "bonfire on a beach" --top 5
    babelclip embeddings ~/Pictures ~/vectors --url mar:model_store

Exit codes of all commands: 0 done; 1 done, but items have no vector, or the answer of a check is no; 2 wrong
usage; 3 not done; 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from babelclip.cli import classify as classify_cli
from babelclip.cli import dedup as dedup_cli
from babelclip.cli import index as index_cli
from babelclip.cli import keys as keys_cli
from babelclip.cli import mcp as mcp_cli
from babelclip.cli import models as models_cli
from babelclip.cli import report
from babelclip.cli import search as search_cli
from babelclip.cli import shadow as shadow_cli
from babelclip.cli import video as video_cli
from babelclip.cli.console import (
    FAILED,
    INCOMPLETE,
    note,
    plain_errors,
    print_json,
    print_table,
    progress_bar,
)
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import (
    AsJson,
    Folder,
    FolderOptions,
    Images,
    Language,
    ManyImages,
    ServerOptions,
    Texts,
)
from babelclip.client.calls import require_answers
from babelclip.errors import CANARY_MISMATCH, RequestRefused, SpaceMismatch
from babelclip.search.collection import NothingEmbedded, generate_embeddings
from babelclip.search.folder import Skipped
from babelclip.similarity import similarity

app = typer.Typer(
    help="Embed, compare and search texts and images with a babelclip server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_cli.app, name="models")
app.add_typer(keys_cli.app, name="keys")
app.add_typer(index_cli.app, name="index")
app.command()(shadow_cli.shadow)
app.command(cls=ManyImages)(search_cli.search)
app.command()(search_cli.calibrate)
app.command()(classify_cli.classify)
app.command()(dedup_cli.dedup)
app.add_typer(video_cli.app, name="video")
app.command()(video_cli.moments)
app.command()(mcp_cli.mcp)


@app.command(cls=ManyImages)
@with_option_groups
def embed(
    *,
    texts: Texts = None,
    image: Images = None,
    language: Language = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the vectors here: .npy, float32 [items, dim].")
    ] = None,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Turn texts, or images, into vectors.

    In the .npy file the row of an item that failed is all zeros.
    """
    if bool(texts) == bool(image):
        raise typer.BadParameter("give texts, or --image with files; one kind of item at a time")
    with plain_errors(), server.client() as client:
        if image:
            names, embeddings = [str(path) for path in image], client.embed_images(image, errors="return")
        else:
            names = list(texts or ())
            embeddings = client.embed_texts(names, language=language, errors="return")
        require_answers(embeddings)
        if output is not None:
            with output.open("wb") as file:  # np.save would add a suffix to a plain path.
                np.save(file, embeddings.vectors)
        if as_json:
            print_json(report.as_json(embeddings))
        elif output is None and embeddings.ok.any():
            print_table(report.vector_table(names, embeddings))
        elif output is not None:
            note(
                f"wrote float32 {list(embeddings.vectors.shape)} of the space {embeddings.space} to {output}"
            )
    if report.print_failures(names, embeddings):
        raise typer.Exit(INCOMPLETE)


@app.command(name="similarity", cls=ManyImages)
@with_option_groups
def compare(
    *,
    texts: Texts = None,
    image: Images = None,
    language: Language = None,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Cosines of every text with every image, as a table."""
    if not texts or not image:
        raise typer.BadParameter("give at least one text, then --image with at least one file")
    with plain_errors(), server.client() as client:
        rows = require_answers(client.embed_texts(texts, language=language, errors="return"))
        columns = require_answers(client.embed_images(image, errors="return"))
        cosines = similarity(rows, columns)
    files = [str(path) for path in image]
    if as_json:
        print_json(
            {
                "space": client.space,
                "texts": texts,
                "images": files,
                "cosines": [[None if np.isnan(c) else report.short(c) for c in row] for row in cosines],
                "errors": [*report.failures(texts, rows), *report.failures(files, columns)],
            }
        )
    elif not np.isnan(cosines).all():
        print_table(report.cosine_table(texts, files, cosines))
    if any([report.print_failures(texts, rows), report.print_failures(files, columns)]):
        raise typer.Exit(INCOMPLETE)


@app.command()
@with_option_groups
def embeddings(
    *,
    folder: Folder,
    output: Annotated[Path, typer.Argument(help="The folder to write to; made where there is none.")],
    filters: FolderOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Embed the images of a folder once, for many searches: embeddings.npy, urls.json and meta.json.

    MultiLingualSearch of the Python package ranks them. Files that cannot be embedded are listed at the end.
    What is interrupted goes on where it stopped, and what is done is not done again: the same command embeds
    only images that are new or have changed.
    """
    with (
        plain_errors(interrupted="interrupted; the same command goes on from here"),
        server.client() as client,
        progress_bar("embedding") as bar,
    ):
        try:
            made = generate_embeddings(
                client,
                folder,
                output,
                exclude=filters.exclude or (),
                exclude_defaults=filters.exclude_defaults,
                progress=lambda done, total: bar.update(bar.task_ids[0], completed=done, total=total),
                say=note,
            )
        except NothingEmbedded as error:
            note(f"error: {error}")
            _note_skipped(error.skipped)
            raise typer.Exit(INCOMPLETE) from error
    count, dim = made.embeddings.vectors.shape
    if as_json:
        skipped = [skip.as_json() for skip in made.skipped]
        print_json({"space": made.embeddings.space, "images": count, "dim": dim, "skipped": skipped})
    else:
        note(f"wrote float32 [{count}, {dim}] of the space {made.embeddings.space} to {output}")
        _note_skipped(made.skipped)
    if made.skipped:
        raise typer.Exit(INCOMPLETE)


def _note_skipped(skipped: Sequence[Skipped]) -> None:
    for skip in skipped:
        note(f"skipped {skip.path}: {skip.code}: {skip.message}")


@app.command()
@with_option_groups
def health(
    *,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each tower.")] = 10.0,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Have both towers embed a known item, and compare; exit code 0 when both give the vectors they must.

    Exit code 1 when a tower gives another vector or both are of two spaces, 3 when one cannot be asked.
    """
    with plain_errors(), server.client(timeout=timeout) as client:
        try:
            space = client.health()
        except (RequestRefused, SpaceMismatch) as error:
            if isinstance(error, RequestRefused) and error.code != CANARY_MISMATCH:
                raise
            note(f"error: {error}")
            raise typer.Exit(INCOMPLETE) from error
    if as_json:
        print_json({"status": "pass", "space": space})
    else:
        typer.echo(f"both towers work, in the space {space}")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("babelclip"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Embed, compare and search texts and images with a babelclip server."""


def main() -> None:
    """The entry point: runs the command line and ends the process, never with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no UTF-8 gets escapes for what it cannot show.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        note(f"error: unexpected {type(error).__name__}: {error}")
        sys.exit(FAILED)
