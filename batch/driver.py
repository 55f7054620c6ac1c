"""The course of a job: shards without output are handed out, failed ones again, until none is left.

It holds the shards that are under way and those that failed; the manifest is read as it goes.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from batch.engines.base import Advanced, EngineError, Event, Failed, Finished, Lost, Started, Workers
from batch.job import JobError
from batch.manifest import Manifest
from batch.output import VECTORS, finished
from batch.progress import Progress
from batch.shards import Shard
from batch.storage.base import Storage, StorageBusy

ATTEMPTS = 3
"""How often a shard is tried, unless asked otherwise, before it is set aside."""
FAILED = "failed"
# Workers that are lost one after the other, with nothing done in between, after which the job ends.
_LOST_IN_A_ROW = 10


@contextmanager
def locked(storage: Storage, progress: Progress) -> Iterator[None]:
    """Held by the one job that may write there; it ends with the process, however that ends.

    Raises:
        JobError: another job holds it, or has taken it since.
        OSError: nothing can be written there.
    """
    try:
        with storage.locked(progress.say):
            yield
    except StorageBusy as error:
        raise JobError(str(error)) from error


@dataclass(frozen=True)
class _Attempt:
    shard: Shard
    tried: int = 0
    by: frozenset[int] = frozenset()


def run(manifest: Manifest, workers: Workers, progress: Progress, *, attempts: int = ATTEMPTS) -> int:
    """Embed what has no output yet. The storage must be locked by the caller.

    A shard that fails is tried again at the end, by another worker where there is one. After so many attempts
    it is set aside: its reason is in `failed`, and the next run tries it again.

    Returns:
        How many shards were set aside.

    Raises:
        EngineError: no worker can go on; what was finished before stays.
        StorageBusy: another job has taken the lock.
        OSError: nothing can be written there.
    """
    storage = manifest.storage
    storage.remove_partial(VECTORS)
    done = finished(storage)
    progress.begin(manifest.count, len(done))
    if len(done) == manifest.count:
        return 0
    course = _Course(manifest, done, progress, attempts)
    with workers:
        while not course.over:
            course.hand_out(workers)
            for event in workers.events():
                course.note(event)
            progress.tell()
            storage.check_lock()
    storage.remove_partial(VECTORS)  # Of workers that were killed.
    return course.set_aside


class _Course:
    """What is still to be done, what is under way, and who has tried what."""

    def __init__(self, manifest: Manifest, done: set[int], progress: Progress, attempts: int) -> None:
        self._storage, self._progress, self._attempts = manifest.storage, progress, attempts
        self._fresh = (_Attempt(shard) for shard in manifest.shards() if shard.number not in done)
        self._next = next(self._fresh, None)
        self._again: deque[_Attempt] = deque()
        self._under_way: dict[int, _Attempt] = {}
        self._lost = 0
        self._failures = set(_failures(manifest.storage))  # Known, so that success need not look for them.
        self.set_aside = 0

    @property
    def over(self) -> bool:
        """Whether nothing is left, and nothing under way."""
        return self._next is None and not self._again and not self._under_way

    def hand_out(self, workers: Workers) -> None:
        """A shard to each idle worker, those that failed after all others."""
        for worker in workers.idle:
            attempt = self._next
            if attempt is not None:
                self._next = next(self._fresh, None)
            else:
                attempt = self._failed_for(worker, workers)
            if attempt is not None:
                self._under_way[worker] = attempt
                workers.submit(worker, attempt.shard)

    def note(self, event: Event) -> None:
        """What has happened.

        Raises:
            EngineError: workers are lost one after the other.
        """
        match event:
            case Started():
                self._progress.started()
            case Advanced(worker, counts):
                self._progress.advanced(worker, counts)
            case Finished(worker, shard, counts):
                self._lost = 0
                del self._under_way[worker]
                self._forget_failure(shard)
                self._progress.finished(worker, counts)
            case Lost(_, reason):
                self._count_lost(reason)
            case Failed(worker, shard, reason, lost):
                before = self._under_way.pop(worker)
                self._fail(_Attempt(shard, before.tried + 1, before.by | {worker}), worker, reason)
                if lost:
                    self._count_lost(reason)

    def _fail(self, attempt: _Attempt, worker: int, reason: str) -> None:
        again = attempt.tried < self._attempts
        if again:
            self._again.append(attempt)
        else:
            self.set_aside += 1
            _set_aside(self._storage, attempt, reason)
            self._failures.add(_failure(attempt.shard))
        self._progress.failed(worker, attempt.shard, reason, again)

    def _forget_failure(self, shard: Shard) -> None:
        name = _failure(shard)
        if name in self._failures:
            self._storage.remove(name)
            self._failures.remove(name)

    def _count_lost(self, reason: str) -> None:
        self._lost += 1
        if self._lost >= _LOST_IN_A_ROW:
            raise EngineError(f"{self._lost} workers were lost one after the other, the last one: {reason}")

    def _failed_for(self, worker: int, workers: Workers) -> _Attempt | None:
        """One that this worker has not tried; or one that it has, where no other is there to try it."""
        others = {*workers.idle, *workers.busy} - {worker}
        for attempt in self._again:
            if worker not in attempt.by or not others - attempt.by:
                self._again.remove(attempt)
                return attempt
        return None


def _failure(shard: Shard) -> str:
    return f"{FAILED}/{shard.number:07d}.json"


def _failures(storage: Storage) -> list[str]:
    return sorted(f"{FAILED}/{name}" for name in storage.names(FAILED) if name.endswith(".json"))


def _set_aside(storage: Storage, attempt: _Attempt, reason: str) -> None:
    shard = attempt.shard
    found = {"shard": shard.number, "source": shard.source, "attempts": attempt.tried, "reason": reason}
    with storage.writing(_failure(shard)) as (partial,):
        partial.write_text(json.dumps(found) + "\n", encoding="utf-8")


def set_aside(storage: Storage) -> list[dict[str, object]]:
    """The shards that were set aside: number, source, attempts, reason; without those done since."""
    found = []
    done = finished(storage)
    for name in _failures(storage):
        with storage.reading(name) as file:
            one: dict[str, object] = json.loads(file.read())
        if one["shard"] not in done:
            found.append(one)
    return found


def reasons(failures: list[dict[str, object]]) -> Counter[str]:
    """How many were set aside for each reason."""
    return Counter(str(one["reason"]) for one in failures)
