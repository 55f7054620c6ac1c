"""Plans: the steps of each change of what is served, in an order that is safe to break off after any of them.

A plan is made from the state of things now, and leaves out what is already done. So the same operation, run
again after it was killed, makes the plan of what is left.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from babelclip.errors import BabelclipError, ModelNotFound, RegistryError
from babelclip.model_store.archives import archived_version, archives, check_archive
from babelclip.model_store.manifest import Entry, Manifest, Promotion, read_manifest
from babelclip.model_store.served import ServedStore
from babelclip.versions.deployment import Deployment
from babelclip.wire import TOWERS, Tower


@dataclass(frozen=True)
class Step:
    """What is to be done, as a sentence and as a call."""

    sentence: str
    take: Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """Steps in order. `undo`, where there is one, follows a step that failed, and says what is left of it."""

    steps: tuple[Step, ...]
    undo: Callable[[], list[str]] | None = None


class Planner:
    """Makes the plans for one store and the server that serves it. Planning changes nothing.

    Every method raises ManifestError and RegistryError for what is refused, and another BabelclipError when
    the server could not be asked.
    """

    def __init__(self, store: ServedStore, deployment: Deployment) -> None:
        self._store = store
        self._deployment = deployment

    def add(self, folder: Path, name: str | None) -> Plan:
        """Bring the pair `name` of another store into this one, and onto the server; None: its default."""
        source = read_manifest(folder)
        entry = source.named(name)
        pair = archives(folder, entry)
        for archive in pair.values():
            check_archive(archive)
            if (version := archived_version(archive)) != entry.version:
                raise RegistryError(
                    f"{archive.path} is version {version}, and {source.path} says {entry.version}: export it"
                    f" again with --version {entry.version}"
                )
        manifest = self._store.manifest()
        taken = manifest.find(entry.version)
        if taken is not None and not _same_pair(taken, entry):
            raise RegistryError(
                f"version {entry.version} is taken by another export in {self._store.folder}; export with"
                " another --version"
            )
        if taken is not None and not taken.unproved:
            return Plan((*self._sweeping(manifest), *self._serving(taken)))

        mars = {tower: _file_name(entry, tower) for tower in TOWERS}
        raw = next(one for one in source.document["spaces"] if one["version"] == entry.version)
        raw = {**raw, "default": False, "unproved": True}
        raw |= {tower: {**raw[tower], "mar": mar} for tower, mar in mars.items()}
        present = self._deployment.present(entry.version)
        steps = [
            *self._sweeping(manifest),
            *(
                Step(
                    f"copy {archive.path} to {self._store.folder / mars[tower]}",
                    partial(self._store.bring, archive, mars[tower]),
                )
                for tower, archive in pair.items()
            ),
            Step(f"enter {entry.name} {entry.version} in the manifest", partial(self._store.enter, raw)),
            *self._registering(entry.version, mars, present),
            *self._proving(entry),
            Step(
                f"note in the manifest that {entry.version} is proved",
                partial(self._store.set_proved, entry.version),
            ),
        ]
        # What was on the server before, and not by an addition that was broken off, stays there.
        ours = TOWERS if taken is not None else tuple(tower for tower in TOWERS if tower not in present)
        return Plan(tuple(steps), partial(self._undo_add, entry.version, ours, tuple(mars.values())))

    def promote(self, version: str, *, rollback: bool = False) -> Plan:
        """Make the version the default of both towers."""
        manifest = self._store.manifest()
        entry, default = manifest.version(version), manifest.default.version
        steps = [*self._sweeping(manifest), *self._serving(entry)]
        if version != default:
            steps.append(
                Step(
                    f"note in the manifest that {version} is to replace {default}",
                    partial(self._store.begin, Promotion(default, version, rollback)),
                )
            )
        for tower in TOWERS:
            change = partial(self._deployment.management.set_default, tower, version)
            steps.append(Step(f"make {version} the default of the {tower} tower", change))
        steps.append(
            Step(f"make {version} the default of the manifest", partial(self._store.settle, version))
        )
        return Plan(tuple(steps))

    def rollback(self) -> Plan:
        """Make the previous default the default again, or that before an unfinished promotion.

        A rollback that was itself broken off is finished.
        """
        manifest = self._store.manifest()
        if begun := manifest.promoting:
            return self.promote(begun.target if begun.rollback else begun.source, rollback=True)
        if manifest.previous is None:
            raise RegistryError(
                f"there is nothing to roll back to: {manifest.path} names no previous default"
            )
        return self.promote(manifest.previous, rollback=True)

    def retire(self, version: str, *, quiet: float | None, delete: bool) -> Plan:
        """Take the version from the server and out of the manifest, once no caller waits for it."""
        manifest = self._store.manifest()
        sweeping = self._sweeping(manifest)
        if manifest.deleting and manifest.deleting.version == version and not manifest.find(version):
            return Plan(tuple(sweeping))  # Broken off when all but this was done.
        entry = manifest.version(version)
        self._refuse_needed(manifest, version)
        present = self._deployment.present(version)
        mars = tuple(tower.mar for tower in entry.towers.values())
        steps = sweeping
        if present:
            seconds = self._deployment.quiet_seconds(version) if quiet is None else quiet
            steps.append(
                Step(
                    f"wait until no request for {version} has waited for {seconds:g} seconds",
                    partial(self._deployment.drain, version, seconds),
                )
            )
        for tower in present:
            steps.append(Step(f"unregister {tower} {version}", partial(self._unregister, tower, version)))
        leave = partial(self._store.leave, version, mars if delete else ())
        steps.append(Step(f"take {version} out of the manifest", leave))
        if delete:
            steps.append(Step(f"delete {' and '.join(mars)}", self._store.sweep))
        return Plan(tuple(steps))

    def scale(self, version: str, workers: int) -> Plan:
        """Give both towers of the version `workers` workers each."""
        if workers < 1:
            raise ValueError(f"a tower needs at least 1 worker, not {workers}")
        self._store.manifest().version(version)
        if self._deployment.present(version) != TOWERS:
            raise RegistryError(
                f"the server does not have both towers of {version}; promote it, or add it again"
            )
        sentence = f"set the workers of each tower of {version} to {workers}, and wait until they are READY"
        return Plan((Step(sentence, partial(self._deployment.scale, version, workers)),))

    def _refuse_needed(self, manifest: Manifest, version: str) -> None:
        if version == manifest.default.version:
            raise RegistryError(f"{version} is the default; promote another version first")
        begun = manifest.promoting
        if begun and version in (begun.source, begun.target):
            raise RegistryError(
                f"the promotion from {begun.source} to {begun.target} is unfinished; promote one or the other"
            )
        for tower, default in self._deployment.defaults().items():
            if default == version:
                raise RegistryError(
                    f"the {tower} tower answers with {version} by default, against the manifest; promote"
                    f" {manifest.default.version} first"
                )

    def _sweeping(self, manifest: Manifest) -> list[Step]:
        if manifest.deleting is None:
            return []
        return [Step(f"delete what is left of {manifest.deleting.version}", self._store.sweep)]

    def _serving(self, entry: Entry) -> list[Step]:
        """That the server has both towers of an entry of this store, READY and proved."""
        for archive in archives(self._store.folder, entry).values():
            check_archive(archive)
        mars = {tower: one.mar for tower, one in entry.towers.items()}
        present = self._deployment.present(entry.version)
        return [*self._registering(entry.version, mars, present), *self._proving(entry)]

    def _registering(self, version: str, mars: dict[Tower, str], present: tuple[Tower, ...]) -> list[Step]:
        return [
            Step(f"register {tower} {version} from {mar}", partial(self._deployment.register, tower, mar))
            for tower, mar in mars.items()
            if tower not in present
        ]

    def _proving(self, entry: Entry) -> list[Step]:
        version = entry.version
        return [
            Step(
                f"wait until every worker of {version} is READY",
                partial(self._deployment.wait_ready, version),
            ),
            Step(
                f"have both towers of {version} embed their canaries, at {', '.join(self._deployment.urls)}",
                partial(self._deployment.prove, entry),
            ),
        ]

    def _unregister(self, tower: Tower, version: str) -> None:
        # Gone since the plan was made, where the server has started again meanwhile.
        with contextlib.suppress(ModelNotFound):
            self._deployment.management.unregister(tower, version)

    def _undo_add(self, version: str, towers: tuple[Tower, ...], mars: tuple[str, ...]) -> list[str]:
        left = []
        for tower in towers:
            try:
                self._unregister(tower, version)
            except BabelclipError as error:
                left.append(str(error))
        try:
            self._store.leave(version, mars)
            self._store.sweep()
        except (BabelclipError, OSError) as error:
            left.append(str(error))
        return left


def _same_pair(one: Entry, other: Entry) -> bool:
    """Whether the two entries name the same archives of the same space."""
    same = all(one.towers[tower].sha256 == other.towers[tower].sha256 for tower in TOWERS)
    return same and one.space == other.space


def _file_name(entry: Entry, tower: Tower) -> str:
    """A name that no other archive has: files of another content have another digest."""
    word = re.sub(r"[^\w.+-]+", "-", f"{entry.name}-{entry.version}", flags=re.ASCII)
    return f"{word}-{tower}-{entry.towers[tower].sha256[:8]}.mar"
