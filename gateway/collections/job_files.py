"""Jobs as files that all processes of the gateway see, below the folder of the collections.

    ROOT/.jobs/ID.json      how far it is, and what came of it
    ROOT/.jobs/ID.lock      locked by the process that runs it: where nobody holds it, nobody does
    ROOT/.jobs/ID.cancel    somebody wants it to end

All calls block, and are made in threads.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from babelclip.atomic_files import replacing
from gateway.errors import JOB_NOT_FOUND, ApiError

State = Literal["running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
INTERRUPTED = "interrupted"
KEPT = 100
"""Jobs that have ended and are remembered."""
_FOLDER = ".jobs"
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Job:
    """A job, as it is now.

    Attributes:
        created, updated: seconds since 1970.
        done, total: of what there is to do; total is None where it shows only at the end.
        result: what came of it, once it is done.
        code, message: why it failed; else both empty.
    """

    id: str
    collection: str
    kind: str
    created: float
    updated: float
    state: State = "running"
    done: int = 0
    total: int | None = None
    result: Mapping[str, Any] | None = None
    code: str = ""
    message: str = ""


def job_not_found(name: str) -> ApiError:
    """There is no job of this id."""
    return ApiError(404, JOB_NOT_FOUND, f"there is no job {name[:32]!r}", param="id")


class JobFiles:
    """Reads and writes jobs."""

    def __init__(self, root: Path) -> None:
        self._folder = root / _FOLDER
        self._folder.mkdir(exist_ok=True)

    @contextmanager
    def running(self, collection: str, kind: str) -> Iterator[Job]:
        """A new job, which is this process's until the block ends."""
        now = time.time()
        job = Job(secrets.token_hex(8), collection, kind, now, now)
        with open(self._path(job.id, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.write(job)
            try:
                yield job
            finally:
                self._path(job.id, "cancel").unlink(missing_ok=True)

    def write(self, job: Job) -> None:
        """What all see of it from now on."""
        with replacing(self._path(job.id, "json")) as (partial,):
            partial.write_text(json.dumps(asdict(job)), encoding="utf-8")

    def read(self, name: str) -> Job:
        """One job; one whose process is gone has failed.

        Raises:
            ApiError: there is none of this id.
        """
        job = self._read(name)
        if job is None:
            raise job_not_found(name)
        if job.state != "running" or self._is_held(name):
            return job
        job = self._read(name) or job  # It may have ended between the two looks.
        if job.state != "running":
            return job
        message = "the process that ran it has ended; begin it again"
        return replace(job, state="failed", code=INTERRUPTED, message=message)

    def listed(self) -> list[Job]:
        """All jobs that are remembered, the newest first."""
        found = []
        for name in self._names():
            with suppress(ApiError):
                found.append(self.read(name))
        return sorted(found, key=lambda job: (-job.created, job.id))

    def cancel(self, name: str) -> Job:
        """Ask the process that runs a job to end it → the job as it is.

        Raises:
            ApiError: there is none of this id.
        """
        job = self.read(name)
        if job.state == "running":
            self._path(name, "cancel").touch()
        return job

    def is_cancelled(self, name: str) -> bool:
        """Whether somebody wants it to end."""
        return self._path(name, "cancel").exists()

    def forget(self) -> None:
        """Forget the oldest of those that have ended, where there are many."""
        ended = [job for job in self.listed() if job.state != "running"]
        for job in ended[KEPT:]:
            for kind in ("json", "lock", "cancel"):
                self._path(job.id, kind).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        entries = (Path(entry.name) for entry in os.scandir(self._folder))
        return [path.stem for path in entries if path.suffix == ".json" and _ID.fullmatch(path.stem)]

    def _read(self, name: str) -> Job | None:
        if not _ID.fullmatch(name):
            return None
        try:
            return Job(**json.loads(self._path(name, "json").read_bytes()))
        except FileNotFoundError:
            return None

    def _is_held(self, name: str) -> bool:
        try:
            with open(self._path(name, "lock")) as lock:
                # Shared: two who look at the same time do not take each other for the one that runs it.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{name}.{kind}"
