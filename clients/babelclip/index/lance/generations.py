"""The table of an index's generations: which there are, which is current, and who compacts one.

Every change is one commit that says what it changes and no more, so that two processes never undo each
other's.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from babelclip.index.base import Settings
from babelclip.index.errors import IndexBusy, IndexExists, IndexNotFound, SearchIndexError
from babelclip.index.lance.calls import committed
from babelclip.index.lance.rows import schema_of
from babelclip.index.lance.sql import literal
from babelclip.index.structure import Structure

if TYPE_CHECKING:
    import lancedb

FIRST = "1"  # the generation that a new index has
TABLE = "generations"
LEASE = 120.0  # seconds after which a compaction that is not heard of any more has died


@dataclass(frozen=True)
class Generation:
    """What is known of a generation; `table` is the name of the one with its rows."""

    name: str
    table: str
    settings: Settings
    structure: Structure | None


class Generations:
    """The generations of an index; all calls see what other processes committed before."""

    def __init__(self, database: lancedb.AsyncConnection, table: lancedb.AsyncTable) -> None:
        self._database = database
        self._table = table
        self._version = -1
        self._known: dict[str, Generation] = {}
        self._current = ""

    @classmethod
    async def create(cls, database: lancedb.AsyncConnection, settings: Settings) -> Generations:
        """The table of a new index, and its first generation.

        Raises:
            IndexExists: there is one.
        """
        import pyarrow as pa

        rows = await _make_table(database, settings)
        texts = ("name", "table", "settings", "structure", "holder")
        schema = pa.schema(
            [
                *(pa.field(name, pa.string(), nullable=False) for name in texts),
                pa.field("current", pa.bool_(), nullable=False),
                pa.field("held_until", pa.float64(), nullable=False),
            ]
        )
        first = pa.Table.from_pylist([_row(FIRST, rows, settings, current=True)], schema)
        try:
            return cls(database, await database.create_table(TABLE, first, mode="create"))
        except ValueError as error:  # the table is there
            await database.drop_table(rows)
            raise IndexExists("there is an index already") from error

    @classmethod
    async def open(cls, database: lancedb.AsyncConnection) -> Generations:
        return cls(database, await database.open_table(TABLE))

    async def all(self) -> tuple[dict[str, Generation], str]:
        """All by name, and the name of the current one; they are read again only where they changed."""
        version = await self._table.version()
        if version != self._version:
            rows = (await self._table.query().to_arrow()).to_pylist()
            self._known = {
                row["name"]: Generation(
                    row["name"],
                    row["table"],
                    Settings(**json.loads(row["settings"])),
                    Structure.from_json(row["structure"]),
                )
                for row in rows
            }
            self._current = next((row["name"] for row in rows if row["current"]), "")
            self._version = version
        return self._known, self._current

    async def get(self, name: str | None) -> Generation:
        """The one of that name, or the current one.

        Raises:
            IndexNotFound: there is none.
        """
        known, current = await self.all()
        wanted = name or current
        if wanted not in known:
            listed = ", ".join(sorted(known))
            raise IndexNotFound(f"the index has no generation {wanted!r}; there are {listed}")
        return known[wanted]

    async def begin(self, name: str, settings: Settings) -> None:
        """One that is not current, unless there is one of that name and these settings."""
        known, _ = await self.all()
        if name not in known:
            rows = await _make_table(self._database, settings)
            merge = self._table.merge_insert("name").when_not_matched_insert_all()
            await committed(lambda: merge.execute([_row(name, rows, settings, current=False)]))
            known, _ = await self.all()
            if known[name].table != rows:  # another process was first
                await self._database.drop_table(rows)
        if known[name].settings != settings:
            raise ValueError(
                f"the generation {name!r} was begun with other settings: drop it, or name another"
            )

    async def promote(self, name: str) -> None:
        await self.get(name)
        await self._update({"current": f"name = {literal(name)}"}, "true")

    async def drop(self, name: str) -> None:
        known, current = await self.all()
        if name == current:
            raise ValueError(f"the generation {name!r} is the current one: make another one current first")
        if name in known:
            deleted: Any = await committed(
                lambda: self._table.delete(f"name = {literal(name)} AND NOT `current`")
            )
            if deleted.num_deleted_rows:
                with suppress(ValueError):  # another process dropped it, too
                    await self._database.drop_table(known[name].table)

    async def drop_all(self) -> None:
        """All generations, and their table first: who opens the index from then on finds none."""
        known, _ = await self.all()
        await self._database.drop_table(TABLE)
        for generation in known.values():
            with suppress(ValueError):  # another process dropped it, too
                await self._database.drop_table(generation.table)

    async def set_structure(self, name: str, structure: Structure | None) -> None:
        text = "" if structure is None else structure.to_json()
        await self._update({"structure": literal(text)}, f"name = {literal(name)}")

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Only one process at a time holds a generation, and who dies holds it for `LEASE` seconds more.

        Raises:
            IndexBusy: another one does.
        """
        holder = uuid.uuid4().hex
        free = f"name = {literal(name)} AND (holder = '' OR held_until < {time.time()!r})"
        if not await self._update(_lease(holder), free):
            raise IndexBusy(f"the generation {name!r} is being compacted by another process: try again later")
        mine = f"name = {literal(name)} AND holder = '{holder}'"
        heartbeat = asyncio.create_task(self._renew(holder, mine))
        try:
            yield
        finally:
            heartbeat.cancel()
            with suppress(asyncio.CancelledError, SearchIndexError):
                await heartbeat
            await self._update({"holder": "''", "held_until": "cast(0 as double)"}, mine)

    async def _renew(self, holder: str, mine: str) -> None:
        while True:
            await asyncio.sleep(LEASE / 4)
            await self._update(_lease(holder), mine)

    async def _update(self, values: dict[str, str], where: str) -> int:
        """How many rows there were to change; one of several processes that ask for the same is first."""
        result = await committed(lambda: self._table.update(updates_sql=values, where=where))
        return int(result.rows_updated)


def _lease(holder: str) -> dict[str, str]:
    return {"holder": f"'{holder}'", "held_until": f"cast({time.time() + LEASE!r} as double)"}


def _row(name: str, table: str, settings: Settings, *, current: bool) -> dict[str, Any]:
    return {
        "name": name,
        "table": table,
        "settings": json.dumps(asdict(settings)),
        "structure": "",
        "holder": "",
        "current": current,
        "held_until": 0.0,
    }


async def _make_table(database: lancedb.AsyncConnection, settings: Settings) -> str:
    """A new table for a generation's rows; no later one has its name, whatever the generation is called."""
    table = f"rows-{uuid.uuid4().hex[:12]}"
    await database.create_table(table, schema=schema_of(settings))
    return table
