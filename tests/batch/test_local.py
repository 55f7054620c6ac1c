"""Processes of this machine, killed and hindered: afterwards the output is that of an undisturbed run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batch import driver
from batch.driver import FAILED
from batch.engines.base import EngineError
from batch.job import Job, JobError
from batch.output import VECTORS
from batch.storage.local import LocalStorage
from tests.batch.support import (
    BAD,
    FULL,
    KILL,
    WAIT,
    MemoryModel,
    contents,
    embed,
    finished,
    image_job,
    make_shards,
    rows,
    wait_for,
)
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # starts processes and kills

DRIVER = """
import sys
from pathlib import Path
from tests.batch.support import embed, image_job
if __name__ == "__main__":
    embed(image_job(sys.argv[1]), Path(sys.argv[2]))
"""


def undisturbed(job: Job, folder: Path) -> dict[str, bytes]:
    """The outputs of the same job in peace; items that hurt do so no more."""
    embed(job, folder)
    return contents(folder)


def start_driver(script: Path, *words: Path) -> subprocess.Popen[bytes]:
    """A driver of one worker in a process of its own."""
    script.write_text(DRIVER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients'}"}
    return subprocess.Popen([sys.executable, str(script), *map(str, words)], env=environment)


def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    """An output depends on its shard alone: not on who else works, and not on a broken item elsewhere."""
    make_shards(tmp_path / "in", 4, i1_2=BAD)
    job = image_job(tmp_path / "in")
    one = embed(job, tmp_path / "one")
    two = embed(job, tmp_path / "two", processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 4
    assert (one.embedded, one.counts, two.counts) == (4, two.counts, one.counts)
    assert (one.counts.items, one.counts.failed) == (16, {"image_undecodable": 1})
    found = rows(tmp_path / "one")
    assert [row["source"] for row in found] == [
        f"{tmp_path}/in/{shard:03d}.tar#{item:03d}.jpg" for shard in range(4) for item in range(4)
    ]
    assert [n for n, row in enumerate(found) if row["vector"] is None] == [6]


def test_a_killed_worker_costs_its_shard_again(tmp_path: Path) -> None:
    """Another process takes its place and its shard; nothing is missing and nothing is there twice."""
    make_shards(tmp_path / "in", 4, i1_2=KILL + os.fsencode(tmp_path / "killed"))
    job = image_job(tmp_path / "in")
    outcome = embed(job, tmp_path / "out", processes=2)
    assert (tmp_path / "killed").exists()
    assert (outcome.embedded, outcome.failed, outcome.counts.items) == (4, [], 16)
    assert contents(tmp_path / "out") == undisturbed(job, tmp_path / "calm")


def test_a_poisoned_shard_is_set_aside(tmp_path: Path) -> None:
    """One kills whoever takes it, one is cut off: the job ends with all others, and with the reasons."""
    paths = make_shards(tmp_path / "in", 4, i2_0=KILL)
    paths[0].write_bytes(paths[0].read_bytes()[:700])
    outcome = embed(image_job(tmp_path / "in"), tmp_path / "out", processes=2, attempts=2)
    assert finished(tmp_path / "out") == {1, 3}
    reasons = {one["shard"]: one["reason"] for one in outcome.failed}
    assert set(reasons) == {0, 2}
    assert "no tar to its end" in reasons[0]
    assert "killed by SIGKILL" in reasons[2]
    assert not list((tmp_path / "out" / VECTORS).glob(".*"))


def test_a_killed_driver_is_gone_on_from(tmp_path: Path) -> None:
    """Its worker ends with it; the next run embeds what had no output; meanwhile no other job may begin."""
    make_shards(tmp_path / "in", 6, i3_1=WAIT + os.fsencode(tmp_path / "go"))
    job = image_job(tmp_path / "in")
    process = start_driver(tmp_path / "driver.py", tmp_path / "in", tmp_path / "out")
    try:
        wait_for(tmp_path / "go.met")
        with pytest.raises(JobError, match="another job writes to"):
            embed(job, tmp_path / "out")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert finished(tmp_path / "out") == {0, 1, 2}
    before = contents(tmp_path / "out")
    stale = tmp_path / "out" / VECTORS / ".part-0000004.parquet.0.partial"
    stale.write_bytes(b"half")
    (tmp_path / "go").touch()
    outcome = embed(job, tmp_path / "out")
    assert outcome.embedded == 3
    assert not stale.exists()
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert after == undisturbed(job, tmp_path / "calm")


def test_a_full_disk_ends_the_job_and_loses_nothing(tmp_path: Path) -> None:
    """The error says so, no half file stays, and with room again the job goes on."""
    make_shards(tmp_path / "in", 3, i1_1=FULL + os.fsencode(tmp_path / "full"))
    job = image_job(tmp_path / "in")
    with pytest.raises(EngineError, match=r"nothing can be written to .*No space left"):
        embed(job, tmp_path / "out")
    assert finished(tmp_path / "out") == {0}
    assert not list((tmp_path / "out" / VECTORS).glob(".*"))
    assert not list((tmp_path / "out" / FAILED).glob("*"))
    assert embed(job, tmp_path / "out").embedded == 2
    assert contents(tmp_path / "out") == undisturbed(job, tmp_path / "calm")


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    """Before anything is embedded: what is there stays as it is."""
    make_shards(tmp_path / "in", 1)
    embed(image_job(tmp_path / "in"), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(JobError, match="this model is of other"):
        embed(image_job(tmp_path / "in", model=MemoryModel("other")), tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_a_model_that_cannot_be_loaded_ends_the_job(tmp_path: Path) -> None:
    """With the reason, once; no shard is blamed."""
    make_shards(tmp_path / "in", 2)
    with pytest.raises(EngineError, match="no such model"):
        embed(image_job(tmp_path / "in"), tmp_path / "out", model=MemoryModel(missing=True))
    assert driver.set_aside(LocalStorage(tmp_path / "out")) == []
