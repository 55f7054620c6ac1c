"""A decoded frame, and the pictures that are made of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL import Image

Pixels = NDArray[np.uint8]

TINY_WIDTH, TINY_HEIGHT = 32, 18
QUALITY = 92  # of JPEGs: what a vision tower gives of them is what it gives of the pixels
THUMBNAIL_SIDE = 320


class Frame:
    """A frame at its time. It holds the decoder's memory, so keep the pictures made of it, not the frame.

    Attributes:
        time: seconds from the beginning of the film.
        decoded: the frame as PyAV gives it.
    """

    def __init__(
        self,
        time: float,
        decoded: VideoFrame,
        aspect: float = 1.0,
        matrix: Sequence[int] | None = None,
    ) -> None:
        """`aspect` is how much wider than high a pixel is, `matrix` how the frame is laid, see `upright`."""
        self.time = time
        self.decoded = decoded
        self._aspect = aspect
        self._matrix = matrix

    def tiny(self) -> NDArray[np.float32]:
        """float32 [18, 32, 3], RGB from 0 to 255: what frames are compared by, cheap to make and to hold."""
        small = self.decoded.reformat(TINY_WIDTH, TINY_HEIGHT, format="rgb24", interpolation="AREA")
        return small.to_ndarray().astype(np.float32)

    def picture(self, shortest_side: int) -> Image.Image:
        """The frame upright, in its true proportions, in RGB, no larger than it is.

        Of an interlaced frame only one of its two fields is used: what moves stands twice in both.

        Args:
            shortest_side: pixels of the shorter side at most.
        """
        from PIL import Image

        width, height = self.decoded.width, self.decoded.height
        shown = (max(1, round(width * self._aspect)), height)
        scale = min(1.0, shortest_side / min(shown))
        size = (max(1, round(shown[0] * scale)), max(1, round(shown[1] * scale)))
        if self.decoded.interlaced_frame and height > 1:
            field = np.ascontiguousarray(self.decoded.to_ndarray(format="rgb24")[::2])
            pixels = np.asarray(Image.fromarray(field).resize(size, Image.Resampling.BICUBIC))
        else:
            pixels = self.decoded.reformat(*size, format="rgb24").to_ndarray()
        return Image.fromarray(np.ascontiguousarray(upright(pixels, self._matrix)))


def display_matrix(decoded: VideoFrame) -> Sequence[int] | None:
    """How a frame is laid, for `upright`; None for as it is.

    A frame that was asked holds itself in a circle until Python's garbage collector comes by, which it does
    by the number of objects, not by their size: so ask one frame, not each.
    """
    side_data: Any = decoded.side_data
    found = side_data.get("DISPLAYMATRIX")
    return None if found is None else np.frombuffer(bytes(found), dtype=np.int32).tolist()


def upright(pixels: Pixels, matrix: Sequence[int] | None) -> Pixels:
    """Pixels [H, W, 3] as a display matrix has them shown: turned by quarters, and mirrored.

    Args:
        matrix: nine numbers a b u c d v x y w, a pixel (x, y) is shown at (ax + cy, bx + dy); None for as is.
    """
    if matrix is None or len(matrix) != 9:
        return pixels
    a, b, _, c, d = matrix[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def encoded(picture: Image.Image) -> bytes:
    """A picture as a JPEG, with its colours at full resolution."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def thumbnail(picture: Image.Image) -> bytes:
    """A small JPEG of a picture."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
