"""Rows as columns of Arrow, and back.

The details of a row stand in columns of their own, to be filtered by, and once more as one JSON text:
to read sixteen columns of ten rows takes longer than to find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from babelclip.index.base import DETAILS, FIELD_TYPES, Row, Settings
from babelclip.index.lance.sql import DECLARED
from babelclip.index.rows import (
    COLUMNS,
    INTEGERS,
    NUMBERS,
    TEXTS,
    check_columns,
    check_settings,
    check_texts,
    check_vector,
    details_of,
    field_of,
    read_details,
)

if TYPE_CHECKING:
    import pyarrow as pa

_JSON = "details"
_FEW = 2  # columns that are read on their own


def schema_of(settings: Settings) -> pa.Schema:
    """The columns of a generation's table.

    Raises:
        ValueError: the dimension or a field cannot be used.
    """
    import pyarrow as pa

    check_settings(settings)
    types = dict(zip(FIELD_TYPES, (pa.string(), pa.int64(), pa.float64(), pa.bool_()), strict=True))
    # The key's name is Lance's: two writers of the same new id then conflict, and the later one retries.
    key = pa.field(
        "id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"}
    )
    columns = [key, *(pa.field(name, pa.string()) for name in TEXTS if name != "id")]
    columns += [pa.field(name, pa.int64()) for name in INTEGERS]
    columns += [pa.field(name, pa.float64()) for name in NUMBERS]
    columns += [pa.field(_JSON, pa.string()), pa.field("thumbnail", pa.binary())]
    columns += [pa.field(DECLARED + name, types[kind]) for name, kind in settings.fields.items()]
    return pa.schema([*columns, pa.field("vector", pa.list_(pa.float32(), settings.dim))])


def table_of(rows: Sequence[Row], settings: Settings) -> pa.Table:
    """Rows as a table of `schema_of`.

    Raises:
        SpaceMismatch: a vector has another dimension.
        ValueError: a row has neither vector nor error code, or a field's value another type.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows] for name in (*TEXTS, *INTEGERS, *NUMBERS, "thumbnail")
    }
    columns[_JSON] = [details_of(row) for row in rows]
    columns["vector"] = _vectors_of(rows, settings.dim)
    for name, kind in settings.fields.items():
        columns[DECLARED + name] = [field_of(row, name, kind) for row in rows]
    try:
        return pa.Table.from_pydict(columns, schema=schema_of(settings))
    except UnicodeEncodeError:
        check_texts(rows)
        raise


def selected(columns: Sequence[str], settings: Settings) -> list[str]:
    """The names of columns to read for fields of `Row`; id always is one.

    Raises:
        ValueError: `Row` has no such field.
    """
    check_columns(columns)
    details = [name for name in columns if name in DETAILS]
    large = [name for name in columns if name in ("vector", "thumbnail")]
    return ["id", *([_JSON] if len(details) > _FEW or "metadata" in details else details), *large]


def rows_from(found: pa.Table | pa.RecordBatch, settings: Settings, columns: Sequence[str]) -> list[Row]:
    """Rows of what was read for `columns`; the others have their defaults."""
    rows = []
    names = [name for name in found.schema.names if name in (*COLUMNS, _JSON) and name != "vector"]
    has_vector = "vector" in found.schema.names
    vectors = _vectors(found, settings.dim) if has_vector else None
    for index, values in enumerate(found.select(names).to_pylist()):
        if _JSON in values:
            values.update(read_details(values.pop(_JSON), columns))
        values.setdefault("source", "")
        if vectors is not None and np.isfinite(vectors[index, 0]):
            values["vector"] = vectors[index]
        rows.append(Row(**values))
    return rows


def _vectors(found: Any, dim: int) -> Any:
    """float32 [N, dim]; NaN where there is none."""
    column = found.column("vector")
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    rows = np.full((len(column), dim), np.nan, dtype=np.float32)
    present = np.asarray(column.is_valid())
    if present.any():
        rows[present] = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return rows


def _vectors_of(rows: Sequence[Row], dim: int) -> pa.FixedSizeListArray:
    """A column with a vector for each row, missing where it failed."""
    import pyarrow as pa

    values = np.zeros((len(rows), dim), dtype=np.float32)
    missing = np.zeros(len(rows), dtype=bool)
    for index, row in enumerate(rows):
        check_vector(row, dim)
        if row.vector is None:
            missing[index] = True
        else:
            values[index] = row.vector
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), dim, mask=pa.array(missing))
