"""Rows as Milvus's entities, and back.

The details of a row stand in columns of their own, to be filtered by, and once more as one JSON text, which
hits are read from. A column of text holds 65,535 bytes: longer details, and thumbnails, are in several. A row
without a vector has one of zeros, and searches leave it out by the column `embedded`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from babelclip.index.base import DETAILS, Row, Settings
from babelclip.index.filters import COLUMNS
from babelclip.index.milvus.filters import DECLARED, EMBEDDED, PRESENT
from babelclip.index.rows import (
    INTEGERS,
    NUMBERS,
    check_columns,
    check_settings,
    check_texts,
    check_vector,
    details_of,
    field_of,
    read_details,
)

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

MAX_BYTES = 65_535
"""Of a column of text."""

MAX_ID = 1024  # bytes
MAX_FIELDS = 20  # of the 64 columns that a collection may have a field takes two
DETAILS_PARTS = ("details", "details_2", "details_3")
THUMBNAIL_PARTS = ("thumbnail", "thumbnail_2")
VECTOR = "vector"

_TEXTS = tuple(name for name, kind in COLUMNS.items() if kind == "text" and name != "id")
_EMPTY: Mapping[str, Any] = {"text": "", "integer": 0, "number": 0.0, "boolean": False}
_SHOWN = 200  # characters of a source that a message repeats
_REQUEST = 16_000_000  # bytes of rows that are sent at once, about; the server takes 64 MB


def check_milvus_settings(settings: Settings) -> None:
    """Raises ValueError where a generation of these settings cannot be kept in Milvus."""
    check_settings(settings)
    if len(settings.fields) > MAX_FIELDS:
        raise ValueError(f"there are {len(settings.fields)} fields; Milvus keeps at most {MAX_FIELDS}")
    if not all(name.isascii() for name in settings.fields):
        raise ValueError("the names of fields may have no other letters in Milvus than A to Z")


def schema_of(settings: Settings) -> CollectionSchema:
    """The columns of a generation's collection."""
    from pymilvus import DataType, MilvusClient

    types = {
        "text": DataType.VARCHAR,
        "integer": DataType.INT64,
        "number": DataType.DOUBLE,
        "boolean": DataType.BOOL,
    }
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID)
    for name in (*_TEXTS, *DETAILS_PARTS, *THUMBNAIL_PARTS):
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_BYTES)
    for name in INTEGERS:
        schema.add_field(name, DataType.INT64)
    fields = {DECLARED + name: kind for name, kind in settings.fields.items()}
    for name, kind in {**dict.fromkeys(NUMBERS, "number"), **fields}.items():
        more = {"max_length": MAX_BYTES} if kind == "text" else {}
        schema.add_field(name, types[kind], **more)
        schema.add_field(PRESENT + name, DataType.BOOL)
    schema.add_field(EMBEDDED, DataType.BOOL)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=settings.dim)
    return schema


def entities_of(rows: Sequence[Row], settings: Settings) -> list[dict[str, Any]]:
    """Rows as entities of `schema_of`.

    Raises:
        SpaceMismatch: a vector has another dimension.
        ValueError: a row has neither vector nor error code, a field's value another type, or is too long.
    """
    check_texts(rows)
    return [_entity(row, settings) for row in rows]


def requests_of(entities: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Entities in pieces that a server takes at once."""
    begin, size = 0, 0
    for end, entity in enumerate(entities):
        more = 4 * len(entity[VECTOR]) + sum(len(one) for one in entity.values() if isinstance(one, str))
        if size and size + more > _REQUEST:
            yield entities[begin:end]
            begin, size = end, 0
        size += more
    yield entities[begin:]


def selected(columns: Sequence[str]) -> list[str]:
    """The names of columns to read for fields of `Row`.

    Raises:
        ValueError: `Row` has no such field.
    """
    check_columns(columns)
    names = ["id"]
    if any(name in DETAILS for name in columns):
        names += DETAILS_PARTS
    if "thumbnail" in columns:
        names += THUMBNAIL_PARTS
    return [*names, EMBEDDED, VECTOR] if VECTOR in columns else names


def row_from(entity: Mapping[str, Any], columns: Sequence[str]) -> Row:
    """The row of what was read for `columns`; other fields have their defaults."""
    values: dict[str, Any] = {"id": entity["id"], "source": ""}
    if "details" in entity:
        values.update(read_details("".join(entity[part] for part in DETAILS_PARTS), columns))
    if "thumbnail" in entity:
        values["thumbnail"] = base64.b64decode("".join(entity[part] for part in THUMBNAIL_PARTS))
    if entity.get(EMBEDDED) and VECTOR in entity:
        values["vector"] = np.asarray(entity[VECTOR], dtype=np.float32)
    return Row(**values)


def why_too_large(row: Row, settings: Settings) -> str:
    """Why Milvus keeps no such row, in a sentence; empty where its id and its texts have room.

    Raises:
        ValueError: the metadata is not a JSON object, or a text is no Unicode text.
    """
    named = repr(row.source[:_SHOWN])
    if not row.id or len(row.id.encode()) > MAX_ID:
        return f"the id of {named} must have 1 to {MAX_ID:,} bytes in Milvus"
    texts = {name: getattr(row, name) for name in _TEXTS}
    texts |= {DECLARED + name: row.metadata.get(name) for name in settings.fields}
    for name, text in texts.items():
        if isinstance(text, str) and len(text.encode()) > MAX_BYTES:
            return f"{name} of {named} has more than the {MAX_BYTES:,} bytes that Milvus keeps"
    for what, text, names in _long_texts(row):
        if len(_cut(text)) > len(names):
            size = len(text.encode())
            return f"the {what} of {named} are {size:,} bytes of text, more than Milvus keeps"
    return ""


def _entity(row: Row, settings: Settings) -> dict[str, Any]:
    check_vector(row, settings.dim)
    if why := why_too_large(row, settings):
        raise ValueError(why)
    entity: dict[str, Any] = {"id": row.id, EMBEDDED: row.vector is not None}
    entity[VECTOR] = np.zeros(settings.dim, np.float32) if row.vector is None else row.vector
    for name in (*_TEXTS, *INTEGERS):
        entity[name] = getattr(row, name)
    values = {name: (getattr(row, name), "number") for name in NUMBERS}
    for name, kind in settings.fields.items():
        values[DECLARED + name] = field_of(row, name, kind), kind
    for name, (value, kind) in values.items():
        entity[PRESENT + name] = value is not None
        entity[name] = _EMPTY[kind] if value is None else value
        if kind == "number":
            entity[name] = float(entity[name])
    for _, text, names in _long_texts(row):
        parts = _cut(text)
        entity.update(zip(names, [*parts, *[""] * (len(names) - len(parts))], strict=True))
    return entity


def _long_texts(row: Row) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What may be longer than a column: what it is, its text, and the columns that hold it."""
    yield "details", details_of(row), DETAILS_PARTS
    yield "thumbnail", base64.b64encode(row.thumbnail).decode(), THUMBNAIL_PARTS


def _cut(text: str) -> list[str]:
    """A text in parts that fit into columns, no character of it cut."""
    parts = []
    left = text.encode()
    while len(left) > MAX_BYTES:
        end = MAX_BYTES
        while left[end] & 0xC0 == 0x80:  # within a character
            end -= 1
        parts.append(left[:end].decode())
        left = left[end:]
    parts.append(left.decode())
    return parts
