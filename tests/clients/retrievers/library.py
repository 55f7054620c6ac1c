"""The same few images in an index of this process and in a gateway's collection, and a film's moment."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from babelclip import Client, SearchCalibration, Searcher
from babelclip.collections import AsyncCollectionClient, CollectionClient
from babelclip.index import Index, Row, Settings, create_index
from babelclip.testing import InMemoryTransport
from tests.gateway.collections.album import BROKEN, CALIBRATION, DIM, VECTORS, album, made, picture
from tests.gateway.front import Front

SPACE = CALIBRATION.space


def model() -> Client:
    """A client of hand-made vectors."""
    broken = ("image_undecodable", "the tower cannot read it")
    failing: dict[str | bytes, tuple[str, str]] = {"": ("text_too_long", "no"), BROKEN: broken}
    return Client("", transport=InMemoryTransport(dim=DIM, vectors=VECTORS, failing=failing))


def thumbnail(seed: int) -> bytes:
    """A small JPEG of a picture."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(picture(seed))).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def row(name: str, seed: int, **given: Any) -> Row:
    """A row of a picture, whose file lies where its source says, as a folder's do."""
    vector = np.asarray(VECTORS[picture(seed)], np.float32)
    details = {"thumbnail": thumbnail(seed), "width": 48, "height": 48, **given}
    return Row(id=name, vector=(vector / np.linalg.norm(vector)).astype(np.float32), **details)


@contextlib.contextmanager
def index(folder: Path) -> Iterator[Index]:
    """`beach`, `bathers` and `city`, as `album.made` has them."""
    for name, seed in (("beach", 1), ("bathers", 2), ("city", 3)):
        (folder / f"{name}.png").write_bytes(picture(seed))
    settings = Settings(space=SPACE, dim=DIM, version="1.0", fields={"album": "text"})
    with create_index(folder / "index", settings) as made:
        rows = [
            row("beach", 1, source=str(folder / "beach.png"), caption="a beach", metadata={"album": "sea"}),
            row("bathers", 2, source=str(folder / "bathers.png"), metadata={"album": "sea", "year": 2020}),
            row("city", 3, source=str(folder / "city.png"), metadata={"album": "land"}),
        ]
        made.upsert(rows, space=SPACE)
        yield made


@dataclass(frozen=True)
class Library:
    """What can be searched, each with the same images."""

    searcher: Searcher
    client: CollectionClient
    front: Front

    def awaited(self) -> AsyncCollectionClient:
        """The collection for an event loop, in which it is closed."""
        return AsyncCollectionClient(self.front.addresses.http, "shared", token=self.front.key)


@contextlib.contextmanager
def library(folder: Path) -> Iterator[Library]:
    """An index and a collection."""
    calibration = SearchCalibration(SPACE, text=CALIBRATION, image=CALIBRATION)
    with index(folder) as kept, model() as client, album(folder) as front:
        made(front, "shared")
        with CollectionClient(front.addresses.http, "shared", token=front.key) as collection:
            yield Library(Searcher(kept, client, calibration), collection, front)
