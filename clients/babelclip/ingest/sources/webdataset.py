"""Tar shards in WebDataset's layout: NAME.jpg, and beside it NAME.txt, a caption, or NAME.json with more."""

from __future__ import annotations

import functools
import glob
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from babelclip.client.calls import LARGEST_MESSAGE
from babelclip.errors import IMAGE_TOO_MANY_BYTES, UNREADABLE_FILE
from babelclip.ingest.sources.base import Entry, EntryUnreadable, fingerprint_of, path_fingerprint, path_name
from babelclip.ingest.sources.ranges import numbered
from babelclip.search.folder import SUFFIXES, Skipped

MOST_NOTES = 1_000_000
"""Bytes of a caption or of metadata; larger ones are not read."""


class WebDatasetSource:
    """Shards by a path with `{00000..00099}` or `*`; images are named `SHARD.tar#MEMBER`.

    Shards are read where they lie, so they must not be compressed.

    Raises:
        ValueError: there are no such files.
    """

    def __init__(self, shards: str, *, name: str = "") -> None:
        self._shards = expanded(shards)
        if not self._shards:
            raise ValueError(f"there are no files {shards}")
        self._name = name or (path_name(self._shards[0]) if len(self._shards) == 1 else shards)
        self._skipped: list[Skipped] = []

    @property
    def collection(self) -> str:
        """The name that was given, or the path."""
        return self._name

    def total(self) -> int | None:
        """It shows at the end."""
        return None

    def entries(self) -> Iterator[Entry]:
        """By shard, as they lie in it."""
        self._skipped = []
        for shard in self._shards:
            try:
                yield from _entries(shard)
            except (OSError, tarfile.TarError, ValueError) as error:
                message = f"the shard cannot be read to its end: {error}"
                self._skipped.append(Skipped(path_name(shard), UNREADABLE_FILE, message))

    def skipped(self) -> Sequence[Skipped]:
        """The shards that are broken."""
        return self._skipped

    def could_list(self, source: str) -> bool:
        """Whether it is not of a broken shard."""
        return not any(source.startswith(skip.path + "#") for skip in self._skipped)


def expanded(shards: str) -> list[Path]:
    """`a-{000..002}.tar` → three paths, of those that are there; `*` and `?` as a shell has them."""
    return [Path(one) for place in numbered(shards) for one in sorted(glob.glob(place))]


def read_member(shard: Path, member: str) -> bytes:
    """The bytes of a member of a shard.

    Raises:
        EntryUnreadable: it is not there, or too large.
    """
    try:
        with tarfile.open(shard, "r:") as archive:
            found = archive.getmember(member)
            return _read(shard, found.offset_data, found.size)
    except (OSError, tarfile.TarError, KeyError) as error:
        raise EntryUnreadable(UNREADABLE_FILE, f"cannot read {member} of {shard}: {error}") from error


def samples(archive: tarfile.TarFile) -> Iterator[Iterator[tarfile.TarInfo]]:
    """The files of a tar by sample, as they lie in it; each sample is to be taken before the next one."""
    for _, members in groupby(_files(archive), lambda member: _key(member.name)):
        yield members


def caption_and_metadata(notes: Mapping[str, bytes]) -> tuple[str, dict[str, Any]]:
    """Of a sample: what its `.txt` holds, or else says `caption` or `text` in its `.json`, and all of that.

    Args:
        notes: the bytes of these files by suffix, as far as they are there.
    """
    caption = notes.get(".txt", b"").decode("utf-8", "replace").strip()
    metadata = _object(notes.get(".json", b""))
    if not caption:
        caption = next((v for key in ("caption", "text") if isinstance(v := metadata.get(key), str)), "")
    return caption, metadata


def _files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # Else it keeps them all.
        if member.isfile():
            yield member


def _entries(shard: Path) -> Iterator[Entry]:
    with tarfile.open(shard, "r:") as archive:
        for sample in samples(archive):
            yield from _sample(shard, archive, list(sample))


def _sample(shard: Path, archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> Iterator[Entry]:
    """The images of a sample, each with the sample's caption and metadata."""
    notes: dict[str, bytes] = {}
    for member in members:
        suffix = Path(member.name).suffix.lower()
        if suffix in (".txt", ".json") and member.size <= MOST_NOTES:
            stream = archive.extractfile(member)
            notes[suffix] = b"" if stream is None else stream.read()
    caption, metadata = caption_and_metadata(notes)
    for member in members:
        if Path(member.name).suffix.lower() in SUFFIXES:
            notes_print = fingerprint_of(caption, metadata)
            yield Entry(
                f"{path_name(shard)}#{member.name}",
                f"{path_fingerprint(shard)}-{member.offset_data}-{notes_print}",
                functools.partial(_read, shard, member.offset_data, member.size),
                caption,
                metadata,
            )


def _read(shard: Path, offset: int, size: int) -> bytes:
    if size > LARGEST_MESSAGE:
        raise EntryUnreadable(IMAGE_TOO_MANY_BYTES, f"the image has {size:,} bytes")
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _key(member: str) -> str:
    """WebDataset's: up to the first dot of the name."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
