"""Films on the command line: `babelclip moments`, `babelclip video scenes` and `babelclip video index`.

babelclip moments holiday.mp4 "bonfire on a beach" "a dog runs"
babelclip video scenes holiday.mp4 --csv --key-frames scenes/
babelclip video index films.index holiday.mp4 birthday.mov
babelclip moments films.index "bonfire on a beach"
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from babelclip.cli import report
from babelclip.cli.console import INCOMPLETE, cell, note, plain_errors, print_json, print_table, progress_bar
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson, Language, ServerOptions
from babelclip.client.sync import Client
from babelclip.index import Index, IndexNotFound, Settings, create_index, open_index
from babelclip.video.cuts import CutSettings
from babelclip.video.decoding import Decoding, open_video
from babelclip.video.errors import VideoError
from babelclip.video.finding import FoundMoment, find_moments, search_video
from babelclip.video.indexing import index_video
from babelclip.video.sampling import Sampling
from babelclip.video.scenes import Scene, find_scenes

SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts"),
        *(".mpg", ".mpeg", ".vob", ".flv", ".wmv", ".asf", ".ogv", ".mxf", ".dv"),
    )
)

app = typer.Typer(help="Scenes of films, and films in an index.", no_args_is_help=True)

Every = Annotated[float, typer.Option(min=0.01, help="Seconds between two frames that are looked at.")]
Top = Annotated[int, typer.Option(min=1, help="Ranges for each query.")]
Queries = Annotated[list[str], typer.Argument(metavar="QUERY...", help="Texts, in any language.")]
Threshold = Annotated[float | None, typer.Option(help="Leave out ranges whose cosine is lower.")]


@dataclass(frozen=True)
class DecodingOptions:
    """How films are decoded."""

    keyframes_only: Annotated[
        bool,
        typer.Option("--keyframes-only", help="Decode only key frames: many times as fast, and coarser."),
    ] = False
    hardware: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="Decode on a device such as cuda, vaapi or videotoolbox."),
    ] = None
    threads: Annotated[int, typer.Option(min=0, help="Of the decoder; 0 for one for each core.")] = 0

    def decoding(self) -> Decoding:
        """The same for `open_video`."""
        return Decoding(threads=self.threads, hardware=self.hardware, keyframes_only=self.keyframes_only)


def is_video(path: Path) -> bool:
    """Whether a path is that of a film, by its name."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


@with_option_groups
def moments(
    *,
    place: Annotated[str, typer.Argument(metavar="VIDEO|INDEX", help="A film, or an index that has films.")],
    queries: Queries,
    language: Language = None,
    top: Top = 5,
    threshold: Threshold = None,
    every: Every = 1.0,
    decoding: DecodingOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Find where in a film, or in the films of an index, something is to be seen.

    Of a film alone every frame that is looked at is embedded by this call; an index has them embedded
    already, so --every and how films are decoded say nothing there.
    """
    with plain_errors(), server.client() as client:
        if Path(place).is_file():
            print_moments(
                *(client, place, queries, top, as_json, threshold, every, decoding.decoding()),
                language=language,
            )
            return
        with open_index(place) as index:
            asked = client.embed_texts(queries, language=language)
            found = [
                find_moments(index, client, asked[[number]], top=top, threshold=threshold)
                for number in range(len(queries))
            ]
        _print_found(client, queries, found, as_json)
        report.print_flags(queries, asked)


def print_moments(
    client: Client,
    path: str | Path,
    queries: Sequence[str],
    top: int,
    as_json: bool,
    threshold: float | None = None,
    every: float = 1.0,
    decoding: Decoding | None = None,
    *,
    language: str | None = None,
) -> None:
    """The ranges of one film for each query, as a table or as JSON."""
    asked = client.embed_texts(queries, language=language)
    found = search_video(
        client, path, asked, top=top, threshold=threshold, sampling=Sampling(every=every), decoding=decoding
    )
    _print_found(client, queries, found, as_json)
    report.print_flags(queries, asked)


@app.command()
@with_option_groups
def scenes(
    *,
    video: Annotated[Path, typer.Argument(help="The film.")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a line of names.")] = False,
    key_frames: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each scene's key frame there, as a JPEG.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, help="The least difference of a new scene, from 0 to 255.")
    ] = CutSettings.threshold,
    shortest: Annotated[float, typer.Option(min=0.0, help="Seconds of a scene at least.")] = (
        CutSettings.shortest
    ),
    decoding: DecodingOptions,
) -> None:
    """List the scenes of a film: begin, end and key frame of each, in seconds. It needs no server."""
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    found: list[dict[str, Any]] = []
    sampling = Sampling(cuts=CutSettings(threshold=threshold, shortest=shortest))
    with plain_errors(), open_video(video, decoding.decoding()) as opened:
        if key_frames is not None:
            key_frames.mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(find_scenes(opened, sampling), 1):
            found.append(_described(number, scene))
            if key_frames is not None:
                file = key_frames / f"{video.stem}-{number:04}.jpg"
                file.write_bytes(scene.image)
                found[-1]["image"] = str(file)
        seconds, corrupt = opened.seconds, opened.corrupt
    if as_json:
        print_json({"video": str(video), "seconds": round(seconds, 3), "corrupt": corrupt, "scenes": found})
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, found[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    else:
        table = Table("", "begin", "end", "key frame", title=cell(str(video)), title_justify="left")
        for one in found:
            times = (clock(one[name]) for name in ("begin", "end", "key_frame"))
            table.add_row(str(one["scene"]), *times)
        print_table(table)
    if corrupt:
        note(f"{corrupt} packets of {video} could not be decoded")


@app.command(name="index")
@with_option_groups
def add_to_index(
    *,
    index: Annotated[str, typer.Argument(metavar="INDEX", help="Where it is; made where there is none.")],
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Films.")],
    every: Every = 1.0,
    decoding: DecodingOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Add films to an index, a row for each moment.

    What is interrupted goes on where it stopped; a film that is there as it is now is left alone.
    """
    results: list[dict[str, Any]] = []
    with (
        plain_errors(interrupted="interrupted; the same command goes on from here"),
        server.client() as client,
        _opened(index, client) as opened,
        progress_bar("seconds of film") as bar,
    ):
        for video in videos:
            try:
                made = index_video(
                    opened,
                    client,
                    video,
                    sampling=Sampling(every=every),
                    decoding=decoding.decoding(),
                    progress=lambda done, total: bar.update(
                        bar.task_ids[0], completed=int(done), total=None if total is None else int(total)
                    ),
                )
            except (VideoError, OSError) as error:
                code = error.code if isinstance(error, VideoError) else "unreadable_file"
                message = error.message if isinstance(error, VideoError) else str(error)
                results.append({"video": str(video), "code": code, "message": message})
                note(f"{video}: {code}: {message}")
            else:
                rows = made.moments + made.known
                results.append({"video": str(video), "moments": rows, "added": made.moments})
                if not as_json:
                    note(f"{video}: {rows} moments, {made.moments} of them new")
    if as_json:
        print_json({"index": index, "videos": results})
    if any("code" in one for one in results):
        raise typer.Exit(INCOMPLETE)


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 0:01:02.5."""
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def _opened(address: str, client: Client) -> Index:
    try:
        return open_index(address)
    except IndexNotFound:
        # Any answer says of which space the model is.
        answer = client.embed_texts(["a film"])
        return create_index(
            address,
            Settings(
                space=answer.space,
                dim=answer.dim,
                logit_scale=answer.logit_scale,
                version=answer.version,
            ),
        )


def _described(number: int, scene: Scene) -> dict[str, Any]:
    return {
        "scene": number,
        "begin": round(scene.begin, 3),
        "end": round(scene.end, 3),
        "key_frame": round(scene.key_frame, 3),
    }


def _print_found(
    client: Client, queries: Sequence[str], found: Sequence[Sequence[FoundMoment]], as_json: bool
) -> None:
    if as_json:
        results = [
            {"query": query, "results": [_as_json(one) for one in of_query]}
            for query, of_query in zip(queries, found, strict=True)
        ]
        print_json({"space": client.space, "queries": results})
        return
    for query, of_query in zip(queries, found, strict=True):
        table = Table("", "cosine", "begin", "end", "best", "film", title=cell(query), title_justify="left")
        for rank, one in enumerate(of_query, 1):
            times = (clock(one.begin), clock(one.end), clock(one.best))
            table.add_row(str(rank), f"{one.cosine:.3f}", *times, cell(one.source))
        print_table(table)


def _as_json(found: FoundMoment) -> dict[str, Any]:
    return {
        "video": found.source,
        "begin": round(found.begin, 3),
        "end": round(found.end, 3),
        "best": round(found.best, 3),
        "cosine": round(found.cosine, 6),
    }
