"""The vision tower: encoded images → vectors. Entry module of its MAR.

Images are decoded by `handlers.preprocess`, the preprocessing of training, in a pool of threads; while one
group goes through the tower, the images of the next are being decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from handlers.base import Handler
from handlers.batching import Array, Group, Notes
from handlers.config import VisionMeta
from handlers.errors import IMAGE_UNDECODABLE, INTERNAL, ItemFault
from handlers.incidents import report
from handlers.preprocess import Pixels, decode_image, supported_formats


class VisionHandler(Handler):
    """Program input: pixels uint8 [N, size, size, 3]; normalisation is inside the program."""

    tower = "vision"

    def load(self, folder: Path) -> None:
        """Nothing beyond the program; the decoders are loaded here and not by the first request."""
        if self.meta.vision is None:
            raise ValueError("meta.json lacks the section vision")
        self.vision: VisionMeta = self.meta.vision
        supported_formats()

    def examples(self, rows: int) -> Iterable[tuple[Array, ...]]:
        """Black images: the values do not matter, the shape does."""
        size = self.vision.size
        return [(np.zeros((rows, size, size, 3), dtype=np.uint8),)]

    def groups(self, payloads: Sequence[bytes | str], notes: Notes) -> Iterator[Group]:
        """Images in the order of the batch, at most `max_batch` together; none is ever cut."""
        pending = [self.pool.submit(self._decode, payload) for payload in payloads]
        members: list[int] = []
        images: list[Pixels] = []
        for position, future in enumerate(pending):
            decoded = future.result()
            if isinstance(decoded, ItemFault):
                notes.failed[position] = decoded
                continue
            members.append(position)
            images.append(decoded)
            if len(members) == self.settings.max_batch:
                yield self._group(members, images)
                members, images = [], []
        if members:
            yield self._group(members, images)

    @staticmethod
    def _group(members: list[int], images: list[Pixels]) -> Group:
        return Group(positions=members, arrays=(np.stack(images),), used=len(members), slots=len(members))

    def _decode(self, payload: bytes | str) -> Pixels | ItemFault:
        if isinstance(payload, str):
            return ItemFault(IMAGE_UNDECODABLE, "a text was sent where an encoded image is due")
        try:
            return decode_image(
                payload,
                size=self.vision.size,
                max_pixels=self.settings.max_pixels,
                max_bytes=self.settings.max_image_bytes,
            )
        except ItemFault as fault:
            return fault
        except Exception as error:
            return ItemFault(INTERNAL, report("decoding", error))
