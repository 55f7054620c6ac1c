"""What a source of images is: named entries, each read only when it is its turn."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from babelclip.client.calls import LARGEST_MESSAGE
from babelclip.client.items import image_item
from babelclip.errors import BabelclipError
from babelclip.item_errors import ItemError
from babelclip.search.folder import Skipped

_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


class EntryUnreadable(BabelclipError):
    """An entry has no bytes: `code` is a word for programs, `message` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, eq=False)
class Entry:
    """An image that a source has.

    Attributes:
        source: its name, by which its row is known; the same in every run.
        fingerprint: another one when the image, its caption or its metadata is another.
        read: gives the encoded image; may be called from any thread, once or several times. It raises
            EntryUnreadable where there is none.
        caption, metadata: what came with it.
    """

    source: str
    fingerprint: str
    read: Callable[[], bytes]
    caption: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """Images that are added together; `collection` is the name of all of them."""

    @property
    def collection(self) -> str:
        """Of the rows: what was added under this name before and is not listed any more is dropped."""
        ...

    def total(self) -> int | None:
        """How many entries there are to be; None where it shows only at the end."""
        ...

    def entries(self) -> Iterator[Entry]:
        """All entries, in the same order in every run, as far as nothing has changed.

        Raises:
            OSError, ValueError: the source cannot be listed at all; nothing is dropped then.
        """
        ...

    def skipped(self) -> Sequence[Skipped]:
        """What could not be listed, once `entries` is at its end."""
        ...

    def could_list(self, source: str) -> bool:
        """Whether an entry of this name would have been listed, so that it is gone if it was not."""
        ...


def path_name(path: Path) -> str:
    """A path as the source of a row: from the root; bytes that are no text as `\\xff`."""
    return os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")


def named_path(name: str) -> Path:
    """The path that `path_name` made this of."""
    path = Path(name)
    if "\\x" not in name or path.exists():
        return path
    encoded = _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), name)
    return Path(os.fsdecode(encoded.encode("utf-8", "surrogateescape")))


def read_path(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        EntryUnreadable: `unreadable_file` or `image_too_many_bytes`.
    """
    found = image_item(0, path, LARGEST_MESSAGE)
    if isinstance(found, ItemError):
        raise EntryUnreadable(found.code, found.message)
    return found


def fingerprint_of(caption: str, metadata: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that change when a caption or metadata do."""
    text = json.dumps([caption, dict(metadata)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def path_fingerprint(path: Path) -> str:
    """Size and time of a file: another of either is another image. Empty where it cannot be asked."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"
