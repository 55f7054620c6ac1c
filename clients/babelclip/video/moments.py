"""A film as moments: what looks alike for a while, with one vector, a begin and an end.

Frames are decoded while those before them are embedded, and nothing is held but one batch of each and the
moment that is under way.
"""

from __future__ import annotations

import contextvars
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from babelclip.client.calls import require_answers
from babelclip.embeddings import Embeddings, Vectors
from babelclip.item_errors import ItemError
from babelclip.video.decoding import Video
from babelclip.video.frames import thumbnail
from babelclip.video.sampling import Sample, Sampling, sample_frames

if TYPE_CHECKING:
    from babelclip.client.sync import Client

MOST_SAMPLES = 64  # of a moment, whose pictures are held while it lasts


@dataclass(frozen=True, kw_only=True)
class Merging:
    """Which frames are one moment.

    Attributes:
        alike: the least cosine of a frame with those of the moment before it; one of another scene never
            joins.
        longest: seconds of a moment.
        batch_size: frames that are embedded, and committed, together.
    """

    alike: float = 0.9
    longest: float = 30.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if not self.longest > 0:
            raise ValueError(f"longest must be more than 0 seconds, not {self.longest}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """A part of a film in which frames look alike.

    Attributes:
        begin, end: seconds from the beginning of the film; a moment ends where the next begins.
        key_frame: when the frame is shown that is most like all of them.
        image: that frame as a JPEG.
        vector: float32 [dim] of length 1, the mean of its frames'.
    """

    begin: float
    end: float
    key_frame: float
    image: bytes
    vector: Vectors

    def thumbnail(self) -> bytes:
        """Its frame as a small JPEG."""
        from PIL import Image

        with Image.open(io.BytesIO(self.image)) as picture:
            return thumbnail(picture)


@dataclass(frozen=True, kw_only=True, eq=False)
class MomentBatch:
    """The moments that ended within a batch of frames.

    Attributes:
        moments: in order; there may be none.
        answer: the vectors of the batch's frames, and their space.
        seconds: how far the film is done.
        last: whether the film is at its end.
    """

    moments: list[Moment]
    answer: Embeddings | None
    seconds: float
    last: bool = False


def embed_moments(
    client: Client,
    video: Video,
    *,
    sampling: Sampling | None = None,
    merging: Merging | None = None,
    start: float = 0.0,
) -> Iterator[MomentBatch]:
    """The moments of a film from `start` on, batch by batch.

    A frame that has no vector is left out; its error is in the batch's `answer`.

    Args:
        start: 0, or where a moment that was given before ends.

    Raises:
        VideoError: it cannot be decoded; what came before was given.
        BabelclipError: a batch got no answer.
    """
    merging = merging or Merging()
    builder = _Builder(merging, start)
    for samples, answer in _embedded(client, sample_frames(video, sampling, start=start), merging.batch_size):
        ended = []
        for sample, vector, ok in zip(samples, answer.vectors, answer.ok, strict=True):
            if ok:
                ended += builder.add(sample, vector)
        yield MomentBatch(moments=ended, answer=answer, seconds=samples[-1].time)
    ended = builder.finish(video.seconds)
    yield MomentBatch(moments=ended, answer=None, seconds=video.seconds, last=True)


def _embedded(
    client: Client, samples: Iterable[Sample], batch_size: int
) -> Iterator[tuple[list[Sample], Embeddings]]:
    """Batches and their vectors; one is embedded while the next is decoded."""
    waiting = iter(samples)
    under_way: tuple[list[Sample], Future[Embeddings]] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="babelclip-video") as pool:
        while True:
            batch = list(islice(waiting, batch_size))
            following = None
            if batch:
                # In the caller's context: what is traced or logged belongs to the caller's span.
                run = contextvars.copy_context().run
                images = [sample.image for sample in batch]
                following = (batch, pool.submit(run, client.embed_images, images, errors="return"))
            if under_way is not None:
                yield under_way[0], require_answers(under_way[1].result())
            if following is None:
                return
            under_way = following


class _Builder:
    """Frames and their vectors, in order → moments."""

    def __init__(self, merging: Merging, start: float) -> None:
        self._merging = merging
        self._begin = start
        self._samples: list[tuple[Sample, Vectors]] = []
        self._sum: Vectors | None = None

    def add(self, sample: Sample, vector: Vectors) -> list[Moment]:
        """The next frame → the moment that it ends, if it ends one."""
        ended = []
        if self._sum is not None and not self._joins(sample, vector):
            newest = self._samples[-1][0]
            # A new scene begins at its cut, which is before its first frame that was looked at.
            begin = sample.scene_begin if sample.scene != newest.scene else sample.time
            ended = self.finish(begin)
            self._begin = begin
        self._samples.append((sample, vector))
        self._sum = vector.copy() if self._sum is None else self._sum + vector
        return ended

    def finish(self, end: float) -> list[Moment]:
        """The moment that is under way, ended."""
        if self._sum is None:
            return []
        mean = self._sum / np.linalg.norm(self._sum)
        sample, _ = max(self._samples, key=lambda one: float(one[1] @ mean))
        self._samples, self._sum = [], None
        return [
            Moment(
                begin=self._begin,
                end=max(end, self._begin),
                key_frame=sample.time,
                image=sample.image,
                vector=mean.astype(np.float32),
            )
        ]

    def _joins(self, sample: Sample, vector: Vectors) -> bool:
        assert self._sum is not None
        return (
            sample.scene == self._samples[-1][0].scene
            and sample.time - self._begin < self._merging.longest
            and len(self._samples) < MOST_SAMPLES
            and float(vector @ self._sum) >= self._merging.alike * float(np.linalg.norm(self._sum))
        )


def failures(batch: MomentBatch) -> tuple[ItemError, ...]:
    """Why frames of a batch have no vector."""
    return batch.answer.errors if batch.answer is not None else ()
