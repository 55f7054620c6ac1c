"""All that can be done with collections, for every way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from babelclip.index import DETAILS, FIELD_TYPES, IndexInfo, Row, Settings
from babelclip.ingest.locks import changing
from gateway.collections import uploads
from gateway.collections.adding import Adding
from gateway.collections.calls import Calls
from gateway.collections.jobs import Jobs
from gateway.collections.messages import CollectionState
from gateway.collections.names import MAX_FIELDS, check_name
from gateway.collections.searching import Searching
from gateway.collections.store import Opened, Store
from gateway.collections.upkeep import Upkeep
from gateway.errors import ITEM_NOT_FOUND, ApiError, malformed
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.scoring.scorer import read_calibrations
from gateway.settings import Settings as GatewaySettings

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
        """All collections, in alphabetical order."""
        found = []
        for name in await self._calls.read(self._calls.store.names):
            try:
                found.append(await self.describe(name))
            except ApiError as error:
                if error.status != 404:  # Else it was deleted meanwhile.
                    raise
        return found

    async def describe(self, name: str) -> CollectionState:
        """One collection.

        Raises:
            ApiError: there is none of this name.
        """
        return await self._calls.read(lambda: _state(self._calls.store.find(name)))

    async def delete(self, name: str) -> None:
        """Delete a collection with all that is in it.

        Raises:
            ApiError: there is none of this name.
        """
        await self._calls.write(self._calls.store.delete, name)

    async def item(self, name: str, item: str, columns: Sequence[str] = DETAILS) -> tuple[Opened, Row]:
        """An item of a collection, as far as the columns tell.

        Raises:
            ApiError: there is no such collection, or no such item.
        """

        def found() -> tuple[Opened, Row | None]:
            opened = self._calls.store.find(name)
            return opened, opened.index.get([item], columns=columns)[0]

        opened, row = await self._calls.read(found)
        if row is None:
            raise ApiError(404, ITEM_NOT_FOUND, f"there is no item {item[:128]!r}", param="id")
        return opened, row

    async def delete_items(
        self, name: str, ids: Sequence[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> int:
        """Delete items by their ids, or all that a filter keeps → how many there were.

        Raises:
            ApiError: there is no such collection, or the filter is not valid.
        """
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
