"""Paths and addresses: local files, object stores by fsspec, and the Web where a host was allowed."""

from __future__ import annotations

import glob
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, cast

import httpx
import yarl

from babelclip.fetching import Hosts
from babelclip.ingest.sources.addresses import AddressReader, is_web_address, not_allowed
from babelclip.ingest.sources.base import named_path, read_path
from babelclip.ingest.sources.object_store import is_store, read_object
from babelclip.ingest.sources.ranges import numbered

_SECONDS = 60.0  # without a byte


class Places:
    """Opens what a path or an address names. Use as a context; may be used by several threads.

    Args:
        hosts: of the Web, those that may be asked, as `babelclip.fetching.Hosts` has them.

    Raises:
        ValueError: an entry is no host.
    """

    def __init__(self, hosts: Sequence[str] = ()) -> None:
        self._names = tuple(hosts)
        self._hosts = Hosts(hosts)
        self._open = ExitStack()
        self._images: AddressReader | None = None
        if hosts:
            self._images = self._open.enter_context(AddressReader(self._names))

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *raised: object) -> None:
        self._open.close()

    @contextmanager
    def reading(self, place: str) -> Iterator[BinaryIO]:
        """A file to read from its beginning to its end.

        Raises:
            OSError: it cannot be read, or its host may not be asked.
            ImportError: the package for the store is not installed.
        """
        if is_web_address(place):
            with self._response(place) as response:
                yield cast("BinaryIO", io.BufferedReader(_Body(response), 1 << 20))
        elif is_store(place):
            system, path = file_system(place)
            with system.open(path, "rb", block_size=8 << 20) as file:
                yield file
        else:
            with open(place, "rb") as file:
                yield file

    @contextmanager
    def seeking(self, place: str) -> Iterator[BinaryIO]:
        """A file to read anywhere; what lies on the Web is copied to the disk first.

        Raises:
            OSError, ImportError: as `reading`.
        """
        if not is_web_address(place):
            with self.reading(place) as file:
                yield file
            return
        with tempfile.TemporaryFile(prefix="babelclip-") as copy:
            with self.reading(place) as file:
                shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            yield cast("BinaryIO", copy)

    def size(self, place: str) -> int:
        """Bytes of a file; -1 where nobody says.

        Raises:
            OSError: there is none.
        """
        if is_web_address(place):
            with self._response(place) as response:
                return int(response.headers.get("content-length", -1))
        if is_store(place):
            system, path = file_system(place)
            return int(system.size(path) or -1)
        return os.stat(place).st_size

    def image(self, place: str) -> bytes:
        """The encoded image at a path or an address.

        Raises:
            EntryUnreadable: there is none.
        """
        if is_web_address(place):
            return (self._images or not_allowed)(place)
        return read_object(place) if is_store(place) else read_path(named_path(place))

    @contextmanager
    def _response(self, place: str) -> Iterator[httpx.Response]:
        url = yarl.URL(place)
        if url not in self._hosts:
            raise OSError(f"{url.host} may not be asked: allow it with --allow-host {url.host}")
        try:
            # No redirects: they would lead to hosts that nobody named.
            with httpx.stream("GET", place, timeout=_SECONDS) as response:
                if response.status_code != 200:
                    raise OSError(f"{place} answered with status {response.status_code}")
                yield response
        except httpx.HTTPError as error:
            raise OSError(f"{place} cannot be read: {error or type(error).__name__}") from error


class _Body(io.RawIOBase):
    """The body of a response as a file."""

    def __init__(self, response: httpx.Response) -> None:
        self._pieces = response.iter_raw(1 << 20)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            try:
                self._rest = next(self._pieces, b"")
            except httpx.HTTPError as error:
                raise OSError(f"the answer broke off: {error or type(error).__name__}") from error
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def file_system(place: str, **options: Any) -> tuple[Any, str]:
    """Of fsspec with its options, for an address of an object store, and the path in it.

    Raises:
        ImportError: fsspec, or the package for the store, is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError("object stores need fsspec: install the dependency group search") from error
    system, path = url_to_fs(place, **options)
    return system, str(path)


def expand(place: str) -> Iterator[str]:
    """`a-{000..002}.tar` → three; `*` and `?` as a shell has them, sorted; not on the Web.

    Raises:
        ValueError: the range is none, or too long.
    """
    for one in numbered(place):
        yield from _matching(one)


def _matching(place: str) -> Iterator[str]:
    if not any(mark in place for mark in "*?[") or is_web_address(place) or os.path.lexists(place):
        yield place
    elif is_store(place):
        system, path = file_system(place)
        yield from (str(system.unstrip_protocol(one)) for one in sorted(system.glob(path)))
    else:
        yield from sorted(glob.glob(place))
