"""A gateway before hand-made vectors whose scores are known, and what tests of its scores call."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from babelclip import Calibration
from babelclip.testing import InMemoryTransport
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

SCALE = 10.0

CAT, DOG, CAR = b"a picture of a cat", b"a picture of a dog", b"a picture of a car"

BROKEN = b"no picture"

CALIBRATION = Calibration("in-memory", slope=20.0, offset=-10.0, pairs=100)

VECTORS: dict[str | bytes, list[float]] = {
    "cat": [1.0, 0.0, 0.0],
    "a photo of a cat": [1.0, 0.2, 0.0],
    "the cat": [1.0, -0.2, 0.0],
    "dog": [0.0, 1.0, 0.0],
    "a photo of a dog": [0.2, 1.0, 0.0],
    "the dog": [-0.2, 1.0, 0.0],
    CAT: [1.0, 0.1, 0.0],
    DOG: [0.1, 1.0, 0.0],
    CAR: [0.2, 0.1, 1.0],
}


def image(data: bytes) -> dict[str, str]:
    """An image as the calls take it."""
    return {"image": base64.b64encode(data).decode()}


def unit(item: str | bytes) -> np.ndarray:
    """Its vector, of length 1."""
    vector = np.array(VECTORS[item])
    scaled: np.ndarray = vector / np.linalg.norm(vector)
    return scaled


def engine() -> Engine:
    """Two versions of the vectors above, of which one has a calibration."""
    failing: dict[str | bytes, tuple[str, str]] = {
        BROKEN: ("image_undecodable", "it is broken"),
        "poison": ("text_too_long", "it is too long"),
    }
    made = [
        InMemoryTransport(
            dim=3,
            logit_scale=SCALE,
            vectors=VECTORS,
            failing=failing,
            unknown=["ⴰⵣⵓⵍ"],
            space=space,
            version=version,
        )
        for space, version in (("in-memory", "1.0"), ("new", "2.0"))
    ]
    return Engine(*made)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before two versions; no test of this file changes them."""
    folder = tmp_path_factory.mktemp("front")
    CALIBRATION.save(folder / "calibration.json")
    given = {"calibrations": (str(folder / "calibration.json"),), "max_items": 200}
    with gateway(engine(), folder, **given) as front:
        yield front


def answered(front: Front, path: str, **body: Any) -> Any:
    """The answer to a call that must succeed."""
    answer = front.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def embedded(front: Front) -> list[str]:
    """How many items were embedded, as the metrics have it."""
    lines = httpx.get(front.addresses.metrics).text.splitlines()
    return [line for line in lines if line.startswith("babelclip_gateway_items_total")]


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of a call that must fail, in OpenAI's form."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    return str(error["message"])
