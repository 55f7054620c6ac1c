"""What embeds: the archives of a model store in this process, or a served model.

A vector of an archive depends on its batch alone, and so on nothing that another machine or another number of
processes would change: every pass has the same rows and the same number of threads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from babelclip import Client
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.embeddings import Embeddings
from babelclip.errors import DEADLINE_EXCEEDED, OVERLOADED, Unavailable
from babelclip.model_store.archives import check_archive, read_pair
from babelclip.model_store.manifest import read_manifest
from babelclip.transports.base import Call
from babelclip.transports.inprocess import InProcessTransport
from babelclip.transports.url import LOCAL, is_local
from babelclip.wire import EmbedResult, Tower, encode, parse_response

_DAY = 86_400.0
_TIMEOUT = 120.0  # seconds without an answer of a served model


@dataclass(frozen=True)
class Identity:
    """Whose vectors they are: `archive` is the SHA-256 of the tower's archive, empty of a served model."""

    space: str
    version: str
    dim: int
    archive: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same, by name."""
        return asdict(self)


class Embedder(Protocol):
    """A tower that is loaded."""

    def embed(self, items: Sequence[bytes]) -> Embeddings:
        """Texts in UTF-8 or encoded images → their vectors; items that cannot be embedded are in `errors`.

        Raises:
            BabelclipError: there was no answer.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Model(Protocol):
    """Says what it is and opens a tower, in whichever process it was sent to."""

    def identity(self, tower: Tower) -> Identity:
        """What the vectors are to be of.

        Raises:
            BabelclipError, OSError, ValueError: there is no such model.
        """
        ...

    def open(self, tower: Tower, identity: Identity, threads: int) -> Embedder:
        """The tower, loaded; `threads` are those of its passes.

        Raises:
            BabelclipError, OSError, ImportError: it cannot be loaded, or is of another identity.
        """
        ...


def model_of(url: str, token_file: str | None = None) -> Model:
    """Of an address: `mar:FOLDER`, `mar:FOLDER#NAME`, or a server's."""
    if not is_local(url):
        return ServedModel(url, token_file)
    store, _, name = url.removeprefix(LOCAL).partition("#")
    if not store:
        raise ValueError(f"{url!r} names no model store; write {LOCAL} and its folder")
    return StoreModel(os.path.abspath(store), name or None)


@dataclass(frozen=True)
class StoreModel:
    """An entry of a model store."""

    store: str
    name: str | None = None

    def identity(self, tower: Tower) -> Identity:
        """See `Model`. The archive is read once, to be what the store's manifest says."""
        archive = read_pair(Path(self.store), self.name).archives[tower]
        check_archive(archive)
        entry = read_manifest(Path(self.store)).named(self.name)
        dim = len(entry.towers[tower].vector)
        return Identity(entry.space, entry.version, dim, archive.sha256)

    def open(self, tower: Tower, identity: Identity, threads: int) -> Embedder:
        """See `Model`."""
        transport = InProcessTransport(self.store, self.name, threads=threads)
        found = _InProcess(transport, tower, identity.space)
        with _archives_handlers():
            found.check()
        return found


class _InProcess:
    """Each call is one message, whatever its size, and without a deadline: nothing is cut by time."""

    def __init__(self, transport: InProcessTransport, tower: Tower, space: str) -> None:
        self._transport, self._tower, self._space = transport, tower, space

    def check(self) -> None:
        """Loads the tower, which must give the vector that it gave when it was exported."""
        self._answer(EmbedRequest(canary=True, space=self._space).SerializeToString(), 1)

    def embed(self, items: Sequence[bytes]) -> Embeddings:
        found = self._answer(encode(self._tower, items, self._space), len(items))
        return Embeddings(found.vectors, found.space, found.logit_scale, found.errors, version=found.version)

    def close(self) -> None:
        self._transport.close()

    def _answer(self, body: bytes, count: int) -> EmbedResult:
        call = Call(model=self._tower, version=None, body=body, token=None, timeout=_DAY)
        return parse_response(self._transport.send(call), count)


@dataclass(frozen=True)
class ServedModel:
    """A model behind an address."""

    url: str
    token_file: str | None = None

    def identity(self, tower: Tower) -> Identity:
        """See `Model`. Both towers are asked for a canary."""
        with Client(self.url, token_file=self.token_file, timeout=_TIMEOUT) as client:
            space = client.health(towers=(tower,))
            dim = client.embed_texts(["babelclip"]).dim
            return Identity(space, client.version or "", dim)

    def open(self, tower: Tower, identity: Identity, threads: int) -> Embedder:
        """See `Model`; pinned to the space and the version."""
        client = Client(
            self.url,
            token_file=self.token_file,
            timeout=_TIMEOUT,
            space=identity.space,
            version=identity.version or None,
        )
        return _Served(client, tower)


class _Served:
    def __init__(self, client: Client, tower: Tower) -> None:
        self._client, self._tower = client, tower

    def embed(self, items: Sequence[bytes]) -> Embeddings:
        if self._tower == "text":
            found = self._client.embed_texts([item.decode() for item in items], errors="return")
        else:
            found = self._client.embed_images(items, errors="return")
        late = next((one for one in found.errors if one.code in (OVERLOADED, DEADLINE_EXCEEDED)), None)
        if late is not None:  # Not the item's fault: the shard is tried again, and nothing is written.
            raise Unavailable(f"the server had no time for all items: {late.message}")
        return found

    def close(self) -> None:
        self._client.close()


@contextmanager
def _archives_handlers() -> Iterator[None]:
    """While a tower is loaded, no other package `handlers` is found than the one that its archive brings.

    The repository's, which stands beside this one, may be newer, and then the archive would be refused.
    """
    before = list(sys.path)
    if "handlers" not in sys.modules:
        sys.path[:] = [one for one in before if not os.path.isdir(os.path.join(one or os.curdir, "handlers"))]
    try:
        yield
    finally:
        sys.path[:] = before
