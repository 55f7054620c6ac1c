"""WebDataset shards: tar files in which an image and its captions stand together under one name.

    00000.tar:  000000017.jpg  000000017.txt  [000000017.json]  000000018.jpg  …

`.txt` holds one caption a line; where there is none, `caption` of `.json` counts, a text or an array of them,
and `language` beside it. Other members, like `.cls` or `.npy`, are not looked at. A shard is gone through
once; where its images lie is then kept beside it in `<shard>.index.json`, so that examples can be drawn in
any order.
"""

import contextlib
import itertools
import json
import math
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.datasets.examples import Example, Examples, TarMember
from training.datasets.rows import DataError, LeftOut, checked_text

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
MAX_TEXT_BYTES = 1_000_000  # of a .txt or .json member
MAX_SHARDS = 1_000_000
INDEX_VERSION = 1
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})", re.ASCII)


def expand(pattern: str) -> list[str]:
    """The names that a pattern with {000..012} or {train,val} stands for, in order.

    Raises:
        DataError: braces are unbalanced, a range runs backwards, or there would be over a million names.
    """
    parts: list[Sequence[str]] = []
    place = 0
    for braces in _BRACES.finditer(pattern):
        parts.append([pattern[place : braces.start()]])
        parts.append(_choices(braces[1], pattern))
        place = braces.end()
    parts.append([pattern[place:]])
    if any("{" in part[0] or "}" in part[0] for part in parts[::2]):
        raise DataError(f"{pattern}: braces must be like {{000..012}} or {{train,val}}, not within others")
    count = math.prod(len(part) for part in parts)
    if count > MAX_SHARDS:
        raise DataError(f"{pattern} stands for {count:,} names; at most {MAX_SHARDS:,} are allowed")
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def _choices(inner: str, pattern: str) -> Sequence[str]:
    found = _RANGE.fullmatch(inner)
    if found is None:
        return inner.split(",")
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise DataError(f"{pattern}: the range {inner} runs backwards")
    if last - first >= MAX_SHARDS:
        raise DataError(f"{pattern}: the range {inner} has more than {MAX_SHARDS:,} names")
    return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]


def read(pattern: str, *, language: str | None = None, cache: bool = True, strict: bool = True) -> Examples:
    """The captioned images of all shards, keyed by the shard's name without .tar, "/" and the member's name.

    `language` is what captions are in whose .json does not say. With `cache`, indexes are read and written
    beside the shards, where the folder allows it; a shard with anything left out gets none.

    Raises:
        DataError: a shard is missing, two have one name, or strict and one is broken or has a sample without
            an image or a caption.
    """
    left_out = LeftOut(strict=strict)
    shards = [Path(name) for name in expand(pattern)]
    names: dict[str, Path] = {}
    for shard in shards:
        if not shard.is_file():
            raise DataError(f"{shard} is missing")
        if names.setdefault(shard.stem, shard) != shard:
            raise DataError(f"{shard} has the same name as {names[shard.stem]}; keys would be ambiguous")

    def examples() -> Iterator[Example]:
        for shard in shards:
            for key, captions, spoken, offset, size in _rows(shard, left_out, cache=cache):
                image = TarMember(str(shard), offset, size)
                yield Example(f"{shard.stem}/{key}", tuple(captions), image, spoken or language)

    return Examples(examples(), left_out)


Row = tuple[str, list[str], str | None, int, int]  # key, captions, language, offset and size of the image


def _rows(shard: Path, left_out: LeftOut, *, cache: bool) -> list[Row]:
    """From the index, if there is one of this very file, else from the shard."""
    index = shard.with_name(f"{shard.name}.index.json")
    status = shard.stat()
    stamp = [INDEX_VERSION, status.st_size, status.st_mtime_ns]
    if cache:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(index.read_bytes())
            if found["stamp"] == stamp:
                return [tuple(row) for row in found["rows"]]
    before = left_out.counts.total()
    rows = list(_scan(shard, left_out))
    if cache and left_out.counts.total() == before:
        partial = index.with_name(f"{index.name}.{os.getpid()}.partial")
        with contextlib.suppress(OSError):  # a read-only folder: the shard is gone through every time
            partial.write_text(json.dumps({"stamp": stamp, "rows": rows}), encoding="utf-8")
            os.replace(partial, index)
    return rows


def _scan(shard: Path, left_out: LeftOut) -> Iterator[Row]:
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
            captions, language, wrong = _captions(texts["txt"], texts["json"])
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
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
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
                yield f"{folder}{slash}{stem}", kind.lower(), member.offset_data, member.size
            # tarfile takes a broken header for the end; a real end is a block of zeros.
            with shard.open("rb") as file:
                file.seek(tar.offset)
                if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                    raise tarfile.ReadError(f"there is neither a member nor the end at byte {tar.offset:,}")
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        sentence = f"it is no whole, uncompressed tar ({error})"
        left_out.fault(str(shard), "broken tar", sentence)


def _captions(text: bytes, about: bytes) -> tuple[list[str], str | None, str | None]:
    """(captions, language, None), or ([], None, what is wrong)."""
    if max(len(text), len(about)) > MAX_TEXT_BYTES:
        return [], None, f"its .txt and .json may have {MAX_TEXT_BYTES:,} bytes each"
    try:
        fields: Any = json.loads(about) if about else {}
        lines: Any = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        return [], None, "its .txt and .json must be UTF-8"
    except (ValueError, RecursionError) as error:
        return [], None, f"its .json is no JSON ({error})"
    if not isinstance(fields, dict):
        return [], None, "its .json must be an object of names and values"
    if not text.strip():
        found = fields.get("caption")
        lines = found if isinstance(found, list) else [found]
    if not all(isinstance(line, str) for line in lines):
        return [], None, "it must have a caption in .txt, or as text or an array of texts in .json"
    captions = [checked_text(line, "caption") for line in lines if line.strip()]
    wrong = next((wrong for _, wrong in captions if wrong), None if captions else "it has no caption")
    language = fields.get("language")
    return [caption for caption, _ in captions], language if isinstance(language, str) else None, wrong
