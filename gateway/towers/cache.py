"""Vectors in memory, by what they are the vectors of: the latest used ones, in so many bytes."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from babelclip.wire import Tower
from gateway.towers.base import ModelVersion

# What an entry takes beside its vector: key, tuple, object, place in the table. Measured; a test holds it.
ENTRY_BYTES = 350


class CachedVector(NamedTuple):
    """float32 [D] as bytes, and what is said of a text beside it; an image has no tokens, and 0 here."""

    vector: bytes
    truncated: bool
    unknown: bool
    tokens: int


class VectorCache:
    """The vectors of all models of a gateway. Used within one event loop; counts may be read from any thread.

    Args:
        max_bytes: of vectors with all that belongs to them; what was used longest ago goes first.

    Attributes:
        bytes: taken now.
        counts: items by (model, tower, result); the result is "hit", "miss", or "shared" for an item that
            another request was having computed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, CachedVector] = OrderedDict()
        self.bytes = 0
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> CachedVector | None:
        """The vector of that key, which has now been used."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, vector: CachedVector) -> None:
        """Keep a vector; one that is larger than the whole cache is not kept."""
        size = len(vector.vector) + ENTRY_BYTES
        if size > self._max_bytes or key in self._entries:
            return
        self._entries[key] = vector
        self.bytes += size
        while self.bytes > self._max_bytes:
            _, old = self._entries.popitem(last=False)
            self.bytes -= len(old.vector) + ENTRY_BYTES


def keys(
    model: str,
    version: ModelVersion,
    tower: Tower,
    items: Sequence[str] | Sequence[bytes],
    language: str = "",
) -> list[bytes]:
    """What each item is kept under: a hash of all that its vector depends on, which nobody can forge."""
    said = (model, version.space, version.version, tower, language)
    # The lengths keep one field from reading on as the next.
    joined = "".join(f"{len(part)}:{part}" for part in said)
    of_all = hashlib.sha256(joined.encode("utf-8", "surrogatepass"))
    found = []
    for item in items:
        digest = of_all.copy()
        digest.update(item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item)
        found.append(digest.digest())
    return found
