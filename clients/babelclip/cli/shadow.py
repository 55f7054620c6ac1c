"""`babelclip shadow`: replay texts and images to a candidate version beside the serving one, and judge it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from babelclip.cli.console import INCOMPLETE, note, plain_errors, print_json, print_table
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson, Folder, FolderOptions, Language, ServerOptions
from babelclip.client.calls import require_answers
from babelclip.shadow.comparison import Limits, Report
from babelclip.shadow.shadow import Shadow

STEP = 8  # items of a request, as a service sends them
DEFAULTS = Limits()


@with_option_groups
def shadow(
    *,
    folder: Folder,
    candidate: Annotated[str, typer.Option(help="The version that is judged.")],
    texts: Annotated[Path, typer.Option(help="A file of texts, one per line, as they are asked.")],
    version: Annotated[
        str | None, typer.Option(help="The serving version; the default one if absent.")
    ] = None,
    min_cosine: Annotated[float, typer.Option(help="That 99 % must have, in one space.")] = DEFAULTS.cosine,
    min_overlap: Annotated[float, typer.Option(help="Of neighbours, in two spaces.")] = DEFAULTS.overlap,
    max_latency: Annotated[float, typer.Option(help="Ratio of the median request.")] = DEFAULTS.latency,
    language: Language = None,
    filters: FolderOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Send the images of a folder and the texts of a file to two versions, and say whether to promote.

    Exit code 0 says yes, 1 no.
    """
    with plain_errors():
        found = filters.find(folder)
        images = found.images
        for skip in found.skipped:
            note(f"skipped {skip.path}: {skip.code}: {skip.message}")
        lines = [line for line in texts.read_text(encoding="utf-8").splitlines() if line.strip()]
        with (
            server.client(version=candidate) as other,
            Shadow(other, share=1.0, keep=5000, wait=True) as compared,
            server.client(version=version, shadow=compared) as client,
        ):
            for start in range(0, len(lines), STEP):
                part = lines[start : start + STEP]
                require_answers(client.embed_texts(part, language=language, errors="return"))
            for start in range(0, len(images), STEP):
                require_answers(client.embed_images(images[start : start + STEP], errors="return"))
        limits = Limits(cosine=min_cosine, overlap=min_overlap, latency=max_latency)
        report = compared.report(limits)
    if as_json:
        print_json(report.as_json())
    else:
        print_table(report_table(report))
        typer.echo(str(report))
    if not report.promote:
        raise typer.Exit(INCOMPLETE)


def report_table(report: Report) -> Table:
    """What was compared, for people."""
    table = Table("", "text", "image", title="the candidate beside the serving version", title_justify="left")
    towers = ("text", "image")
    table.add_row("items compared", *(str(report.items.get(name, 0)) for name in towers))
    if report.same_space:
        table.add_row(
            "cosine that 99 % exceed", *(f"{report.cosine.get(n, float('nan')):.4f}" for n in towers)
        )
    for way, value in report.overlap.items():
        table.add_row(
            f"{way}, common neighbours", *(f"{value:.2f}" if way.startswith(n) else "" for n in towers)
        )
    table.add_row("median time, ratio", *(f"{report.latency.get(n, float('nan')):.2f}" for n in towers))
    return table
