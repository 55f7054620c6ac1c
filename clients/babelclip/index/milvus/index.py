"""An index that Milvus keeps: from a file for development to a cluster of many machines.

A search finds at once what this process wrote, and what others wrote within the server's time tick, 0.2
seconds unless it is set otherwise. Whatever counts, lists or deletes waits for that tick, and misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from babelclip.embeddings import Embeddings
from babelclip.index.base import DETAILS, Hit, Index, IndexInfo, Row, Settings
from babelclip.index.errors import IndexExists, IndexNotFound, SearchIndexError
from babelclip.index.filters import Compare, Filter, parse_filter
from babelclip.index.milvus.address import file_of, parse_address
from babelclip.index.milvus.calls import (
    MOST,
    SESSION,
    STRONG,
    Server,
    calling,
    connect,
    count,
    is_missing,
    lite_pages,
    pages,
)
from babelclip.index.milvus.filters import (
    ALL_ROWS,
    NO_ROW,
    WITH_VECTOR,
    WITHOUT_VECTOR,
    column_of,
    listed,
    presence_of,
    to_expression,
)
from babelclip.index.milvus.generations import NLIST, Generation, Generations
from babelclip.index.milvus.rows import VECTOR, entities_of, requests_of, row_from, selected, why_too_large
from babelclip.index.milvus.structure import bring_up_to_date, covered
from babelclip.index.rows import check_query, check_space

T = TypeVar("T")

_EXACT_BELOW = 500
"""Rows that a filter keeps which are all compared: they may lie in any partition."""

_AT_ONCE = 1024  # rows of one answer
_LARGE_AT_ONCE = 256  # the same with thumbnails


class MilvusIndex:
    """An `Index` in Milvus; made by `create_index` and `open_index`."""

    def __init__(
        self, address: str, server: Server, generations: Generations, generation: str | None = None
    ) -> None:
        self._address = address
        self._server = server
        self._client = server.client
        self._generations = generations
        self._fixed = generation

    @classmethod
    def create(cls, address: str, settings: Settings) -> Index:
        """See `create_index`."""
        with calling(address):
            index = cls._connected(address, None)
            try:
                index._generations.create(settings)
            except IndexExists as error:
                raise IndexExists(f"there is an index at {address} already") from error
            return index

    @classmethod
    def open(cls, address: str, *, generation: str | None = None) -> MilvusIndex:
        """See `open_index`."""
        missing = f"there is no index at {address}; `babelclip index create` makes one"
        file = file_of(address)
        if file is not None and not file.exists():
            raise IndexNotFound(missing)
        with calling(address):
            index = cls._connected(address, generation)
            try:
                index._generations.get(None)
            except IndexNotFound as error:
                raise IndexNotFound(missing) from error
            index._generations.get(generation)
            return index

    @classmethod
    def _connected(cls, address: str, generation: str | None) -> MilvusIndex:
        parsed = parse_address(address)
        server = connect(parsed)
        return cls(address, server, Generations(server, parsed), generation)

    @property
    def settings(self) -> Settings:
        """Of the generation, as it is now."""
        return self._run(lambda generation: generation.settings)

    def info(self) -> IndexInfo:
        """What the index says of itself."""

        def asked(generation: Generation) -> IndexInfo:
            structure = generation.structure
            rows = self._count(generation, WITH_VECTOR)
            failed = self._count(generation, WITHOUT_VECTOR, SESSION)
            indexed = 0 if structure is None else min(rows, covered(self._server, generation.collection))
            return IndexInfo(
                address=self._address,
                engine="milvus",
                generation=generation.name,
                settings=generation.settings,
                rows=rows,
                failed=failed,
                method="flat" if structure is None else structure.method,
                indexed=indexed,
                recall_at_10=None if structure is None else structure.recall_at_10,
                parameters={} if structure is None else {"nlist": NLIST, "nprobe": structure.probes},
            )

        return self._run(asked)

    def count(self, where: Filter | None = None) -> int:
        """See `Index.count`."""
        return self._run(lambda generation: self._count(generation, self._where(where, generation)))

    def upsert(self, rows: Sequence[Row], *, space: str) -> None:
        """See `Index.upsert`. More rows than one request takes, some 16 MB, are written in several."""
        last = {row.id: row for row in rows}

        def written(generation: Generation) -> None:
            check_space(self._address, generation.settings, space)
            for entities in requests_of(entities_of(list(last.values()), generation.settings)):
                if entities:
                    self._client.upsert(generation.collection, entities)

        self._run(written)

    def size_check(self) -> Callable[[Row], str]:
        """See `Index.size_check`."""
        settings = self.settings
        return lambda row: why_too_large(row, settings)

    def delete(self, ids: Iterable[str] | None = None, *, where: Filter | None = None) -> int:
        """See `Index.delete`."""
        if (ids is None) == (where is None):
            raise ValueError("give ids or a filter, one of them")
        wanted = None if ids is None else list(dict.fromkeys(ids))

        def deleted(generation: Generation) -> int:
            if wanted is None:
                expressions = [self._where(where, generation)]
            else:
                expressions = [f"id in {listed(part)}" for part in _parts(wanted, _AT_ONCE)]
            total = 0
            for expression in expressions:
                for entities in self._pages(generation, expression, ["id"], _AT_ONCE):
                    self._client.delete(generation.collection, ids=[one["id"] for one in entities])
                    total += len(entities)
            return total

        return self._run(deleted)

    def get(self, ids: Sequence[str], *, columns: Sequence[str] = DETAILS) -> list[Row | None]:
        """See `Index.get`."""
        names = selected(columns)

        def found(generation: Generation) -> dict[str, Row]:
            rows = {}
            for part in _parts(list(dict.fromkeys(ids)), _page(columns, _AT_ONCE)):
                for entity in self._client.query(
                    generation.collection,
                    filter=f"id in {listed(part)}",
                    output_fields=names,
                    consistency_level=SESSION,
                ):
                    rows[entity["id"]] = row_from(entity, columns)
            return rows

        by_id = self._run(found)
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
        """See `Index.search`. Rows since the last `compact` may lie in a structure of Milvus's own.

        Raises:
            SearchIndexError: what is left out and what is wanted are more than 16,384 rows.
        """
        if top < 1 or offset < 0:
            raise ValueError(f"top must be at least 1 and offset at least 0, not {top} and {offset}")
        if top + offset > MOST:
            raise SearchIndexError(f"Milvus ranks {MOST:,} rows at most, and {top + offset:,} were asked for")
        names = selected(columns)

        def found(generation: Generation) -> list[list[Hit]]:
            settings = generation.settings
            check_query(self._address, settings, queries.space, queries.dim)
            expression = WITH_VECTOR
            share = 1.0
            structure = None if exact else generation.structure
            if where is not None:
                expression = f"{expression} and ({self._where(where, generation)})"
                if structure is not None:
                    kept = self._count(generation, expression, SESSION)
                    share = kept / max(1, structure.rows)
                    structure = structure if kept >= _EXACT_BELOW else None
            probes = NLIST if structure is None else structure.effort_for(top + offset, share)[0]
            answers = self._client.search(
                generation.collection,
                data=list(queries.vectors),
                anns_field=VECTOR,
                filter=expression,
                limit=top,
                offset=offset,
                output_fields=names,
                search_params={"metric_type": "IP", "params": {"nprobe": probes}},
                consistency_level=SESSION,
            )
            return [
                [
                    Hit(row_from({**hit["entity"], "id": hit["id"]}, columns), float(hit["distance"]))
                    for hit in hits
                ]
                for hits in answers
            ]

        return self._run(found) if len(queries.vectors) else []

    def page(
        self,
        *,
        after: str = "",
        size: int = 100,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
    ) -> list[Row]:
        """See `Index.page`."""
        names, at_once = selected(columns), min(size, _page(columns, _AT_ONCE))

        def found(generation: Generation) -> list[Row]:
            rows: list[Row] = []
            for entities in self._pages(generation, self._where(where, generation), names, at_once, after):
                ordered = sorted(entities, key=lambda entity: str(entity["id"]))
                rows += [row_from(entity, columns) for entity in ordered]
                if len(rows) >= size:
                    break
            return rows[:size]

        return self._run(found)

    def scan(
        self,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
        batch_size: int = 1024,
    ) -> Iterator[list[Row]]:
        """See `Index.scan`. What others change meanwhile comes as it was or as it is."""
        names, size = selected(columns), min(batch_size, _page(columns, MOST))
        generation = self._run(lambda generation: generation)
        with calling(self._address):
            for entities in self._pages(generation, self._where(where, generation), names, size):
                yield [row_from(entity, columns) for entity in entities]

    def compact(self) -> None:
        """See `Index.compact`. Milvus merges small commits on its own; several processes may ask at once."""

        def compacted(generation: Generation) -> None:
            for structure in bring_up_to_date(self._server, generation):
                if structure != generation.structure:
                    self._generations.set_structure(generation, structure)

        self._run(compacted)

    def generations(self) -> dict[str, Settings]:
        """See `Index.generations`."""
        with calling(self._address):
            return {name: one.settings for name, one in self._generations.all().items()}

    def begin_generation(self, name: str, settings: Settings) -> Index:
        """See `Index.begin_generation`."""
        with calling(self._address):
            self._generations.begin(name, settings)
        return MilvusIndex.open(self._address, generation=name)

    def promote(self, name: str) -> None:
        """See `Index.promote`."""
        with calling(self._address):
            self._generations.promote(name)

    def drop_generation(self, name: str) -> None:
        """See `Index.drop_generation`."""
        with calling(self._address):
            self._generations.drop(name)

    def drop(self) -> None:
        """See `drop_index`."""
        with calling(self._address):
            self._generations.drop_all()

    def close(self) -> None:
        """See `Index.close`."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Callable[[Generation], T]) -> T:
        """The result of a call of the generation as it is now."""
        from pymilvus.exceptions import MilvusException

        with calling(self._address):
            generation = self._generations.get(self._fixed)
            try:
                return call(generation)
            except MilvusException as error:
                now = self._generations.get(self._fixed)
                if not is_missing(error) or now.collection == generation.collection:
                    raise
                return call(now)  # The one before was dropped under the call.

    def _count(self, generation: Generation, expression: str, consistency: str = STRONG) -> int:
        return count(self._client, generation.collection, expression, consistency)

    def _pages(
        self, generation: Generation, expression: str, names: Sequence[str], size: int, after: str = ""
    ) -> Iterator[list[dict[str, Any]]]:
        ordered = lite_pages if self._server.lite else pages
        return ordered(self._client, generation.collection, expression, names, size, after)

    def _where(self, raw: Filter | None, generation: Generation) -> str:
        if raw is None:
            return ALL_ROWS
        condition = parse_filter(raw, generation.settings.fields)
        if self._server.infix:
            return to_expression(condition)

        def holding(compare: Compare) -> str:
            """An older server is asked for the texts, and told the rows."""
            name = column_of(compare)
            pages = self._pages(generation, presence_of(compare) or ALL_ROWS, ["id", name], MOST)
            ids = [one["id"] for entities in pages for one in entities if compare.value in one[name]]
            return f"id in {listed(ids)}" if ids else NO_ROW

        return to_expression(condition, holding)


def _parts(ids: list[str], size: int) -> Iterator[list[str]]:
    return (ids[begin : begin + size] for begin in range(0, len(ids), size))


def _page(columns: Sequence[str], most: int) -> int:
    """Rows of one answer."""
    return min(most, _LARGE_AT_ONCE) if "thumbnail" in columns else min(most, _AT_ONCE)
