"""`babelclip dedup`: find duplicates in an index or a folder, look at them, move them out of the way.

babelclip dedup photographs.index --page duplicates.html
babelclip dedup ~/Pictures --move-to ~/Duplicates           says what would be moved
babelclip dedup ~/Pictures --move-to ~/Duplicates --apply
babelclip dedup --undo ~/Duplicates/moved.jsonl
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from babelclip.cli.console import INCOMPLETE, cell, note, plain_errors, print_json, print_table, progress_bar
from babelclip.cli.index import Where, connected, opened
from babelclip.cli.index_report import add_line, add_progress
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson, FolderOptions, ServerOptions, json_filter
from babelclip.dedup import DEFAULT_KINDS, KINDS, DuplicateGroups, Group, Limits, Splits, find_duplicates
from babelclip.dedup.moving import LeftAlone, move, move_back, plan_moves
from babelclip.dedup.page import write_pages
from babelclip.dedup.report import groups_json, write_csv
from babelclip.index import Index, IndexNotFound, open_index
from babelclip.ingest.add import add
from babelclip.ingest.sources.folder import FolderSource

_SHOWN = 20  # groups on the screen
DEFAULTS = Limits()


@with_option_groups
def dedup(
    *,
    place: Annotated[
        str | None, typer.Argument(metavar="[INDEX|FOLDER]", help="An index, or a folder of images.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="INDEX", help="Of a folder; FOLDER.index beside it unless given.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What counts as a duplicate, of {', '.join(KINDS)}; {' and '.join(DEFAULT_KINDS)} unless"
            " given. May be given several times."
        ),
    ] = None,
    agreement: Annotated[float, typer.Option(help="Of two thumbnails at least (near).")] = DEFAULTS.agreement,
    difference: Annotated[
        float, typer.Option(help="Of two thumbnails at most, where they differ most (near).")
    ] = DEFAULTS.difference,
    cosine: Annotated[float, typer.Option(help="Of two vectors at least (semantic).")] = DEFAULTS.cosine,
    where: Where = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLLECTION",
            help="Find what leaks between splits: train=…, valid=…, test=…. Of a group, the image of the"
            " split that is named last stays.",
        ),
    ] = None,
    split_field: Annotated[
        str | None, typer.Option(metavar="FIELD=NAME,NAME", help="The same, told by a field of the metadata.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a table of all groups.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page of the groups, .html, to look at.")] = None,
    move_to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Say what would be moved there: all but the best of each group."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Move it.")] = False,
    undo: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="Move back what this list in the folder names.")
    ] = None,
    filters: FolderOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Find images that are there more than once. Nothing is ever deleted.

    Exit code 1 where splits are named and something leaks, or where something could not be moved.
    """
    if (place is None) == (undo is None):
        raise typer.BadParameter("give an index or a folder, or --undo with the list of what was moved")
    if apply and move_to is None:
        raise typer.BadParameter("--apply goes with --move-to")
    with plain_errors():
        if undo is not None:
            _undo(undo, as_json)
            return
        limits = Limits(agreement=agreement, difference=difference, cosine=cosine)
        splits = _splits(split, split_field)
        with _open(place or "", index, filters, server) as searched:
            with progress_bar("comparing") as bar:
                found = find_duplicates(
                    searched,
                    kinds=tuple(kind or DEFAULT_KINDS),
                    limits=limits,
                    where=json_filter(where, "--where"),
                    splits=splits,
                    progress=_shown_by(bar.update, bar.task_ids[0]),
                )
            if csv is not None:
                write_csv(found, csv)
            if page is not None:
                note(f"wrote {', '.join(str(path) for path in write_pages(searched, found, page))}")
        if as_json:
            print_json(groups_json(found))
        else:
            _show(found)
        left = _move(found, move_to, apply=apply) if move_to is not None else []
    if found.leaks or (apply and left):
        raise typer.Exit(INCOMPLETE)


def _open(place: str, address: str | None, filters: FolderOptions, server: ServerOptions) -> Index:
    """The index at a place, or that of the folder there, brought up to date first."""
    if address is None:
        try:
            return open_index(place)
        except IndexNotFound:
            if not Path(place).is_dir():
                raise
    folder = Path(place).absolute()
    made = opened(address or f"{folder}.index", server, {})
    try:
        source = FolderSource(
            folder, exclude=filters.exclude or (), exclude_defaults=filters.exclude_defaults
        )
        with connected(server, made.settings) as client, add_progress("adding") as progress:
            report = add(made, client, source, progress=progress)
    except BaseException:
        made.close()
        raise
    note(add_line(report))
    return made


def _splits(given: Sequence[str] | None, field: str | None) -> Splits | None:
    if given and field:
        raise ValueError("give --split or --split-field, one of them")
    if field:
        name, _, listed = field.partition("=")
        names = tuple(one for one in listed.split(",") if one)
        if not name or len(names) < 2:
            raise ValueError(f"--split-field is FIELD=NAME,NAME with at least two names, not {field!r}")
        return Splits(names=names, field=name)
    if not given:
        return None
    collections = {}
    for one in given:
        name, _, collection = one.partition("=")
        if not name or not collection:
            raise ValueError(f"--split is NAME=COLLECTION, not {one!r}")
        collections[collection] = name
    names = tuple(dict.fromkeys(collections.values()))
    if len(names) < 2:
        raise ValueError("name at least two splits")
    return Splits(names=names, collections=collections)


def _show(found: DuplicateGroups) -> None:
    if found.groups:
        table = Table("kind", "best", "duplicates")
        for group in found.groups[:_SHOWN]:
            table.add_row(group.kind, cell(group.best.source), _line(group))
        print_table(table)
    if len(found.groups) > _SHOWN:
        note(f"the first {_SHOWN} of {len(found.groups):,} groups; --csv, --page and --json have all")
    typer.echo(
        f"{found.duplicates:,} of {found.rows:,} images are duplicates, in {len(found.groups):,} groups"
    )
    for (one, other), count in found.leaked_rows().items():
        typer.echo(f"{count:,} images of {one} are in {other}, too")
    if found.without_thumbnail:
        note(f"{found.without_thumbnail:,} images have no thumbnail: their hashes alone were compared")


def _move(found: DuplicateGroups, folder: Path, *, apply: bool) -> list[LeftAlone]:
    plan = plan_moves(found, folder)
    left = list(plan.left)
    if apply:
        with progress_bar("moving") as bar:
            manifest, failed = move(plan, folder, progress=_shown_by(bar.update, bar.task_ids[0]))
        left += failed
        note(f"moved {len(plan.moves) - len(failed):,} files; --undo {manifest} moves them back")
    else:
        for one in plan.moves:
            note(f"{one.source} → {one.target}")
        note(f"{len(plan.moves):,} files would be moved; --apply moves them")
    _note_left(left)
    return left


def _undo(manifest: Path, as_json: bool) -> None:
    with progress_bar("moving back") as bar:
        done, left = move_back(manifest, progress=_shown_by(bar.update, bar.task_ids[0]))
    if as_json:
        print_json({"moved": done, "left": [asdict(one) for one in left]})
    else:
        note(f"moved {done:,} files back")
    _note_left(left)
    if left:
        raise typer.Exit(INCOMPLETE)


def _shown_by(update: Callable[..., None], task: TaskID) -> Callable[[int, int], None]:
    return lambda done, total: update(task, completed=done, total=total)


def _note_left(left: Sequence[LeftAlone]) -> None:
    for one in left:
        note(f"left alone: {one.source}: {one.reason}")


def _line(group: Group) -> Text:
    """The duplicates of a group, a line each."""
    lines = [cell(one.row.source) for one in group.duplicates[:_SHOWN]]
    if len(group.duplicates) > _SHOWN:
        lines.append(Text(f"and {len(group.duplicates) - _SHOWN:,} more"))
    return Text("\n").join(lines)
