"""Towers whose default version is the gateway's: one value for text and vision together, and shares of it.

The engine has a default for each tower and changes one after the other. Here a request without a version gets
the one that the file of versions names, or, for a share of sessions, its canary: a session always the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from babelclip import Embeddings
from babelclip.errors import BabelclipError, ModelNotFound, RegistryError, Unavailable
from babelclip.shadow.traffic_split import TrafficSplit
from babelclip.wire import Tower
from gateway.session import SESSION
from gateway.towers.base import ModelVersion, Towers
from gateway.versions import ModelVersions, VersionFile

_log = logging.getLogger(__name__)


class SwitchedTowers:
    """See `gateway.towers.base.Towers`; and what an operator may change.

    Args:
        model: the name of the model in the file of versions.
    """

    def __init__(self, towers: Towers, model: str, versions: VersionFile) -> None:
        self._towers = towers
        self._model = model
        self._versions = versions
        self._told = ""

    async def version(self, name: str | None = None) -> ModelVersion:
        """See `Towers.version`; the default one may depend on whose request it is."""
        if name is not None:
            return await self._towers.version(name)
        decided = self._versions.of(self._model)
        session = SESSION.get()
        if decided.canary is not None and session and (other := decided.canary.version_for(session)):
            try:
                return await self._towers.version(other)
            except ModelNotFound:
                pass  # Retired: its sessions get what all others get, and `check` says so.
        return await self._default(decided, self._towers.version)

    async def embed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        *,
        language: str = "",
        timeout: float | None = None,
    ) -> Embeddings:
        """See `Towers.embed`."""
        return await self._towers.embed(tower, items, version, language=language, timeout=timeout)

    async def check(self, name: str | None = None) -> ModelVersion:
        """See `Towers.check`; of a canary that does not embed the log is told."""
        if name is not None:
            return await self._towers.check(name)
        decided = self._versions.of(self._model)
        await self._check_canary(decided)
        return await self._default(decided, self._towers.check)

    def known(self) -> list[ModelVersion]:
        """See `Towers.known`."""
        default = self._versions.of(self._model).version
        known = self._towers.known()
        return known if default is None else sorted(known, key=lambda one: one.version != default)

    async def close(self) -> None:
        """See `Towers.close`."""
        await self._towers.close()

    async def default(self) -> ModelVersion:
        """What a request without a version gets, unless it is of the canary's share.

        Raises:
            BabelclipError: the engine does not have it, or could not be asked.
        """
        return await self._default(self.decided(), self._towers.version)

    def decided(self) -> ModelVersions:
        """What is decided on the model."""
        return self._versions.of(self._model)

    async def promote(self, version: str) -> ModelVersions:
        """Prove a version by the golden items of both towers, then make it what the model's name means.

        Raises:
            ModelNotFound: the engine does not have it.
            BabelclipError: it was not proved, or the file cannot be changed; all is as it was.
        """
        await self._towers.check(version)
        before = await self._meant()

        def promoted(decided: ModelVersions) -> ModelVersions:
            now = decided.version or before
            done = decided.canary is not None and decided.canary.version == version
            shadowed = decided.shadow is not None and decided.shadow.version == version
            return replace(
                decided,
                version=version,
                previous=decided.previous if now == version else now,
                canary=None if done else decided.canary,
                shadow=None if shadowed else decided.shadow,
            )

        return await self._change(promoted)

    async def rollback(self) -> ModelVersions:
        """Promote what the name meant before; twice, and all is as it was.

        Raises:
            RegistryError: there is no such version.
            BabelclipError: as `promote`.
        """
        previous = self.decided().previous
        if previous is None:
            raise RegistryError(f"there is nothing to roll back to: {self._model} had no other version here")
        return await self.promote(previous)

    async def canary(self, version: str, share: float) -> ModelVersions:
        """Give a version to a share of sessions, from 0 (none) to 1.

        Raises:
            RegistryError: it is what all get already.
            BabelclipError: as `promote`.
        """
        split = await self._candidate(version, share)
        return await self._change(lambda decided: replace(decided, canary=split))

    async def shadow(self, version: str, share: float) -> ModelVersions:
        """Have a version compute a share of requests, from 0 (none) to 1, beside what answers them.

        Raises:
            RegistryError: it is what answers already.
            BabelclipError: as `promote`.
        """
        split = await self._candidate(version, share)
        return await self._change(lambda decided: replace(decided, shadow=split))

    async def _default(
        self, decided: ModelVersions, ask: Callable[[str | None], Awaitable[ModelVersion]]
    ) -> ModelVersion:
        try:
            return await ask(decided.version)
        except ModelNotFound as error:
            if decided.version is None:
                raise
            # Not the caller's mistake, who named no version.
            message = f"the engine has no version {decided.version}, which {self._model} means"
            raise Unavailable(message, retryable=False) from error

    async def _check_canary(self, decided: ModelVersions) -> None:
        """Tells the log once what keeps the canary from embedding; it keeps nobody else from it."""
        problem = ""
        if decided.canary is not None:
            try:
                await self._towers.check(decided.canary.version)
            except BabelclipError as error:
                problem = f"the canary {decided.canary.version} of {self._model} does not embed: {error}"
        if problem and problem != self._told:
            _log.warning("%s", problem)
        self._told = problem

    async def _meant(self) -> str:
        return self.decided().version or (await self._towers.version()).version

    async def _candidate(self, version: str, share: float) -> TrafficSplit | None:
        if share == 0:
            return None
        await self._towers.check(version)
        if version == await self._meant():
            raise RegistryError(f"{version} is what {self._model} means already")
        return TrafficSplit(version, share)

    async def _change(self, change: Callable[[ModelVersions], ModelVersions]) -> ModelVersions:
        return await asyncio.to_thread(self._versions.change, self._model, change)
