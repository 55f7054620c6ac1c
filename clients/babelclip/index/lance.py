"""An index that LanceDB keeps: tables in a folder or an object store, for many processes at once.

A table holds each generation's rows; the table `generations` says which there are and which is current. A
change of that table is one commit, so a generation becomes current for all at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from babelclip.embeddings import Embeddings
from babelclip.errors import SpaceMismatch
from babelclip.index.base import DETAILS, Hit, Index, IndexInfo, Row, Settings
from babelclip.index.errors import IndexExists, IndexNotFound, SearchIndexError
from babelclip.index.filters import Filter, parse_filter
from babelclip.index.lance_rows import rows_from, schema_of, selected, table_of
from babelclip.index.sql import literal, to_sql

if TYPE_CHECKING:
    import lancedb
    import pyarrow as pa

FIRST = "1"  # the generation that a new index has
_GENERATIONS = "generations"
_ROWS = "rows-"


class LanceIndex:
    """An `Index` in LanceDB; made by `create_index` and `open_index`."""

    def __init__(self, address: str, generation: str | None = None) -> None:
        self._address = address
        self._database = _connect(address)
        self._fixed = generation
        self._lock = threading.Lock()
        self._tables: dict[str, lancedb.table.Table] = {}
        self._known: lancedb.table.Table | None = None

    @classmethod
    def create(cls, address: str, settings: Settings) -> Index:
        """See `create_index`."""
        index = cls(address)
        if _GENERATIONS in index._names():
            raise IndexExists(f"there is an index at {address} already")
        index._table(FIRST, settings)
        index._set_generations({FIRST: settings}, FIRST, new=True)
        return index

    @classmethod
    def open(cls, address: str, *, generation: str | None = None) -> Index:
        """See `open_index`."""
        if "://" not in address and not Path(address).is_dir():
            raise IndexNotFound(f"there is no index at {address}; `babelclip index create` makes one")
        index = cls(address, generation)
        if _GENERATIONS not in index._names():
            raise IndexNotFound(f"there is no index at {address}; `babelclip index create` makes one")
        index._current()
        return index

    @property
    def settings(self) -> Settings:
        """Of the generation, as it is now."""
        return self._current()[1]

    def info(self) -> IndexInfo:
        """What the index says of itself."""
        name, settings, table = self._current()
        rows = table.count_rows("error_code = ''")
        return IndexInfo(
            address=self._address,
            engine="lancedb",
            generation=name,
            settings=settings,
            rows=rows,
            failed=table.count_rows() - rows,
        )

    def count(self, where: Filter | None = None) -> int:
        """See `Index.count`."""
        _, settings, table = self._current()
        return int(table.count_rows(_where(where, settings)))

    def upsert(self, rows: Sequence[Row], *, space: str) -> None:
        """See `Index.upsert`."""
        _, settings, table = self._current()
        if space != settings.space:
            raise SpaceMismatch(
                f"the index at {self._address} is of the space {settings.space}, the vectors are of {space}"
            )
        last = {row.id: row for row in rows}
        if last:
            merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            # Nothing is bad here: a failed row has no vector, which LanceDB would refuse otherwise.
            merge.execute(table_of(list(last.values()), settings), on_bad_vectors="null")

    def delete(self, ids: Iterable[str] | None = None, *, where: Filter | None = None) -> int:
        """See `Index.delete`."""
        if (ids is None) == (where is None):
            raise ValueError("give ids or a filter, one of them")
        _, settings, table = self._current()
        condition = _where(where, settings) if ids is None else _ids(ids)
        if condition is None:
            return 0
        count = int(table.count_rows(condition))
        if count:
            table.delete(condition)
        return count

    def get(self, ids: Sequence[str], *, columns: Sequence[str] = DETAILS) -> list[Row | None]:
        """See `Index.get`."""
        _, settings, table = self._current()
        condition = _ids(ids)
        if condition is None:
            return []
        found = table.search().where(condition).select(selected(columns, settings)).limit(len(ids)).to_arrow()
        by_id = {row.id: row for row in rows_from(found, settings)}
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
        _, settings, table = self._current()
        if queries.space != settings.space or queries.dim != settings.dim:
            raise SpaceMismatch(
                f"the index at {self._address} is of the space {settings.space} ({settings.dim} values), the"
                f" query of {queries.space} ({queries.dim}): embed it by version {settings.version or '?'}"
            )
        condition = _where(where, settings)
        found = []
        for vector in queries.vectors:
            query: Any = table.search(vector, vector_column_name="vector")
            query = query.distance_type("dot")
            if condition is not None:
                query = query.where(condition, prefilter=True)
            if exact:
                query = query.bypass_vector_index()
            names = [*selected(columns, settings), "_distance"]
            found.append(_hits(query.select(names).limit(top).offset(offset).to_arrow(), settings))
        return found

    def scan(
        self,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
        batch_size: int = 1024,
    ) -> Iterator[list[Row]]:
        """See `Index.scan`."""
        _, settings, table = self._current()
        query = table.search().select(selected(columns, settings))
        condition = _where(where, settings)
        if condition is not None:
            query = query.where(condition)
        for batch in query.limit(None).to_batches(batch_size):
            if rows := rows_from(batch, settings):
                yield rows

    def compact(self) -> None:
        """See `Index.compact`."""
        _, _, table = self._current()
        table.optimize(cleanup_older_than=timedelta(minutes=10))

    def generations(self) -> dict[str, Settings]:
        """See `Index.generations`."""
        return self._generations()[0]

    def begin_generation(self, name: str, settings: Settings) -> Index:
        """See `Index.begin_generation`."""
        known, current = self._generations()
        if name in known and known[name] != settings:
            raise ValueError(
                f"the generation {name!r} was begun with other settings: drop it, or name another"
            )
        if name not in known:
            self._table(name, settings)
            self._set_generations({**known, name: settings}, current)
        return LanceIndex(self._address, name)

    def promote(self, name: str) -> None:
        """See `Index.promote`."""
        known, _ = self._generations()
        if name not in known:
            raise IndexNotFound(f"there is no generation {name!r}; there are {', '.join(sorted(known))}")
        self._set_generations(known, name)

    def drop_generation(self, name: str) -> None:
        """See `Index.drop_generation`."""
        known, current = self._generations()
        if name == current:
            raise ValueError(f"the generation {name!r} is the current one: make another one current first")
        if name in known:
            self._set_generations({one: known[one] for one in known if one != name}, current)
            with suppress(ValueError):
                self._database.drop_table(_ROWS + name)

    def close(self) -> None:
        """See `Index.close`."""
        with self._lock:
            self._tables.clear()
            self._known = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _names(self) -> list[str]:
        names: list[str] = self._database.list_tables().tables
        return names

    def _current(self) -> tuple[str, Settings, lancedb.table.Table]:
        """The generation that calls are of, now."""
        known, current = self._generations()
        name = self._fixed or current
        if name not in known:
            raise IndexNotFound(f"the index at {self._address} has no generation {name!r}")
        return name, known[name], self._table(name)

    def _table(self, name: str, settings: Settings | None = None) -> lancedb.table.Table:
        """The rows of a generation; made where settings are given and there is no such table."""
        with self._lock:
            if name not in self._tables:
                if settings is not None:
                    schema = schema_of(settings)
                    table = self._database.create_table(_ROWS + name, schema=schema, exist_ok=True)
                else:
                    table = self._database.open_table(_ROWS + name)
                self._tables[name] = table
            return self._tables[name]

    def _generations(self) -> tuple[dict[str, Settings], str]:
        """All generations, and the name of the current one."""
        with self._lock:
            if self._known is None:
                self._known = self._database.open_table(_GENERATIONS)
            rows = self._known.search().limit(None).to_list()
        known = {row["name"]: Settings(**json.loads(row["settings"])) for row in rows}
        return known, next(row["name"] for row in rows if row["current"])

    def _set_generations(self, known: dict[str, Settings], current: str, *, new: bool = False) -> None:
        rows = [
            {"name": name, "settings": json.dumps(asdict(settings)), "current": name == current}
            for name, settings in known.items()
        ]
        if new:
            self._database.create_table(_GENERATIONS, rows)
        else:
            self._database.open_table(_GENERATIONS).add(rows, mode="overwrite")


def _connect(address: str) -> lancedb.db.DBConnection:
    try:
        import lancedb
    except ImportError as error:
        raise SearchIndexError(
            "an index in a folder or an object store needs LanceDB: pip install 'babelclip[search]'"
        ) from error
    # Each call sees what other processes committed before it.
    return lancedb.connect(address, read_consistency_interval=timedelta(0))


def _where(raw: Filter | None, settings: Settings) -> str | None:
    return None if raw is None else to_sql(parse_filter(raw, settings.fields))


def _ids(ids: Iterable[str]) -> str | None:
    listed = ", ".join(literal(one) for one in ids)
    return f"id IN ({listed})" if listed else None


def _hits(found: pa.Table, settings: Settings) -> list[Hit]:
    # LanceDB's distance of unit vectors by their dot product is 1 - cosine.
    cosines = 1.0 - np.asarray(found.column("_distance"), dtype=np.float64)
    return [Hit(row, float(cosine)) for row, cosine in zip(rows_from(found, settings), cosines, strict=True)]
