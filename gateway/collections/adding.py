"""Images into a collection: each is described, embedded and kept, and each has its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from babelclip import Embeddings, ItemError
from babelclip.errors import DEADLINE_EXCEEDED, IMAGE_NOT_FETCHED, OVERLOADED, SpaceMismatch
from babelclip.index import Row, Settings, row_id
from babelclip.ingest.images import ImageDetails, ImageUnreadable, describe_image
from babelclip.ingest.locks import changing
from gateway.collections import uploads
from gateway.collections.calls import Calls
from gateway.collections.messages import NewItem, Outcome
from gateway.collections.names import MAX_CAPTION, MAX_SOURCE, check_id, check_metadata, check_text
from gateway.collections.store import Opened
from gateway.collections.upkeep import Upkeep
from gateway.errors import INVALID_ITEM, UNAVAILABLE

PIECE = 64
"""Items of one commit: many tiny commits slow an index down, and larger ones hold more images in memory."""
_TRIES = 3
# Nothing that an item of these could be kept for: the same image may be added the next time.
_PASSING = frozenset({DEADLINE_EXCEEDED, OVERLOADED, UNAVAILABLE, IMAGE_NOT_FETCHED, "internal"})


@dataclass(frozen=True)
class _Described:
    """An item and what is known of its image so far; `fault` says why it cannot be added."""

    item: NewItem
    id: str
    details: ImageDetails | None = None
    fault: ItemError | None = None


class Adding:
    """Adds items; those of one collection are committed one piece after the other."""

    def __init__(self, calls: Calls, upkeep: Upkeep) -> None:
        self._calls = calls
        self._upkeep = upkeep
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def add(self, name: str, items: Sequence[NewItem]) -> list[Outcome]:
        """Add items, in place of those of the same ids → an outcome for each.

        Raises:
            ApiError: there is no such collection, or the request fails as a whole: no item after the pieces
                that are committed was added.
        """
        outcomes: list[Outcome] = []
        for start in range(0, len(items), PIECE):
            outcomes += await self._piece(name, items[start : start + PIECE])
        return outcomes

    async def _piece(self, name: str, items: Sequence[NewItem]) -> list[Outcome]:
        opened, settings = await self._calls.find(name)
        chosen = self._calls.model_of(opened, settings)
        images = [item.image for item in items]
        if chosen.fetcher is not None:
            images = [image for image in await chosen.fetcher.fetched(images) if not isinstance(image, str)]
        described = await asyncio.gather(
            *(
                self._calls.writing.call(_describe, replace(item, image=image), settings.fields)
                for item, image in zip(items, images, strict=True)
            )
        )
        for _ in range(_TRIES - 1):
            try:
                return await self._embedded(opened, settings, described)
            except SpaceMismatch:  # Another generation has become the current one.
                opened, settings = await self._calls.find(name)
        return await self._embedded(opened, settings, described)

    async def _embedded(
        self, opened: Opened, settings: Settings, described: Sequence[_Described]
    ) -> list[Outcome]:
        whole = [one for one in described if one.fault is None]
        vectors = await self._calls.embed(opened, settings, [_image(one) for one in whole])
        rows, faults = _rows(whole, vectors)
        outcomes = [_outcome(one, faults.get(index)) for index, one in _numbered(described)]
        failed = [
            _failed_row(one, outcome)
            for one, outcome in zip(described, outcomes, strict=True)
            if outcome.id and outcome.code and outcome.code not in _PASSING | {INVALID_ITEM}
        ]
        async with self._turn(opened.record.uid):
            await self._calls.write(_commit, opened, settings.space, rows, failed, whole)
        self._upkeep.committed(opened)
        return outcomes

    def _turn(self, uid: str) -> asyncio.Lock:
        lock = self._turns.get(uid)
        if lock is None:
            lock = self._turns[uid] = asyncio.Lock()
        return lock


def _describe(item: NewItem, fields: Mapping[str, str]) -> _Described:
    """Everything of an item that can be said without its vector."""
    try:
        if item.id:
            check_id(item.id)
        check_text(item.source, "source", MAX_SOURCE)
        check_text(item.caption, "caption", MAX_CAPTION)
        check_metadata(item.metadata, fields)
    except ValueError as error:
        return _Described(item, "", fault=ItemError(0, INVALID_ITEM, str(error)))
    known = item.id or (row_id(item.source) if item.source and not item.keep else "")
    if isinstance(item.image, ItemError):
        return _Described(item, known, fault=item.image)
    try:
        details = describe_image(item.image)
    except ImageUnreadable as error:
        return _Described(item, known, fault=ItemError(0, error.code, error.message))
    return _Described(item, known or row_id(f"sha256:{details.checksum}"), details)


def _image(one: _Described) -> bytes:
    assert isinstance(one.item.image, bytes)
    return one.item.image


def _numbered(described: Sequence[_Described]) -> list[tuple[int, _Described]]:
    """Each with its place among those that were embedded; -1 for what was not."""
    places = iter(range(len(described)))
    return [(next(places) if one.fault is None else -1, one) for one in described]


def _rows(whole: Sequence[_Described], vectors: Embeddings) -> tuple[list[Row], dict[int, ItemError]]:
    """The rows of those that have a vector, and the errors of the others by their place."""
    faults = {error.index: error for error in vectors.errors}
    rows = []
    for index, one in enumerate(whole):
        if index in faults:
            continue
        details = one.details
        assert details is not None
        rows.append(
            replace(
                _plain_row(one),
                vector=vectors.vectors[index],
                width=details.width,
                height=details.height,
                taken=details.taken,
                checksum=details.checksum,
                fingerprint=details.checksum,
                perceptual_hash=details.perceptual_hash,
                thumbnail=details.thumbnail,
            )
        )
    return rows, faults


def _plain_row(one: _Described) -> Row:
    item = one.item
    size = len(item.image) if isinstance(item.image, bytes) else 0
    return Row(id=one.id, source=item.source, size=size, caption=item.caption, metadata=dict(item.metadata))


def _failed_row(one: _Described, outcome: Outcome) -> Row:
    return replace(_plain_row(one), error_code=outcome.code, error_message=outcome.message)


def _outcome(one: _Described, error: ItemError | None) -> Outcome:
    error = one.fault or error
    return Outcome(one.id) if error is None else Outcome(one.id, error.code, error.message)


def _commit(
    opened: Opened, space: str, rows: Sequence[Row], failed: Sequence[Row], whole: Sequence[_Described]
) -> None:
    """Keep the originals first, then the rows; what fails takes the place of no item that was whole.

    Raises:
        IndexBusy: the index is just being moved to another model; nothing was kept.
    """
    with changing(opened.record.index):
        _write(opened, space, rows, failed, whole)


def _write(
    opened: Opened, space: str, rows: Sequence[Row], failed: Sequence[Row], whole: Sequence[_Described]
) -> None:
    added = {row.id for row in rows}
    for one in whole:
        if one.item.keep and one.id in added and one.details is not None:
            uploads.keep(opened.folder, one.details.checksum, _image(one))
    known = opened.index.get([row.id for row in failed], columns=("error_code",))
    new = [
        row
        for row, before in zip(failed, known, strict=True)
        if row.id not in added and (before is None or before.error_code)
    ]
    opened.index.upsert([*rows, *new], space=space)
