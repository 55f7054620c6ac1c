"""A tar in WebDataset's layout, read once from its beginning: NAME.jpg, NAME.txt, a caption, NAME.json, more.

It is read as a stream, so that it may lie anywhere. What is no tar to its end is an error and not the end:
Python's tarfile takes a broken header for it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from babelclip.client.calls import LARGEST_MESSAGE
from babelclip.errors import IMAGE_TOO_MANY_BYTES
from babelclip.ingest.metadata import clean_text
from babelclip.ingest.sources.webdataset import MOST_NOTES, caption_and_metadata, samples
from babelclip.search.folder import SUFFIXES
from batch.shards import Item, ShardError

_BLOCK = 512


def tar_items(file: BinaryIO, name: str) -> Iterator[Item]:
    """The images of a tar, called `name#MEMBER`; their metadata is the column `metadata`, as JSON.

    Raises:
        ShardError: the tar is broken, or cut off.
        OSError: it cannot be read.
    """
    watched = _LastBytes(file)
    try:
        with tarfile.open(fileobj=cast("Any", watched), mode="r|", bufsize=1 << 20) as archive:
            for sample in samples(archive):
                yield from _sample(name, [(one.name, _data(archive, one), one.size) for one in sample])
            _check_end(archive, watched, name)
    except (tarfile.TarError, EOFError) as error:
        raise ShardError(f"{name} is no tar to its end: {error}") from error


class _LastBytes:
    """A file that remembers the last block that was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int) -> bytes:
        found = self._file.read(size)
        self.last = (self.last + found)[-_BLOCK:]
        return found


def _check_end(archive: tarfile.TarFile, watched: _LastBytes, name: str) -> None:
    stream: Any = archive.fileobj
    while rest := stream.read(1 << 20):
        if rest.strip(b"\0"):
            raise ShardError(f"{name} is no tar to its end: a header after byte {archive.offset:,} is broken")
    if len(watched.last) < _BLOCK or watched.last.strip(b"\0"):
        raise ShardError(f"{name} lacks the mark at its end: it is cut off")


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    suffix = PurePosixPath(member.name).suffix.lower()
    most = MOST_NOTES if suffix in (".txt", ".json") else LARGEST_MESSAGE if suffix in SUFFIXES else -1
    if member.size > most:
        return b""
    stream = archive.extractfile(member)
    data = b"" if stream is None else stream.read()
    if len(data) != member.size:
        raise EOFError(f"{member.name} has {len(data):,} of its {member.size:,} bytes")
    return data


def _sample(name: str, members: list[tuple[str, bytes, int]]) -> Iterator[Item]:
    """The images of a sample, each with the sample's caption and metadata."""
    by_suffix = {PurePosixPath(member).suffix.lower(): data for member, data, _ in members}
    caption, metadata = caption_and_metadata(by_suffix)
    columns = {"metadata": json.dumps(metadata) if metadata else None}
    for member, data, size in members:
        if PurePosixPath(member).suffix.lower() not in SUFFIXES:
            continue
        code = message = ""
        if size > LARGEST_MESSAGE:
            code, message = IMAGE_TOO_MANY_BYTES, f"the image has {size:,} bytes"
        source = clean_text(f"{name}#{member}")
        yield Item(source, data, clean_text(caption), columns, code, message)
