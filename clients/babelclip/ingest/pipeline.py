"""From entries to rows: files are read and described in threads while others are being embedded.

No more images are held than the threads have at hand and two batches that are under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from babelclip.client.calls import require_answers
from babelclip.index import Row

if TYPE_CHECKING:
    from babelclip.client.sync import Client

BATCH = 32
"""Images of a batch, unless asked otherwise: a forward pass of the vision tower."""
THREADS = 4
"""That read and describe images, unless asked otherwise: more than a small machine has cores, as disks and
networks keep them waiting, too."""
_BATCH_BYTES = 24_000_000
_UNDER_WAY = 2  # batches: the tower computes one while the other is decoded


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image that is ready to be embedded.

    Attributes:
        row: all that is known of it. It has a vector or an error code where `data` is None.
        data: the encoded image.
    """

    row: Row
    data: bytes | None


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """Rows that are whole, each with a vector or an error code.

    Attributes:
        embedded: how many of them have a vector that was computed now.
    """

    rows: list[Row]
    embedded: int


def embedded_rows(
    client: Client,
    images: Iterable[Callable[[], Prepared]],
    *,
    batch_size: int = BATCH,
    threads: int = THREADS,
) -> Iterator[EmbeddedBatch]:
    """Images → their rows, in order, a batch at a time; what cannot be embedded has an error code.

    Args:
        images: each is called in a thread; it reads the image. They are taken no further ahead than needed.
        threads: that read.

    Raises:
        BabelclipError: a batch got no answer; all others that did have been given.
        Exception: what `images` raises, after the same.
        ValueError: `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    readers = ThreadPoolExecutor(threads, thread_name_prefix="babelclip-read")
    senders = ThreadPoolExecutor(_UNDER_WAY, thread_name_prefix="babelclip-embed")
    try:
        under_way: deque[Future[EmbeddedBatch]] = deque()
        failure: Exception | None = None
        try:
            for batch in _batches(_ahead(readers, images, threads + batch_size), batch_size):
                under_way.append(senders.submit(_embed, client, batch))
                if len(under_way) > _UNDER_WAY:
                    yield under_way.popleft().result()
        except Exception as error:  # What else is under way may be answered yet, and is not to be lost.
            failure = error
        while under_way:
            try:
                yield under_way.popleft().result()
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure
    finally:
        readers.shutdown(cancel_futures=True)
        senders.shutdown(cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, images: Iterable[Callable[[], Prepared]], window: int
) -> Iterator[Prepared]:
    """What the calls give, in order; no more than `window` of them are begun and not yet taken."""
    begun: deque[Future[Prepared]] = deque()
    for image in images:
        begun.append(pool.submit(image))
        if len(begun) == window:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _batches(prepared: Iterable[Prepared], most: int) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    size = 0
    for image in prepared:
        batch.append(image)
        size += len(image.data or b"")
        if len(batch) >= most or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _embed(client: Client, batch: list[Prepared]) -> EmbeddedBatch:
    rows = [image.row for image in batch]
    sent = [place for place, image in enumerate(batch) if image.data is not None]
    if not sent:
        return EmbeddedBatch(rows, 0)
    found = client.embed_images([batch[place].data or b"" for place in sent], errors="return")
    require_answers(found)
    errors = {error.index: error for error in found.errors}
    for number, place in enumerate(sent):
        if number in errors:
            error = errors[number]
            rows[place] = replace(rows[place], error_code=error.code, error_message=error.message)
        else:
            rows[place] = replace(rows[place], vector=found.vectors[number])
    return EmbeddedBatch(rows, len(sent) - len(errors))
