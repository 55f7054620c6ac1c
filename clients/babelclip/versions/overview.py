"""What is served, beside what should be: the manifest and the server, put together for an operator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from babelclip.model_store.manifest import Entry, Manifest, Promotion
from babelclip.versions.deployment import Deployment
from babelclip.versions.management import Model, Worker
from babelclip.versions.readiness import probe
from babelclip.wire import TOWERS, Tower


@dataclass(frozen=True)
class TowerState:
    """One tower of a version: its workers, the requests that wait for one, the workers' resident bytes.

    `memory` is None where nobody knows: TorchServe does not measure, and the workers run elsewhere.
    """

    ready: int
    workers: int
    pending: int
    memory: int | None


@dataclass(frozen=True)
class VersionState:
    """An entry of the manifest, and what the server has of it; None for a tower that it does not have."""

    name: str
    space: str
    version: str
    default: bool
    unproved: bool
    towers: Mapping[Tower, TowerState | None]


@dataclass(frozen=True)
class Overview:
    """All versions, the server's defaults, and what is unfinished.

    `remarks` are sentences about what is not as it should be, each with the command that mends it.
    """

    versions: tuple[VersionState, ...]
    defaults: Mapping[Tower, str | None]
    previous: str | None
    promoting: Promotion | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """One thing that `verify` looked at; `problem` is empty when it is as it should be."""

    what: str
    problem: str


def overview(manifest: Manifest, deployment: Deployment) -> Overview:
    """The state of things now.

    Raises:
        BabelclipError: the server could not be asked.
    """
    served = {
        tower: {model.version: model for model in deployment.management.versions(tower)} for tower in TOWERS
    }
    defaults = deployment.defaults()
    versions = tuple(
        VersionState(
            name=entry.name,
            space=entry.space,
            version=entry.version,
            default=entry.default,
            unproved=entry.unproved,
            towers={tower: _tower_state(served[tower].get(entry.version)) for tower in TOWERS},
        )
        for entry in manifest.entries
    )
    remarks = _unfinished(manifest)
    if not remarks:
        remarks = [check.problem for check in _default_checks(manifest, defaults) if check.problem]
    for tower in TOWERS:
        remarks += [
            f"the server has {tower} {version}, which the manifest does not know"
            for version in sorted(served[tower])
            if manifest.find(version) is None
        ]
    return Overview(versions, defaults, manifest.previous, manifest.promoting, tuple(remarks))


def verify(manifest: Manifest, deployment: Deployment, version: str | None) -> list[Check]:
    """Canaries of the version, or of all that were ever proved, by every address; and both defaults.

    Raises:
        RegistryError: there is no such version.
        BabelclipError: the management address could not be asked.
    """
    entries = [entry for entry in manifest.entries if not entry.unproved]
    if version is not None:
        entries = [manifest.version(version)]
    return [
        *(check for entry in entries for check in _canary_checks(entry, deployment)),
        *_default_checks(manifest, deployment.defaults()),
    ]


def _canary_checks(entry: Entry, deployment: Deployment) -> list[Check]:
    return [
        Check(f"canary of {result.tower} {entry.version} at {result.url}", result.problem)
        for result in probe(entry, deployment.urls, deployment.token_file)
    ]


def _default_checks(manifest: Manifest, defaults: Mapping[Tower, str | None]) -> list[Check]:
    wanted = manifest.default.version
    checks = []
    for tower, found in defaults.items():
        problem = ""
        if found != wanted:
            has = f"answers with {found}" if found else "is not served"
            problem = (
                f"the {tower} tower {has} by default, and the manifest's default is {wanted}:"
                f" `babelclip models promote {wanted}` makes both the same"
            )
        checks.append(Check(f"default of the {tower} tower", problem))
    return checks


def _unfinished(manifest: Manifest) -> list[str]:
    remarks = []
    if begun := manifest.promoting:
        finish = "rollback" if begun.rollback else f"promote {begun.target}"
        undo = f"promote {begun.source}" if begun.rollback else "rollback"
        remarks.append(
            f"the change of default from {begun.source} to {begun.target} is unfinished: `babelclip models"
            f" {finish}` finishes it, `babelclip models {undo}` undoes it"
        )
    remarks += [
        f"the addition of {entry.version} is unfinished: the same `babelclip models add` finishes it,"
        f" `babelclip models retire {entry.version} --delete` undoes it"
        for entry in manifest.entries
        if entry.unproved
    ]
    if left := manifest.deleting:
        remarks.append(
            f"archives of {left.version} are left: `babelclip models retire {left.version}` deletes them"
        )
    return remarks


def _tower_state(model: Model | None) -> TowerState | None:
    if model is None:
        return None
    memory = [_resident(worker) for worker in model.workers]
    known = [one for one in memory if one is not None]
    return TowerState(
        ready=sum(worker.ready for worker in model.workers),
        workers=max(model.min_workers, len(model.workers)),
        pending=model.pending,
        memory=sum(known) if known and len(known) == len(memory) else None,
    )


def _resident(worker: Worker) -> int | None:
    # With disable_system_metrics TorchServe does not measure; then this machine's kernel may know.
    if worker.memory > 0:
        return worker.memory
    process = Path("/proc", str(worker.pid))
    try:
        # In another container the same number is another process.
        if b"model_service_worker.py" not in (process / "cmdline").read_bytes():
            return None
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
