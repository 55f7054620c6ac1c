"""The self-test of a tower: one input with the vector that its exported program gives.

It is written into the archive and the manifest, under the key `canary`. A server is ready when each of its
towers gives that vector again.
"""

import base64
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from export.golden import encode, picture
from export.parity import text_arrays
from export.programs import Program
from handlers.preprocess.reference import decode_image
from models.checkpoint import Checkpoint

TEXT = "a red heart"
MIN_COSINE = 0.99  # loose enough for another dtype or device, far from another model's vectors


class SelfTest(TypedDict):
    """As it stands in the files."""

    input: str
    """A text, or an encoded image as base64."""
    vector: str
    """Base64 of little-endian float32."""


def image() -> bytes:
    """The PNG that vision towers embed."""
    return encode(picture(7, 64, 64), "PNG")


@torch.inference_mode()
def make(loaded: Checkpoint, tower: str, program: Program) -> SelfTest:
    """The self-test of a tower, its vector computed by the exported program."""
    config = loaded.model.config
    if tower == "text":
        arrays = text_arrays(
            loaded.tokenizer,
            [TEXT],
            length=None,
            max_tokens=config.text.max_tokens,
            pad_id=config.text.pad_id,
        )
        return {"input": TEXT, "vector": _base64_of(np.asarray(program(*arrays))[0])}
    encoded = image()
    vision = config.vision
    pixels = decode_image(
        encoded, size=vision.size, resize=vision.resize, max_pixels=10_000, max_bytes=1_000_000
    )
    vector = np.asarray(program(torch.from_numpy(pixels)[None]))[0]
    return {"input": base64.b64encode(encoded).decode(), "vector": _base64_of(vector)}


def _base64_of(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
