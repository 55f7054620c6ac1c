"""A server in memory whose vectors tell which of the planted scenes a picture shows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from babelclip import Client
from babelclip.embeddings import Vectors
from babelclip.testing import InMemoryTransport
from tests.clients.video.films import scene

SCENES = 12
SMALL = (16, 9)


def small(picture: Image.Image) -> Vectors:
    """float32 [9, 16, 3] of a picture."""
    return np.asarray(picture.convert("RGB").resize(SMALL, Image.Resampling.BOX), dtype=np.float32)


class SceneTower(InMemoryTransport):
    """The text `scene 3` fits pictures of `scene(3)`, and no other; `images` counts what was embedded."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(dim=SCENES, **settings)
        self.images = 0
        self._scenes = [small(Image.fromarray(scene(number))) for number in range(SCENES)]

    def vector(self, item: str | bytes) -> Vectors:
        text = item.encode() if isinstance(item, str) else item
        if text.startswith(b"scene "):
            fit = np.eye(SCENES, dtype=np.float32)[int(text[6:])]
        else:
            if not text.startswith(b"\xff\xd8"):
                return super().vector(item)
            self.images += 1
            shown = small(Image.open(io.BytesIO(text)))
            far = np.array([np.abs(shown - one).mean() for one in self._scenes], dtype=np.float32)
            fit = np.exp(-far / 4)
        unit: Vectors = (fit / np.linalg.norm(fit)).astype(np.float32)
        return unit


def scene_client(tower: SceneTower | None = None) -> Client:
    """A client of such a server."""
    return Client("unused", transport=tower or SceneTower())
