"""Values for requests that are nearly right: of JSON schemas, messages of protobuf, bodies of items."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.fuzz import contents
from tests.fuzz.images import image

KEPT = "fuzzed"
"""A collection that requests are sent to."""


def instance(rng: random.Random, schema: dict[str, Any], depth: int = 0) -> Any:
    """A value that a JSON schema allows, or nearly so."""
    if rng.random() < 0.08 or depth > 6:
        return contents.value(rng)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "properties" in schema:
        fields = schema["properties"]
        kept = [name for name in fields if name in schema.get("required", ()) or rng.random() < 0.5]
        return {name: instance(rng, fields[name], depth + 1) for name in kept}
    if "oneOf" in schema or "anyOf" in schema:
        return instance(rng, rng.choice(schema.get("oneOf") or schema["anyOf"]), depth + 1)
    kind = schema.get("type")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "array":
        count = rng.choice((0, 1, 1, 2, 3, 30))
        return [instance(rng, schema.get("items", {}), depth + 1) for _ in range(count)]
    if kind == "integer":
        return rng.choice((0, 1, 32, -1, 2**31, 10**30))
    if kind == "number":
        return rng.choice((0.0, 1.5, -1e308))
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "object" and rng.random() < 0.6:
        return _filter(rng)
    return contents.words(rng) if kind == "string" else contents.value(rng)


def _filter(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A filter, or metadata, or nearly either."""
    if depth < 5 and rng.random() < 0.4:
        inner = _filter(rng, depth + 1)
        return rng.choice(({"$not": inner}, {"$and": [inner, inner]}, {"$or": [inner]}, {"$or": inner}))
    column = rng.choice(("album", "width", "taken", "id", "caption", "none", contents.words(rng)))
    value = contents.value(rng)
    if rng.random() < 0.5:
        return {column: value}
    comparisons = ("$eq", "$ne", "$gt", "$lte", "$in", "$nin", "$exists", "$prefix", "$contains", "$x")
    return {column: {rng.choice(comparisons): value}}


def message(rng: random.Random, descriptor: Any, depth: int = 0) -> Any:
    """A message of protobuf with arbitrary fields."""
    made = descriptor._concrete_class()
    for each in descriptor.fields:
        if rng.random() < 0.3 or depth > 4:
            continue
        repeated = each.is_repeated
        if each.message_type is not None and each.message_type.GetOptions().map_entry:
            _fill(rng, getattr(made, each.name), each.message_type, depth)
            continue
        values = [_scalar(rng, each, depth) for _ in range(rng.choice((0, 1, 2, 20)) if repeated else 1)]
        if each.message_type is not None and not repeated:
            getattr(made, each.name).CopyFrom(values[0])
        elif repeated:
            getattr(made, each.name).extend(values)
        else:
            setattr(made, each.name, values[0])
    return made


def _fill(rng: random.Random, made: Any, entry: Any, depth: int) -> None:
    """Entries of a map, such as the fields of a Struct."""
    for _ in range(rng.choice((0, 1, 3))):
        name = rng.choice(("album", "width", "$and", "$eq", text(rng)))
        value = _scalar(rng, entry.fields_by_name["value"], depth)
        if entry.fields_by_name["value"].message_type is None:
            made[name] = value
        else:
            made[name].CopyFrom(value)


def _scalar(rng: random.Random, each: Any, depth: int) -> Any:
    if each.message_type is not None:
        return message(rng, each.message_type, depth + 1)
    if each.cpp_type == each.CPPTYPE_STRING:
        if each.type == each.TYPE_BYTES:
            return rng.choice((image, contents.protobuf))(rng)
        if each.name == "model_name" and rng.random() < 0.8:
            return rng.choice(("text", "vision", "clip:text"))
        return KEPT if each.name == "collection" and rng.random() < 0.7 else text(rng)
    if each.cpp_type in (each.CPPTYPE_FLOAT, each.CPPTYPE_DOUBLE):
        return rng.choice((0.0, -1.0, 1e30, 1e300, float("inf"), float("nan")))
    if each.cpp_type == each.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if each.cpp_type == each.CPPTYPE_ENUM:
        return rng.choice(each.enum_type.values).number
    return rng.choice((0, 1, 7, 2**31 - 1))


def text(rng: random.Random) -> str:
    """A text that protobuf takes."""
    return contents.words(rng).encode("utf-8", "replace").decode()


def many(rng: random.Random, schema: dict[str, Any]) -> tuple[bytes, bytes]:
    """Items as lines of JSON or as files of a form → the body, and its content type."""
    if rng.random() < 0.5:
        return contents.multipart(rng)
    item = schema["properties"]["items"]["items"]
    lines = [json.dumps(instance(rng, item)).encode() for _ in range(rng.choice((0, 1, 3, 70)))]
    lines += rng.choice(([], [b""], [contents.json_text(rng, "image")], [b"x" * 100_000]))
    rng.shuffle(lines)
    return rng.choice((b"\n", b"\n", b"\r\n", b"\n\n")).join(lines), b"application/x-ndjson"
