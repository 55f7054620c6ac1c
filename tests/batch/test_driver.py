"""The course of a job, with workers that only say what became of shards."""

import json
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from batch import driver, manifest
from batch.engines.base import EngineError, Event, Failed, Finished, Lost, Started
from batch.inputs.places import Places
from batch.job import JobError
from batch.manifest import Manifest
from batch.output import part_name
from batch.progress import Progress
from batch.shards import Counts, Shard
from batch.storage.base import Storage
from batch.storage.local import LocalStorage
from tests.batch.support import image_job, make_shards


def put_part(storage: Storage, number: int) -> None:
    """An output without rows."""
    with storage.writing(part_name(number)) as (path,):
        path.touch()


class ScriptedWorkers:
    """Two workers; `answer` says what a worker makes of a shard."""

    def __init__(self, storage: Storage, answer: Callable[[int, Shard], Event], count: int = 2) -> None:
        self._storage, self._answer = storage, answer
        self._events: deque[Event] = deque(Started(number) for number in range(count))
        self._busy: dict[int, Shard] = {}
        self._alive: list[int] = []
        self.submitted: list[tuple[int, int]] = []
        self.closed = False

    @property
    def idle(self) -> Sequence[int]:
        return [one for one in self._alive if one not in self._busy]

    @property
    def busy(self) -> Collection[int]:
        return self._busy

    def submit(self, worker: int, shard: Shard) -> None:
        self.submitted.append((worker, shard.number))
        self._busy[worker] = shard
        self._events.append(self._answer(worker, shard))

    def events(self) -> Sequence[Event]:
        event = self._events.popleft()
        if isinstance(event, Started):
            self._alive.append(event.worker)
        elif isinstance(event, Finished):
            put_part(self._storage, event.shard.number)
            del self._busy[event.worker]
        elif isinstance(event, Failed):
            del self._busy[event.worker]
            if event.lost:
                self._alive.remove(event.worker)
                self._events.append(Started(100 + len(self.submitted)))
        elif isinstance(event, Lost):
            self._events.append(Lost(event.worker + 1, event.reason))
        return [event]

    def __enter__(self) -> "ScriptedWorkers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.closed = True


@pytest.fixture
def made(tmp_path: Path) -> Manifest:
    """A job of five shards."""
    storage = LocalStorage(tmp_path / "out")
    return manifest.write(storage, image_job(*make_shards(tmp_path / "in", 5)), Places())


def fine(worker: int, shard: Shard) -> Event:
    """A shard of four items, embedded."""
    return Finished(worker, shard, Counts(4, {"image_undecodable": 1}))


def test_each_shard_is_embedded_once(made: Manifest) -> None:
    """All shards that have no output are handed out, no other is looked at, and the status tells."""
    put_part(made.storage, 2)
    workers = ScriptedWorkers(made.storage, fine)
    progress = Progress(made.storage)
    assert driver.run(made, workers, progress) == 0
    assert sorted(number for _, number in workers.submitted) == [0, 1, 3, 4]
    assert workers.closed
    progress.end("finished")
    with made.storage.reading("status.json") as file:
        status = json.loads(file.read())
    assert (status["state"], status["shards"], status["finished"], status["items"]) == ("finished", 5, 5, 16)
    assert status["errors"] == {"image_undecodable": 4}


def test_a_failed_shard_is_tried_elsewhere_and_then_set_aside(made: Manifest) -> None:
    """Each attempt is another worker's while there is one; the reason is kept, the rest is embedded."""

    def answer(worker: int, shard: Shard) -> Event:
        return Failed(worker, shard, "it is broken") if shard.number == 1 else fine(worker, shard)

    workers = ScriptedWorkers(made.storage, answer)
    assert driver.run(made, workers, Progress(made.storage), attempts=2) == 1
    assert sorted(worker for worker, number in workers.submitted if number == 1) == [0, 1]
    (failed,) = driver.set_aside(made.storage)
    assert (failed["shard"], failed["attempts"], failed["reason"]) == (1, 2, "it is broken")
    assert sorted({number for _, number in workers.submitted}) == [0, 1, 2, 3, 4]


def test_what_was_set_aside_is_tried_again_by_the_next_run(made: Manifest) -> None:
    """And is no failure any more once it has its output."""
    driver.run(
        made,
        ScriptedWorkers(made.storage, lambda w, s: Failed(w, s, "no")),
        Progress(made.storage),
        attempts=1,
    )
    assert driver.reasons(driver.set_aside(made.storage)) == {"no": 5}
    assert driver.run(made, ScriptedWorkers(made.storage, fine), Progress(made.storage)) == 0
    assert driver.set_aside(made.storage) == []


def test_a_lost_worker_costs_its_shard_alone(made: Manifest) -> None:
    """The shard goes to another worker; the job ends with nothing set aside."""
    lost = [Failed(0, Shard(0, "tar", ""), "")]

    def answer(worker: int, shard: Shard) -> Event:
        if lost:
            lost.clear()
            return Failed(worker, shard, "killed", lost=True)
        return fine(worker, shard)

    workers = ScriptedWorkers(made.storage, answer)
    assert driver.run(made, workers, Progress(made.storage)) == 0
    first = workers.submitted[0]
    assert [worker for worker, number in workers.submitted if number == first[1]].count(first[0]) == 1


@pytest.mark.parametrize("when", ["at the start", "with a shard"])
def test_workers_that_are_lost_again_and_again_end_the_job(when: str, made: Manifest) -> None:
    """Instead of setting aside a billion images: nothing is wrong with those."""
    workers = ScriptedWorkers(made.storage, lambda w, s: Failed(w, s, "killed", lost=True))
    if when == "at the start":
        workers._events = deque([Lost(0, "killed")])
    with pytest.raises(EngineError, match="lost one after the other, the last one: killed"):
        driver.run(made, workers, Progress(made.storage), attempts=100)
    assert workers.closed


def test_one_job_at_a_time(tmp_path: Path) -> None:
    """The second one is refused while the first one holds the folder, and not afterwards."""
    storage = LocalStorage(tmp_path / "out")
    progress = Progress(storage)
    with (
        driver.locked(storage, progress),
        pytest.raises(JobError, match="another job writes to"),
        driver.locked(storage, progress),
    ):
        pass
    with driver.locked(storage, progress):
        pass
