"""WebDataset shards: tar files in which an image and its captions stand together under one name.

    00000.tar:  000000017.jpg  000000017.txt  [000000017.json]  000000018.jpg  …

`.txt` holds one caption, however many lines it has, as img2dataset writes it; where there is none, `caption`
of `.json` counts, a text or an array of them, and `language` beside it. CLIP_benchmark's shards have one
caption per line: `caption_lines`. Other members, like `.cls` or `.npy`, are ignored. A shard is gone
through once; where its images lie is then kept beside it in `<shard>.index.json`, so that examples can be
drawn in any order.
"""

import contextlib
import itertools
import json
import tarfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from models import outputs
from training.datasets.examples import Example, Examples, TarMember
from training.datasets.rows import LeftOut, checked_text, names_in, one_line
from training.datasets.shard_names import find

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
MAX_TEXT_BYTES = 1_000_000  # of a .txt or .json member
INDEX_VERSION = 2


@dataclass(frozen=True)
class Captions:
    """Where the captions of a sample are."""

    lines: bool = False  # one per line of .txt
    field: str | None = None  # of .json, in place of .txt
    language_field: str = "language"  # of .json


def read(
    pattern: str,
    *,
    language: str | None = None,
    caption_lines: bool = False,
    caption_field: str | None = None,
    language_field: str = "language",
    cache: bool = True,
    strict: bool = True,
) -> Examples:
    """The captioned images of all shards, keyed by the shard's name without .tar, "/" and the member's name.

    `pattern` as in `shard_names`. `language` is what captions are in whose .json does not say. Captions are
    in .txt, one or with `caption_lines` one per line, unless `caption_field` names where in .json they are.
    With `cache`, indexes are read and written beside the shards, where the folder allows it; a shard with
    anything left out gets none.

    Raises:
        DataError: no shard is there, two have one name, or strict and one is missing or broken or has a
            sample without an image or a caption.
    """
    left_out = LeftOut(strict=strict)
    form = Captions(caption_lines, caption_field, language_field)

    def examples() -> Iterator[Example]:
        for shard in find(pattern, left_out):
            for key, captions, spoken, offset, size in _rows(shard, form, left_out, cache=cache):
                image = TarMember(str(shard), offset, size)
                yield Example(f"{shard.stem}/{key}", tuple(captions), image, spoken or language)

    return Examples(examples(), left_out)


Row = tuple[str, list[str], str | None, int, int]  # key, captions, language, offset and size of the image


def _rows(shard: Path, form: Captions, left_out: LeftOut, *, cache: bool) -> list[Row]:
    """From the index, if there is one of this very file, else from the shard."""
    index = shard.with_name(f"{shard.name}.index.json")
    before = left_out.counts.total()
    rows: list[Row] = []
    try:
        status = shard.stat()
        stamp = [INDEX_VERSION, status.st_size, status.st_mtime_ns, *astuple(form)]
        if cache:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads(index.read_bytes())
                if found["stamp"] == stamp:
                    return [tuple(row) for row in found["rows"]]
        rows.extend(_scan(shard, form, left_out))
    except OSError as error:
        left_out.fault(str(shard), "unreadable shard", f"it cannot be read: {error.strerror}")
    if cache and left_out.counts.total() == before:
        # In a folder that is only to be read, the shard is gone through every time.
        with contextlib.suppress(OSError), outputs.replacing(index, shared=True) as partial:
            partial.write_text(json.dumps({"stamp": stamp, "rows": rows}), encoding="utf-8")
    return rows


def _scan(shard: Path, form: Captions, left_out: LeftOut) -> Iterator[Row]:
    """The samples of a shard; members of one sample follow one another."""
    seen: set[str] = set()
    with shard.open("rb") as file:
        for key, members in itertools.groupby(_members(shard, left_out), key=lambda member: member[0]):
            place = f"{shard}: {key}"
            parts = {kind: (offset, size) for _, kind, offset, size in members}
            image = next((parts[kind] for kind in IMAGES if kind in parts), None)
            if key in seen:
                left_out.fault(place, "repeated sample", "its members must follow one another, once in a tar")
                continue
            seen.add(key)
            if image is None:
                allowed = ", ".join(f".{kind}" for kind in IMAGES)
                left_out.fault(place, "sample without an image", f"it must have one of {allowed}")
                continue
            texts = {}
            for kind in ("txt", "json"):
                offset, size = parts.get(kind, (0, 0))
                file.seek(offset)
                texts[kind] = file.read(min(size, MAX_TEXT_BYTES + 1))
            captions, language, wrong = _captions(texts["txt"], texts["json"], form)
            if wrong:
                left_out.fault(place, "sample without a caption", wrong)
            else:
                yield key, captions, language, *image


def _members(shard: Path, left_out: LeftOut) -> Iterator[tuple[str, str, int, int]]:
    """(name up to the first dot of its last part, the rest in lower case, offset, size) of every file."""
    length = shard.stat().st_size
    before = -1
    try:
        with tarfile.open(shard, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # untyped; it would keep them all
                end = member.offset_data + member.size
                if tar.offset <= before or member.size < 0:  # it would be gone through for ever
                    raise tarfile.ReadError(f"the member {member.name!r} leads back")
                before = tar.offset
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    sentence = f"the member {member.name!r} must be an ordinary file"
                    left_out.fault(str(shard), "link or device in a tar", sentence)
                    continue
                if end > length:
                    raise tarfile.ReadError(f"it ends within the member {member.name!r}")
                folder, slash, name = member.name.rpartition("/")
                stem, _, kind = name.partition(".")
                if not stem:  # ._1.jpg, which macOS puts beside 1.jpg
                    left_out.passed_over("hidden file in a tar")
                    continue
                yield f"{folder}{slash}{stem}", kind.lower(), member.offset_data, member.size
            # tarfile takes a broken header for the end; a real end is a block of zeros.
            with shard.open("rb") as file:
                file.seek(tar.offset)
                if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                    raise tarfile.ReadError(f"there is neither a member nor the end at byte {tar.offset:,}")
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        sentence = f"it is no whole, uncompressed tar ({error})"
        left_out.fault(str(shard), "broken tar", sentence)


def _captions(text: bytes, about: bytes, form: Captions) -> tuple[list[str], str | None, str | None]:
    """(captions, language, None), or ([], None, what is wrong)."""
    if max(len(text), len(about)) > MAX_TEXT_BYTES:
        return [], None, f"its .txt and .json may have {MAX_TEXT_BYTES:,} bytes each"
    try:
        fields: Any = json.loads(about) if about else {}
        written = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        return [], None, "its .txt and .json must be UTF-8"
    except (ValueError, RecursionError) as error:
        return [], None, f"its .json is no JSON ({error})"
    if not isinstance(fields, dict):
        return [], None, "its .json must be an object of names and values"
    found: Any
    if form.field is None and written.strip():
        found = written.split("\n") if form.lines else [written]
    else:
        found = fields.get(form.field or "caption")
        found = found if isinstance(found, list) else [found]
    if not all(isinstance(one, str) for one in found):
        where = f"{form.field!r} of" if form.field else "in .txt, or 'caption' of"
        sentence = f"it must have a caption {where} .json, a text or an array of texts; {names_in(fields)}"
        return [], None, sentence
    captions = [checked_text(one_line(one), "caption") for one in found if one.strip()]
    wrong = next((wrong for _, wrong in captions if wrong), None if captions else "it has no caption")
    language = fields.get(form.language_field)
    return [caption for caption, _ in captions], language if isinstance(language, str) else None, wrong
