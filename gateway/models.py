"""Which towers a model's name means: `NAME` the default version, `NAME@VERSION` that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from babelclip.errors import BabelclipError
from gateway.admission.towers import Admission
from gateway.errors import MODEL_NOT_FOUND, ApiError, from_client
from gateway.fetch import ItemFetcher
from gateway.towers.base import ModelVersion, Towers
from gateway.towers.cache import VectorCache
from gateway.towers.cached import CachedTowers
from gateway.towers.shadow import ShadowedTowers
from gateway.towers.switch import SwitchedTowers
from gateway.versions import VERSION, VersionFile

_SHOWN = 100  # characters of a name that a message repeats


@dataclass(frozen=True)
class Chosen:
    """A model as a caller named it.

    Attributes:
        name: without the version.
        version: the one that was named; None for the default.
        fetcher: fetches images by their address; None where that is off.
    """

    name: str
    version: str | None
    towers: Towers
    fetcher: ItemFetcher | None = None

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
        versions: which version each means; None for the engine's defaults.
        cache: keeps the vectors of all of them; None for none.
        admission: has made the queues before them; None for none.

    Attributes:
        towers: by name, with the switch and the cache before them.
        shadowed: by name, what has been compared in the shadow of each.
        fetcher: fetches images by their address for all of them; None where that is off.
    """

    def __init__(
        self,
        towers: Mapping[str, Towers],
        *,
        versions: VersionFile | None = None,
        cache: VectorCache | None = None,
        admission: Admission | None = None,
        fetcher: ItemFetcher | None = None,
    ) -> None:
        versions = versions or VersionFile(None)
        self.admission = admission
        self.fetcher = fetcher
        self.cache = cache
        self.shadowed = {name: ShadowedTowers(one, name, versions) for name, one in towers.items()}
        self.towers: dict[str, SwitchedTowers] = {}
        for name, shadowed in self.shadowed.items():
            below: Towers = shadowed if cache is None else CachedTowers(shadowed, cache, name)
            self.towers[name] = SwitchedTowers(below, name, versions)

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
        if at and not VERSION.fullmatch(version):
            raise _not_found(
                f"{version[:_SHOWN]!r} cannot be a version: NAME@VERSION has up to 64 letters, digits,"
                " and . _ -"
            )
        return Chosen(base, version or None, self.towers[base], self.fetcher)

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
        if self.fetcher is not None:
            await self.fetcher.close()


def _not_found(message: str) -> ApiError:
    return ApiError(404, MODEL_NOT_FOUND, message, param="model")
