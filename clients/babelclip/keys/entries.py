"""What stands in a file of keys: who each is, what it may do, until when, and how much of it.

    {"keys": [{"name": "shop", "sha256": "…", "created": "2026-01-31T12:00:00Z",
               "scopes": ["embed", "search"], "expires": "2027-01-31T12:00:00Z",
               "collections": ["shop-*"], "limits": {"items_per_second": 100}}]}

`scopes`, `expires`, `collections` and `limits` may be absent: then a key has the scopes of `DEFAULT_SCOPES`,
no end, all collections and no limits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, get_args

Scope = Literal["embed", "search", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_SCOPES: tuple[Scope, ...] = ("embed", "search")
"""`embed` gives vectors, `search` compares and finds, `write` changes collections, `admin` what is served."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_REQUIRED = {"name", "sha256", "created"}
_OPTIONAL = {"scopes", "expires", "collections", "limits"}
_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\*?|\*", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """How much one key may have; None for as much as there is.

    Attributes:
        requests_per_second: calls, and requests of a stream.
        items_per_second: texts and images.
        bytes_per_second: of the bodies of requests.
        concurrent_items: items that wait or are being embedded at a time.
    """

    requests_per_second: float | None = None
    items_per_second: float | None = None
    bytes_per_second: float | None = None
    concurrent_items: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.named().items():
            if not 0 < value < 1e15:  # Neither is a number that is none.
                raise ValueError(f"{name} must be more than 0 and less than 1e15")

    def named(self) -> dict[str, float]:
        """Those that are set, by their names."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NO_LIMITS = Limits()
ALL_COLLECTIONS = ("*",)


@dataclass(frozen=True)
class Key:
    """A caller: a name for people and metrics, the SHA-256 of the secret, and what it may do.

    Attributes:
        collections: those that its scopes hold for, by their names, or by how they begin: "shop-*".
    """

    name: str
    digest: bytes
    created: str
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    expires: datetime | None = None
    limits: Limits = NO_LIMITS
    collections: tuple[str, ...] = ALL_COLLECTIONS


def check_name(name: str) -> None:
    """Raises ValueError for what cannot be the name of a key."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a key: up to 64 letters, digits and . _ -")


def check_collections(found: Any) -> tuple[str, ...]:
    """Raises ValueError for what are no names of collections, or no beginnings of names before a *."""
    if not isinstance(found, list | tuple) or not found:
        raise ValueError("collections must be a list of at least one name")
    for name in found:
        if not isinstance(name, str) or not _COLLECTION.fullmatch(name):
            raise ValueError(
                "collections must be names, of up to 64 letters, digits, _ and -, or how names begin and a *"
            )
    return tuple(found)


def is_among(name: str, collections: Sequence[str]) -> bool:
    """Whether the collection of this name is one of a key's."""
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in collections)


def parse(data: bytes) -> list[Key]:
    """The content of a file of keys.

    What is unknown is refused: an entry with a limit that this version does not know would have none.

    Raises:
        ValueError: it is none of keys; the message quotes no hash.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(content, dict) or set(content) != {"keys"} or not isinstance(content["keys"], list):
        raise ValueError('it must be {"keys": [{"name": "…", "sha256": "…", "created": "…"}, …]}')
    found: dict[str, Key] = {}
    for place, entry in enumerate(content["keys"]):
        try:
            key = _key(entry)
        except ValueError as error:
            raise ValueError(f"keys[{place}]: {error}") from None
        if key.name in found:
            raise ValueError(f"keys[{place}]: there are two keys of the name {key.name}")
        found[key.name] = key
    return list(found.values())


def render(keys: Sequence[Key]) -> bytes:
    """The content of a file of these keys."""
    return (json.dumps({"keys": [_entry(key) for key in keys]}, indent=1) + "\n").encode()


def moment(text: str) -> datetime:
    """A moment as ISO 8601 has it, such as 2027-01-31 or 2027-01-31T12:00:00Z; in UTC unless it says more.

    Raises:
        ValueError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is no moment such as 2027-01-31T12:00:00Z") from None


def written(when: datetime) -> str:
    """A moment as it stands in the file."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _entry(key: Key) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": key.name,
        "sha256": key.digest.hex(),
        "created": key.created,
        "scopes": list(key.scopes),
    }
    if key.expires is not None:
        entry["expires"] = written(key.expires)
    if key.collections != ALL_COLLECTIONS:
        entry["collections"] = list(key.collections)
    if limits := key.limits.named():
        entry["limits"] = limits
    return entry


def _key(entry: Any) -> Key:
    if not isinstance(entry, dict):
        raise ValueError("it must be an object")
    if missing := _REQUIRED - set(entry):
        raise ValueError(f"it has no {min(missing)}")
    if extra := set(entry) - _REQUIRED - _OPTIONAL:
        raise ValueError(f"this version knows no {min(extra)!r}")
    for name in (*sorted(_REQUIRED), "expires"):
        if not isinstance(entry.get(name, ""), str):
            raise ValueError(f"{name} must be a string")
    check_name(entry["name"])
    if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]):
        raise ValueError("sha256 must be 64 hexadecimal digits in lower case")
    return Key(
        entry["name"],
        bytes.fromhex(entry["sha256"]),
        entry["created"],
        _scopes(entry.get("scopes", DEFAULT_SCOPES)),
        moment(entry["expires"]) if "expires" in entry else None,
        _limits(entry.get("limits", {})),
        check_collections(entry.get("collections", ALL_COLLECTIONS)),
    )


def _scopes(found: Any) -> tuple[Scope, ...]:
    if not isinstance(found, list | tuple) or not found or any(scope not in SCOPES for scope in found):
        raise ValueError(f"scopes must be a list of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in found)


def _limits(found: Any) -> Limits:
    if not isinstance(found, Mapping):
        raise ValueError("limits must be an object")
    known = {field.name for field in fields(Limits)}
    if extra := set(found) - known:
        raise ValueError(f"this version knows no limit {min(extra)!r}; there are {', '.join(sorted(known))}")
    for name, value in found.items():
        whole = name == "concurrent_items"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError(f"{name} must be a {'whole ' if whole else ''}number")
    return Limits(**found)
