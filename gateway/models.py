"""Which towers a model's name means: `NAME` the default version, `NAME@VERSION` that one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from babelclip.errors import BabelclipError
from gateway.admission.towers import Admission
from gateway.errors import MODEL_NOT_FOUND, ApiError, from_client
from gateway.towers.base import ModelVersion, Towers
from gateway.towers.cache import VectorCache
from gateway.towers.cached import CachedTowers

# A version becomes part of the engine's address.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SHOWN = 100  # characters of a name that a message repeats


@dataclass(frozen=True)
class Chosen:
    """A model as a caller named it.

    Attributes:
        name: without the version.
        version: the one that was named; None for the default.
    """

    name: str
    version: str | None
    towers: Towers

    async def resolve(self) -> ModelVersion:
        """The version that is meant.

        Raises:
            ApiError: it is not served, or the engine could not be asked.
        """
        try:
            return await self.towers.version(self.version)
        except BabelclipError as error:
            raise from_client(error) from error


@dataclass(frozen=True)
class Listed:
    """An entry of the list of models.

    Attributes:
        name: NAME for the default version, or NAME@VERSION.
        version: what is known of it, or why it does not embed at the moment.
    """

    name: str
    version: ModelVersion | ApiError


class Models:
    """All models that are served, by the names callers use; the first is the default.

    Args:
        cache: keeps the vectors of all of them; None for none.
        admission: has made the queues before them; None for none.
    """

    def __init__(
        self,
        towers: Mapping[str, Towers],
        *,
        cache: VectorCache | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.admission = admission
        self.cache = cache
        self.towers = dict(towers)
        if cache is not None:
            self.towers = {name: CachedTowers(one, cache, name) for name, one in towers.items()}

    def find(self, name: str) -> Chosen:
        """The model of a name, `NAME`, `NAME@VERSION`, or "" for the default.

        Raises:
            ApiError: there is no such model, or it cannot have such a version.
        """
        base, at, version = name.partition("@")
        if not base and not at:
            base = next(iter(self.towers))
        if base not in self.towers:
            raise _not_found(f"there is no model {name[:_SHOWN]!r}; there are {', '.join(self.towers)}")
        if at and not _VERSION.fullmatch(version):
            raise _not_found(
                f"{version[:_SHOWN]!r} cannot be a version: NAME@VERSION has up to 64 letters, digits,"
                " and . _ -"
            )
        return Chosen(base, version or None, self.towers[base])

    async def listed(self) -> list[Listed]:
        """Each model by its name, and by the versions of it that are known."""
        found = []
        for name, towers in self.towers.items():
            try:
                found.append(Listed(name, await Chosen(name, None, towers).resolve()))
            except ApiError as error:
                found.append(Listed(name, error))
            found += [Listed(f"{name}@{known.version}", known) for known in towers.known() if known.version]
        return found

    async def check(self) -> dict[str, ModelVersion | BabelclipError]:
        """The default version of each model whose towers both give their golden items, or why they do not."""
        found: dict[str, ModelVersion | BabelclipError] = {}
        for name, towers in self.towers.items():
            try:
                found[name] = await towers.check()
            except BabelclipError as error:
                found[name] = error
        return found

    async def close(self) -> None:
        """Gives all connections back."""
        for towers in self.towers.values():
            await towers.close()


def _not_found(message: str) -> ApiError:
    return ApiError(404, MODEL_NOT_FOUND, message, param="model")
