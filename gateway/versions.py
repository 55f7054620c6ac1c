"""Which version a model's name means, and who gets another: a small file that is the same for every replica.

    {"models": {"clip": {"version": "2.0", "previous": "1.0",
                         "canary": {"version": "3.0", "share": 0.1},
                         "shadow": {"version": "3.0", "share": 0.05}}}}

Every entry may be absent; without `version` the name means what is the engine's default. The file is replaced
whole, and a running gateway takes a change with the next request: one step, for text and vision together.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.atomic_files import alone_in, replacing
from babelclip.shadow.traffic_split import TrafficSplit

# A version becomes part of the engine's address.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FIELDS = {"version", "previous", "canary", "shadow"}
_Signature = tuple[int, int, int] | None
_log = logging.getLogger(__name__)


class VersionsError(ValueError):
    """The file of versions cannot be used or changed."""


@dataclass(frozen=True)
class ModelVersions:
    """What is decided on one model.

    Attributes:
        version: what its name means; None for the engine's default.
        previous: what it meant before, for a rollback.
        canary: what a share of callers gets instead.
        shadow: what computes a share of requests as well, for comparison.
    """

    version: str | None = None
    previous: str | None = None
    canary: TrafficSplit | None = None
    shadow: TrafficSplit | None = None


FOLLOWING = ModelVersions()


class VersionFile:
    """What is decided on all models, as a file says; a change of the file holds from the next question on.

    Without a file every model follows the engine. One that breaks or goes leaves what was read last in force,
    with a warning in the log: a half written file switches nothing.

    Args:
        path: None for none, which cannot be changed then.

    Raises:
        VersionsError: there is a file to begin with, and it is none of versions.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path)
        self._name = "" if path is None else os.fspath(path)
        self._seen = self._signature()
        self._models: Mapping[str, ModelVersions] = {}
        if self._path is not None and self._seen is not None:
            self._models = load(self._path)

    def of(self, model: str) -> ModelVersions:
        """What is decided on a model."""
        signature = self._signature()
        if signature != self._seen:
            self._seen = signature
            self._renew()
        return self.latest(model)

    def latest(self, model: str) -> ModelVersions:
        """What was decided on a model when `of` was last asked; without a look at the file."""
        return self._models.get(model, FOLLOWING)

    def change(self, model: str, change: Callable[[ModelVersions], ModelVersions]) -> ModelVersions:
        """Decide anew on a model → what holds from now on, in every gateway that has the file.

        Args:
            change: what is decided now → what shall be. It may refuse by raising; then nothing changes.

        Raises:
            VersionsError: there is no file, or it cannot be changed.
        """
        if self._path is None:
            raise VersionsError("this gateway has no versions_file, so it follows the engine")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with alone_in(self._path.parent):
                models = dict(load(self._path)) if self._path.exists() else {}
                models[model] = change(models.get(model, FOLLOWING))
                with replacing(self._path) as (partial,):
                    partial.write_bytes(render(models))
        except OSError as error:
            raise VersionsError(f"cannot change the file of versions: {error.strerror}") from error
        return models[model]

    def _renew(self) -> None:
        if self._path is None:
            return
        try:
            self._models = load(self._path)
        except VersionsError as error:
            _log.warning("the versions that were read last stay in force: %s", error)
        else:
            _log.info("read the versions of %d models from %s", len(self._models), self._path)

    def _signature(self) -> _Signature:
        if not self._name:
            return None
        try:
            status = os.stat(self._name)  # As a string: asked with every request.
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def load(path: Path) -> dict[str, ModelVersions]:
    """What a file decides, by model.

    Raises:
        VersionsError: it cannot be read, or is none of versions.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise VersionsError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise VersionsError(f"{path}: {error}") from error


def parse(data: bytes) -> dict[str, ModelVersions]:
    """The content of a file of versions.

    What is unknown is refused: a gateway that passed it over would do something else than another one.

    Raises:
        ValueError: it is none of versions; the message says where.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(content, dict) or set(content) != {"models"} or not isinstance(content["models"], dict):
        raise ValueError('it must be {"models": {"NAME": {"version": "…"}, …}}')
    return {name: _entry(entry, f"models.{name}") for name, entry in content["models"].items()}


def render(models: Mapping[str, ModelVersions]) -> bytes:
    """The content of a file."""
    entries = {name: as_json(versions) for name, versions in models.items()}
    return f"{json.dumps({'models': entries}, indent=1)}\n".encode()


def as_json(versions: ModelVersions) -> dict[str, Any]:
    """What is decided on one model, without what is absent."""
    entry: dict[str, Any] = {"version": versions.version, "previous": versions.previous}
    for name, split in (("canary", versions.canary), ("shadow", versions.shadow)):
        entry[name] = split and {"version": split.version, "share": split.share}
    return {name: value for name, value in entry.items() if value is not None}


def _entry(entry: Any, where: str) -> ModelVersions:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must be an object")
    if extra := set(entry) - _FIELDS:
        raise ValueError(f"{where}: this gateway knows no {min(extra)!r}")
    return ModelVersions(
        version=None if entry.get("version") is None else _version(entry["version"], f"{where}.version"),
        previous=None if entry.get("previous") is None else _version(entry["previous"], f"{where}.previous"),
        canary=_split(entry.get("canary"), f"{where}.canary"),
        shadow=_split(entry.get("shadow"), f"{where}.shadow"),
    )


def _split(value: Any, where: str) -> TrafficSplit | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"version", "share"}:
        raise ValueError(f'{where} must be {{"version": "…", "share": 0.1}}')
    share = value["share"]
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
        raise ValueError(f"{where}.share must be above 0 and at most 1")
    return TrafficSplit(_version(value["version"], f"{where}.version"), float(share))


def _version(value: Any, where: str) -> str:
    if not isinstance(value, str) or not VERSION.fullmatch(value):
        raise ValueError(f"{where} must be up to 64 letters, digits and . _ -")
    return value
