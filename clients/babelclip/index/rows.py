"""What holds of rows whichever engine keeps them: which there may be, and their details as one JSON text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from babelclip.errors import SpaceMismatch
from babelclip.index.base import DETAILS, FIELD_TYPES, Row, Settings
from babelclip.index.filters import check_value

TEXTS = (
    *("id", "source", "collection", "kind", "fingerprint", "checksum", "perceptual_hash", "caption"),
    *("error_code", "error_message"),
)
INTEGERS = ("size", "width", "height")
NUMBERS = ("taken", "begin", "end")
COLUMNS = (*TEXTS, *INTEGERS, *NUMBERS, "vector", "thumbnail", "metadata")
"""The fields of a row."""

_DEFAULTS = {one.name: one.default for one in dataclasses.fields(Row)}


def check_settings(settings: Settings) -> None:
    """Raises ValueError where the dimension or a field cannot be used."""
    if settings.dim < 1:
        raise ValueError(f"dim must be at least 1, not {settings.dim}")
    for name, kind in settings.fields.items():
        if not name.isidentifier() or name in COLUMNS:
            raise ValueError(
                f"a field may not be called {name!r}: letters, digits and _, and no column of ours"
            )
        if kind not in FIELD_TYPES:
            raise ValueError(f"the field {name} is of the type {kind!r}; there are {', '.join(FIELD_TYPES)}")


def check_columns(columns: Iterable[str]) -> None:
    """Raises ValueError where `Row` has no such field."""
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise ValueError(f"a row has no {unknown[0]!r}; it has {', '.join(COLUMNS)}")


def check_space(address: str, settings: Settings, space: str) -> None:
    """Raises SpaceMismatch for vectors of another space than the generation's."""
    if space != settings.space:
        raise SpaceMismatch(
            f"the index at {address} is of the space {settings.space}, the vectors are of {space}"
        )


def check_query(address: str, settings: Settings, space: str, dim: int) -> None:
    """Raises SpaceMismatch for queries of another space, or of another dimension."""
    if space != settings.space or dim != settings.dim:
        raise SpaceMismatch(
            f"the index at {address} is of the space {settings.space} ({settings.dim} values),"
            f" the query of {space} ({dim}): embed it by version {settings.version or '?'}"
        )


def check_vector(row: Row, dim: int) -> None:
    """A row has a vector or an error code.

    Raises:
        SpaceMismatch: the vector has another dimension.
        ValueError: it has neither or both, or a number is not finite.
    """
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


def check_texts(rows: Sequence[Row]) -> None:
    """Raises ValueError for a row with a text that is no Unicode text: a lone surrogate."""
    for row in rows:
        try:
            for name in TEXTS:
                getattr(row, name).encode("utf-8")
            json.dumps(dict(row.metadata), ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"a text of the row {row.source!r} holds a character that is no Unicode text"
            ) from error


def field_of(row: Row, name: str, kind: str) -> Any:
    """The value of a declared field; None where the row lacks it.

    Raises:
        ValueError: it is of another type.
    """
    value = row.metadata.get(name)
    if value is not None and not check_value(value, kind):
        raise ValueError(
            f"the metadata of {row.source!r} has for {name} {value!r}, which is not of the type {kind}"
        )
    return value


def details_of(row: Row) -> str:
    """All that is not as by default, as JSON.

    Raises:
        ValueError: the metadata is not a JSON object.
    """
    details = {name: getattr(row, name) for name in DETAILS}
    details = {name: value for name, value in details.items() if value != _DEFAULTS[name]}
    details["metadata"] = dict(row.metadata)
    try:
        return json.dumps(details, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the metadata of {row.source!r} is not a JSON object: {error}") from error


def read_details(text: str, columns: Sequence[str]) -> Mapping[str, Any]:
    """Of what `details_of` wrote, what is asked for."""
    return {name: value for name, value in json.loads(text).items() if name in columns}
