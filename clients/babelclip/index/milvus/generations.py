"""The generations of an index in Milvus: collections, and an alias with the index's name for the current one.

What a generation is stands in the properties of its collection. An alias is changed in one step, and of two
collections of the same generation, which two processes began at once, the one that was made first counts.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from babelclip.index.base import Settings
from babelclip.index.errors import IndexExists, IndexNotFound
from babelclip.index.milvus.address import MilvusAddress
from babelclip.index.milvus.calls import Server, is_missing
from babelclip.index.milvus.rows import VECTOR, check_milvus_settings, schema_of
from babelclip.index.structure import Structure

FIRST = "1"  # the generation that a new index has
METHOD = "IVF_FLAT"
NLIST = 256
"""Partitions of each of Milvus's segments, if it has 40 times as many rows; else fewer.

More of them take more time to make, and Milvus makes them again whenever it merges segments.
"""

_INDEX, _GENERATION, _SETTINGS, _STRUCTURE = (
    f"babelclip.{name}" for name in ("index", "generation", "settings", "structure")
)


@dataclass(frozen=True)
class Generation:
    """What is known of a generation; `collection` is the name of the one with its rows."""

    name: str
    collection: str
    settings: Settings
    structure: Structure | None
    made: int


class Generations:
    """The generations of an index; all calls see what other processes changed before."""

    def __init__(self, server: Server, address: MilvusAddress) -> None:
        self._server = server
        self._client = server.client
        self._index = address.name
        self._alias = address.alias
        self._loaded: set[str] = set()

    def create(self, settings: Settings) -> None:
        """The first one of a new index.

        Raises:
            IndexExists: there is one.
            ValueError: the settings cannot be used.
        """
        from pymilvus.exceptions import MilvusException

        check_milvus_settings(settings)
        if self._exists(self._alias):  # or another collection of that name
            raise IndexExists("there is an index already")
        collection = self._make(FIRST, settings)
        try:
            self._prepare(collection)
            self._client.create_alias(collection, self._alias)
        except MilvusException as error:
            self._client.drop_collection(collection)
            if self._exists(self._alias):
                raise IndexExists("there is an index already") from error
            raise

    def get(self, name: str | None) -> Generation:
        """The one of that name, or the current one.

        Raises:
            IndexNotFound: there is none.
        """
        if name is None:
            found = self._describe(self._alias)
            if found is None:
                raise IndexNotFound(f"there is no index {self._index} any more")
            return found
        known = self.all()
        if name not in known:
            raise IndexNotFound(f"the index has no generation {name!r}; there are {', '.join(sorted(known))}")
        return known[name]

    def all(self) -> dict[str, Generation]:
        """All by name."""
        known: dict[str, Generation] = {}
        for collection in self._client.list_collections():
            if not collection.startswith(f"{self._alias}_rows_"):
                continue
            found = self._describe(collection)
            if found is None:
                continue  # It was dropped meanwhile, or is of an index whose name begins alike.
            first = known.get(found.name, found)
            known[found.name] = min(first, found, key=lambda one: (one.made, one.collection))
        return known

    def begin(self, name: str, settings: Settings) -> None:
        """One that is not current, unless there is one of that name and these settings."""
        check_milvus_settings(settings)
        known = self.all()
        if name not in known:
            collection = self._make(name, settings)
            known = self.all()
            if known[name].collection != collection:  # another process was first
                self._client.drop_collection(collection)
        if known[name].settings != settings:
            raise ValueError(
                f"the generation {name!r} was begun with other settings: drop it, or name another"
            )
        self._prepare(known[name].collection)

    def promote(self, name: str) -> None:
        self._client.alter_alias(self.get(name).collection, self._alias)

    def drop(self, name: str) -> None:
        if self.get(None).name == name:
            raise ValueError(f"the generation {name!r} is the current one: make another one current first")
        known = self.all()
        if name in known:
            self._client.drop_collection(known[name].collection)

    def drop_all(self) -> None:
        """All generations, and the alias first: who opens the index from then on finds none."""
        known = self.all()
        self._client.drop_alias(self._alias)
        for generation in known.values():
            self._client.drop_collection(generation.collection)

    def set_structure(self, generation: Generation, structure: Structure | None) -> None:
        text = "" if structure is None else structure.to_json()
        self._client.alter_collection_properties(generation.collection, {_STRUCTURE: text})

    def _make(self, name: str, settings: Settings) -> str:
        """A new collection for a generation's rows; no later one has its name."""
        collection = f"{self._alias}_rows_{uuid.uuid4().hex[:12]}"
        properties = {
            _INDEX: self._index,
            _GENERATION: name,
            _SETTINGS: json.dumps(asdict(settings)),
            _STRUCTURE: "",
        }
        self._client.create_collection(
            collection, schema=schema_of(settings), properties=properties, consistency_level="Session"
        )
        return collection

    def _prepare(self, collection: str) -> None:
        """Index its vectors and load it, where that was not done."""
        if not self._client.list_indexes(collection):
            params = self._client.prepare_index_params()
            params.add_index(VECTOR, index_type=METHOD, metric_type="IP", params={"nlist": NLIST})
            self._client.create_index(collection, params)
        self._client.load_collection(collection)

    def _exists(self, name: str) -> bool:
        """Whether a collection or an alias has this name."""
        from pymilvus.exceptions import MilvusException

        try:
            return bool(self._client.describe_collection(name))
        except MilvusException as error:
            if not is_missing(error):
                raise
            return False

    def _describe(self, name: str) -> Generation | None:
        """What the properties of a collection or an alias say; None where they are not those of the index."""
        from pymilvus.exceptions import MilvusException

        try:
            found: Mapping[str, Any] = self._client.describe_collection(name)
        except MilvusException as error:
            if is_missing(error):
                return None
            raise
        properties = found.get("properties") or {}
        if properties.get(_INDEX) != self._index:
            return None
        collection = str(found["collection_name"])
        if self._server.lite and collection not in self._loaded:
            self._prepare(collection)  # It forgets with each process what is loaded.
            self._loaded.add(collection)
        return Generation(
            properties[_GENERATION],
            collection,
            Settings(**json.loads(properties[_SETTINGS])),
            Structure.from_json(properties[_STRUCTURE]),
            int(found.get("created_timestamp") or 0),
        )
