"""Groups of duplicates as pages to look at, which open from the disk.

Each page is one file with its pictures in it, and runs nothing: its policy allows no script, no address and
no style but its own, and every text of an index is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from babelclip.atomic_files import replacing
from babelclip.dedup.groups import DuplicateGroups, Group, Match
from babelclip.index import Index, Row

GROUPS = 100
"""On a page; what is more stands on further ones, beside the first."""
_READ = 500  # thumbnails at once
_LARGEST = 1_000_000  # bytes of a thumbnail that is shown

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem auto; max-width: 80rem; padding: 0 1rem; }
section { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: 1rem 0; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 0 0 .6rem; }
ul { display: flex; flex-wrap: wrap; gap: 1rem; list-style: none; margin: 0; padding: 0; }
li { width: 13rem; overflow-wrap: anywhere; }
img, .none { display: block; width: 13rem; height: 13rem; object-fit: contain; }
img, .none { background: color-mix(in srgb, currentColor 8%, transparent); }
li:first-child img, li:first-child .none { outline: 3px solid #2e7d32; }
small { display: block; opacity: .8; } .leak { color: #c62828; font-weight: 600; }
nav a { margin-right: 1rem; }
"""


def write_pages(index: Index, found: DuplicateGroups, path: Path) -> list[Path]:
    """Write `path`, and where there are many groups NAME-2.html and so on beside it; returns all.

    Raises:
        OSError: a file cannot be written.
    """
    count = max(1, -(-len(found.groups) // GROUPS))
    paths = [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, count + 1))]
    for number, target in enumerate(paths):
        first = number * GROUPS
        groups = found.groups[first : first + GROUPS]
        text = "\n".join(_page(found, groups, first, _thumbnails(index, groups), paths, number))
        with replacing(target) as (partial,):
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return paths


def _thumbnails(index: Index, groups: Sequence[Group]) -> dict[str, bytes]:
    """By the ids of rows."""
    ids = [row.id for group in groups for row in (group.best, *(one.row for one in group.duplicates))]
    found: dict[str, bytes] = {}
    for begin in range(0, len(ids), _READ):
        for row in index.get(ids[begin : begin + _READ], columns=("thumbnail",)):
            if row is not None and 0 < len(row.thumbnail) <= _LARGEST:
                found[row.id] = row.thumbnail
    return found


def _page(
    found: DuplicateGroups,
    groups: Sequence[Group],
    first: int,
    thumbnails: Mapping[str, bytes],
    paths: Sequence[Path],
    number: int,
) -> Iterator[str]:
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    )
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width">\n<meta name="referrer" content="no-referrer">'
    yield f"<title>Duplicates</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>{len(found.groups):,} groups of duplicates among {found.rows:,} images</h1>"
    yield f"<p>{found.duplicates:,} images could go; the best of each group comes first.</p>"
    if found.splits:
        yield f'<p class="leak">{len(found.leaks):,} groups have images of more than one split.</p>'
    if len(paths) > 1:
        yield "<nav>" + "".join(_link(path, place, number) for place, path in enumerate(paths)) + "</nav>"
    for place, group in enumerate(groups, start=first + 1):
        yield from _section(place, group, thumbnails)
    yield "</body>\n</html>\n"


def _link(path: Path, place: int, current: int) -> str:
    if place == current:
        return f"<strong>{place + 1}</strong> "
    return f'<a href="{escape(quote(path.name))}">{place + 1}</a> '


def _section(place: int, group: Group, thumbnails: Mapping[str, bytes]) -> Iterator[str]:
    leak = f' <span class="leak">{_text(" and ".join(group.splits))}</span>' if len(group.splits) > 1 else ""
    yield f"<section>\n<h2>{place}. {group.kind}{leak}</h2>\n<ul>"
    yield _item(group.best, "best", group.split, thumbnails)
    for one in group.duplicates:
        yield _item(one.row, _how(one.match), one.split, thumbnails)
    yield "</ul>\n</section>"


def _item(row: Row, how: str, split: str, thumbnails: Mapping[str, bytes]) -> str:
    if row.id in thumbnails:
        data = base64.b64encode(thumbnails[row.id]).decode()
        picture = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    else:
        picture = '<span class="none"></span>'
    size = f"{row.width}×{row.height}, {row.size:,} bytes"
    of = f"<small>{_text(split)}</small>" if split else ""
    return f"<li>{picture}<small>{how}</small><small>{size}</small>{of}{_text(row.source)}</li>"


def _how(match: Match) -> str:
    words = [match.kind]
    if match.mirrored and match.kind == "near":
        words.append("mirrored")
    if match.agreement is not None and match.kind == "near":
        words.append(f"agreement {match.agreement:.2f}")
    if match.cosine is not None and match.kind == "semantic":
        words.append(f"cosine {match.cosine:.2f}")
    return ", ".join(words)


def _text(text: str) -> str:
    """A text of an index, escaped; what commands or turns the text around it is shown as a code."""
    return escape("".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text))
