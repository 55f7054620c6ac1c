"""Rows as columns of Arrow, and back.

The details of a row stand in columns of their own, to be filtered by, and once more as one JSON text:
to read sixteen columns of ten rows takes longer than to find them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from babelclip.errors import SpaceMismatch
from babelclip.index.base import DETAILS, FIELD_TYPES, Row, Settings
from babelclip.index.filters import check_value
from babelclip.index.sql import DECLARED

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = (
    *("id", "source", "collection", "kind", "fingerprint", "checksum", "perceptual_hash", "caption"),
    *("error_code", "error_message"),
)
_INTEGERS = ("size", "width", "height")
_NUMBERS = ("taken", "begin", "end")
_ALL = (*_TEXTS, *_INTEGERS, *_NUMBERS, "vector", "thumbnail", "metadata")
_JSON = "details"
_FEW = 2  # columns that are read on their own
_DEFAULTS = {one.name: one.default for one in dataclasses.fields(Row)}


def schema_of(settings: Settings) -> pa.Schema:
    """The columns of a generation's table.

    Raises:
        ValueError: the dimension or a field cannot be used.
    """
    import pyarrow as pa

    if settings.dim < 1:
        raise ValueError(f"dim must be at least 1, not {settings.dim}")
    types = dict(zip(FIELD_TYPES, (pa.string(), pa.int64(), pa.float64(), pa.bool_()), strict=True))
    for name, kind in settings.fields.items():
        if not name.isidentifier() or name in _ALL:
            raise ValueError(
                f"a field may not be called {name!r}: letters, digits and _, and no column of ours"
            )
        if kind not in types:
            raise ValueError(f"the field {name} is of the type {kind!r}; there are {', '.join(FIELD_TYPES)}")
    # The key's name is Lance's: two writers of the same new id then conflict, and the later one retries.
    key = pa.field(
        "id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"}
    )
    columns = [key, *(pa.field(name, pa.string()) for name in _TEXTS if name != "id")]
    columns += [pa.field(name, pa.int64()) for name in _INTEGERS]
    columns += [pa.field(name, pa.float64()) for name in _NUMBERS]
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
        name: [getattr(row, name) for row in rows] for name in (*_TEXTS, *_INTEGERS, *_NUMBERS, "thumbnail")
    }
    columns[_JSON] = [_details(row) for row in rows]
    columns["vector"] = _vectors_of(rows, settings.dim)
    for name, kind in settings.fields.items():
        columns[DECLARED + name] = [_field(row, name, kind) for row in rows]
    try:
        return pa.Table.from_pydict(columns, schema=schema_of(settings))
    except UnicodeEncodeError as error:
        bad = next((row for row in rows if not _is_text(row)), rows[0])
        raise ValueError(
            f"a text of the row {bad.source!r} holds a character that is no Unicode text"
        ) from error


def selected(columns: Sequence[str], settings: Settings) -> list[str]:
    """The names of columns to read for fields of `Row`; id always is one.

    Raises:
        ValueError: `Row` has no such field.
    """
    unknown = [name for name in columns if name not in _ALL]
    if unknown:
        raise ValueError(f"a row has no {unknown[0]!r}; it has {', '.join(_ALL)}")
    details = [name for name in columns if name in DETAILS]
    large = [name for name in columns if name in ("vector", "thumbnail")]
    return ["id", *([_JSON] if len(details) > _FEW or "metadata" in details else details), *large]


def rows_from(found: pa.Table | pa.RecordBatch, settings: Settings, columns: Sequence[str]) -> list[Row]:
    """Rows of what was read for `columns`; the others have their defaults."""
    rows = []
    names = [name for name in found.schema.names if name in (*_ALL, _JSON) and name != "vector"]
    has_vector = "vector" in found.schema.names
    vectors = _vectors(found, settings.dim) if has_vector else None
    for index, values in enumerate(found.select(names).to_pylist()):
        if _JSON in values:
            details = json.loads(values.pop(_JSON))
            values.update((name, value) for name, value in details.items() if name in columns)
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
        _check_vector(row, dim)
        if row.vector is None:
            missing[index] = True
        else:
            values[index] = row.vector
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), dim, mask=pa.array(missing))


def _check_vector(row: Row, dim: int) -> None:
    if row.vector is None:
        if not row.error_code:
            raise ValueError(f"the row of {row.source!r} has neither a vector nor an error code")
        return
    if row.error_code:
        raise ValueError(f"the row of {row.source!r} has a vector and an error code")
    if row.vector.shape != (dim,):
        raise SpaceMismatch(
            f"the vector of {row.source!r} has the shape {list(row.vector.shape)}, not [{dim}]"
        )
    if not np.isfinite(row.vector).all():
        raise ValueError(f"the vector of {row.source!r} holds numbers that are not finite")


def _details(row: Row) -> str:
    """All that is not as by default."""
    details = {name: getattr(row, name) for name in DETAILS}
    details = {name: value for name, value in details.items() if value != _DEFAULTS[name]}
    details["metadata"] = dict(row.metadata)
    try:
        return json.dumps(details, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the metadata of {row.source!r} is not a JSON object: {error}") from error


def _is_text(row: Row) -> bool:
    """Whether all texts of a row can be encoded; a lone surrogate cannot."""
    try:
        for name in _TEXTS:
            getattr(row, name).encode("utf-8")
        json.dumps(dict(row.metadata), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _field(row: Row, name: str, kind: str) -> Any:
    value = row.metadata.get(name)
    if value is not None and not check_value(value, kind):
        raise ValueError(
            f"the metadata of {row.source!r} has for {name} {value!r}, which is not of the type {kind}"
        )
    return value
