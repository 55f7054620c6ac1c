"""A gateway with collections before hand-made vectors: pictures that differ, and texts near them."""

import base64
import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from babelclip import Calibration
from babelclip.testing import InMemoryTransport
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

DIM = 8
BEACH, PEOPLE, CITY = 0, 1, 2
CALIBRATION = Calibration("in-memory", slope=20.0, offset=-10.0, pairs=100)


@functools.cache
def picture(seed: int, kind: str = "PNG", size: int = 48) -> bytes:
    """A picture of coarse noise; pictures of different seeds do not look alike."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.NEAREST).save(stream, kind)
    return stream.getvalue()


def encoded(data: bytes) -> str:
    """As the calls take it."""
    return base64.b64encode(data).decode()


def direction(**parts: float) -> list[float]:
    """A vector with parts of the axes of BEACH, PEOPLE and CITY."""
    vector = [0.0] * DIM
    for name, part in parts.items():
        vector[{"beach": BEACH, "people": PEOPLE, "city": CITY}[name]] = part
    return vector


VECTORS: dict[str | bytes, Any] = {
    "beach": direction(beach=1),
    "plage": direction(beach=1),
    "people": direction(people=1),
    "city": direction(city=1),
    picture(1): direction(beach=1, people=0.1),
    picture(2): direction(beach=0.8, people=0.6),
    picture(3): direction(city=1),
    picture(4): direction(beach=1, people=0.11),
}
BROKEN = picture(5)


def engine(*versions: tuple[str, str]) -> Engine:
    """Versions (name, space) of these vectors."""
    made = [
        InMemoryTransport(
            dim=DIM,
            vectors=VECTORS,
            failing={BROKEN: ("image_undecodable", "the tower cannot read it")},
            version=name,
            space=space,
        )
        for name, space in versions or (("1.0", "in-memory"),)
    ]
    return Engine(*made)


@contextlib.contextmanager
def album(folder: Path, served: Engine | None = None, **settings: Any) -> Iterator[Front]:
    """A gateway that keeps collections in the folder."""
    CALIBRATION.save(folder / "calibration.json")
    given = {
        "collections": str(folder / "collections"),
        "calibrations": (str(folder / "calibration.json"),),
        **settings,
    }
    with gateway(served or engine(), folder, **given) as front:
        yield front


def call(front: Front, method: str, path: str, key: str = "", **sent: Any) -> httpx.Response:
    """One call on collections with a key."""
    headers = {"authorization": f"Bearer {key or front.key}", **sent.pop("headers", {})}
    address = path if path.startswith("/v1/") else f"/v1/collections{path}"
    return httpx.request(method, f"{front.addresses.http}{address}", headers=headers, timeout=60, **sent)


def told(answer: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an answer that must be this error."""
    error = told(answer, status)["error"]
    assert error["code"] == code, error
    return str(error["message"])


def made(front: Front, name: str, **body: Any) -> None:
    """A new collection with pictures 1 to 3: `beach`, `bathers` and `city`."""
    told(call(front, "POST", "", json={"name": name, "fields": {"album": "text"}, **body}), 201)
    items = [
        {"id": "beach", "image": encoded(picture(1)), "caption": "a beach", "metadata": {"album": "sea"}},
        {"id": "bathers", "image": encoded(picture(2)), "metadata": {"album": "sea", "year": 2020}},
        {"id": "city", "image": encoded(picture(3)), "metadata": {"album": "land"}},
    ]
    outcomes = told(call(front, "POST", f"/{name}/items", json={"items": items}))["items"]
    assert [one["status"] for one in outcomes] == ["added"] * 3, outcomes


def ids(answer: Any) -> list[str]:
    """Of the hits of a search."""
    return [hit["id"] for hit in answer["hits"]]
