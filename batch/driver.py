"""The course of a job: shards without output are handed out, failed ones again, until none is left.

It holds the shards that are under way and those that failed; the manifest is read as it goes.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from babelclip.atomic_files import replacing
from batch.engines.base import Advanced, EngineError, Failed, Finished, Lost, Started, Workers
from batch.manifest import JobError, Manifest
from batch.output import VECTORS, finished, remove_partial
from batch.progress import Progress
from batch.shards import Shard

ATTEMPTS = 3
"""How often a shard is tried, unless asked otherwise, before it is set aside."""
FAILED = "failed"
_LOCK = ".lock"
# Workers that are lost one after the other, with nothing done in between, after which the job ends.
_LOST_IN_A_ROW = 10


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Held by the one job that may write to a folder; it ends with the process, however that ends.

    Raises:
        JobError: another job holds it.
        OSError: the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise JobError(f"another job writes to {folder}: wait for it, or give another folder") from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Attempt:
    shard: Shard
    tried: int = 0
    by: frozenset[int] = frozenset()


def run(manifest: Manifest, workers: Workers, progress: Progress, *, attempts: int = ATTEMPTS) -> int:
    """Embed what has no output yet. The folder must be locked by the caller.

    A shard that fails is tried again at the end, by another worker where there is one. After so many attempts
    it is set aside: its reason is in the folder `failed`, and the next run tries it again.

    Returns:
        How many shards were set aside.

    Raises:
        EngineError: no worker can go on; what was finished before stays.
        OSError: the folder cannot be written to.
    """
    folder = manifest.folder
    for name in (VECTORS, FAILED):
        (folder / name).mkdir(exist_ok=True)
    remove_partial(folder)
    done = finished(folder)
    progress.begin(manifest.count, len(done))
    fresh = (shard for shard in manifest.shards() if shard.number not in done)
    again: deque[_Attempt] = deque()
    under_way: dict[int, _Attempt] = {}
    set_aside = lost = 0
    following = next(fresh, None)
    if following is None:
        return 0
    with workers:
        while following is not None or again or under_way:
            for worker in workers.idle:
                if following is not None:
                    attempt, following = _Attempt(following), next(fresh, None)
                elif (retried := _for(worker, again, workers)) is not None:
                    attempt = retried
                else:
                    continue
                under_way[worker] = attempt
                workers.submit(worker, attempt.shard)
            for event in workers.events():
                if isinstance(event, Started):
                    progress.started()
                elif isinstance(event, Advanced):
                    progress.advanced(event.worker, event.counts)
                elif isinstance(event, Finished):
                    lost = 0
                    del under_way[event.worker]
                    _failure(folder, event.shard).unlink(missing_ok=True)
                    progress.finished(event.worker, event.counts)
                else:
                    if isinstance(event, Lost) or event.lost:
                        lost += 1
                    if lost >= _LOST_IN_A_ROW:
                        raise EngineError(
                            f"{lost} workers were lost one after the other, the last one: {event.reason}"
                        )
                    if isinstance(event, Failed):
                        before = under_way.pop(event.worker)
                        attempt = _Attempt(before.shard, before.tried + 1, before.by | {event.worker})
                        if attempt.tried < attempts:
                            again.append(attempt)
                        else:
                            set_aside += 1
                            _set_aside(folder, attempt, event.reason)
                        progress.failed(event.worker, event.shard, event.reason, attempt.tried < attempts)
            progress.tell()
    remove_partial(folder)  # Of workers that were killed.
    return set_aside


def _for(worker: int, again: deque[_Attempt], workers: Workers) -> _Attempt | None:
    """The next that this worker has not tried; or one that it has, where no other is there."""
    others = {*workers.idle, *workers.busy} - {worker}
    for attempt in again:
        if worker not in attempt.by or not others - attempt.by:
            again.remove(attempt)
            return attempt
    return None


def _failure(folder: Path, shard: Shard) -> Path:
    return folder / FAILED / f"{shard.number:07d}.json"


def _set_aside(folder: Path, attempt: _Attempt, reason: str) -> None:
    shard = attempt.shard
    found = {"shard": shard.number, "source": shard.source, "attempts": attempt.tried, "reason": reason}
    with replacing(_failure(folder, shard)) as (partial,):
        partial.write_text(json.dumps(found) + "\n", encoding="utf-8")


def set_aside(folder: Path) -> list[dict[str, object]]:
    """The shards that were set aside: number, source, attempts, reason; without those done since."""
    found = []
    done = finished(folder)
    for path in sorted((folder / FAILED).glob("*.json")):
        one: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        if one["shard"] not in done:
            found.append(one)
    return found


def reasons(failures: list[dict[str, object]]) -> Counter[str]:
    """How many were set aside for each reason."""
    return Counter(str(one["reason"]) for one in failures)
