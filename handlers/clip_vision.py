"""The vision tower: encoded images → vectors. Entry module of its MAR.

Images are decoded in a pool of threads; while one group goes through the tower, the images of the next are
being decoded. On an accelerator a batch is divided in two, so that this happens in every batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from handlers.base import Handler
from handlers.batching import Array, Group, PreprocessResult
from handlers.config import VisionMeta
from handlers.deadline import Deadline, DeadlineExceeded
from handlers.errors import IMAGE_UNDECODABLE, INTERNAL, ItemError
from handlers.incidents import log_incident
from handlers.limits import BYTES_PER_PIXEL
from handlers.preprocess.fast import decode_fast, prepare_thread
from handlers.preprocess.image_files import supported_formats
from handlers.preprocess.memory import Memory
from handlers.preprocess.reference import Pixels
from handlers.protocol.items import RawItem


class VisionHandler(Handler):
    """Program input: pixels uint8 [N, size, size, 3]; normalisation is inside the program."""

    tower = "vision"
    varied_lengths = False

    def load(self, folder: Path) -> None:
        """Start the threads that decode, and load the decoders, so that the first request need not."""
        if self.meta.vision is None:
            raise ValueError("meta.json lacks the section vision")
        self.vision: VisionMeta = self.meta.vision
        supported_formats()
        # All threads together have as much as the most demanding image that is allowed.
        self.memory = Memory(BYTES_PER_PIXEL * self.settings.max_pixels)
        self.pool = ThreadPoolExecutor(
            self.settings.decode_threads or self.threads,
            thread_name_prefix="decode",
            initializer=prepare_thread,
        )

    def examples(self, rows: int) -> Iterable[tuple[Array, ...]]:
        """Black images: the values do not matter, the shape does."""
        size = self.vision.size
        return [(np.zeros((rows, size, size, 3), dtype=np.uint8),)]

    def groups(
        self, payloads: Sequence[RawItem], result: PreprocessResult, deadline: Deadline
    ) -> Generator[Group, None, None]:
        """Images in their order, at most `max_batch` together, at least two groups where that pays."""
        # Two groups ahead keep the threads busy during a pass; more would only hold pixels in memory.
        ahead = 2 * self.settings.max_batch
        pending = deque(self.pool.submit(self._timed, payload) for payload in payloads[:ahead])
        rows = self.runner.group_rows(len(payloads))
        members: list[int] = []
        images: list[Pixels] = []
        try:
            for position in range(len(payloads)):
                # The first image has all of the worker's time, so that each batch gets something done.
                left = deadline.left_before(len(members)) if position else deadline.left()
                decoded, seconds = pending[0].result(left)
                pending.popleft()
                result.decode_cpu_seconds += seconds
                pending.extend(
                    self.pool.submit(self._timed, p)
                    for p in payloads[position + ahead : position + ahead + 1]
                )
                if isinstance(decoded, ItemError):
                    result.failed[position] = decoded
                    continue
                members.append(position)
                images.append(decoded)
                if len(members) == rows:
                    yield self._group(members, images)
                    members, images = [], []
            if members:
                yield self._group(members, images)
        except TimeoutError:
            if members:
                yield self._group(members, images)
            raise DeadlineExceeded from None
        finally:
            # The next batch must not wait for images that nobody waits for any more.
            for future in pending:
                future.cancel()

    def _group(self, members: list[int], images: list[Pixels]) -> Group:
        rows = len(members)
        # Powers of two even where nothing is padded: a metric's label must not have a value for each count.
        bucket = min(1 << (rows - 1).bit_length(), self.settings.max_batch)
        return Group(members, arrays=(np.stack(images),), used=rows, slots=rows, bucket=bucket)

    def _timed(self, payload: RawItem) -> tuple[Pixels | ItemError, float]:
        """The decoded image, and the CPU seconds that this thread spent on it."""
        began = time.thread_time()
        decoded = self._decode(payload)
        return decoded, time.thread_time() - began

    def _decode(self, payload: RawItem) -> Pixels | ItemError:
        if not isinstance(payload, bytes):
            return ItemError(IMAGE_UNDECODABLE, "a text was sent where an encoded image is due")
        try:
            return decode_fast(
                payload,
                size=self.vision.size,
                resize=self.vision.resize,
                max_pixels=self.settings.max_pixels,
                max_bytes=self.settings.max_image_bytes,
                reduction=self.vision.reduction,
                memory=self.memory,
            )
        except ItemError as error:
            return error.kept()
        except Exception as error:
            return ItemError(INTERNAL, log_incident("decoding", error))
