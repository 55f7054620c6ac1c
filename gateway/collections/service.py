"""All that can be done with collections, for every way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from babelclip.index import DETAILS, FIELD_TYPES, IndexInfo, Row, Settings
from babelclip.ingest.locks import changing
from gateway.access.account import may_use
from gateway.collections import uploads
from gateway.collections.adding import Adding
from gateway.collections.calls import Calls
from gateway.collections.jobs import Jobs
from gateway.collections.messages import CollectionState
from gateway.collections.names import MAX_FIELDS, check_name, is_readable_id
from gateway.collections.searching import Searching
from gateway.collections.store import Opened, Store
from gateway.collections.upkeep import Upkeep
from gateway.errors import INSUFFICIENT_SCOPE, ITEM_NOT_FOUND, UNAVAILABLE, ApiError, malformed
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.scoring.scorer import read_calibrations
from gateway.settings import Settings as GatewaySettings

MAX_LISTED = 1_000
THUMBNAIL = ("checksum", "thumbnail")
"""What is read of a row to show its thumbnail."""


class Collections:
    """The collections below the folder of the settings. Used within one event loop.

    Attributes:
        adding, searching, jobs: the calls that take a model, or time.
        read: makes a call that only reads in a thread.

    Raises:
        OSError: the folder cannot be made, or a calibration cannot be read.
        ValueError: a file is no calibration.
    """

    def __init__(self, models: Models, settings: GatewaySettings, metrics: Metrics) -> None:
        store = Store(settings.collections, settings.collections_index)
        self._calls = Calls(store, models, metrics)
        self.read = self._calls.read
        self.jobs = Jobs(self._calls, settings.content_roots)
        self.adding = Adding(self._calls, Upkeep(self.jobs))
        self.searching = Searching(self._calls, read_calibrations(settings.calibrations), settings.max_items)

    async def create(self, name: str, fields: Mapping[str, str], model: str = "") -> CollectionState:
        """A new, empty collection.

        Args:
            fields: metadata that can be filtered by, each by its type.
            model: NAME for the version that it means now, or NAME@VERSION; "" for the default.

        Raises:
            ApiError: the name is taken or cannot be one, or the model is not served.
        """
        check_name(name)
        if not may_use(name):
            message = f"the key is for other collections; it may make none of the name {name}"
            raise ApiError(403, INSUFFICIENT_SCOPE, message, param="name")
        if len(fields) > MAX_FIELDS:
            raise malformed(f'"fields" has more than {MAX_FIELDS}', "fields")
        for field, kind in fields.items():
            if kind not in FIELD_TYPES:
                allowed = ", ".join(FIELD_TYPES)
                raise malformed(f'the type of the field "{field[:64]}" must be one of {allowed}', "fields")
        chosen = self._calls.models.find(model)
        version = await chosen.resolve()
        settings = Settings(
            space=version.space,
            dim=version.dim,
            logit_scale=version.logit_scale,
            version=version.version,
            fields=dict(fields),
        )
        try:
            opened = await self._calls.write(self._calls.store.create, name, chosen.name, settings)
        except ValueError as error:
            raise malformed(str(error), "fields") from None
        return await self._calls.read(_state, opened)

    async def listed(self) -> list[CollectionState]:
        """Those of the caller, in alphabetical order; one that cannot be read is told without its facts."""
        found = []
        for name in filter(may_use, await self._calls.read(self._calls.store.names)):
            try:
                found.append(await self._listed(name))
            except ApiError as error:
                if error.status != 404:  # Else it was deleted meanwhile.
                    raise
        return found

    async def _listed(self, name: str) -> CollectionState:
        try:
            return await self.describe(name)
        except ApiError as error:
            if error.code != UNAVAILABLE:
                raise
            return CollectionState(
                await self._calls.read(self._calls.store.record, name), None, "unavailable"
            )

    async def describe(self, name: str) -> CollectionState:
        """One collection.

        Raises:
            ApiError: there is none of this name.
        """
        self._calls.require(name)
        return await self._calls.read(lambda: _state(self._calls.store.find(name)))

    async def delete(self, name: str) -> None:
        """Delete a collection with all that is in it.

        Raises:
            ApiError: there is none of this name.
        """
        self._calls.require(name)
        await self._calls.write(self._calls.store.delete, name)

    async def item(self, name: str, item: str, columns: Sequence[str] = DETAILS) -> tuple[Opened, Row]:
        """An item of a collection, as far as the columns tell.

        Raises:
            ApiError: there is no such collection, or no such item.
        """
        self._calls.require(name)

        def found() -> tuple[Opened, Row | None]:
            opened = self._calls.store.find(name)
            if not is_readable_id(item):
                return opened, None
            return opened, opened.index.get([item], columns=columns)[0]

        opened, row = await self._calls.read(found)
        if row is None:
            raise ApiError(404, ITEM_NOT_FOUND, f"there is no item {item[:128]!r}", param="id")
        return opened, row

    async def items(
        self,
        name: str,
        *,
        after: str = "",
        limit: int = 100,
        where: Mapping[str, Any] | None = None,
        failed: bool | None = None,
    ) -> tuple[list[Row], str | None]:
        """Items in the order of their ids → `limit` of them, and the id after which there are more.

        Args:
            after: an id; those up to it are left out.
            where: only items that this filter keeps.
            failed: True for those alone that have no vector, False for all others, None for both.

        Raises:
            ApiError: there is no such collection, or an argument is not valid.
        """
        self._calls.require(name)
        if not 1 <= limit <= MAX_LISTED:
            raise malformed(f'"limit" must be from 1 to {MAX_LISTED:,}', "limit")
        if not is_readable_id(after):
            raise malformed('"after" must be the id of an item', "after")

        if failed is not None:
            of_these = {"error_code": {"$ne" if failed else "$eq": ""}}
            where = of_these if where is None else {"$and": [where, of_these]}

        def found() -> list[Row]:
            index = self._calls.store.find(name).index
            return index.page(after=after, size=limit + 1, where=where)

        rows = await self._calls.read(found)
        return rows[:limit], rows[limit - 1].id if len(rows) > limit else None

    async def delete_items(
        self, name: str, ids: Sequence[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> int:
        """Delete items by their ids, or all that a filter keeps → how many there were.

        Raises:
            ApiError: there is no such collection, or the filter is not valid.
        """
        self._calls.require(name)
        return await self._calls.write(lambda: _delete(self._calls.store.find(name), ids, where))

    def close(self) -> None:
        """Ends the jobs and the threads, and lets go of all indexes."""
        self.jobs.close()
        self._calls.close()


def _state(opened: Opened) -> CollectionState:
    info: IndexInfo = opened.index.info()
    return CollectionState(opened.record, info, "ready")


def _delete(opened: Opened, ids: Sequence[str] | None, where: Mapping[str, Any] | None) -> int:
    chosen = where if ids is None else {"id": {"$in": list(ids)}}
    assert chosen is not None
    kept = {"$and": [chosen, {"source": {"$prefix": uploads.SOURCE}}]}
    checksums = {
        row.checksum for rows in opened.index.scan(where=kept, columns=("checksum",)) for row in rows
    }
    with changing(opened.record.index):
        count = opened.index.delete(where=chosen)
    uploads.forget(opened.folder, opened.index, checksums)
    return count
