"""An index that LanceDB keeps: tables in a folder or an object store, for many processes at once.

A table holds each generation's rows; the table `generations` says which there are and which is current. A
change of that table is one commit, so a generation becomes current for all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from babelclip.embeddings import Embeddings
from babelclip.index.base import DETAILS, Hit, Index, IndexInfo, Row, Settings
from babelclip.index.errors import IndexExists, IndexNotFound, SearchIndexError
from babelclip.index.event_loop import run
from babelclip.index.filters import Filter, parse_filter
from babelclip.index.lance.calls import committed, connect, first_line
from babelclip.index.lance.generations import Generation, Generations
from babelclip.index.lance.rows import rows_from, schema_of, selected, table_of
from babelclip.index.lance.sql import literal, to_sql
from babelclip.index.lance.structure import EMBEDDED, bring_up_to_date, cosines_of, nearest, uncovered
from babelclip.index.rows import check_query, check_space

if TYPE_CHECKING:
    import lancedb
    import pyarrow as pa
    from lancedb.arrow import AsyncRecordBatchReader

T = TypeVar("T")

_QUERIES_AT_ONCE = 8
_EXACT_BELOW = 500
"""Rows that a filter keeps which are compared one by one: reading so few is less work than all partitions."""


class LanceIndex:
    """An `Index` in LanceDB; made by `create_index` and `open_index`."""

    def __init__(
        self,
        address: str,
        database: lancedb.AsyncConnection,
        generations: Generations,
        generation: str | None = None,
    ) -> None:
        self._address = address
        self._database = database
        self._generations = generations
        self._fixed = generation
        self._tables: dict[str, lancedb.AsyncTable] = {}

    @classmethod
    def create(cls, address: str, settings: Settings) -> Index:
        """See `create_index`."""
        schema_of(settings)

        async def made() -> Index:
            database = await connect(address)
            try:
                return cls(address, database, await Generations.create(database, settings))
            except IndexExists as error:
                raise IndexExists(f"there is an index at {address} already") from error

        return _run(address, made)

    @classmethod
    def open(cls, address: str, *, generation: str | None = None) -> LanceIndex:
        """See `open_index`."""
        missing = f"there is no index at {address}; `babelclip index create` makes one"
        if "://" not in address and not Path(address).is_dir():
            raise IndexNotFound(missing)

        async def opened() -> LanceIndex:
            database = await connect(address)
            try:
                generations = await Generations.open(database)
            except ValueError as error:  # LanceDB's of a table that is not there
                raise IndexNotFound(missing) from error
            await generations.get(generation)
            return cls(address, database, generations, generation)

        return _run(address, opened)

    @property
    def settings(self) -> Settings:
        """Of the generation, as it is now."""
        return self._run(lambda: self._generations.get(self._fixed)).settings

    def info(self) -> IndexInfo:
        """What the index says of itself."""

        async def counted() -> tuple[Generation, int, int, int]:
            generation, table = await self._now()
            rows = await table.count_rows(EMBEDDED)
            indexed = 0 if generation.structure is None else max(0, rows - await uncovered(table))
            return generation, rows, await table.count_rows() - rows, indexed

        generation, rows, failed, indexed = self._run(counted)
        structure = generation.structure
        return IndexInfo(
            address=self._address,
            engine="lancedb",
            generation=generation.name,
            settings=generation.settings,
            rows=rows,
            failed=failed,
            method="flat" if structure is None else structure.method,
            indexed=indexed,
            recall_at_10=None if structure is None else structure.recall_at_10,
            parameters={} if structure is None else structure.parameters(),
        )

    def count(self, where: Filter | None = None) -> int:
        """See `Index.count`."""

        async def counted() -> int:
            generation, table = await self._now()
            return int(await table.count_rows(_where(where, generation.settings)))

        return self._run(counted)

    def upsert(self, rows: Sequence[Row], *, space: str) -> None:
        """See `Index.upsert`."""
        settings = self.settings
        check_space(self._address, settings, space)
        last = {row.id: row for row in rows}
        if not last:
            return
        columns = table_of(list(last.values()), settings)

        async def merged() -> None:
            generation, table = await self._now()
            check_space(self._address, generation.settings, space)
            # With its index of the key LanceDB 0.40 does not see that another process adds the same.
            merge = table.merge_insert("id").use_index(False)
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            # Nothing is bad here: a failed row has no vector, which LanceDB would refuse otherwise.
            await committed(lambda: merge.execute(columns, on_bad_vectors="null"))

        self._run(merged)

    def size_check(self) -> Callable[[Row], str]:
        """See `Index.size_check`. No row is too large for a table of LanceDB."""
        return lambda row: ""

    def delete(self, ids: Iterable[str] | None = None, *, where: Filter | None = None) -> int:
        """See `Index.delete`."""
        if (ids is None) == (where is None):
            raise ValueError("give ids or a filter, one of them")
        listed = None if ids is None else _ids(ids)

        async def deleted() -> int:
            generation, table = await self._now()
            condition = listed if where is None else _where(where, generation.settings)
            if not condition or not await table.count_rows(condition):
                return 0
            result: Any = await committed(lambda: table.delete(condition))
            return int(result.num_deleted_rows)

        return self._run(deleted)

    def get(self, ids: Sequence[str], *, columns: Sequence[str] = DETAILS) -> list[Row | None]:
        """See `Index.get`."""
        condition = _ids(ids)
        if not condition:
            return []

        async def found() -> tuple[Generation, pa.Table]:
            generation, table = await self._now()
            names = selected(columns, generation.settings)
            return generation, await table.query().where(condition).select(names).to_arrow()

        generation, rows = self._run(found)
        by_id = {row.id: row for row in rows_from(rows, generation.settings, columns)}
        return [by_id.get(one) for one in ids]

    def search(
        self,
        queries: Embeddings,
        *,
        top: int = 10,
        offset: int = 0,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """See `Index.search`."""
        if top < 1 or offset < 0:
            raise ValueError(f"top must be at least 1 and offset at least 0, not {top} and {offset}")

        async def found() -> tuple[Settings, list[pa.Table]]:
            generation, table = await self._now()
            settings, structure = generation.settings, None if exact else generation.structure
            check_query(self._address, settings, queries.space, queries.dim)
            condition = _where(where, settings)
            share, kept = 1.0, 0
            if condition and structure:
                kept = await table.count_rows(condition)
                share = kept / max(1, structure.rows)
                structure = structure if kept >= _EXACT_BELOW else None
            names = [*selected(columns, settings), "_distance"]
            at_once = asyncio.Semaphore(_QUERIES_AT_ONCE)

            async def one(vector: Any, share: float) -> pa.Table:
                query = (
                    nearest(table, vector, structure, top + offset, share)
                    .select(names)
                    .limit(top)
                    .offset(offset)
                )
                async with at_once:
                    return await (query.where(condition) if condition else query).to_arrow()

            async def enough(vector: Any) -> pa.Table:
                rows = await one(vector, share)
                if condition and structure and len(rows) < min(top, kept - offset):
                    # What the filter keeps lies elsewhere than the query: all partitions are looked into.
                    rows = await one(vector, 0.0)
                return rows

            return settings, await asyncio.gather(*(enough(vector) for vector in queries.vectors))

        settings, tables = self._run(found)
        return [_hits(table, settings, columns) for table in tables]

    def page(
        self,
        *,
        after: str = "",
        size: int = 100,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
    ) -> list[Row]:
        """See `Index.page`. All ids after the first are looked through, since none are in order."""
        import pyarrow as pa
        import pyarrow.compute as pc

        async def found() -> list[str]:
            generation, table = await self._now()
            condition = f"id > {literal(after)}"
            if kept := _where(where, generation.settings):
                condition = f"{condition} AND ({kept})"
            first = pa.array([], pa.string())
            async for batch in await table.query().select(["id"]).where(condition).to_batches():
                ids = pa.concat_arrays([first, batch.column("id")])
                first = ids.take(pc.bottom_k_unstable(ids, k=min(size, len(ids))))
            return list(first.to_pylist())

        rows = self.get(self._run(found), columns=columns)
        return [row for row in rows if row is not None]  # Else it was deleted meanwhile.

    def scan(
        self,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
        batch_size: int = 1024,
    ) -> Iterator[list[Row]]:
        """See `Index.scan`."""

        async def begun() -> tuple[Settings, AsyncRecordBatchReader]:
            generation, table = await self._now()
            query = table.query().select(selected(columns, generation.settings))
            if condition := _where(where, generation.settings):
                query = query.where(condition)
            return generation.settings, await query.to_batches(max_batch_length=batch_size)

        async def following() -> pa.RecordBatch | None:
            return await anext(batches, None)

        settings, batches = self._run(begun)
        while (batch := self._run(following)) is not None:
            if rows := rows_from(batch, settings, columns):
                yield rows

    def compact(self) -> None:
        """See `Index.compact`."""

        async def compacted() -> None:
            generation = await self._generations.get(self._fixed)
            async with self._generations.held(generation.name):
                generation = await self._generations.get(generation.name)  # as the one before left it
                table = await self._table(generation)
                async for structure in bring_up_to_date(table, generation.settings, generation.structure):
                    if structure != generation.structure:
                        await self._generations.set_structure(generation.name, structure)

        self._run(compacted)

    def generations(self) -> dict[str, Settings]:
        """See `Index.generations`."""
        known, _ = self._run(self._generations.all)
        return {name: generation.settings for name, generation in known.items()}

    def begin_generation(self, name: str, settings: Settings) -> Index:
        """See `Index.begin_generation`."""
        schema_of(settings)
        self._run(lambda: self._generations.begin(name, settings))
        return LanceIndex.open(self._address, generation=name)

    def promote(self, name: str) -> None:
        """See `Index.promote`."""
        self._run(lambda: self._generations.promote(name))

    def drop_generation(self, name: str) -> None:
        """See `Index.drop_generation`."""
        self._run(lambda: self._generations.drop(name))

    def drop(self) -> None:
        """See `drop_index`."""
        self._run(self._generations.drop_all)

    def close(self) -> None:
        """See `Index.close`."""

        async def closed() -> None:
            self._tables.clear()

        run(closed())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _now(self) -> tuple[Generation, lancedb.AsyncTable]:
        """The generation that calls are of, as it is now, and its rows."""
        generation = await self._generations.get(self._fixed)
        return generation, await self._table(generation)

    async def _table(self, generation: Generation) -> lancedb.AsyncTable:
        if generation.table not in self._tables:
            self._tables[generation.table] = await self._database.open_table(generation.table)
        return self._tables[generation.table]

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        return _run(self._address, call)


def _run(address: str, call: Callable[[], Awaitable[T]]) -> T:
    async def result() -> T:
        return await call()

    try:
        return run(result())
    except (OSError, RuntimeError) as error:
        raise SearchIndexError(f"the index at {address} cannot be used: {first_line(error)}") from error


def _where(raw: Filter | None, settings: Settings) -> str | None:
    return None if raw is None else to_sql(parse_filter(raw, settings.fields))


def _ids(ids: Iterable[str]) -> str | None:
    listed = ", ".join(literal(one) for one in ids)
    return f"id IN ({listed})" if listed else None


def _hits(found: pa.Table, settings: Settings, columns: Sequence[str]) -> list[Hit]:
    return [
        Hit(row, cosine)
        for row, cosine in zip(rows_from(found, settings, columns), cosines_of(found), strict=True)
    ]
