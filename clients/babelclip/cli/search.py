"""`babelclip search`: the best images of a folder or of an index, and `babelclip calibrate`.

babelclip search photographs.index "beach -people" --filter '{"album": "sea"}'
babelclip search photographs.index --image sofa.jpg
babelclip calibrate photographs.index
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from babelclip.cli import search_report as report
from babelclip.cli.console import INCOMPLETE, note, plain_errors, print_json, progress_bar
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson, FolderOptions, Images, Language, ServerOptions, json_filter
from babelclip.cli.video import is_video, print_moments
from babelclip.index import Index, is_index, open_index
from babelclip.search.answering import Threshold
from babelclip.search.folder_search import search_files
from babelclip.search.measure import SAMPLE, calibrate_index
from babelclip.search.query import Results, Term, parse_query
from babelclip.search.relevance import FILE, SearchCalibration, read_search_calibration
from babelclip.search.searcher import Searcher

CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        help=f"What cosines mean for the model; default: {FILE} in the folder of the index.",
    ),
]


def calibration_of(where: str, file: Path | None, space: str) -> SearchCalibration | None:
    """The calibration that was named, or that lies in the folder of an index and is of its space.

    Raises:
        ValueError: it is none.
        OSError: it cannot be read.
    """
    if file is not None:
        return read_search_calibration(file)
    beside = Path(where) / FILE
    if "://" in where or not beside.is_file():
        return None
    found = read_search_calibration(beside)
    if found.space == space:
        return found
    note(f"{beside} is of the space {found.space}, not {space}: run `babelclip calibrate {where}` again")
    return None


@with_option_groups
def search(
    *,
    where: Annotated[
        str, typer.Argument(metavar="WHERE", help="A folder, with all folders below it, an index, or a film.")
    ],
    queries: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY...", help="Texts, in any language; -word is what should not be there."),
    ] = None,
    language: Language = None,
    image: Images = None,
    like: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="More like this row of the index.")
    ] = None,
    where_filter: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="JSON", help='Only such rows of the index: {"width": {"$gte": 800}}.'
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Results for each query.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Go on here, as the page before says.")] = 0,
    diversity: Annotated[
        bool | None,
        typer.Option(help="One place for near-duplicates; default: in an index yes, in a folder no."),
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            metavar="auto|none|NUMBER", help="The least cosine of a result; auto: by the calibration."
        ),
    ] = "auto",
    calibration: CalibrationFile = None,
    filters: FolderOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Rank the images of a folder, the rows of an index or the moments of a film by how well they fit.

    Images and rows are one query together with each text. Files that cannot be embedded are skipped and
    listed at the end. Exit code 1 where a query has no result that fits, or files were skipped.
    """
    if not (queries or image or like):
        raise typer.BadParameter("give a query: texts, --image with files, or --like with the id of a row")
    if not is_index(where) and (like or where_filter is not None):
        raise typer.BadParameter(f"--like and --filter are for an index, and {where} is none")
    line = _threshold(threshold)
    try:
        only = json_filter(where_filter, "--filter")
    except ValueError as mistake:
        raise typer.BadParameter(str(mistake)) from mistake
    if is_video(Path(where)):
        if image or not queries:
            raise typer.BadParameter("a film is searched by texts; make an index of it for more")
        with plain_errors(), server.client() as client:
            least = line if isinstance(line, float) else None
            print_moments(client, where, queries, top, as_json, least, language=language)
        return
    skipped: list[dict[str, str]] = []
    with plain_errors(), server.client() as client:
        shared = [*(Term(image=path) for path in image or ()), *(Term(like=row) for row in like or ())]
        asked = [(text, [*parse_query(text), *shared]) for text in queries or ()]
        names = " + ".join([*(str(path) for path in image or ()), *(like or ())])
        asked = asked or [(names, shared)]
        if is_index(where):
            with open_index(where) as index:
                found = calibration_of(where, calibration, index.settings.space)
                searcher = Searcher(index, client, found)
                results = [
                    searcher.search(
                        terms,
                        language=language,
                        top=top,
                        offset=offset,
                        where=only,
                        diverse=diversity is not False,
                        threshold=line,
                    )
                    for _, terms in asked
                ]
        else:
            chosen = filters.find(Path(where))
            if not chosen.images:
                raise ValueError(f"there are no images in {where}")
            with progress_bar("embedding", len(chosen.images)) as bar:
                results, skips = search_files(
                    client,
                    chosen.images,
                    [terms for _, terms in asked],
                    language=language,
                    calibration=None if calibration is None else read_search_calibration(calibration),
                    top=top,
                    offset=offset,
                    diverse=bool(diversity),
                    threshold=line,
                    progress=lambda done: bar.update(bar.task_ids[0], completed=done),
                )
            skipped = [
                {"item": one.path, "code": one.code, "message": one.message}
                for one in (*chosen.skipped, *skips)
            ]
            total = len(chosen.images) + len(chosen.skipped)
    labelled = list(zip([text for text, _ in asked], results, strict=True))
    if as_json:
        report.print_results(labelled, skipped, rows=is_index(where))
    else:
        report.print_tables(labelled)
    if skipped:
        note(f"skipped {len(skipped)} of {total} images and folders:")
        for error in skipped:
            note(f"  {error['item']}: {error['code']}: {error['message']}")
    if skipped or not all(_fits(one) for one in results):
        raise typer.Exit(INCOMPLETE)


@with_option_groups
def calibrate(
    *,
    where: Annotated[str, typer.Argument(metavar="INDEX", help="The folder or address of an index.")],
    output: Annotated[
        Path | None, typer.Option(help=f"Write here; default: {FILE} in the folder of the index.")
    ] = None,
    sample: Annotated[int, typer.Option(min=20, help="Rows that are looked at.")] = SAMPLE,
    language: Language = None,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Measure what a cosine means in an index, so that searches can say that nothing fits.

    By its captions, for texts, and by parts of its thumbnails, for images.
    """
    if output is None and "://" in where:
        raise typer.BadParameter("an object store has no folder for it: say with --output where to write")
    with plain_errors(), server.client() as client, open_index(where) as index:
        client.pin(index.settings.space, index.settings.version)
        found = calibrate_index(index, client, language=language, sample=sample)
        path = output or Path(where) / FILE
        found.save(path)
        curves = _curves(found, index)
    if as_json:
        print_json({"space": found.space, "path": str(path), "curves": curves})
        return
    for kind, curve in curves.items():
        note(
            f"{kind}: measured on {curve['pairs']} pairs; what fits begins at cosine {curve['threshold']:.3f}"
        )
    note(f"wrote {path}")


def _curves(found: SearchCalibration, index: Index) -> dict[str, dict[str, Any]]:
    curves: dict[str, dict[str, Any]] = {}
    for kind, measured in (("text", found.text), ("image", found.image)):
        if measured is not None:
            curve = found.curve(
                kinds=["text" if kind == "text" else "image"],
                weights=[1.0],
                vectors=[[1.0]],
                candidates=index.count(),
            )
            if curve is not None:
                curves[kind] = {"pairs": measured.pairs, "threshold": curve.threshold}
    return curves


def _fits(found: Results) -> bool:
    return found.fits or bool(found.hits) or found.threshold is None


def _threshold(text: str) -> Threshold:
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"--threshold must be auto, none or a cosine, not {text!r}") from error
