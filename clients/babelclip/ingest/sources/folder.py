"""The images of a folder and of all folders below it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from babelclip.ingest.sources.base import Entry, path_fingerprint, path_name, read_path
from babelclip.search.folder import Found, Skipped, find_images


class FolderSource:
    """A folder as `babelclip.search.folder.find_images` looks through it; each image is named by its path.

    Raises:
        OSError: from `total` and `entries`: the folder cannot be listed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        exclude: Iterable[str] = (),
        exclude_defaults: bool = True,
        links: bool = True,
        name: str = "",
    ) -> None:
        self.folder = folder
        self._exclude = tuple(exclude)
        self._defaults = exclude_defaults
        self._links = links
        self._name = name
        self._listing: Found | None = None
        self._skipped: list[Skipped] = []

    @property
    def collection(self) -> str:
        """The name that was given, or the path of the folder."""
        return self._name or path_name(self.folder)

    def total(self) -> int | None:
        """How many images there are now."""
        self._listing = self._find()
        return len(self._listing.images)

    def entries(self) -> Iterator[Entry]:
        """By path; the size and the time of a file are its fingerprint."""
        listing, self._listing = self._listing or self._find(), None
        self._skipped = listing.skipped
        for path in listing.images:
            yield Entry(path_name(path), path_fingerprint(path), functools.partial(read_path, path))

    def skipped(self) -> Sequence[Skipped]:
        """The folders that could not be looked into."""
        return self._skipped

    def could_list(self, source: str) -> bool:
        """Whether it does not lie in a folder that could not be looked into."""
        return not any(source.startswith(path_name(Path(skip.path)) + "/") for skip in self._skipped)

    def _find(self) -> Found:
        return find_images(
            self.folder, exclude=self._exclude, exclude_defaults=self._defaults, links=self._links
        )
